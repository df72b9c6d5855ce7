"""Places where a refinement of the training can be put in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medcore.config import from_mapping
from medcore.errors import ConfigError
from medcore.plugins import Registry

if TYPE_CHECKING:
    import torch

HOOKS = Registry(group="vrft_aug.refinement_hooks", kind="refinement hook")
"""Installed hooks by name."""


@dataclass(frozen=True, kw_only=True)
class HookSettings:
    """One refinement of a stage."""

    name: str
    """An installed hook (entry-point group ``vrft_aug.refinement_hooks``) or ``module:attribute``."""
    options: dict[str, Any] = field(default_factory=dict)
    """Parameters of the hook."""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigError("hook", "has no name", "give an installed hook or module:attribute")


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """What does not change during a stage."""

    rewards: tuple[str, ...]
    """Names of the rewards, in the order of the columns of the reward matrix."""
    weights: tuple[float, ...]
    """Their weights in the recipe."""
    generations: int
    """Completions of one prompt, which stand in a row."""
    samples: Sequence[str] = ()
    """Identifiers of all training samples."""
    token_text: Callable[[int], str] = str
    """Text of one token, special tokens included."""

    def column(self, reward: str, what: str) -> int:
        """The column of the reward matrix that a reward fills.

        Raises
        ------
        ConfigError
            If the stage has no reward of this name; `what` names the hook that asks.
        """
        if reward not in self.rewards:
            raise ConfigError(f"hook {what}", f"names the reward {reward!r}, the stage has {', '.join(self.rewards)}", "correct it")
        return self.rewards.index(reward)


@dataclass(frozen=True, kw_only=True)
class RoundFacts:
    """One round of generation, before it is judged."""

    first: int
    """Number of this process's first completion among those of all processes."""
    token_ids: Sequence[Sequence[int]]
    """Tokens of this process's completions."""
    samples: Sequence[str] = ()
    """The sample of each group, over all processes; empty where rows have no ``sample_id``."""


class RefinementHook:
    """Base of hooks; every method does nothing, a subclass overrides those it needs.

    The trainer calls the methods in the order in which they stand here. `state` is the trainer's state (transformers'
    ``TrainerState``: ``global_step``, ``max_steps``, ...). A result of another shape is refused. Every process calls every hook with
    the same rewards and samples, so that a state that depends on them alone is the same everywhere.
    """

    def on_stage_start(self, name: str) -> None:
        """Stage `name` is about to train."""

    def bind(self, stage: StageFacts) -> None:
        """The trainer of the stage is built; what it trains with. Raise a ``ConfigError`` if the hook does not fit."""

    def select_samples(self, samples: Sequence[str], state: Any) -> Sequence[str]:
        """Choose what the next round is about.

        Parameters
        ----------
        samples
            What the sampler drew: the ``sample_id`` of each group, over all processes.
        state
            Trainer state.

        Returns
        -------
        Sequence[str]
            As many identifiers of training samples, the same on every process.
        """
        del state
        return samples

    def schedule_weights(self, weights: torch.Tensor, state: Any) -> torch.Tensor:
        """Change the weights of the rewards for the next round.

        Parameters
        ----------
        weights
            (reward,), those of the recipe or of the hook before.
        state
            Trainer state.
        """
        del state
        return weights

    def on_round(self, facts: RoundFacts) -> None:
        """Completions of a round are there and about to be judged."""

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
            (completion,) or, if a hook before has made them so, (completion, token), of this process.
        state
            Trainer state.

        Returns
        -------
        torch.Tensor
            The same shape, or (completion, token) with as many tokens as the longest completion of the process.
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


def build_hook(settings: HookSettings) -> RefinementHook:
    """The hook that `settings` describe: a class made with the options (a dataclass is checked strictly), or a ready object.

    Raises
    ------
    ConfigError
        If the name is unknown, an option is unknown or wrong, or the object is no hook.
    """
    what = f"hook {settings.name}"
    target = HOOKS.load(settings.name)
    if isinstance(target, type) and dataclasses.is_dataclass(target):
        hook: Any = from_mapping(target, settings.options, what)
    elif isinstance(target, type):
        try:
            hook = target(**settings.options)
        except (TypeError, ValueError) as error:
            raise ConfigError(what, f"does not take these options ({error})", "see its documentation") from error
    elif settings.options:
        raise ConfigError(what, f"takes no options, got {', '.join(settings.options)}", "remove them")
    else:
        hook = target
    if not isinstance(hook, RefinementHook):
        raise ConfigError(what, f"is a {type(hook).__name__}, no RefinementHook", "derive it from vrft_aug.hooks.RefinementHook")
    return hook
