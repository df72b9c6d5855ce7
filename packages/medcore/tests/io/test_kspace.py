from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medcore.errors import InputError


def test_properties(cartesian, radial):
    assert (cartesian.n_contrasts, cartesian.n_coils, cartesian.is_cartesian) == (2, 3, True)
    assert cartesian.sampled_fraction == pytest.approx((4 / 8 + 6 / 8) / 2)
    assert not radial.is_cartesian
    assert radial.sampled_fraction == pytest.approx(5 * 12 / 144)


def test_default_affine_centres_the_field_of_view(cartesian):
    centre = cartesian.affine @ [3, 4, 0, 1]
    assert centre[:3] == pytest.approx([0, 0, 0])
    assert np.linalg.norm(cartesian.affine[:3, :3], axis=0) == pytest.approx([0.2 / 6, 0.21 / 8, 0.005])


@pytest.mark.parametrize("name", ["cartesian", "radial"])
def test_select_keeps_everything_together(name, request):
    kspace = request.getfixturevalue(name)
    second = kspace.select([1])
    assert np.array_equal(second.data[0], kspace.data[1])
    for key, values in kspace.times.items():
        assert second.times[key].tolist() == [values[1]]
    if kspace.traj is not None:
        assert np.array_equal(second.traj[0], kspace.traj[1])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"data": np.zeros((2, 3, 1, 8, 6))}, "complex64"),
        ({"data": np.zeros((2, 3, 8, 6), np.complex64)}, "axes"),
        ({"matrix": (1, 8, 7)}, "make them equal"),
        ({"matrix": (1, 8, 0)}, "matrix"),
        ({"fov": (0.005, -0.2, 0.2)}, "field of view"),
        ({"fov": (0.005, np.nan, 0.2)}, "field of view"),
        ({"mask": np.ones((2, 1, 8, 6))}, "booleans"),
        ({"mask": np.ones((1, 1, 8, 6), bool)}, "booleans"),
        ({"mask": np.zeros((2, 1, 8, 6), bool)}, "keeps no sample"),
        ({"noise": np.zeros((2, 5), np.complex64)}, "noise"),
        ({"csm": np.zeros((3, 1, 8, 7), np.complex64)}, "coil maps"),
        ({"field_strength": 0.0}, "field strength"),
        ({"times": {"te": [0.1]}}, "1 echo times for 2"),
    ],
)
def test_contradictions_are_refused(cartesian, changes, word):
    with pytest.raises(InputError, match=word):
        dataclasses.replace(cartesian, **changes)


def test_a_contrast_without_samples_is_data(cartesian):
    mask = np.ones((2, 1, 8, 6), bool)
    mask[1] = False
    data = cartesian.data * mask[:, None]
    thinned = dataclasses.replace(cartesian, data=data, mask=mask)
    assert thinned.measured.tolist() == [True, False]
    assert dataclasses.replace(thinned, mask=None).measured.tolist() == [True, False]
    assert thinned.sampled_fraction == 0.5


def test_samples_outside_the_mask_are_refused(cartesian):
    data = cartesian.data.copy()
    data[0, 0, 0, 1, 0] = 1
    with pytest.raises(InputError, match="outside the mask"):
        dataclasses.replace(cartesian, data=data)


def test_the_first_sample_that_is_no_number_is_named(cartesian):
    data = cartesian.data.copy()
    data[1, 2, 0, 3, 4] = np.nan
    with pytest.raises(InputError, match=r"\(1, 2, 0, 3, 4\)"):
        dataclasses.replace(cartesian, data=data)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t: t * 2, "radians per sample"),
        (lambda t: t.astype(np.float64), "float32"),
        (lambda t: t[:, :4], "float32 of shape"),
        (lambda t: t[..., :1], "2 or 3"),
        (lambda t: t * np.float32(np.nan), "radians per sample"),
    ],
)
def test_bad_trajectories_are_refused(radial, change, word):
    with pytest.raises(InputError, match=word):
        dataclasses.replace(radial, traj=change(radial.traj))


def test_a_planar_trajectory_needs_one_plane(radial):
    with pytest.raises(InputError, match="2-D trajectory"):
        dataclasses.replace(radial, matrix=(4, 12, 12))
