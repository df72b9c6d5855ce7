"""Plain NumPy arrays: images without geometry, and k-space without a header."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medcore.atomic import atomic_file
from medcore.errors import InputError
from medcore.io.archive import member_names
from medcore.io.geometry import centred_affine
from medcore.io.guard import foreign_errors
from medcore.io.images import ImageSeries, check_seconds
from medcore.io.kspace import KSpace
from medcore.io.limits import check_size, existing_file

NPY_MAGIC, ZIP_MAGIC = b"\x93NUMPY", b"PK\x03\x04"
_MAX_HEADER, _BLOCK = 10_000, 1 << 24
VOXEL = 1e-3
"""Edge length in metres assumed where a file knows none."""


def load_array(path: str | Path, *, key: str | None = None) -> NDArray[Any]:
    """Load a numeric array from ``.npy`` or ``.npz`` without unpickling anything.

    Parameters
    ----------
    path
        The file.
    key
        Which array of an ``.npz`` file; needed where it holds several.

    Raises
    ------
    InputError
        If the file is missing, cut, holds objects, claims more than it can hold, or `key` is not in it.
    """
    path = existing_file(path)
    with path.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic == NPY_MAGIC:
            return _load_npy(file, path, path.stat().st_size)
        if magic[:4] != ZIP_MAGIC:
            raise InputError(path, "is neither .npy nor .npz", "give a file written by numpy.save or numpy.savez")
        with foreign_errors(path, "is a damaged .npz file"), zipfile.ZipFile(file) as archive:
            names = [n.removesuffix(".npy") for n in member_names(archive, path)]
            if key is None and len(names) == 1:
                key = names[0]
            if key is None or key not in names:
                raise InputError(path, f"holds {', '.join(names[:20])}", "choose one array with key=")
            with archive.open(f"{key}.npy") as member:
                if member.read(6) != NPY_MAGIC:
                    raise InputError(path, f"holds {key!r}, which is no array", "give a file written by numpy.savez")
            with archive.open(f"{key}.npy") as member:
                return _load_npy(member, path, path.stat().st_size)


def list_arrays(path: str | Path) -> list[tuple[str, tuple[int, ...], np.dtype[Any]]]:
    """Name, shape and type of the arrays in a ``.npy`` or ``.npz`` file, from their headers; one without a name is called ``""``.

    Raises
    ------
    InputError
        If the file is damaged, or holds objects, which only unpickling could read.
    """
    path = existing_file(path)
    with foreign_errors(path, "is damaged"), path.open("rb") as file:
        if file.read(6) == NPY_MAGIC:
            file.seek(0)
            return [("", *_described(file, path))]
        found = []
        with zipfile.ZipFile(file) as archive:
            for name in member_names(archive, path):
                with archive.open(name) as member:
                    found.append((name.removesuffix(".npy"), *_described(member, path)))
        return found


def _described(file: IO[bytes] | io.BufferedIOBase, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise InputError(path, f"has .npy version {version}", "save it again with a current NumPy")
    shape, _, dtype = _header(file, version, path)
    if dtype.hasobject:
        raise InputError(path, f"holds values of type {dtype}", "save arrays of numbers or text")
    return shape, dtype


def _load_npy(file: IO[bytes] | io.BufferedIOBase, path: Path, file_bytes: int) -> NDArray[Any]:
    with foreign_errors(path, "is a damaged .npy file"):
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise InputError(path, f"has .npy version {version}", "save it again with a current NumPy")
        shape, fortran, dtype = _header(file, version, path)
        if dtype.kind not in "biufc":
            raise InputError(path, f"holds values of type {dtype}", "save an array of numbers")
        check_size(path, shape or (1,), dtype.itemsize, file_bytes)
        values = np.empty(shape, dtype=dtype, order="F" if fortran else "C")
        found = _fill(file, values.reshape(-1, order="A").view(np.uint8))
        if found != values.nbytes:
            raise InputError(path, f"is cut: it has {found} of {values.nbytes} bytes", "get another copy of the file")
        if file.read(1):
            raise InputError(path, "goes on after its data", "get another copy of the file")
        return values


def _header(
    file: IO[bytes] | io.BufferedIOBase, version: tuple[int, int], path: Path
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type, from a header whose stated length is checked before it is read."""
    length = file.read(2 if version == (1, 0) else 4)
    size = int.from_bytes(length, "little")
    if size > _MAX_HEADER:
        raise InputError(path, f"claims an .npy header of {size} bytes", "get another copy of the file")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(io.BytesIO(length + file.read(size)))
    return shape, fortran, dtype


def _fill(file: IO[bytes] | io.BufferedIOBase, buffer: NDArray[np.uint8]) -> int:
    """Read into `buffer` until it is full or the file ends; how many bytes came."""
    view, found = buffer.data, 0
    while found < len(view) and (block := file.read(min(len(view) - found, _BLOCK))):
        view[found : found + len(block)] = block
        found += len(block)
    return found


def read_npy(
    path: str | Path, *, contrast_axis: int | None = None, times: Mapping[str, Any] | None = None, key: str | None = None
) -> ImageSeries:
    """Read an array as images.

    Two axes are (y, x), one contrast. Three axes are (y, x, contrast) by default, four are (contrast, z, y, x). A file without
    geometry gets voxels of 1 mm, which `repairs` says.

    Parameters
    ----------
    path
        ``.npy`` or ``.npz`` file.
    contrast_axis
        Which axis holds the contrasts; by default -1 for three axes, 0 for four.
    times
        Times in seconds and flip angles in radians.
    key
        Which array of an ``.npz`` file.

    Raises
    ------
    InputError
        See :func:`load_array`; also for another number of axes, infinite values, or times that do not fit.
    """
    values = load_array(path, key=key)
    if values.ndim not in (2, 3, 4) or 0 in values.shape:
        raise InputError(path, f"holds an array of shape {values.shape}", "give two to four axes")
    if values.ndim == 2:
        values = values[None]
    else:
        axis = {3: -1, 4: 0}[values.ndim] if contrast_axis is None else contrast_axis
        if not -values.ndim <= axis < values.ndim:
            raise InputError(path, f"has no axis {axis}", f"choose from 0 to {values.ndim - 1}")
        values = np.moveaxis(values, axis, 0)
    volume = values[:, None] if values.ndim == 3 else values
    with np.errstate(over="ignore"):
        data = np.ascontiguousarray(volume, dtype=np.complex64 if np.iscomplexobj(volume) else np.float32)
    if np.isinf(data).any():
        raise InputError(path, "holds infinite values or values beyond the range of 32-bit numbers", "rescale the array")
    check_seconds(times or {}, path)
    z, y, x = data.shape[1:]
    affine = centred_affine((z, y, x), (z * VOXEL, y * VOXEL, x * VOXEL))
    repairs = ("no geometry in the file, voxels of 1 mm assumed",)
    return ImageSeries(data=data, affine=affine, times=dict(times or {}), repairs=repairs, source=str(path))


def read_npy_kspace(
    path: str | Path,
    *,
    fov: Sequence[float] | None = None,
    times: Mapping[str, Any] | None = None,
    key: str | None = None,
) -> KSpace:
    """Read a complex array as gridded k-space.

    Three axes are (coil, y, x), four (contrast, coil, y, x), five (contrast, coil, z, y, x); the centre is at ``n // 2``.
    Where whole points are zero in every coil, they count as not measured.

    Parameters
    ----------
    path
        ``.npy`` or ``.npz`` file.
    fov
        Field of view (z, y, x) in metres; by default one millimetre per sample, which `repairs` says.
    times
        Times in seconds and flip angles in radians.
    key
        Which array of an ``.npz`` file.

    Raises
    ------
    InputError
        See :func:`load_array`; also for real numbers or another number of axes.
    """
    values = load_array(path, key=key)
    if values.dtype.kind != "c" or values.ndim not in (3, 4, 5) or 0 in values.shape:
        raise InputError(
            path, f"holds {values.dtype} of shape {values.shape}", "give complex (coil, y, x), ([contrast, coil[, z], y, x)"
        )
    data = np.ascontiguousarray(values, dtype=np.complex64)
    if data.ndim == 3:
        data = data[None]
    if data.ndim == 4:
        data = data[:, :, None]
    z, y, x = data.shape[2:]
    repairs = ["no header in the file, taken as gridded k-space (contrast, coil, z, y, x)"]
    if fov is None:
        repairs.append("no field of view in the file, 1 mm for each sample assumed")
        fov = (z * VOXEL, y * VOXEL, x * VOXEL)
    check_seconds(times or {}, path)
    with np.errstate(invalid="ignore"):  # a signalling NaN, which KSpace refuses
        mask = (data != 0).any(axis=1)
    depth, height, width = fov
    return KSpace(
        data=data,
        mask=None if mask.all() else mask,
        matrix=(z, y, x),
        fov=(depth, height, width),
        times=dict(times or {}),
        repairs=tuple(repairs),
        source=str(path),
    )


def write_npy(path: str | Path, values: NDArray[Any], *, force: bool = False) -> None:
    """Write an array of numbers atomically.

    Raises
    ------
    InputError
        If `path` does not end in ``.npy``, or the values are no numbers.
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_file`.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise InputError(path, "does not end in .npy", "choose such a name")
    if values.dtype.kind not in "biufc":
        raise InputError(path, f"cannot hold values of type {values.dtype}", "give an array of numbers")
    array = np.ascontiguousarray(values)
    with atomic_file(path, force=force) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.reshape(-1).view(np.uint8).data)  # numpy's own writing would hide why it failed
