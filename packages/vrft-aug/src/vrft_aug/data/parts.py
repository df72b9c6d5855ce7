"""The two parts of a data set as rows, and what may not be in both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medcore.config import to_mapping
from medcore.errors import ConfigError, InputError
from vrft_aug.data.reading import open_parts
from vrft_aug.data.rows import Form, boxes_of, choices_of, features
from vrft_aug.data.settings import DataSettings, Part, Stage
from vrft_aug.knowledge import KnowledgeSettings, Placement, check_no_leak, load_knowledge
from vrft_aug.prompts import Task

if TYPE_CHECKING:
    import datasets

    from medcore.datasets import Annotation, Dataset


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
        form = Form(
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
            rows.append(datasets.Dataset.from_list(table, features=features(), split=part))
        return Parts(
            train=rows[0],
            held_out=rows[1],
            removed=len(usable[0]) - len(fresh),
            held_out_hashes=self.hashes,
            card=to_mapping(train.card),
        )


def _class_names(data: DataSettings, dataset: Dataset, task: Task) -> tuple[str, ...]:
    """Names of the classes or grades, none for boxes."""
    if task == "localisation" or dataset.card.task == "vqa":
        return ()
    if dataset.card.task == "multi-label":
        problem = f"{dataset.card.name} has several classes for each image"
        raise ConfigError("data.kind", problem, "choose one column of labels with options label_column")
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
    if dataset.card.task == "vqa":
        return [] if task != "classification" else [i for i, a in enumerate(dataset.annotations) if choices_of(a)]
    if task != "localisation":
        return [i for i, a in enumerate(dataset.annotations) if a.label is not None or a.grade is not None]
    return [
        i for i, a in enumerate(dataset.annotations) if a.boxes is not None and (data.keep_empty or boxes_of(a, data.box_class))
    ]


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


def _knowledge(settings: KnowledgeSettings | None, form: Form, part: Part) -> tuple[str | None, Placement]:
    """The text injected into the prompts of one part, and where."""
    if settings is None or not settings.applies(part):
        return None, "before"
    text = load_knowledge(settings.file).text(form.classes)
    if not text:
        raise ConfigError(settings.file, f"has no text for {form.task}", "add the key task")
    return text, settings.placement
