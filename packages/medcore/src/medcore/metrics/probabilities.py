"""Probabilities and scores of classes: how well they rank, and whether they mean what they say.

Every metric is also a function of weights of the samples, prepared once (sorted, binned), so that resampling is quick.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit

from medcore.errors import InputError
from medcore.metrics.base import MetricResult, Values, Weighted, Weights, metric, undefined
from medcore.metrics.labels import finite_vector
from medcore.metrics.resampling import weighted_mean

Truth = Bool[np.ndarray, "samples classes"]
Scores = Float[np.ndarray, "samples classes"]
_GUO = "Guo et al. 2017, arXiv 1706.04599"
_NEWTON_STEPS = 100


def _area(positive: np.ndarray, score: np.ndarray) -> Weighted:
    """AUROC of one class: for each weight of a positive the weight of the negatives below it, equal scores half."""
    place = np.unique(score, return_inverse=True)[1]
    groups = int(place.max(initial=-1)) + 1
    chosen = positive.astype(np.float64)

    def area(weights: Weights) -> float | None:
        above = np.bincount(place, weights * chosen, groups)
        below = np.bincount(place, weights * (1 - chosen), groups)
        pairs = above.sum() * below.sum()
        return float(above @ (np.cumsum(below) - below / 2) / pairs) if pairs else None

    return area


def _precision_recall(positive: np.ndarray, score: np.ndarray) -> Weighted:
    """Average precision of one class, thresholds at each different score."""
    place = np.unique(-score, return_inverse=True)[1]
    groups = int(place.max(initial=-1)) + 1
    chosen = positive.astype(np.float64)

    def average(weights: Weights) -> float | None:
        right = np.bincount(place, weights * chosen, groups)
        total = right.sum()
        called = np.cumsum(np.bincount(place, weights, groups))
        precision = np.divide(np.cumsum(right), called, out=np.zeros(groups), where=called > 0)
        return float(right @ precision / total) if total else None

    return average


def _mean_over_classes(one: Callable[[np.ndarray, np.ndarray], Weighted]) -> Callable[[Values, Values], Weighted]:
    def weighted(reference: Values, scores: Values) -> Weighted:
        parts = [one(t, s) for t, s in zip(*(a.T for a in class_scores(reference, scores)), strict=True)]

        def mean(weights: Weights) -> float | None:
            found = [part(weights) for part in parts]
            known = [v for v in found if v is not None]
            return float(np.mean(known)) if known and len(known) == len(found) else None

        return mean

    return weighted


_areas, _precisions = _mean_over_classes(_area), _mean_over_classes(_precision_recall)


@metric(
    "auroc",
    kind="probability",
    variant="rank",
    direction="higher",
    definition="probability that a positive scores above a negative, ties count half; mean of one-vs-rest for several classes",
    source="Hanley and McNeil 1982, doi 10.1148/radiology.143.1.7063747; scikit-learn roc_auc_score",
    referee="scikit-learn",
    weighted=_areas,
)
def auroc(reference: Values, scores: Values) -> MetricResult:
    """Area under the receiver operating characteristic.

    Parameters
    ----------
    reference
        0 or 1 for each sample, or class numbers 0 ... k-1; or (n, k) of 0 and 1 for findings that may occur together.
    scores
        (n,) score of the positive class, or (n, k) scores of the classes.
    """
    n = len(class_scores(reference, scores)[0])
    value = _areas(reference, scores)(np.ones(n)) if n else None
    return undefined("a class has no samples, or there is no other", n=n) if value is None else MetricResult(value=value, n=n)


@metric(
    "average_precision",
    kind="probability",
    variant="step",
    direction="higher",
    definition="sum over thresholds of (recall - previous recall) precision; mean of one-vs-rest for several classes",
    source="scikit-learn average_precision_score (not the trapezoid, which is too high)",
    referee="scikit-learn",
    weighted=_precisions,
)
def average_precision(reference: Values, scores: Values) -> MetricResult:
    """Area under the steps of the precision-recall curve; parameters as :func:`auroc`. Depends on the prevalence of the data."""
    n = len(class_scores(reference, scores)[0])
    value = _precisions(reference, scores)(np.ones(n)) if n else None
    return undefined("a class has no samples", n=n) if value is None else MetricResult(value=value, n=n)


def per_class(function: Callable[[Values, Values], MetricResult], reference: Values, scores: Values) -> list[MetricResult]:
    """A metric of scores (:func:`auroc`, :func:`average_precision`, :func:`brier`) for each class against the others.

    Parameters
    ----------
    function
        The metric.
    reference, scores
        See :func:`auroc`; (n, k) scores.
    """
    truth, found = class_scores(reference, scores)
    return [function(t.astype(np.int64), s) for t, s in zip(truth.T, found.T, strict=True)]


def _weighted_brier(reference: Values, probabilities: Values) -> Weighted:
    truth, found = class_scores(reference, probabilities, probable=True)
    return weighted_mean(np.sum((found - truth) ** 2, axis=1))


@metric(
    "brier",
    kind="probability",
    variant="sum",
    direction="lower",
    definition="mean((p - y)^2) for two classes, mean(sum over classes of (p_k - y_k)^2) for several",
    source="Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2; scikit-learn brier_score_loss",
    referee="scikit-learn",
    weighted=_weighted_brier,
)
def brier(reference: Values, probabilities: Values) -> MetricResult:
    """Mean squared error of probabilities; parameters as :func:`auroc`, with probabilities in [0, 1]."""
    truth, found = class_scores(reference, probabilities, probable=True)
    if not truth.size:
        return undefined("there are no samples")
    return MetricResult(value=float(np.mean(np.sum((found - truth) ** 2, axis=1))), n=len(truth))


def _surprise(reference: Values, probabilities: Values) -> np.ndarray:
    """-ln of the probability of what is true; summed over findings that may occur together."""
    truth, found = class_scores(reference, probabilities, probable=True)
    if np.ndim(reference) == 1 and found.shape[1] > 1:
        return np.asarray(-np.log(np.sum(found, axis=1, where=truth)))
    return np.asarray(-np.sum(np.log(np.where(truth, found, 1 - found)), axis=1))


def _weighted_log_loss(reference: Values, probabilities: Values) -> Weighted:
    return weighted_mean(_surprise(reference, probabilities))


@metric(
    "log_loss",
    kind="probability",
    variant="natural",
    direction="lower",
    unit="nat",
    definition="mean(-ln p of the true class)",
    source="Good 1952, doi 10.1111/j.2517-6161.1952.tb00104.x; scikit-learn log_loss, which cuts probabilities of 0 instead",
    referee="scikit-learn",
    weighted=_weighted_log_loss,
)
def log_loss(reference: Values, probabilities: Values) -> MetricResult:
    """Mean negative log-likelihood of the truth; parameters as :func:`brier`. Undefined where a true class has probability 0."""
    surprise = _surprise(reference, probabilities)
    if not surprise.size:
        return undefined("there are no samples")
    never = int(np.count_nonzero(np.isinf(surprise)))
    if never:
        return undefined(f"{never} of {surprise.size} samples have probability 0 for what is true", n=surprise.size)
    return MetricResult(value=float(np.mean(surprise)), n=surprise.size)


def _binned(right: np.ndarray, sure: np.ndarray, bins: int, *, mass: bool) -> Weighted:
    gap = sure - right
    place = np.unique(sure, return_inverse=True)[1]
    fixed = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)

    def error(weights: Weights) -> float | None:
        total = weights.sum()
        if not total:
            return None
        index = fixed
        if mass:
            # Equal confidences share a rank, so they never fall into different bins.
            at = np.bincount(place, weights)
            index = ((np.cumsum(at) - at) * bins // total).astype(np.int64)[place]
            index = np.minimum(index, bins - 1)  # of confidences without weight
        return float(np.abs(np.bincount(index, weights * gap, bins)).sum() / total)

    return error


def _weighted_ece(correct: Values, confidence: Values, *, bins: int = 15) -> Weighted:
    return _binned(*_confidences(correct, confidence, bins), bins, mass=False)


def _weighted_ece_mass(correct: Values, confidence: Values, *, bins: int = 15) -> Weighted:
    return _binned(*_confidences(correct, confidence, bins), bins, mass=True)


@metric(
    "ece",
    kind="probability",
    variant="width15",
    direction="lower",
    definition="sum over 15 bins of equal width of (share of samples) |mean confidence - accuracy|",
    source=_GUO,
    referee="torchmetrics; the definition by loops",
    weighted=_weighted_ece,
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
    return _calibration_error(_weighted_ece(correct, confidence, bins=bins), correct, bins)


@metric(
    "ece_mass",
    kind="probability",
    variant="mass15",
    direction="lower",
    definition="as ece, with 15 bins of (nearly) equal numbers of samples",
    source="Nixon et al. 2019, arXiv 1904.01685",
    referee="the definition by loops",
    weighted=_weighted_ece_mass,
)
def ece_mass(correct: Values, confidence: Values, *, bins: int = 15) -> MetricResult:
    """Expected calibration error with bins of equal mass; parameters as :func:`ece`."""
    return _calibration_error(_weighted_ece_mass(correct, confidence, bins=bins), correct, bins)


def _calibration_error(error: Weighted, correct: Values, bins: int) -> MetricResult:
    n = len(np.asarray(correct))
    value = error(np.ones(n)) if n else None
    return undefined("there are no samples") if value is None else MetricResult(value=value, n=n, note=f"{bins} bins")


def _slope(truth: np.ndarray, logits: np.ndarray) -> Weighted:
    design = np.stack([np.ones_like(logits), logits], axis=1)

    def slope(weights: Weights) -> float | None:
        there = weights > 0
        ones, zeros = logits[there & truth], logits[there & ~truth]
        # Without overlap of the two classes the likelihood has no maximum; without spread it has many.
        if not (ones.size and zeros.size) or ones.min() >= zeros.max() or ones.max() <= zeros.min():
            return None
        found = np.zeros(2)
        for _ in range(_NEWTON_STEPS):
            p = expit(design @ found)
            step = np.linalg.solve(design.T @ (design * (weights * p * (1 - p))[:, None]), design.T @ (weights * (truth - p)))
            found = found + step
            if np.all(np.abs(step) <= 1e-10 * (1 + np.abs(found))):
                return float(found[1])
        return None

    return slope


def _weighted_slope(reference: Values, probabilities: Values) -> Weighted:
    truth, logits = _logits(reference, probabilities)
    if not np.isfinite(logits).all():
        return lambda _: None
    return _slope(truth, logits)


@metric(
    "calibration_slope",
    kind="probability",
    variant="logistic",
    direction="one",
    definition="b of the logistic regression logit P(y = 1) = a + b logit(p); below 1 the probabilities are too extreme",
    source="Cox 1958, doi 10.1093/biomet/45.3-4.562; Van Calster et al. 2019, doi 10.1186/s12916-019-1466-7",
    referee="scikit-learn LogisticRegression without penalty",
    weighted=_weighted_slope,
)
def calibration_slope(reference: Values, probabilities: Values) -> MetricResult:
    """Slope of the logistic recalibration of two classes.

    Parameters
    ----------
    reference
        0 or 1 for each sample.
    probabilities
        (n,) probability of 1.
    """
    truth, logits = _logits(reference, probabilities)
    n = truth.size
    extreme = int(np.count_nonzero(~np.isfinite(logits)))
    if extreme:
        return undefined(f"{extreme} of {n} probabilities are 0 or 1", n=n)
    value = _slope(truth, logits)(np.ones(n))
    return undefined("the classes do not overlap, or one is missing", n=n) if value is None else MetricResult(value=value, n=n)


def _logits(reference: Values, probabilities: Values) -> tuple[np.ndarray, np.ndarray]:
    if np.ndim(probabilities) != 1:
        raise InputError("probabilities", f"have {np.ndim(probabilities)} axes", "give the probability of 1 for each sample")
    truth, found = class_scores(reference, probabilities, probable=True)
    with np.errstate(divide="ignore"):
        return truth[:, 0], np.log(found[:, 0]) - np.log1p(-found[:, 0])


def class_scores(reference: Values, scores: Values, *, probable: bool = False) -> tuple[Truth, Scores]:
    """Membership (n, k) as booleans and scores (n, k); k is 1 for two classes.

    Raises
    ------
    InputError
        If shapes do not fit, a reference is no class, a number is not finite, or one is no probability where `probable` ones are wanted.
    """
    truth, found = finite_vector(reference, "reference"), finite_vector(scores, "scores")
    many = truth.ndim == 2
    if found.ndim not in {1, 2} or (truth.shape != found.shape if many else truth.shape != found.shape[:1]):
        raise InputError("scores", f"have shape {found.shape} for {truth.shape} references", "give (n,) or (n, classes)")
    classes = 2 if many or found.ndim == 1 else found.shape[1]
    if np.any(~np.isin(truth, np.arange(classes))):
        raise InputError("reference", f"holds other values than 0 ... {classes - 1}", "give class numbers")
    if probable and found.size and (found.min() < 0 or found.max() > 1):
        raise InputError("probabilities", f"reach from {found.min():g} to {found.max():g}", "give numbers in [0, 1]")
    if many:
        return truth == 1, found
    if found.ndim == 1:
        return (truth == 1)[:, None], found[:, None]
    return truth[:, None] == np.arange(classes), found


def _confidences(correct: Values, confidence: Values, bins: int) -> tuple[np.ndarray, np.ndarray]:
    if bins < 1:
        raise InputError("bins", f"is {bins}", "give at least 1")
    if np.ndim(confidence) != 1:
        raise InputError("confidence", f"has {np.ndim(confidence)} axes", "give one confidence for each sample")
    truth, found = class_scores(correct, confidence, probable=True)
    return truth[:, 0].astype(np.float64), found[:, 0]
