"""What every data set of labelled images has in common: samples, a card, map-style access."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from medcore.errors import ConfigError, InputError

Task = Literal["classification", "multi-label", "grading", "detection", "vqa", "relaxometry"]
Pixels = UInt8[np.ndarray, "y x"] | UInt8[np.ndarray, "y x 3"] | UInt8[np.ndarray, "z y x"]
"""Grey image, RGB image, or grey volume; a card whose `volumetric` is true says that all of them are volumes."""
EDGES = "[x0, y0, x1, y1] in pixels of the image, edges: a box over columns 3 and 4 has x0 = 3, x1 = 5"
"""The one convention of boxes in this project."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One labelled image.

    Attributes
    ----------
    sample_id
        Unique and stable within the data set.
    image
        uint8 (y, x) or (y, x, 3); in a data set whose card says `volumetric`, uint8 (z, y, x).
    label
        Class name, where there is one for each sample.
    labels
        Where a sample may be of several classes at once: the names of those it is of, maybe none. None in other data sets.
    grade
        Ordinal grade, the mildest is 0.
    boxes
        float64 (n, 4), ``[x0, y0, x1, y1]`` in pixels of `image`, edges (see :data:`EDGES`); None where boxes are not known.
    box_labels
        What each box holds.
    box_crowd
        Whether each box holds many things that nobody counted (COCO's ``iscrowd``); empty where no box does.
    question, answer, choices
        What is asked about the image, the right answer, and the answers offered if any.
    split
        Published part that the sample belongs to, where the format states it.
    subject
        Patient, eye or group of files; keeps what belongs together on one side of a split and in one piece in a bootstrap.
    """

    sample_id: str
    image: Pixels
    label: str | None = None
    labels: tuple[str, ...] | None = None
    grade: int | None = None
    boxes: Float[np.ndarray, "n 4"] | None = None
    box_labels: tuple[str, ...] = ()
    box_crowd: tuple[bool, ...] = ()
    question: str | None = None
    answer: str | None = None
    choices: tuple[str, ...] = ()
    split: str | None = None
    subject: str | None = None


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Everything about a sample but its pixels; cheap to have for all samples at once.

    The attributes are those of :class:`Sample`; `boxes` are plain tuples here.
    """

    sample_id: str
    label: str | None = None
    labels: tuple[str, ...] | None = None
    grade: int | None = None
    boxes: tuple[tuple[float, float, float, float], ...] | None = None
    box_labels: tuple[str, ...] = ()
    box_crowd: tuple[bool, ...] = ()
    question: str | None = None
    answer: str | None = None
    choices: tuple[str, ...] = ()
    split: str | None = None
    subject: str | None = None

    def with_image(self, image: Pixels) -> Sample:
        """The sample of this annotation and `image`."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.boxes is not None:
            values["boxes"] = np.array(self.boxes, dtype=np.float64).reshape(-1, 4)
        return Sample(image=image, **values)


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """What a data set is, where it comes from and what is wrong with it; JSON-ready through :func:`medcore.config.to_mapping`.

    Attributes
    ----------
    name, task
        Name, and what the annotations are made for.
    classes, ordered
        Class names, and whether their order is that of severity.
    n_samples, class_counts
        Samples, and how many of them (for detection: how many boxes) each class has.
    class_shares
        The same as shares of all samples (for detection: of all boxes); always computed from the counts. Where samples may be of
        several classes the shares may sum to more than 1.
    licence, source
        As far as known: what the caller said, else what the format or a LICENSE file states.
    sha256
        Hashes of the files that hold annotations (and, in one-file formats, the pixels), by file name.
    splits
        Parts the data set was published in, with their sizes.
    box_convention
        How boxes are stated, None without boxes.
    volumetric
        Whether the images are volumes (z, y, x).
    faults
        What is wrong and was left out or mended, one sentence each.
    notes
        What is not wrong but good to know, one sentence each: another size than published, how grey values were made.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    ordered: bool
    n_samples: int
    class_counts: dict[str, int]
    class_shares: dict[str, float] = field(default_factory=dict)
    licence: str = "not stated"
    source: str = "not stated"
    sha256: dict[str, str] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    box_convention: str | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    volumetric: bool = False

    def __post_init__(self) -> None:
        # Computed here whatever came, so that a card changed by dataclasses.replace never shows the shares of another one.
        whole = sum(self.class_counts.values()) if self.task == "detection" else self.n_samples
        shares = {name: round(count / whole, 6) if whole else 0.0 for name, count in self.class_counts.items()}
        object.__setattr__(self, "class_shares", shares)


@runtime_checkable
class Dataset(Protocol):
    """A map-style data set: a length, samples by number, a card.

    Anything with these members is one; nothing has to be inherited. Indexing decodes the image, `annotations` decodes nothing.
    """

    @property
    def card(self) -> DatasetCard:
        """What the data set is."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their numbers."""

    @property
    def annotations(self) -> Sequence[Annotation]:
        """The samples without their pixels, in order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


class AnnotatedImages:
    """Base of the data sets here: annotations are at hand, images come when asked for.

    A subclass passes annotations and card and defines :meth:`read_image`. Objects can be pickled and hold no open file, so that every
    worker of a loader opens what it reads itself.
    """

    def __init__(self, annotations: Sequence[Annotation], card: DatasetCard) -> None:
        self._annotations, self._card = tuple(annotations), card

    @property
    def card(self) -> DatasetCard:
        """What the data set is."""
        return self._card

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their numbers."""
        return self._card.classes

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """The samples without their pixels, in order."""
        return self._annotations

    def read_image(self, index: int) -> Pixels:
        """Pixels of sample `index`, which is in range."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, index: int, /) -> Sample:
        position = check_index(index, len(self))
        return self._annotations[position].with_image(self.read_image(position))

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._card.name!r}, {len(self)} samples, {self._card.task})"


def check_index(index: int, length: int) -> int:
    """`index` counted from the start.

    Raises
    ------
    IndexError
        If there is no such sample (this type ends ``for sample in dataset``).
    """
    if not -length <= index < length:
        raise IndexError(f"sample {index} of {length}")
    return int(index) % length


def class_names(given: Sequence[str]) -> tuple[str, ...]:
    """Class names as given.

    Raises
    ------
    ConfigError
        If there are none, one is empty, or one occurs twice.
    """
    names = tuple(given)
    if isinstance(given, str) or not names or not all(names) or len(set(names)) != len(names):
        raise ConfigError("classes", f"are {given!r}", "give different, non-empty names")
    return names


def counted_labels(annotation: Annotation, task: Task) -> tuple[str, ...]:
    """The names under which a sample is counted in `class_counts`: its class, its classes, those of its boxes, or its answer."""
    if task == "detection":
        return annotation.box_labels
    if task == "multi-label":
        return annotation.labels or ()
    name = annotation.answer if task == "vqa" else annotation.label
    return () if name is None else (name,)


def tally(annotations: Iterable[Annotation], task: Task, classes: Sequence[str]) -> dict[str, int]:
    """How often each of `classes` occurs among the samples, zeros included; names that are no class do not count."""
    known = set(classes)
    return count_classes(classes, [n for a in annotations for n in counted_labels(a, task) if n in known])


def box_names(dataset: Dataset) -> tuple[str, ...]:
    """What boxes may hold: the classes, or where boxes hold something else (spots that make a grade) its names, sorted."""
    found = {name for a in dataset.annotations for name in a.box_labels}
    return dataset.classes if found <= set(dataset.classes) else tuple(sorted(found))


def count_splits(annotations: Iterable[Annotation]) -> dict[str, int]:
    """Sizes of the published parts, in the order in which they occur; empty where no sample states one."""
    found: dict[str, int] = {}
    for item in annotations:
        if item.split is not None:
            found[item.split] = found.get(item.split, 0) + 1
    return found


def count_classes(classes: Sequence[str], labels: Sequence[str]) -> dict[str, int]:
    """How often each of `classes` is among `labels`, zeros included."""
    counts = dict.fromkeys(classes, 0)
    for label in labels:
        counts[label] += 1
    return counts


def unique_ids(ids: Sequence[str], what: str) -> None:
    """Refuse identifiers that occur twice.

    Raises
    ------
    InputError
        With the first identifier that does.
    """
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise InputError(what, f"has the identifier {name!r} twice", "give every sample its own")
        seen.add(name)
