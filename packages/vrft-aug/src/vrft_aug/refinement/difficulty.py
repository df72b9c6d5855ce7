r"""Advantages weighted by how hard a question is for the present policy.

With :math:`m` the mean of one reward over a group, cut to [0, 1], all advantages of the group are multiplied by
:math:`w = h + (e - h)\,m`: :math:`h` (`hard`) where nobody earned anything, :math:`e` (`easy`) where all earned everything. Dividing by the
group's standard deviation, as trl does by default, favours groups that are nearly all right or nearly all wrong; this weight says which of
the two deserve it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medcore.errors import ConfigError
from vrft_aug.hooks import RefinementHook, RoundFacts, StageFacts

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class Difficulty(RefinementHook):
    """Multiplies the advantages of a group by a weight that depends on its mean reward."""

    reward: str
    """Name of the reward in logs that tells right from wrong; its values should lie between 0 and 1."""
    hard: float = 1.5
    """Weight of groups with a mean of 0."""
    easy: float = 0.5
    """Weight of groups with a mean of 1."""
    _column: int = field(default=0, init=False, repr=False)
    _generations: int = field(default=1, init=False, repr=False)
    _round: RoundFacts | None = field(default=None, init=False, repr=False)
    _weights: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        weights = self.hard, self.easy
        if not all(map(math.isfinite, weights)) or min(weights) < 0 or not any(weights):
            raise ConfigError("hook difficulty", f"has the weights {weights}", "give at least 0, and not both 0")

    def bind(self, stage: StageFacts) -> None:
        """Look the reward up."""
        self._column, self._generations = stage.column(self.reward, "difficulty"), stage.generations

    def on_round(self, facts: RoundFacts) -> None:
        """Keep which completions are this process's."""
        self._round = facts

    def transform_rewards(self, rewards: torch.Tensor, state: Any) -> torch.Tensor:
        """The rewards as they are; their means become weights, 1 for a group that was not judged."""
        del state
        means = rewards[:, self._column].reshape(-1, self._generations).nanmean(dim=1)
        weights = self.hard + (self.easy - self.hard) * means.clamp(0, 1)
        self._weights = weights.nan_to_num(nan=1.0).repeat_interleave(self._generations)
        return rewards

    def transform_advantages(self, advantages: torch.Tensor, state: Any) -> torch.Tensor:
        """The weighted advantages, of whichever shape."""
        del state
        assert self._round is not None  # noqa: S101 - a round is announced before its advantages
        own: torch.Tensor = self._weights[self._round.first : self._round.first + len(advantages)].to(advantages)
        return advantages * (own[:, None] if advantages.dim() == 2 else own)

    def metrics(self) -> Mapping[str, float]:
        """The mean weight of the round."""
        return {"difficulty/weight": float(self._weights.mean())}
