"""Siemens raw data (``meas_*.dat``, VB and VD/VE)."""

from medcore.io.twix.reading import read_twix
from medcore.io.twix.structure import is_twix

__all__ = ["is_twix", "read_twix"]
