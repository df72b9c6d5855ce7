"""Misbehaving rewards inside real steps of the trainer: the policy is moved as if nothing had happened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from vrft_aug.data import load_rows
from vrft_aug.models import known_deprecations, load_policy
from vrft_aug.recipe import ModelSettings
from vrft_aug.rewards import RewardSettings, build_reward
from vrft_aug.rewards.guard import GuardSettings
from vrft_aug.trainer import build_trainer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform == "win32", reason="the tests end processes as POSIX does"),
]
CASES = {
    "raises": "ValueError",
    "wrong_length": "wrong length",
    "scalar": "TypeError",
    "nan": "not finite",
    "infinite": "not finite",
    "text": "not a number",
    "elsewhere": "not a number",
    "exits": "SystemExit",
    "exits_hard": "died",
    "sleeps": "time-out",
    "allocates": "MemoryError",
    "prints": "ValueError",
    "forks": None,
    "all_equal": None,
}


def by_position(prompts, completions, **columns):
    return [float(i % 4) for i in range(len(completions))]


def quarter(prompts, completions, **columns):
    return [0.25] * len(completions)


@pytest.fixture
def trainer(one_stage, as_recipe, tmp_path, finished, warm_policy):
    one_stage["stages"][0]["rewards"] = [{"name": "accuracy"}, {"name": "format"}]
    stage = as_recipe(one_stage).stages[0]
    policy, processor = load_policy(ModelSettings(), warm_policy)
    rows, rewards = load_rows(stage, part="train"), [by_position, quarter]
    with known_deprecations():
        return build_trainer(
            stage, policy, processor, rows, rewards, tmp_path, seed=0, base=finished.folder / "base", start=warm_policy
        )


def advantages(trainer, reward):
    """Sorted advantages (trl has shuffled them) of one batch whose second reward is `reward`."""
    from misbehaving import Marked

    trainer.reward_funcs[1] = Marked(reward)
    trainer._buffered_inputs, trainer._step = None, 0
    trainer.model.train()
    with known_deprecations():
        return trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))["advantages"].sort().values


def test_misbehaving_rewards_leave_the_advantages_as_they_were(trainer, monkeypatch, caplog, capfd):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "rewards"))
    untouched = advantages(trainer, quarter)
    assert (untouched != 0).all()
    for name, reason in CASES.items():
        watch = GuardSettings(seconds=8.0 if name == "sleeps" else 60.0, memory_gb=4.0)
        reward = build_reward(RewardSettings(name=f"misbehaving:{name}", guard=watch))
        found = advantages(trainer, reward)
        reward.close()
        assert dict(reward.failures) == ({} if reason is None else {reason: 1}), name
        torch.testing.assert_close(found, untouched, msg=name)
    said = caplog.text + "".join(capfd.readouterr())
    assert "Jane Doe" not in said
