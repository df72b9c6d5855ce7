"""Open what the settings name, whole or in two parts."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcore.datasets.base import AnnotatedImages, Pixels, tally
from medcore.datasets.tolerance import SampleError, spare
from medcore.errors import ConfigError, InputError
from vrft_aug.data.prepared import PreparedFolder
from vrft_aug.data.rows import choices_of
from vrft_aug.data.settings import DRAWN, DataSettings

if TYPE_CHECKING:
    from medcore.datasets import Dataset

TRAIN_NAMES = ("train", "training")
_SAME = {"val": ("val", "valid", "validation"), "test": ("test", "testing")}


def open_parts(data: DataSettings) -> tuple[Dataset, Dataset]:
    """The training and the held-out part of a data set, before anything is left out.

    Raises
    ------
    ConfigError
        If a reader does not know an option, or the source has parts and none of the wanted name.
    InputError
        If the files cannot be read.
    """
    from medcore import datasets

    if data.kind in DRAWN:
        draw: Any = datasets.drawn_scans if data.kind == "drawn-scans" else datasets.drawn_grades
        train = _call(draw, data, n=data.train or 1000, seed=2 * data.seed)
        return train, _call(draw, data, n=data.held_out or 256, seed=2 * data.seed + 1)
    if data.kind == "medmnist":
        train, held_out = (
            _call(datasets.MedMnist, data, data.path, split=s, **_reader_settings(data)) for s in ("train", data.held_out_split)
        )
        return train, held_out
    whole = open_whole(data)
    if whole.card.splits:
        wanted = (TRAIN_NAMES, _SAME.get(data.held_out_split, (data.held_out_split,)))
        return _stated(whole, wanted[0], "train"), _stated(whole, wanted[1], data.held_out_split)
    train, held_out = datasets.split_dataset(whole, (1 - data.fraction, data.fraction), data.seed)
    return train, held_out


def open_whole(data: DataSettings) -> Dataset:
    """Everything that a data set on disk holds, in all of its parts.

    Raises
    ------
    ConfigError, InputError
        See :func:`open_parts`; a question without choices is refused, see the option ``open_questions`` of vqa.
    """
    from medcore import datasets

    settings = _reader_settings(data)
    if data.kind == "medmnist":
        first = _call(datasets.MedMnist, data, data.path, **settings)
        others = [_call(datasets.MedMnist, data, data.path, split=s, **settings) for s in first.card.splits if s != "train"]
        return Joined((first, *others))
    if data.kind == "vqa":
        questions = data.options.get("open_questions", "refuse")
        if questions not in ("refuse", "skip"):
            raise ConfigError("data.options.open_questions", f"is {questions!r}", "use refuse or skip")
        rest = {key: value for key, value in data.options.items() if key != "open_questions"}
        return _closed(_call(datasets.VqaLines, replace(data, options=rest), data.path, **settings), skip=questions == "skip")
    if data.kind == "prepared":
        made: Dataset = _call(PreparedFolder, data, data.path)
        return made
    readers: dict[str, Any] = {
        "grades": datasets.GradedFolder,
        "voc": datasets.VocFolder,
        "coco": datasets.CocoDetection,
        "masks": datasets.MaskFolder,
        "dicom": datasets.DicomImages,
    }
    reader = readers.get(data.kind) or (datasets.ClassTable if _has_table(Path(str(data.path))) else datasets.ClassFolders)
    whole: Dataset = _call(reader, data, data.path, **settings)
    return whole


class Joined(AnnotatedImages):
    """Parts that were published in one file, as one data set whose samples say which part they are of."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        notes = [a for p in parts for a in p.annotations]
        self._places = [(p, i) for p in parts for i in range(len(p))]
        card = parts[0].card
        name = card.name.rpartition(" ")[0] or card.name
        counts = tally(notes, card.task, card.classes)
        super().__init__(notes, replace(card, name=name, n_samples=len(notes), class_counts=counts))

    def read_image(self, index: int) -> Pixels:
        """Decode image `index`."""
        part, place = self._places[index]
        return part[place].image


def _reader_settings(data: DataSettings) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if data.classes is not None and data.kind in ("medmnist", "grades", "folder", "dicom"):
        settings["classes"] = data.classes
    if data.box_class is not None and data.kind == "masks":
        settings["structure"] = data.box_class
    return settings


def _has_table(path: Path) -> bool:
    from medcore.datasets.images import files_in

    return path.is_file() or (path.is_dir() and bool(files_in(path, (".csv",))))


def _stated(whole: Dataset, names: Sequence[str], wanted: str) -> Dataset:
    from medcore.datasets import Subset

    chosen = [i for i, a in enumerate(whole.annotations) if (a.split or "").lower() in names]
    if not chosen:
        problem = f"{wanted} is asked for, and the parts of {whole.card.name} are {', '.join(whole.card.splits)}"
        raise ConfigError("data.held_out_split", problem, "name one of these; the part to learn from is called train")
    return Subset(whole, chosen, name=wanted)


def _closed(whole: Dataset, *, skip: bool) -> Dataset:
    """The closed questions of a data set."""
    from medcore.datasets import Subset

    found = [i for i, a in enumerate(whole.annotations) if choices_of(a)]
    kept = set(found)
    for i, note in enumerate(whole.annotations):
        if i in kept or skip:
            continue
        with spare(note.sample_id):
            raise SampleError(
                f"question {note.sample_id}", OPEN, "add choices, or set options open_questions to skip", "open-question"
            )
    if not found:
        raise InputError(whole.card.name, "has no closed question", "add choices to the lines")
    return whole if len(found) == len(whole) else Subset(whole, found, name="closed questions")


OPEN = "is open: it offers no choices and is not answered by yes or no, so no reward here can judge its answers"
"""What is wrong with an open question."""


def _call(reader: Any, data: DataSettings, *arguments: Any, **settings: Any) -> Any:
    try:
        inspect.signature(reader).bind(*arguments, **settings, **data.options)
    except TypeError as error:
        raise ConfigError("data.options", f"do not fit {data.kind} ({error})", "see the reader's parameters") from error
    return reader(*arguments, **settings, **data.options)
