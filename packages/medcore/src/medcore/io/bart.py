"""BART's pairs of files: ``name.hdr`` with up to sixteen dimensions, ``name.cfl`` with complex64 values, first dimension fastest.

Dimensions used here (BART's mri.h): 0 READ, 1 PHS1, 2 PHS2, 3 COIL, 4 MAPS, 5 TE, 10 TIME, 13 SLICE. Whichever of 5, 6, 10 and 11 is
longer than 1 holds the contrasts. Trajectories are files of their own, (3, samples, spokes, ...), in units of one over the field of view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcore.atomic import atomic_files
from medcore.errors import InputError, SeveralSlicesError
from medcore.io.geometry import centred_affine
from medcore.io.images import ImageSeries, check_seconds
from medcore.io.kspace import KSpace
from medcore.io.limits import check_size, existing_file

N_DIMS = 16
COIL, MAPS, SLICE = 3, 4, 13
CONTRASTS = (5, 6, 10, 11)
_MARK = "# Dimensions"
_MAX_HEADER = 1 << 20
_MAX_AXIS = 1 << 31
_VOXEL = 1e-3
_HINT = "get another copy of both files"


def base_of(path: str | Path) -> Path:
    """``name`` of ``name``, ``name.cfl`` or ``name.hdr``."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in {".cfl", ".hdr"} else path


def is_cfl(path: str | Path) -> bool:
    """Whether `path` names a pair of BART files: the header says so and the values lie beside it."""
    header = _beside(base_of(path), ".hdr")
    try:
        with header.open("rb") as file:
            return file.read(len(_MARK)) == _MARK.encode() and _beside(base_of(path), ".cfl").is_file()
    except (OSError, ValueError):  # a name with a NUL byte
        return False


def _beside(base: Path, suffix: str) -> Path:
    return base.with_name(base.name + suffix)


def read_dimensions(path: str | Path) -> tuple[int, ...]:
    """The sixteen dimensions of a pair, checked against the size of its values.

    Raises
    ------
    InputError
        If a file is missing, the header is damaged, or the sizes disagree.
    """
    base = base_of(path)
    header, values = existing_file(_beside(base, ".hdr")), existing_file(_beside(base, ".cfl"))
    if header.stat().st_size > _MAX_HEADER:
        raise InputError(header, f"has {header.stat().st_size} bytes, more than {_MAX_HEADER}", _HINT)
    lines = header.read_bytes().decode("utf-8", errors="replace").splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip() == _MARK), None)
    words = lines[start + 1].split() if start is not None and start + 1 < len(lines) else []
    if not words or len(words) > N_DIMS or not all(w.isascii() and w.isdigit() and 0 < int(w) < _MAX_AXIS for w in words):
        raise InputError(header, f"has no line of positive dimensions after {_MARK!r}", _HINT)
    dims = tuple(int(w) for w in words) + (1,) * (N_DIMS - len(words))
    expected = 8
    for n in dims:
        expected *= n
    if values.stat().st_size != expected:
        raise InputError(values, f"has {values.stat().st_size} bytes where its header says {expected}", _HINT)
    return dims


def load_cfl(path: str | Path) -> NDArray[np.complex64]:
    """The values with all sixteen axes, mapped from the file: what is not touched is not read.

    Raises
    ------
    InputError
        See :func:`read_dimensions`.
    """
    dims = read_dimensions(path)
    values = _beside(base_of(path), ".cfl")
    check_size(values, dims, 8, values.stat().st_size)
    return np.memmap(values, dtype="<c8", mode="r", shape=dims, order="F")


def read_cfl(
    path: str | Path,
    *,
    traj: str | Path | None = None,
    csm: str | Path | None = None,
    times: Mapping[str, Any] | None = None,
    fov: Sequence[float] | None = None,
    slice_index: int | None = None,
    kind: str | None = None,
) -> KSpace | ImageSeries:
    """Read a pair as k-space or as images.

    The format does not say which it is: several coils, or a trajectory, make it k-space, unless `kind` says otherwise. Grid points
    that are zero in every coil count as not measured. `repairs` names what had to be assumed.

    Parameters
    ----------
    path
        ``name``, ``name.cfl`` or ``name.hdr``.
    traj
        Trajectory, another pair; READ of the samples is 1 then, PHS1 the samples and PHS2 the spokes.
    csm
        Coil maps, another pair (x, y, z, coil).
    times
        Times in seconds and flip angles in radians, one for each contrast.
    fov
        Field of view (z, y, x) in metres; 1 mm for each point if not given. Along a trajectory also the matrix follows from it:
        see `repairs`.
    slice_index
        Which slice, where there are several.
    kind
        ``kspace`` or ``images``.

    Raises
    ------
    InputError
        If a file is missing or damaged, dimensions have no meaning here, or trajectory, maps or times do not fit.
    """
    if kind not in (None, "kspace", "images"):
        raise InputError("kind", f"is {kind!r}", "use 'kspace' or 'images'")
    values = _one_slice(load_cfl(path), slice_index, path)
    used = [*range(4), *CONTRASTS]
    odd = [d for d in range(N_DIMS) if d not in used and values.shape[d] > 1]
    if odd:
        shown = ", ".join(f"{d} (length {values.shape[d]})" for d in odd)
        raise InputError(path, f"has the dimensions {shown}, which have no meaning here", "extract one entry of them with BART")
    x, y, z, coils = values.shape[:4]
    # (x, y, z, coil, contrasts) to (contrast, coil, z, y, x)
    flat = values.transpose([*CONTRASTS, COIL, 2, 1, 0, MAPS, *[d for d in range(N_DIMS) if d not in (*used, MAPS)]])
    array = np.ascontiguousarray(flat.reshape(-1, coils, z, y, x), dtype=np.complex64)
    if traj is None and (kind == "images" or (kind is None and coils == 1)):
        return _images(array, path, times, fov)
    maps = None if csm is None else _maps(csm, coils)
    if traj is not None:
        return _spokes(array, load_cfl(traj), path, maps, times, fov)
    with np.errstate(invalid="ignore"):  # a signalling NaN, which KSpace refuses
        mask = (array != 0).any(axis=1)
    notes = ["taken as gridded k-space (contrast, coil, z, y, x)"]
    return _kspace(array, (z, y, x), path, maps, times, fov, notes, mask=None if mask.all() else mask)


def _one_slice(values: NDArray[np.complex64], index: int | None, path: str | Path) -> NDArray[np.complex64]:
    slices = values.shape[SLICE]
    if slices == 1 and index in (None, 0):
        return values
    if index is None or not 0 <= index < slices:
        raise SeveralSlicesError.choosing(path, range(slices), index)
    return values[(slice(None),) * SLICE + (slice(index, index + 1),)]


def _images(
    array: NDArray[np.complex64], path: str | Path, times: Mapping[str, Any] | None, fov: Sequence[float] | None
) -> ImageSeries:
    _, coils, z, y, x = array.shape
    if coils > 1:
        raise InputError(path, f"has {coils} coils, so it is no series of images", "combine the coils first")
    check_seconds(times or {}, path)
    size, notes = _field(fov, (z, y, x))
    return ImageSeries(
        data=array[:, 0],
        affine=centred_affine((z, y, x), size),
        times=dict(times or {}),
        repairs=("taken as images (contrast, z, y, x)", *notes),
        source=str(path),
    )


def _field(fov: Sequence[float] | None, matrix: tuple[int, int, int]) -> tuple[tuple[float, float, float], list[str]]:
    if fov is None:
        z, y, x = matrix
        return (z * _VOXEL, y * _VOXEL, x * _VOXEL), ["no field of view in the file, 1 mm for each point assumed"]
    depth, height, width = fov
    return (float(depth), float(height), float(width)), []


def _maps(path: str | Path, coils: int) -> NDArray[np.complex64]:
    values = load_cfl(path)
    if values.shape[COIL] != coils or any(n > 1 for n in values.shape[4:]):
        raise InputError(path, f"has shape {values.shape}", f"give one set of maps (x, y, z, {coils})")
    return np.ascontiguousarray(values.reshape(values.shape[:4]).transpose(3, 2, 1, 0), dtype=np.complex64)


def _kspace(
    data: NDArray[np.complex64],
    matrix: tuple[int, int, int],
    path: str | Path,
    maps: NDArray[np.complex64] | None,
    times: Mapping[str, Any] | None,
    fov: Sequence[float] | None,
    notes: list[str],
    **extra: Any,
) -> KSpace:
    check_seconds(times or {}, path)
    size, assumed = _field(fov, matrix)
    return KSpace(
        data=data,
        matrix=matrix,
        fov=size,
        csm=maps,
        times=dict(times or {}),
        repairs=(*notes, *assumed),
        source=str(path),
        **extra,
    )


def _spokes(
    array: NDArray[np.complex64],
    points: NDArray[np.complex64],
    path: str | Path,
    maps: NDArray[np.complex64] | None,
    times: Mapping[str, Any] | None,
    fov: Sequence[float] | None,
) -> KSpace:
    contrasts, _, spokes, samples, read = array.shape
    if read != 1 or points.shape[0] != 3 or points.shape[1:3] != (samples, spokes):
        shown = f"samples (1, {samples}, {spokes}) need (3, {samples}, {spokes}), the trajectory has {points.shape[:3]}"
        raise InputError(path, f"does not fit its trajectory: {shown}", "give the trajectory of these samples")
    per_contrast = points.reshape(3, samples, spokes, -1, order="F")
    if per_contrast.shape[-1] not in (1, contrasts):
        raise InputError(path, f"has {contrasts} contrasts and {per_contrast.shape[-1]} trajectories", "give one, or one for each")
    if not np.isfinite(per_contrast).all() or np.abs(per_contrast.imag).max() > 0:
        raise InputError(path, "has a trajectory that is not finite and real", "correct the trajectory")
    k = np.moveaxis(per_contrast.real.astype(np.float64), (3, 2, 1, 0), (0, 1, 2, 3))[..., ::-1]  # (contrast, spoke, sample, zyx)
    k = np.broadcast_to(k, (contrasts, spokes, samples, 3))
    flat = not k[..., 0].any()
    used = k[..., 1:] if flat else k
    notes = []
    if maps is not None:
        matrix: tuple[int, int, int] = maps.shape[1:]
    else:
        edge = 2 * int(np.ceil(np.abs(used).max(axis=(0, 1, 2)).max() - 1e-6))
        matrix = (1 if flat else edge, max(edge, 1), max(edge, 1))
        notes.append(f"matrix {matrix} taken from the extent of the trajectory")
    sizes = np.array(matrix[1:] if flat else matrix)
    radians = (2 * np.pi * used / sizes).astype(np.float32)
    data = np.ascontiguousarray(array[..., 0])
    return _kspace(data, matrix, path, maps, times, fov, notes, traj=radians)


def write_cfl(path: str | Path, item: KSpace | ImageSeries, *, force: bool = False) -> None:
    """Write samples or images as a pair ``path.hdr``, ``path.cfl``; trajectory and coil maps as pairs ``path_traj`` and ``path_csm``.

    All files are complete before the first is in place, and the header comes last, so that what an interruption leaves has no
    header, or one that fits. Nothing else is touched, also not an older ``path_csm`` that is not written now. The format has no place for
    times, geometry, noise and repairs.

    Raises
    ------
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_files`.
    """
    base = base_of(path)
    pairs = _pairs(item)
    # The header of the main pair comes last and goes first: whatever interrupts, no samples are read without what belongs to them.
    order = list(pairs)
    targets = [_beside(base, suffix + ".cfl") for suffix in order] + [_beside(base, suffix + ".hdr") for suffix in reversed(order)]
    with atomic_files(targets, force=force) as temporary:
        for suffix, file in zip(order, temporary, strict=False):
            with file.open("wb") as stream:  # numpy's own writing would hide why it failed
                stream.write(np.asfortranarray(pairs[suffix], dtype="<c8").ravel(order="F").view(np.uint8).data)
        for suffix, file in zip(reversed(order), temporary[len(order) :], strict=True):
            dims = (*pairs[suffix].shape, *(1,) * (N_DIMS - pairs[suffix].ndim))
            file.write_text(f"{_MARK}\n{' '.join(map(str, dims))} \n", encoding="ascii", newline="\n")


def _pairs(item: KSpace | ImageSeries) -> dict[str, NDArray[Any]]:
    """Arrays by the suffix of their pair, axes in BART's order."""
    if isinstance(item, ImageSeries):
        return {"": _with_contrasts(item.data.transpose(3, 2, 1, 0)[:, :, :, None, :])}
    maps = {} if item.csm is None else {"_csm": item.csm.transpose(3, 2, 1, 0)}
    if item.traj is None:
        return {"": _with_contrasts(item.data.transpose(4, 3, 2, 1, 0)), **maps}
    # (contrast, coil, spoke, sample) to (1, sample, spoke, coil, contrast)
    samples = _with_contrasts(item.data.transpose(3, 2, 1, 0)[None])
    dim = item.traj.shape[-1]
    cycles = item.traj.astype(np.float64) * np.array(item.matrix[-dim:]) / (2 * np.pi)
    points = np.zeros((*cycles.shape[:3], 3))
    points[..., :dim] = cycles[..., ::-1]
    return {"": samples, "_traj": _with_contrasts(points.transpose(3, 2, 1, 0)[:, :, :, None, :]), **maps}


def _with_contrasts(values: NDArray[Any]) -> NDArray[Any]:
    """(…, coil, contrast) with the contrasts moved to dimension 5."""
    return values[:, :, :, :, None, :]
