"""Reading one completion and comparing it with the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from medcore.metrics import match_boxes, mean_iou
from vrft_aug import coordinates, parsing
from vrft_aug.evaluation.results import Prediction
from vrft_aug.parsing import AnswerForm, Reading
from vrft_aug.rewards import RewardSettings

_KEPT = ("sample_id", "subject", "task", "label", "grade", "boxes", "image_size")


def answer_form(rewards: Iterable[RewardSettings]) -> AnswerForm:
    """The form in which a stage's rewards expect answers."""
    return cast("AnswerForm", next((r.options["form"] for r in rewards if "form" in r.options), "tags"))


def judge(
    row: Mapping[str, Any],
    completion: str,
    *,
    form: AnswerForm = "tags",
    asked: AnswerForm | None = None,
    right_iou: float = 0.5,
) -> Prediction:
    """Read one completion and compare it with the row's truth; an unreadable answer is wrong, never left out.

    Parameters
    ----------
    row
        A row of :mod:`vrft_aug.data`.
    completion
        What the policy wrote.
    form
        Where the answer is read, see :mod:`vrft_aug.parsing.tags`.
    asked
        The form that counts as the right format; by default `form`.
    right_iou
        Boxes are right from this overlap on.

    Returns
    -------
    dict
        Identity and truth of the row, ``completion``, ``format``, ``answer`` (None if unreadable, then also ``reason``) and ``correct``;
        of boxes ``iou``, ``found``, ``missed`` and ``spurious`` instead: the numbers of pairs and of boxes without partner. ``confidence``
        where the completion states one.
    """
    kept = {key: row[key] for key in _KEPT if row.get(key) is not None}
    shape = asked or form
    right = parsing.has_format(completion, form=shape) or parsing.has_format(completion, form=shape, confidence=True)
    result: Prediction = {**kept, "completion": completion, "format": right}
    confidence = parsing.read_confidence(completion, form=form)
    text = completion
    if confidence is not None:
        result["confidence"] = confidence
        text = parsing.without_confidence(parsing.without_thoughts(completion, form))
    judged = {"localisation": _boxes, "grading": _grade, "classification": _label}[row["task"]]
    return result | judged(row, text, form, right_iou)


def _label(row: Mapping[str, Any], text: str, form: AnswerForm, right_iou: float) -> Prediction:
    del right_iou
    found = parsing.explain_label(text, row["classes"], form=form)
    return _read(found) | {"correct": found.value == row["label"]}


def _grade(row: Mapping[str, Any], text: str, form: AnswerForm, right_iou: float) -> Prediction:
    del right_iou
    found = parsing.explain_grade(text, row.get("classes") or row["num_grades"], form=form)
    return _read(found) | {"correct": found.value == row["grade"]}


def _boxes(row: Mapping[str, Any], text: str, form: AnswerForm, right_iou: float) -> Prediction:
    found = parsing.explain_boxes(text, form=form)
    boxes = None if found.value is None else coordinates.convert(found.value, row["box_frame"], row["image_size"])
    ordered = None if boxes is None else _ordered(boxes)
    pairs = match_boxes(row["boxes"], ordered or [], threshold=right_iou)
    return _read(found) | {
        "answer": boxes,
        # None where there is neither a true nor an answered box.
        "iou": mean_iou([row["boxes"]], [ordered]).value,
        "found": len(pairs.pairs),
        "missed": len(pairs.missed),
        # An answer that cannot be read counts as one wrong box, so that silence never pays.
        "spurious": 1 if ordered is None else len(pairs.spurious),
    }


def _read(found: Reading[Any]) -> Prediction:
    return {"answer": found.value, **({} if found.reason is None else {"reason": str(found.reason)})}


def _ordered(boxes: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])] for b in boxes]


def is_right(prediction: Prediction, right_iou: float = 0.5) -> bool:
    """Whether an answer is right: its class or grade, or the overlap of its boxes (also where there is nothing and nothing was found)."""
    if prediction["task"] == "localisation":
        return prediction["iou"] is None or prediction["iou"] >= right_iou
    return bool(prediction["correct"])
