"""The metrics of judged predictions, each with an interval that resamples subjects."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from medcore.errors import InputError
from medcore.metrics import (
    MetricResult,
    auroc,
    balanced_accuracy,
    brier,
    cluster_interval,
    confusion_matrix,
    ece,
    grade_mae,
    quadratic_weighted_kappa,
)
from vrft_aug.evaluation.judging import is_right
from vrft_aug.evaluation.results import MEASURES, EvaluationResult, Prediction, subjects
from vrft_aug.recipe import EvaluationSettings

RELIABILITY_BINS = 10


@dataclass(frozen=True, kw_only=True)
class _Measure:
    """What a metric is computed from: arrays with an entry for each of some predictions, and the statistic of them."""

    data: Any
    statistic: Callable[..., Any] = np.mean
    places: Sequence[int] | None = None
    """Which predictions; None for all."""


def measure(
    predictions: list[Prediction],
    task: str,
    classes: Sequence[str],
    settings: EvaluationSettings,
    *,
    name: str,
    wall_time_s: float = 0.0,
) -> EvaluationResult:
    """The task's metrics of judged predictions, and those of scores, samples and stated confidences where predictions have them.

    Parameters
    ----------
    predictions
        See :func:`vrft_aug.evaluation.judge`; those of one task. ``scores`` (a probability for each class) and ``samples`` (further
        answers, judged) are used where all have them, ``confidence`` where some have it.
    task
        That task.
    classes
        Class names, or names of the grades in rising order.
    settings
        Level and resamples of the intervals.
    name, wall_time_s
        Go into the result.
    """
    everything: dict[str, _Measure] = {"format": _Measure(data=_numbers(predictions, "format"))}
    confusion, source = None, None
    reliable: tuple[dict[str, float], ...] = ()
    if task == "localisation":
        everything |= _boxes(predictions)
    else:
        truth, found = _codes(predictions, task, classes)
        confusion = confusion_matrix(truth.tolist(), found.tolist(), list(range(len(classes)))).tolist()
        everything |= _answers(truth, found, len(classes), ordered=task == "grading")
        source, scored = _class_scores(predictions, len(classes), found)
        if scored is not None:
            everything |= _scored(truth, scored)
            reliable = reliability(scored.max(axis=1), scored.argmax(axis=1) == truth)
    everything |= _sampled(predictions, settings.right_iou)
    stated = [i for i, p in enumerate(predictions) if p.get("confidence") is not None]
    if stated:
        sure = np.array([predictions[i]["confidence"] for i in stated], dtype=np.float64)
        right = np.array([is_right(predictions[i], settings.right_iou) for i in stated])
        everything |= _stated(sure, right, stated, len(predictions))
        reliable = reliable or reliability(sure, right)
    order = [*MEASURES[task], *(key for key in everything if key not in MEASURES[task])]
    groups = subjects(predictions)
    refused = sorted({p["reason"] for p in predictions if p.get("reason")})
    return EvaluationResult(
        name=name,
        task=task,
        metrics={key: _with_interval(everything[key], groups, settings) for key in order},
        predictions=predictions,
        classes=() if task == "localisation" else tuple(classes),
        confusion=confusion,
        refusals={
            reason: _with_interval(
                _Measure(data=np.array([float(p.get("reason") == reason) for p in predictions])), groups, settings
            )
            for reason in refused
        },
        source=source,
        reliability=reliable,
        wall_time_s=wall_time_s,
    )


def _with_interval(found: _Measure, groups: Sequence[str], settings: EvaluationSettings) -> MetricResult:
    who = groups if found.places is None else [groups[i] for i in found.places]
    if not len(who):
        return MetricResult(value=None, reason="no image has boxes")
    return cluster_interval(found.data, who, found.statistic, level=settings.level, n_resamples=max(100, settings.resamples))


def _numbers(predictions: Sequence[Prediction], key: str) -> Float[np.ndarray, " n"]:
    return np.array([float(p[key]) for p in predictions])


def _boxes(predictions: Sequence[Prediction]) -> dict[str, _Measure]:
    kept = [i for i, p in enumerate(predictions) if p["iou"] is not None]
    some = [predictions[i] for i in kept]
    counts = tuple(_numbers(some, key) for key in ("found", "missed", "spurious"))
    return {
        "mean_iou": _Measure(data=_numbers(some, "iou"), places=kept),
        "box_f1": _Measure(data=counts, statistic=box_f1, places=kept),
    }


def box_f1(found: Float[np.ndarray, " n"], missed: Float[np.ndarray, " n"], spurious: Float[np.ndarray, " n"]) -> float | None:
    """``2 TP / (2 TP + FP + FN)`` over the boxes of all images, None without any box."""
    twice = 2 * float(found.sum())
    total = twice + float(missed.sum() + spurious.sum())
    return twice / total if total else None


def _answers(truth: Int[np.ndarray, " n"], found: Int[np.ndarray, " n"], classes: int, *, ordered: bool) -> dict[str, _Measure]:
    measures = {
        "accuracy": _Measure(data=np.equal(truth, found).astype(float)),
        "balanced_accuracy": _Measure(data=(truth, found), statistic=balanced_accuracy),
    }
    if ordered:
        worst = _worst(truth, found, classes)
        measures["quadratic_weighted_kappa"] = _Measure(data=(truth, worst), statistic=quadratic_weighted_kappa)
        measures["grade_mae"] = _Measure(data=(truth, worst), statistic=grade_mae)
    return measures


def _codes(predictions: list[Prediction], task: str, classes: Sequence[str]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """True and answered class numbers; -1 for an unreadable answer."""
    place = {name: i for i, name in enumerate(classes)}
    if task == "grading":
        truth = [p["grade"] for p in predictions]
        return np.array(truth), np.array([-1 if p["answer"] is None else p["answer"] for p in predictions])
    return np.array([place[p["label"]] for p in predictions]), np.array([place.get(p["answer"], -1) for p in predictions])


def _worst(truth: Int[np.ndarray, " n"], found: Int[np.ndarray, " n"], grades: int) -> Int[np.ndarray, " n"]:
    """Answers with the grade farthest from the truth in place of unreadable ones, so that silence never pays."""
    farthest = np.where(truth * 2 >= grades - 1, 0, grades - 1)
    return np.where(found < 0, farthest, found)


def _class_scores(
    predictions: Sequence[Prediction], classes: int, found: Int[np.ndarray, " n"]
) -> tuple[str | None, Float[np.ndarray, "n class"] | None]:
    """A probability for each class and where it comes from: the likelihood, else the shares of samples, else stated confidence."""
    if all("scores" in p for p in predictions):
        return "likelihood", np.array([p["scores"] for p in predictions], dtype=np.float64)
    if all(p.get("votes") for p in predictions):
        return "samples", np.array([p["votes"] for p in predictions], dtype=np.float64)
    if classes == 2 and any(p.get("confidence") is not None for p in predictions):
        # Without a readable answer or confidence nothing is known of either class.
        sure = np.array(
            [0.5 if p.get("confidence") is None or a < 0 else p["confidence"] for p, a in zip(predictions, found, strict=True)]
        )
        second = np.where(found == 1, sure, 1 - sure)
        return "stated", np.stack([1 - second, second], axis=1)
    return None, None


def votes(answers: Sequence[int | None], classes: int) -> list[float]:
    """Share of sampled answers that name each class; unreadable ones name none."""
    return [sum(a == k for a in answers) / len(answers) for k in range(classes)]


def _scored(truth: Int[np.ndarray, " n"], scored: Float[np.ndarray, "n class"]) -> dict[str, _Measure]:
    two = scored.shape[1] == 2
    there = np.unique(truth)
    # One-vs-rest areas exist for classes that occur only.
    ranks = (truth, scored[:, 1]) if two else (np.searchsorted(there, truth), scored[:, there])
    confident = (np.equal(scored.argmax(axis=1), truth).astype(np.int64), np.clip(scored.max(axis=1), 0, 1))
    return {
        "auroc": _Measure(data=ranks, statistic=auroc),
        "brier": _Measure(data=(truth, np.clip(scored[:, 1] if two else scored, 0, 1)), statistic=brier),
        "ece": _Measure(data=confident, statistic=ece),
    }


def _stated(sure: Float[np.ndarray, " stated"], right: np.ndarray, places: Sequence[int], n: int) -> dict[str, _Measure]:
    pair = (right.astype(np.int64), sure)
    there = np.zeros(n)
    there[list(places)] = 1
    return {
        "stated": _Measure(data=there),
        "stated_auroc": _Measure(data=pair, statistic=auroc, places=places),
        "stated_brier": _Measure(data=pair, statistic=brier, places=places),
        "stated_ece": _Measure(data=pair, statistic=ece, places=places),
    }


def _sampled(predictions: Sequence[Prediction], right_iou: float) -> dict[str, _Measure]:
    if not all(p.get("samples") for p in predictions):
        return {}
    right = [sum(is_right({**p, **s}, right_iou) for s in p["samples"]) for p in predictions]
    n = len(predictions[0]["samples"])
    ks = sorted({1, n, *(2**i for i in range(1, n.bit_length()) if 2**i <= n)})
    return {f"pass@{k}": _Measure(data=np.array([pass_at_k(n, c, k) for c in right])) for k in ks}


def pass_at_k(n: int, right: int, k: int) -> float:
    r"""Probability that at least one of `k` answers is right, from `n` of which `right` are, without bias.

    .. math::
        1 - \binom{n - c}{k} \Big/ \binom{n}{k}

    (Chen et al. 2021, arXiv 2107.03374).

    >>> pass_at_k(8, 2, 1), pass_at_k(8, 0, 8), pass_at_k(8, 1, 8)
    (0.25, 0.0, 1.0)

    Raises
    ------
    InputError
        Unless ``0 <= right <= n`` and ``1 <= k <= n``.
    """
    if not (0 <= right <= n and 1 <= k <= n):
        raise InputError("pass_at_k", f"has {right} right of {n} answers and k {k}", "give 0 <= right <= n and 1 <= k <= n")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def reliability(
    confidence: Float[np.ndarray, " n"], right: np.ndarray, bins: int = RELIABILITY_BINS
) -> tuple[dict[str, float], ...]:
    """Mean confidence and share of right answers in bins of confidence of equal width, ``(low, high]``; 0 falls into the first.

    Returns
    -------
    tuple of dict
        ``low``, ``high``, ``n``, ``confidence`` and ``accuracy`` of each bin that holds something.
    """
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    found: list[Mapping[str, float]] = []
    for i in np.unique(place):
        inside = place == i
        found.append(
            {
                "low": float(i) / bins,
                "high": float(i + 1) / bins,
                "n": int(inside.sum()),
                "confidence": float(confidence[inside].mean()),
                "accuracy": float(np.mean(right[inside])),
            }
        )
    return tuple(dict(part) for part in found)
