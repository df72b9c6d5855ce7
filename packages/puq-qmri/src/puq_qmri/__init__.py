"""Quantitative MRI from undersampled k-space: T1 and T2 maps with calibrated confidence."""

from puq_qmri.__about__ import __version__

__all__ = ["__version__"]
