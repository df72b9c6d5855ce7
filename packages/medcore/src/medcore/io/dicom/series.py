"""Reading one DICOM series as images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.dicom.decoding import FrameDecoder
from medcore.io.dicom.frames import Frame, read_frames
from medcore.io.dicom.grouping import build_stack, choose_kind
from medcore.io.dicom.listing import (
    Images,
    SeriesInfo,
    check_one_patient,
    choose_series,
    find_files,
    list_series,
    open_images,
)
from medcore.io.dicom.notes import notes_about
from medcore.io.dicom.parsing import pydicom_errors
from medcore.io.images import ImageSeries
from medcore.units import deg_to_rad, ms_to_s

__all__ = ["SeriesInfo", "find_files", "list_series", "read_dicom"]


def read_dicom(
    path: str | Path | Sequence[str | Path],
    *,
    series: str | int | Sequence[str | int] | None = None,
    incomplete: Literal["refuse", "drop"] = "refuse",
    frame_type: str | None = None,
) -> ImageSeries:
    """Read one series, classic, mosaic or enhanced multi-frame, as images (contrast, z, y, x).

    Frames are placed by position and orientation and grouped by inversion time, echo time, flip angle and time point (then, only
    where that leaves two at one place, by repetition time and acquisition number). Every frame is scaled with its own slope and
    intercept. Contrasts come in rising order of those times, slices in rising order along the normal. Names and order of the files
    decide nothing. Whatever was left out, assumed or looks odd is named in `repairs`.

    Parameters
    ----------
    path
        A file, a folder (searched with everything below), or files.
    series
        UID or number of the series where there are several; several of them, as a list, as ``"3,4,5"`` or as ``"all"``, are read as
        contrasts of one.
    incomplete
        What to do where a contrast lacks slices: ``"refuse"``, or ``"drop"`` the slices or contrasts concerned, whichever keeps
        more images, and name them in `repairs`.
    frame_type
        Third value of ImageType or FrameType, or the complex component (for example ``"PHASE"``), where several are mixed.

    Raises
    ------
    InputError
        If a file is damaged, or the files do not form one evenly spaced block of images of one patient.
    MissingExtraError
        If no decoder is installed for the compression used.
    """
    if incomplete not in ("refuse", "drop"):
        raise InputError("incomplete", f"is {incomplete!r}", "use 'refuse' or 'drop'")
    images, what = open_images(path)
    images = choose_series(images, series, what)
    check_one_patient(images, what)
    frames = [f for i, (p, d) in enumerate(zip(images.paths, images.datasets, strict=True)) for f in read_frames(d, i, p)]
    frames, type_notes = choose_kind(frames, frame_type, what)
    stack = build_stack(frames, incomplete, what)
    times, time_notes = _times(stack.frames, what)
    notes = [*images.notes, *type_notes, *stack.repairs, *time_notes, *notes_about(images.datasets, what)]
    return ImageSeries(
        data=_values(stack.frames, images),
        affine=stack.affine,
        times=times,
        meta={"image_type": stack.frames[0][0].kind, **_meta(images.datasets[0], len(images.paths), what)},
        repairs=tuple(notes),
        source=what,
    )


def _values(table: list[list[Frame]], images: Images) -> NDArray[np.float32]:
    """Scaled pixels (contrast, z, y, x); every frame is decoded once and only one file's stored pixels are held at a time."""
    places: dict[int, dict[int, list[tuple[int, int, Frame]]]] = defaultdict(lambda: defaultdict(list))
    for contrast, row in enumerate(table):
        for z, frame in enumerate(row):
            places[frame.file][frame.index].append((contrast, z, frame))
    data = np.empty((len(table), len(table[0]), *table[0][0].size), dtype=np.float32)
    with FrameDecoder() as decoder:
        for file, items in places.items():
            dataset = images.datasets[file]
            for index, stored in decoder.frames(dataset, items, images.paths[file]):
                for contrast, z, frame in items[index]:
                    (top, left), (height, width) = frame.corner, frame.size
                    part = stored[top : top + height, left : left + width].astype(np.float64)
                    data[contrast, z] = part * frame.slope + frame.intercept
            del dataset.PixelData  # decoding brought it into memory
    return data


def _times(table: list[list[Frame]], what: str) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Times of every contrast in seconds and radians; those that differ between slices are left out and named."""
    times: dict[str, NDArray[np.float64]] = {}
    notes = []
    for key, name in (("te", "te"), ("ti", "ti"), ("tr", "tr"), ("flip_angle", "flip")):
        columns = [{getattr(frame, name) for frame in row} for row in table]
        if all(column == {None} for column in columns):
            continue
        if any(len(column) > 1 for column in columns):
            notes.append(f"{key} differs between slices and is left out")
        elif any(None in column for column in columns):
            raise InputError(what, f"states {key} for some contrasts and not for others", "choose the images of one measurement")
        else:
            values = np.array([float(next(iter(column))) for column in columns])
            times[key] = values * (deg_to_rad(1.0) if key == "flip_angle" else ms_to_s(1.0))
    zeros = {name for row in table for frame in row for name in frame.zeros}
    return times, [*notes, *(f"{name} 0 is taken as not stated" for name in sorted(zeros))]


def _meta(dataset: Any, n_files: int, what: str) -> dict[str, Any]:
    """Facts that identify nobody."""
    keywords = {
        "modality": "Modality",
        "vendor": "Manufacturer",
        "model": "ManufacturerModelName",
        "software": "SoftwareVersions",
        "sequence": "SequenceName",
        "field_strength": "MagneticFieldStrength",
    }
    with pydicom_errors(what):
        found = {key: dataset.get(keyword) for key, keyword in keywords.items()}
    meta: dict[str, Any] = {"files": n_files}
    for key, value in found.items():
        if key == "field_strength":
            if isinstance(value, (int, float)) and np.isfinite(value):
                meta[key] = float(value)
            continue
        words = [value] if isinstance(value, str) else list(value) if hasattr(value, "__len__") else []
        if words and all(isinstance(word, str) and word for word in words):
            meta[key] = "; ".join(words)
    return meta
