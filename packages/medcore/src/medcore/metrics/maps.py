"""Agreement of parameter maps and of repeated measurements.

Confidence intervals given here treat the values as independent. Voxels of one map are not: resample subjects with
:func:`medcore.metrics.bootstrap.cluster_interval` where the interval matters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from medcore.errors import InputError
from medcore.metrics.base import Mask, MetricResult, Nan, Values, metric, numbers, prepare, undefined

_BLAND_ALTMAN = "Bland and Altman 1999, doi 10.1177/096228029900800204"
_ICC = "Shrout and Fleiss 1979, doi 10.1037/0033-2909.86.2.420; intervals of McGraw and Wong 1996, doi 10.1037/1082-989X.1.1.30"


@metric(
    "bias",
    kind="maps",
    variant="mean",
    direction="zero",
    unit="data",
    definition="mean(estimate - reference), with its t interval",
    source=_BLAND_ALTMAN,
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
    _check_level(level)
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
    "median_relative_error",
    kind="maps",
    variant="absolute",
    direction="lower",
    definition="median(|estimate - reference| / |reference|)",
    source="usual in relaxometry, for example the ISMRM 2020 T1 challenge, doi 10.1002/mrm.30111",
)
def median_relative_error(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Median absolute relative error; parameters as :func:`bias`. Undefined where the reference holds a zero."""
    (ref, est), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan)
    if not ref.size:
        return undefined("no values are left", dropped=dropped)
    zeros = int(np.count_nonzero(ref == 0))
    if zeros:
        return undefined(f"{zeros} of {ref.size} reference values are zero; mask them", n=ref.size, dropped=dropped)
    return MetricResult(value=float(np.median(np.abs(est - ref) / np.abs(ref))), n=ref.size, dropped=dropped)


@metric(
    "cov",
    kind="maps",
    variant="sample",
    direction="lower",
    definition="standard deviation (n - 1) / |mean|",
    source="QIBA terminology, doi 10.1177/0962280214537344",
)
def coefficient_of_variation(values: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Spread of values (a region, repeated measurements) relative to their mean."""
    (found,), dropped = prepare({"values": values}, mask, nan)
    if found.size < 2:
        return undefined("fewer than two values have no spread", n=found.size, dropped=dropped)
    mean = abs(float(found.mean()))
    if mean == 0:
        return undefined("the mean is zero", n=found.size, dropped=dropped)
    return MetricResult(value=float(found.std(ddof=1)) / mean, n=found.size, dropped=dropped)


@metric(
    "within_subject_cov",
    kind="maps",
    variant="rms",
    direction="lower",
    definition="sqrt(mean((a - b)^2 / 2 / ((a + b) / 2)^2)) over pairs (a, b)",
    source="QIBA terminology, doi 10.1177/0962280214537344",
)
def within_subject_cov(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Test-retest coefficient of variation of pairs (first and second measurement, one pair for each subject)."""
    (a, b), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan)
    if not a.size:
        return undefined("no values are left", dropped=dropped)
    mean = (a + b) / 2
    if np.any(mean == 0):
        return undefined("the mean of a pair is zero", n=a.size, dropped=dropped)
    return MetricResult(value=float(np.sqrt(np.mean((a - b) ** 2 / 2 / mean**2))), n=a.size, dropped=dropped)


@metric(
    "ccc",
    kind="maps",
    variant="lin",
    direction="higher",
    definition="2 cov / (var_r + var_e + (mean_r - mean_e)^2), moments with 1/n",
    source="Lin 1989, doi 10.2307/2532051",
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


def icc(ratings: Values, *, form: Literal["2,1", "3,1"] = "2,1", level: float = 0.95) -> MetricResult:
    """Intraclass correlation of a table (subject, rater): ``2,1`` counts a rater's offset as disagreement, ``3,1`` does not.

    Raises
    ------
    InputError
        If the table has not two axes or holds values that are not finite.
    """
    if form not in {"2,1", "3,1"}:
        raise InputError("form", f"is {form!r}", "choose '2,1' or '3,1'")
    return icc_2_1(ratings, level=level) if form == "2,1" else icc_3_1(ratings, level=level)


@metric(
    "icc_2_1",
    kind="maps",
    variant="absolute-agreement",
    direction="higher",
    definition="(MSR - MSE) / (MSR + (k - 1) MSE + k (MSC - MSE) / n), two-way random effects, single rater",
    source=_ICC,
)
def icc_2_1(ratings: Values, *, level: float = 0.95) -> MetricResult:
    """Intraclass correlation ICC(2,1) with its interval; see :func:`icc`."""
    table = _ratings(ratings, level)
    if isinstance(table, MetricResult):
        return table
    n, k, msr, msc, mse = table
    value = (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)
    result = MetricResult(value=value, n=n, level=level)
    if mse == 0:
        return replace(result, level=None, reason="no residual variation, hence no interval")
    column, spread = msc / mse, n * (1 + (k - 1) * value) - k * value
    freedom = (k - 1) * (n - 1) * (k * value * column + spread) ** 2 / ((n - 1) * (k * value * column) ** 2 + spread**2)
    tail = (1 + level) / 2
    upper, lower = stats.f.ppf(tail, n - 1, freedom), stats.f.ppf(tail, freedom, n - 1)
    rest = k * msc + (k * n - k - n) * mse
    low = n * (msr - upper * mse) / (upper * rest + n * msr)
    high = n * (lower * msr - mse) / (rest + n * lower * msr)
    return replace(result, low=float(low), high=float(high))


@metric(
    "icc_3_1",
    kind="maps",
    variant="consistency",
    direction="higher",
    definition="(MSR - MSE) / (MSR + (k - 1) MSE), two-way mixed effects, single rater",
    source=_ICC,
)
def icc_3_1(ratings: Values, *, level: float = 0.95) -> MetricResult:
    """Intraclass correlation ICC(3,1) with its interval; see :func:`icc`."""
    table = _ratings(ratings, level)
    if isinstance(table, MetricResult):
        return table
    n, k, msr, _, mse = table
    value = (msr - mse) / (msr + (k - 1) * mse)
    result = MetricResult(value=value, n=n, level=level)
    if mse == 0:
        return replace(result, level=None, reason="no residual variation, hence no interval")
    rest, tail = (n - 1) * (k - 1), (1 + level) / 2
    low, high = msr / mse / stats.f.ppf(tail, n - 1, rest), msr / mse * stats.f.ppf(tail, rest, n - 1)
    return replace(result, low=float((low - 1) / (low + k - 1)), high=float((high - 1) / (high + k - 1)))


def _ratings(ratings: Values, level: float) -> MetricResult | tuple[int, int, float, float, float]:
    """Counts and mean squares (subjects, raters, residual) of the table, or the reason why there are none."""
    _check_level(level)
    table = numbers(ratings, "ratings")
    if table.ndim != 2:
        raise InputError("ratings", f"has {table.ndim} axes", "give a table (subject, rater)")
    if not np.isfinite(table).all():
        raise InputError("ratings", f"{np.count_nonzero(~np.isfinite(table))} values are not finite", "leave these subjects out")
    n, k = table.shape
    if n < 2 or k < 2:
        return undefined("needs at least two subjects and two raters", n=n)
    if not np.ptp(table):
        return undefined("all ratings are equal", n=n)
    rows, columns, mean = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True), table.mean()
    msr = k * np.sum((rows - mean) ** 2) / (n - 1)
    msc = n * np.sum((columns - mean) ** 2) / (k - 1)
    mse = np.sum((table - rows - columns + mean) ** 2) / ((n - 1) * (k - 1))
    # Rounding leaves about eps^2 where there is no variation.
    msr, msc, mse = (np.float64(0) if m < 1e-24 * np.mean(table**2) else m for m in (msr, msc, mse))
    if msr == 0 and mse == 0:
        return undefined("subjects do not differ", n=n)
    return n, k, msr, msc, mse


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError("level", f"is {level}", "give a number between 0 and 1")
