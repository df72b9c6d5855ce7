"""Drawn objects with known truth: relaxation phantoms for quantitative MRI, small labelled scans for classifiers."""

from medcore.datasets.phantoms.anatomies import ANATOMIES, Anatomy
from medcore.datasets.phantoms.relaxation import Phantom, relaxation_phantom
from medcore.datasets.phantoms.tissues import TISSUES, Tissue

__all__ = ["ANATOMIES", "TISSUES", "Anatomy", "Phantom", "Tissue", "relaxation_phantom"]
