"""What the model is asked, in which form it must answer, and what a right answer looks like.

An answer is ``<think>reasoning</think><answer>answer</answer>``. The answer is the name of a class or grade (the number of a grade, from 0,
where grades have no names), or one box ``[x0, y0, x1, y1]``, several of them in ``[...]``, or ``[]`` for none, in the units of
:class:`PromptSettings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vrft_aug import coordinates as units

Task = Literal["localisation", "classification", "grading"]
Message = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """Wording of the question."""

    style: Literal["full", "short"] = "full"
    """``full`` explains the answer format in words; ``short`` is a few words, for tiny models that learn the format by example."""
    question: str | None = None
    """Own question in front of the choices and the format, instead of the built-in one."""
    coordinates: str = "norm1000"
    """Units of boxes, see :mod:`vrft_aug.coordinates`; tiny models learn a coarse grid such as ``norm16``."""
    min_pixels: int | None = None
    """Smallest image area of the processor, for coordinates ``resized``; a recipe takes it from the model."""
    max_pixels: int | None = None
    """Largest image area of the processor, for coordinates ``resized``; a recipe takes it from the model."""
    patch_size: int | None = None
    """Side of a patch of the processor in pixels, for coordinates ``resized``; a recipe takes it from the model."""
    merge_size: int | None = None
    """Patches merged to a token in each direction, for coordinates ``resized``; a recipe takes it from the model."""

    def __post_init__(self) -> None:
        units.check_coordinates(self.coordinates)
        _ = self.resize  # refuses numbers that no processor has

    @property
    def resize(self) -> units.Resize:
        """The processor's resize, as far as it is stated."""
        names = ("min_pixels", "max_pixels", "patch_size", "merge_size")
        return units.Resize(**{name: value for name in names if (value := getattr(self, name)) is not None})

    def frame(self, image_size: Sequence[units.Number]) -> tuple[float, float]:
        """Width and height of an image in the units of the answer."""
        return units.frame(self.coordinates, image_size, resize=self.resize)


def question(task: Task, settings: PromptSettings, *, classes: Sequence[str] = (), thing: str | None = None) -> str:
    """The question without knowledge.

    Parameters
    ----------
    task
        What is asked.
    settings
        Wording.
    classes
        Names of the classes or grades.
    thing
        What the boxes hold, ``finding`` if none.
    """
    asked = {"classification": _classification, "grading": _grading, "localisation": _localisation}[task]
    ask, form = asked(settings, classes, thing or "finding")
    if settings.style == "short":
        return settings.question or ask
    think = "First think between <think> and </think>, then give"
    return f"{settings.question or ask} {think} {form} between <answer> and </answer>."


def _classification(settings: PromptSettings, names: Sequence[str], thing: str) -> tuple[str, str]:
    del thing
    if settings.style == "short":
        return f"{_choice(names)}?", ""
    return "What does the image show?", f"one of these names, and nothing else, {_choice(names)},"


def _grading(settings: PromptSettings, names: Sequence[str], thing: str) -> tuple[str, str]:
    del thing
    if settings.style == "short":
        return f"{_choice(names)}?", ""
    return (
        "Which grade does the image show?",
        f"one of these grades from the lowest to the highest, and nothing else, {_choice(names)},",
    )


def _localisation(settings: PromptSettings, names: Sequence[str], thing: str) -> tuple[str, str]:
    del names
    if settings.style == "short":
        return f"where is the {thing}?", ""
    mode = units.check_coordinates(settings.coordinates)
    extent = {
        "pixel": "in pixels of the image",
        "resized": "in pixels of the image",
        "norm1": "as shares of the width and height, 0 to 1",
    }.get(mode, f"from 0 to {mode.removeprefix('norm')} across the width and height")
    return f"Where is every {thing} in the image?", f"each box as [x0, y0, x1, y1] {extent}, or [] if there is none,"


def _choice(names: Sequence[str]) -> str:
    between = "; " if any("," in name for name in names) else ", "
    return f"{between.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def messages(text: str, knowledge: str | None = None, placement: Literal["before", "after", "system"] = "before") -> list[Message]:
    """The conversation that starts the sample; trl puts the image in front of the first user text."""
    if not knowledge:
        return [{"role": "user", "content": text}]
    if placement == "system":
        return [{"role": "system", "content": knowledge}, {"role": "user", "content": text}]
    parts = [knowledge, text] if placement == "before" else [text, knowledge]
    return [{"role": "user", "content": "\n".join(parts)}]


def target(row: Mapping[str, Any]) -> str:
    """A right answer to a row, for supervised training.

    The thought is short and says only what the truth says.

    Parameters
    ----------
    row
        A row of :func:`vrft_aug.data.load_rows`.
    """
    if row["task"] == "localisation":
        boxes = units.convert(row["boxes"], row["image_size"], row["box_frame"])
        return _answer(f"places: {len(boxes)}", write_boxes(boxes, row["box_frame"]))
    if row["task"] == "classification":
        name = str(row["label"])
    else:
        grade, names = int(row["grade"]), row.get("classes")
        name = str(names[grade]) if names else str(grade)
    return _answer(f"the image looks {name}", name)


def _answer(thought: str, answer: str) -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


def write_boxes(boxes: Sequence[Sequence[units.Number]], frame: Sequence[units.Number]) -> str:
    """Boxes as text: whole numbers, or three decimals where the frame is 1 wide; a box never loses its last unit of extent."""
    texts = [f"[{', '.join(_numbers(box, frame))}]" for box in boxes]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _numbers(box: Sequence[units.Number], frame: Sequence[units.Number]) -> list[str]:
    step = 0.001 if frame[0] == 1 else 1.0
    low = [round(v / step) for v in box[:2]]
    high = [max(round(v / step), a + 1) for v, a in zip(box[2:], low, strict=True)]
    limit = [round(extent / step) for extent in frame]
    over = [max(0, b - most) for b, most in zip(high, limit, strict=True)]
    values = [*(a - o for a, o in zip(low, over, strict=True)), *(b - o for b, o in zip(high, over, strict=True))]
    return [f"{v * step:.3f}" if step < 1 else str(v) for v in values]
