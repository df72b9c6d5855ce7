"""Open a file or folder by what it holds, whatever it is called."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py

from medcore.errors import InputError
from medcore.io.bart import is_cfl, read_cfl
from medcore.io.bids import is_bids, read_bids
from medcore.io.dicom import read_dicom
from medcore.io.dicom.files import is_dicom
from medcore.io.dicom.series import find_files
from medcore.io.fastmri import is_fastmri, read_fastmri
from medcore.io.hdf5 import children, is_hdf5, open_hdf5
from medcore.io.images import ImageSeries
from medcore.io.ismrmrd import read_ismrmrd
from medcore.io.kspace import KSpace
from medcore.io.limits import existing_file
from medcore.io.nifti import read_nifti, read_nifti_series
from medcore.io.nifti_file import GZIP_MAGIC, header_file
from medcore.io.nifti_header import HEADER_BYTES, is_nifti
from medcore.io.npy import NPY_MAGIC, ZIP_MAGIC, load_array, read_npy, read_npy_kspace
from medcore.io.parametric_map import is_parametric_map_file, read_parametric_map
from medcore.io.parrec import is_par, read_par
from medcore.io.twix import is_twix, read_twix

_READERS = {
    "nifti": read_nifti,
    "nifti-folder": lambda path, **options: read_nifti_series(nifti_files(path), **options),
    "dicom": read_dicom,
    "dicom-folder": read_dicom,
    "ismrmrd": read_ismrmrd,
    "par": read_par,
    "parametric-map": read_parametric_map,
    "fastmri": read_fastmri,
    "cfl": read_cfl,
    "twix": read_twix,
    "bids-folder": read_bids,
}


def recognise(path: str | Path) -> str | None:
    """What a file or folder holds, told from its first bytes.

    Returns
    -------
    str or None
        ``nifti``, ``dicom``, ``parametric-map``, ``par``, ``ismrmrd``, ``fastmri``, ``cfl``, ``twix``, ``hdf5``, ``npy``, ``npz``,
        ``medmnist``, ``dicom-folder``, ``nifti-folder``, ``bids-folder``; None if it is none of these.

    Raises
    ------
    InputError
        If it does not exist or cannot be read.
    """
    path = Path(path)
    if is_cfl(path):
        return "cfl"
    if path.is_dir():
        if is_bids(path):
            return "bids-folder"
        if find_files(path):
            return "dicom-folder"
        return "nifti-folder" if nifti_files(path) else None
    path = header_file(existing_file(path))
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if head[:2] == GZIP_MAGIC:
        head = _first_unzipped(path)
    if is_nifti(head):
        return "nifti"
    if is_dicom(head):
        return "parametric-map" if is_parametric_map_file(path) else "dicom"
    if is_par(head):
        return "par"
    if head.startswith(NPY_MAGIC):
        return "npy"
    return _kind_of_container(path, head)


def _first_unzipped(path: Path) -> bytes:
    try:
        with gzip.open(path) as stream:
            return stream.read(HEADER_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


def _kind_of_container(path: Path, head: bytes) -> str | None:
    if head.startswith(ZIP_MAGIC):
        return _kind_of_zip(path)
    if is_hdf5(path):
        return _kind_of_hdf5(path)
    return "twix" if is_twix(path) else None


def _kind_of_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "npz" if path.suffix == ".npz" else None
    if any(n.endswith("_images.npy") for n in names):
        return "medmnist"
    return "npz" if names and all(n.endswith(".npy") for n in names) else None


def _kind_of_hdf5(path: Path) -> str:
    with open_hdf5(path) as file:
        groups = [item for _, item in children(file) if isinstance(item, h5py.Group)]
        if any({"xml", "data"} <= set(group) for group in groups):
            return "ismrmrd"
        return "fastmri" if is_fastmri(file) else "hdf5"


def nifti_files(folder: str | Path) -> list[Path]:
    """The NIfTI files directly in a folder, by name."""
    try:
        return sorted(p for p in Path(folder).iterdir() if p.name.endswith((".nii", ".nii.gz")) and p.is_file())
    except OSError as error:
        raise InputError(folder, f"cannot be read ({error.strerror})", "check its permissions") from error


def open_path(path: str | Path, **options: Any) -> ImageSeries | KSpace:
    """Read images or k-space from a file or folder, recognised by content.

    NIfTI and DICOM (files and folders) and real arrays become :class:`ImageSeries`; ISMRMRD files and complex arrays of three and
    more axes become :class:`KSpace`.

    Parameters
    ----------
    path
        File or folder.
    options
        Passed to the reader: :func:`read_nifti`, :func:`read_nifti_series`, :func:`read_dicom`, :func:`read_ismrmrd`,
        :func:`read_npy` or :func:`read_npy_kspace`.

    Raises
    ------
    InputError
        If it is of no known kind, or the reader refuses it.
    """
    kind = recognise(path)
    if kind in ("npy", "npz"):
        values = load_array(path, key=options.get("key"))
        reader: Any = read_npy_kspace if values.dtype.kind == "c" and values.ndim > 2 else read_npy
    elif kind in _READERS:
        reader = _READERS[kind]
    elif kind == "medmnist":
        raise InputError(path, "is a MedMNIST dataset", "open it with medcore.open")
    else:
        known = "NIfTI, DICOM, PAR/REC, ISMRMRD, fastMRI, BART cfl, Siemens raw data and .npy"
        raise InputError(path, f"is of no kind that can be read ({kind or 'unknown content'})", f"give one of {known}")
    try:
        return reader(path, **options)  # type: ignore[no-any-return]
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise InputError(path, f"is read by {reader.__name__}, which has no such option ({error})", "leave it out") from error
