"""How a recipe or a command line names a reward."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from medcore.errors import ConfigError
from vrft_aug.rewards.guard import GuardSettings


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """One term of a stage's reward."""

    name: str
    """An installed reward (``vrft-aug rewards list``) or ``module:attribute``."""
    weight: float = 1.0
    """Factor in the sum of rewards; negative to punish."""
    options: dict[str, Any] = field(default_factory=dict)
    """Parameters of the reward."""
    label: str | None = None
    """Name in logs and tables, by default `name`; needed when one reward is used twice."""
    guard: GuardSettings = field(default_factory=GuardSettings)
    """How it is watched."""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigError("reward", "has no name", "see vrft-aug rewards list")
        if not math.isfinite(self.weight):
            raise ConfigError(f"reward {self.name}", f"has the weight {self.weight}", "give a finite number")

    @property
    def shown(self) -> str:
        """The name in logs and tables."""
        return self.label or self.name
