"""Images of classes: a folder for each class, or a table beside the images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from medcore.atomic import sha256_file
from medcore.datasets.base import AnnotatedImages, Annotation, DatasetCard, Pixels, class_names, count_splits, tally
from medcore.datasets.graded import IMAGE_COLUMNS, SUBJECT_COLUMNS
from medcore.datasets.images import (
    IMAGE_FOLDERS,
    SUFFIXES,
    ImageFolder,
    digest,
    file_inside,
    files_in,
    folder_of,
    read_image,
    subfolder,
)
from medcore.datasets.labels import SPLIT_COLUMNS, choose_split, read_labels
from medcore.datasets.origin import find_origin
from medcore.datasets.tables import find_table, known_column
from medcore.datasets.tolerance import SampleError, spare
from medcore.errors import ConfigError, InputError

SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}


class ClassFolders(AnnotatedImages):
    r"""Images in one subfolder for each class, ``<class>/x.png`` or ``<split>/<class>/x.png``.

    Splits are subfolders called ``train``, ``val``, ``test`` and the like (``training``, ``valid``, ``validation``, ``testing``). Images
    are PNG, JPEG, BMP and TIFF. An image beside the class folders, or a folder within one, is an error: it has no class.

    Parameters
    ----------
    path
        The folder.
    split
        Which split; by default all, and every sample says which it is of.
    classes
        Class names in the order wanted, which must be all; by default sorted.
    ordered
        Whether the order of `classes`, which must be given, is that of severity.
    subject_pattern
        A regular expression with one group that finds the patient in an image's file name, for example ``"^(person\d+)_"``. Without it
        no subjects are known, and a split by subject takes every image for its own.
    licence, source
        For the card, which else takes the licence from a LICENSE file, see :func:`medcore.datasets.origin.find_origin`.

    Raises
    ------
    InputError
        If there are no images, an image has no class, split folders are mixed with others, or the pattern finds nothing in a name.
    ConfigError
        If `subject_pattern` is no regular expression with one group.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        ordered: bool = False,
        subject_pattern: str | None = None,
        licence: str | None = None,
        source: str | None = None,
    ) -> None:
        folder = folder_of(path)
        if ordered and classes is None:
            raise ConfigError("ordered", "is given without the order of the classes", "give classes=, the mildest first")
        places = class_folders(folder)
        if not places:
            raise InputError(folder, "holds no folders of images", "give a folder with one subfolder for each class")
        found = sorted({name for _, name, _ in places})
        known = class_names(classes) if classes is not None else tuple(found)
        if wrong := [n for n in found if n not in known]:
            raise InputError(folder, f"has the class {wrong[0]!r}, classes are {', '.join(known)}", "give all classes")
        pattern = _pattern(subject_pattern)
        annotations, files = [], []
        for part, name, place in places:
            for file in _images_of(place):
                with spare(file.relative_to(folder).as_posix(), "no-subject"):
                    subject = None if pattern is None else _subject(pattern, file)
                    files.append(file)
                    annotations.append(
                        Annotation(
                            sample_id=file.relative_to(folder).as_posix(),
                            label=name,
                            grade=known.index(name) if ordered else None,
                            split=part,
                            subject=subject,
                        )
                    )
        if not files:
            raise InputError(folder, "holds no images in its class folders", f"add {', '.join(SUFFIXES)} files")
        chosen = choose_split(annotations, split, str(folder))
        kept = [annotations[i] for i in chosen]
        self._files = [files[i] for i in chosen]
        counts = tally(kept, "classification", known)
        origin = find_origin(folder, licence, source)
        card = DatasetCard(
            name=folder.name if split is None else f"{folder.name} {split}",
            task="grading" if ordered else "classification",
            classes=known,
            ordered=ordered,
            n_samples=len(kept),
            class_counts=counts,
            licence=origin.licence,
            source=origin.source,
            sha256={"all images": digest({a.sample_id: f for a, f in zip(kept, self._files, strict=True)})},
            splits=count_splits(annotations),
            faults=tuple(f"{name} has no image" for name, count in counts.items() if not count),
        )
        super().__init__(kept, card)

    def read_image(self, index: int) -> Pixels:
        """Decode image `index`."""
        return read_image(self._files[index])


class ClassTable(AnnotatedImages):
    """Images with classes in a CSV table, one for each image or several.

    The folder holds one CSV file with a header; the images (PNG, JPEG, BMP, TIFF) lie beside it or in ``images/``. The table names images
    by file name with or without suffix, or by a path in the folder. Every image has a row and every row an image.

    Parameters
    ----------
    path
        The folder, or the CSV file in it.
    csv
        Name of the table where the folder holds several.
    image_column, subject_column, split_column
        Columns of file name, patient and published part; by default the first known name, whatever its case (``image``, ``filename``,
        ``id``, ...; ``subject``, ``patient id``, ...; ``split``, ``subset``, ``partition``). Subjects and splits may be missing.
    label_column, label_columns, separator, no_label
        Where the labels are, see :func:`medcore.datasets.labels.read_labels`: one class in `label_column`, several in it between
        `separator`, or 0 and 1 in `label_columns`.
    split
        Which published part; by default all.
    classes, ordered
        Class names in the order wanted, and whether that is the order of severity.
    unlabelled
        What to do with images that have no row: ``"refuse"``, or ``"skip"``, which ``card.notes`` tells.
    licence, source
        For the card, which else takes the licence from a LICENSE file, see :func:`medcore.datasets.origin.find_origin`.

    Raises
    ------
    InputError
        If a file is missing or damaged, an image has no row or a row no image, a name occurs twice or leads out of the folder, or a
        label is missing or unknown; the line is named.
    """

    def __init__(
        self,
        path: str | Path,
        csv: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        label_columns: Sequence[str] | None = None,
        separator: str | None = None,
        no_label: str | None = None,
        subject_column: str | None = None,
        split_column: str | None = None,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        ordered: bool = False,
        unlabelled: str = "refuse",
        licence: str | None = None,
        source: str | None = None,
    ) -> None:
        if unlabelled not in ("refuse", "skip"):
            raise ConfigError("unlabelled", f"is {unlabelled!r}", "use 'refuse' or 'skip'")
        folder, table = find_table(Path(path), csv)
        images = subfolder(folder, IMAGE_FOLDERS)
        names_column = image_column or known_column(table, IMAGE_COLUMNS, "file names", "image_column")
        subject_column = subject_column or table.find(SUBJECT_COLUMNS)
        split_column = split_column or table.find(SPLIT_COLUMNS)
        labels = read_labels(
            table,
            label_column=label_column,
            label_columns=label_columns,
            separator=separator,
            no_label=no_label,
            classes=classes,
            ordered=ordered,
            others=(names_column, subject_column, split_column),
        )
        where = [f"{table.path}, line {line}" for line in table.lines]
        plain = ImageFolder(images)
        found: dict[int, Path] = {}
        ids: dict[int, str] = {}
        seen: set[str] = set()
        for i, (name, place) in enumerate(zip(table.column(names_column), where, strict=True)):
            with spare(name[:80] or place):
                file = file_inside(images, name, place) if "/" in name else plain.find(name, place)
                own = file.relative_to(images).as_posix()
                if own in seen:
                    raise SampleError(table.path, f"has the identifier {own!r} twice", "give every sample its own", "repeated")
                seen.add(own)
                found[i], ids[i] = file, own
        everything = ImageFolder(
            images, sorted({f for place in {images, *(f.parent for f in found.values())} for f in files_in(place, SUFFIXES)})
        )
        if unlabelled == "refuse":
            everything.refuse_unlabelled(found.values())
        left = len(everything.files) - len(found)
        subjects = table.column(subject_column) if subject_column else ("",) * len(where)
        splits = table.column(split_column) if split_column else ("",) * len(where)
        rows = [i for i in found if i not in labels.refused]
        annotations = [
            Annotation(
                sample_id=ids[i],
                label=labels.label[i],
                labels=labels.labels[i],
                grade=labels.grade[i],
                subject=subjects[i] or None,
                split=splits[i] or None,
            )
            for i in rows
        ]
        chosen = choose_split(annotations, split, str(table.path))
        kept = [annotations[i] for i in chosen]
        self._files = [found[rows[i]] for i in chosen]
        counts = tally(kept, labels.task, labels.classes)
        origin = find_origin(folder, licence, source)
        card = DatasetCard(
            name=folder.name if split is None else f"{folder.name} {split}",
            task=labels.task,
            classes=labels.classes,
            ordered=labels.ordered,
            n_samples=len(kept),
            class_counts=counts,
            licence=origin.licence,
            source=origin.source,
            sha256={table.path.name: sha256_file(table.path)},
            splits=count_splits(annotations),
            faults=tuple(f"{name} has no image" for name, count in counts.items() if not count),
            notes=(f"{left} images have no row and are left out",) if left else (),
        )
        super().__init__(kept, card)

    def read_image(self, index: int) -> Pixels:
        """Decode image `index`."""
        return read_image(self._files[index])


def class_folders(folder: Path) -> list[tuple[str | None, str, Path]]:
    """(split, class, folder) of every class folder; empty where `folder` is not laid out so.

    Raises
    ------
    InputError
        If split folders stand beside others, or an image lies where classes are expected.
    """
    inner = _folders(folder)
    parts = [f for f in inner if f.name.lower() in SPLIT_NAMES and _folders(f)]
    if not parts:
        if not any(files_in(f, SUFFIXES) for f in inner):
            return []
        _refuse_images(folder)
        return [(None, f.name, f) for f in inner]
    if len(parts) < len(inner):
        other = next(f for f in inner if f not in parts)
        raise InputError(other, f"stands beside the split {parts[0].name}", "move it elsewhere or make it a split of class folders")
    for place in (folder, *parts):
        _refuse_images(place)
    return [(part.name, f.name, f) for part in parts for f in _folders(part)]


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__")) and p.is_dir() and not p.is_symlink())
    except OSError as error:
        raise InputError(folder, f"cannot be read ({error.strerror})", "check its permissions") from error


def _refuse_images(folder: Path) -> None:
    if found := files_in(folder, SUFFIXES):
        raise InputError(found[0], "lies beside the class folders and has no class", "move it into the folder of its class")


def _images_of(folder: Path) -> list[Path]:
    if deeper := _folders(folder):
        raise InputError(deeper[0], "is a folder within a class", "put the images into the class folder itself")
    return files_in(folder, SUFFIXES)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError("subject_pattern", f"{text!r} is no regular expression ({error})", "correct it") from error
    if pattern.groups != 1:
        raise ConfigError(
            "subject_pattern", f"{text!r} has {pattern.groups} groups", "put the patient's part into one pair of brackets"
        )
    return pattern


def _subject(pattern: re.Pattern[str], file: Path) -> str:
    found = pattern.search(file.name)
    if found is None or not found[1]:
        raise InputError(file, f"holds nothing that subject_pattern {pattern.pattern!r} finds", "correct the pattern")
    return found[1]
