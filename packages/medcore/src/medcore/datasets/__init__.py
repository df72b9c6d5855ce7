"""Map-style data sets of labelled images, splits by subject, duplicates, and phantoms."""

from medcore.datasets.base import EDGES, AnnotatedImages, Annotation, Dataset, DatasetCard, Sample
from medcore.datasets.boxes import Box, tight_box
from medcore.datasets.classified import ClassFolders, ClassTable
from medcore.datasets.coco import CocoDetection
from medcore.datasets.dicom_folder import DicomImages
from medcore.datasets.duplicates import DuplicateGroup, find_duplicates, pixel_hash
from medcore.datasets.graded import GradedFolder
from medcore.datasets.huggingface import to_huggingface
from medcore.datasets.images import read_image
from medcore.datasets.loading import Collate
from medcore.datasets.masks import MaskFolder
from medcore.datasets.medmnist import MedMnist
from medcore.datasets.opener import KINDS, find_datasets, open_dataset, recognise_dataset
from medcore.datasets.phantoms import Phantom, drawn_grades, drawn_scans, relaxation_phantom
from medcore.datasets.relaxometry import RelaxometryFolder, RelaxometrySample
from medcore.datasets.splits import Subset, split_dataset
from medcore.datasets.voc import VocFolder
from medcore.datasets.vqa import VqaLines

__all__ = [
    "EDGES",
    "KINDS",
    "AnnotatedImages",
    "Annotation",
    "Box",
    "ClassFolders",
    "ClassTable",
    "CocoDetection",
    "Collate",
    "Dataset",
    "DatasetCard",
    "DicomImages",
    "DuplicateGroup",
    "GradedFolder",
    "MaskFolder",
    "MedMnist",
    "Phantom",
    "RelaxometryFolder",
    "RelaxometrySample",
    "Sample",
    "Subset",
    "VocFolder",
    "VqaLines",
    "drawn_grades",
    "drawn_scans",
    "find_datasets",
    "find_duplicates",
    "open_dataset",
    "pixel_hash",
    "read_image",
    "recognise_dataset",
    "relaxation_phantom",
    "split_dataset",
    "tight_box",
    "to_huggingface",
]
