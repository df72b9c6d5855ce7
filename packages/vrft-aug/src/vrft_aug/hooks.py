"""Places where a refinement of the training can be put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medcore.plugins import Registry

if TYPE_CHECKING:
    import torch

HOOKS = Registry(group="vrft_aug.refinement_hooks", kind="refinement hook")
"""Installed hooks by name."""


class RefinementHook:
    """Base of hooks; every method does nothing, a subclass overrides those it needs.

    The trainer calls the methods in the order in which they stand here. `state` is the trainer's state (transformers'
    ``TrainerState``: ``global_step``, ``max_steps``, ...). A result of another shape is refused.
    """

    def on_stage_start(self, name: str) -> None:
        """Stage `name` is about to train."""

    def transform_rewards(self, rewards: torch.Tensor, state: Any) -> torch.Tensor:
        """Change the rewards before they are weighted and summed.

        Parameters
        ----------
        rewards
            (completion, reward) over all processes, completions of one prompt in a row, NaN where a reward does not apply.
        state
            Trainer state.
        """
        del state
        return rewards

    def transform_advantages(self, advantages: torch.Tensor, state: Any) -> torch.Tensor:
        """Change the advantages before the loss.

        Parameters
        ----------
        advantages
            (completion,) or (completion, token), of this process.
        state
            Trainer state.
        """
        del state
        return advantages

    def on_stage_end(self, name: str) -> None:
        """Stage `name` has ended and its policy is saved."""

    def metrics(self) -> Mapping[str, float]:
        """Numbers to be logged beside the rewards, asked for after each round of generation."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What the hook has to remember when a run is interrupted, as JSON-ready values; saved with every checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; called when a stage begins or resumes."""
        del state
