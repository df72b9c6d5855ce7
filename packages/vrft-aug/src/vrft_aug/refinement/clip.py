"""Rewards kept between two bounds, so that no single term drowns the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medcore.errors import ConfigError
from vrft_aug.hooks import RefinementHook, StageFacts

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class Clip(RefinementHook):
    """Moves values outside of the bounds to the nearer one; what was not judged stays so."""

    low: float = -1.0
    """Smallest value."""
    high: float = 1.0
    """Largest value."""
    reward: str | None = None
    """Name of the reward in logs; none means all of them."""
    _column: int | None = field(default=None, init=False, repr=False)
    _share: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.low, self.high))) or self.low >= self.high:
            raise ConfigError("hook clip", f"has the bounds {self.low} and {self.high}", "give low < high")

    def bind(self, stage: StageFacts) -> None:
        """Look the reward up."""
        self._column = None if self.reward is None else stage.column(self.reward, "clip")

    def transform_rewards(self, rewards: torch.Tensor, state: Any) -> torch.Tensor:
        """The rewards within the bounds; NaN stays NaN."""
        del state
        columns = slice(None) if self._column is None else slice(self._column, self._column + 1)
        values = rewards[:, columns]
        changed = rewards.clone()
        changed[:, columns] = values.clamp(self.low, self.high)
        judged = int((~values.isnan()).sum())
        self._share = float(((values < self.low) | (values > self.high)).sum()) / max(1, judged)
        return changed

    def metrics(self) -> Mapping[str, float]:
        """Share of the judged values that lay outside."""
        return {f"clipped/{self.reward or 'all'}": self._share}
