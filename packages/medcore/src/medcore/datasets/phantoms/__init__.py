"""Drawn objects with known truth: relaxation phantoms for quantitative MRI, small labelled scans for classifiers."""

from medcore.datasets.phantoms.anatomies import ANATOMIES, Anatomy
from medcore.datasets.phantoms.drawn import FINDINGS, DrawnImages, drawn_grades, drawn_scans
from medcore.datasets.phantoms.relaxation import Phantom, relaxation_phantom
from medcore.datasets.phantoms.tissues import TISSUES, Tissue

__all__ = [
    "ANATOMIES",
    "FINDINGS",
    "TISSUES",
    "Anatomy",
    "DrawnImages",
    "Phantom",
    "Tissue",
    "drawn_grades",
    "drawn_scans",
    "relaxation_phantom",
]
