"""Boxes against counting pixels, brute-force matching and pycocotools' successor."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError
from medcore.metrics import giou, iou, match_boxes, mean_average_precision, mean_iou

whole = st.integers(0, 12)
box = st.tuples(whole, whole, whole, whole).map(lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])])
boxes = st.lists(box, max_size=5)


def painted(one):
    image = np.zeros((12, 12), bool)
    image[one[1] : one[3], one[0] : one[2]] = True
    return image


@given(a=boxes, b=boxes)
def test_iou_counts_pixels(a, b):
    found = iou(a, b)
    assert found.shape == (len(a), len(b))
    for (i, one), (j, other) in itertools.product(enumerate(a), enumerate(b)):
        both, either = painted(one) & painted(other), painted(one) | painted(other)
        assert found[i, j] == pytest.approx(both.sum() / either.sum() if either.any() else 0.0)


@given(a=box, b=box)
def test_giou_counts_the_hull_too(a, b):
    hull = painted([min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])])
    either = painted(a) | painted(b)
    share = iou(a, b)[0, 0]
    expected = share - (hull.sum() - either.sum()) / hull.sum() if hull.any() else share
    assert giou(a, b)[0, 0] == pytest.approx(expected)
    assert giou(a, b)[0, 0] == pytest.approx(giou(b, a)[0, 0])
    assert -1 <= giou(a, b)[0, 0] <= share


def test_boxes_far_apart_are_worse_than_near_ones():
    assert giou([0, 0, 1, 1], [[2, 0, 3, 1], [20, 0, 21, 1]])[0].tolist() == pytest.approx([-1 / 3, -19 / 21])


@given(a=boxes, b=boxes, threshold=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_matching_is_the_best_of_all(a, b, threshold):
    found = match_boxes(a, b, threshold=threshold)
    overlap = iou(a, b)
    small, large = (overlap, False) if len(a) <= len(b) else (overlap.T, True)
    best = max(
        sum(small[i, j] for i, j in enumerate(order) if small[i, j] >= threshold)
        for order in itertools.permutations(range(small.shape[1]), len(small))
    )
    assert sum(p[2] for p in found.pairs) == pytest.approx(best)
    assert all(p[2] >= threshold and p[2] > 0 for p in found.pairs)
    assert sorted([p[0] for p in found.pairs] + found.missed) == list(range(len(a)))
    assert sorted([p[1] for p in found.pairs] + found.spurious) == list(range(len(b)))
    assert large in (True, False)


def test_mean_iou_counts_missed_spurious_and_unreadable():
    one, two = [0, 0, 4, 4], [8, 8, 12, 12]
    assert mean_iou([[one]], [[one]]).value == 1
    assert mean_iou([[one, two]], [[one]]).value == 0.5
    assert mean_iou([[one]], [[one, two]]).value == 0.5
    assert mean_iou([[one], []], [[one], []]).n == 1
    assert mean_iou([[one], []], [[one], []]).dropped == 1
    assert mean_iou([[one], []], [[one], None]).value == 0.5  # an unreadable answer is wrong even where there is no box
    assert mean_iou([[one], [one]], [[one], None]).value == 0.5
    assert mean_iou([[]], [[]]).reason == "no image has boxes"


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ([[0, 0, 4]], "four numbers"),
        ([[4, 0, 0, 4]], r"the box \[4.0, 0.0, 0.0, 4.0\] has swapped corners"),
        ([[0, 0, np.nan, 4]], "not finite"),
        ([["a", "b", "c", "d"]], "not numbers"),
    ],
)
def test_what_is_no_box_is_refused(bad, word):
    for function in (iou, giou, match_boxes):
        with pytest.raises(InputError, match=word):
            function(bad, [[0, 0, 1, 1]])


def average_precision(reference, estimate, scores, threshold):
    """COCO's rule for one class, written down again: greedy by score, 101 recall points."""
    order = sorted(((s, i, j) for i, row in enumerate(scores) for j, s in enumerate(row)), key=lambda t: -t[0])
    taken, hits = set(), []
    for _, image, j in order:
        overlaps = [
            (iou([reference[image][k]], [estimate[image][j]])[0, 0], k)
            for k in range(len(reference[image]))
            if (image, k) not in taken
        ]
        good = [o for o in overlaps if o[0] >= threshold]
        if good:
            taken.add((image, max(good)[1]))
        hits.append(bool(good))
    total = sum(map(len, reference))
    true = np.cumsum(hits)
    recall, precision = true / total, true / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    points = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return np.mean([precision[p] if p < len(precision) else 0.0 for p in points])


def test_average_precision_by_hand(rng):
    reference, estimate, scores = [], [], []
    for _ in range(8):
        corner = rng.integers(0, 60, (3, 2)) * np.array([1, 1])
        truth = np.hstack([corner, corner + rng.integers(15, 40, (3, 2))]).astype(float)
        reference.append(truth.tolist())
        estimate.append((truth + rng.normal(0, 2.5, truth.shape)).tolist())
        scores.append(rng.permutation(24)[:3] / 24 + rng.uniform(0, 0.01, 3))
    expected = np.mean([average_precision(reference, estimate, scores, t) for t in np.arange(0.5, 1.0, 0.05)])
    assert 0.2 < expected < 0.95
    assert mean_average_precision(reference, estimate, scores).value == pytest.approx(expected, abs=0.005)


def test_average_precision_of_simple_cases():
    one, two = [0.0, 0.0, 40.0, 40.0], [50.0, 50.0, 90.0, 90.0]
    assert mean_average_precision([[one, two]], [[one, two]], [[0.9, 0.8]]).value == pytest.approx(1)
    assert mean_average_precision([[one, two]], [[one]], [[0.9]]).value == pytest.approx(51 / 101)
    assert mean_average_precision([[one]], [[]], [[]]).value == 0
    assert mean_average_precision([[]], [[one]], [[0.5]]).reason == "there are no reference boxes"
    kinds = {"reference_classes": [[1, 2]], "estimate_classes": [[1, 1]]}
    assert mean_average_precision([[one, two]], [[one, two]], [[0.9, 0.8]], **kinds).value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (([[[0, 0, 1, 1]]], [[[0, 0, 1, 1]]], [[]]), "1 boxes, 1 classes, 0 scores"),
        (([[[0, 0, 1, 1]]], [], []), "1 references and 0 estimates"),
    ],
)
def test_lists_that_do_not_fit_are_refused(arguments, word):
    with pytest.raises(InputError, match=word):
        mean_average_precision(*arguments)
    with pytest.raises(InputError, match="1 references and 0 estimates"):
        mean_iou([[[0, 0, 1, 1]]], [])


def test_the_library_behind_it_says_nothing(capfd):
    mean_average_precision([[[0, 0, 9, 9]]], [[[0, 0, 9, 9]]], [[0.5]])
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
