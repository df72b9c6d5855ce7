"""Rows for training and evaluation from data sets on disk or drawn on the spot.

No subject and no image (pixel for pixel) is both in the training and in the held-out part: subjects are split as a whole, and a training
image that is also held out is removed and counted. Pixels are kept as PNG in memory and decoded row by row.

============== ====================================================================================================
column         content
============== ====================================================================================================
``sample_id``  identifier in its data set
``subject``    patient, eye or file group, for clustered intervals; the sample where it is not known
``prompt``     list of ``{"role", "content"}`` messages
``image``      PIL image
``task``       ``classification``, ``grading`` or ``localisation``
``label``      name of the class, or None
``classes``    names of all classes or grades, or None
``grade``      ordinal grade from 0, or None
``num_grades`` number of grades, or None
``boxes``      list of ``[x0, y0, x1, y1]`` in pixels of the image, or None where boxes are not known
``image_size`` ``[width, height]`` in pixels
``box_frame``  ``[width, height]`` of the image in the units in which boxes are asked for
``knowledge``  the text injected into the prompt, or None
============== ====================================================================================================
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from medcore.config import to_mapping
from medcore.errors import ConfigError, InputError
from vrft_aug import prompts
from vrft_aug.knowledge import KnowledgeSettings, Placement, check_no_leak, load_knowledge
from vrft_aug.prompts import PromptSettings, Task

if TYPE_CHECKING:
    import datasets

    from medcore.datasets import Annotation, Dataset

Part = Literal["train", "held_out"]
Kind = Literal["medmnist", "grades", "voc", "masks", "drawn-scans", "drawn-grades"]
DRAWN = ("drawn-scans", "drawn-grades")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which images, which of them are held out, and which classes or boxes count."""

    kind: Kind
    """Reader: MedMNIST npz, CSV of ordinal grades with images, Pascal VOC folder, images with masks, or drawn images (no files)."""
    path: Path | None = None
    """File or folder; none for drawn images."""
    train: int | None = None
    """At most this many training images; drawn kinds: exactly this many, 1000 by default."""
    held_out: int | None = None
    """At most this many held-out images; drawn kinds: exactly this many, 256 by default."""
    fraction: float = 0.25
    """Share of the images held out where the source has no split of its own; whole subjects move together."""
    held_out_split: str = "val"
    """Split that is held out where the source has splits (medmnist)."""
    classes: tuple[str, ...] | None = None
    """Names of the classes or, in rising order, of the grades, instead of those of the source."""
    box_class: str | None = None
    """Which boxes count, by default all: a class (voc), a structure (masks), or a kind of finding (drawn)."""
    box_name: str | None = None
    """What the boxes hold, in the words of the question; by default their class."""
    keep_empty: bool = False
    """Localisation: keep images without a box; their right answer is ``[]``."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further parameters of the reader, for example ``structure`` for masks or ``noise`` for drawn scans."""
    seed: int = 0
    """Seed of drawing, splitting and thinning."""

    def __post_init__(self) -> None:
        if self.kind in DRAWN and self.path is not None:
            raise ConfigError(
                "data.path", f"{self.path} is given, but {self.kind} reads no file", "remove path or choose another kind"
            )
        if self.kind not in DRAWN and self.path is None:
            raise ConfigError("data.path", f"is missing for kind {self.kind}", "give the file or folder")
        for name in ("train", "held_out"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise ConfigError(f"data.{name}", f"is {limit}", "give at least 1")
        if not 0 < self.fraction < 1:
            raise ConfigError("data.fraction", f"is {self.fraction}", "give a number between 0 and 1")
        if self.seed < 0:
            raise ConfigError("data.seed", f"is {self.seed}", "give 0 or more")
        if self.classes is not None and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            raise ConfigError("data.classes", f"are {', '.join(self.classes)}", "give at least two different names")
        if self.kind in ("medmnist", "grades") and (self.box_class or self.box_name):
            raise ConfigError("data.box_class", f"or box_name is given, but {self.kind} has no boxes", "remove it")


@runtime_checkable
class Stage(Protocol):
    """What the rows of a stage depend on; :class:`vrft_aug.recipe.StageSettings` is one."""

    @property
    def data(self) -> DataSettings:
        """Images and truth."""

    @property
    def task(self) -> Task:
        """What is asked."""

    @property
    def knowledge(self) -> KnowledgeSettings | None:
        """Text injected into the prompts."""

    @property
    def prompts(self) -> PromptSettings:
        """Wording of the question."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The two parts of a data set as rows."""

    train: datasets.Dataset
    """Rows to learn from."""
    held_out: datasets.Dataset
    """Rows to judge with."""
    removed: int
    """Training images that were removed because they are held out, here or in another stage."""
    held_out_hashes: frozenset[str]
    """SHA-256 of shape and pixels of every image that is held out."""
    card: dict[str, Any]
    """The card of the data set: licence, source, hashes, faults."""


def load_rows(stage: Stage, *, part: Part, data: DataSettings | None = None, forbidden: Collection[str] = ()) -> datasets.Dataset:
    """The rows of one part, see :func:`load_parts`."""
    parts = load_parts(stage, data=data, forbidden=forbidden)
    return parts.train if part == "train" else parts.held_out


def load_stages(stages: Sequence[Stage]) -> list[Parts]:
    """The rows of every stage of a run; no image that any stage holds out is trained on in another. See :func:`load_parts`."""
    opened = [_Opened.of(stage.data) for stage in stages]
    forbidden = frozenset().union(*(o.hashes for o in opened))
    return [o.parts(stage, forbidden) for o, stage in zip(opened, stages, strict=True)]


def load_parts(stage: Stage, *, data: DataSettings | None = None, forbidden: Collection[str] = ()) -> Parts:
    """Read a data set as rows with the columns of this module.

    Parameters
    ----------
    stage
        Task, knowledge, wording and, unless `data` is given, what to read.
    data
        Other images for the same question.
    forbidden
        Hashes of further images that must not be trained on (``held_out_hashes`` of other stages).

    Raises
    ------
    ConfigError
        If the settings do not fit the data.
    InputError
        If the data cannot be read, has nothing to train or judge with, shares subjects between the parts, or the knowledge tells
        samples apart.
    """
    return _Opened.of(data or stage.data).parts(stage, forbidden)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Opened:
    """A data set whose parts are known and whose held-out images have been hashed."""

    data: DataSettings
    train: Dataset
    held_out: Dataset
    hashes: frozenset[str]

    @classmethod
    def of(cls, data: DataSettings) -> _Opened:
        train, held_out = open_parts(data)
        if train.card.volumetric or held_out.card.volumetric:
            raise InputError(data.path or data.kind, "holds volumes", "give a set of images")
        return cls(data=data, train=train, held_out=held_out, hashes=frozenset(_hashes(held_out, range(len(held_out)))))

    def parts(self, stage: Stage, forbidden: Collection[str]) -> Parts:
        import datasets

        data, train, held_out, what = self.data, self.train, self.held_out, self.data.path or self.data.kind
        usable = [_usable(dataset, data, stage.task) for dataset in (train, held_out)]
        _check_subjects([train.annotations[i] for i in usable[0]], [held_out.annotations[i] for i in usable[1]])
        fresh = [
            i for i, h in zip(usable[0], _hashes(train, usable[0]), strict=True) if h not in self.hashes and h not in forbidden
        ]
        form = _Form(
            task=stage.task, classes=_class_names(data, train, stage.task), thing=_thing(data, train), prompts=stage.prompts
        )
        rows = []
        sources: tuple[tuple[Part, Dataset, list[int], int | None], ...]
        sources = (("train", train, fresh, data.train), ("held_out", held_out, usable[1], data.held_out))
        for part, dataset, indices, limit in sources:
            if not indices:
                raise InputError(what, f"has no {part} image for {stage.task}", "check classes, box_class and fraction")
            text, placement = _knowledge(stage.knowledge, form, part)
            table = [form.row(dataset, i, text, placement, data.box_class) for i in _thin(indices, limit, data.seed)]
            check_no_leak(table)
            rows.append(datasets.Dataset.from_list(table, features=_features(), split=part))
        return Parts(
            train=rows[0],
            held_out=rows[1],
            removed=len(usable[0]) - len(fresh),
            held_out_hashes=self.hashes,
            card=to_mapping(train.card),
        )


def open_parts(data: DataSettings) -> tuple[Dataset, Dataset]:
    """The training and the held-out part of a data set, before anything is left out.

    Raises
    ------
    ConfigError
        If a reader does not know an option.
    InputError
        If the files cannot be read.
    """
    from medcore import datasets

    if data.kind in DRAWN:
        draw: Any = datasets.drawn_scans if data.kind == "drawn-scans" else datasets.drawn_grades
        train = _call(draw, data, n=data.train or 1000, seed=2 * data.seed)
        return train, _call(draw, data, n=data.held_out or 256, seed=2 * data.seed + 1)
    settings: dict[str, Any] = {}
    if data.classes is not None and data.kind in ("medmnist", "grades"):
        settings["classes"] = data.classes
    if data.box_class is not None and data.kind == "masks":
        settings["structure"] = data.box_class
    if data.kind == "medmnist":
        train, held_out = (_call(datasets.MedMnist, data, data.path, split=s, **settings) for s in ("train", data.held_out_split))
        return train, held_out
    reader: Any = {"grades": datasets.GradedFolder, "voc": datasets.VocFolder, "masks": datasets.MaskFolder}[data.kind]
    whole = _call(reader, data, data.path, **settings)
    train, held_out = datasets.split_dataset(whole, (1 - data.fraction, data.fraction), data.seed)
    return train, held_out


def _call(reader: Any, data: DataSettings, *arguments: Any, **settings: Any) -> Any:
    try:
        inspect.signature(reader).bind(*arguments, **settings, **data.options)
    except TypeError as error:
        raise ConfigError("data.options", f"do not fit {data.kind} ({error})", "see the reader's parameters") from error
    return reader(*arguments, **settings, **data.options)


def _class_names(data: DataSettings, dataset: Dataset, task: Task) -> tuple[str, ...]:
    """Names of the classes or grades, none for boxes."""
    if task == "localisation":
        return ()
    names = data.classes or dataset.classes
    if task == "grading" and not dataset.card.ordered:
        raise ConfigError("data.kind", f"{dataset.card.name} has classes without an order", "use the task classification")
    if len(names) != len(dataset.classes) or len(names) < 2:
        raise ConfigError("data.classes", f"are {len(names)}, but the data has {len(dataset.classes)}", "name each of them")
    return tuple(names)


def _thing(data: DataSettings, dataset: Dataset) -> str | None:
    """What the boxes hold, if it is one kind of thing in the whole data set."""
    kinds = {kind for a in dataset.annotations for kind in a.box_labels}
    return data.box_name or data.box_class or (kinds.pop() if len(kinds) == 1 else None)


def _usable(dataset: Dataset, data: DataSettings, task: Task) -> list[int]:
    """Numbers of the samples that have what `task` needs."""
    if task != "localisation":
        return [i for i, a in enumerate(dataset.annotations) if a.label is not None or a.grade is not None]
    return [i for i, a in enumerate(dataset.annotations) if a.boxes is not None and (data.keep_empty or _boxes(a, data.box_class))]


def _boxes(annotation: Annotation, kind: str | None) -> list[list[float]]:
    boxes = annotation.boxes or ()
    labels = annotation.box_labels or (None,) * len(boxes)
    return [list(map(float, box)) for box, label in zip(boxes, labels, strict=True) if kind in (None, label)]


def _check_subjects(train: Sequence[Annotation], held_out: Sequence[Annotation]) -> None:
    known = {a.subject for a in train if a.subject is not None}
    shared = len(known & {a.subject for a in held_out})
    if shared:
        raise InputError("data", f"has {shared} subjects both in training and held out", "split by subject")


def _hashes(dataset: Dataset, indices: Iterable[int]) -> Iterator[str]:
    from medcore.datasets import pixel_hash

    return (pixel_hash(dataset[i].image) for i in indices)


def _thin(indices: Sequence[int], limit: int | None, seed: int) -> list[int]:
    """At most `limit` of `indices`, chosen by `seed`, in their old order."""
    if limit is None or limit >= len(indices):
        return list(indices)
    return sorted(np.random.default_rng(seed).permutation(np.asarray(indices))[:limit].tolist())


def _knowledge(settings: KnowledgeSettings | None, form: _Form, part: Part) -> tuple[str | None, Placement]:
    """The text injected into the prompts of one part, and where."""
    if settings is None or not settings.applies(part):
        return None, "before"
    text = load_knowledge(settings.file).text(form.classes)
    if not text:
        raise ConfigError(settings.file, f"has no text for {form.task}", "add the key task")
    return text, settings.placement


@dataclass(frozen=True, kw_only=True)
class _Form:
    """What the rows of one data set have in common."""

    task: Task
    classes: tuple[str, ...]
    thing: str | None
    prompts: PromptSettings

    def row(
        self, dataset: Dataset, index: int, knowledge: str | None, placement: Placement, box_class: str | None
    ) -> dict[str, Any]:
        """One row."""
        note, image = dataset.annotations[index], dataset[index].image
        size = [image.shape[1], image.shape[0]]
        grade = note.grade
        if self.task == "grading" and grade is None and note.label is not None:
            grade = dataset.classes.index(note.label)
        position = grade if note.label is None else dataset.classes.index(note.label)
        text = prompts.question(self.task, self.prompts, classes=self.classes, thing=self.thing)
        return {
            "sample_id": note.sample_id,
            "subject": note.subject or note.sample_id,
            "prompt": prompts.messages(text, knowledge, placement),
            "image": {"bytes": _png(image), "path": None},
            "task": self.task,
            "label": self.classes[position] if self.classes and position is not None else None,
            "classes": list(self.classes) or None,
            "grade": grade,
            "num_grades": len(self.classes) if self.task == "grading" else None,
            "boxes": None if note.boxes is None else _boxes(note, box_class),
            "image_size": size,
            "box_frame": list(self.prompts.frame(size)),
            "knowledge": knowledge,
        }


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _features() -> datasets.Features:
    from datasets import Features, Image, List, Value

    text, whole, number = Value("string"), Value("int32"), Value("float64")
    return Features(
        {
            "sample_id": text,
            "subject": text,
            "prompt": List({"role": text, "content": text}),
            "image": Image(),
            "task": text,
            "label": text,
            "classes": List(text),
            "grade": whole,
            "num_grades": whole,
            "boxes": List(List(number)),
            "image_size": List(whole),
            "box_frame": List(number),
            "knowledge": text,
        }
    )
