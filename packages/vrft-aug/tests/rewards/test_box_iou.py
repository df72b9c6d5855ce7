from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.rewards import BoxIou
from vrft_aug.testing import check_reward

SIZE = [200, 100]
DISC = [20.0, 10.0, 60.0, 50.0]
BOX = st.tuples(*[st.integers(0, 40)] * 4).map(
    lambda v: [min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]) + 1, max(v[1], v[3]) + 1]
)
BOXES = st.lists(BOX, min_size=1, max_size=4)


def judge(answers: list[str], reward: BoxIou | None = None, **row: Any) -> list[float | None]:
    texts = [f"<think>a</think><answer>{answer}</answer>" for answer in answers]
    columns = {"boxes": [DISC], "image_size": SIZE} | row
    return (reward or BoxIou())(
        prompts=[""] * len(texts), completions=texts, **{name: [value] * len(texts) for name, value in columns.items()}
    )


def referee(truth: list[list[int]], stated: list[list[int]]) -> float:
    """Count pixels, try every assignment."""

    def mask(box: list[int]) -> np.ndarray:
        image = np.zeros((50, 50), dtype=bool)
        image[box[1] : box[3], box[0] : box[2]] = True
        return image

    few, many = sorted(([mask(b) for b in truth], [mask(b) for b in stated]), key=len)
    best = max(
        sum((a & b).sum() / (a | b).sum() for a, b in zip(few, order, strict=True)) for order in permutations(many, len(few))
    )
    return float(best / len(many))


@pytest.mark.parametrize("reward", [BoxIou(), BoxIou(score="giou"), BoxIou(score="f1"), BoxIou(coordinates="pixel", threshold=0.3)])
def test_invariants(reward: BoxIou) -> None:
    check_reward(reward)


@given(BOXES, BOXES)
def test_iou_agrees_with_counted_pixels_and_the_best_of_all_assignments(truth: list[list[int]], stated: list[list[int]]) -> None:
    (score,) = judge([str(stated)], BoxIou(coordinates="pixel"), boxes=truth)
    assert score == pytest.approx(referee(truth, stated))


@given(BOXES, st.randoms())
def test_the_order_of_boxes_does_not_matter_and_the_truth_is_one(boxes: list[list[int]], random: Any) -> None:
    shuffled = random.sample(boxes, len(boxes))
    for score in ("iou", "giou", "f1"):
        assert judge([str(shuffled)], BoxIou(coordinates="pixel", score=score), boxes=boxes) == [pytest.approx(1.0)]


@given(BOXES, BOXES)
def test_scores_are_shares(truth: list[list[int]], stated: list[list[int]]) -> None:
    for score in ("iou", "giou", "f1"):
        (value,) = judge([str(stated)], BoxIou(coordinates="pixel", score=score), boxes=truth)
        assert 0 <= value <= 1


@pytest.mark.parametrize(
    ("coordinates", "answer"),
    [
        ("pixel", "[20, 10, 60, 50]"),
        ("norm1", "[0.1, 0.1, 0.3, 0.5]"),
        ("norm100", "[10, 10, 30, 50]"),
        ("norm1000", "[100, 100, 300, 500]"),
        ("norm10", "[1, 1, 3, 5]"),
    ],
)
def test_units(coordinates: str, answer: str) -> None:
    assert judge([answer], BoxIou(coordinates=coordinates)) == [pytest.approx(1.0)]
    others = [BoxIou(coordinates=c) for c in ("pixel", "norm1", "norm100", "norm1000", "norm10") if c != coordinates]
    assert all(judge([answer], other)[0] < 0.9 for other in others)


def test_the_frame_of_the_question_decides_unless_units_are_set() -> None:
    assert judge(["[1, 1, 3, 5]"], box_frame=[10.0, 10.0]) == [pytest.approx(1.0)]
    assert judge(["[100, 100, 300, 500]"]) == [pytest.approx(1.0)]
    assert judge(["[20, 10, 60, 50]"], BoxIou(coordinates="pixel"), box_frame=[10.0, 10.0]) == [pytest.approx(1.0)]


def test_giant_boxes_and_box_spam_do_not_pay() -> None:
    reward = BoxIou(coordinates="pixel")
    right, giant = judge(["[20, 10, 60, 50]", "[0, 0, 200, 100]"], reward)
    assert right == 1.0
    assert giant == pytest.approx(1600 / 20000)
    tiles = [[x, y, x + 40, y + 40] for x in range(0, 160, 20) for y in range(0, 60, 10)]
    assert [20, 10, 60, 50] in tiles
    assert judge([str(tiles), str([[20, 10, 60, 50]] * 20)], reward) == [pytest.approx(1 / len(tiles)), pytest.approx(1 / 20)]
    f1 = BoxIou(coordinates="pixel", score="f1")
    assert judge([str(tiles)], f1)[0] < 0.1


def test_thresholds() -> None:
    half = "[20, 10, 40, 50]"
    assert judge([half], BoxIou(coordinates="pixel")) == [pytest.approx(0.5)]
    assert judge([half], BoxIou(coordinates="pixel", threshold=0.6)) == [0.0]
    assert judge([half], BoxIou(coordinates="pixel", score="f1")) == [1.0]
    assert judge([half], BoxIou(coordinates="pixel", score="f1", threshold=0.6)) == [0.0]
    assert judge(["[100, 60, 120, 80]"], BoxIou(coordinates="pixel", score="f1", threshold=0.0)) == [0.0]


def test_giou_tells_near_from_far() -> None:
    reward = BoxIou(coordinates="pixel", score="giou")
    near, far = judge(["[60, 10, 100, 50]", "[160, 60, 200, 100]"], reward)
    assert 0 < far < near < 0.6
    assert judge(["[60, 10, 100, 50]", "[160, 60, 200, 100]"], BoxIou(coordinates="pixel")) == [0.0, 0.0]


def test_wrong_is_zero_and_not_applicable_is_none() -> None:
    assert judge(["", "somewhere", "[1, 2, 3]", "[60, 50, 20, 10]", "[0, 0, 0, 0]", "[]"]) == [0.0] * 6
    assert judge(["[0, 0, 1, 1]"], boxes=None) == [None]
    assert judge(["[0, 0, 1, 1]"], image_size=None) == [None]
    assert BoxIou()(prompts=[""], completions=["<answer>[0, 0, 1, 1]</answer>"]) == [None]


def test_an_image_without_boxes_is_answered_by_none() -> None:
    assert judge(["[]", "none", "[1, 2, 3, 4]", ""], boxes=[]) == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"coordinates": "percent"}, "'percent' is unknown"),
        ({"threshold": 1.5}, "threshold: is 1.5"),
        ({"score": "giou", "threshold": 0.5}, "no meaning for giou"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        BoxIou(**settings)
