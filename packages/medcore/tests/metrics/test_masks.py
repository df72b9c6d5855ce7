"""Overlap and distance of masks by counting and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, jaccard_score

from medcore.errors import InputError
from medcore.metrics import average_surface_distance, dice, hausdorff95, jaccard
from medcore.metrics.masks import surface

ALL = (dice, jaccard, hausdorff95, average_surface_distance)
pairs = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@given(pair=pairs)
def test_overlap_is_scikit_learn_s(pair):
    ref, est = pair
    if ref.any() or est.any():
        assert dice(ref, est).value == pytest.approx(f1_score(ref.ravel(), est.ravel(), zero_division=0))
        assert jaccard(ref, est).value == pytest.approx(jaccard_score(ref.ravel(), est.ravel(), zero_division=0))
    else:
        assert dice(ref, est).reason == jaccard(ref, est).reason == "both masks are empty"


@given(pair=pairs, scale=st.floats(0.1, 10))
def test_bounds_symmetry_and_scale(pair, scale):
    ref, est = pair
    for function in ALL:
        forth, back = function(ref, est).value, function(est, ref).value
        assert forth == (None if back is None else pytest.approx(back, rel=1e-12))
    if not (ref.any() and est.any()):
        return
    assert 0 <= jaccard(ref, est).value <= dice(ref, est).value <= 1
    step = (scale,) * ref.ndim
    for function in (hausdorff95, average_surface_distance):
        near, far = function(ref, est).value, function(ref, est, spacing=step).value
        assert far == pytest.approx(scale * near)
        assert near >= 0
        assert function(ref, ref).value == 0
        assert function(ref[None], est[None]).value == near  # an axis of length 1 is no border


def test_distances_by_hand():
    ref, est = np.zeros((2, 9, 9), bool)
    ref[4, 2], est[4, 6] = True, True
    assert hausdorff95(ref, est).value == average_surface_distance(ref, est).value == 4
    found = hausdorff95(ref, est, spacing=(1e-3, 5e-4))
    assert (found.value, found.unit) == (pytest.approx(2e-3), "m")
    assert hausdorff95(ref, est).unit == "pixel"
    box = np.zeros((9, 9), bool)
    box[2:7, 2:7] = True
    assert surface(box).sum() == 16
    assert average_surface_distance(box, surface(box)).value == 0
    outlier = box.copy()
    outlier[0, 8] = True  # 1 of 17 voxels is far away: beyond the 95th percentile but for interpolation
    assert hausdorff95(box, outlier).value < np.sqrt(8)


def test_masks_without_surface_say_which():
    none, one = np.zeros((5, 5)), np.eye(5)
    assert hausdorff95(one, none).reason == "the estimate is empty, a distance needs two surfaces"
    assert average_surface_distance(none, one).reason.startswith("the reference is empty")
    assert average_surface_distance(none, none).reason.startswith("both masks are empty")
    assert dice(one, none).value == 0


def test_a_label_may_be_chosen_and_must_be_where_there_are_several():
    ref, est = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 1])
    assert dice(ref, est, label=2).value == 0.5
    assert dice(ref, est, label=7).value is None
    assert dice(255 * (ref > 0), 255 * (est > 0)).value == 1
    for function in ALL:
        with pytest.raises(InputError, match="masks: hold the labels 1, 2; choose one"):
            function(ref, est)
    with pytest.raises(InputError, match="hold the labels 1, 255"):
        dice(np.array([0, 1]), np.array([0, 255]))


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize(
    ("ref", "est", "message"),
    [
        (np.ones((3, 3)), np.ones((3, 4)), r"differ: reference \(3, 3\), estimate \(3, 4\)"),
        (np.array([1.0, np.nan]), np.ones(2), r"reference: 1 values are not finite, the first at index \(1,\)"),
        (np.ones(2), np.array([np.inf, 1.0]), r"estimate: 1 values are not finite, the first at index \(0,\)"),
        (np.ones(2) * 1j, np.ones(2), "is complex"),
        (np.array(["a", "b"]), np.ones(2), "not numbers"),
    ],
)
def test_what_is_no_mask_is_refused(function, ref, est, message):
    with pytest.raises(InputError, match=message):
        function(ref, est)


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, np.nan)])
def test_a_spacing_that_is_none_is_refused(spacing):
    with pytest.raises(InputError, match="spacing"):
        hausdorff95(np.eye(3), np.eye(3), spacing=spacing)
