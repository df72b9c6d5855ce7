"""Map-style data sets of labelled images, splits by subject, duplicates, and phantoms."""

from medcore.datasets.base import EDGES, AnnotatedImages, Annotation, Dataset, DatasetCard, Sample
from medcore.datasets.boxes import Box, tight_box
from medcore.datasets.check import check_dataset
from medcore.datasets.check_report import CheckReport, Finding
from medcore.datasets.classified import ClassFolders, ClassTable
from medcore.datasets.coco import CocoDetection
from medcore.datasets.deep_images import read_deep_image
from medcore.datasets.dicom_folder import DicomImages
from medcore.datasets.duplicates import DuplicateGroup, find_duplicates, pixel_hash
from medcore.datasets.graded import GradedFolder
from medcore.datasets.huggingface import to_huggingface
from medcore.datasets.images import read_image
from medcore.datasets.loading import Collate
from medcore.datasets.masks import MaskFolder
from medcore.datasets.medmnist import MedMnist
from medcore.datasets.near_duplicates import NearDuplicate, find_near_duplicates
from medcore.datasets.opener import KINDS, find_datasets, open_dataset, recognise_dataset
from medcore.datasets.phantoms import Phantom, drawn_grades, drawn_scans, relaxation_phantom
from medcore.datasets.relaxometry import RelaxometryFolder, RelaxometrySample
from medcore.datasets.seen import Part
from medcore.datasets.splits import Subset, fold_pairs, split_dataset
from medcore.datasets.stored_splits import StoredSplit, duplicate_groups, load_split, read_split, save_split
from medcore.datasets.tolerance import Collected, SampleError, SampleFault, StatedBox, collect_faults
from medcore.datasets.voc import VocFolder
from medcore.datasets.vqa import VqaLines
from medcore.datasets.window_presets import WINDOW_PRESETS

__all__ = [
    "EDGES",
    "KINDS",
    "WINDOW_PRESETS",
    "AnnotatedImages",
    "Annotation",
    "Box",
    "CheckReport",
    "ClassFolders",
    "ClassTable",
    "CocoDetection",
    "Collate",
    "Collected",
    "Dataset",
    "DatasetCard",
    "DicomImages",
    "DuplicateGroup",
    "Finding",
    "GradedFolder",
    "MaskFolder",
    "MedMnist",
    "NearDuplicate",
    "Part",
    "Phantom",
    "RelaxometryFolder",
    "RelaxometrySample",
    "Sample",
    "SampleError",
    "SampleFault",
    "StatedBox",
    "StoredSplit",
    "Subset",
    "VocFolder",
    "VqaLines",
    "check_dataset",
    "collect_faults",
    "drawn_grades",
    "drawn_scans",
    "duplicate_groups",
    "find_datasets",
    "find_duplicates",
    "find_near_duplicates",
    "fold_pairs",
    "load_split",
    "open_dataset",
    "pixel_hash",
    "read_deep_image",
    "read_image",
    "read_split",
    "recognise_dataset",
    "relaxation_phantom",
    "save_split",
    "split_dataset",
    "tight_box",
    "to_huggingface",
]
