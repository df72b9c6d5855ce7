"""Open a data set by what its file or folder holds."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from medcore.datasets.base import Dataset
from medcore.datasets.graded import GradedFolder
from medcore.datasets.images import files_in, subfolder
from medcore.datasets.masks import MaskFolder, find_masks
from medcore.datasets.medmnist import MedMnist
from medcore.datasets.voc import ANNOTATION_FOLDERS, VocFolder, is_voc
from medcore.errors import ConfigError, InputError
from medcore.plugins import unknown_name


class Kind(NamedTuple):
    """A kind of data set that can be opened."""

    reader: Callable[..., Dataset]
    summary: str


KINDS: dict[str, Kind] = {
    "medmnist": Kind(MedMnist, "a MedMNIST .npz file; options split, classes, ordered"),
    "graded": Kind(
        GradedFolder,
        "images beside a CSV table of ordinal grades; options csv, image_column, grade_column, classes, subject_column",
    ),
    "voc": Kind(VocFolder, "images with boxes in Pascal VOC XML files; options one_based, classes"),
    "masks": Kind(MaskFolder, "images with segmentation masks, made to boxes; option structure"),
}
"""Kinds of data sets by name."""


def recognise_dataset(path: str | Path) -> list[str]:
    """Which of :data:`KINDS` a file or folder may be; looks at names and first bytes only.

    Raises
    ------
    InputError
        If it does not exist or cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(path, "does not exist", "check the path")
    if path.is_file():
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return ["medmnist"] if any(n.endswith("_images.npy") for n in archive.namelist()) else []
        # A damaged .npz goes to its reader, which says what is wrong with it.
        return {".csv": ["graded"], ".npz": ["medmnist"]}.get(path.suffix.lower(), [])
    found = []
    if any(is_voc(f) for f in files_in(subfolder(path, ANNOTATION_FOLDERS), (".xml",))[:3]):
        found.append("voc")
    if files_in(path, (".csv",)):
        found.append("graded")
    elif find_masks(path)[1]:
        found.append("masks")
    return found


def open_dataset(path: str | Path, kind: str | None = None, **options: Any) -> Dataset:
    """Open a data set, recognised by content.

    Parameters
    ----------
    path
        File or folder.
    kind
        One of :data:`KINDS`, where the content leaves a choice.
    options
        Passed to the reader: :class:`MedMnist`, :class:`GradedFolder`, :class:`VocFolder` or :class:`MaskFolder`.

    Raises
    ------
    InputError
        If it is no data set of a known kind, or the reader refuses it.
    ConfigError
        For an unknown kind or an option that the reader does not have.
    """
    if kind is None:
        found = recognise_dataset(path)
        if len(found) != 1:
            if found:
                raise InputError(path, f"may be of the kinds {' and '.join(found)}", "choose one with kind=")
            raise InputError(path, "holds no data set of a known kind", f"give one of the kinds {', '.join(KINDS)}")
        kind = found[0]
    elif kind not in KINDS:
        raise unknown_name("kind of data set", kind, list(KINDS))
    reader = KINDS[kind].reader
    valid = list(inspect.signature(reader).parameters)[1:]
    wrong = next((o for o in options if o not in valid), None)
    if wrong is not None:
        raise ConfigError(f"data set {path}", f"is of the kind {kind}, which has no option {wrong!r}", f"use {', '.join(valid)}")
    return reader(path, **options)
