"""The built-in hooks on tensors: what they change, what they leave, and what they refuse."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError, InputError
from vrft_aug import refinement
from vrft_aug.hooks import HOOKS, HookSettings, RefinementHook, RoundFacts, StageFacts, build_hook
from vrft_aug.refinement import Asymmetric, Clip, Difficulty, Reasoning, Replay, Schedule
from vrft_aug.testing import check_hook
from vrft_aug.tighten import TightenThreshold

NAN = float("nan")
PIECES = ["<think>", "white", " patches", "</think>", "<answer>", "normal", "</answer>", "<th", "ink", ">x", "</thi", "nk>\n"]


def stage(**changes: Any) -> StageFacts:
    facts = {"rewards": ("accuracy", "format"), "weights": (1.0, 0.5), "generations": 2, "token_text": PIECES.__getitem__}
    return StageFacts(**{**facts, "samples": tuple("abcdef"), **changes})


def bound(hook: RefinementHook, **changes: Any) -> Any:
    hook.bind(stage(**changes))
    return hook


def at(step: int, steps: int = 11) -> Any:
    return SimpleNamespace(global_step=step, max_steps=steps)


HOOKS_TO_CHECK = [
    Asymmetric(negative=0.3),
    Asymmetric(positive=0.0, negative=2.0),
    Clip(low=-0.2, high=0.4),
    Clip(high=0.5, reward="format"),
    Difficulty(reward="accuracy"),
    Difficulty(reward="format", hard=0.0),
    Reasoning(),
    Reasoning(thought=1.0, rest=0.0, keep_sum=False),
    Replay(),
    Replay(share=0.9, reward="format", idle="easy", pool="hard"),
    Replay(share=0.5, seed=3),
    Schedule(reward="format"),
    Schedule(reward="accuracy", shape="cosine", start=0.0, stop=2.0, begin=0.2, end=0.8),
    Schedule(reward="accuracy", shape="step", begin=0.5, end=0.5),
    TightenThreshold(0, {"window": 1, "min_samples": 1, "target": 0.1}, "format"),
]


@pytest.mark.parametrize("hook", HOOKS_TO_CHECK, ids=lambda hook: type(hook).__name__)
def test_built_in_hooks_pass_the_public_check(hook: RefinementHook) -> None:
    check_hook(hook)


def test_every_built_in_hook_can_be_named_in_a_recipe() -> None:
    names = {entry.value.split(":")[1]: name for name, entry in HOOKS.entries().items()}
    assert set(refinement.__all__) | {"TightenThreshold"} <= names.keys()
    assert {type(hook).__name__ for hook in HOOKS_TO_CHECK} == set(refinement.__all__) | {"TightenThreshold"}


def test_hooks_are_built_from_recipes() -> None:
    built = build_hook(HookSettings(name="vrft_aug.refinement.schedule:Schedule", options={"reward": "format", "stop": 0.5}))
    assert isinstance(built, Schedule)
    assert (built.reward, built.stop) == ("format", 0.5)
    rising = build_hook(HookSettings(name="tighten_threshold", options={"name": "format", "settings": {"start": 0.1}}))
    assert bound(rising).column == 1
    assert rising.schedule.threshold == 0.1


ready = RefinementHook()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vrft_aug.refinement:Clip", {"hihg": 1.0}, "did you mean 'high'"),
        ("vrft_aug.refinement:Clip", {"high": "much"}, "high"),
        ("vrft_aug.refinement:Clip", {"low": 2.0}, "has the bounds 2.0 and 1.0"),
        ("vrft_aug.refinement:Schedule", {}, "reward: is required"),
        ("tighten_treshold", {}, "did you mean 'tighten_threshold'"),
        ("tighten_threshold", {"rows": 1}, "does not take these options"),
        ("tighten_threshold", {"settings": {"strat": 0.1}}, "did you mean 'start'"),
        ("vrft_aug.rewards:Format", {}, "is a Format, no RefinementHook"),
        ("vrft_aug.refinement:nothing", {}, "cannot be imported"),
    ],
)
def test_wrong_hooks_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_hook(HookSettings(name=name, options=options))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Asymmetric, {"positive": 0.0, "negative": 0.0}, "not both 0"),
        (Asymmetric, {"negative": -1.0}, "at least 0"),
        (Asymmetric, {"negative": math.inf}, "has the factors"),
        (Clip, {"low": NAN}, "has the bounds nan"),
        (Difficulty, {"reward": "accuracy", "hard": -1.0}, "has the weights"),
        (Reasoning, {"thought": 0.0, "rest": 0.0}, "not both 0"),
        (Replay, {"share": 1.0}, "less than 1"),
        (Replay, {"seed": -1}, "has the seed -1"),
        (Replay, {"pool": "hard"}, "exchanges constant samples for hard ones"),
        (Schedule, {"reward": "format", "begin": 0.5, "end": 0.5}, "begins at 0.5 and ends at 0.5"),
        (Schedule, {"reward": "format", "begin": 0.5, "end": 0.4}, "begins at 0.5"),
        (Schedule, {"reward": "format", "stop": math.inf}, "finite factors"),
    ],
)
def test_settings_without_sense_are_refused(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**options)


@pytest.mark.parametrize("hook", [Clip(reward="iou"), Difficulty(reward="iou"), Replay(reward="iou"), Schedule(reward="iou")])
def test_a_reward_that_the_stage_does_not_have(hook: RefinementHook) -> None:
    with pytest.raises(ConfigError, match="names the reward 'iou', the stage has accuracy, format"):
        bound(hook)


def test_a_number_of_a_reward_that_the_stage_does_not_have() -> None:
    with pytest.raises(ConfigError, match="names reward 2 of 2"):
        bound(TightenThreshold(2))


SHAPES = {
    "linear": [1.0, 0.9, 0.5, 0.0],
    "cosine": [1.0, (1 + math.cos(math.pi * 0.1)) / 2, 0.5, 0.0],
    "step": [0.0, 0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_schedule_goes_from_start_to_stop(shape: Any) -> None:
    hook = Schedule(reward="format", shape=shape)
    assert [hook.factor(step, 11) for step in (0, 1, 5, 10)] == pytest.approx(SHAPES[shape])
    late = Schedule(reward="format", shape=shape, begin=0.5, end=0.8, start=3.0, stop=1.0)
    assert [late.factor(step, 11) for step in (0, 4, 8, 10)] == pytest.approx([3.0, 3.0, 1.0, 1.0])
    assert hook.factor(0, 1) == SHAPES[shape][0]


@given(
    shape=st.sampled_from(["linear", "cosine", "step"]),
    ends=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
    way=st.tuples(st.floats(0, 0.5), st.floats(0.51, 1)),
    steps=st.integers(1, 50),
)
def test_a_schedule_is_monotone_and_within_its_ends(shape: Any, ends: Any, way: Any, steps: int) -> None:
    hook = Schedule(reward="format", shape=shape, start=ends[0], stop=ends[1], begin=way[0], end=way[1])
    found = [hook.factor(step, steps) for step in range(steps)]
    assert all(min(ends) - 1e-9 <= f <= max(ends) + 1e-9 for f in found)
    rising = ends[1] >= ends[0]
    assert all((b >= a - 1e-9) if rising else (b <= a + 1e-9) for a, b in itertools.pairwise(found))


def test_a_schedule_changes_one_weight_only() -> None:
    hook = bound(Schedule(reward="format"))
    weights = torch.tensor([1.0, 0.5])
    assert hook.schedule_weights(weights, at(5)).tolist() == [1.0, 0.25]
    assert hook.metrics() == {"weight/format": 0.25}
    assert weights.tolist() == [1.0, 0.5]


def test_clipping_counts_what_it_changed() -> None:
    values = torch.tensor([[2.0, -3.0], [0.5, NAN], [NAN, 0.0], [1.0, 1.5]])
    hook = bound(Clip(low=0.0, high=1.0))
    assert hook.transform_rewards(values, None).nan_to_num(nan=9).tolist() == [[1, 0], [0.5, 9], [9, 0], [1, 1]]
    assert hook.metrics() == {"clipped/all": pytest.approx(3 / 6)}
    one = bound(Clip(low=0.0, high=1.0, reward="format"))
    assert one.transform_rewards(values, None)[:, 0].nan_to_num(nan=9).tolist() == [2, 0.5, 9, 1]
    assert one.metrics() == {"clipped/format": pytest.approx(2 / 3)}


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), st.floats(0.1, 3), st.floats(0.1, 3))
def test_asymmetric_advantages_keep_signs_and_scale_each_side(values: list[float], positive: float, negative: float) -> None:
    given_values = torch.tensor(values, dtype=torch.float64)
    found = Asymmetric(positive=positive, negative=negative).transform_advantages(given_values, None)
    expected = [v * (positive if v > 0 else negative) for v in values]
    assert found.tolist() == pytest.approx(expected)


THOUGHT = [0, 1, 2, 3, 4, 5, 6]
BROKEN_TAGS = [7, 8, 9, 1, 10, 11, 4, 5, 6]  # <th|ink|>x ... </thi|nk>\n


@pytest.mark.parametrize(
    ("ids", "span"),
    [
        (THOUGHT, (0, 4)),
        (BROKEN_TAGS, (0, 6)),
        ([5, *THOUGHT], (1, 5)),
        ([4, 5, 6], None),
        ([0, 1, 2], None),
        ([3, 0, 1], None),
        ([], None),
        ([0, 1, 3, 0, 1, 3], (0, 3)),
    ],
)
def test_where_a_thought_stands(ids: list[int], span: tuple[int, int] | None) -> None:
    assert bound(Reasoning()).span(ids) == span


def test_tokens_of_the_thought_weigh_more_and_the_sum_is_kept() -> None:
    hook = bound(Reasoning(thought=1.0, rest=0.25))
    hook.on_round(RoundFacts(first=0, token_ids=[THOUGHT, [4, 5, 6], BROKEN_TAGS]))
    found = hook.transform_advantages(torch.tensor([2.0, -1.0, 1.0]), None)
    assert found.shape == (3, 9)
    mean = (4 + 3 * 0.25) / 7
    assert found[0, :7].tolist() == pytest.approx([2 / mean] * 4 + [0.5 / mean] * 3)
    assert found[0, 7:].tolist() == [0, 0]
    assert found[1].tolist() == [-1, -1, -1, 0, 0, 0, 0, 0, 0]
    assert found.sum(dim=1).tolist() == pytest.approx([2 * 7, -3, 9])
    assert hook.metrics() == {"tokens/thought": pytest.approx(10 / 19)}
    only = bound(Reasoning(rest=0.0, keep_sum=False))
    only.on_round(RoundFacts(first=0, token_ids=[THOUGHT]))
    assert only.transform_advantages(torch.tensor([2.0]), None).tolist() == [[2, 2, 2, 2, 0, 0, 0]]


def test_difficulty_goes_by_the_mean_of_the_group() -> None:
    hook = bound(Difficulty(reward="accuracy", hard=2.0, easy=0.0))
    rewards = torch.tensor([[0.0, 5], [0, 5], [1, 5], [0, 5], [1, 5], [1, 5], [NAN, 5], [NAN, 5], [0.5, 5], [NAN, 5]])
    hook.on_round(RoundFacts(first=4, token_ids=[[1]] * 6))
    assert hook.transform_rewards(rewards, None) is rewards
    found = hook.transform_advantages(torch.ones(6), None)
    assert found.tolist() == [0, 0, 1, 1, 1, 1]
    assert hook.metrics() == {"difficulty/weight": pytest.approx((2 + 1 + 0 + 1 + 1) / 5)}


def see(hook: Any, samples: str, groups: list[tuple[float, float]]) -> None:
    """One round in which each sample's group earned these two values."""
    hook.on_round(RoundFacts(first=0, token_ids=[[1]] * 2 * len(groups), samples=tuple(samples)))
    values = torch.tensor(groups, dtype=torch.float32).reshape(-1, 1)
    hook.transform_rewards(torch.cat([values, torch.zeros_like(values)], dim=1), None)


def test_groups_without_spread_are_counted() -> None:
    hook = bound(Replay(reward="accuracy"))
    see(hook, "abcd", [(1, 1), (0, 0), (0, 1), (NAN, NAN)])
    found = hook.metrics()
    assert found["groups/constant"] == pytest.approx(2 / 3)
    assert found["groups/constant_easy"] == found["groups/constant_hard"] == pytest.approx(1 / 3)
    assert list(hook.select_samples("abcd", None)) == list("abcd")
    assert hook.metrics()["groups/replayed"] == 0
    assert hook.state_dict() == {"rounds": 1, "last": {"a": [1.0, False], "b": [0.0, False], "c": [0.5, True]}}


@pytest.mark.parametrize(
    ("options", "gives_way", "pool"),
    [
        ({}, "ab", "cd"),
        ({"idle": "easy"}, "a", "cd"),
        ({"idle": "hard"}, "b", "cd"),
        ({"idle": "easy", "pool": "hard"}, "a", "bd"),
    ],
)
def test_which_samples_give_way_to_which(options: Any, gives_way: str, pool: str) -> None:
    hook = bound(Replay(reward="accuracy", share=0.9, **options))
    see(hook, "abcd", [(1, 1), (0, 0), (0.6, 1), (0, 0.4)])  # e has not been seen
    drawn = {name: set() for name in "abce"}
    for _ in range(60):
        for old, new in zip("abce", hook.select_samples("abce", None), strict=True):
            drawn[old].add(new)
    assert {name for name, seen in drawn.items() if seen != {name}} == set(gives_way)
    for name in gives_way:
        assert name in drawn[name], "it is looked at again now and then"
        assert set(pool) <= drawn[name]


def test_replay_waits_for_a_pool_and_needs_names() -> None:
    hook = bound(Replay(share=0.9))
    see(hook, "ab", [(1, 1), (0, 0)])
    assert [list(hook.select_samples("abab", None)) for _ in range(20)] == [list("abab")] * 20
    with pytest.raises(ConfigError, match="without a sample_id of their own"):
        bound(Replay(share=0.5), samples=("a", "a"))
    with pytest.raises(ConfigError, match="without a sample_id of their own"):
        bound(Replay(share=0.5), samples=())
    bound(Replay(), samples=())


@pytest.mark.parametrize("state", [{}, {"rounds": 1}, {"rounds": "x", "last": {}}, {"rounds": 1, "last": {"a": 3}}])
def test_a_state_that_is_none_is_refused(state: Any) -> None:
    with pytest.raises(InputError, match="state of a replay: cannot be read"):
        Replay().load_state_dict(state)


def test_the_sum_of_all_rewards_may_be_looked_at() -> None:
    hook = bound(Replay())
    hook.on_round(RoundFacts(first=0, token_ids=[[1]] * 4, samples=("a", "b")))
    hook.transform_rewards(torch.tensor([[1.0, 0.0], [0.5, 1.0], [NAN, NAN], [1.0, 1.0]]), None)
    assert hook.state_dict()["last"] == {"a": [1.0, False], "b": [1.5, False]}
