"""Intervals and comparisons that respect groups: several slices of one patient are not several patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Num, Shaped
from scipy.stats import norm

from medcore.errors import InputError
from medcore.metrics.base import MetricResult, numbers

Statistic = Callable[..., float | MetricResult | None]
Groups = Shaped[np.ndarray, "..."] | Sequence[Any]
_MIN_GROUPS = 3


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
        Called with the resampled array(s); returns a number, a :class:`MetricResult`, or None where it has no value.
    level, n_resamples, seed
        Level of the interval, number of resamples, random seed.
    method
        ``percentile``, or ``bca`` (bias corrected and accelerated: Efron 1987, doi 10.1080/01621459.1987.10478410).

    Returns
    -------
    MetricResult
        The statistic of all samples, its interval, `n` = number of groups. Fewer than three groups, a statistic without value on
        the whole or on more than 5 % of the resamples give no interval but a reason.

    Raises
    ------
    InputError
        If lengths differ, values are not finite, or an option is out of range.
    """
    if not 0 < level < 1 or n_resamples < 100:
        raise InputError("bootstrap", f"level {level}, n_resamples {n_resamples}", "give a level in (0, 1) and at least 100")
    columns = _columns(values)
    members = _members(groups, len(columns[0]))
    whole = _evaluate(statistic, columns, members)
    name = f"bootstrap by group, {method}"
    if whole is None:
        return MetricResult(value=None, reason="the statistic has no value on the whole sample", n=len(members), metric=name)
    plain = MetricResult(value=whole, n=len(members), metric=name)
    if len(members) < _MIN_GROUPS:
        return _without(plain, f"{len(members)} groups are too few for an interval")
    rng = np.random.default_rng(seed)
    drawn = [
        _evaluate(statistic, columns, [members[i] for i in rng.integers(len(members), size=len(members))])
        for _ in range(n_resamples)
    ]
    found = np.array([v for v in drawn if v is not None])
    lost = n_resamples - found.size
    if lost > 0.05 * n_resamples:
        return _without(plain, f"the statistic has no value on {lost} of {n_resamples} resamples")
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        adjusted = _bca(tails, whole, found, statistic, columns, members)
        if adjusted is None:
            return _without(plain, "the statistic does not vary, or has no value without one group")
        tails = adjusted
    low, high = np.quantile(found, tails)
    note = f"{n_resamples} resamples, seed {seed}" + (f", {lost} without value" if lost else "")
    return MetricResult(value=whole, low=float(low), high=float(high), level=level, n=len(members), metric=name, note=note)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A method against the reference method.

    Attributes
    ----------
    name, reference
        The two methods.
    difference
        Mean of method - reference over samples, with its bootstrap interval.
    p_value
        Two-sided sign-flip permutation test over groups; None where there are too few groups.
    p_holm
        The same, adjusted for the number of methods compared (Holm 1979).
    """

    name: str
    reference: str
    difference: MetricResult
    p_value: float | None
    p_holm: float | None


def compare_methods(
    scores: Mapping[str, Num[np.ndarray, " n"] | Sequence[float]],
    reference: str,
    groups: Groups | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare methods scored on the same samples with one of them.

    Parameters
    ----------
    scores
        For each method one score for each sample, in the same order.
    reference
        The method the others are compared with.
    groups, level, n_resamples, seed
        See :func:`cluster_interval`.

    Raises
    ------
    InputError
        If `reference` is not among the methods or lengths differ.
    """
    if reference not in scores:
        raise InputError("reference method", f"{reference!r} is not among {', '.join(scores)}", "choose one of these")
    table = {name: _columns(values)[0] for name, values in scores.items()}
    if len({len(v) for v in table.values()}) != 1 or any(v.ndim != 1 for v in table.values()):
        raise InputError("scores", f"have the shapes {[v.shape for v in table.values()]}", "score every method on the same samples")
    others = [name for name in table if name != reference]
    found: list[tuple[str, MetricResult, float | None]] = []
    for name in others:
        difference = table[name] - table[reference]
        interval = cluster_interval(difference, groups, level=level, n_resamples=n_resamples, seed=seed)
        found.append((name, interval, sign_flip_test(difference, groups, n_resamples=n_resamples, seed=seed)))
    adjusted = iter(holm([p for _, _, p in found if p is not None]))
    return [
        Comparison(name=name, reference=reference, difference=interval, p_value=p, p_holm=None if p is None else next(adjusted))
        for name, interval, p in found
    ]


def sign_flip_test(
    differences: Num[np.ndarray, " n"] | Sequence[float], groups: Groups | None = None, *, n_resamples: int = 2000, seed: int = 0
) -> float | None:
    """Two-sided p-value that paired differences are symmetric about 0, flipping the sign of whole groups.

    All sign patterns up to 12 groups, else `n_resamples` random ones, of which the p-value counts the observed one too. None
    with fewer than three groups.
    """
    values = _columns(differences)[0]
    sums = np.array([values[m].sum() for m in _members(groups, len(values))])
    if sums.size < _MIN_GROUPS:
        return None
    if sums.size <= 12:
        signs = 1 - 2 * ((np.arange(2**sums.size)[:, None] >> np.arange(sums.size)) & 1)
        extra = 0
    else:
        signs = np.random.default_rng(seed).choice(np.array([-1, 1]), size=(n_resamples, sums.size))
        extra = 1
    # Equal sums in another order differ by rounding.
    limit = abs(sums.sum()) * (1 - 1e-12)
    return float((np.count_nonzero(np.abs(signs @ sums) >= limit) + extra) / (len(signs) + extra))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (https://www.jstor.org/stable/4615733): p-values that stay below 0.05 do so jointly."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.size and not (np.all(p >= 0) and np.all(p <= 1)):
        raise InputError("p-values", "do not all lie in [0, 1]", "give probabilities")
    order = np.argsort(p)
    steps = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1)
    adjusted = np.empty_like(p)
    adjusted[order] = steps
    return [float(v) for v in adjusted]


def _without(plain: MetricResult, reason: str) -> MetricResult:
    return MetricResult(value=plain.value, n=plain.n, metric=plain.metric, reason=reason)


def _columns(values: Any) -> tuple[np.ndarray, ...]:
    """The arrays to resample; numbers must be finite, labels may be anything."""
    given = values if isinstance(values, tuple) else (values,)
    found = tuple(np.asarray(v) for v in given)
    for array in found:
        if array.ndim == 0 or not array.shape[0] or len(array) != len(found[0]):
            shapes = [a.shape for a in found]
            raise InputError(
                "values", f"have the shapes {shapes}", "give arrays with one entry for each sample along the first axis"
            )
        if array.dtype.kind in "fc" and not np.isfinite(numbers(array, "values", complex_ok=True)).all():
            raise InputError("values", f"{np.count_nonzero(~np.isfinite(array))} are not finite", "leave these samples out of all")
    return found


def _members(groups: Groups | None, n: int) -> list[Int[np.ndarray, " m"]]:
    """Indices of the samples of each group."""
    if groups is None:
        return [np.array([i]) for i in range(n)]
    labels = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(labels) != n:
        raise InputError("groups", f"{len(labels)} for {n} samples", "give the group of every sample")
    found: dict[Any, list[int]] = {}
    for i, label in enumerate(labels):
        found.setdefault(label, []).append(i)
    return [np.array(m) for m in found.values()]


def _evaluate(statistic: Statistic, columns: tuple[np.ndarray, ...], members: Sequence[np.ndarray]) -> float | None:
    index = np.concatenate(members)
    value = statistic(*(c[index] for c in columns))
    value = value.value if isinstance(value, MetricResult) else value
    return None if value is None or not np.isfinite(value) else float(value)


def _bca(
    tails: Float[np.ndarray, " 2"],
    whole: float,
    found: Float[np.ndarray, " resamples"],
    statistic: Statistic,
    columns: tuple[np.ndarray, ...],
    members: Sequence[np.ndarray],
) -> Float[np.ndarray, " 2"] | None:
    """The quantiles to read instead of `tails`; None where they are undefined."""
    left = [_evaluate(statistic, columns, [*members[:i], *members[i + 1 :]]) for i in range(len(members))]
    known = np.array([v for v in left if v is not None])
    spread = known.mean() - known if known.size == len(left) else np.zeros(1)
    below = (np.mean(found < whole) + np.mean(found <= whole)) / 2
    if not np.any(spread) or not 0 < below < 1:
        return None
    offset = norm.ppf(below)
    acceleration = np.sum(spread**3) / (6 * np.sum(spread**2) ** 1.5)
    z = offset + norm.ppf(tails)
    return np.asarray(norm.cdf(offset + z / (1 - acceleration * z)))
