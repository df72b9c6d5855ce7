"""Which series a folder holds, and reading one of them as images."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError, MissingExtraError
from medcore.io.dicom.files import is_dicom, n_frames, open_dicom, parser_errors
from medcore.io.dicom.frames import Frame, read_frames
from medcore.io.dicom.grouping import build_stack, choose_kind
from medcore.io.guard import foreign_errors, reason
from medcore.io.images import ImageSeries
from medcore.units import deg_to_rad, ms_to_s

_MAX_FILES = 100_000


@dataclass(frozen=True, kw_only=True)
class SeriesInfo:
    """One series of a folder; nothing here names the patient."""

    uid: str
    number: int | None
    description: str
    modality: str
    n_files: int
    n_frames: int
    paths: tuple[Path, ...]


def find_files(folder: str | Path) -> list[Path]:
    """All DICOM files below `folder`, sorted; symbolic links are not followed, DICOMDIR and other files are passed over.

    Raises
    ------
    InputError
        If there are more than 100,000 files.
    """
    found: list[Path] = []
    count = 0
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > _MAX_FILES:
                raise InputError(folder, f"holds more than {_MAX_FILES} files", "name the folder of one examination")
            path = Path(root, name)
            if name.upper() == "DICOMDIR" or path.is_symlink() or not path.is_file():
                continue
            if _has_dicom_magic(path):
                found.append(path)
    return found


def _has_dicom_magic(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check its permissions") from error


def list_series(folder: str | Path) -> list[SeriesInfo]:
    """The series below `folder`, by series number and UID.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    members: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    for path in find_files(folder):
        dataset = open_dicom(path)
        del dataset.PixelData  # a folder may hold more than fits into memory
        members[str(dataset.SeriesInstanceUID)].append((path, dataset))
    series = [_info(uid, files) for uid, files in members.items()]
    return sorted(series, key=lambda s: (-1 if s.number is None else s.number, s.uid))


def _info(uid: str, files: list[tuple[Path, Any]]) -> SeriesInfo:
    first = files[0][1]
    with _elements_of(files[0][0]):
        number = first.get("SeriesNumber")
        return SeriesInfo(
            uid=uid,
            number=None if number in (None, "") else int(number),
            description=str(first.get("SeriesDescription") or ""),
            modality=str(first.get("Modality") or ""),
            n_files=len(files),
            n_frames=sum(n_frames(d) for _, d in files),
            paths=tuple(p for p, _ in files),
        )


def read_dicom(
    path: str | Path | Sequence[str | Path],
    *,
    series: str | int | Sequence[str | int] | None = None,
    incomplete: Literal["refuse", "drop"] = "refuse",
    frame_type: str | None = None,
) -> ImageSeries:
    """Read one series, classic or enhanced multi-frame, as images (contrast, z, y, x).

    Frames are placed by position and orientation and grouped by inversion time, echo time, flip angle and time point (then, only
    where that leaves two at one place, by repetition time and acquisition number). Every frame is scaled with its own slope and
    intercept. Contrasts come in rising order of those times, slices in rising order along the normal.

    Parameters
    ----------
    path
        A file, a folder (searched with everything below), or files.
    series
        UID or number of the series where there are several; several of them are read as contrasts of one.
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
    paths, what = _paths(path)
    datasets = [open_dicom(p) for p in paths]
    chosen = _choose_series(paths, datasets, series, what)
    paths, datasets = [paths[i] for i in chosen], [datasets[i] for i in chosen]
    with _elements_of(what):
        _check_one_patient(datasets, what)
        meta = _meta(datasets[0], len(paths))
    frames = [frame for i, (p, d) in enumerate(zip(paths, datasets, strict=True)) for frame in read_frames(d, i, p)]
    frames, type_notes = choose_kind(frames, frame_type, what)
    stack = build_stack(frames, incomplete, what)
    data = _values(stack.frames, datasets, paths)
    times, time_notes = _times(stack.frames, what)
    notes = [*type_notes, *stack.repairs, *time_notes]
    if any(d.PhotometricInterpretation == "MONOCHROME1" for d in datasets):
        notes.append("MONOCHROME1: values are kept, only their display is inverted")
    return ImageSeries(
        data=data,
        affine=stack.affine,
        times=times,
        meta={"image_type": stack.frames[0][0].kind, **meta},
        repairs=tuple(notes),
        source=what,
    )


def _elements_of(what: str | Path) -> AbstractContextManager[None]:
    """Guard for reading elements: pydicom converts one when it is first asked for, and may fail then."""
    return foreign_errors(what, "has an element that cannot be read", quote=False, also=parser_errors())


def _paths(path: str | Path | Sequence[str | Path]) -> tuple[list[Path], str]:
    if not isinstance(path, (str, Path)):
        files = [Path(p) for p in path]
        if not files:
            raise InputError("DICOM files", "are none", "name at least one file")
        return files, f"{files[0]} and {len(files) - 1} more" if len(files) > 1 else str(files[0])
    if Path(path).is_dir():
        files = find_files(path)
        if not files:
            raise InputError(path, "holds no DICOM file", "check the path")
        return files, str(path)
    return [Path(path)], str(path)


def _choose_series(paths: list[Path], datasets: list[Any], wanted: Any, what: str) -> list[int]:
    members: dict[str, list[int]] = defaultdict(list)
    for i, dataset in enumerate(datasets):
        members[str(dataset.SeriesInstanceUID)].append(i)
    infos = [_info(uid, [(paths[i], datasets[i]) for i in where]) for uid, where in members.items()]
    # Numbers and UIDs only: a description is free text, which may hold a name.
    numbers = [info.number for info in infos]
    names = "; ".join(
        f"{info.number if info.number is not None and numbers.count(info.number) == 1 else info.uid} with {info.n_files} files"
        for info in infos[:20]
    )
    if wanted is None:
        if len(members) > 1:
            raise InputError(what, f"holds {len(members)} series ({names})", "choose one with series=")
        return list(range(len(datasets)))
    asked = [wanted] if isinstance(wanted, (str, int)) else list(wanted)
    chosen: list[int] = []
    for one in asked:
        found = [info.uid for info in infos if str(one) in (info.uid, str(info.number))]
        if len(found) != 1:
            raise InputError(what, f"has {len(found)} series {one!r} ({names})", "choose one of these")
        chosen += members[found[0]]
    return chosen


def _check_one_patient(datasets: list[Any], what: str) -> None:
    """Refuse files of different patients, examinations or frames of reference; their identifiers are not shown."""
    for keyword, word in (
        ("PatientID", "patients"),
        ("PatientName", "patients"),
        ("StudyInstanceUID", "examinations"),
        ("FrameOfReferenceUID", "frames of reference"),
    ):
        found = {str(d.get(keyword) or "") for d in datasets}
        if len(found) > 1:
            raise InputError(what, f"mixes {len(found)} {word} ({keyword} differs)", "give the files of one series")


def _values(table: list[list[Frame]], datasets: list[Any], paths: list[Path]) -> NDArray[np.float32]:
    """Scaled pixels (contrast, z, y, x); every file is decoded once."""
    places = defaultdict(list)
    for contrast, row in enumerate(table):
        for z, frame in enumerate(row):
            places[frame.file].append((contrast, z, frame))
    data = np.empty((len(table), len(table[0]), *table[0][0].size), dtype=np.float32)
    for file, items in places.items():
        pixels = _decode(datasets[file], paths[file])
        for contrast, z, frame in items:
            data[contrast, z] = pixels[frame.index] * frame.slope + frame.intercept
    return data


def _decode(dataset: Any, path: Path) -> NDArray[np.float64]:
    syntax = dataset.file_meta.TransferSyntaxUID
    shape = (n_frames(dataset), int(dataset.Rows), int(dataset.Columns))
    try:
        with foreign_errors(path, "has pixels that cannot be decoded"):
            return np.asarray(dataset.pixel_array, dtype=np.float64).reshape(shape)
    except InputError as error:
        text = str(error.__cause__)
        if "missing dependencies" in text:
            raise MissingExtraError("pylibjpeg or gdcm", "medcore[dicom]", f"{path} ({syntax.name})") from error
        raise InputError(path, f"has pixels that cannot be decoded ({reason(error.__cause__ or error)})", "convert it") from error


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
    return times, notes


def _meta(dataset: Any, n_files: int) -> dict[str, Any]:
    """Facts that identify nobody."""
    keywords = {
        "modality": "Modality",
        "vendor": "Manufacturer",
        "model": "ManufacturerModelName",
        "software": "SoftwareVersions",
        "sequence": "SequenceName",
        "field_strength": "MagneticFieldStrength",
    }
    meta: dict[str, Any] = {"files": n_files}
    for key, keyword in keywords.items():
        value = dataset.get(keyword)
        if value in (None, ""):
            continue
        if key == "field_strength":
            meta[key] = float(value)
        else:
            meta[key] = value if isinstance(value, str) else "; ".join(map(str, value))
    return meta
