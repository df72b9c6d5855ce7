r"""A weight that changes over the steps of a stage.

With :math:`p` the share of the stage's steps that are done (0 at the first step, 1 at the last) and
:math:`q = \min(1, \max(0, (p - b) / (e - b)))` the share of the way from `begin` :math:`b` to `end` :math:`e`, the weight of the recipe is
multiplied by

.. math::
    f = \begin{cases}
        s_0 + (s_1 - s_0)\, q & \text{linear} \\
        s_1 + (s_0 - s_1)\, (1 + \cos \pi q) / 2 & \text{cosine} \\
        s_0 \text{ before } b,\; s_1 \text{ from there on} & \text{step}
    \end{cases}

with `start` :math:`s_0` and `stop` :math:`s_1`. The weight is changed, not the reward: what trl logs as ``rewards/NAME/mean`` stays the
plain value, and ``normalize_then_sum`` is affected, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from medcore.errors import ConfigError
from vrft_aug.hooks import RefinementHook, StageFacts

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class Schedule(RefinementHook):
    """Multiplies the weight of one reward by a factor that depends on the step."""

    reward: str
    """Name of the reward in logs."""
    shape: Literal["linear", "cosine", "step"] = "linear"
    """How the factor moves."""
    start: float = 1.0
    """Factor up to `begin`."""
    stop: float = 0.0
    """Factor from `end` on (``step``: from `begin` on)."""
    begin: float = 0.0
    """Share of the steps after which the factor begins to move."""
    end: float = 1.0
    """Share of the steps after which it has arrived."""
    _column: int = field(default=0, init=False, repr=False)
    _weight: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.start, self.stop))):
            raise ConfigError("hook schedule", f"goes from {self.start} to {self.stop}", "give finite factors")
        if not 0 <= self.begin <= self.end <= 1 or (self.shape != "step" and self.begin == self.end):
            raise ConfigError("hook schedule", f"begins at {self.begin} and ends at {self.end}", "give 0 <= begin < end <= 1")

    def factor(self, step: int, steps: int) -> float:
        """The factor at a step, counted from 0, of so many."""
        done = 0.0 if steps < 2 else min(1.0, step / (steps - 1))
        if self.shape == "step":
            return self.stop if done >= self.begin else self.start
        way = min(1.0, max(0.0, (done - self.begin) / (self.end - self.begin)))
        if self.shape == "cosine":
            way = (1 - math.cos(math.pi * way)) / 2
        return self.start + (self.stop - self.start) * way

    def bind(self, stage: StageFacts) -> None:
        """Look the reward up."""
        self._column = stage.column(self.reward, "schedule")

    def schedule_weights(self, weights: torch.Tensor, state: Any) -> torch.Tensor:
        """The weights with that of the reward multiplied."""
        changed = weights.clone()
        changed[self._column] *= self.factor(state.global_step, state.max_steps)
        self._weight = float(changed[self._column])
        return changed

    def metrics(self) -> Mapping[str, float]:
        """The present weight."""
        return {f"weight/{self.reward}": self._weight}
