from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.rewards import Length
from vrft_aug.rewards.length import new_words
from vrft_aug.testing import check_reward


def words(count: int) -> str:
    return " ".join(f"w{i}" for i in range(count))


def judge(thoughts: list[str], reward: Length, **columns: Any) -> list[float | None]:
    texts = [f"<think>{thought}</think><answer>normal</answer>" for thought in thoughts]
    return reward(prompts=[""] * len(texts), completions=texts, **columns)


@pytest.mark.parametrize("reward", [Length(), Length(unit="characters"), Length(unit="tokens", low=2, high=4), Length(edge=0.0)])
def test_invariants(reward: Length) -> None:
    check_reward(reward, completions=[f"<think>{words(n)}</think>" for n in (1, 15, 25, 250)])


@pytest.mark.parametrize(
    ("count", "credit"), [(0, 0.0), (4, 0.0), (5, 0.0), (6, 0.2), (9, 0.8), (10, 1.0), (40, 1.0), (50, 0.5), (60, 0.0), (500, 0.0)]
)
def test_the_band_and_its_edges(count: int, credit: float) -> None:
    assert judge([words(count)], Length(low=10, high=40)) == [pytest.approx(credit)]


def test_hard_edges() -> None:
    assert judge([words(n) for n in (9, 10, 40, 41)], Length(low=10, high=40, edge=0.0)) == [0.0, 1.0, 1.0, 0.0]


def test_repetition_does_not_reach_the_band() -> None:
    sentence = "the left lower lung is white"
    once, often, varied = judge([sentence, " ".join([sentence] * 5), words(30)], Length(low=12, high=40))
    assert once == 0.0
    assert 0 < often < 0.5  # a few runs of three words are new where one sentence meets the next
    assert varied == 1.0
    assert judge(["white " * 30, "no no NO " * 10], Length(low=12, high=40)) == [0.0, 0.0]


@given(st.lists(st.sampled_from(["a", "b", "lung"]), max_size=30), st.integers(2, 5))
def test_saying_all_of_it_again_adds_at_most_the_seam(said: list[str], times: int) -> None:
    assert new_words(said * times) <= new_words(said) + 2
    assert new_words(said) <= len(said)
    assert new_words(list(map(str, range(len(said))))) == len(said)


def test_repetition_does_not_hide_length() -> None:
    assert judge([words(20) + " and so on" * 100], Length(low=10, high=40)) == [0.0]


@given(st.integers(1, 50), st.integers(0, 50), st.floats(0, 1))
def test_credit_rises_to_the_band_and_falls_behind_it(low: int, wider: int, edge: float) -> None:
    reward = Length(low=low, high=low + wider, edge=edge)
    values = [reward.credit(float(n), new=float(n)) for n in range(3 * (low + wider))]
    assert all(0 <= value <= 1 for value in values)
    assert all(values[n] == 1 for n in range(low, min(low + wider + 1, len(values))))
    assert all(a <= b for a, b in pairwise(values[: low + 1]))
    assert all(a >= b for a, b in pairwise(values[low + wider :]))


def test_only_the_thought_counts() -> None:
    texts = [f"<answer>{words(30)}</answer>", words(30), f"<think>{words(30)}", "<think></think>", f"<think>{words(30)}</think>"]
    assert Length(low=10, high=40)(prompts=[""] * 5, completions=texts) == [0.0, 0.0, 0.0, 0.0, 1.0]
    other = f"<reasoning>{words(30)}</reasoning>"
    assert Length(low=10, high=40, form="reasoning")(prompts=[""], completions=[other]) == [1.0]


def test_characters_are_counted_without_padding() -> None:
    reward = Length(unit="characters", low=20, high=40, edge=0.0)
    assert judge(["a1 b2 c3 d4 e5 f6 g7", "a1" + " " * 30 + "b2"], reward) == [1.0, 0.0]


def test_tokens_are_those_of_the_completion() -> None:
    reward = Length(unit="tokens", low=3, high=5, edge=0.0)
    ids = [[1, 2], [1, 2, 3], [1] * 6]
    assert judge(["white patch left"] * 3, reward, completion_ids=ids) == [0.0, 1.0, 0.0]
    assert judge(["white patch left"], reward) == [None]
    assert judge([""], reward, completion_ids=[[1, 2, 3]]) == [0.0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"low": 0}, "are 0 and 200"),
        ({"low": 300}, "are 300 and 200"),
        ({"edge": 1.5}, "edge: is 1.5"),
        ({"edge": -0.1}, "edge: is -0.1"),
    ],
)
def test_wrong_options(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Length(**options)
