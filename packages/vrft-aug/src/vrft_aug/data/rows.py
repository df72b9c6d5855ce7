"""One row: columns, prompt, picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vrft_aug import prompts
from vrft_aug.knowledge import Placement
from vrft_aug.prompts import PromptSettings, Task

if TYPE_CHECKING:
    import datasets

    from medcore.datasets import Annotation, Dataset

YES_NO = ("yes", "no")
"""Choices of a question that offers none and is answered by one of them."""


def choices_of(annotation: Annotation) -> tuple[str, ...]:
    """The choices of a closed question, none for an open one."""
    if annotation.choices or annotation.answer is None:
        return annotation.choices
    return YES_NO if annotation.answer.strip().casefold() in YES_NO else ()


def boxes_of(annotation: Annotation, kind: str | None) -> list[list[float]]:
    """Boxes of a sample, of one kind if `kind` is given."""
    boxes = annotation.boxes or ()
    labels = annotation.box_labels or (None,) * len(boxes)
    return [list(map(float, box)) for box, label in zip(boxes, labels, strict=True) if kind in (None, label)]


@dataclass(frozen=True, kw_only=True)
class Form:
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
        names, label = self._names(dataset, note, grade)
        text = prompts.question(self.task, self.prompts, classes=names, thing=self.thing, asked=note.question)
        return {
            "sample_id": note.sample_id,
            "subject": note.subject or note.sample_id,
            "prompt": prompts.messages(text, knowledge, placement),
            "image": {"bytes": _png(image), "path": None},
            "task": self.task,
            "label": label,
            "classes": list(names) or None,
            "grade": grade,
            "num_grades": len(self.classes) if self.task == "grading" else None,
            "boxes": None if note.boxes is None else boxes_of(note, box_class),
            "image_size": size,
            "box_frame": list(self.prompts.frame(size)),
            "knowledge": knowledge,
        }

    def _names(self, dataset: Dataset, note: Annotation, grade: int | None) -> tuple[tuple[str, ...], str | None]:
        """The names to choose from and the right one: those of the data set, or the choices of the sample's own question."""
        if note.question is not None:
            names = choices_of(note)
            answer = str(note.answer)
            return names, answer if answer in names else answer.strip().casefold()
        position = grade if note.label is None else dataset.classes.index(note.label)
        return self.classes, self.classes[position] if self.classes and position is not None else None


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def features() -> datasets.Features:
    """Types of the columns."""
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
