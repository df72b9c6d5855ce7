"""Scores of predicted means and standard deviations."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import special

from medcore.errors import InputError
from medcore.metrics.base import Mask, MetricResult, Nan, Values, metric, prepare, undefined

GNEITING = "Gneiting and Raftery 2007, doi 10.1198/016214506000001437"
KULESHOV = "Kuleshov et al. 2018, arXiv 1807.00263"


@metric(
    "gaussian_nll",
    kind="uncertainty",
    variant="mean",
    direction="lower",
    unit="nat",
    definition="mean(ln(2 pi sd^2) / 2 + (reference - mean)^2 / (2 sd^2))",
    source=GNEITING,
    referee="scipy; scoringrules",
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
    ref, mu, sd, dropped = predictions(reference, mean, deviation, mask, nan)
    trouble = no_spread(sd, dropped)
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
    source=GNEITING,
    referee="scoringrules",
)
def crps_gaussian(reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Continuous ranked probability score of normal predictions; parameters as :func:`gaussian_nll`."""
    ref, mu, sd, dropped = predictions(reference, mean, deviation, mask, nan)
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
    source=KULESHOV,
    referee="numpy",
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
    ref, mu, sd, _ = predictions(reference, mean, deviation, mask, nan)
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
    referee="numpy",
)
def z_score_rms(reference: Values, mean: Values, deviation: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Above 1 the deviations are too small, below 1 too large; parameters as :func:`gaussian_nll`."""
    ref, mu, sd, dropped = predictions(reference, mean, deviation, mask, nan)
    trouble = no_spread(sd, dropped)
    return trouble or MetricResult(value=float(np.sqrt(np.mean(((ref - mu) / sd) ** 2))), n=ref.size, dropped=dropped)


def predictions(
    reference: Values, mean: Values, deviation: Values, mask: Mask, nan: Nan
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """The selected true values, means and deviations, and how many were dropped.

    Raises
    ------
    InputError
        Also if a deviation is negative.
    """
    (ref, mu, sd), dropped = prepare({"reference": reference, "mean": mean, "deviation": deviation}, mask, nan)
    _refuse_negative(sd)
    return ref, mu, sd, dropped


def _refuse_negative(deviation: np.ndarray) -> None:
    if np.any(deviation < 0):
        raise InputError("deviation", f"{np.count_nonzero(deviation < 0)} values are negative", "give standard deviations")


def no_spread(deviation: np.ndarray, dropped: int) -> MetricResult | None:
    """The undefined result of metrics that divide by deviations, where one is zero or none is left."""
    if not deviation.size:
        return undefined("no values are left", dropped=dropped)
    zeros = int(np.count_nonzero(deviation == 0))
    return undefined(f"{zeros} of {deviation.size} deviations are zero", n=deviation.size, dropped=dropped) if zeros else None
