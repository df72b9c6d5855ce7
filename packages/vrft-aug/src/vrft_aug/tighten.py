"""The refinement hook that applies a rising threshold to a reward.

A reward must be pure and sees only the completions of its own process; a threshold that depends on performance belongs where all of them
are gathered. So ``box_iou`` returns the plain overlap, and this hook sets what lies below the threshold to zero before rewards are
weighted and summed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from medcore.config import from_mapping
from medcore.errors import ConfigError
from vrft_aug.hooks import RefinementHook, StageFacts
from vrft_aug.rewards.tightening import Tightening, TightenSettings

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger(__name__)


class TightenThreshold(RefinementHook):
    """Sets values of one reward that are below a rising threshold to 0.

    A round is judged with the threshold that held when it began; whether it rises is decided afterwards.

    Parameters
    ----------
    column
        Number of the reward in the order of the recipe, from 0; of no account where a reward of the stage is called `name`.
    settings
        The rule, :class:`~vrft_aug.rewards.tightening.TightenSettings` or the same as plain values.
    name
        The reward's name.
    """

    def __init__(self, column: int = 0, settings: TightenSettings | Mapping[str, Any] | None = None, name: str = "reward") -> None:
        self.column, self.name = column, name
        if isinstance(settings, Mapping):
            settings = from_mapping(TightenSettings, settings, "tighten")
        self.schedule = Tightening(settings=settings or TightenSettings())

    def bind(self, stage: StageFacts) -> None:
        """Look the reward up."""
        if self.name in stage.rewards:
            self.column = stage.rewards.index(self.name)
        elif not 0 <= self.column < len(stage.rewards):
            raise ConfigError("hook tighten_threshold", f"names reward {self.column} of {len(stage.rewards)}", "give its name")

    def transform_rewards(self, rewards: torch.Tensor, state: Any) -> torch.Tensor:
        """The rewards with those of the column below the threshold set to 0; NaN, not judged, stays NaN."""
        import torch

        del state
        values = rewards[:, self.column]
        # In the rewards' own precision: a score of exactly 0.7 reaches a threshold of 0.7 in single precision, too.
        reached = values >= torch.tensor(self.schedule.threshold, dtype=rewards.dtype, device=rewards.device)
        judged = ~torch.isnan(values)
        changed = rewards.clone()
        changed[:, self.column] = torch.where(judged & ~reached, torch.zeros_like(values), values)
        if self.schedule.count(int(judged.sum()), int(reached.sum())):
            _LOG.info("%s: the threshold rises to %.3g", self.name, self.schedule.threshold)
        return changed

    def metrics(self) -> Mapping[str, float]:
        """The present threshold."""
        return {f"threshold/{self.name}": self.schedule.threshold}

    def state_dict(self) -> dict[str, Any]:
        """The schedule's state."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state."""
        self.schedule.load_state_dict(state)


def tightening_hooks(rewards: Sequence[Any], options: Sequence[Any] = ()) -> list[TightenThreshold]:
    """A hook for each of a stage's rewards that has a rising threshold.

    Parameters
    ----------
    rewards
        The rewards, guarded or not; one with an attribute ``tighten`` with settings gets a hook.
    options
        For each reward the settings that a recipe states, as plain values or None; used where the reward shows none.
    """
    hooks = []
    for column, (reward, stated) in enumerate(zip_longest(rewards, options[: len(rewards)])):
        settings = getattr(getattr(reward, "reward", reward), "tighten", None)
        if settings is None and isinstance(stated, Mapping):
            settings = from_mapping(TightenSettings, stated, "tighten")
        if isinstance(settings, TightenSettings):
            hooks.append(TightenThreshold(column, settings, str(getattr(reward, "__name__", f"reward {column}"))))
    return hooks
