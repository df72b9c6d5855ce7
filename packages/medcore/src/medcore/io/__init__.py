"""Strict readers and atomic writers of medical-imaging files."""

from medcore.io.bart import read_cfl, write_cfl
from medcore.io.dicom import SeriesInfo, list_series, read_dicom
from medcore.io.fastmri import read_fastmri, write_fastmri
from medcore.io.images import ImageSeries
from medcore.io.ismrmrd import read_ismrmrd, write_ismrmrd
from medcore.io.kspace import KSpace
from medcore.io.nifti import read_nifti, read_nifti_series, write_nifti
from medcore.io.npy import read_npy, read_npy_kspace, write_npy
from medcore.io.opener import open_path as open  # noqa: A004 - medcore.io.open is the public name
from medcore.io.opener import recognise
from medcore.io.parametric_map import read_parametric_map, write_parametric_map
from medcore.io.parrec import read_par
from medcore.io.twix import read_twix

__all__ = [
    "ImageSeries",
    "KSpace",
    "SeriesInfo",
    "list_series",
    "open",
    "read_cfl",
    "read_dicom",
    "read_fastmri",
    "read_ismrmrd",
    "read_nifti",
    "read_nifti_series",
    "read_npy",
    "read_npy_kspace",
    "read_par",
    "read_parametric_map",
    "read_twix",
    "recognise",
    "write_cfl",
    "write_fastmri",
    "write_ismrmrd",
    "write_nifti",
    "write_npy",
    "write_parametric_map",
]
