"""ISMRMRD raw data (HDF5)."""

from medcore.io.ismrmrd.reading import read_ismrmrd
from medcore.io.ismrmrd.writing import write_ismrmrd

__all__ = ["read_ismrmrd", "write_ismrmrd"]
