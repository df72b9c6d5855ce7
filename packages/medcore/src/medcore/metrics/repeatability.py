"""Repeatability: how much repeated measurements of the same subjects differ.

Pairs (first and second measurement) hold one value for each subject; tables of ratings are (subject, rater).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from scipy import stats

from medcore.errors import InputError
from medcore.metrics.base import Mask, MetricResult, Nan, Values, metric, numbers, prepare, undefined
from medcore.metrics.maps import check_level

_QIBA = "QIBA terminology, doi 10.1177/0962280214537344"
_ICC = "Shrout and Fleiss 1979, doi 10.1037/0033-2909.86.2.420; intervals of McGraw and Wong 1996, doi 10.1037/1082-989X.1.1.30"


@metric(
    "cov",
    kind="maps",
    variant="sample",
    direction="lower",
    definition="standard deviation (n - 1) / |mean|",
    source="QIBA terminology, doi 10.1177/0962280214537344",
    referee="scipy",
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
    referee="numpy's standard deviation of each pair",
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
    "within_subject_sd",
    kind="maps",
    variant="pairs",
    direction="lower",
    unit="data",
    definition="sqrt(mean((a - b)^2 / 2)) over pairs (a, b), with its chi-square interval",
    source=f"Bland and Altman 1996, doi 10.1136/bmj.312.7047.1654; {_QIBA}",
    referee="scikit-learn; scipy chi-square",
)
def within_subject_sd(
    reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse", level: float = 0.95
) -> MetricResult:
    """Test-retest standard deviation (wSD).

    Parameters
    ----------
    reference, estimate
        First and second measurement, one pair for each subject.
    mask
        Which pairs count; leading axes may be missing.
    nan
        ``"omit"`` leaves out pairs that are not finite and counts them; by default they are an error.
    level
        Level of the interval ``wSD sqrt(n / q)``, q the quantiles of chi-square with n degrees of freedom; pairs count as independent.
    """
    return _within(reference, estimate, mask, nan, level, 1.0)


@metric(
    "repeatability_coefficient",
    kind="maps",
    variant="pairs",
    direction="lower",
    unit="data",
    definition="1.96 sqrt(2) wSD = 2.77 wSD: two measurements of a subject differ by less in 95 % of cases; with its chi-square interval",
    source=f"Bland and Altman 1999, doi 10.1177/096228029900800204; {_QIBA}",
    referee="simulation; scikit-learn; scipy chi-square",
)
def repeatability_coefficient(
    reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse", level: float = 0.95
) -> MetricResult:
    """Repeatability coefficient (RC); parameters as :func:`within_subject_sd`."""
    return _within(reference, estimate, mask, nan, level, float(stats.norm.ppf(0.975) * np.sqrt(2)))


def _within(reference: Values, estimate: Values, mask: Mask, nan: Nan, level: float, factor: float) -> MetricResult:
    check_level(level)
    (a, b), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan)
    n = a.size
    if not n:
        return undefined("no values are left", dropped=dropped)
    value = factor * float(np.sqrt(np.mean((a - b) ** 2) / 2))
    low, high = (value * float(np.sqrt(n / stats.chi2.ppf(tail, n))) for tail in ((1 + level) / 2, (1 - level) / 2))
    return MetricResult(value=value, low=low, high=high, level=level, n=n, dropped=dropped)


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
    referee="Shrout and Fleiss 1979, table 2; intervals as printed by R's psych",
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
    referee="Shrout and Fleiss 1979, table 2; intervals as printed by R's psych",
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
    check_level(level)
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
