"""How much a reward's weight decides: what changes when it is turned down to nothing or up to four times itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vrft_aug.advantages import advantages
from vrft_aug.completions import TableFacts

FACTORS = tuple(float(f) for f in np.linspace(0, 4, 17))
"""Factors of a weight that are looked at."""
MEASURES = {
    "best": ("another best completion", "share of groups"),
    "order": ("another order", "share of pairs"),
    "sign": ("another sign of the advantage", "share of completions"),
    "flat": ("no spread", "share of groups"),
}
"""What is measured, in words, and of what it is the share."""
_CLOSE = 1e-9  # advantages that are equal but for rounding


def sensitivity(
    rounds: Sequence[np.ndarray], names: Sequence[str], weights: np.ndarray, facts: TableFacts
) -> dict[str, dict[str, Any]]:
    """What changes with each reward's weight, the others as they are.

    Parameters
    ----------
    rounds
        (completion, reward) values of each round, NaN where not judged.
    names, weights
        Rewards and the weights that are compared with. A reward of weight 0 is looked at as if its weight were 1.
    facts
        How trl makes advantages.

    Returns
    -------
    dict
        By reward: ``factor``, and for each of :data:`MEASURES` the share at each factor. ``best``: groups whose set of best completions
        is another one; ``order``: pairs of completions of one group whose order, ties included, is another one; ``sign``: completions whose
        advantage changed between positive, zero and negative; ``flat``: groups in which all advantages are equal, so that nothing is
        learned.
    """
    before = [_Ranks.of(_at(values, weights, facts)) for values in rounds]
    found: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(names):
        curves: dict[str, list[float]] = {key: [] for key in MEASURES}
        for factor in FACTORS:
            changed = weights.copy()
            changed[k] = factor * (weights[k] or 1.0)
            after = [_Ranks.of(_at(values, changed, facts)) for values in rounds]
            for key, share in _shares(before, after).items():
                curves[key].append(share)
        found[name] = {"weight": float(weights[k]), "factor": list(FACTORS), **curves}
    return found


def _at(values: np.ndarray, weights: np.ndarray, facts: TableFacts) -> np.ndarray:
    """Advantages as (group, completion), NaN where not judged."""
    found = advantages(values, weights, generations=facts.generations, scale=facts.scale_rewards, aggregation=facts.aggregation)
    return found.reshape(-1, facts.generations)


class _Ranks:
    """Best completions, order and signs of the groups of a round."""

    def __init__(self, best: np.ndarray, order: np.ndarray, sign: np.ndarray) -> None:
        self.best, self.order, self.sign = best, order, sign

    @classmethod
    def of(cls, found: np.ndarray) -> _Ranks:
        low = np.where(np.isnan(found), -np.inf, found)
        best = low >= low.max(axis=1, keepdims=True) - _CLOSE
        first, second = np.triu_indices(found.shape[1], k=1)
        order = signs(found[:, first] - found[:, second])
        return cls(best & ~np.isnan(found), order, signs(found))


def signs(values: np.ndarray) -> np.ndarray:
    """-1, 0 or 1; what is zero but for rounding, or not a number, is 0."""
    known = np.nan_to_num(values, nan=0.0)
    return np.sign(np.where(np.abs(known) <= _CLOSE, 0.0, known))


def _shares(before: Sequence[_Ranks], after: Sequence[_Ranks]) -> dict[str, float]:
    def share(parts: list[np.ndarray]) -> float:
        joined = np.concatenate([np.ravel(p) for p in parts]) if parts else np.zeros(0)
        return float(joined.mean()) if joined.size else 0.0

    pairs = list(zip(before, after, strict=True))
    return {
        "best": share([(a.best != b.best).any(axis=1) for a, b in pairs]),
        "order": share([a.order != b.order for a, b in pairs]),
        "sign": share([a.sign != b.sign for a, b in pairs]),
        "flat": share([(b.order == 0).all(axis=1) for _, b in pairs]),
    }
