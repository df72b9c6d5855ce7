from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.rewards import Calibration, RewardSettings, build_reward
from vrft_aug.testing import check_reward

CHANCE = st.floats(0, 1)
REWARDS = [Calibration(), Calibration(score="log"), Calibration(right=0.8), Calibration(score="log", right=0.6, floor=0.001)]


def judge(texts: list[str], reward: Calibration | None = None, **row: Any) -> list[float | None]:
    columns = {"label": "pneumonia", "classes": ["normal", "pneumonia"]} | row
    columns = {name: [value] * len(texts) for name, value in columns.items()}
    return (reward or Calibration())(prompts=[""] * len(texts), completions=texts, **columns)


def said(answer: str, confidence: object) -> str:
    return f"<think>white patches</think><answer>{answer}</answer><confidence>{confidence}</confidence>"


@pytest.mark.parametrize("reward", [*REWARDS, Calibration(abstain_below=0.4, negative="normal")])
def test_invariants(reward: Calibration) -> None:
    texts = [said("normal", 0.7), said("pneumonia", 1), said("2", "30 %"), "<answer>unsure</answer>"]
    rows = {"label": ["normal"] * 4, "classes": [["normal", "pneumonia"]] * 4}
    check_reward(reward, completions=texts, columns=rows)


@pytest.mark.parametrize("reward", REWARDS)
@given(chance=CHANCE, stated=CHANCE)
def test_the_honest_confidence_is_best(reward: Calibration, chance: float, stated: float) -> None:
    honest = min(max(chance, reward.floor), 1 - reward.floor) if reward.score == "log" else chance
    assert reward.expected(honest, chance) >= reward.expected(stated, chance) - 1e-12


@pytest.mark.parametrize("reward", REWARDS)
def test_the_best_confidence_of_a_grid_is_the_nearest_to_the_truth(reward: Calibration) -> None:
    grid = np.linspace(0, 1, 101)
    for chance in (0.05, 0.3, 0.5, 0.77, 0.95):
        best = grid[np.argmax([reward.expected(float(c), chance) for c in grid])]
        assert best == pytest.approx(chance)


@pytest.mark.parametrize("reward", REWARDS)
@given(first=CHANCE, second=CHANCE)
def test_right_answers_earn_at_least_as_much_as_wrong_ones(reward: Calibration, first: float, second: float) -> None:
    right, wrong = reward.value(first, right=True), reward.value(second, right=False)
    assert 0 <= wrong <= right + 1e-12
    assert right <= 1 + 1e-12


@pytest.mark.parametrize("reward", [Calibration(), Calibration(right=0.8)])
def test_being_right_more_often_pays(reward: Calibration) -> None:
    honest = [reward.expected(p, p) for p in np.linspace(0, 1, 21)]
    if reward.right == 0.5:
        assert honest == pytest.approx([(1 + p**2) / 2 for p in np.linspace(0, 1, 21)])
    assert all(a < b for a, b in pairwise(honest))


@given(threshold=st.floats(0, 1), chance=CHANCE)
def test_abstaining_pays_only_below_its_threshold(threshold: float, chance: float) -> None:
    reward = Calibration(abstain_below=threshold)
    if abs(chance - threshold) > 1e-6:
        assert (reward.abstention > reward.expected(chance, chance)) == (chance < threshold)


def test_values() -> None:
    texts = [said("pneumonia", 1), said("pneumonia", 0.8), said("normal", 0.8), said("normal", 0), said("normal", 1)]
    assert judge(texts) == pytest.approx([1.0, 0.98, 0.18, 0.5, 0.0])
    halves = judge([said("pneumonia", 0.5), said("normal", 0.5)], Calibration(score="log"))
    assert halves == pytest.approx([0.5 + 0.5 * (1 - np.log(0.5) / np.log(0.01)), 0.5 * (1 - np.log(0.5) / np.log(0.01))])


def test_words_and_places_of_the_confidence() -> None:
    texts = [
        "<answer>pneumonia</answer> Confidence: 80 %",
        "<answer>pneumonia, confidence: 0.8</answer>",
        "<think>confidence: 0.1</think><answer>pneumonia</answer><confidence>4/5</confidence>",
    ]
    assert judge(texts) == [pytest.approx(0.98)] * 3
    grade = {"label": None, "task": "grading", "grade": 2, "num_grades": 5, "classes": None}
    assert judge(["<answer>2 (confidence: 80 %)</answer>"], **grade) == [pytest.approx(0.98)]


def test_what_earns_nothing() -> None:
    texts = [
        "<answer>pneumonia</answer>",
        said("pneumonia", "high"),
        said("pneumonia", 80),
        said("pneumonia", -1),
        said("", 0),
        "<confidence>0</confidence>",
        "<think>pneumonia</think><confidence>0</confidence>",
        "<answer>pneumonia</answer> confidence: 0.9, confidence: 0.1",
        "",
    ]
    assert judge(texts) == [0.0] * len(texts)


def test_nonsense_with_confidence_nought_earns_no_more_than_a_wrong_answer() -> None:
    assert judge([said("gibberish", 0), said("normal or pneumonia", 0)]) == [0.0, 0.0]


def test_abstentions() -> None:
    texts = ["<answer>unsure</answer>", said("I don't know", 0.9), "<think>unsure</think>"]
    assert judge(texts) == [0.5, 0.5, 0.0]
    assert judge(texts, Calibration(abstain_below=0.6))[0] == pytest.approx((1 + 0.36) / 2)
    assert judge([said("unsure", 1)], label="unsure", classes=["sure", "unsure"]) == [1.0]


def test_other_tasks() -> None:
    several = {"label": None, "labels": ["mass"], "classes": ["mass", "nodule"]}
    assert judge([said("mass", 1), said("mass, nodule", 1)], **several) == [1.0, 0.0]
    number = {"label": None, "classes": None, "value": 55.0}
    assert judge([said("56", 1)], Calibration(tolerance=2.0), **number) == [1.0]
    assert judge([said("56", 1)], Calibration(), **number) == [0.0]
    assert judge([said("pneumonia", 1)], classes=None) == [None]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"right": 0.4}, "right: is 0.4"),
        ({"right": 1.0}, "right: is 1.0"),
        ({"abstain_below": 1.5}, "abstain_below: is 1.5"),
        ({"floor": 0.5}, "floor: is 0.5"),
        ({"tolerance": -1.0}, "tolerance: is -1.0"),
    ],
)
def test_wrong_options(options: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Calibration(**options)


def test_from_a_recipe() -> None:
    name = "vrft_aug.rewards.calibration:Calibration"
    reward = build_reward(RewardSettings(name=name, options={"score": "log", "abstain_below": 0.2}))
    assert reward.reward == Calibration(score="log", abstain_below=0.2)
