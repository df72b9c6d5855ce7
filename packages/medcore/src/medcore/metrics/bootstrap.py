"""Intervals that respect groups: several slices of one patient are not several patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Num
from scipy.stats import norm

from medcore.errors import InputError
from medcore.metrics.base import MetricResult
from medcore.metrics.resampling import (
    MIN_GROUPS,
    Grouping,
    Groups,
    Statistic,
    as_columns,
    drawn_weights,
    evaluator,
    grouping,
    plain_value,
)

Evaluate = Callable[[np.ndarray], float | None]


def cluster_interval(
    values: Num[np.ndarray, "..."] | Sequence[Any],
    groups: Groups | None = None,
    statistic: Statistic = np.mean,
    *,
    level: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
    n_resamples: int = 2000,
    seed: int = 0,
) -> MetricResult:
    """Bootstrap interval of a statistic, resampling whole groups (subjects).

    Parameters
    ----------
    values
        Values of the samples along the first axis; or a tuple of such arrays (labels and predictions), resampled together.
    groups
        Group of each sample; None takes every sample as its own.
    statistic
        Called with the resampled array(s); returns a number, a :class:`MetricResult`, or None where it has no value. Means and the metrics
        with a weighted form (:attr:`medcore.metrics.base.Metric.weighted`) take a fraction of a second for 10 000 samples.
    level, n_resamples, seed
        Level of the interval, number of resamples, random seed.
    method
        ``percentile``, or ``bca`` (bias corrected and accelerated: Efron 1987, doi 10.1080/01621459.1987.10478410).

    Returns
    -------
    MetricResult
        The statistic of all samples, its interval, `n` = number of groups. Fewer than three groups, a statistic without value on
        the whole or on more than 5 % of the resamples, or one that resampling shifts so far that its interval would not contain it
        (calibration errors near 0) give no interval but a reason.

    Raises
    ------
    InputError
        If lengths differ, values are not finite, or an option is out of range.
    """
    check_options(level, n_resamples)
    columns = as_columns(values)
    members = grouping(groups, len(columns[0]))
    whole = plain_value(statistic(*columns))
    plain = MetricResult(value=whole, n=members.count, metric=f"bootstrap by group, {method}")
    if whole is None:
        return replace(plain, reason="the statistic has no value on the whole sample")
    if members.count < MIN_GROUPS:
        return replace(plain, reason=f"{members.count} groups are too few for an interval")
    evaluate = evaluator(statistic, columns)
    found = resampled(evaluate, members, n_resamples, seed)
    lost = n_resamples - found.size
    if lost > 0.05 * n_resamples:
        return replace(plain, reason=f"the statistic has no value on {lost} of {n_resamples} resamples")
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        adjusted = _bca(tails, whole, found, evaluate, members)
        if adjusted is None:
            return replace(plain, reason="the statistic does not vary, or has no value without one group")
        tails = adjusted
    low, high = np.quantile(found, tails)
    if not _within(low, whole, high):
        return replace(plain, reason="resampling shifts this statistic beyond its own interval")
    note = f"{n_resamples} resamples, seed {seed}" + (f", {lost} without value" if lost else "")
    return replace(plain, low=float(low), high=float(high), level=level, note=note)


def _within(low: float, value: float, high: float) -> bool:
    """Whether an interval contains the value, but for rounding."""
    slack = 1e-12 * max(abs(low), abs(high))
    return bool(low - slack <= value <= high + slack)


def check_options(level: float, n_resamples: int) -> None:
    """Refuse a level or a number of resamples that is out of range.

    Raises
    ------
    InputError
        If the level is not between 0 and 1, or there are fewer than 100 resamples.
    """
    if not 0 < level < 1 or n_resamples < 100:
        raise InputError("bootstrap", f"level {level}, n_resamples {n_resamples}", "give a level in (0, 1) and at least 100")


def resampled(evaluate: Evaluate, groups: Grouping, n_resamples: int, seed: int) -> Float[np.ndarray, " resamples"]:
    """The statistic on bootstrap samples of whole groups; those without value are left out."""
    rng = np.random.default_rng(seed)
    drawn = (evaluate(drawn_weights(rng, groups)) for _ in range(n_resamples))
    return np.array([v for v in drawn if v is not None], dtype=np.float64)


def _bca(
    tails: Float[np.ndarray, " 2"],
    whole: float,
    found: Float[np.ndarray, " resamples"],
    evaluate: Evaluate,
    groups: Grouping,
) -> Float[np.ndarray, " 2"] | None:
    """The quantiles to read instead of `tails`; None where they are undefined."""
    left = [evaluate((groups.index != i).astype(np.float64)) for i in range(groups.count)]
    known = np.array([v for v in left if v is not None])
    spread = known.mean() - known if known.size == len(left) else np.zeros(1)
    below = (np.mean(found < whole) + np.mean(found <= whole)) / 2
    # A statistic that does not vary differs by rounding only.
    if np.all(np.abs(spread) <= 1e-13 * abs(whole)) or not 0 < below < 1:
        return None
    offset = norm.ppf(below)
    acceleration = np.sum(spread**3) / (6 * np.sum(spread**2) ** 1.5)
    z = offset + norm.ppf(tails)
    return np.asarray(norm.cdf(offset + z / (1 - acceleration * z)))
