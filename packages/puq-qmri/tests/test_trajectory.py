from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError
from puq_qmri.operators.nufft import check_trajectory
from puq_qmri.trajectory import GOLDEN_ANGLE, cartesian_mask, jittered_mask, radial, spiral

SMALL = st.integers(1, 12)
PI = np.float32(np.pi)


def test_the_golden_angle_is_that_of_the_literature():
    assert np.degrees(GOLDEN_ANGLE) == pytest.approx(111.246, abs=1e-3)


@given(contrasts=SMALL, spokes=SMALL, samples=SMALL)
def test_radial_stays_within_kspace_and_passes_its_centre(contrasts, spokes, samples):
    traj = radial(contrasts, spokes, samples)
    assert traj.shape == (contrasts, spokes, samples, 2)
    radius = np.linalg.norm(traj.astype(float), axis=-1)
    assert radius.max() <= PI * (1 + 1e-6)
    assert not traj[:, :, samples // 2].any()
    np.testing.assert_allclose(
        radius, np.broadcast_to(np.abs(np.arange(samples) - samples // 2) * 2 * np.pi / samples, radius.shape), atol=1e-5
    )


def test_spokes_turn_by_the_golden_angle_through_all_contrasts():
    traj = radial(3, 4, 8).reshape(12, 8, 2)
    angle = np.unwrap(np.arctan2(traj[:, -1, 0], traj[:, -1, 1]))
    np.testing.assert_allclose(np.diff(angle), GOLDEN_ANGLE, atol=1e-5)
    # The first spoke lies along x, the last of the two coordinates.
    assert np.abs(traj[0, :, 0]).max() == 0
    assert traj[0, -1, 1] == pytest.approx(3 * np.pi / 4)


@given(contrasts=SMALL, interleaves=SMALL, samples=st.integers(1, 64), turns=st.floats(0.1, 20))
def test_spiral_winds_outwards_within_kspace(contrasts, interleaves, samples, turns):
    traj = spiral(contrasts, interleaves, samples, n_turns=turns)
    assert traj.shape == (contrasts, interleaves, samples, 2)
    radius = np.linalg.norm(traj.astype(float), axis=-1)
    assert radius.max() < np.pi
    assert (np.diff(radius, axis=2) > 0).all()
    assert not traj[:, :, 0].any()


def test_spiral_turns_as_often_as_asked_and_its_density_is_even():
    traj = spiral(1, 1, 4000, n_turns=6.0)[0, 0].astype(float)
    angle = np.unwrap(np.arctan2(traj[1:, 0], traj[1:, 1]))
    assert (angle[-1] - angle[0]) / (2 * np.pi) == pytest.approx(6, rel=0.03)
    counts, _ = np.histogram(np.linalg.norm(traj, axis=1) ** 2, bins=10, range=(0, np.pi**2))
    assert counts.min() > 0.99 * counts.max()  # equal areas hold equally many samples


@pytest.mark.parametrize("build", [lambda: radial(2, 5, 16), lambda: spiral(2, 3, 100, n_turns=4.0)])
def test_operators_accept_them(build):
    import torch

    check_trajectory(torch.as_tensor(build()))


@given(
    contrasts=st.integers(1, 4),
    lines=st.integers(8, 64),
    acceleration=st.floats(1, 6),
    centre=st.floats(0, 0.15),
    seed=st.integers(0, 1000),
)
def test_cartesian_mask_measures_what_was_asked(contrasts, lines, acceleration, centre, seed):
    matrix = (2, lines, 6)
    central = max(1, round(centre * lines))
    if round(lines / acceleration) < min(central + 1, lines):
        with pytest.raises(InputError, match="acceleration: is"):
            cartesian_mask(contrasts, matrix, acceleration, centre_fraction=centre, seed=seed)
        return
    mask = cartesian_mask(contrasts, matrix, acceleration, centre_fraction=centre, seed=seed)
    assert mask.shape == (contrasts, *matrix)
    rows = mask[:, 0, :, 0]
    assert (mask == rows[:, None, :, None]).all()
    assert (rows.sum(axis=1) == round(lines / acceleration)).all()
    first = lines // 2 - central // 2
    assert rows[:, first : first + central].all()
    assert rows[:, lines // 2].all()
    assert np.array_equal(mask, cartesian_mask(contrasts, matrix, acceleration, centre_fraction=centre, seed=seed))


def test_lines_differ_between_contrasts_and_seeds():
    first, second = (cartesian_mask(4, (1, 64, 8), 4.0, seed=s)[:, 0, :, 0] for s in (0, 1))
    assert len({m.tobytes() for m in [*first, *second]}) == 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: radial(0, 1, 1), "n_contrasts: is 0; give a positive number"),
        (lambda: radial(1, -1, 1), "n_spokes: is -1"),
        (lambda: radial(1, 1, 0), "n_samples: is 0"),
        (lambda: spiral(1, 0, 1, n_turns=1.0), "n_interleaves: is 0"),
        (lambda: spiral(1, 1, 1, n_turns=0.0), "n_turns: is 0"),
        (lambda: spiral(1, 1, 1, n_turns=float("nan")), "n_turns: is nan"),
        (lambda: cartesian_mask(1, (1, 64, 8), 0.5), "acceleration: is 0.5, which leaves 0 of 64 lines with 5 central ones"),
        (lambda: cartesian_mask(1, (1, 64, 8), 32.0), "acceleration: is 32, which leaves 2 of 64 lines"),
        (lambda: cartesian_mask(1, (1, 64, 8), float("nan")), "acceleration: is nan"),
        (lambda: cartesian_mask(1, (1, 64, 8), float("inf")), "acceleration: is inf"),
        (lambda: cartesian_mask(1, (1, 64, 8), 2.0, centre_fraction=1.5), "centre_fraction: is 1.5"),
        (lambda: cartesian_mask(1, (1, 64, 8), 2.0, centre_fraction=-0.1), "centre_fraction: is -0.1"),
        (lambda: cartesian_mask(0, (1, 64, 8), 2.0), "n_contrasts: is 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


@given(edges=st.tuples(st.integers(16, 48), st.integers(16, 48)), acceleration=st.floats(1, 3), seed=st.integers(0, 1000))
def test_jittered_points_are_as_many_as_asked_for_with_the_centre(edges, acceleration, seed):
    mask = jittered_mask(2, (2, *edges), acceleration, centre_width=6, seed=seed)
    wanted = round(edges[0] * edges[1] / acceleration)
    assert mask.sum(axis=(1, 2, 3)).tolist() == [2 * wanted] * 2
    y, x = edges[0] // 2, edges[1] // 2
    assert mask[:, :, y - 3 : y + 3, x - 3 : x + 3].all()
    assert np.array_equal(mask[:, 0], mask[:, 1])
    assert acceleration < 1.2 or not np.array_equal(mask[0], mask[1])
    assert np.array_equal(mask, jittered_mask(2, (2, *edges), acceleration, centre_width=6, seed=seed))


def test_jittered_points_leave_smaller_gaps_than_random_ones(rng):
    """The widest empty disc, against as many points drawn without any rule."""
    from scipy.ndimage import distance_transform_edt

    mask = jittered_mask(6, (1, 96, 96), 6.0, seed=1)
    for plane in mask[:, 0]:
        free = np.zeros(96 * 96, bool)
        free[rng.choice(96 * 96, plane.sum(), replace=False)] = True
        assert distance_transform_edt(~plane).max() < distance_transform_edt(~free.reshape(96, 96)).max()


@pytest.mark.parametrize(
    ("acceleration", "width", "message"),
    [
        (0.5, 8, "acceleration: is 0.5"),
        (40.0, 8, "is 40, which leaves 26 of 1024 points with 64"),
        (2.0, 33, "with 1089 in the centre"),
        (2.0, 0, "centre_width: is 0"),
    ],
)
def test_bad_jittered_masks(acceleration, width, message):
    with pytest.raises(InputError, match=message):
        jittered_mask(1, (1, 32, 32), acceleration, centre_width=width)
