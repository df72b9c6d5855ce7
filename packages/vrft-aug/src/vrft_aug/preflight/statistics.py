"""Figures of a preflight, from answers that were judged and rewards that were paid; nothing here knows of models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from medcore.config import to_mapping
from vrft_aug.advantages import spread, weighted_sum
from vrft_aug.evaluation import pass_at_k

_EQUAL = 1e-8  # rewards of a group that differ by less do not move the policy; trl calls its spread zero


@dataclass(frozen=True, kw_only=True)
class RewardFigures:
    """What one reward paid.

    Attributes
    ----------
    name, reward, weight
        Name in logs, name of the reward, weight.
    mean, mean_right, mean_wrong
        Means over what was judged, over right answers and over readable wrong ones; None where there is none.
    not_judged
        Share of completions for which it had no value.
    constant
        Whether it paid the same for all completions.
    """

    name: str
    reward: str
    weight: float
    mean: float | None
    mean_right: float | None
    mean_wrong: float | None
    not_judged: float
    constant: bool


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one policy does on one stage's training images.

    Attributes
    ----------
    stage, task
        Name and task.
    images, samples, temperature
        Images, sampled completions of each, and their temperature.
    accuracy
        Acc@1: share of images whose greedy answer is right.
    pass_at
        Pass@k by k: probability that at least one of k sampled answers is right.
    elsewhere
        Share of sampled answers that would be right for another image; what guessing earns.
    gain, gain_error
        Share of right sampled answers less `elsewhere`, and its standard error over images.
    right, wrong, unreadable
        How many sampled answers are right, could be read and are wrong, and could not be read.
    format_rate, truncated
        Share of sampled completions in the right format, and of those that came to the longest length without an end.
    mean, spread, flat
        Mean of the weighted sum of rewards; mean standard deviation within a group; share of groups without any.
    separation
        Probability that a right answer earns more than a wrong one that can be read (ties count half), within groups that have both; over
        all completions if no group has; None if there are no right or no such wrong ones. Unreadable answers are left out: every reward
        for the format tells them apart.
    not_judged
        Share of completions that no reward judged.
    rewards
        What each of them paid.
    """

    stage: str
    task: str
    images: int
    samples: int
    temperature: float
    accuracy: float
    pass_at: dict[int, float]
    elsewhere: float
    gain: float
    gain_error: float
    right: int
    wrong: int
    unreadable: int
    format_rate: float
    truncated: float
    mean: float | None
    spread: float | None
    flat: float
    separation: float | None
    not_judged: float
    rewards: tuple[RewardFigures, ...]

    @property
    def best_pass(self) -> float:
        """Pass@k of the largest k."""
        return self.pass_at[max(self.pass_at)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        plain: dict[str, Any] = to_mapping(self)
        return plain | {"pass_at": {str(k): v for k, v in self.pass_at.items()}}


def separation(
    totals: Float[np.ndarray, "group completion"],
    right: Bool[np.ndarray, "group completion"],
    wrong: Bool[np.ndarray, "group completion"],
) -> float | None:
    """Probability that a right answer earns more than a wrong one; see :class:`Figures`.

    Completions that no reward judged (NaN) are left out. Within groups each pair of a right and a wrong completion counts the same.
    """
    known = ~np.isnan(totals)
    wins = pairs = 0.0
    for row, good, bad in zip(totals, right & known, wrong & known, strict=True):
        won, of = _wins(row[good], row[bad])
        wins, pairs = wins + won, pairs + of
    if not pairs:
        wins, pairs = _wins(totals[right & known], totals[wrong & known])
    return wins / pairs if pairs else None


def _wins(right: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    away = right[:, None] - wrong[None, :]
    return float(np.sum(away > _EQUAL) + 0.5 * np.sum(np.abs(away) <= _EQUAL)), float(away.size)


def figures(
    *,
    greedy: Bool[np.ndarray, " group"],
    right: Bool[np.ndarray, "group completion"],
    readable: Bool[np.ndarray, "group completion"],
    elsewhere: Float[np.ndarray, " group"],
    formatted: Bool[np.ndarray, "group completion"],
    truncated: Bool[np.ndarray, "group completion"],
    paid: Float[np.ndarray, "group completion reward"],
    names: tuple[tuple[str, str], ...],
    weights: Float[np.ndarray, " reward"],
    stage: str,
    task: str,
    temperature: float,
) -> Figures:
    """All figures of one stage.

    Parameters
    ----------
    greedy, right
        Whether the greedy and the sampled answers are right.
    readable
        Whether the sampled answers could be read.
    elsewhere
        For each image, the share of answers to other images that would be right for it.
    formatted, truncated
        Of the sampled completions.
    paid
        Raw rewards, NaN where not judged.
    names, weights
        Of each reward its name in logs and its own name; its weight.
    stage, task, temperature
        Go into the result.
    """
    images, samples = right.shape
    hits, wrong = right.sum(axis=1), readable & ~right
    ks = sorted({1, samples, *(2**i for i in range(1, samples.bit_length()) if 2**i <= samples)})
    gains = right.mean(axis=1) - elsewhere
    totals = weighted_sum(paid.reshape(images * samples, -1), weights).reshape(images, samples)
    spreads = spread(totals)
    known = ~np.isnan(totals)
    return Figures(
        stage=stage,
        task=task,
        images=images,
        samples=samples,
        temperature=temperature,
        accuracy=float(greedy.mean()),
        pass_at={k: float(np.mean([pass_at_k(samples, int(c), k) for c in hits])) for k in ks},
        elsewhere=float(elsewhere.mean()),
        gain=float(gains.mean()),
        gain_error=float(gains.std(ddof=1) / math.sqrt(images)) if images > 1 else math.inf,
        right=int(hits.sum()),
        wrong=int(wrong.sum()),
        unreadable=int(np.sum(~(right | readable))),
        format_rate=float(formatted.mean()),
        truncated=float(truncated.mean()),
        mean=_mean(totals),
        spread=_mean(spreads),
        flat=float(np.mean(~(spreads > _EQUAL))),
        separation=separation(totals, right, wrong),
        not_judged=float(np.mean(~known)),
        rewards=tuple(
            _reward(name, kind, float(w), paid[:, :, k], right, wrong)
            for k, ((name, kind), w) in enumerate(zip(names, weights, strict=True))
        ),
    )


def _reward(name: str, kind: str, weight: float, paid: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> RewardFigures:
    known = paid[~np.isnan(paid)]
    return RewardFigures(
        name=name,
        reward=kind,
        weight=weight,
        mean=_mean(known),
        mean_right=_mean(paid[right]),
        mean_wrong=_mean(paid[wrong]),
        not_judged=float(np.mean(np.isnan(paid))),
        constant=bool(known.size and np.ptp(known) <= _EQUAL),
    )


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
