r"""Group-relative advantages as the trainer makes them of rewards, without torch.

With :math:`r_{ik}` the value of reward :math:`k` for completion :math:`i`, :math:`w_k` its weight and a group the completions of one
prompt, ``sum_then_normalize`` is

.. math::
    R_i = \sum_k w_k r_{ik}, \qquad A_i = \frac{R_i - \bar R_\text{group}}{s + 10^{-4}}

where :math:`s` is the standard deviation (with Bessel's correction) of the group, of the batch, or left out (``scale_rewards`` group,
batch, none); ``normalize_then_sum`` (GDPO, arXiv 2601.05242) normalises each reward within its group first and the weighted sum over the
batch. A value that was not judged is first replaced by the mean of its group (:func:`without_favour`); completions that no reward judged
are left out of means and deviations.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from medcore.errors import ConfigError

EPSILON = 1e-4
"""What trl adds to a standard deviation before it divides."""
Values = Float[np.ndarray, "completion reward"]
PerCompletion = Float[np.ndarray, " completion"]


def advantages(
    rewards: Values, weights: Float[np.ndarray, " reward"], *, generations: int, scale: str, aggregation: str = "sum_then_normalize"
) -> PerCompletion:
    """Advantages of the completions of one round.

    Parameters
    ----------
    rewards
        Raw values, NaN where a reward did not judge; completions of one prompt in a row.
    weights
        Weight of each reward.
    generations
        Completions of one prompt.
    scale
        ``group``, ``batch`` or ``none``.
    aggregation
        ``sum_then_normalize`` or ``normalize_then_sum``.

    Returns
    -------
    numpy.ndarray
        NaN for a completion that no reward judged, or whose group (or batch) has a single judged one; trl takes 0 there.

    Raises
    ------
    ConfigError
        If `scale` or `aggregation` is unknown.
    """
    rewards = without_favour(rewards, generations)
    if aggregation == "normalize_then_sum":
        grouped = rewards.reshape(-1, generations, rewards.shape[1])
        normal = (grouped - _mean(grouped, 1)) / (_std(grouped, 1) + EPSILON)
        totals = weighted_sum(normal.reshape(rewards.shape), weights, judged=~np.isnan(rewards).all(axis=1))
        return np.asarray((totals - _mean(totals, 0)) / (_std(totals, 0) + EPSILON))
    if aggregation != "sum_then_normalize":
        raise ConfigError("multi_objective_aggregation", f"is {aggregation!r}", "use sum_then_normalize or normalize_then_sum")
    totals = weighted_sum(rewards, weights).reshape(-1, generations)
    away = totals - _mean(totals, 1)
    if scale == "group":
        away = away / (_std(totals, 1) + EPSILON)
    elif scale == "batch":
        away = away / (_std(totals.ravel(), 0) + EPSILON)
    elif scale != "none":
        raise ConfigError("scale_rewards", f"is {scale!r}", "use group, batch or none")
    return np.asarray(away.reshape(-1))


def without_favour(rewards: Values, group: int) -> Values:
    """Put the mean of its group in place of a single missing reward.

    trl adds up what there is, so that a completion one of whose rewards is missing would look worse than its group for no fault of its
    own (or better, where the reward punishes). The mean neither favours nor punishes it. Completions without any reward stay without
    one, which trl leaves out, and so do groups to which a reward does not apply.

    Parameters
    ----------
    rewards
        Completions of one prompt in a row, NaN where there is no value.
    group
        Completions of one prompt.
    """
    groups = rewards.reshape(-1, group, rewards.shape[1])
    missing = np.isnan(groups) & ~np.isnan(groups).all(axis=2, keepdims=True)
    return np.where(missing, _mean(groups, 1), groups).reshape(rewards.shape).astype(rewards.dtype)


def weighted_sum(rewards: Values, weights: Float[np.ndarray, " reward"], *, judged: np.ndarray | None = None) -> PerCompletion:
    """The weighted sum of what was judged; NaN for a completion that no reward judged."""
    known = ~np.isnan(rewards).all(axis=1) if judged is None else judged
    return np.where(known, np.nansum(rewards * weights, axis=1), np.nan)


def spread(totals: Float[np.ndarray, "group completion"]) -> Float[np.ndarray, " group"]:
    """Standard deviation of each group with Bessel's correction, NaN where fewer than two completions were judged."""
    return np.asarray(_std(totals, 1)[:, 0])


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    count = (~np.isnan(values)).sum(axis=axis, keepdims=True)
    total = np.nansum(values, axis=axis, keepdims=True)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def _std(values: np.ndarray, axis: int) -> np.ndarray:
    count = (~np.isnan(values)).sum(axis=axis, keepdims=True)
    squares = np.nansum((values - _mean(values, axis)) ** 2, axis=axis, keepdims=True)
    return np.asarray(np.sqrt(np.divide(squares, count - 1, out=np.full(squares.shape, np.nan), where=count > 1)))
