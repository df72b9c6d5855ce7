from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from puq_qmri.simulation import contrast_images, random_shapes


@given(seed=st.integers(0, 10_000), size=st.integers(8, 48))
def test_fractions_are_parts_of_a_voxel_and_values_physical(seed, size):
    phantom = random_shapes(size, seed=seed)
    total = phantom.fractions.sum(axis=0)
    assert phantom.fractions.shape == (len(phantom.tissues), 1, size, size)
    assert phantom.fractions.min() >= 0
    assert total.max() <= 1 + 1e-5
    assert (phantom.t2 <= phantom.t1).all()
    assert ((phantom.t1 >= 0.2) & (phantom.t1 <= 4.5) & (phantom.t2 >= 0.025)).all()
    assert phantom.foreground.any()
    assert not phantom.pure[total[...] < 0.99].any()


def test_seeds_give_different_objects_and_the_same_one_at_any_matrix():
    first, again, other = random_shapes(96, seed=1), random_shapes(96, seed=1), random_shapes(96, seed=2)
    assert np.array_equal(first.fractions, again.fractions)
    assert first.fractions.shape != other.fractions.shape or not np.allclose(first.fractions, other.fractions)
    coarse = random_shapes(48, seed=1)
    pooled = first.fractions.reshape(len(first.tissues), 1, 48, 2, 48, 2).mean(axis=(3, 5))
    assert np.corrcoef(pooled.ravel(), coarse.fractions.ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(first.t2, coarse.t2)


def test_many_voxels_are_no_single_exponential():
    """The logarithm of a decay of two pools is curved: mixtures are there, and so are pure voxels."""
    curved = pure = 0
    for seed in range(12):
        phantom = random_shapes(48, seed=seed)
        decay = np.log(np.abs(contrast_images(phantom, "t2", np.array([0.0, 0.05, 0.1])))[:, phantom.foreground])
        curved += int((decay[0] - 2 * decay[1] + decay[2] > 0.02).sum())
        pure += int(phantom.pure.sum())
    assert curved > 500
    assert pure > 500


@pytest.mark.parametrize(("size", "seed"), [(7, 0), (32, -1)])
def test_bad_sizes_and_seeds(size, seed):
    with pytest.raises(ConfigError, match=f"have size {size} and seed {seed}"):
        random_shapes(size, seed=seed)
