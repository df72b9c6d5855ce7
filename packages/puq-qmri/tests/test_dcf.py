from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError, InputError
from puq_qmri.dcf import density_compensation, pipe_menon, radial_ramp, voronoi
from puq_qmri.operators import Nufft
from puq_qmri.trajectory import radial, spiral

N = 64


def smooth_object():
    """A disc with soft edges and soft structure, and where its interior is."""
    y, x = np.meshgrid(np.arange(N) - N // 2, np.arange(N) - N // 2, indexing="ij")
    radius = np.hypot(y, x)
    image = (1 + 0.3 * np.cos(y / 5) * np.sin(x / 7)) / (1 + np.exp((radius - 18) / 1.5))
    return image, radius < 13


def there_and_back(traj, weights):
    image, interior = smooth_object()
    operator = Nufft(torch.as_tensor(traj[:1]), (1, N, N), 1)
    samples = operator(torch.as_tensor(image[None, None, None] + 0j))
    back = operator.adjoint(torch.as_tensor(weights[:1])[:, None] * samples)[0, 0, 0].numpy()
    return back[interior], image[interior]


def error(traj, weights):
    back, truth = there_and_back(traj, weights)
    return np.linalg.norm(back - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize(
    ("traj", "bar"),
    [
        (radial(1, 101, 2 * N), 0.005),
        (radial(1, 50, 2 * N), 0.02),
        (radial(1, 25, 2 * N), 0.025),
        (radial(1, 101, N), 0.04),
        (spiral(1, 16, 2048, n_turns=2.0), 0.03),
    ],
    ids=["radial", "radial R 2", "radial R 4", "radial, readout not oversampled", "spiral"],
)
def test_the_adjoint_has_the_amplitude_of_a_smooth_image(traj, bar):
    assert error(traj, pipe_menon(traj, (1, N, N))) < bar


@pytest.mark.parametrize("spokes", [101, 50, 25])
def test_the_analytic_ramp_agrees_with_the_iteration(spokes):
    traj = radial(2, spokes, 2 * N)
    ramp, iterated = radial_ramp(traj, (1, N, N)), pipe_menon(traj, (1, N, N))
    assert error(traj, ramp) < 0.025
    # Golden-angle spokes are spread unevenly, which the iteration tells apart and the ramp does not: compare whole discs.
    dense = np.linalg.norm(traj, axis=-1) < 2 * spokes / N * 0.6
    assert iterated[dense].sum() == pytest.approx(ramp[dense].sum(), rel=0.05)


def test_the_weights_of_any_disc_sum_to_its_area():
    traj = radial(1, 101, 2 * N)
    distance = np.linalg.norm(traj, axis=-1)
    for weights in (pipe_menon(traj, (1, N, N)), radial_ramp(traj, (1, N, N))):
        for radius in np.linspace(1.0, 2.9, 9):
            cells = np.pi * radius**2 / (2 * np.pi / N) ** 2
            assert weights[distance < radius].sum() == pytest.approx(cells, rel=0.04)


@pytest.mark.parametrize("matrix", [(1, 12, 12), (1, 9, 14), (6, 8, 7)], ids=str)
def test_on_the_grid_every_weight_is_one(matrix):
    axes = [(np.arange(n) - n // 2) * 2 * np.pi / n for n in matrix]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)
    traj = grid[:, :, :, 1:] if matrix[0] == 1 else grid.reshape(1, -1, matrix[2], 3)
    np.testing.assert_allclose(pipe_menon(traj, matrix), 1, atol=1e-3)


def test_a_point_measured_twice_weighs_half():
    grid = np.stack(np.meshgrid(*[(np.arange(8) - 4) * np.pi / 4] * 2, indexing="ij"), -1).astype(np.float32)
    weights = pipe_menon(np.concatenate([grid, grid[:2]])[None], (1, 8, 8))
    np.testing.assert_allclose(weights[0, 2:8], 1, atol=1e-3)
    np.testing.assert_allclose(weights[0, [0, 1, 8, 9]], 0.5, atol=1e-3)


def test_contrasts_are_independent():
    traj = radial(3, 11, 32)
    together = pipe_menon(traj, (1, 16, 16))
    for i in range(3):
        np.testing.assert_allclose(together[i], pipe_menon(traj[i : i + 1], (1, 16, 16))[0], rtol=1e-5)


def test_agrees_with_sigpy():
    """Another implementation, with a kernel of its own: the images made with both sets of weights are the same."""
    import sigpy.mri

    traj = radial(1, 101, 2 * N)
    foreign = sigpy.mri.pipe_menon_dcf(traj[0] * N / (2 * np.pi), img_shape=(N, N), show_pbar=False)[None]
    ours = pipe_menon(traj, (1, N, N))
    theirs, mine = there_and_back(traj, foreign.astype(np.float32))[0], there_and_back(traj, ours)[0]
    scale = np.vdot(theirs, mine) / np.vdot(theirs, theirs)
    assert np.linalg.norm(scale * theirs - mine) < 0.02 * np.linalg.norm(mine)


@pytest.mark.parametrize("shape", [(1, 4, 8, 3), (1, 4, 1, 2)])
def test_the_ramp_is_for_planar_spokes(shape):
    with pytest.raises(
        InputError, match="radial density compensation: is for straight spokes in a plane, the trajectory has the shape"
    ):
        radial_ramp(np.zeros(shape, np.float32), (1, 8, 8))


def test_no_iteration_is_refused():
    with pytest.raises(InputError, match="iterations of density compensation: are 0"):
        pipe_menon(radial(1, 4, 8), (1, 8, 8), iterations=0)


@pytest.mark.parametrize("matrix", [(1, 12, 12), (1, 9, 14), (4, 5, 6)], ids=str)
def test_on_the_grid_every_cell_is_one(matrix):
    axes = [(np.arange(n) - n // 2) * 2 * np.pi / n for n in matrix]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)
    traj = grid[:, :, :, 1:] if matrix[0] == 1 else grid.reshape(1, -1, matrix[2], 3)
    np.testing.assert_allclose(voronoi(traj, matrix), 1, rtol=1e-5)
    twice = np.concatenate([traj, traj[:, :1]], axis=1)
    np.testing.assert_allclose(voronoi(twice, matrix)[:, [0, -1]], 0.5, rtol=1e-5)


@given(seed=st.integers(0, 2**31), dim=st.integers(2, 3), spokes=st.integers(3, 6))
def test_cells_sum_to_the_hull_and_its_margin(seed, dim, spokes):
    """Any points: the cells tile the hull, and what they add outside is a margin."""
    from scipy.spatial import ConvexHull

    points = np.random.default_rng(seed).uniform(-3, 3, (1, spokes, 5, dim)).astype(np.float32)
    matrix = (1, 8, 8) if dim == 2 else (8, 8, 8)
    weights = voronoi(points, matrix)
    hull = ConvexHull(points.reshape(-1, dim)).volume / (2 * np.pi / 8) ** dim
    assert (weights > 0).all()
    assert hull * 0.999 < weights.sum()
    # No cell is larger than what the margin of half a neighbour's distance on every side makes of the whole.
    assert weights.sum() < hull * 4**dim


@pytest.mark.parametrize("n_spokes", [101, 50])
def test_cells_agree_with_ramp_and_iteration(n_spokes):
    traj = radial(1, n_spokes, 2 * N)
    cells, ramp, iterated = (f(traj, (1, N, N)) for f in (voronoi, radial_ramp, pipe_menon))
    distance = np.linalg.norm(traj, axis=-1)
    for radius in np.linspace(1.0, 2.9, 9):
        area = np.pi * radius**2 / (2 * np.pi / N) ** 2
        assert cells[distance < radius].sum() == pytest.approx(area, rel=0.04)
    # All of the disc, and half a sample around it.
    assert cells.sum() == pytest.approx(np.pi * (N / 2 + 0.25) ** 2, rel=0.01)
    dense = distance < 2 * n_spokes / N * 0.6
    assert cells[dense].sum() == pytest.approx(iterated[dense].sum(), rel=0.05)
    assert cells[dense].sum() == pytest.approx(ramp[dense].sum(), rel=0.05)
    # Golden-angle spokes stand unevenly: one by one, cells follow the iteration, which knows of the gaps.
    inner = dense & (distance > 0.3)
    assert np.corrcoef(cells[inner], iterated[inner])[0, 1] > 0.9
    # The centre, measured once by each spoke, is one cell.
    assert np.ptp(cells[0, :, N]) == 0
    assert error(traj, cells) < 0.05


def test_cells_of_contrasts_are_independent():
    traj = radial(2, 9, 16)
    np.testing.assert_array_equal(voronoi(traj, (1, 8, 8))[1:], voronoi(traj[1:], (1, 8, 8)))


@pytest.mark.parametrize(
    ("traj", "message"),
    [
        (radial(2, 1, 16), "trajectory of contrast 0: has 16 different points, which enclose no area; use Pipe-Menon"),
        (np.zeros((1, 2, 4, 2), np.float32), "trajectory of contrast 0: has 1 different points"),
        (np.concatenate([np.ones((1, 3, 16, 1), np.float32), radial(1, 3, 16)], axis=-1), "enclose no volume"),
    ],
)
def test_points_must_enclose_something(traj, message):
    with pytest.raises(InputError, match=message):
        voronoi(traj, (1, 8, 8) if traj.shape[-1] == 2 else (8, 8, 8))


def bent(traj):
    return traj + 0.3 * np.sin(traj)[..., ::-1] * [1, 0]


UNFIT = {
    "spiral": (spiral(1, 16, 256, n_turns=2.0), r"contrast 0 has a spoke \(\d+\) that is bent or unevenly sampled"),
    "bent": (bent(radial(1, 20, 64)), r"bent or unevenly sampled"),
    "of several lengths": (radial(1, 20, 64) * np.linspace(0.8, 1, 20)[:, None, None], r"bent or unevenly sampled"),
    "one point": (np.zeros((1, 4, 8, 2)), r"has spokes of one point"),
    "from the centre outwards": (radial(1, 20, 64)[:, :, 32:], r"has a spoke \(\d+\) whose middle is not the centre"),
    "beside the centre": (0.8 * radial(1, 20, 64) + [0.5, 0], r"whose middle is not the centre"),
    "a fan in the second contrast": (
        np.concatenate([radial(1, 20, 64), radial(1, 200, 64)[:, np.argsort((111.246 * np.arange(200)) % 180)[:20]]]),
        r"contrast 1 leaves an angle of 16\d degrees without a spoke",
    ),
    "in space": (np.zeros((1, 20, 64, 3)), r"for straight spokes in a plane, the trajectory has the shape \(1, 20, 64, 3\)"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_the_ramp_is_refused_for_what_is_no_even_star_of_spokes(name):
    traj, match = UNFIT[name]
    with pytest.raises(InputError, match=rf"^radial density compensation: .*{match}; use Pipe-Menon or Voronoi"):
        radial_ramp(traj.astype(np.float32), (1, 32, 32))


@given(st.integers(1, 300), st.integers(8, 64), st.floats(0, 0.4), st.integers(0, 100))
def test_the_ramp_is_for_every_golden_angle_scan_with_some_gradient_delay(spokes, samples, delay, seed):
    traj = radial(2, spokes, samples)
    moved = traj + delay * 2 * np.pi / samples * np.random.default_rng(seed).choice([-1, 1], (2, spokes, 1, 1)) * [1, 0]
    weights = radial_ramp(moved.clip(-np.pi, np.pi).astype(np.float32), (1, 32, 32))
    np.testing.assert_allclose(weights.sum(), radial_ramp(traj, (1, 32, 32)).sum(), rtol=0.05)


def test_kinds_by_name():
    traj = radial(1, 20, 64)
    for kind, function in {"pipe-menon": pipe_menon, "voronoi": voronoi, "radial": radial_ramp}.items():
        np.testing.assert_array_equal(density_compensation(kind, traj, (1, 32, 32)), function(traj, (1, 32, 32)))
    with pytest.raises(ConfigError, match=r"density compensation 'vornoi': is not one of .*; did you mean 'voronoi'\?"):
        density_compensation("vornoi", traj, (1, 32, 32))
