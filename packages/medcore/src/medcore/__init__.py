"""Strict readers, atomic writers, datasets, phantoms and metrics for medical imaging."""

from medcore.__about__ import __version__
from medcore.errors import MedcoreError

__all__ = ["MedcoreError", "__version__"]
