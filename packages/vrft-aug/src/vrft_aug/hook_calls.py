"""How a trainer calls its hooks: with what belongs to all processes, and refusing what trl would silently broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import gather_object

from medcore.errors import ConfigError, InputError
from vrft_aug.hooks import RefinementHook, RoundFacts, StageFacts


class HookCalls:
    """The calls of one trainer's hooks, in their order.

    Parameters
    ----------
    trainer
        A trl GRPO trainer with an attribute ``hooks``.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.hooks: Sequence[RefinementHook] = trainer.hooks
        self.weights: torch.Tensor = trainer.reward_weights.clone()
        self._samples: tuple[str, ...] = ()
        self._tokens: Sequence[Sequence[int]] = ()
        self._places: dict[str, int] | None = None

    def bind(self) -> None:
        """Tell each hook what the trainer trains with."""
        if not self.hooks:
            return
        trainer = self.trainer
        rows = trainer.train_dataset
        tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        facts = StageFacts(
            rewards=tuple(trainer.reward_func_names),
            weights=tuple(self.weights.tolist()),
            generations=trainer.num_generations,
            samples=list(rows["sample_id"]) if "sample_id" in getattr(rows, "column_names", ()) else (),
            token_text=lambda token: str(tokenizer.decode([token], skip_special_tokens=False)),
        )
        self._places = {name: i for i, name in enumerate(facts.samples)}
        for hook in self.hooks:
            hook.bind(facts)

    def inputs(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of this process, some of them exchanged by hooks.

        Raises
        ------
        ConfigError
            If a hook returns another number of samples, or one that is no training sample.
        """
        self._samples = ()
        if not self.hooks or not self.trainer.model.training or not all("sample_id" in row for row in inputs):
            return inputs
        size, own = self.trainer.num_generations, [str(row["sample_id"]) for row in inputs]
        drawn = gather_object(own)
        if len(drawn) % size or any(len(set(drawn[i : i + size])) > 1 for i in range(0, len(drawn), size)):
            return inputs  # not trl's order; its advantages would mix samples as well
        self._samples = tuple(drawn[::size])
        for hook in self.hooks:
            chosen = tuple(hook.select_samples(self._samples, self.trainer.state))
            if chosen != self._samples:
                self._check_samples(hook, chosen)
                self._samples = chosen
        first = self.trainer.accelerator.process_index * len(inputs)
        wanted = [self._samples[(first + i) // size] for i in range(len(inputs))]
        return [row if name == new else self._row(new) for row, name, new in zip(inputs, own, wanted, strict=True)]

    def _check_samples(self, hook: RefinementHook, chosen: tuple[str, ...]) -> None:
        what = f"hook {type(hook).__name__}.select_samples"
        if len(chosen) != len(self._samples):
            raise ConfigError(what, f"returned {len(chosen)} samples for {len(self._samples)}", "return as many")
        unknown = next((name for name in chosen if name not in (self._places or {})), None)
        if unknown is not None:
            raise ConfigError(what, "returned a name that is no training sample's", "choose from StageFacts.samples")

    def _row(self, name: str) -> dict[str, Any]:
        assert self._places is not None  # noqa: S101 - filled when bound
        return dict(self.trainer.train_dataset[self._places[name]])

    def schedule(self) -> None:
        """Give the trainer the weights of the coming round."""
        weights = self.weights
        for hook in self.hooks:
            weights = _checked(hook, "schedule_weights", weights, self.trainer.state)
            if not torch.isfinite(weights).all():
                raise ConfigError(
                    f"hook {type(hook).__name__}.schedule_weights", "returned a weight that is not finite", "correct it"
                )
        self.trainer.reward_weights = weights

    def rewards(self, rewards: torch.Tensor, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """The reward matrix of all processes as the hooks change it; columns that they change are logged as they were, too."""
        if not self.hooks:
            return rewards
        trainer, plain = self.trainer, rewards
        first = trainer.accelerator.process_index * len(token_ids)
        self._tokens = token_ids
        facts = RoundFacts(first=first, token_ids=token_ids, samples=self._samples)
        for hook in self.hooks:
            hook.on_round(facts)
        for hook in self.hooks:
            rewards = _checked(hook, "transform_rewards", rewards, trainer.state)
            for name, value in hook.metrics().items():
                trainer._log_metric(name, float(value))  # noqa: SLF001 - trl's own door for rewards, pinned by a test
        for column, name in enumerate(trainer.reward_func_names):
            before = plain[:, column]
            if not before.isnan().all() and not torch.equal(before.nan_to_num(), rewards[:, column].nan_to_num()):
                trainer._log_metric(f"raw_rewards/{name}/mean", float(before.nanmean()))  # noqa: SLF001
        return rewards

    def advantages(self, advantages: torch.Tensor, width: int) -> torch.Tensor:
        """The advantages of this process as the hooks change them; by token they are padded with 0 to `width`, trl's tokens."""
        longest = max(map(len, self._tokens), default=0)
        for hook in self.hooks:
            advantages = _checked(hook, "transform_advantages", advantages, self.trainer.state, longest)
            if not torch.isfinite(advantages).all():
                step = self.trainer.state.global_step
                raise InputError(
                    f"hook {type(hook).__name__}", f"made an advantage of step {step} that is not finite", "correct it"
                )
        if advantages.dim() == 2:
            advantages = torch.nn.functional.pad(advantages, (0, width - longest))
        return advantages


def _checked(hook: RefinementHook, method: str, values: torch.Tensor, state: Any, tokens: int | None = None) -> torch.Tensor:
    """Call a hook and refuse a result of another shape; advantages may gain an axis of tokens."""
    changed = getattr(hook, method)(values, state)
    allowed = [tuple(values.shape), *([] if tokens is None else [(len(values), tokens)])]
    shape = tuple(getattr(changed, "shape", ()))
    if not isinstance(changed, torch.Tensor) or shape not in allowed:
        raise ConfigError(
            f"hook {type(hook).__name__}.{method}", f"returned shape {shape} for {tuple(values.shape)}", "keep the shape"
        )
    return changed
