"""Metrics, intervals and answers in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medcore.metrics import MetricResult, compare_methods
from vrft_aug.evaluation import EvaluationResult, Prediction, scores, subjects

LABELS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "quadratic_weighted_kappa": "weighted kappa",
    "grade_mae": "grade error",
    "mean_iou": "mean IoU",
    "box_f1": "box F1",
    "format": "right format",
    "auroc": "AUROC",
    "brier": "Brier score",
    "ece": "calibration error",
    "stated": "states a confidence",
    "stated_auroc": "AUROC of stated confidence",
    "stated_brier": "Brier score of stated confidence",
    "stated_ece": "calibration error of stated confidence",
}
"""Metrics in words."""
SOURCES = {
    "likelihood": "the probability of each class as the answer (teacher forcing)",
    "samples": "the share of sampled answers that name each class",
    "stated": "the confidence that answers state",
}
"""Where scores of classes come from."""
PROBE_WORDS = {
    "blank": "grey images",
    "shuffled": "other samples' images",
    "no-knowledge": "without the knowledge",
    "form-thinking": "asked for <thinking> tags",
    "form-reasoning": "asked for <reasoning> tags",
    "form-boxed": "asked for \\boxed{answer}",
    "form-line": "asked for a line Answer:",
}
"""Probes in words."""


def label(key: str) -> str:
    """A metric in words."""
    return LABELS.get(key, key.replace("pass@", "Pass@"))


def interval(result: MetricResult, digits: int = 3, *, sign: bool = False) -> str:
    """A metric as ``0.912 [0.876, 0.945]``, with signs where it is a difference, or the reason why there is none."""
    if result.value is None:
        return result.reason or "undefined"
    plus = "+" if sign else ""
    # No-break spaces keep an interval on one line of a table.
    ends = (
        ""
        if result.low is None or result.high is None
        else f"\N{NO-BREAK SPACE}[{result.low:{plus}.{digits}f},\N{NO-BREAK SPACE}{result.high:{plus}.{digits}f}]"
    )
    return f"{result.value:{plus}.{digits}f}{ends}"


def change(before: EvaluationResult, after: EvaluationResult) -> dict[str, Any]:
    """The difference of two policies on the same images, paired by image, with its interval and a sign-flip test."""
    level = after.main.level or 0.95
    found = compare_methods({"before": scores(before), "after": scores(after)}, "before", subjects(after.predictions), level=level)[
        0
    ]
    return {"set": after.name, "difference": found.difference.as_dict(), "p_value": found.p_value}


def truth_words(prediction: Prediction) -> str:
    """The truth of a prediction."""
    if prediction["task"] == "localisation":
        return boxes_words(prediction.get("boxes") or [])
    if prediction["task"] == "grading":
        return f"grade {prediction['grade']}"
    return str(prediction["label"])


def answer_words(prediction: Prediction) -> str:
    """The answer of a prediction."""
    if prediction["answer"] is None:
        return "unreadable"
    if prediction["task"] == "localisation":
        return boxes_words(prediction["answer"])
    return f"{'grade ' if prediction['task'] == 'grading' else ''}{prediction['answer']}"


def boxes_words(boxes: Sequence[Sequence[float]]) -> str:
    """Boxes in whole pixels."""
    return ", ".join("[" + ", ".join(f"{v:.0f}" for v in box) + "]" for box in boxes) or "none"


def p_word(value: float | None) -> str | None:
    """A p-value for a table, None for none."""
    if value is None:
        return None
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def main_word(task: str) -> str:
    """The main metric of a task in words."""
    return LABELS["mean_iou" if task == "localisation" else "accuracy"]


def shares(parts: Mapping[str, MetricResult]) -> list[list[object]]:
    """Rows of a table of shares, the largest first."""
    return [[name, interval(found)] for name, found in sorted(parts.items(), key=lambda item: -(item[1].value or 0))]
