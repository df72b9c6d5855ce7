from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.rewards import MultiGradeFuzzy
from vrft_aug.rewards.multi_grade_fuzzy import MAX_REACH
from vrft_aug.testing import check_reward

SHARE = st.floats(0, 1)
# Settings, not rewards: the type checker of the tests draws random numbers when a reward is made, which a strategy must not.
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "kernel": st.sampled_from(["geometric", "gaussian", "linear", "quadratic"]),
        "base": st.floats(0, 1, exclude_max=True),
        "sigma": st.floats(0.01, 100),
        "reach": st.integers(1, 20) | st.integers(1, MAX_REACH),
        "under": SHARE,
        "over": SHARE,
        "cutoff": st.integers(0, 20),
    },
) | st.fixed_dictionaries(
    {
        "kernel": st.just("table"),
        "table": st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=6).map(lambda v: tuple(sorted(v, reverse=True))),
    },
    optional={"under": SHARE, "over": SHARE, "cutoff": st.integers(0, 20)},
)


def judge(reward: MultiGradeFuzzy, answers: list[Any], **row: Any) -> list[float | None]:
    texts = [f"<answer>{answer}</answer>" for answer in answers]
    return reward(prompts=[""] * len(texts), completions=texts, **{name: [value] * len(texts) for name, value in row.items()})


@pytest.mark.parametrize("kernel", ["geometric", "gaussian", "linear", "quadratic"])
def test_invariants(kernel: Any) -> None:
    check_reward(MultiGradeFuzzy(kernel=kernel, under=0.5, cutoff=3))


@given(SETTINGS, st.integers(2, 12), st.data())
def test_credit_is_a_share_and_full_only_for_the_right_grade(settings: dict[str, Any], total: int, data: st.DataObject) -> None:
    reward = MultiGradeFuzzy(**settings)
    truth = data.draw(st.integers(0, total - 1))
    for stated in range(total):
        credit = reward.credit(stated, truth, total)
        assert 0 <= credit <= 1
        assert (credit == 1) == (stated == truth)


@given(SETTINGS, st.integers(2, 12), st.data())
def test_credit_never_rises_with_distance(settings: dict[str, Any], total: int, data: st.DataObject) -> None:
    reward = MultiGradeFuzzy(**settings)
    truth = data.draw(st.integers(0, total - 1))
    values = [reward.credit(stated, truth, total) for stated in range(total)]
    assert all(near >= far for near, far in pairwise(values[truth:]))
    assert all(near >= far for near, far in pairwise(values[truth::-1]))


@given(SETTINGS, st.integers(2, 12), st.integers(1, 11))
def test_credit_depends_on_the_side_and_the_distance_only(settings: dict[str, Any], total: int, distance: int) -> None:
    """Which grade is true does not matter, nor do the factors of the other side."""
    reward = MultiGradeFuzzy(**settings)
    plain = MultiGradeFuzzy(**settings | {"under": 1.0, "over": 1.0})
    for truth in range(total - distance):
        over, under = reward.credit(truth + distance, truth, total), reward.credit(truth, truth + distance, total)
        assert over == plain.credit(distance, 0, total) * reward.over
        assert under == plain.credit(0, distance, total) * reward.under


# Consonants only: no denial, option letter, number or tag, and never a part of another name.
NAMES = st.lists(st.text("bcdfghjklmnpqrstvwxz", min_size=3, max_size=8), min_size=2, max_size=7, unique=True)


@given(NAMES, SETTINGS, st.data())
def test_any_names_of_the_grades_give_what_their_numbers_give(
    names: list[str], settings: dict[str, Any], data: st.DataObject
) -> None:
    reward = MultiGradeFuzzy(**settings)
    truth = data.draw(st.integers(0, len(names) - 1))
    by_number = judge(reward, list(range(len(names))), grade=truth, num_grades=len(names))
    assert judge(reward, names, grade=truth, num_grades=len(names), classes=names) == by_number
    assert judge(reward, names, grade=truth, classes=names) == by_number
    assert by_number == [reward.credit(stated, truth, len(names)) for stated in range(len(names))]


@given(st.integers(0, 4), st.permutations(["none", "mild", "moderate", "severe", "worst"]), SETTINGS)
def test_names_of_the_grades_do_not_matter(truth: int, names: list[str], settings: dict[str, Any]) -> None:
    reward = MultiGradeFuzzy(**settings)
    by_number = judge(reward, list(range(5)), grade=truth, num_grades=5)
    assert judge(reward, names, grade=truth, num_grades=5, classes=names) == by_number


def test_kernels_follow_their_formulas() -> None:
    def values(**settings: Any) -> list[float]:
        reward = MultiGradeFuzzy(**settings)
        return [reward.credit(d, 0, 5) for d in range(1, 5)]

    assert values() == [0.25, 0.0625, 0.015625, 0.00390625]
    assert values(kernel="geometric", base=0.0) == [0, 0, 0, 0]
    assert values(kernel="linear") == [0.75, 0.5, 0.25, 0]
    assert values(kernel="linear", reach=2) == [0.5, 0, 0, 0]
    assert values(kernel="quadratic") == [1 - d**2 / 16 for d in range(1, 5)]
    assert values(kernel="table", table=(0.5, 0.1)) == [0.5, 0.1, 0, 0]
    assert values(kernel="gaussian", sigma=1.0) == pytest.approx([math.exp(-(d**2) / 2) for d in range(1, 5)])
    assert values(kernel="gaussian")[0] == pytest.approx(0.25, abs=0.01)
    assert values(cutoff=1) == [0.25, 0, 0, 0]


def test_quadratic_credit_is_the_weight_of_quadratic_kappa() -> None:
    """The mean credit is 1 minus the mean kappa penalty: an independent way to the same number."""
    reward, total = MultiGradeFuzzy(kernel="quadratic"), 6
    for truth in range(total):
        for stated in range(total):
            assert reward.credit(stated, truth, total) == pytest.approx(1 - (stated - truth) ** 2 / (total - 1) ** 2)


def test_overlooking_disease_can_cost_more() -> None:
    reward = MultiGradeFuzzy(under=0.5)
    assert reward.credit(1, 2, 5) == 0.125
    assert reward.credit(3, 2, 5) == 0.25
    assert MultiGradeFuzzy(over=0.0).credit(3, 2, 5) == 0


def test_wrong_is_zero_and_not_applicable_is_none() -> None:
    reward = MultiGradeFuzzy()
    assert judge(reward, ["9", "-1", "2 or 3", "", "severe"], grade=2, num_grades=5) == [0.0] * 5
    assert judge(reward, ["2"], grade=None, num_grades=5) == [None]
    assert judge(reward, ["2"], num_grades=5) == [None]
    assert judge(reward, ["2"], grade=2) == [None]
    assert judge(reward, ["1"], grade=1, classes=["a", "b"]) == [1.0]


@pytest.mark.parametrize("grade", [5, -1, 99, 2.5, "2", "severe", float("nan"), None])
def test_a_true_grade_that_is_none_of_the_scale_cannot_be_judged(grade: Any) -> None:
    assert judge(MultiGradeFuzzy(), ["2", "4", ""], grade=grade, num_grades=5) == [None] * 3
    assert judge(MultiGradeFuzzy(), ["b"], grade=grade, classes=["a", "b"]) == [None]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"base": 1.0}, "base: is 1.0"),
        ({"base": -0.1}, "base: is -0.1"),
        ({"base": math.nan}, "base: is nan"),
        ({"sigma": 0.0}, "sigma: is 0.0"),
        ({"sigma": 1e-300}, "sigma: is 1e-300"),
        ({"sigma": math.inf}, "sigma: is inf"),
        ({"reach": 0}, "reach: is 0"),
        ({"kernel": "quadratic", "reach": 10**9}, "reach: is 1000000000"),  # 1 - 1e-18 would be 1.0
        ({"cutoff": -1}, "cutoff: is -1"),
        ({"under": 1.5}, "are 1.5 and 1.0"),
        ({"over": -1.0}, "are 1.0 and -1.0"),
        ({"kernel": "table"}, "is \\[\\] with kernel table"),
        ({"table": (0.5,)}, "is \\[0.5\\] with kernel geometric"),
        ({"kernel": "table", "table": (1.0,)}, "falling numbers"),
        ({"kernel": "table", "table": (0.1, 0.5)}, "falling numbers"),
    ],
)
def test_settings_that_break_the_rules_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        MultiGradeFuzzy(**settings)
