"""MedMNIST files: ``.npz`` with ``train_images``, ``train_labels`` and so on (Yang et al. 2023, doi 10.1038/s41597-022-01721-8)."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer

from medcore.atomic import sha256_file
from medcore.datasets.base import AnnotatedImages, Annotation, DatasetCard, Pixels, Task, class_names, tally
from medcore.datasets.images import files_in
from medcore.datasets.medmnist_facts import PUBLISHED, RECORD, SIZES, SIZES_3D, SOURCE, Published, file_name, split_name
from medcore.datasets.origin import find_origin
from medcore.errors import ConfigError, InputError
from medcore.io.archive import member_names
from medcore.io.guard import foreign_errors
from medcore.io.limits import check_size, existing_file
from medcore.io.npy import load_array
from medcore.plugins import unknown_name

SPLITS = ("train", "val", "test")
_MAX_CLASSES = 10_000
_BLOCK = 1 << 20


class MedMnist(AnnotatedImages):
    """One split of a MedMNIST file: images (28, 64, 128, 224) or volumes (28, 64), one label each, several, or an ordinal grade.

    Labels are read at once, pixels when the first image is asked for; then the whole split is in memory. Pickling leaves the pixels
    out, so every worker of a loader that was not forked after that reads its own.

    Parameters
    ----------
    path
        The ``.npz`` file, or a folder that holds one. The set is known by the beginning of the file's name (``pneumoniamnist.npz``,
        ``pneumoniamnist_64.npz``); any other file with the same arrays is read too.
    split
        ``train``, ``val``, ``test`` or another for which the file holds ``<split>_images`` and ``<split>_labels``.
    classes
        Class names in the order of the labels; needed for numbers to become names where the set is not a known one (else ``class 0`` ...).
    ordered
        Whether the classes are grades, the mildest first; by default as published (RetinaMNIST: yes).
    flag, size
        Which set and edge length, where `path` is a folder of several files.
    verify
        Compare the file's MD5 with the published one.
    licence, source
        For the card; by default as published (CC BY 4.0, DermaMNIST CC BY-NC 4.0) for the eighteen sets.

    Raises
    ------
    InputError
        If the file is missing (for a known set: with its name, MD5, address and place), damaged, holds pickled objects, lacks the split,
        holds no uint8 images (n, y, x) or (n, y, x, 3) or volumes (n, z, y, x), has other than one label or a row of zeros and ones
        for each image, or a label without class; with `verify` also if its MD5 is another.
    ConfigError
        If options contradict each other.

    Notes
    -----
    What differs from the published set (thinned or missing splits, other sizes) is told in ``card.notes``.
    """

    def __init__(
        self,
        path: str | Path,
        split: str = "train",
        classes: Sequence[str] | None = None,
        ordered: bool | None = None,
        flag: str | None = None,
        size: int | None = None,
        verify: bool = False,
        licence: str | None = None,
        source: str | None = None,
    ) -> None:
        self._path, self._split = find_file(Path(path), flag, size), split
        name, edge = split_name(self._path.stem)
        published = PUBLISHED.get(name)
        if verify:
            _verify(self._path, published, edge)
        shapes = self._shapes()
        if split not in shapes:
            raise InputError(self._path, f"has no split {split!r}, it holds {', '.join(shapes) or 'none'}", "choose one of these")
        shape = shapes[split]
        values = self._labels(shape[0])
        names = self._class_names(published, classes, values)
        task = self._task(values, published, ordered)
        annotations = _annotations(split, values, names, task)
        own = "not stated" if published is None else published.licence
        origin = find_origin(self._path.parent, licence or (own if published else None), source or (SOURCE if published else None))
        card = DatasetCard(
            name=f"{self._path.stem} {split}",
            task=task,
            classes=names,
            ordered=task == "grading",
            n_samples=len(annotations),
            class_counts=tally(annotations, task, names),
            licence=origin.licence,
            source=origin.source,
            sha256={self._path.name: sha256_file(self._path)},
            splits={s: shape[0] for s, shape in shapes.items()},
            notes=() if published is None else _differences(published, shapes, edge),
            volumetric=_is_volumetric(shape),
        )
        super().__init__(annotations, card)

    def read_image(self, index: int) -> Pixels:
        """A copy of image or volume `index`."""
        return np.array(self._images[index])

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_images"}

    @cached_property
    def _images(self) -> np.ndarray:
        return load_array(self._path, key=f"{self._split}_images")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of the images of each split, from the headers alone."""
        found: dict[str, tuple[int, ...]] = {}
        with foreign_errors(self._path, "is a damaged .npz file"), zipfile.ZipFile(self._path) as archive:
            members = member_names(archive, self._path)
            for member in members:
                split = member.removesuffix("_images.npy")
                if split == member or f"{split}_labels.npy" not in members:
                    continue
                with archive.open(member) as file:
                    shape, dtype = _header(file)
                self._check_images(split, shape, dtype)
                found[split] = shape
        return found

    def _check_images(self, split: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if dtype != np.uint8 or len(shape) not in (3, 4):
            raise InputError(self._path, f"has {split}_images of {dtype} {shape}", "give uint8 (n, y, x[, 3]) or (n, z, y, x)")
        check_size(self._path, shape, 1, self._path.stat().st_size)

    def _labels(self, n: int) -> Integer[np.ndarray, "n"] | Bool[np.ndarray, "n k"]:
        """Numbers of the classes; zeros and ones for every class where there are several labels for each image."""
        values = load_array(self._path, key=f"{self._split}_labels")
        if values.dtype.kind not in "biu" or values.shape[:1] != (n,) or values.ndim > 2 or values.shape[1:] == (0,):
            raise InputError(
                self._path,
                f"has {self._split}_labels of {values.dtype} {values.shape} for {n} images",
                "give one whole number, or zeros and ones, for each image",
            )
        if values.shape in {(n,), (n, 1)}:
            return values.ravel().astype(np.int64)
        wrong = values[(values != 0) & (values != 1)]
        if wrong.size:
            problem = f"holds {values.shape[1]} labels for each image, one of them {wrong[0]}"
            raise InputError(self._path, problem, "give zeros and ones")
        return values.astype(bool)

    def _class_names(self, published: Published | None, given: Sequence[str] | None, values: np.ndarray) -> tuple[str, ...]:
        several = values.ndim == 2
        count = values.shape[1] if several else int(values.max()) + 1
        if given is not None:
            names = class_names(given)
        elif published is not None:
            names = published.classes
        else:
            names = tuple(f"class {i}" for i in range(min(count, _MAX_CLASSES)))
        if several and count != len(names):
            raise InputError(
                self._path, f"holds {count} labels for each image and there are {len(names)} classes", "give all classes"
            )
        if not several and (values.min() < 0 or count > len(names)):
            wrong = values.min() if values.min() < 0 else values.max()
            problem = f"has the label {wrong} and classes 0 to {len(names) - 1}"
            raise InputError(self._path, problem, "correct the labels or give all classes")
        return names

    def _task(self, values: np.ndarray, published: Published | None, ordered: bool | None) -> Task:
        if values.ndim == 2:
            if ordered:
                raise ConfigError("ordered", "is given for a set with several labels an image", "leave it out")
            return "multi-label"
        graded = (published is not None and published.task == "grading") if ordered is None else ordered
        return "grading" if graded else "classification"


def find_file(path: Path, flag: str | None, size: int | None) -> Path:
    """The file of a set: `path` itself, or the one in the folder `path`.

    Raises
    ------
    InputError
        If it is not there, or the folder holds several.
    ConfigError
        If `flag` or `size` is unknown, or `path` is a file and not that of `flag` and `size`.
    """
    if flag is not None and flag not in PUBLISHED:
        raise unknown_name("flag", flag, list(PUBLISHED))
    if size is not None and (flag is None or size not in PUBLISHED[flag].md5):
        sizes = ", ".join(map(str, PUBLISHED[flag].md5 if flag else SIZES))
        raise ConfigError("size", f"is {size} of {flag or 'no flag'}", f"give flag= and one of {sizes}")
    if path.is_dir():
        if flag is not None:
            return _present(path / file_name(flag, size or SIZES[0]))
        found = [f for f in files_in(path, (".npz",)) if is_medmnist(f)]
        if len(found) != 1:
            names = ", ".join(f.name for f in found[:20]) or "no file with <split>_images and <split>_labels"
            raise InputError(path, f"holds {names}", "choose one with flag= and size=" if found else "give a MedMNIST .npz file")
        return found[0]
    if flag is not None and path.name.lower() != file_name(flag, size or SIZES[0]):
        raise ConfigError("flag", f"{flag} is given and {path.name} is not its file", "give the folder, or leave flag out")
    return _present(path)


def is_medmnist(file: Path) -> bool:
    """Whether a file is an archive with images and labels of at least one split."""
    members = archive_members(file) or set()
    return any(f"{m.removesuffix('_images.npy')}_labels.npy" in members for m in members if m.endswith("_images.npy"))


def archive_members(file: Path) -> set[str] | None:
    """Names of the members of a zip archive, None for anything else."""
    try:
        with zipfile.ZipFile(file) as archive:
            return set(archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None


def _present(path: Path) -> Path:
    flag, edge = split_name(path.stem)
    if (
        "\0" not in str(path)
        and not path.exists()
        and path.suffix.lower() == ".npz"
        and flag in PUBLISHED
        and edge in PUBLISHED[flag].md5
    ):
        md5 = PUBLISHED[flag].md5[edge]
        hint = f"download {file_name(flag, edge)} (MD5 {md5}) from {RECORD} and put it there; nothing is downloaded here"
        raise InputError(path, "does not exist", hint)
    return existing_file(path)


def _verify(path: Path, published: Published | None, edge: int | None) -> None:
    expected = None if published is None or edge is None else published.md5.get(edge)
    if expected is None:
        raise InputError(path, "is called like no published file, so no MD5 of it is known", "leave verify out")
    state = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
    if state.hexdigest() != expected:
        raise InputError(path, f"has the MD5 {state.hexdigest()}, published is {expected}", f"get the file from {RECORD}")


def _annotations(split: str, values: np.ndarray, names: tuple[str, ...], task: Task) -> list[Annotation]:
    ids = [f"{split}-{i:06d}" for i in range(len(values))]
    if task == "multi-label":
        rows = [tuple(name for name, yes in zip(names, row, strict=True) if yes) for row in values.tolist()]
        return [Annotation(sample_id=i, labels=row, split=split) for i, row in zip(ids, rows, strict=True)]
    graded = task == "grading"
    return [
        Annotation(sample_id=i, label=names[v], grade=v if graded else None, split=split)
        for i, v in zip(ids, values.tolist(), strict=True)
    ]


def _is_volumetric(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] != 3


def _differences(published: Published, shapes: dict[str, tuple[int, ...]], edge: int | None) -> tuple[str, ...]:
    """How a file of a known name differs from what is published under it."""
    told = []
    for split, count in published.splits.items():
        if split not in shapes:
            told.append(f"{split} is not in the file, published are {count} samples")
        elif shapes[split][0] != count:
            told.append(f"{split} has {shapes[split][0]} samples, published are {count}")
    allowed = SIZES_3D if published.volumetric else SIZES
    for split, shape in shapes.items():
        volumetric = _is_volumetric(shape)
        channels = 3 if len(shape) == 4 and not volumetric else 1
        edges = set(shape[1:] if channels == 1 else shape[1:3])
        if volumetric != published.volumetric or channels != published.channels:
            kind = "volumes" if published.volumetric else "colour images" if published.channels == 3 else "grey images"
            told.append(f"{split} has the shape {shape}, published are {kind}")
        elif len(edges) != 1 or not edges <= ({edge} if edge in allowed else set(allowed)):
            sides = f"{edge}" if edge in allowed else " or ".join(map(str, allowed))
            told.append(f"{split} has the shape {shape}, published is the size {sides}")
    return tuple(told)


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
