"""Whether predicted standard deviations and intervals keep their promise."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from medcore.errors import InputError
from medcore.metrics.base import Mask, MetricResult, Nan, Values, metric, prepare, undefined

_GNEITING = "Gneiting and Raftery 2007, doi 10.1198/016214506000001437"
_KULESHOV = "Kuleshov et al. 2018, arXiv 1807.00263"
_LEVELS = np.arange(1, 100) / 100


@metric(
    "coverage",
    kind="uncertainty",
    variant="closed",
    direction="level",
    definition="fraction of references with low <= reference <= high, with Wilson's 95 % interval",
    source="Wilson 1927, doi 10.1080/01621459.1927.10502953",
)
def coverage(reference: Values, low: Values, high: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Fraction of true values inside their intervals; the interval of the fraction takes them as independent.

    Parameters
    ----------
    reference
        True values.
    low, high
        Ends of the predicted intervals, in the same shape.
    mask
        Which values count; leading axes may be missing.
    nan
        ``"omit"`` leaves out values that are not finite and counts them; by default they are an error.
    """
    ref, lo, hi, dropped = _intervals(reference, low, high, mask, nan)
    n = ref.size
    if not n:
        return undefined("no values are left", dropped=dropped)
    inside = float(np.mean((lo <= ref) & (ref <= hi)))
    z = float(stats.norm.ppf(0.975))
    middle, half = (inside + z**2 / (2 * n)), z * np.sqrt(inside * (1 - inside) / n + z**2 / (4 * n**2))
    ends = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    return MetricResult(value=inside, low=float(max(ends[0], 0)), high=float(min(ends[1], 1)), level=0.95, n=n, dropped=dropped)


@metric(
    "interval_score",
    kind="uncertainty",
    variant="mean",
    direction="lower",
    unit="data",
    definition="mean(width + 2/alpha * (distance of the reference outside the interval)), alpha = 1 - level",
    source=_GNEITING,
)
def interval_score(
    reference: Values, low: Values, high: Values, *, level: float = 0.95, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Winkler's interval score of intervals of the given `level`; other parameters as :func:`coverage`."""
    if not 0 < level < 1:
        raise InputError("level", f"is {level}", "give a number between 0 and 1")
    ref, lo, hi, dropped = _intervals(reference, low, high, mask, nan)
    if not ref.size:
        return undefined("no values are left", dropped=dropped)
    outside = np.maximum(lo - ref, 0) + np.maximum(ref - hi, 0)
    return MetricResult(value=float(np.mean(hi - lo + 2 / (1 - level) * outside)), n=ref.size, dropped=dropped)


@metric(
    "gaussian_nll",
    kind="uncertainty",
    variant="mean",
    direction="lower",
    unit="nat",
    definition="mean(ln(2 pi sd^2) / 2 + (reference - mean)^2 / (2 sd^2))",
    source=_GNEITING,
)
def gaussian_nll(reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Negative log-likelihood of the true values under normal predictions.

    Parameters
    ----------
    reference
        True values.
    mean, deviation
        Predicted mean and standard deviation, in the same shape.
    mask, nan
        See :func:`coverage`.
    """
    ref, mu, sd, dropped = _normal(reference, mean, deviation, mask, nan)
    trouble = _degenerate(sd, dropped)
    if trouble:
        return trouble
    value = float(np.mean(np.log(sd) + 0.5 * np.log(2 * np.pi) + ((ref - mu) / sd) ** 2 / 2))
    return MetricResult(value=value, n=ref.size, dropped=dropped)


@metric(
    "crps_gaussian",
    kind="uncertainty",
    variant="mean",
    direction="lower",
    unit="data",
    definition="mean(sd (z (2 Phi(z) - 1) + 2 phi(z) - 1/sqrt(pi))), z = (reference - mean) / sd; |reference - mean| where sd = 0",
    source=_GNEITING,
)
def crps_gaussian(reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Continuous ranked probability score of normal predictions; parameters as :func:`gaussian_nll`."""
    ref, mu, sd, dropped = _normal(reference, mean, deviation, mask, nan)
    if not ref.size:
        return undefined("no values are left", dropped=dropped)
    error = ref - mu
    z = np.divide(error, sd, out=np.zeros_like(error), where=sd > 0)
    score = sd * (z * special.erf(z / np.sqrt(2)) + np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2) - 1 / np.sqrt(np.pi))
    return MetricResult(value=float(np.mean(np.where(sd > 0, score, np.abs(error)))), n=ref.size, dropped=dropped)


@metric(
    "sharpness",
    kind="uncertainty",
    variant="rms",
    direction="none",
    unit="data",
    definition="sqrt(mean(sd^2))",
    source=_KULESHOV,
)
def sharpness(deviation: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """How narrow the predictions are; smaller is better only at equal calibration."""
    (sd,), dropped = prepare({"deviation": deviation}, mask, nan)
    _refuse_negative(sd)
    if not sd.size:
        return undefined("no values are left", dropped=dropped)
    return MetricResult(value=float(np.sqrt(np.mean(sd**2))), n=sd.size, dropped=dropped)


def z_scores(
    reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse"
) -> Float[np.ndarray, " n"]:
    """``(reference - mean) / deviation`` of the selected values; standard normal if the predictions are right.

    Raises
    ------
    InputError
        Also if a selected deviation is zero.
    """
    ref, mu, sd, _ = _normal(reference, mean, deviation, mask, nan)
    if np.any(sd == 0):
        raise InputError("deviation", f"{np.count_nonzero(sd == 0)} of {sd.size} values are zero", "mask them")
    return np.asarray((ref - mu) / sd)


@metric(
    "z_score_rms",
    kind="uncertainty",
    variant="rms",
    direction="one",
    definition="sqrt(mean(((reference - mean) / sd)^2))",
    source="root of the reduced chi-square",
)
def z_score_rms(reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Above 1 the deviations are too small, below 1 too large; parameters as :func:`gaussian_nll`."""
    ref, mu, sd, dropped = _normal(reference, mean, deviation, mask, nan)
    trouble = _degenerate(sd, dropped)
    return trouble or MetricResult(value=float(np.sqrt(np.mean(((ref - mu) / sd) ** 2))), n=ref.size, dropped=dropped)


class CurvePoints(NamedTuple):
    """A curve for a figure: positions and heights."""

    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]


def calibration_curve(reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse") -> CurvePoints:
    """Observed coverage of central intervals of normal predictions at the levels 0.01 ... 0.99; values as :func:`z_scores`."""
    z = np.sort(np.abs(z_scores(reference, mean, deviation, mask=mask, nan=nan)))
    inside = np.searchsorted(z, stats.norm.ppf((1 + _LEVELS) / 2), side="right")
    return CurvePoints(_LEVELS, inside / max(z.size, 1))


@metric(
    "regression_calibration_error",
    kind="uncertainty",
    variant="central99",
    direction="lower",
    definition="mean over levels 0.01 ... 0.99 of |observed coverage of the central interval - level|",
    source=f"{_KULESHOV}; absolute instead of squared differences",
)
def regression_calibration_error(
    reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Mean distance of the calibration curve from the diagonal; parameters as :func:`gaussian_nll`."""
    ref, mu, sd, dropped = _normal(reference, mean, deviation, mask, nan)
    trouble = _degenerate(sd, dropped)
    if trouble:
        return trouble
    levels, observed = calibration_curve(ref, mu, sd)
    return MetricResult(value=float(np.mean(np.abs(observed - levels))), n=ref.size, dropped=dropped)


class Sparsification(NamedTuple):
    """Error of the values that stay, relative to that of all, as the most uncertain (or the worst) are left out."""

    fraction: Float[np.ndarray, " points"]
    predicted: Float[np.ndarray, " points"]
    oracle: Float[np.ndarray, " points"]


def sparsification(
    reference: Values,
    mean: Values,
    deviation: Values,
    *,
    error: Literal["rmse", "mae"] = "rmse",
    mask: Mask = None,
    nan: Nan = "refuse",
) -> Sparsification:
    """Sparsification curves at the fractions 0, 0.01 ... 0.99; values with equal deviations share their mean error.

    Raises
    ------
    InputError
        Also if no values are left or all errors are zero.
    """
    ref, mu, sd, _ = _normal(reference, mean, deviation, mask, nan)
    losses = np.abs(ref - mu) if error == "mae" else (ref - mu) ** 2
    if not np.any(losses):
        raise InputError("estimate", "has no error to sparsify", "use sparsification where estimates differ from the truth")
    _, group = np.unique(sd, return_inverse=True)
    shared = (np.bincount(group, losses) / np.bincount(group))[group]
    fraction = np.arange(100) / 100
    kept = np.maximum(np.round(losses.size * (1 - fraction)).astype(np.int64), 1)
    curves = []
    for sorted_losses in (shared[np.argsort(sd, kind="stable")], np.sort(losses)):
        left = np.cumsum(sorted_losses)[kept - 1] / kept
        curves.append(np.sqrt(left / losses.mean()) if error == "rmse" else left / losses.mean())
    return Sparsification(fraction, *curves)


@metric(
    "ause",
    kind="uncertainty",
    variant="rmse",
    direction="lower",
    definition="mean over the fractions 0, 0.01 ... 0.99 left out of (RMSE sorted by sd - RMSE sorted by error) / RMSE of all",
    source="Ilg et al. 2018, arXiv 1802.07095",
)
def ause(reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Area under the sparsification error: 0 if deviations rank the errors perfectly; parameters as :func:`gaussian_nll`."""
    ref, mu, sd, dropped = _normal(reference, mean, deviation, mask, nan)
    if ref.size < 2:
        return undefined("fewer than two values cannot be ranked", n=ref.size, dropped=dropped)
    if np.array_equal(ref, mu):
        return undefined("there is no error", n=ref.size, dropped=dropped)
    curves = sparsification(ref, mu, sd)
    return MetricResult(value=float(np.mean(curves.predicted - curves.oracle)), n=ref.size, dropped=dropped)


def _normal(
    reference: Values, mean: Values, deviation: Values, mask: Mask, nan: Nan
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    (ref, mu, sd), dropped = prepare({"reference": reference, "mean": mean, "deviation": deviation}, mask, nan)
    _refuse_negative(sd)
    return ref, mu, sd, dropped


def _intervals(
    reference: Values, low: Values, high: Values, mask: Mask, nan: Nan
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    (ref, lo, hi), dropped = prepare({"reference": reference, "low": low, "high": high}, mask, nan)
    if np.any(lo > hi):
        raise InputError(
            "interval", f"{np.count_nonzero(lo > hi)} of {lo.size} lower ends lie above the upper", "swap low and high"
        )
    return ref, lo, hi, dropped


def _refuse_negative(deviation: np.ndarray) -> None:
    if np.any(deviation < 0):
        raise InputError("deviation", f"{np.count_nonzero(deviation < 0)} values are negative", "give standard deviations")


def _degenerate(deviation: np.ndarray, dropped: int) -> MetricResult | None:
    if not deviation.size:
        return undefined("no values are left", dropped=dropped)
    zeros = int(np.count_nonzero(deviation == 0))
    return undefined(f"{zeros} of {deviation.size} deviations are zero", n=deviation.size, dropped=dropped) if zeros else None
