"""fastMRI files (HDF5): k-space of several slices of one contrast, on a grid.

Layout (Zbontar et al. 2018, arXiv 1811.08839): ``kspace`` complex64 (slice, coil, height, width), or without the coil axis; the readout,
with its oversampling, runs along the height and phase encoding along the width; ``ismrmrd_header`` is XML, whose x is the height;
``mask`` of undersampled files says which columns of the width were measured; ``reconstruction_rss`` is the root sum of squares.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medcore.atomic import check_writable, write_bytes
from medcore.errors import InputError, SeveralSlicesError
from medcore.io.geometry import centred_affine
from medcore.io.guard import reason
from medcore.io.hdf5 import as_complex, children, member, open_hdf5, read_array
from medcore.io.hdf5_attributes import text_attribute
from medcore.io.images import check_seconds
from medcore.io.ismrmrd.header import Header, parse_header, render_header
from medcore.io.ismrmrd.reading import read_xml
from medcore.io.kspace import KSpace
from medcore.io.limits import check_size

KSPACE, HEADER, MASK, MAPS, OWN = "kspace", "ismrmrd_header", "mask", "sensitivity_maps", "medcore"
_HINT = "get another copy of the file, or correct it"


def is_fastmri(file: h5py.File) -> bool:
    """Whether an open HDF5 file has the two arrays that every such file has."""
    return {KSPACE, HEADER} <= {name for name, item in children(file) if isinstance(item, h5py.Dataset)}


def describe_fastmri(path: str | Path) -> dict[str, Any]:
    """Facts about the whole file without reading its samples.

    Raises
    ------
    InputError
        If it is no fastMRI file.
    """
    path = Path(path)
    with open_hdf5(path) as file:
        array, header = _parts(file, path)
        slices, coils, height, width = _shape(array, path)
        return {
            "axes": {"slice": slices, "coil": coils, "y": height, "x": width},
            "dtype": str(array.dtype),
            "masked": MASK in file,
            "fov_mm": [round(v * 1e3, 6) for v in _fov(header)],
            "acquisition": (text_attribute(path, "acquisition") or "not stated")[:80],
        }


def read_fastmri(path: str | Path, *, slice_index: int | None = None) -> KSpace:
    """Read one slice; only its samples are loaded.

    Parameters
    ----------
    path
        The file.
    slice_index
        Which slice, where there are several.

    Raises
    ------
    InputError
        If the file is damaged, its axes are not those of the layout, mask or maps do not fit, or `slice_index` is missing or out of
        range.
    """
    path = Path(path)
    with open_hdf5(path) as file:
        array, header = _parts(file, path)
        slices, coils, height, width = _shape(array, path)
        index = 0 if slice_index is None and slices == 1 else slice_index
        if index is None or not 0 <= index < slices:
            raise SeveralSlicesError.choosing(path, range(slices), slice_index)
        data = as_complex(np.asarray(array[index])).astype(np.complex64, copy=False).reshape(1, coils, 1, height, width)
        own = _own(file, index, path)
        mask = _mask(file, data, path)
        maps = _plane(file, MAPS, index, (coils, height, width), path)
        noise = _plane(file, "noise", index, None, path)
    notes: list[str] = []
    if array_type := _other_type(array):
        notes.append(f"samples stored as {array_type}, read as complex64")
    if mask is not None and np.any(data[:, :, ~mask[0]]):
        data = data * mask[:, None]
        notes.append("samples outside the mask set to zero")
    if header.matrix[2] != height:
        notes.append(f"height {height} differs from the header's x {header.matrix[2]}")
    fov = own.get("fov", _fov(header))
    meta = header.meta | {"slice": index, "slices": slices}
    if (header.recon_matrix, header.recon_fov) != (header.matrix, header.fov):
        meta |= {"recon_matrix": _swapped(header.recon_matrix), "recon_fov": _swapped(header.recon_fov)}
    times = {key: np.array(values) for key, values in header.times.items() if len(values) == 1}
    check_seconds(times, path)
    return KSpace(
        data=np.ascontiguousarray(data),
        matrix=(1, height, width),
        fov=fov,
        mask=mask,
        csm=None if maps is None else maps[:, None],
        noise=noise,
        times=times,
        affine=own["affine"] if own else centred_affine((1, height, width), fov),
        field_strength=header.field_strength,
        meta=meta,
        repairs=(*header.repairs, *notes),
        source=str(path),
    )


def _parts(file: h5py.File, path: Path) -> tuple[h5py.Dataset, Header]:
    array, node = member(file, KSPACE, path), member(file, HEADER, path)
    if not isinstance(array, h5py.Dataset) or not isinstance(node, h5py.Dataset):
        raise InputError(path, f"has no arrays {KSPACE} and {HEADER}", "give a fastMRI file")
    with path.open("rb") as stream:
        return array, parse_header(read_xml(node, stream, path), path)


def _shape(array: h5py.Dataset, path: Path) -> tuple[int, int, int, int]:
    kind = array.dtype
    if as_complex(np.empty(0, kind)).dtype.kind != "c" or array.ndim not in (3, 4) or 0 in array.shape:
        raise InputError(path, f"has kspace of type {kind} and shape {array.shape}", "give complex (slice, [coil,] height, width)")
    check_size(path, array.shape, kind.itemsize, path.stat().st_size)
    slices, *coils, height, width = (int(n) for n in array.shape)
    if height < 2 or width < 2 or (coils and coils[0] > max(height, width)):
        raise InputError(path, f"has kspace of shape {array.shape}", "order its axes (slice, coil, height, width)")
    return slices, coils[0] if coils else 1, height, width


def _other_type(array: h5py.Dataset) -> str | None:
    return None if array.dtype == np.complex64 else str(array.dtype)


def _fov(header: Header) -> tuple[float, float, float]:
    """Field of view (z, height, width): the readout's oversampling is along the header's x."""
    z, y, x = header.fov
    return z, x, y


def _swapped(lengths: tuple[Any, Any, Any]) -> list[Any]:
    """What the header states as (z, y, x), as (z, height, width)."""
    z, y, x = lengths
    return [z, x, y]


def _own(file: h5py.File, index: int, path: Path) -> dict[str, Any]:
    """Affine and field of view that this project stores beyond the layout, for one slice."""
    if OWN not in file:
        return {}
    node = member(file, OWN, path)
    problem, hint = f"has a damaged array {OWN!r}", "remove it, or get another copy of the file"
    if not isinstance(node, h5py.Dataset) or node.dtype != np.uint8 or node.ndim != 1:
        raise InputError(path, problem, hint)
    text = read_array(node, path).tobytes()
    try:
        stored = json.loads(text)["slices"][index]
        own = {"affine": np.array(stored["affine"], dtype=np.float64), "fov": tuple(float(v) for v in stored["fov"])}
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError) as error:
        raise InputError(path, f"{problem} ({reason(error)})", hint) from error
    return own


def _mask(file: h5py.File, data: NDArray[Any], path: Path) -> NDArray[np.bool_] | None:
    height, width = data.shape[-2:]
    if MASK not in file:
        return None
    node = member(file, MASK, path)
    if not isinstance(node, h5py.Dataset) or node.dtype.kind not in "biuf" or node.shape not in ((width,), (height, width)):
        shape = getattr(node, "shape", None)
        raise InputError(path, f"has a mask of shape {shape} for a width of {width}", "give one value for each column of kspace")
    values = np.asarray(node[()])
    if not np.isin(values, (0, 1)).all() or not values.any():
        raise InputError(path, "has a mask that is not of 0 and 1, or keeps nothing", "correct the mask")
    mask = np.broadcast_to(values.astype(bool), (1, 1, height, width)).copy()
    return None if mask.all() else mask


def _plane(file: h5py.File, name: str, index: int, shape: tuple[int, ...] | None, path: Path) -> NDArray[np.complex64] | None:
    """Slice `index` of an optional complex array."""
    if name not in file:
        return None
    node = member(file, name, path)
    if not isinstance(node, h5py.Dataset) or node.dtype.kind != "c" or node.ndim < 2 or not 0 <= index < node.shape[0]:
        raise InputError(path, f"has {name} that is no complex array with one entry for each slice", _HINT)
    if shape is not None and node.shape[1:] != shape:
        raise InputError(path, f"has {name} of shape {node.shape}, kspace needs {shape} for each slice", _HINT)
    check_size(path, node.shape[1:], node.dtype.itemsize, path.stat().st_size)
    return np.asarray(node[index]).astype(np.complex64)


def write_fastmri(path: str | Path, slices: Sequence[KSpace], *, acquisition: str = "not stated", force: bool = False) -> None:
    """Write slices of one contrast to a fastMRI file, atomically.

    Reading a slice gives back the same samples, mask, coil maps, noise scan, times and geometry. Fully sampled slices get
    ``reconstruction_rss`` (or ``reconstruction_esc`` for one coil) with the attributes ``max`` and ``norm``.

    Parameters
    ----------
    path
        The file.
    slices
        One :class:`KSpace` for each slice, gridded, of one contrast and one plane, all of one shape, mask and times.
    acquisition
        Name of the contrast, as training code selects files by it.
    force
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the layout has no place for a slice: several contrasts or planes, a trajectory, or slices that differ.
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_file`.
    """
    if not slices:
        raise InputError("slices", "are none", "give at least one")
    for item in slices:
        _check_slice(item, slices[0])
    check_writable(path, force=force)
    write_bytes(path, _content(slices, acquisition), force=force)


def _check_slice(item: KSpace, first: KSpace) -> None:
    if not item.is_cartesian or item.n_contrasts != 1 or item.matrix[0] != 1:
        shown = f"{item.n_contrasts} contrasts, matrix {item.matrix}, {'on a grid' if item.is_cartesian else 'along a trajectory'}"
        raise InputError(item.source, f"has {shown}", "fastMRI holds one contrast of single planes on a grid; use ISMRMRD")
    own, other = (None if k.mask is None else k.mask[0, 0] for k in (item, first))
    same_mask = own is other if own is None or other is None else np.array_equal(own, other)
    same_times = item.times.keys() == first.times.keys() and all(np.array_equal(item.times[k], first.times[k]) for k in item.times)
    extras = (item.csm is None, item.noise is None or item.noise.shape)
    wanted = (first.csm is None, first.noise is None or first.noise.shape)
    if item.data.shape != first.data.shape or not same_mask or not same_times or extras != wanted:
        raise InputError(item.source, "differs from the first slice in shape, mask, times or extras", "write files of their own")
    if own is not None and not (own.all(axis=0) == own.any(axis=0)).all():
        raise InputError(item.source, "has a mask that is not one value for each column", "use ISMRMRD")


def _content(slices: Sequence[KSpace], acquisition: str) -> bytes:
    """The file, made in memory: the HDF5 library crashes the process when a disk fills up under it."""
    first = slices[0]
    _, height, width = first.matrix
    fov = (first.fov[0], first.fov[2], first.fov[1])
    header = Header(
        matrix=(1, width, height),
        fov=fov,
        recon_matrix=(1, width, height),
        recon_fov=fov,
        times={key: tuple(values.tolist()) for key, values in first.times.items()},
        field_strength=first.field_strength,
        meta={k: v for k, v in first.meta.items() if k not in {"slice", "slices"}},
        repairs=first.repairs,
    )
    single = first.n_coils == 1
    samples = np.stack([k.data[0, :, 0] for k in slices])
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        file[KSPACE] = samples[:, 0] if single else samples
        file[HEADER] = render_header(header, contrasts=1)
        if first.mask is not None:
            file[MASK] = first.mask[0, 0].any(axis=0).astype(np.uint8)
        if first.csm is not None:
            file[MAPS] = np.stack([k.csm[:, 0] for k in slices])  # type: ignore[index]
        if first.noise is not None:
            file["noise"] = np.stack([k.noise for k in slices])
        if first.mask is None:
            image = root_sum_of_squares(samples)
            file["reconstruction_esc" if single else "reconstruction_rss"] = image
            file.attrs["max"], file.attrs["norm"] = float(image.max()), float(np.linalg.norm(image))
        file.attrs["acquisition"] = acquisition
        own = json.dumps({"slices": [{"affine": k.affine.tolist(), "fov": list(k.fov)} for k in slices]})
        file[OWN] = np.frombuffer(own.encode(), dtype=np.uint8)  # an attribute could hold 64 kB only
        file.flush()
        return bytes(file.id.get_file_image())


def root_sum_of_squares(samples: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Magnitude images (slice, y, x) of fully sampled (slice, coil, y, x): orthonormal centred transform, coils by root sum of squares."""
    axes = (-2, -1)
    images = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(samples, axes=axes), norm="ortho"), axes=axes)
    result: NDArray[np.float32] = np.sqrt((np.abs(images) ** 2).sum(axis=1)).astype(np.float32)
    return result
