"""Figures of a preflight against counting by hand, and the verdict as a function of them."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from medcore.errors import ConfigError, InputError
from vrft_aug.preflight.judging import Thresholds, judge_figures
from vrft_aug.preflight.report import as_facts, lines
from vrft_aug.preflight.statistics import Figures, RewardFigures, figures, pass_at_k, separation

NAN = float("nan")


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n: int, data: st.DataObject) -> None:
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(itertools.combinations([i < right for i in range(n)], k))
    assert pass_at_k(n, right, k) == pytest.approx(np.mean([any(s) for s in subsets]))


@pytest.mark.parametrize(("n", "right", "k"), [(8, 9, 1), (8, -1, 1), (8, 0, 9), (8, 0, 0)])
def test_pass_at_k_of_what_cannot_be(n: int, right: int, k: int) -> None:
    with pytest.raises(InputError, match="pass_at_k"):
        pass_at_k(n, right, k)


earned = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(st.lists(st.tuples(earned, st.booleans()), min_size=2, max_size=12))
def test_separation_of_one_group_is_the_area_under_the_curve(pairs: list[tuple[float, bool]]) -> None:
    totals, right = np.array([[p[0] for p in pairs]]), np.array([[p[1] for p in pairs]])
    found = separation(totals, right, ~right)
    if right.all() or not right.any():
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(right[0], totals[0]))


def test_separation_looks_within_groups_first() -> None:
    # In each group the wrong answer earns more; over all of them it would be a draw.
    totals, right = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[True, False], [True, False]])
    assert separation(totals, right, ~right) == 0.0
    apart = np.array([[True, True], [False, False]])
    assert separation(totals, apart, ~apart) == 0.0
    assert separation(totals[::-1], apart, ~apart) == 1.0
    assert separation(np.array([[NAN, 1.0], [NAN, 0.0]]), apart, ~apart) == 1.0


def test_unreadable_answers_do_not_count_as_wrong_ones() -> None:
    # Only the format is paid: the unreadable answer is set apart, the wrong one is not.
    totals, right = np.array([[1.0, 1.0, 0.0]]), np.array([[True, False, False]])
    assert separation(totals, right, np.array([[False, True, False]])) == 0.5
    assert separation(totals, right, np.array([[False, False, False]])) is None


def test_figures_by_hand() -> None:
    right = np.array([[True, False], [False, False], [True, True]])
    paid = np.stack([right.astype(float), np.array([[0.5, 0.5], [NAN, 0.5], [0.5, 0.5]])], axis=2)
    found = figures(
        greedy=np.array([True, False, False]),
        right=right,
        readable=np.array([[True, True], [False, True], [True, True]]),
        elsewhere=np.array([0.25, 0.25, 0.25]),
        formatted=np.array([[True, True], [True, False], [True, True]]),
        truncated=np.array([[False, False], [False, True], [False, False]]),
        paid=paid,
        names=(("accuracy", "accuracy"), ("mine", "module:reward")),
        weights=np.array([1.0, 2.0]),
        stage="s",
        task="grading",
        temperature=0.7,
    )
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.pass_at == {1: 0.5, 2: pytest.approx(2 / 3)}
    assert (found.right, found.wrong, found.unreadable) == (3, 2, 1)
    assert found.gain == pytest.approx(0.25)
    assert found.gain_error == pytest.approx(np.std([0.25, -0.25, 0.75], ddof=1) / 3**0.5)
    assert (found.format_rate, found.truncated) == (pytest.approx(5 / 6), pytest.approx(1 / 6))
    # Totals: 2, 1; 0 (the second reward did not judge), 1; 2, 2.
    assert found.mean == pytest.approx(8 / 6)
    assert found.spread == pytest.approx((0.5**0.5 + 0.5**0.5 + 0) / 3)
    assert found.flat == pytest.approx(1 / 3)
    assert found.separation == 1.0
    mine = found.rewards[1]
    assert (mine.mean, mine.not_judged, mine.constant) == (0.5, pytest.approx(1 / 6), True)
    assert (found.rewards[0].mean_right, found.rewards[0].mean_wrong) == (1.0, 0.0)


def reward(**changes: Any) -> RewardFigures:
    usual = RewardFigures(
        name="accuracy", reward="accuracy", weight=1.0, mean=0.4, mean_right=1.0, mean_wrong=0.0, not_judged=0.0, constant=False
    )
    return dataclasses.replace(usual, **changes)


FORMAT = reward(name="format", reward="format", mean=0.9, mean_right=1.0, mean_wrong=0.8)
GOOD = Figures(
    stage="s",
    task="grading",
    images=64,
    samples=8,
    temperature=1.0,
    accuracy=0.5,
    pass_at={1: 0.4, 8: 0.9},
    elsewhere=0.25,
    gain=0.15,
    gain_error=0.02,
    right=200,
    wrong=250,
    unreadable=62,
    format_rate=0.9,
    truncated=0.0,
    mean=1.3,
    spread=0.6,
    flat=0.1,
    separation=0.97,
    not_judged=0.0,
    rewards=(reward(), FORMAT),
)


@pytest.mark.parametrize(
    ("changes", "advice", "reason"),
    [
        ({}, "RL", "Pass@8 is 90.0% and Acc@1 50.0%, and right answers earn more"),
        ({"pass_at": {1: 0.01, 8: 0.05}, "accuracy": 0.0}, "SFT first", "right answers are too rare"),
        ({"pass_at": {1: 0.0, 8: 0.0}, "accuracy": 0.0, "right": 0, "separation": None}, "SFT first", "too rare"),
        ({"gain": 0.01}, "SFT first", "no better than other images .25.0%.: the policy guesses"),
        ({"gain": -0.2}, "SFT first", "the policy guesses"),
        ({"flat": 0.97, "accuracy": 0.6, "pass_at": {1: 0.6, 8: 0.61}}, "SFT first", "have no spread"),
        ({"flat": 0.97, "accuracy": 0.99, "pass_at": {1: 0.99, 8: 1.0}, "wrong": 3}, "RL", "little is left to learn"),
        ({"separation": 0.5}, "fix the reward", "50% of the pairs only, where 50 % is chance"),
        ({"separation": 0.1}, "fix the reward", "wrong answers earn more than right ones in 90%"),
        # Too few right answers to tell whether the reward is at fault.
        ({"separation": 0.5, "right": 4}, "RL", "right answers earn more"),
        # No reward at all: which is at fault does not depend on the policy.
        ({"rewards": (reward(not_judged=1.0, mean=None), FORMAT)}, "fix the reward", "accuracy judged none of the completions"),
        ({"rewards": (reward(not_judged=1.0, mean=None, weight=0.0), FORMAT)}, "RL", ""),
        (
            {"rewards": (reward(), dataclasses.replace(FORMAT, mean=0.0, constant=True))},
            "fix the reward",
            "format is 0 on all completions though 200 answers are right",
        ),
        ({"rewards": (reward(), dataclasses.replace(FORMAT, mean=0.0, constant=True, weight=-1.0))}, "RL", ""),
    ],
)
def test_verdicts(changes: dict[str, Any], advice: str, reason: str) -> None:
    import re

    verdict = judge_figures(dataclasses.replace(GOOD, **changes))
    assert verdict.advice == advice
    assert re.search(reason, verdict.reason), verdict.reason


def test_no_support_comes_before_the_reward() -> None:
    """A reward cannot be judged by answers that are all wrong."""
    nothing = dataclasses.replace(
        GOOD, pass_at={1: 0.0, 8: 0.0}, right=0, separation=None, rewards=(reward(mean=0.0, constant=True),)
    )
    assert judge_figures(nothing).advice == "SFT first"


def test_notes() -> None:
    odd = dataclasses.replace(
        GOOD, truncated=0.5, flat=0.6, rewards=(reward(not_judged=0.1), dataclasses.replace(FORMAT, constant=True))
    )
    notes = " ".join(judge_figures(odd).notes)
    for words in (
        "50.0% of the completions reach",
        "60.0% of the groups",
        "format paid the same",
        "not judged by accuracy (10.0%)",
    ):
        assert words in notes
    assert judge_figures(GOOD).notes == ()


def test_thresholds_move_the_verdict() -> None:
    assert judge_figures(GOOD, Thresholds(least_pass=0.95)).advice == "SFT first"
    assert judge_figures(GOOD, Thresholds(deviations=10.0)).advice == "SFT first"
    assert judge_figures(GOOD, Thresholds(separation=0.99)).advice == "fix the reward"
    for wrong in ({"least_pass": 1.5}, {"deviations": -1.0}, {"least_answers": 0}):
        with pytest.raises(ConfigError, match="thresholds"):
            Thresholds(**wrong)


def test_what_is_shown() -> None:
    import json

    text = "\n".join(lines(GOOD, judge_figures(GOOD)))
    for words in ("s: RL", "Acc@1 50.0%; Pass@1 40.0%, Pass@8 90.0%", "+1 format: mean 0.9, right 1, wrong 0.8"):
        assert words in text
    facts = json.loads(json.dumps(as_facts([GOOD], Thresholds()), allow_nan=False))
    assert facts["stages"][0]["verdict"]["advice"] == "RL"
    assert facts["stages"][0]["pass_at"] == {"1": 0.4, "8": 0.9}
    assert facts["thresholds"]["least_pass"] == 0.1
