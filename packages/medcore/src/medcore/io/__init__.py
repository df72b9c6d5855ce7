"""Strict readers and atomic writers of medical-imaging files."""

from medcore.io.images import ImageSeries
from medcore.io.kspace import KSpace

__all__ = ["ImageSeries", "KSpace"]
