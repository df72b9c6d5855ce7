from __future__ import annotations

import torch

from vrft_aug.hooks import HOOKS, RefinementHook


def test_the_base_changes_nothing() -> None:
    hook, values = RefinementHook(), torch.tensor([[1.0, float("nan")], [0.5, 2.0]])
    assert hook.transform_rewards(values, None) is values
    assert hook.transform_advantages(values, None) is values
    assert hook.on_stage_start("a") is hook.on_stage_end("a") is None
    assert hook.metrics() == hook.state_dict() == {}
    assert hook.load_state_dict({"a": 1}) is None


def test_hooks_have_a_door_of_their_own() -> None:
    assert HOOKS.group == "vrft_aug.refinement_hooks"
    assert HOOKS.names() == sorted(HOOKS.names())
