"""Classes, grades and probabilities.

``reference`` comes first, ``estimate`` second. A prediction of None means that no answer could be read: it is never right.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped
from scipy.stats import rankdata

from medcore.errors import InputError
from medcore.metrics.base import MetricResult, Values, metric, numbers, undefined

Labels = Shaped[np.ndarray, "..."] | Sequence[Any]
_GUO = "Guo et al. 2017, arXiv 1706.04599"


@metric(
    "accuracy",
    kind="classification",
    variant="exact",
    direction="higher",
    definition="fraction of predictions equal to the reference",
    source="scikit-learn accuracy_score",
)
def accuracy(reference: Labels, estimate: Labels) -> MetricResult:
    """Fraction of right predictions.

    Parameters
    ----------
    reference, estimate
        Labels of any hashable kind, one for each sample.
    """
    ref, est = _labels(reference, estimate)
    if not ref:
        return undefined("there are no samples")
    return MetricResult(value=sum(a == b for a, b in zip(ref, est, strict=True)) / len(ref), n=len(ref))


@metric(
    "balanced_accuracy",
    kind="classification",
    variant="macro-recall",
    direction="higher",
    definition="mean recall over the classes that occur in the reference",
    source="scikit-learn balanced_accuracy_score",
)
def balanced_accuracy(reference: Labels, estimate: Labels) -> MetricResult:
    """Mean recall of the classes; parameters as :func:`accuracy`."""
    ref, est = _labels(reference, estimate)
    if not ref:
        return undefined("there are no samples")
    recalls = [np.mean([e == c for r, e in zip(ref, est, strict=True) if r == c]) for c in dict.fromkeys(ref)]
    return MetricResult(value=float(np.mean(recalls)), n=len(ref))


@metric(
    "f1",
    kind="classification",
    variant="macro",
    direction="higher",
    definition="mean over the classes that occur in reference or estimate of 2 TP / (2 TP + FP + FN)",
    source="scikit-learn f1_score(average='macro')",
)
def f1(reference: Labels, estimate: Labels) -> MetricResult:
    """Macro-averaged F1; None is no class but a miss. Parameters as :func:`accuracy`."""
    ref, est = _labels(reference, estimate)
    if not ref:
        return undefined("there are no samples")
    pairs, scores = list(zip(ref, est, strict=True)), []
    for c in dict.fromkeys([*ref, *(e for e in est if e is not None)]):
        right = sum(r == c and e == c for r, e in pairs)
        scores.append(2 * right / sum((r == c) + (e == c) for r, e in pairs))
    return MetricResult(value=float(np.mean(scores)), n=len(ref))


def confusion_matrix(reference: Labels, estimate: Labels, classes: Sequence[Hashable]) -> Int[np.ndarray, "true predicted"]:
    """Counts, rows by true and columns by predicted class; a last column counts predictions that are none of `classes`, if there are any.

    Raises
    ------
    InputError
        If a reference is none of `classes`.
    """
    ref, est = _labels(reference, estimate)
    place = {c: i for i, c in enumerate(classes)}
    unknown = [r for r in ref if r not in place]
    if unknown:
        raise InputError("reference", f"holds {unknown[0]!r}, which is none of {list(classes)}", "name every class")
    counts = np.zeros((len(place), len(place) + 1), dtype=np.int64)
    np.add.at(counts, ([place[r] for r in ref], [place.get(e, len(place)) for e in est]), 1)
    return counts if counts[:, -1].any() else counts[:, :-1]


@metric(
    "quadratic_weighted_kappa",
    kind="classification",
    variant="quadratic",
    direction="higher",
    definition="1 - sum((i - j)^2 O_ij) / sum((i - j)^2 E_ij), E from the margins",
    source="Cohen 1968, doi 10.1037/h0026256; scikit-learn cohen_kappa_score(weights='quadratic')",
)
def quadratic_weighted_kappa(reference: Values, estimate: Values) -> MetricResult:
    """Chance-corrected agreement of ordinal grades (whole numbers)."""
    ref, est = _grades(reference, estimate)
    if not ref.size:
        return undefined("there are no samples")
    observed = np.mean((ref - est) ** 2)
    # The mean over all pairings of the two margins, without building the table.
    expected = np.mean(ref**2) + np.mean(est**2) - 2 * ref.mean() * est.mean()
    if not np.ptp(np.concatenate([ref, est])):
        return undefined("all grades are equal", n=ref.size)
    return MetricResult(value=float(1 - observed / expected), n=ref.size)


@metric(
    "grade_mae",
    kind="classification",
    variant="mean",
    direction="lower",
    unit="grade",
    definition="mean(|estimate - reference|)",
    source="usual in ordinal grading",
)
def grade_mae(reference: Values, estimate: Values) -> MetricResult:
    """Mean distance of ordinal grades (whole numbers)."""
    ref, est = _grades(reference, estimate)
    if not ref.size:
        return undefined("there are no samples")
    return MetricResult(value=float(np.mean(np.abs(ref - est))), n=ref.size)


@metric(
    "auroc",
    kind="classification",
    variant="rank",
    direction="higher",
    definition="probability that a positive scores above a negative, ties count half; mean of one-vs-rest for several classes",
    source="Hanley and McNeil 1982, doi 10.1148/radiology.143.1.7063747; scikit-learn roc_auc_score",
)
def auroc(reference: Values, scores: Values) -> MetricResult:
    """Area under the receiver operating characteristic.

    Parameters
    ----------
    reference
        0 or 1 for each sample, or class numbers 0 ... k-1.
    scores
        (n,) score of the positive class, or (n, k) scores of the classes.
    """
    truth, found = _probabilistic(reference, scores, range_=None)
    areas = []
    for positive, score in zip(truth.T, found.T, strict=True):
        count = int(positive.sum())
        if count in {0, positive.size}:
            return undefined("a class has no samples, or there is no other", n=positive.size)
        ranks = rankdata(score)[positive]
        areas.append((ranks.sum() - count * (count + 1) / 2) / (count * (positive.size - count)))
    return MetricResult(value=float(np.mean(areas)), n=len(truth))


@metric(
    "brier",
    kind="classification",
    variant="sum",
    direction="lower",
    definition="mean((p - y)^2) for two classes, mean(sum over classes of (p_k - y_k)^2) for several",
    source="Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2; scikit-learn brier_score_loss",
)
def brier(reference: Values, probabilities: Values) -> MetricResult:
    """Mean squared error of probabilities; parameters as :func:`auroc`, with probabilities in [0, 1]."""
    truth, found = _probabilistic(reference, probabilities, range_=(0.0, 1.0))
    if not truth.size:
        return undefined("there are no samples")
    return MetricResult(value=float(np.mean(np.sum((found - truth) ** 2, axis=1))), n=len(truth))


@metric(
    "ece",
    kind="classification",
    variant="width15",
    direction="lower",
    definition="sum over 15 bins of equal width of (share of samples) |mean confidence - accuracy|",
    source=_GUO,
)
def ece(correct: Values, confidence: Values, *, bins: int = 15) -> MetricResult:
    """Expected calibration error with bins (0, 1/15], (1/15, 2/15], ...; 0 falls into the first.

    Parameters
    ----------
    correct
        Whether each prediction was right (0 or 1).
    confidence
        Its stated probability.
    bins
        Number of bins; another number than 15 is stated in the note.
    """
    right, sure = _confidences(correct, confidence, bins)
    index = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    return _calibration_error(right, sure, index, bins)


@metric(
    "ece_mass",
    kind="classification",
    variant="mass15",
    direction="lower",
    definition="as ece, with 15 bins of (nearly) equal numbers of samples",
    source="Nixon et al. 2019, arXiv 1904.01685",
)
def ece_mass(correct: Values, confidence: Values, *, bins: int = 15) -> MetricResult:
    """Expected calibration error with bins of equal mass; parameters as :func:`ece`."""
    right, sure = _confidences(correct, confidence, bins)
    # Equal confidences share a rank, so they never fall into different bins.
    index = ((rankdata(sure, method="min") - 1) * bins // max(sure.size, 1)).astype(np.int64)
    return _calibration_error(right, sure, index, bins)


def _calibration_error(right: np.ndarray, sure: np.ndarray, index: np.ndarray, bins: int) -> MetricResult:
    if not right.size:
        return undefined("there are no samples")
    gaps = np.bincount(index, weights=sure - right, minlength=bins)
    return MetricResult(value=float(np.abs(gaps).sum() / right.size), n=right.size, note=f"{bins} bins")


def _labels(reference: Labels, estimate: Labels) -> tuple[list[Any], list[Any]]:
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


def _vector(values: Values, what: str) -> np.ndarray:
    array = numbers(list(values) if not isinstance(values, np.ndarray) else values, what)
    if not np.isfinite(array).all():
        raise InputError(what, f"{np.count_nonzero(~np.isfinite(array))} values are not finite", "leave these samples out")
    return array


def _grades(reference: Values, estimate: Values) -> tuple[np.ndarray, np.ndarray]:
    ref, est = _vector(reference, "reference"), _vector(estimate, "estimate")
    if ref.ndim != 1 or ref.shape != est.shape:
        raise InputError("grades", f"have the shapes {ref.shape} and {est.shape}", "give one grade for each sample")
    if np.any(ref % 1) or np.any(est % 1):
        raise InputError("grades", "are not whole numbers", "round them first")
    return ref, est


def _probabilistic(reference: Values, scores: Values, range_: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray]:
    """Membership (n, k) as booleans and scores (n, k); k is 1 for two classes."""
    truth, found = _vector(reference, "reference"), _vector(scores, "scores")
    if found.ndim not in {1, 2} or truth.shape != found.shape[:1]:
        raise InputError("scores", f"have shape {found.shape} for {truth.shape} references", "give (n,) or (n, classes)")
    classes = 2 if found.ndim == 1 else found.shape[1]
    if np.any(~np.isin(truth, np.arange(classes))):
        raise InputError("reference", f"holds other values than 0 ... {classes - 1}", "give class numbers")
    if range_ is not None and found.size and (found.min() < range_[0] or found.max() > range_[1]):
        raise InputError("probabilities", f"reach from {found.min():g} to {found.max():g}", "give numbers in [0, 1]")
    if found.ndim == 1:
        return (truth == 1)[:, None], found[:, None]
    return truth[:, None] == np.arange(classes), found


def _confidences(correct: Values, confidence: Values, bins: int) -> tuple[np.ndarray, np.ndarray]:
    if bins < 1:
        raise InputError("bins", f"is {bins}", "give at least 1")
    if np.ndim(confidence) != 1:
        raise InputError("confidence", f"has {np.ndim(confidence)} axes", "give one confidence for each sample")
    truth, found = _probabilistic(correct, confidence, range_=(0.0, 1.0))
    return truth[:, 0].astype(np.float64), found[:, 0]
