"""Different weight for what went better and for what went worse than the rest of its group.

With a small weight on negative advantages the policy is drawn to good answers more than pushed away from bad ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medcore.errors import ConfigError
from vrft_aug.hooks import RefinementHook

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class Asymmetric(RefinementHook):
    """Multiplies positive and negative advantages by factors of their own."""

    positive: float = 1.0
    """Factor of advantages above 0."""
    negative: float = 0.5
    """Factor of advantages below 0; 0 learns from the better half only."""

    def __post_init__(self) -> None:
        factors = self.positive, self.negative
        if not all(map(math.isfinite, factors)) or min(factors) < 0 or not any(factors):
            raise ConfigError("hook asymmetric", f"has the factors {factors}", "give at least 0, and not both 0")

    def transform_advantages(self, advantages: torch.Tensor, state: Any) -> torch.Tensor:
        """The scaled advantages, of whichever shape."""
        del state
        return advantages.clamp(min=0) * self.positive + advantages.clamp(max=0) * self.negative
