"""What check_hook must find: each of these hooks breaks one promise."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from vrft_aug.hooks import RefinementHook
from vrft_aug.testing import check_hook


class WrongShape(RefinementHook):
    def transform_rewards(self, rewards, state):
        return rewards.sum(dim=1)


class WrongWidth(RefinementHook):
    def transform_advantages(self, advantages, state):
        return advantages.reshape(len(advantages), -1).mean(dim=1, keepdim=True)


class DropsTokens(RefinementHook):
    def transform_advantages(self, advantages, state):
        return advantages if advantages.dim() == 1 else advantages.mean(dim=1)


class InPlace(RefinementHook):
    def transform_rewards(self, rewards, state):
        rewards[rewards > 0.5] = 0.5
        return rewards


class JudgesTheUnjudged(RefinementHook):
    def transform_rewards(self, rewards, state):
        return rewards.nan_to_num()


class NotFinite(RefinementHook):
    def transform_advantages(self, advantages, state):
        return advantages / advantages.abs()


class Precision(RefinementHook):
    def schedule_weights(self, weights, state):
        return weights.double()


class Random(RefinementHook):
    def transform_advantages(self, advantages, state):
        return advantages * random.random()  # noqa: S311 - no secret


class Forgets(RefinementHook):
    def __init__(self) -> None:
        self.rounds = 0

    def schedule_weights(self, weights, state):
        self.rounds += 1
        return weights / self.rounds


class SavesTensors(Forgets):
    def state_dict(self):
        return {"rounds": torch.tensor(self.rounds)}


class SavesTooLittle(Forgets):
    def state_dict(self):
        return {"rounds": min(2, self.rounds)}

    def load_state_dict(self, state):
        self.rounds = state["rounds"]


class Remembers(Forgets):
    def state_dict(self):
        return {"rounds": self.rounds}

    def load_state_dict(self, state):
        self.rounds = state["rounds"]


class LocalMean(RefinementHook):
    def transform_advantages(self, advantages, state):
        return advantages - advantages.mean()


class Stranger(RefinementHook):
    def select_samples(self, samples, state):
        return ["nobody"] * len(samples)


class Fewer(RefinementHook):
    def select_samples(self, samples, state):
        return samples[1:]


class Logs(RefinementHook):
    def metrics(self):
        return {"x": float("nan")}


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (WrongShape(), r"transform_rewards returns shape \(16,\) for \(16, 2\)"),
        (WrongWidth(), r"transform_advantages returns shape \(16, 1\)"),
        (DropsTokens(), r"transform_advantages returns shape \(16,\)"),
        (InPlace(), "transform_rewards changes its input"),
        (JudgesTheUnjudged(), "changes what was not judged"),
        (NotFinite(), "transform_advantages returns NaN"),
        (Precision(), "schedule_weights returns torch.float64"),
        (Random(), "is not deterministic"),
        (Forgets(), "does not go on as before"),
        (SavesTensors(), "is not ready for JSON"),
        (SavesTooLittle(), "does not go on as before"),
        (LocalMean(), "depends on how completions are spread"),
        (Stranger(), "no training sample"),
        (Fewer(), "returns 3 samples for 4"),
        (Logs(), "the metric x is nan"),
        (object(), "is a object, no RefinementHook"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_promise_is_named(hook: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_hook(hook)


def test_hooks_that_keep_them_pass() -> None:
    check_hook(RefinementHook())
    check_hook(Remembers())
    check_hook(Remembers(), rewards=["one"])
