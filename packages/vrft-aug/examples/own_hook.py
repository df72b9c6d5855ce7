"""Write a refinement hook of your own, check it, and use it in a recipe.

A hook changes the training at the places where trl lets it be changed: samples, weights of rewards, the reward matrix, advantages.
"""

# %% A hook: long completions move the policy less once the stage is in its last part
from dataclasses import dataclass, field
from typing import Any

import torch

from vrft_aug.hooks import HookSettings, RefinementHook, RoundFacts, StageFacts, build_hook
from vrft_aug.testing import check_hook


@dataclass(kw_only=True, eq=False)
class Terse(RefinementHook):
    """Halves the advantages of completions with more than `tokens` tokens in the last part of a stage."""

    tokens: int = 64
    late: float = 0.5
    _long: list[bool] = field(default_factory=list, init=False)

    def on_round(self, facts: RoundFacts) -> None:
        self._long = [len(ids) > self.tokens for ids in facts.token_ids]

    def transform_advantages(self, advantages: torch.Tensor, state: Any) -> torch.Tensor:
        if state.global_step < self.late * state.max_steps:
            return advantages
        factor = 1 - 0.5 * torch.tensor(self._long).to(advantages)
        return advantages * (factor if advantages.dim() == 1 else factor[:, None])

    def metrics(self) -> dict[str, float]:
        return {"terse/long": sum(self._long) / max(1, len(self._long))}


# %% The checks that every hook must pass: an AssertionError says what does not hold
check_hook(Terse(tokens=5))

# %% What it does
hook = build_hook(HookSettings(name=f"{__name__}:Terse", options={"tokens": 2}))
hook.bind(StageFacts(rewards=("accuracy",), weights=(1.0,), generations=2))
hook.on_round(RoundFacts(first=0, token_ids=[[5, 6, 7], [5, 6]]))


class Late:
    """What a hook sees of the trainer's state."""

    global_step, max_steps = 9, 10


print(hook.transform_advantages(torch.tensor([1.0, -1.0]), Late()).tolist(), hook.metrics())

# %% In a recipe, by module and attribute (or by an entry point in the group vrft_aug.refinement_hooks):
#
#   stages:
#     - name: reasoning
#       hooks:
#         - {name: "own_hook:Terse", options: {tokens: 48}}
#         - {name: schedule, options: {reward: format, stop: 0.2}}
