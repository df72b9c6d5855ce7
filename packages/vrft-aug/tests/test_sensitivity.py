"""Advantages and what a weight decides, on tables small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.advantages import advantages
from vrft_aug.completions import TableFacts
from vrft_aug.rescoring import parse_weights
from vrft_aug.sensitivity import FACTORS, MEASURES, sensitivity

NAN = float("nan")


def facts(generations: int, scale: str = "group", rewards: int = 2) -> TableFacts:
    return TableFacts(
        rewards=tuple("abc"[:rewards]),
        weights=(1.0,) * rewards,
        generations=generations,
        scale_rewards=scale,
        aggregation="sum_then_normalize",
    )


def test_advantages_by_hand() -> None:
    values = np.array([[1.0], [0.0], [0.0], [3.0]])
    assert advantages(values, np.ones(1), generations=2, scale="none").tolist() == [0.5, -0.5, -1.5, 1.5]
    group = advantages(values, np.ones(1), generations=2, scale="group")
    assert group == pytest.approx(
        [0.5 / (0.5**0.5 + 1e-4), -0.5 / (0.5**0.5 + 1e-4), -1.5 / (4.5**0.5 + 1e-4), 1.5 / (4.5**0.5 + 1e-4)]
    )
    batch = advantages(values, np.ones(1), generations=2, scale="batch")
    assert batch == pytest.approx(np.array([0.5, -0.5, -1.5, 1.5]) / (np.std([1, 0, 0, 3], ddof=1) + 1e-4))


def test_what_was_not_judged_is_left_out() -> None:
    values = np.array([[1.0, 1.0], [NAN, 2.0], [NAN, NAN]])
    found = advantages(values, np.array([1.0, 1.0]), generations=3, scale="none")
    assert found[:2].tolist() == [0.0, 0.0]  # 1 + 1 and 2
    assert np.isnan(found[2])


@pytest.mark.parametrize(("scale", "aggregation"), [("groups", "sum_then_normalize"), ("group", "sum")])
def test_unknown_settings(scale: str, aggregation: str) -> None:
    with pytest.raises(ConfigError, match="use "):
        advantages(np.ones((2, 1)), np.ones(1), generations=2, scale=scale, aggregation=aggregation)


def test_a_weight_that_decides_the_best_completion() -> None:
    # a: right answers; b: a bonus of 1 for the wrong one. At 1 both earn 1; the right one wins with less of b, the wrong one with more.
    rounds = [np.array([[1.0, 0.0], [0.0, 1.0]])]
    found = sensitivity(rounds, ("a", "b"), np.array([1.0, 1.0]), facts(2))
    place = FACTORS.index(1.0)
    for name in "ab":
        assert found[name]["best"] == [0.0 if i == place else 1.0 for i in range(len(FACTORS))]
        assert found[name]["order"] == found[name]["best"]
        assert found[name]["flat"] == [1.0 if i == place else 0.0 for i in range(len(FACTORS))]


def test_signs_follow_the_mean_of_the_group() -> None:
    # Totals 2, 1, 0 with the mean 1: the middle one leaves the mean as soon as b counts more or less.
    rounds = [np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])]
    found = sensitivity(rounds, ("a", "b"), np.array([1.0, 1.0]), facts(3))
    assert found["b"]["sign"][FACTORS.index(1.0)] == 0.0
    assert found["b"]["sign"][FACTORS.index(2.0)] == pytest.approx(1 / 3)
    assert found["b"]["best"][FACTORS.index(2.0)] == 0.0
    assert found["b"]["best"][0] == 0.0  # the first still leads
    assert found["a"]["best"][0] == 1.0  # without a, two lead
    assert found["a"]["order"][0] == pytest.approx(1 / 3)


def test_a_reward_of_weight_0_is_looked_at_as_if_it_were_1() -> None:
    rounds = [np.array([[1.0, 0.0], [0.0, 1.0]])]
    found = sensitivity(rounds, ("a", "b"), np.array([1.0, 0.0]), facts(2))
    assert found["b"]["weight"] == 0.0
    assert found["b"]["best"][0] == 0.0
    assert found["b"]["best"][FACTORS.index(4.0)] == 1.0


values = st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0, NAN])


@given(st.lists(st.lists(values, min_size=2, max_size=2), min_size=4, max_size=4), st.sampled_from(["group", "batch", "none"]))
def test_properties(rows: list[list[float]], scale: str) -> None:
    rounds = [np.array(rows), np.array(rows[::-1])]
    found = sensitivity(rounds, ("a", "b"), np.array([0.7, -0.3]), facts(2, scale))
    for curves in found.values():
        for key in MEASURES:
            assert len(curves[key]) == len(FACTORS)
            assert all(0 <= share <= 1 for share in curves[key])
        for key in ("best", "order", "sign"):
            assert curves[key][FACTORS.index(1.0)] == 0.0


@given(st.lists(values, min_size=4, max_size=4))
def test_a_constant_reward_decides_nothing(first: list[float]) -> None:
    known = [0.0 if np.isnan(v) else v for v in first]
    rounds = [np.column_stack([known, np.full(4, 0.3)])]
    found = sensitivity(rounds, ("a", "b"), np.array([1.0, 1.0]), facts(4))
    assert all(set(found["b"][key]) == {0.0} for key in ("best", "order", "sign"))


@pytest.mark.parametrize(
    "text", ["accuracy", "=1", "accuracy=x", "accuracy=nan", "accuracy=inf", "accuracy=1,,format=1", "accuracy=1 format=2"]
)
def test_weights_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--weights: has .*write name=number"):
        parse_weights(text)


def test_weights() -> None:
    assert parse_weights(None) == {}
    assert parse_weights("module:reward=-1e-1,b=2") == {"module:reward": -0.1, "b": 2.0}
