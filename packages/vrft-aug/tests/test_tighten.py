from __future__ import annotations

import pickle  # noqa: TID251 - only of the object at hand
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.hooks import RefinementHook
from vrft_aug.rewards import BoxIou, Format, TightenSettings, guard
from vrft_aug.rewards.guard import GuardSettings
from vrft_aug.tighten import TightenThreshold, tightening_hooks

NAN = float("nan")
MATRIX = st.lists(
    st.tuples(st.floats(0, 1, width=32) | st.just(NAN), st.floats(-2, 2, width=32) | st.just(NAN)), min_size=1, max_size=8
)
RULE = TightenSettings(start=0.5, stop=0.7, step=0.1, target=0.5, window=1, min_samples=2)


def column(hook: TightenThreshold, values: list[float], state: Any = None) -> list[float]:
    return hook.transform_rewards(torch.tensor([[v, 1.0] for v in values]), state)[:, 0].tolist()


@given(MATRIX, st.integers(0, 1))
def test_values_stay_or_become_zero_and_nothing_else_changes(rows: list[tuple[float, float]], which: int) -> None:
    rewards = torch.tensor(rows)
    before = rewards.clone()
    hook = TightenThreshold(which, TightenSettings(start=0.4))
    changed = hook.transform_rewards(rewards, None)
    torch.testing.assert_close(rewards, before, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(changed[:, 1 - which], rewards[:, 1 - which], equal_nan=True, rtol=0, atol=0)
    for old, new in zip(rewards[:, which].tolist(), changed[:, which].tolist(), strict=True):
        if old != old:
            assert new != new
        else:
            assert new == (old if old >= torch.tensor(0.4).item() else 0.0)


def test_a_round_is_judged_by_the_threshold_it_began_with() -> None:
    hook = TightenThreshold(0, RULE, "box_iou")
    assert column(hook, [0.55, 0.55]) == pytest.approx([0.55, 0.55])
    assert hook.metrics() == {"threshold/box_iou": pytest.approx(0.6)}
    assert column(hook, [0.55, 0.65]) == pytest.approx([0.0, 0.65])
    assert column(hook, [0.65, 0.69]) == pytest.approx([0.0, 0.0])
    assert column(hook, [0.7, 0.9]) == pytest.approx([0.7, 0.9])
    assert hook.metrics() == {"threshold/box_iou": pytest.approx(0.7)}


def test_a_score_exactly_at_the_threshold_reaches_it_in_every_precision() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for threshold in (0.1, 0.3, 0.35, 0.6, 0.7):
            hook = TightenThreshold(0, TightenSettings(start=threshold, stop=1.0))
            rewards = torch.tensor([[threshold]], dtype=dtype)
            assert torch.equal(hook.transform_rewards(rewards, None), rewards)


@given(st.lists(st.lists(st.floats(0, 1, width=32) | st.just(NAN), min_size=1, max_size=4), max_size=12), st.integers(0, 12))
def test_a_hook_that_is_pickled_or_restored_goes_on_the_same_way(rounds: list[list[float]], when: int) -> None:
    whole, hook = TightenThreshold(0, RULE), TightenThreshold(0, RULE)
    expected = [column(whole, values) for values in rounds]
    found = [column(hook, values) for values in rounds[:when]]
    copied, restored = pickle.loads(pickle.dumps(hook)), TightenThreshold(0, RULE)  # noqa: S301
    restored.load_state_dict(hook.state_dict())
    for other in (copied, restored):
        rest = [column(other, values) for values in rounds[when:]]
        assert str([*found, *rest]) == str(expected)  # text: NaN is not equal to itself
        assert other.state_dict() == whole.state_dict()


def test_rewards_that_ask_for_it_bring_a_hook_with_their_place_and_name() -> None:
    plain = BoxIou(tighten=RULE)
    (hook,) = tightening_hooks([guard(Format()), guard(plain, "places")])
    assert isinstance(hook, RefinementHook)
    assert (hook.column, hook.name, hook.schedule.settings) == (1, "places", RULE)
    assert tightening_hooks([plain])[0].name == "box_iou"
    assert tightening_hooks([guard(Format()), BoxIou(), lambda **_: [1.0]]) == []


def test_a_reward_in_a_process_of_its_own_gets_the_rule_of_the_recipe() -> None:
    apart = guard(BoxIou(tighten=RULE), "places", GuardSettings(isolate="always"))
    assert tightening_hooks([apart]) == []
    (hook,) = tightening_hooks([guard(Format()), apart], [None, {"start": 0.4}, {"start": 0.9}])
    assert (hook.column, hook.name, hook.schedule.settings) == (1, "places", TightenSettings(start=0.4))
    with pytest.raises(ConfigError, match="did you mean 'start'"):
        tightening_hooks([apart], [{"strat": 0.4}])


def test_it_is_offered_by_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["vrft_aug.refinement_hooks"]["tighten_threshold"] == "vrft_aug.tighten:TightenThreshold"
    assert isinstance(TightenThreshold(), RefinementHook)
