from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.coordinates import Resize
from vrft_aug.rewards import BoxIou, TightenSettings
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
        ("original", "[20, 10, 60, 50]"),
        ("rel1", "[0.1, 0.1, 0.3, 0.5]"),
        ("rel1000", "[100, 100, 300, 500]"),
        ("resized", "[19.6, 11.2, 58.8, 56]"),
    ],
)
def test_units(coordinates: str, answer: str) -> None:
    assert judge([answer], BoxIou(coordinates=coordinates)) == [pytest.approx(1.0)]
    same = {"original": "pixel", "rel1": "norm1", "rel1000": "norm1000"}.get(coordinates, coordinates)
    others = [BoxIou(coordinates=c) for c in ("pixel", "norm1", "norm100", "norm1000", "norm10", "resized") if c != same]
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
        ({"resize": Resize()}, "resize: has no meaning for coordinates None"),
        ({"tighten": TightenSettings(), "score": "f1"}, "goes with the score iou"),
        ({"tighten": TightenSettings(), "threshold": 0.5}, "without a fixed threshold"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        BoxIou(**settings)


def test_the_processors_resize_decides_where_a_box_lies() -> None:
    """A photograph of 4000 x 3000 is seen at 1148 x 840 or as it is, depending on the processor's largest area."""
    truth, size = [[1000.0, 750.0, 2000.0, 1500.0]], [4000, 3000]
    small, whole = "[287, 210, 574, 420]", "[1001, 749, 2002, 1498]"
    published = BoxIou(coordinates="resized", resize=Resize(max_pixels=12845056))
    assert judge([small, whole], BoxIou(coordinates="resized"), boxes=truth, image_size=size) == [pytest.approx(1.0), 0.0]
    right, wrong = judge([whole, small], published, boxes=truth, image_size=size)
    assert right == pytest.approx(1.0, abs=0.01)
    assert wrong == 0.0


def test_an_image_that_the_processor_refuses_cannot_be_judged() -> None:
    box = {"boxes": [[0.0, 0.0, 5.0, 5.0]], "image_size": [10, 4000]}
    assert judge(["[0, 0, 5, 5]"], BoxIou(coordinates="resized"), **box) == [None]
    assert judge(["[0, 0, 5, 5]"], BoxIou(coordinates="pixel"), **box) == [1.0]


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ([150.0, 10.0, 250.0, 50.0], "beyond the right border"),
        ([20.0, 10.0, 60.0, 150.0], "beyond the lower border"),
        ([-20.0, 10.0, 60.0, 50.0], "beyond the left border"),
        ([300.0, 200.0, 400.0, 300.0], "outside altogether"),
        ([60.0, 50.0, 20.0, 10.0], "corners swapped"),
        ([20.0, 10.0, 20.0, 50.0], "no area"),
        ([20.0, 10.0, 60.0], "three numbers"),
        ([20.0, 10.0, 60.0, float("nan")], "not a number"),
        ([20.0, 10.0, float("inf"), 50.0], "without end"),
    ],
)
def test_a_true_box_outside_of_its_image_cannot_be_judged(box: list[float], why: str) -> None:
    assert judge(["[20, 10, 60, 50]", "", str(box)], BoxIou(coordinates="pixel"), boxes=[DISC, box]) == [None] * 3, why
    assert judge(["[20, 10, 60, 50]"], BoxIou(coordinates="pixel"), boxes=[DISC]) == [1.0]


def test_a_true_box_may_stick_out_by_a_rounded_pixel() -> None:
    assert judge(["[0, 0, 200, 100]"], BoxIou(coordinates="pixel"), boxes=[[-0.5, 0.0, 200.5, 100.5]]) == [
        pytest.approx(0.99, abs=0.01)
    ]


def test_a_rising_threshold_leaves_the_reward_as_it_is_and_logs_the_plain_overlap() -> None:
    logged: list[tuple[str, float]] = []
    rising = BoxIou(coordinates="pixel", tighten=TightenSettings(start=0.7))
    answers = ["[20, 10, 40, 50]", "[20, 10, 60, 50]", "no box"]
    assert judge(answers, rising) == judge(answers, BoxIou(coordinates="pixel")) == [0.5, 1.0, 0.0]
    texts = [f"<answer>{a}</answer>" for a in answers]
    columns = {"boxes": [[DISC]] * 2 + [None], "image_size": [SIZE] * 3}
    rising(prompts=[""] * 3, completions=texts, log_metric=lambda *entry: logged.append(entry), **columns)
    rising(prompts=[""], completions=[texts[0]], boxes=[None], log_metric=lambda *entry: logged.append(entry))
    assert logged == [("box_iou/overlap", 0.75)]
    check_reward(rising)
