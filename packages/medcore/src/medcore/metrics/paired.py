"""Comparisons of methods on the same samples, which belong to groups (subjects)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Num, Shaped

from medcore.errors import InputError
from medcore.metrics.base import MetricResult
from medcore.metrics.bootstrap import check_options, cluster_interval, resampled
from medcore.metrics.resampling import MIN_GROUPS, Grouping, Groups, Statistic, as_columns, evaluator, grouping, plain_value

_EXACT_GROUPS = 12
"""Up to so many groups all exchanges are tried."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A method against the reference method.

    Attributes
    ----------
    name, reference
        The two methods.
    difference
        The method's value - that of the reference method, with its bootstrap interval.
    p_value
        Two-sided permutation test over groups; None where there are too few groups.
    p_holm
        The same, adjusted for all that was compared at once (Holm 1979).
    metric
        Name of the metric, where several were compared.
    """

    name: str
    reference: str
    difference: MetricResult
    p_value: float | None
    p_holm: float | None
    metric: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON-ready values."""
        return {**vars(self), "difference": self.difference.as_dict()}


def compare_methods(
    scores: Mapping[str, Num[np.ndarray, " n"] | Sequence[float]],
    reference: str,
    groups: Groups | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare the mean scores of methods on the same samples with those of one of them.

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
    table = {name: as_columns(values)[0] for name, values in scores.items()}
    if len({len(v) for v in table.values()}) != 1 or any(v.ndim != 1 for v in table.values()):
        raise InputError("scores", f"have the shapes {[v.shape for v in table.values()]}", "score every method on the same samples")
    found = []
    for name in [name for name in table if name != reference]:
        difference = table[name] - table[reference]
        interval = cluster_interval(difference, groups, level=level, n_resamples=n_resamples, seed=seed)
        p = sign_flip_test(difference, groups, n_resamples=n_resamples, seed=seed)
        found.append(Comparison(name=name, reference=reference, difference=interval, p_value=p, p_holm=None))
    return adjusted(found)


def paired_comparison(
    first: tuple[Shaped[np.ndarray, "..."] | Sequence[Any], ...],
    second: tuple[Shaped[np.ndarray, "..."] | Sequence[Any], ...],
    statistic: Statistic,
    groups: Groups | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[MetricResult, float | None]:
    """The difference of any statistic between two methods on the same samples, and a p-value.

    The interval is the bootstrap's, which draws the same groups for both methods. The test exchanges the two methods within whole groups at
    random: if the methods are alike, the difference observed is one of many. For a mean it is the sign-flip test.

    Parameters
    ----------
    first, second
        The arguments of `statistic` for each method, for example ``(labels, predictions)``, with samples along the first axis.
    statistic
        See :func:`cluster_interval`.
    groups, level, n_resamples, seed
        See :func:`cluster_interval`.

    Returns
    -------
    difference : MetricResult
        Value of `second` - value of `first`, `n` = number of groups; without value or interval there is a reason.
    p_value : float or None
        All exchanges up to 12 groups, else `n_resamples` random ones, of which the p-value counts the observed one too. None with fewer
        than three groups, or where the statistic has no value on more than 5 % of the exchanges.

    Raises
    ------
    InputError
        See :func:`cluster_interval`; also if the two methods have not the same number of samples.
    """
    check_options(level, n_resamples)
    one, two = as_columns(first), as_columns(second)
    if len(one) != len(two) or len(one[0]) != len(two[0]):
        raise InputError("methods", f"have {len(one[0])} and {len(two[0])} samples", "score both on the same samples")
    members = grouping(groups, len(one[0]))
    values = [plain_value(statistic(*columns)) for columns in (one, two)]
    plain = MetricResult(value=None, n=members.count, metric="difference, bootstrap by group, percentile")
    if values[0] is None or values[1] is None:
        return replace(plain, reason="the statistic has no value on the whole sample"), None
    plain = replace(plain, value=values[1] - values[0])
    if members.count < MIN_GROUPS:
        return replace(plain, reason=f"{members.count} groups are too few for an interval"), None
    both = evaluator(statistic, one), evaluator(statistic, two)
    found = resampled(lambda w: _minus(both[1](w), both[0](w)), members, n_resamples, seed)
    p_value = _exchange_test(statistic, one, two, members, n_resamples, seed)
    lost = n_resamples - found.size
    if lost > 0.05 * n_resamples:
        return replace(plain, reason=f"the statistic has no value on {lost} of {n_resamples} resamples"), p_value
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return replace(plain, low=float(low), high=float(high), level=level, note=f"{n_resamples} resamples, seed {seed}"), p_value


def sign_flip_test(
    differences: Num[np.ndarray, " n"] | Sequence[float], groups: Groups | None = None, *, n_resamples: int = 2000, seed: int = 0
) -> float | None:
    """Two-sided p-value that paired differences are symmetric about 0, flipping the sign of whole groups.

    All sign patterns up to 12 groups, else `n_resamples` random ones, of which the p-value counts the observed one too. None
    with fewer than three groups.
    """
    values = as_columns(differences)[0]
    members = grouping(groups, len(values))
    if members.count < MIN_GROUPS:
        return None
    sums = np.bincount(members.index, weights=values, minlength=members.count)
    swaps, extra = _exchanges(members.count, n_resamples, seed)
    found = np.array([np.where(swap, -sums, sums).sum() for swap in swaps])
    return _share(found, float(sums.sum()), extra)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (https://www.jstor.org/stable/4615733): p-values that stay below 0.05 do so jointly."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.size and not (np.all(p >= 0) and np.all(p <= 1)):
        raise InputError("p-values", "do not all lie in [0, 1]", "give probabilities")
    order = np.argsort(p)
    steps = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1)
    found = np.empty_like(p)
    found[order] = steps
    return [float(v) for v in found]


def adjusted(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """`comparisons` with Holm's adjustment of all their p-values together."""
    steps = iter(holm([c.p_value for c in comparisons if c.p_value is not None]))
    return [replace(c, p_holm=None if c.p_value is None else next(steps)) for c in comparisons]


def _exchange_test(
    statistic: Statistic,
    one: tuple[np.ndarray, ...],
    two: tuple[np.ndarray, ...],
    members: Grouping,
    n_resamples: int,
    seed: int,
) -> float | None:
    """The p-value of :func:`paired_comparison`: both methods' samples side by side, weights say which belong to which."""
    evaluate = evaluator(statistic, [np.concatenate([a, b]) for a, b in zip(one, two, strict=True)])

    def difference(swap: Bool[np.ndarray, " groups"]) -> float | None:
        away = swap[members.index].astype(np.float64)
        return _minus(evaluate(np.concatenate([away, 1 - away])), evaluate(np.concatenate([1 - away, away])))

    swaps, extra = _exchanges(members.count, n_resamples, seed)
    found = np.array([d for d in map(difference, swaps) if d is not None])
    observed = difference(np.zeros(members.count, dtype=np.bool_))
    if observed is None or found.size < 0.95 * len(swaps):
        return None
    return _share(found, observed, extra)


def _exchanges(groups: int, n_resamples: int, seed: int) -> tuple[Bool[np.ndarray, "resamples groups"], int]:
    """Which groups are exchanged in each trial, and whether the observed order must be added to them (1) or is among them (0)."""
    if groups <= _EXACT_GROUPS:
        return ((np.arange(2**groups)[:, None] >> np.arange(groups)) & 1).astype(np.bool_), 0
    return np.random.default_rng(seed).integers(2, size=(n_resamples, groups), dtype=np.int8).astype(np.bool_), 1


def _share(found: np.ndarray, observed: float, extra: int) -> float:
    # Equal values in another order differ by rounding.
    limit = abs(observed) - 1e-12 * float(np.abs(found).max(initial=0.0))
    return float((np.count_nonzero(np.abs(found) >= limit) + extra) / (found.size + extra))


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
