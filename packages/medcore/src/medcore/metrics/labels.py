"""Classes and grades: the truth comes first, the prediction second.

A prediction of None means that no answer could be read: it is never right. Every metric here follows from counts, so weights of samples
(and with them thousands of resamples) cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from medcore.errors import InputError
from medcore.metrics.base import MetricResult, Values, Weighted, Weights, metric, numbers, undefined

Labels = Shaped[np.ndarray, "..."] | Sequence[Any]
Counts = Float[np.ndarray, "true predicted"]
_SKLEARN = "scikit-learn"


class _Coded(NamedTuple):
    """Labels as numbers: `classes` in the order of their first occurrence; an estimate without answer has the number ``len(classes)``."""

    classes: list[Any]
    reference: np.ndarray
    estimate: np.ndarray

    def counts(self, weights: Weights | None = None) -> Counts:
        """Weight of each pair, rows by true and columns by predicted class; the last column holds what got no answer."""
        k = len(self.classes)
        cells = np.bincount(self.reference * (k + 1) + self.estimate, weights, k * (k + 1))
        return cells.reshape(k, k + 1).astype(np.float64)


def _counted(score: Callable[[Counts], float | None]) -> Callable[[Labels, Labels], Weighted]:
    """The weighted form of a metric that follows from the counts."""

    def weighted(reference: Labels, estimate: Labels) -> Weighted:
        coded = _code(reference, estimate)
        return lambda weights: score(coded.counts(weights))

    return weighted


def _result(score: Callable[[Counts], float | None], reference: Labels, estimate: Labels, reason: str) -> MetricResult:
    coded = _code(reference, estimate)
    n = len(coded.reference)
    if not n:
        return undefined("there are no samples")
    value = score(coded.counts())
    return undefined(reason, n=n) if value is None else MetricResult(value=value, n=n)


def _accuracy(counts: Counts) -> float | None:
    total = counts.sum()
    return float(np.trace(counts) / total) if total else None


@metric(
    "accuracy",
    kind="classification",
    variant="exact",
    direction="higher",
    definition="fraction of predictions equal to the reference",
    source="scikit-learn accuracy_score",
    referee=_SKLEARN,
    weighted=_counted(_accuracy),
)
def accuracy(reference: Labels, estimate: Labels) -> MetricResult:
    """Fraction of right predictions.

    Parameters
    ----------
    reference, estimate
        Labels of any hashable kind, one for each sample.
    """
    return _result(_accuracy, reference, estimate, "")


def _mean_recall(counts: Counts) -> float | None:
    totals = counts.sum(axis=1)
    there = totals > 0
    return float(np.mean(np.diagonal(counts)[there] / totals[there])) if there.any() else None


@metric(
    "balanced_accuracy",
    kind="classification",
    variant="macro-recall",
    direction="higher",
    definition="mean recall over the classes that occur in the reference",
    source="scikit-learn balanced_accuracy_score",
    referee=_SKLEARN,
    weighted=_counted(_mean_recall),
)
def balanced_accuracy(reference: Labels, estimate: Labels) -> MetricResult:
    """Mean recall of the classes; parameters as :func:`accuracy`."""
    return _result(_mean_recall, reference, estimate, "")


def _macro_f1(counts: Counts) -> float | None:
    below = counts.sum(axis=1) + counts[:, :-1].sum(axis=0)
    there = below > 0
    return float(np.mean(2 * np.diagonal(counts)[there] / below[there])) if there.any() else None


@metric(
    "f1",
    kind="classification",
    variant="macro",
    direction="higher",
    definition="mean over the classes that occur in reference or estimate of 2 TP / (2 TP + FP + FN)",
    source="scikit-learn f1_score(average='macro')",
    referee=_SKLEARN,
    weighted=_counted(_macro_f1),
)
def f1(reference: Labels, estimate: Labels) -> MetricResult:
    """Macro-averaged F1; None is no class but a miss. Parameters as :func:`accuracy`."""
    return _result(_macro_f1, reference, estimate, "")


def _matthews(counts: Counts) -> float | None:
    total, rows, columns = counts.sum(), counts.sum(axis=1), counts.sum(axis=0)
    # What got no answer is a column of its own, that no sample belongs to.
    spread = (total**2 - np.sum(rows**2)) * (total**2 - np.sum(columns**2))
    return float((np.trace(counts) * total - rows @ columns[:-1]) / np.sqrt(spread)) if spread > 0 else None


@metric(
    "matthews",
    kind="classification",
    variant="multiclass",
    direction="higher",
    definition="(c s - sum t_k p_k) / sqrt((s^2 - sum p_k^2)(s^2 - sum t_k^2)): c right of s samples, t_k truly and p_k predicted k",
    source="Gorodkin 2004, doi 10.1016/j.compbiolchem.2004.09.006; scikit-learn matthews_corrcoef, which gives 0 where this is undefined",
    referee=_SKLEARN,
    weighted=_counted(_matthews),
)
def matthews(reference: Labels, estimate: Labels) -> MetricResult:
    """Matthews correlation coefficient, of two or more classes; parameters as :func:`accuracy`."""
    return _result(_matthews, reference, estimate, "all references or all estimates are of one class")


def _cohen(counts: Counts) -> float | None:
    total = counts.sum()
    if not total:
        return None
    chance = float(counts.sum(axis=1) @ counts[:, :-1].sum(axis=0) / total**2)
    return float((np.trace(counts) / total - chance) / (1 - chance)) if chance < 1 else None


@metric(
    "cohen_kappa",
    kind="classification",
    variant="unweighted",
    direction="higher",
    definition="(p_o - p_e) / (1 - p_e): observed agreement p_o, agreement p_e of independent ratings with the same margins",
    source="Cohen 1960, doi 10.1177/001316446002000104",
    referee=_SKLEARN,
    weighted=_counted(_cohen),
)
def cohen_kappa(reference: Labels, estimate: Labels) -> MetricResult:
    """Chance-corrected agreement on classes without order; parameters as :func:`accuracy`."""
    return _result(_cohen, reference, estimate, "all labels are equal")


def confusion_matrix(reference: Labels, estimate: Labels, classes: Sequence[Hashable]) -> Int[np.ndarray, "true predicted"]:
    """Counts, rows by true and columns by predicted class; a last column counts predictions that are none of `classes`, if there are any.

    Raises
    ------
    InputError
        If a reference is none of `classes`.
    """
    ref, est = checked_labels(reference, estimate)
    place = {c: i for i, c in enumerate(classes)}
    unknown = [r for r in ref if r not in place]
    if unknown:
        raise InputError("reference", f"holds {unknown[0]!r}, which is none of {list(classes)}", "name every class")
    counts = np.zeros((len(place), len(place) + 1), dtype=np.int64)
    np.add.at(counts, ([place[r] for r in ref], [place.get(e, len(place)) for e in est]), 1)
    return counts if counts[:, -1].any() else counts[:, :-1]


def _grade_agreement(ref: np.ndarray, est: np.ndarray, weights: Weights) -> float | None:
    total = weights.sum()
    if not total:
        return None
    observed = weights @ (ref - est) ** 2 / total
    # The mean over all pairings of the two margins, without building the table.
    expected = (weights @ ref**2 + weights @ est**2) / total - 2 * (weights @ ref) * (weights @ est) / total**2
    there = weights > 0
    equal = not (np.ptp(ref[there]) or np.ptp(est[there]) or np.any(ref[there][:1] != est[there][:1]))
    return None if equal else float(1 - observed / expected)


def _weighted_kappa(reference: Values, estimate: Values) -> Weighted:
    ref, est = checked_grades(reference, estimate)
    return lambda weights: _grade_agreement(ref, est, weights)


@metric(
    "quadratic_weighted_kappa",
    kind="classification",
    variant="quadratic",
    direction="higher",
    definition="1 - sum((i - j)^2 O_ij) / sum((i - j)^2 E_ij), E from the margins",
    source="Cohen 1968, doi 10.1037/h0026256; scikit-learn cohen_kappa_score(weights='quadratic')",
    referee=_SKLEARN,
    weighted=_weighted_kappa,
)
def quadratic_weighted_kappa(reference: Values, estimate: Values) -> MetricResult:
    """Chance-corrected agreement of ordinal grades (whole numbers)."""
    ref, est = checked_grades(reference, estimate)
    if not ref.size:
        return undefined("there are no samples")
    value = _grade_agreement(ref, est, np.ones(ref.size))
    return undefined("all grades are equal", n=ref.size) if value is None else MetricResult(value=value, n=ref.size)


def _weighted_grade_mae(reference: Values, estimate: Values) -> Weighted:
    ref, est = checked_grades(reference, estimate)
    distance = np.abs(ref - est)
    return lambda weights: float(weights @ distance / weights.sum()) if weights.any() else None


@metric(
    "grade_mae",
    kind="classification",
    variant="mean",
    direction="lower",
    unit="grade",
    definition="mean(|estimate - reference|)",
    source="usual in ordinal grading",
    referee=_SKLEARN,
    weighted=_weighted_grade_mae,
)
def grade_mae(reference: Values, estimate: Values) -> MetricResult:
    """Mean distance of ordinal grades (whole numbers)."""
    ref, est = checked_grades(reference, estimate)
    if not ref.size:
        return undefined("there are no samples")
    return MetricResult(value=float(np.mean(np.abs(ref - est))), n=ref.size)


def checked_labels(reference: Labels, estimate: Labels) -> tuple[list[Any], list[Any]]:
    """Both as lists of labels.

    Raises
    ------
    InputError
        If lengths differ, a value is no label (NaN, a list), or a reference is None.
    """
    found = []
    for what, values in (("reference", reference), ("estimate", estimate)):
        labels = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if any(not isinstance(v, Hashable) or (isinstance(v, float) and v != v) for v in labels):  # noqa: PLR0124
            raise InputError(what, "holds a value that is no label", "give names or numbers, one a sample")
        found.append(labels)
    ref, est = found
    if len(ref) != len(est):
        raise InputError("labels", f"{len(ref)} references and {len(est)} estimates", "give one estimate for each reference")
    if any(r is None for r in ref):
        raise InputError("reference", "holds None", "leave unlabelled samples out")
    return ref, est


def _code(reference: Labels, estimate: Labels) -> _Coded:
    ref, est = checked_labels(reference, estimate)
    place: dict[Any, int] = {}
    true = np.array([place.setdefault(r, len(place)) for r in ref], dtype=np.int64)
    answered = [e for e in est if e is not None]
    for e in answered:
        place.setdefault(e, len(place))
    predicted = np.array([len(place) if e is None else place[e] for e in est], dtype=np.int64)
    return _Coded(list(place), true, predicted)


def checked_grades(reference: Values, estimate: Values) -> tuple[Float[np.ndarray, " samples"], Float[np.ndarray, " samples"]]:
    """Both as arrays of whole numbers.

    Raises
    ------
    InputError
        If they are not whole numbers, not finite, or not one for each sample.
    """
    ref, est = finite_vector(reference, "reference"), finite_vector(estimate, "estimate")
    if ref.ndim != 1 or ref.shape != est.shape:
        raise InputError("grades", f"have the shapes {ref.shape} and {est.shape}", "give one grade for each sample")
    if np.any(ref % 1) or np.any(est % 1):
        raise InputError("grades", "are not whole numbers", "round them first")
    return ref, est


def finite_vector(values: Values, what: str) -> Float[np.ndarray, "..."]:
    """`values` as finite numbers.

    Raises
    ------
    InputError
        If one is not finite; the first is named by its place.
    """
    array = numbers(list(values) if not isinstance(values, np.ndarray) else values, what)
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        problem = f"{np.count_nonzero(bad)} of {array.size} values are not finite, the first at index {first}"
        raise InputError(what, problem, "leave these samples out")
    return array
