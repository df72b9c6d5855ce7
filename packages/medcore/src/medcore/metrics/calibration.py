"""Calibration of predicted standard deviations, and how well they rank the errors."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from medcore.errors import InputError
from medcore.metrics.base import Mask, MetricResult, Nan, Values, metric, undefined
from medcore.metrics.uncertainty import KULESHOV, no_spread, predictions, z_scores

_LEVELS = np.arange(1, 100) / 100


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
    source=f"{KULESHOV}; absolute instead of squared differences",
    referee="coverage at each level (scipy)",
)
def regression_calibration_error(
    reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Mean distance of the calibration curve from the diagonal; parameters as :func:`gaussian_nll`."""
    ref, mu, sd, dropped = predictions(reference, mean, deviation, mask, nan)
    trouble = no_spread(sd, dropped)
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
    ref, mu, sd, _ = predictions(reference, mean, deviation, mask, nan)
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
    referee="the definition by sorting",
)
def ause(reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Area under the sparsification error: 0 if deviations rank the errors perfectly; parameters as :func:`gaussian_nll`."""
    ref, mu, sd, dropped = predictions(reference, mean, deviation, mask, nan)
    if ref.size < 2:
        return undefined("fewer than two values cannot be ranked", n=ref.size, dropped=dropped)
    if np.array_equal(ref, mu):
        return undefined("there is no error", n=ref.size, dropped=dropped)
    curves = sparsification(ref, mu, sd)
    return MetricResult(value=float(np.mean(curves.predicted - curves.oracle)), n=ref.size, dropped=dropped)


@metric(
    "quantile_calibration_error",
    kind="uncertainty",
    variant="quantiles99",
    direction="lower",
    definition="mean over p = 0.01 ... 0.99 of |share of references at or below the predicted p-quantile - p|",
    source=f"{KULESHOV}; absolute instead of squared differences",
    referee="scipy's normal quantiles, counted",
)
def quantile_calibration_error(
    reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Unlike :func:`regression_calibration_error` it also sees a bias; parameters as :func:`gaussian_nll`."""
    ref, mu, sd, dropped = predictions(reference, mean, deviation, mask, nan)
    trouble = no_spread(sd, dropped)
    if trouble:
        return trouble
    below = np.searchsorted(np.sort((ref - mu) / sd), stats.norm.ppf(_LEVELS), side="right") / ref.size
    return MetricResult(value=float(np.mean(np.abs(below - _LEVELS))), n=ref.size, dropped=dropped)


@metric(
    "ence",
    kind="uncertainty",
    variant="mass10",
    direction="lower",
    definition="mean over 10 bins of equal numbers of values, sorted by sd, of |RMS sd - RMS error| / RMS sd",
    source="expected normalised calibration error, Levi et al. 2022, doi 10.3390/s22155540, arXiv 1905.11659",
    referee="the definition by loops",
)
def ence(
    reference: Values, mean: Values, deviation: Values, *, bins: int = 10, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Expected normalised calibration error.

    Parameters
    ----------
    reference, mean, deviation, mask, nan
        See :func:`gaussian_nll`.
    bins
        Number of bins; another number than 10 is stated in the note. Equal deviations may fall into two neighbouring bins, in the order
        of their errors, so that the order of the values decides nothing.
    """
    if bins < 1:
        raise InputError("bins", f"is {bins}", "give at least 1")
    ref, mu, sd, dropped = predictions(reference, mean, deviation, mask, nan)
    trouble = no_spread(sd, dropped)
    if trouble:
        return trouble
    if ref.size < bins:
        return undefined(f"{ref.size} values do not fill {bins} bins", n=ref.size, dropped=dropped)
    error = (ref - mu) ** 2
    parts = np.array_split(np.lexsort((error, sd)), bins)
    predicted, observed = (np.sqrt([values[p].mean() for p in parts]) for values in (sd**2, error))
    value = float(np.mean(np.abs(predicted - observed) / predicted))
    return MetricResult(value=value, n=ref.size, dropped=dropped, note=f"{bins} bins")


@metric(
    "error_spearman",
    kind="uncertainty",
    variant="absolute",
    direction="higher",
    definition="Spearman's rank correlation of sd and |reference - mean|, equal values share their mean rank",
    source="Spearman 1904, doi 10.2307/1412159; usual for uncertainty maps",
    referee="scipy spearmanr",
)
def error_spearman(reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Whether larger deviations go with larger errors; parameters as :func:`gaussian_nll`."""
    ref, mu, sd, dropped = predictions(reference, mean, deviation, mask, nan)
    n = ref.size
    if n < 2:
        return undefined("fewer than two values cannot be ranked", n=n, dropped=dropped)
    error = np.abs(ref - mu)
    if not np.ptp(sd) or not np.ptp(error):
        return undefined(f"all {'errors' if np.ptp(sd) else 'deviations'} are equal", n=n, dropped=dropped)
    a, b = (ranks - ranks.mean() for ranks in (stats.rankdata(sd), stats.rankdata(error)))
    return MetricResult(value=float(a @ b / np.sqrt((a @ a) * (b @ b))), n=n, dropped=dropped)
