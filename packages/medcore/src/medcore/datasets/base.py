"""What every data set of labelled images has in common: samples, a card, map-style access."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from medcore.errors import ConfigError, InputError

Task = Literal["classification", "grading", "detection"]
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
        uint8 (y, x) or (y, x, 3).
    label
        Class name.
    grade
        Ordinal grade, the mildest is 0.
    boxes
        float64 (n, 4), ``[x0, y0, x1, y1]`` in pixels of `image`, edges (see :data:`EDGES`); None where boxes are not known.
    box_labels
        What each box holds.
    subject
        Patient, eye or group of files; keeps what belongs together on one side of a split and in one piece in a bootstrap.
    """

    sample_id: str
    image: UInt8[np.ndarray, "y x"] | UInt8[np.ndarray, "y x 3"]
    label: str | None = None
    grade: int | None = None
    boxes: Float[np.ndarray, "n 4"] | None = None
    box_labels: tuple[str, ...] = ()
    subject: str | None = None


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Everything about a sample but its pixels; cheap to have for all samples at once.

    The attributes are those of :class:`Sample`; `boxes` are plain tuples here.
    """

    sample_id: str
    label: str | None = None
    grade: int | None = None
    boxes: tuple[tuple[float, float, float, float], ...] | None = None
    box_labels: tuple[str, ...] = ()
    subject: str | None = None

    def with_image(self, image: UInt8[np.ndarray, "y x"] | UInt8[np.ndarray, "y x 3"]) -> Sample:
        """The sample of this annotation and `image`."""
        boxes = None if self.boxes is None else np.array(self.boxes, dtype=np.float64).reshape(-1, 4)
        return Sample(
            sample_id=self.sample_id,
            image=image,
            label=self.label,
            grade=self.grade,
            boxes=boxes,
            box_labels=self.box_labels,
            subject=self.subject,
        )


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
    licence, source
        As far as known; most formats do not state them.
    sha256
        Hashes of the files that hold annotations (and, in one-file formats, the pixels), by file name.
    splits
        Parts the data set was published in, with their sizes.
    box_convention
        How boxes are stated, None without boxes.
    faults
        What is wrong and was left out or mended, one sentence each.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    ordered: bool
    n_samples: int
    class_counts: dict[str, int]
    licence: str = "not stated"
    source: str = "not stated"
    sha256: dict[str, str] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    box_convention: str | None = None
    faults: tuple[str, ...] = ()


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

    A subclass passes annotations and card and defines :meth:`read_image`.
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

    def read_image(self, index: int) -> UInt8[np.ndarray, "y x"] | UInt8[np.ndarray, "y x 3"]:
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
