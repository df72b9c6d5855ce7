from __future__ import annotations

import numpy as np
import pytest

from medcore.errors import InputError
from medcore.io import ImageSeries


def series(**changes):
    values = {"data": np.arange(24, dtype=np.float32).reshape(3, 1, 2, 4), "affine": np.diag([0.002, 0.003, 0.004, 1.0])}
    return ImageSeries(**(values | changes))


def test_shape_voxels_and_times_are_those_given():
    images = series(times={"te": [0.01, 0.02, 0.03]})
    assert (images.n_contrasts, images.shape) == (3, (1, 2, 4))
    assert images.voxel_size == pytest.approx((0.004, 0.003, 0.002))
    assert images.times["te"].dtype == np.float64


def test_select_keeps_data_and_times_together():
    chosen = series(times={"te": [0.01, 0.02, 0.03]}).select([2, 0])
    assert chosen.times["te"].tolist() == [0.03, 0.01]
    assert chosen.data[0, 0, 0, 0] == 16


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"data": np.zeros((2, 3, 4), np.float32)}, "four non-empty axes"),
        ({"data": np.zeros((0, 1, 3, 4), np.float32)}, "non-empty"),
        ({"data": np.zeros((1, 1, 3, 4))}, "float64"),
        ({"affine": np.full((4, 4), np.nan)}, "affine"),
        ({"affine": np.zeros((4, 4))}, "singular"),
        ({"affine": np.diag([0.001, 0.001, 0.001, 2.0])}, "singular"),
        ({"affine": np.eye(3)}, "4 x 4"),
        ({"times": {"te": [0.01, 0.02]}}, "2 echo times for 3 contrasts"),
        ({"times": {"te": [0.01, 0.02, -0.03]}}, "impossible echo time"),
        ({"times": {"ti": [0.01, 0.02, np.inf]}}, "impossible inversion time"),
        ({"times": {"echo": [1, 2, 3]}}, "'echo'"),
        ({"times": {"te": ["a", "b", "c"]}}, "not numbers"),
    ],
)
def test_contradictions_are_refused(changes, word):
    with pytest.raises(InputError, match=word):
        series(**changes)


@pytest.mark.parametrize("indices", [[], [3], [-1]])
def test_absent_contrasts_are_refused(indices):
    with pytest.raises(InputError, match="choose from 0 to 2"):
        series().select(indices)
