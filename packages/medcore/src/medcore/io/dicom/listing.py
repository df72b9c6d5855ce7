"""Which DICOM files and series a folder holds, and choosing among them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from medcore.io.dicom.files import NoImageError, is_dicom, n_frames, open_dicom
from medcore.io.dicom.parsing import pydicom_errors

_MAX_FILES = 100_000
_IDENTITY = (
    ("PatientID", "patients"),
    ("PatientName", "patients"),
    ("StudyInstanceUID", "examinations"),
    ("FrameOfReferenceUID", "frames of reference"),
)


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


@dataclass(frozen=True, kw_only=True)
class Images:
    """Opened files in an order that their names have no part in, and the notes about what was passed over."""

    paths: tuple[Path, ...]
    datasets: tuple[Any, ...]
    notes: tuple[str, ...] = ()


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


def open_images(path: str | Path | Sequence[str | Path]) -> tuple[Images, str]:
    """Open a file, a folder or files; returns the images and what to call them in messages.

    Reports, presentation states and other objects without pixels are passed over in a folder, and refused where they were named.

    Raises
    ------
    InputError
        If there is nothing to open or a file is damaged.
    """
    if not isinstance(path, (str, Path)):
        files = [Path(p) for p in path]
        if not files:
            raise InputError("DICOM files", "are none", "name at least one file")
        return _in_order([(p, open_dicom(p)) for p in files]), f"{files[0]} and {len(files) - 1} more" if len(files) > 1 else str(
            files[0]
        )
    if not Path(path).is_dir():
        return _in_order([(Path(path), open_dicom(path))]), str(path)
    opened, passed_over = _open_folder(Path(path))
    if not opened:
        raise InputError(path, "holds no DICOM image", "check the path")
    note = f"passed over {passed_over} DICOM files that are no images"
    return _in_order(opened, (note,) if passed_over else ()), str(path)


def _open_folder(folder: Path) -> tuple[list[tuple[Path, Any]], int]:
    opened, passed_over = [], 0
    for file in find_files(folder):
        try:
            opened.append((file, open_dicom(file)))
        except NoImageError:
            passed_over += 1
    return opened, passed_over


def _in_order(opened: list[tuple[Path, Any]], notes: tuple[str, ...] = ()) -> Images:
    keys = []
    for path, dataset in opened:
        with pydicom_errors(path):
            number = dataset.get("InstanceNumber")
            uid = str(dataset.get("SOPInstanceUID") or "")
        keys.append((number if isinstance(number, int) else -1, uid))
    order = sorted(range(len(opened)), key=lambda i: keys[i])
    return Images(paths=tuple(opened[i][0] for i in order), datasets=tuple(opened[i][1] for i in order), notes=notes)


def list_series(folder: str | Path) -> list[SeriesInfo]:
    """The series below `folder`, by series number and UID; pixels are not read.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    members: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    for path, dataset in _open_folder(Path(folder))[0]:
        members[str(dataset.SeriesInstanceUID)].append((path, dataset))
    series = [_info(uid, files) for uid, files in members.items()]
    return sorted(series, key=lambda s: (-1 if s.number is None else s.number, s.uid))


def _info(uid: str, files: list[tuple[Path, Any]]) -> SeriesInfo:
    path, first = files[0]
    with pydicom_errors(path):
        number, description, modality = (first.get(k) for k in ("SeriesNumber", "SeriesDescription", "Modality"))
    return SeriesInfo(
        uid=uid,
        number=number if isinstance(number, int) else None,
        description=description if isinstance(description, str) else "",
        modality=modality if isinstance(modality, str) else "",
        n_files=len(files),
        n_frames=sum(n_frames(d) for _, d in files),
        paths=tuple(p for p, _ in files),
    )


def choose_series(images: Images, wanted: str | int | Sequence[str | int] | None, what: str) -> Images:
    """The files of the wanted series, or all of them where there is one series only.

    Raises
    ------
    InputError
        If there are several and none was chosen, or one that was chosen is absent or ambiguous.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, dataset in enumerate(images.datasets):
        members[str(dataset.SeriesInstanceUID)].append(i)
    infos = [_info(uid, [(images.paths[i], images.datasets[i]) for i in where]) for uid, where in members.items()]
    infos.sort(key=lambda s: (-1 if s.number is None else s.number, s.uid))
    if wanted is None and len(infos) == 1:
        return images
    # Numbers and UIDs only: a description is free text, which may hold a name.
    numbers = [info.number for info in infos]
    names = "; ".join(
        f"{info.number if info.number is not None and numbers.count(info.number) == 1 else info.uid} with {info.n_files} files"
        for info in infos[:20]
    )
    if wanted is None:
        raise InputError(what, f"holds {len(infos)} series ({names})", "choose one with series=")
    chosen: list[int] = []
    for one in _asked(wanted):
        found = [info.uid for info in infos if one == "all" or str(one) in (info.uid, str(info.number))]
        if len(found) != 1 and one != "all":
            raise InputError(what, f"has {len(found)} series {one!r} ({names})", "choose one of these")
        chosen += [i for uid in found for i in members[uid]]
    keep = sorted(set(chosen))
    return Images(paths=tuple(images.paths[i] for i in keep), datasets=tuple(images.datasets[i] for i in keep), notes=images.notes)


def _asked(wanted: str | int | Sequence[str | int]) -> list[str | int]:
    if isinstance(wanted, str):
        return [one.strip() for one in wanted.split(",") if one.strip()]
    return [wanted] if isinstance(wanted, int) else list(wanted)


def check_one_patient(images: Images, what: str) -> None:
    """Refuse files of different patients, examinations or frames of reference, and files that are one image; no identifier is shown."""
    with pydicom_errors(what):
        found = {keyword: [str(d.get(keyword) or "") for d in images.datasets] for keyword, _ in _IDENTITY}
        instances = [str(d.get("SOPInstanceUID") or "") for d in images.datasets]
    for keyword, word in _IDENTITY:
        if len(set(found[keyword])) > 1:
            raise InputError(what, f"mixes {len(set(found[keyword]))} {word} ({keyword} differs)", "give the files of one series")
    stated = [uid for uid in instances if uid]
    if doubles := len(stated) - len(set(stated)):
        raise InputError(what, f"holds {doubles} files whose SOPInstanceUID another file has", "remove the duplicates")
