"""Agreement of parameter maps.

Confidence intervals given here treat the values as independent. Voxels of one map are not: resample subjects with
:func:`medcore.metrics.bootstrap.cluster_interval` where the interval matters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from medcore.errors import InputError
from medcore.metrics.base import Mask, MetricResult, Nan, Values, metric, prepare, undefined

_BLAND_ALTMAN = "Bland and Altman 1999, doi 10.1177/096228029900800204"


@metric(
    "bias",
    kind="maps",
    variant="mean",
    direction="zero",
    unit="data",
    definition="mean(estimate - reference), with its t interval",
    source=_BLAND_ALTMAN,
    referee="scipy paired t test",
)
def bias(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse", level: float = 0.95) -> MetricResult:
    """Mean difference and its confidence interval.

    Parameters
    ----------
    reference, estimate
        Arrays of one shape.
    mask
        Which values count; leading axes may be missing.
    nan
        ``"omit"`` leaves out values that are not finite and counts them; by default they are an error.
    level
        Level of the confidence interval.
    """
    return _limits(reference, estimate, mask, nan, level)[0]


@metric(
    "loa_low",
    kind="maps",
    variant="normal",
    direction="zero",
    unit="data",
    definition="bias - 1.96 standard deviations of the difference",
    source=_BLAND_ALTMAN,
    referee="Bland and Altman 1986, table of peak flow; simulation",
)
def loa_low(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse", level: float = 0.95) -> MetricResult:
    """Lower limit of agreement; see :func:`limits_of_agreement`."""
    return _limits(reference, estimate, mask, nan, level)[1]


@metric(
    "loa_high",
    kind="maps",
    variant="normal",
    direction="zero",
    unit="data",
    definition="bias + 1.96 standard deviations of the difference",
    source=_BLAND_ALTMAN,
    referee="Bland and Altman 1986, table of peak flow; simulation",
)
def loa_high(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse", level: float = 0.95) -> MetricResult:
    """Upper limit of agreement; see :func:`limits_of_agreement`."""
    return _limits(reference, estimate, mask, nan, level)[2]


class LimitsOfAgreement(NamedTuple):
    """Mean difference and the limits within which 95 % of normally distributed differences lie, each with its interval."""

    bias: MetricResult
    low: MetricResult
    high: MetricResult


def limits_of_agreement(
    reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse", level: float = 0.95
) -> LimitsOfAgreement:
    """Bland and Altman's limits of agreement, ``bias -+ 1.96 sd``, with approximate confidence intervals.

    The variance of a limit is ``sd^2 (1/n + 1.96^2 / (2 (n - 1)))`` (doi 10.1177/096228029900800204, with t quantiles).
    Parameters as :func:`bias`.
    """
    return LimitsOfAgreement(*(f(reference, estimate, mask=mask, nan=nan, level=level) for f in (bias, loa_low, loa_high)))


def _limits(
    reference: Values, estimate: Values, mask: Mask, nan: Nan, level: float
) -> tuple[MetricResult, MetricResult, MetricResult]:
    check_level(level)
    (ref, est), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan)
    difference, n = est - ref, ref.size
    if n == 0:
        nothing = undefined("no values are left", dropped=dropped)
        return nothing, nothing, nothing
    mean = float(difference.mean())
    if n == 1:
        none = undefined("one value has no spread", n=n, dropped=dropped)
        return MetricResult(value=mean, n=n, dropped=dropped, reason="one value has no interval"), none, none
    sd, t, z = float(difference.std(ddof=1)), float(stats.t.ppf((1 + level) / 2, n - 1)), float(stats.norm.ppf(0.975))

    def result(value: float, error: float) -> MetricResult:
        return MetricResult(value=value, low=value - t * error, high=value + t * error, level=level, n=n, dropped=dropped)

    error = float(sd * np.sqrt(1 / n + z**2 / (2 * (n - 1))))
    return result(mean, sd / float(np.sqrt(n))), result(mean - z * sd, error), result(mean + z * sd, error)


@metric(
    "mae",
    kind="maps",
    variant="mean",
    direction="lower",
    unit="data",
    definition="mean(|estimate - reference|)",
    source="Willmott and Matsuura 2005, doi 10.3354/cr030079",
    referee="scikit-learn",
)
def mae(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Mean absolute error; parameters as :func:`bias`."""
    (ref, est), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan)
    if not ref.size:
        return undefined("no values are left", dropped=dropped)
    return MetricResult(value=float(np.mean(np.abs(est - ref))), n=ref.size, dropped=dropped)


@metric(
    "rmse",
    kind="maps",
    variant="root-mean",
    direction="lower",
    unit="data",
    definition="sqrt(mean((estimate - reference)^2))",
    source="usual in relaxometry",
    referee="scikit-learn",
)
def rmse(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Root mean squared error; parameters as :func:`bias`."""
    (ref, est), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan)
    if not ref.size:
        return undefined("no values are left", dropped=dropped)
    return MetricResult(value=float(np.sqrt(np.mean((est - ref) ** 2))), n=ref.size, dropped=dropped)


@metric(
    "percent_bias",
    kind="maps",
    variant="mean-of-ratios",
    direction="zero",
    unit="%",
    definition="100 mean((estimate - reference) / reference), with its t interval",
    source="QIBA terminology, doi 10.1177/0962280214537344",
    referee="scipy one-sample t test",
)
def percent_bias(
    reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse", level: float = 0.95
) -> MetricResult:
    """Mean relative difference in percent; parameters as :func:`bias`. Undefined where the reference holds a zero."""
    check_level(level)
    (ref, est), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan)
    trouble = _no_ratio(ref, dropped)
    if trouble:
        return trouble
    percent = 100 * (est - ref) / ref
    return replace(_limits(np.zeros_like(percent), percent, None, "refuse", level)[0], dropped=dropped)


@metric(
    "median_relative_error",
    kind="maps",
    variant="absolute",
    direction="lower",
    definition="median(|estimate - reference| / |reference|)",
    source="usual in relaxometry, for example the ISMRM 2020 T1 challenge, doi 10.1002/mrm.30111",
    referee="scikit-learn",
)
def median_relative_error(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Median absolute relative error; parameters as :func:`bias`. Undefined where the reference holds a zero."""
    (ref, est), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan)
    trouble = _no_ratio(ref, dropped)
    if trouble:
        return trouble
    return MetricResult(value=float(np.median(np.abs(est - ref) / np.abs(ref))), n=ref.size, dropped=dropped)


@metric(
    "ccc",
    kind="maps",
    variant="lin",
    direction="higher",
    definition="2 cov / (var_r + var_e + (mean_r - mean_e)^2), moments with 1/n",
    source="Lin 1989, doi 10.2307/2532051",
    referee="torchmetrics; Lin's form through Pearson's correlation (scipy)",
)
def ccc(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Lin's concordance correlation coefficient; parameters as :func:`bias`."""
    (ref, est), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan)
    if ref.size < 2:
        return undefined("fewer than two values have no correlation", n=ref.size, dropped=dropped)
    a, b = ref - ref.mean(), est - est.mean()
    if not (np.any(a) or np.any(b)):
        return undefined("both sides are constant", n=ref.size, dropped=dropped)
    below = np.mean(a**2) + np.mean(b**2) + (ref.mean() - est.mean()) ** 2
    return MetricResult(value=float(2 * np.mean(a * b) / below), n=ref.size, dropped=dropped)


def _no_ratio(reference: np.ndarray, dropped: int) -> MetricResult | None:
    """Why there is no ratio to the reference, if there is none."""
    if not reference.size:
        return undefined("no values are left", dropped=dropped)
    zeros, n = int(np.count_nonzero(reference == 0)), reference.size
    return undefined(f"{zeros} of {n} reference values are zero; mask them", n=n, dropped=dropped) if zeros else None


def check_level(level: float) -> None:
    """Refuse a level that is not between 0 and 1.

    Raises
    ------
    InputError
        If it is not.
    """
    if not 0 < level < 1:
        raise InputError("level", f"is {level}", "give a number between 0 and 1")
