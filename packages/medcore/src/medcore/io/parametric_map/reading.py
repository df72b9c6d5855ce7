"""Read DICOM parametric maps (PS3.3 A.75): stored pixels through their real-world value mapping to SI values, frames by position."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.dicom.files import is_dicom
from medcore.io.dicom.parsing import pydicom_errors
from medcore.io.geometry import affine_from_vectors
from medcore.io.images import ImageSeries
from medcore.io.limits import check_size, existing_file
from medcore.io.parametric_map.frames import MapFrame, read_map_frames
from medcore.units import mm_to_m

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_HINT = "get another copy of the file"
_NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
_FLOATS = {"FloatPixelData": ("f4", "FloatPixelPaddingValue"), "DoubleFloatPixelData": ("f8", "DoubleFloatPixelPaddingValue")}
_TOLERANCE_MM = 1e-2
_MAX_FRAMES, _MAX_SIDE = 1_000_000, 65535


def is_parametric_map(dataset: Any) -> bool:
    """Whether a pydicom data set says that it is a parametric map."""
    return str(dataset.get("SOPClassUID") or "") == PARAMETRIC_MAP


def is_parametric_map_file(path: str | Path) -> bool:
    """Whether the header of a file says that it holds a parametric map; False for everything else, also for what cannot be parsed."""
    from pydicom.filereader import read_file_meta_info

    try:
        with Path(path).open("rb") as file:
            if not is_dicom(file.read(132)):
                return False
        with pydicom_errors(path, "has a damaged file header"):
            return str(read_file_meta_info(Path(path)).get("MediaStorageSOPClassUID") or "") == PARAMETRIC_MAP
    except (InputError, OSError):
        return False


def read_parametric_map(path: str | Path) -> ImageSeries:
    """Read one parametric map with floating-point or 16-bit pixels, uncompressed.

    Pixels go through slope and intercept of their real-world value mapping and into SI units: milliseconds become seconds, mm2/s become
    m2/s. Every label, quantity and unit makes one contrast, in the order of the file. Slices lie where their frames say, in rising
    order along the normal, or in the order of their stack where that is exactly the reverse. Padding becomes NaN.

    Returns
    -------
    ImageSeries
        `meta` has ``units`` and ``quantity`` (lists where there are several contrasts). `repairs` names mappings and values that are odd.

    Raises
    ------
    InputError
        If the file is damaged or no parametric map, has no linear mapping, or its frames do not form one evenly spaced block.
    """
    path = existing_file(path)
    dataset = _open(path)
    frames = read_map_frames(dataset, path)
    stored, padding = _pixels(dataset, path, len(frames))
    table = _table(frames, path)
    values, notes = _values(stored, padding, table, path)
    labels = [row[0] for row in table]
    units, quantities = [f.unit for f in labels], [f.quantity for f in labels]
    several = sum(f.n_mappings > 1 for f in frames)
    if several:
        notes.append(f"{several} frames have several real-world value mappings; the first one is used")
    one = len(labels) == 1
    return ImageSeries(
        data=values,
        affine=_affine(table[0], path),
        meta={"units": units[0] if one else units, "quantity": quantities[0] if one else quantities},
        repairs=tuple(notes),
        source=str(path),
    )


def _open(path: Path) -> Any:
    import pydicom

    with path.open("rb") as file:
        head = file.read(132)
    if not is_dicom(head):
        raise InputError(path, "is not a DICOM file", "give a file with the letters DICM at byte 128")
    size = path.stat().st_size
    check_size(path, (size,), 1, size)
    with pydicom_errors(path, "is damaged DICOM"):
        dataset = pydicom.dcmread(path, defer_size=1 << 16)
        syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
        known = is_parametric_map(dataset)
    if not known:
        raise InputError(path, "is no parametric map but another DICOM object", "read images with read_dicom")
    if syntax not in _NATIVE:
        raise InputError(path, f"is stored with the transfer syntax {syntax[:64]!r}", "convert it to an uncompressed one")
    return dataset


@dataclass(frozen=True)
class _Pixels:
    keyword: str
    kind: str
    padding: Any


def _pixels(dataset: Any, path: Path, n_frames: int) -> tuple[NDArray[Any], float | None]:
    """Stored pixels (frame, y, x) and the value that stands for no value."""
    with pydicom_errors(path, "has an element that cannot be read"):
        sizes = [dataset.get(k) for k in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel")]
        kinds = _kinds(dataset)
    if not all(isinstance(n, int) for n in sizes) or sizes[3] != 1:
        raise InputError(path, "has numbers of frames, rows, columns or samples that are no single numbers", _HINT)
    frames, rows, columns = (int(n) for n in sizes[:3])
    if frames != n_frames or not (0 < frames <= _MAX_FRAMES and 0 < rows <= _MAX_SIDE and 0 < columns <= _MAX_SIDE):
        raise InputError(path, f"describes {n_frames} frames and claims {frames} of {rows} x {columns} pixels", _HINT)
    if len(kinds) != 1:
        raise InputError(path, f"has {len(kinds)} kinds of pixels that a parametric map may have", _HINT)
    found = kinds[0]
    order = ">" if str(dataset.file_meta.TransferSyntaxUID) == "1.2.840.10008.1.2.2" else "<"
    dtype = np.dtype(order + found.kind)
    expected = frames * rows * columns * dtype.itemsize
    with pydicom_errors(path, "has pixel data that cannot be found"):
        length = int(dataset.get_item(found.keyword, keep_deferred=True).length)
    if length not in (expected, expected + expected % 2):
        raise InputError(path, f"has {length} bytes of pixels where its header says {expected}", _HINT)
    check_size(path, (frames, rows, columns), 8, path.stat().st_size)
    with pydicom_errors(path, "has pixels that cannot be read"):
        raw = dataset[found.keyword].value
    if len(raw) != length:
        raise InputError(path, "ends in the middle of its pixels, so it is cut", _HINT)
    stored = np.frombuffer(io.BytesIO(raw).getbuffer(), dtype=dtype, count=frames * rows * columns)
    padding = found.padding
    if padding is not None and not isinstance(padding, (int, float)):
        raise InputError(path, "has a padding value that is not one number", _HINT)
    return stored.reshape(frames, rows, columns), None if padding is None else float(padding)


def _kinds(dataset: Any) -> list[_Pixels]:
    """The kinds of pixels that are there."""
    found = [_Pixels(k, kind, dataset.get(padding)) for k, (kind, padding) in _FLOATS.items() if k in dataset]
    if "PixelData" in dataset and dataset.get("BitsAllocated") == 16 and dataset.get("BitsStored") == 16:
        kind = "i2" if dataset.get("PixelRepresentation") == 1 else "u2"
        found.append(_Pixels("PixelData", kind, dataset.get("PixelPaddingValue")))
    return found


def _table(frames: list[MapFrame], path: Path) -> list[list[MapFrame]]:
    """Frames by contrast and position.

    Raises
    ------
    InputError
        If a contrast lacks a position or has one twice, or slices are not evenly spaced along one normal.
    """
    first = frames[0]
    if any(not np.allclose(f.orientation, first.orientation, atol=1e-4) or f.spacing != first.spacing for f in frames):
        raise InputError(path, "has frames of several orientations or pixel sizes", "split it into blocks of parallel slices")
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    rows: dict[tuple[str, str, str], list[MapFrame]] = {}
    for frame in frames:
        rows.setdefault(frame.contrast, []).append(frame)
    table = [sorted(row, key=lambda f: float(f.position @ normal)) for row in rows.values()]
    places = np.array([f.position for f in table[0]])
    for row in table:
        here = np.array([f.position for f in row])
        if here.shape != places.shape or np.abs(here - places).max() > _TOLERANCE_MM:
            raise InputError(path, "has contrasts whose slices do not lie at the same places", "write each of them to its own file")
    steps = np.diff(places @ normal)
    if len(places) > 1:
        if steps.min() <= _TOLERANCE_MM:
            raise InputError(path, "has several frames of one contrast at one place", "choose the frames of one measurement")
        if np.ptp(steps) > max(_TOLERANCE_MM, 1e-3 * float(steps.mean())):
            raise InputError(path, f"has slices {steps.min():g} to {steps.max():g} mm apart", "supply the missing slices")
        if np.abs(np.diff(places, axis=0) - normal * steps[:, None]).max() > _TOLERANCE_MM:
            raise InputError(path, "has slices that are shifted in their plane", "resample it to an orthogonal grid")
    if all([f.place for f in row] == list(range(len(row), 0, -1)) for row in table) and len(places) > 1:
        table = [row[::-1] for row in table]
    return table


def _affine(row: list[MapFrame], path: Path) -> Float64[np.ndarray, "4 4"]:
    first = row[0]
    along_row, along_column = first.orientation[:3], first.orientation[3:]
    across = np.cross(along_row, along_column)
    if len(row) > 1:
        span = float((row[-1].position - first.position) @ across) / (len(row) - 1)
        across, distance = (across, span) if span > 0 else (-across, -span)
    elif first.distance:
        distance = first.distance
    else:
        raise InputError(path, "has one slice of unknown thickness", "correct SliceThickness")
    columns = np.stack([along_row, along_column, across], axis=1)
    voxel = mm_to_m(np.array([first.spacing[1], first.spacing[0], distance]))
    return affine_from_vectors(columns, voxel, mm_to_m(first.position))


def _values(
    stored: NDArray[Any], padding: float | None, table: list[list[MapFrame]], path: Path
) -> tuple[NDArray[np.float32], list[str]]:
    """Pixels in SI units, and notes about what the mapping does not cover or float32 cannot hold."""
    data = np.empty((len(table), len(table[0]), *stored.shape[1:]), dtype=np.float32)
    outside = rounded = 0
    for contrast, row in enumerate(table):
        for z, frame in enumerate(row):
            raw = stored[frame.index].astype(np.float64)
            holes = np.isnan(raw) if padding is None else np.isnan(raw) | (raw == padding)
            inside = raw[~holes]
            outside += int(((inside < frame.first) | (inside > frame.last)).sum())
            exact = raw * frame.factor
            if frame.offset:  # adding zero would turn -0.0 into 0.0
                exact += frame.offset
            exact[holes] = np.nan
            if np.abs(exact[np.isfinite(exact)]).max(initial=0.0) > np.finfo(np.float32).max:
                raise InputError(path, "has values beyond what 32 bits hold", "correct its real-world value mapping")
            data[contrast, z] = exact
            if stored.dtype.itemsize == 8:
                rounded += int((data[contrast, z][~holes] != exact[~holes]).sum())
    notes = []
    if outside:
        notes.append(f"{outside} values lie outside the range that their real-world value mapping covers")
    if rounded:
        notes.append(f"{rounded} values of 64 bits were rounded to 32")
    return data, notes
