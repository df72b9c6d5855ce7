"""Rewards as they are found in public training scripts, broken in ways that policies have learned to use; for trying audits on.

None of them belongs into a recipe: they show what ``vrft-aug rewards audit`` finds. Each is written anew from the description of its rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vrft_aug.parsing import completion_text

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_LETTER = re.compile(r"[A-J]")


def _answer(completion: Any) -> str:
    text = completion_text(completion)
    found = _ANSWER.search(text)
    return (found[1] if found else text).strip()


def substring(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """1 if answer or truth is a part of the other: an empty answer is always right, so are "normal" for "abnormal" and a denial."""
    del prompts
    pairs = zip(map(_answer, completions), columns["label"], strict=True)
    return [float(a.lower() in str(t).lower() or str(t).lower() in a.lower()) for a, t in pairs]


def one_letter(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """1 if the only capital letter from A to J is that of the right option: "C) CT" is wrong where C is right."""
    del prompts
    scores: list[float | None] = []
    for completion, label, classes in zip(completions, columns["label"], columns["classes"], strict=True):
        found = _LETTER.findall(_answer(completion))
        scores.append(float(len(found) == 1 and ord(found[0]) - 65 == list(classes).index(label)))
    return scores


def label_list(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """1 for every class name in the answer that is the truth, 0.25 if none is: naming all classes pays, and denials count as names."""
    del prompts
    scores: list[float | None] = []
    for completion, label, classes in zip(completions, columns["label"], columns["classes"], strict=True):
        named = [c for c in classes if str(c).lower() in _answer(completion).lower()]
        scores.append(1.0 if label in named else 0.25 * (not named))
    return scores


def any_number(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """1 if the true grade is among the numbers of the answer: "0 1 2 3 4" is always right."""
    del prompts
    pairs = zip(map(_answer, completions), columns["grade"], strict=True)
    return [float(str(grade) in re.findall(r"\d+", answer)) for answer, grade in pairs]


def covered(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """The share of the true boxes' area that stated boxes cover: one box around everything earns 1."""
    del prompts
    from vrft_aug import coordinates
    from vrft_aug.parsing import read_boxes

    scores: list[float | None] = []
    for completion, boxes, size, frame in zip(
        completions, columns["boxes"], columns["image_size"], columns["box_frame"], strict=True
    ):
        stated = coordinates.convert(read_boxes(completion) or [], frame, size)
        shares = [max((_inside(b, s) for s in stated), default=0.0) for b in boxes]
        scores.append(sum(shares) / len(shares) if shares else None)
    return scores


def _inside(box: Sequence[float], other: Sequence[float]) -> float:
    width, height = (min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1))
    return max(0.0, width) * max(0.0, height) / ((box[2] - box[0]) * (box[3] - box[1]))


def format_only(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """1 for the right tags: nothing tells a right answer from a wrong one."""
    del prompts, columns
    return [float("<answer>" in completion_text(c) and "</answer>" in completion_text(c)) for c in completions]
