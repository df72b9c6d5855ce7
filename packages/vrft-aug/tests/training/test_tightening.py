"""A rising threshold in real training: applied over the gathered rewards, logged, and restored exactly."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from trl import GRPOTrainer

from medcore.errors import InputError
from vrft_aug.checkpoints import HookStates
from vrft_aug.hooks import RefinementHook
from vrft_aug.rewards import TightenSettings
from vrft_aug.stages import run_recipe
from vrft_aug.tighten import TightenThreshold

RISING = {"start": 0.0, "stop": 0.35, "step": 0.1, "target": 0.01, "window": 1, "min_samples": 1}


class Watch(RefinementHook):
    """Keeps what comes out of the hooks before it, and may end the run like a crash."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seen, self.stop_at = [], stop_at

    def transform_rewards(self, rewards, state):
        if state.global_step == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(rewards[:, 0].clone())
        return rewards


@pytest.fixture
def rising(small, warm_policy, as_recipe):
    """The perception stage from a policy that knows boxes, with a threshold that rises each round."""
    stage = small["stages"][0]
    stage["rewards"][0]["options"] = {"tighten": RISING}
    stage["grpo"] |= {"max_steps": 4, "save_steps": 1}
    return as_recipe({**small, "model": {"path": str(warm_policy)}, "warm_start": None, "stages": [stage]})


def logged(folder: Path, key: str) -> list[float]:
    entries = json.loads((folder / "stages/1-perception/log.json").read_text())
    return [entry[key] for entry in entries if key in entry]


def test_the_threshold_rises_in_training_and_an_interrupted_run_ends_the_same(tmp_path, rising):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    watch = Watch()
    run_recipe(rising, whole, hooks=[watch])
    assert logged(whole, "threshold/box_iou") == pytest.approx([0.1, 0.2, 0.3, 0.35])
    overlap, rewarded = logged(whole, "box_iou/overlap"), logged(whole, "rewards/box_iou/mean")
    assert rewarded[0] == pytest.approx(overlap[0])
    assert all(after <= before + 1e-6 for before, after in zip(overlap, rewarded, strict=True))
    for threshold, values in zip([0.0, 0.1, 0.2, 0.3], watch.seen, strict=True):
        assert bool(((values == 0) | (values >= torch.tensor(threshold))).all())

    with pytest.raises(KeyboardInterrupt):
        run_recipe(rising, broken, hooks=[Watch(stop_at=2)])
    run_recipe(rising, broken, resume=True, hooks=[Watch()])
    for key in ("threshold/box_iou", "box_iou/overlap", "rewards/box_iou/mean"):
        assert logged(broken, key) == logged(whole, key), key
    first, second = (load_file(folder / "final" / "model.safetensors") for folder in (whole, broken))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_method_of_trl_that_logs_numbers_has_the_known_signature():
    assert list(inspect.signature(GRPOTrainer._log_metric).parameters) == ["self", "name", "value"]


class State:
    """What a callback sees of the trainer's state."""

    def __init__(self, saved: dict) -> None:
        self.stateful_callbacks = saved


def test_states_of_hooks_go_where_they_came_from():
    settings = TightenSettings(window=1, min_samples=1, target=0.5)
    first, second = TightenThreshold(0, settings), TightenThreshold(1, settings)
    first.schedule.observe([1.0])
    saved = json.loads(json.dumps({"HookStates": HookStates([first, RefinementHook(), second]).state()}))
    restored = [TightenThreshold(0, settings), TightenThreshold(1, settings)]
    HookStates([RefinementHook(), *restored]).on_train_begin(None, State(saved), None)
    assert [hook.schedule.level for hook in restored] == [1, 0]


def test_a_checkpoint_with_states_of_other_hooks_is_refused():
    saved = {"HookStates": HookStates([TightenThreshold()]).state()}
    with pytest.raises(InputError, match="holds the states of the hooks TightenThreshold, not of none"):
        HookStates([RefinementHook()]).on_train_begin(None, State(saved), None)
    HookStates([TightenThreshold()]).on_train_begin(None, State({}), None)
