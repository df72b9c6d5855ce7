"""Map-style data sets of labelled images, splits by subject, duplicates, and phantoms."""

from medcore.datasets.base import EDGES, Annotation, Dataset, DatasetCard, Sample
from medcore.datasets.boxes import Box, tight_box
from medcore.datasets.phantoms import Phantom, drawn_grades, drawn_scans, relaxation_phantom

__all__ = [
    "EDGES",
    "Annotation",
    "Box",
    "Dataset",
    "DatasetCard",
    "Phantom",
    "Sample",
    "drawn_grades",
    "drawn_scans",
    "relaxation_phantom",
    "tight_box",
]
