"""Diagnostic proportions of one class against all others, each with Wilson's interval; and F1 of many findings at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from jaxtyping import Bool
from scipy.stats import norm

from medcore.errors import InputError
from medcore.metrics.base import MetricResult, Values, Weighted, Weights, metric, undefined
from medcore.metrics.labels import Labels, checked_labels, finite_vector

WILSON = "Wilson 1927, doi 10.1080/01621459.1927.10502953"
_ALTMAN = "Altman and Bland 1994, doi 10.1136/bmj.308.6943.1552"
_PREDICTIVE = "Altman and Bland 1994, doi 10.1136/bmj.309.6947.102"
_REFEREE = "scikit-learn; scipy binomtest for the interval"
Chosen = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def wilson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion of `hits` among `n` independent samples.

    With p = hits / n and the normal quantile z, its ends are ``(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)``.
    """
    p, z = hits / n, float(norm.ppf((1 + level) / 2))
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    return float(max(ends[0], 0)), float(min(ends[1], 1))


def _sensitivity(true: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return found & true, true


def _specificity(true: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ~found & ~true, ~true


def _ppv(true: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return found & true, found


def _npv(true: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ~found & ~true, ~found


def _quick(choose: Chosen) -> Callable[..., Weighted]:
    def weighted(reference: Labels, estimate: Labels, *, positive: Hashable = None) -> Weighted:
        hits, among = (part.astype(np.float64) for part in choose(*_binary(reference, estimate, positive)))

        def share(weights: Weights) -> float | None:
            total = float(weights @ among)
            return float(weights @ hits) / total if total else None

        return share

    return weighted


def _proportion(choose: Chosen, reference: Labels, estimate: Labels, positive: Hashable, reason: str) -> MetricResult:
    true, found = _binary(reference, estimate, positive)
    hits, among = choose(true, found)
    n = int(among.sum())
    if not n:
        return undefined(reason if true.size else "there are no samples", n=true.size)
    count = int(hits.sum())
    low, high = wilson(count, n)
    return MetricResult(value=count / n, low=low, high=high, level=0.95, n=n, note=f"{count} of {n}")


@metric(
    "sensitivity",
    kind="classification",
    variant="one-against-rest",
    direction="higher",
    definition="TP / (TP + FN) of the positive class, with Wilson's 95 % interval",
    source=f"{_ALTMAN}; {WILSON}",
    referee=_REFEREE,
    weighted=_quick(_sensitivity),
)
def sensitivity(reference: Labels, estimate: Labels, *, positive: Hashable = None) -> MetricResult:
    """Share of the positives that are found; an estimate of None finds nothing.

    Parameters
    ----------
    reference, estimate
        Labels of any hashable kind, one for each sample.
    positive
        The positive class, the others are negative; may be left out for labels 0 and 1.

    Returns
    -------
    MetricResult
        `n` is the denominator; the interval takes the samples as independent.

    Raises
    ------
    InputError
        If it is not known which class is positive, or the reference does not know that class.
    """
    return _proportion(_sensitivity, reference, estimate, positive, "no reference is positive")


@metric(
    "specificity",
    kind="classification",
    variant="one-against-rest",
    direction="higher",
    definition="TN / (TN + FP) of the positive class, with Wilson's 95 % interval",
    source=f"{_ALTMAN}; {WILSON}",
    referee=_REFEREE,
    weighted=_quick(_specificity),
)
def specificity(reference: Labels, estimate: Labels, *, positive: Hashable = None) -> MetricResult:
    """Share of the negatives that are called so; an estimate of None is wrong for them too. See :func:`sensitivity`."""
    return _proportion(_specificity, reference, estimate, positive, "no reference is negative")


@metric(
    "ppv",
    kind="classification",
    variant="one-against-rest",
    direction="higher",
    definition="TP / (TP + FP) of the positive class (precision), with Wilson's 95 % interval",
    source=f"{_PREDICTIVE}; {WILSON}",
    referee=_REFEREE,
    weighted=_quick(_ppv),
)
def ppv(reference: Labels, estimate: Labels, *, positive: Hashable = None) -> MetricResult:
    """Positive predictive value at the prevalence of the data; see :func:`sensitivity`."""
    return _proportion(_ppv, reference, estimate, positive, "no estimate is positive")


@metric(
    "npv",
    kind="classification",
    variant="one-against-rest",
    direction="higher",
    definition="TN / (TN + FN) of the positive class, with Wilson's 95 % interval",
    source=f"{_PREDICTIVE}; {WILSON}",
    referee=_REFEREE,
    weighted=_quick(_npv),
)
def npv(reference: Labels, estimate: Labels, *, positive: Hashable = None) -> MetricResult:
    """Negative predictive value at the prevalence of the data; see :func:`sensitivity`."""
    return _proportion(_npv, reference, estimate, positive, "no estimate is negative")


def _binary(reference: Labels, estimate: Labels, positive: Hashable) -> tuple[np.ndarray, np.ndarray]:
    """Which references and which estimates are positive; no answer counts as the wrong one."""
    ref, est = checked_labels(reference, estimate)
    if positive is None:
        other = next((v for v in [*ref, *est] if v is not None and not _is_bit(v)), None)
        if other is not None:
            raise InputError("positive class", f"is not known among labels like {other!r}", "name it")
        positive = 1
    elif ref and positive not in ref:
        raise InputError("positive class", f"{positive!r} does not occur in the reference", "name one that does")
    true = np.array([r == positive for r in ref], dtype=np.bool_)
    found = np.array([not t if e is None else e == positive for t, e in zip(true, est, strict=True)], dtype=np.bool_)
    return true, found


def _is_bit(value: Any) -> bool:
    return isinstance(value, bool | int | float) and value in {0, 1}


def _multilabel_f1(true: Bool[np.ndarray, "samples findings"], found: Bool[np.ndarray, "samples findings"]) -> Weighted:
    right, below = (true & found).astype(np.float64), true.astype(np.float64) + found

    def score(weights: Weights) -> float | None:
        total = weights @ below
        there = total > 0
        return float(np.mean(2 * (weights @ right)[there] / total[there])) if there.any() else None

    return score


def _weighted_multilabel(reference: Values, estimate: Values) -> Weighted:
    return _multilabel_f1(*_findings(reference, estimate))


@metric(
    "multilabel_f1",
    kind="classification",
    variant="macro",
    direction="higher",
    definition="mean over findings that occur in reference or estimate of 2 TP / (2 TP + FP + FN)",
    source="scikit-learn f1_score(average='macro') of indicator matrices",
    referee="scikit-learn",
    weighted=_weighted_multilabel,
)
def multilabel_f1(reference: Values, estimate: Values) -> MetricResult:
    """Macro-averaged F1 of several findings that may occur together.

    Parameters
    ----------
    reference, estimate
        (samples, findings), 0 or 1.
    """
    true, found = _findings(reference, estimate)
    n = len(true)
    value = _multilabel_f1(true, found)(np.ones(n)) if n else None
    return undefined("no finding occurs" if n else "there are no samples", n=n) if value is None else MetricResult(value=value, n=n)


def _findings(reference: Values, estimate: Values) -> tuple[np.ndarray, np.ndarray]:
    true, found = finite_vector(reference, "reference"), finite_vector(estimate, "estimate")
    if true.ndim != 2 or true.shape != found.shape:
        raise InputError("findings", f"have the shapes {true.shape} and {found.shape}", "give (samples, findings) for both")
    for what, values in (("reference", true), ("estimate", found)):
        if not np.isin(values, (0, 1)).all():
            raise InputError(what, f"holds {values[~np.isin(values, (0, 1))][0]:g}", "give 0 or 1 for each finding")
    return true == 1, found == 1
