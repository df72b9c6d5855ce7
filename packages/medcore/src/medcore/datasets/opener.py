"""Open a data set by what its file or folder holds."""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from medcore.datasets.base import Dataset
from medcore.datasets.classified import ClassFolders, ClassTable, class_folders
from medcore.datasets.coco import ANNOTATION_FOLDERS as COCO_FOLDERS
from medcore.datasets.coco import CocoDetection, looks_like_coco
from medcore.datasets.dicom_folder import DicomImages
from medcore.datasets.graded import GRADE_COLUMNS, IMAGE_COLUMNS, SUBJECT_COLUMNS, GradedFolder
from medcore.datasets.images import IMAGE_FOLDERS, SUFFIXES, files_in, subfolder
from medcore.datasets.labels import LABEL_COLUMNS, SPLIT_COLUMNS, zero_one_columns
from medcore.datasets.masks import MaskFolder, find_masks
from medcore.datasets.medmnist import MedMnist, archive_members, is_medmnist
from medcore.datasets.relaxometry import RelaxometryFolder
from medcore.datasets.tables import Table, plain_name, read_table
from medcore.datasets.voc import ANNOTATION_FOLDERS, VocFolder, is_voc
from medcore.datasets.vqa import VqaLines, looks_like_vqa
from medcore.errors import ConfigError, InputError
from medcore.io.bids import is_bids
from medcore.io.dicom.files import is_dicom
from medcore.plugins import unknown_name

_LOOK_AT = 20
"""So many files of a kind are looked at before a folder is said to hold it."""
_DATA_SUFFIXES = (".csv", ".xml", ".json", ".jsonl", ".npz")


class Kind(NamedTuple):
    """A kind of data set that can be opened."""

    reader: Callable[..., Any]
    summary: str


KINDS: dict[str, Kind] = {
    "medmnist": Kind(MedMnist, "a MedMNIST .npz file; options split, classes, ordered, flag, size, verify"),
    "graded": Kind(
        GradedFolder,
        "images beside a CSV table of ordinal grades; options csv, image_column, grade_column, classes, subject_column",
    ),
    "voc": Kind(VocFolder, "images with boxes in Pascal VOC XML files; options one_based, classes"),
    "masks": Kind(MaskFolder, "images with segmentation masks, made to boxes; option structure"),
    "coco": Kind(CocoDetection, "images with boxes in a COCO JSON file; options json, images, classes, check_sizes"),
    "class-folders": Kind(ClassFolders, "images in one folder for each class; options split, classes, ordered, subject_pattern"),
    "class-table": Kind(
        ClassTable,
        "images beside a CSV table of classes, one or several for each image; options csv, image_column, label_column, label_columns, "
        "separator, no_label, subject_column, split_column, split, classes, ordered, unlabelled",
    ),
    "vqa": Kind(VqaLines, "questions and answers about images in JSON Lines; options images, split"),
    "dicom-images": Kind(
        DicomImages,
        "grey DICOM images or series, with or without a CSV table of labels; options csv, key_column, label_column, label_columns, "
        "separator, no_label, classes, ordered, unlabelled, unit, window, salt",
    ),
    "relaxometry": Kind(
        RelaxometryFolder, "series of a BIDS folder with their times, a sample for each collection; options subjects, kinds"
    ),
}
"""Kinds of data sets by name; all readers take the options licence and source."""


def recognise_dataset(path: str | Path) -> list[str]:
    """Which of :data:`KINDS` a file or folder may be; looks at names, first bytes and, of a CSV table, at its columns.

    Raises
    ------
    InputError
        If it does not exist or cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(path, "does not exist", "check the path")
    return _kinds_of_file(path) if path.is_file() else _kinds_of_folder(path)


def open_dataset(path: str | Path, kind: str | None = None, **options: Any) -> Dataset:
    """Open a data set, recognised by content.

    Parameters
    ----------
    path
        File or folder.
    kind
        One of :data:`KINDS`, where the content leaves a choice. Options that only one reader has make that choice too.
    options
        Passed to the reader: :class:`MedMnist`, :class:`GradedFolder`, :class:`VocFolder`, :class:`MaskFolder`,
        :class:`CocoDetection`, :class:`ClassFolders`, :class:`ClassTable`, :class:`VqaLines`, :class:`DicomImages` or
        :class:`RelaxometryFolder`.

    Returns
    -------
    Dataset
        The samples of ``relaxometry`` are series (:class:`medcore.datasets.relaxometry.RelaxometrySample`), of all others images.

    Raises
    ------
    InputError
        If it is no data set of a known kind, or the reader refuses it.
    ConfigError
        For an unknown kind or an option that the reader does not have.
    """
    if kind is None:
        kind = _only_kind(path, options)
    elif kind not in KINDS:
        raise unknown_name("kind of data set", kind, list(KINDS))
    valid = _options_of(kind)
    wrong = next((o for o in options if o not in valid), None)
    if wrong is not None:
        raise ConfigError(f"data set {path}", f"is of the kind {kind}, which has no option {wrong!r}", f"use {', '.join(valid)}")
    dataset: Dataset = KINDS[kind].reader(path, **options)
    return dataset


def find_datasets(folder: str | Path, depth: int = 2) -> list[tuple[Path, str]]:
    """The data sets in a folder: itself, or those in its subfolders.

    A folder that is one data set is not searched further; one that may be several is left out, as its kind has to be chosen. Files
    that are data sets by themselves (``.npz``, ``.jsonl``) are found too. DICOM files in several subfolders are one data set, unless
    there are others beside them. Symbolic links and hidden folders are passed over.

    Parameters
    ----------
    folder
        Where to look.
    depth
        How many levels of subfolders.

    Returns
    -------
    list of (path, kind)
        By path.

    Raises
    ------
    InputError
        If `folder` is none, or cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "is not a folder" if folder.exists() else "does not exist", "give the folder of data sets")
    kinds = recognise_dataset(folder)
    # One .npz file makes a folder a data set, and DICOM files somewhere below it do, only for want of others in its subfolders.
    if len(kinds) == 1 and kinds[0] not in ("medmnist", "dicom-images"):
        return [(folder, kinds[0])]
    found = []
    for file in files_in(folder, (".npz", ".jsonl")):
        own = recognise_dataset(file)
        found += [(file, own[0])] if len(own) == 1 else []
    if depth > 0:
        for inner in sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")):
            found += find_datasets(inner, depth - 1)
    if kinds == ["dicom-images"] and all(kind == "dicom-images" for _, kind in found):
        return [(folder, "dicom-images")]
    return sorted(found)


def _only_kind(path: str | Path, options: dict[str, Any]) -> str:
    found = recognise_dataset(path)
    if len(found) > 1:
        found = [k for k in found if set(options) <= set(_options_of(k))] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(path, f"may be of the kinds {' and '.join(found)}", "choose one with kind=")
    raise InputError(path, "holds no data set of a known kind", f"give one of the kinds {', '.join(KINDS)}")


def _options_of(kind: str) -> list[str]:
    return list(inspect.signature(KINDS[kind].reader).parameters)[1:]


def _kinds_of_file(path: Path) -> list[str]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _kinds_of_table(path)
    if (members := archive_members(path)) is not None:
        return ["medmnist"] if any(n.endswith("_images.npy") for n in members) else []
    if looks_like_vqa(path):
        return ["vqa"]
    if looks_like_coco(path):
        return ["coco"]
    # A damaged file goes to its reader, which says what is wrong with it.
    return ["medmnist"] if suffix == ".npz" else []


def _kinds_of_folder(folder: Path) -> list[str]:
    if is_bids(folder):
        return ["relaxometry"]
    found = []
    if any(is_voc(f) for f in files_in(subfolder(folder, ANNOTATION_FOLDERS), (".xml",))[:3]):
        found.append("voc")
    if any(
        looks_like_coco(f) for place in (folder, subfolder(folder, COCO_FOLDERS)) for f in files_in(place, (".json",))[:_LOOK_AT]
    ):
        found.append("coco")
    if any(looks_like_vqa(f) for f in files_in(folder, (".jsonl",))[:_LOOK_AT]):
        found.append("vqa")
    if sum(is_medmnist(f) for f in files_in(folder, (".npz",))[:_LOOK_AT]) == 1:
        found.append("medmnist")
    pictures = files_in(folder, SUFFIXES) or files_in(subfolder(folder, IMAGE_FOLDERS), SUFFIXES)
    tables = [k for t in files_in(folder, (".csv",))[:_LOOK_AT] for k in _kinds_of_table(t, bool(pictures))]
    if tables and not pictures and _holds_dicom(folder):
        return [*found, "dicom-images"]
    found += [k for k in ("graded", "class-table") if k in tables]
    if not tables and find_masks(folder)[1]:
        found.append("masks")
    if not pictures and "voc" not in found and _is_classified(folder):
        found.append("class-folders")
    return ["dicom-images"] if not found and not pictures and _holds_dicom(folder) else found


def _kinds_of_table(file: Path, pictures: bool = True) -> list[str]:
    """Which kinds the columns of a table beside images speak for; nothing where it names no images and none are there."""
    try:
        table = read_table(file)
    except InputError:
        return ["graded"]  # the reader says what is wrong with it
    image, grade, label = (table.find(names) for names in (IMAGE_COLUMNS, GRADE_COLUMNS, LABEL_COLUMNS))
    if image is None and not pictures:
        return []
    if grade is not None and _is_graded(table, grade):
        # Whole numbers called "label" are grades in some tables and mere numbers of classes in others.
        return ["graded", "class-table"] if plain_name(grade) == "label" else ["graded"]
    others = (image, *(table.find(names) for names in (SUBJECT_COLUMNS, SPLIT_COLUMNS)))
    if label is not None or len(zero_one_columns(table, others)) > 1:
        return ["class-table"]
    return ["graded", "class-table"]


def _is_graded(table: Table, column: str) -> bool:
    return all(c.isdecimal() and len(c) < 3 for c in table.column(column))


def _is_classified(folder: Path) -> bool:
    """Whether every subfolder (of a split) holds images and nothing that makes it a data set of its own; two classes at least."""
    try:
        places = class_folders(folder)
    except InputError:
        return True  # the reader says what is wrong with it
    inner = [place for _, _, place in places]
    if len({name for _, name, _ in places}) < 2:
        return False
    return all(files_in(f, SUFFIXES) and not files_in(f, _DATA_SUFFIXES) and not find_masks(f)[1] for f in inner)


def _holds_dicom(folder: Path) -> bool:
    """Whether one of the first files below a folder is DICOM."""
    for file in itertools.islice(_files_below(folder), _LOOK_AT):
        try:
            with file.open("rb") as stream:
                if is_dicom(stream.read(132)):
                    return True
        except OSError:
            continue
    return False


def _files_below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))
