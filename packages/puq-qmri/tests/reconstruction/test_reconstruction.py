from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError, InputError
from medcore.io.kspace import KSpace
from medcore.io.npy import read_npy_kspace
from puq_qmri.operators import acquisition
from puq_qmri.reconstruction import ReconstructionSettings, Reconstructor, conjugate_gradients, reconstruct, repeat_course
from puq_qmri.simulation import SimulationSettings, birdcage, simulate
from puq_qmri.trajectory import cartesian_mask
from puq_qmri.uncertainty import noise_level

EXACT = ReconstructionSettings(tolerance=1e-5, max_iterations=200, regularisation=0.0)
SIZE = 64


def simulated(**changes):
    """A measurement with its truth, the true coil maps and the object."""
    settings = SimulationSettings(**{"size": SIZE, "times": (0.01, 0.05, 0.1), "snr": 1e6, "acceleration": 1.0, **changes})
    kspace, truth = simulate(settings)
    return kspace, truth, birdcage(settings.n_coils, settings.size), np.isfinite(truth.maps["m0"])


def nrmse(images, truth, inside=None):
    images, truth = np.asarray(images), np.asarray(truth)
    if inside is not None:
        images, truth = images[:, inside], truth[:, inside]
    return np.linalg.norm(images - truth) / np.linalg.norm(truth)


def test_a_fully_sampled_grid_gives_the_truth():
    kspace, truth, csm, _ = simulated()
    for settings in (EXACT, ReconstructionSettings()):
        result = reconstruct(kspace, settings, csm=csm)
        assert nrmse(result.images, truth.images) < 1e-4
        assert result.images.dtype == torch.complex64


@pytest.mark.parametrize("trajectory", ["spiral", "radial"])
def test_a_full_trajectory_gives_what_lies_within_its_disc(trajectory):
    """The corners of k-space are not measured; the part of the truth within the disc must come back."""
    kspace, truth, csm, inside = simulated(trajectory=trajectory)
    axes = (-2, -1)
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(truth.images, axes)), axes)
    radius = np.hypot(*np.meshgrid(*[np.arange(SIZE) - SIZE // 2] * 2, indexing="ij"))
    disc = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectrum * (radius <= SIZE // 2), axes)), axes)
    images = reconstruct(kspace, ReconstructionSettings(), csm=csm).images
    limit = nrmse(disc, truth.images, inside)
    assert nrmse(images, truth.images, inside) < 1.1 * limit + 0.005


def test_fully_sampled_grid_takes_one_step():
    kspace, _, csm, _ = simulated()
    assert reconstruct(kspace, csm=csm).iterations.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("trajectory", "acceleration", "bar"),
    [("cartesian", 2.0, 0.02), ("cartesian", 3.0, 0.07), ("radial", 2.0, 0.05), ("radial", 4.0, 0.05)],
)
def test_undersampled_data_give_far_less_error_than_the_adjoint(trajectory, acceleration, bar):
    kspace, truth, csm, inside = simulated(trajectory=trajectory, acceleration=acceleration)
    iterated = nrmse(reconstruct(kspace, EXACT, csm=csm).images, truth.images, inside)
    adjoint = nrmse(reconstruct(kspace, ReconstructionSettings(method="adjoint"), csm=csm).images, truth.images, inside)
    assert iterated < bar
    assert iterated < adjoint / 2


@pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
def test_the_adjoint_of_fully_sampled_data_has_the_right_amplitude(trajectory):
    kspace, truth, csm, inside = simulated(trajectory=trajectory)
    for maps in (csm, 3j * csm):  # maps of any scale: the image is what they multiply
        result = reconstruct(kspace, ReconstructionSettings(method="adjoint"), csm=maps)
        expected = truth.images * csm[0] / maps[0]
        slope = np.vdot(expected[:, inside], result.images.numpy()[:, inside]) / np.vdot(expected[:, inside], expected[:, inside])
        assert abs(slope - 1) < 0.03
        assert result.iterations.tolist() == [0, 0, 0]


@pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
def test_noise_averages_into_less_error_than_with_the_adjoint(trajectory):
    """With the default settings, at a usual level of noise, with estimated coil maps."""
    kspace, truth, csm, inside = simulated(trajectory=trajectory, acceleration=3.0, snr=50.0)
    errors = {}
    for method in ("adjoint", "cg-sense"):
        reconstructor = Reconstructor(kspace=kspace, settings=ReconstructionSettings(method=method))
        phase = np.exp(1j * np.angle((reconstructor.csm.conj() * csm).sum(axis=0)))
        errors[method] = nrmse(reconstructor.images(kspace), truth.images * phase, inside)
    assert errors["cg-sense"] < 0.85 * errors["adjoint"]


@given(seed=st.integers(0, 1000), exponent=st.integers(-14, 14))
def test_the_scale_of_the_data_does_not_matter(seed, exponent):
    """Scanners write samples of 1e-7 as well as of 1e7; squares of either leave single precision."""
    rng = np.random.default_rng(seed)
    csm = birdcage(3, 16)
    data = (rng.standard_normal((2, 3, 1, 16, 16)) + 1j * rng.standard_normal((2, 3, 1, 16, 16))).astype(np.complex64)
    mask = cartesian_mask(2, (1, 16, 16), 2.0, seed=seed)
    kspace = KSpace(data=data * mask[:, None], mask=mask, matrix=(1, 16, 16), fov=(0.01, 0.2, 0.2))
    factor = np.float32(2.0 ** (4 * exponent))
    scaled = dataclasses.replace(kspace, data=kspace.data * factor)
    one, other = reconstruct(kspace, csm=csm), reconstruct(scaled, csm=csm)
    assert one.iterations.tolist() == other.iterations.tolist()
    np.testing.assert_allclose(other.images / factor, one.images, rtol=1e-4, atol=1e-5)


def test_contrasts_stop_on_their_own_and_do_not_influence_each_other():
    kspace, _, csm, _ = simulated(acceleration=2.0, snr=30.0)
    together = reconstruct(kspace, csm=csm)
    assert len(set(together.iterations.tolist())) > 1
    assert (together.residuals <= ReconstructionSettings().tolerance).all()
    for i in range(3):
        alone = reconstruct(kspace.select([i]), csm=csm)
        assert alone.iterations[0] == together.iterations[i]
        np.testing.assert_allclose(alone.images[0], together.images[i], rtol=1e-4, atol=1e-5)
        assert torch.equal(together.steps[:, i] > 0, torch.arange(len(together.steps)) < together.iterations[i])


@pytest.mark.parametrize("method", ["adjoint", "cg-sense"])
@pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
def test_a_contrast_without_signal_is_zero_and_the_others_are_not(method, trajectory):
    kspace, _, csm, _ = simulated(trajectory=trajectory)
    data = kspace.data.copy()
    data[1] = 0
    result = reconstruct(dataclasses.replace(kspace, data=data), ReconstructionSettings(method=method), csm=csm)
    assert not result.images[1].any()
    assert result.images.isfinite().all()
    assert (result.iterations[1], result.residuals[1]) == (0, 0)
    full = reconstruct(kspace, ReconstructionSettings(method=method), csm=csm)
    np.testing.assert_allclose(result.images[[0, 2]], full.images[[0, 2]], rtol=1e-5, atol=1e-6)


def dense(rng, regularisation):
    """A tiny measurement, its matrix, and the images that minimise squared residual and squared image, brightened."""
    matrix, coils = (1, 6, 6), 3
    csm = (rng.standard_normal((coils, *matrix)) + 1j * rng.standard_normal((coils, *matrix))).astype(np.complex64)
    mask = np.zeros((1, *matrix), bool)
    mask[:, :, ::2] = True
    data = (rng.standard_normal((1, coils, *matrix)) + 1j * rng.standard_normal((1, coils, *matrix))).astype(np.complex64)
    kspace = KSpace(data=data * mask[:, None], mask=mask, matrix=matrix, fov=(0.01, 0.2, 0.2))
    operator = acquisition(kspace, csm)
    columns = torch.eye(36, dtype=torch.complex128).reshape(36, *operator.domain)
    a = torch.stack([operator(c).ravel() for c in columns], dim=1).numpy()
    solution = np.linalg.solve(
        a.conj().T @ a + regularisation * np.eye(36), (1 + regularisation) * a.conj().T @ kspace.data.ravel()
    )
    return kspace, csm, solution.reshape(operator.domain)


@pytest.mark.parametrize("regularisation", [0.0, 0.1])
def test_equals_the_solution_of_the_dense_normal_equations(rng, regularisation):
    kspace, csm, expected = dense(rng, regularisation)
    settings = ReconstructionSettings(tolerance=1e-6, max_iterations=300, regularisation=regularisation)
    assert nrmse(reconstruct(kspace, settings, csm=csm).images, expected) < 2e-4


def test_the_number_of_iterations_is_limited():
    kspace, _, csm, _ = simulated(acceleration=4.0)
    result = reconstruct(kspace, ReconstructionSettings(tolerance=1e-6, max_iterations=3), csm=csm)
    assert result.iterations.tolist() == [3, 3, 3]
    assert (result.residuals > 1e-6).all()


def test_both_back_ends_give_the_same_images():
    kspace, _, csm, inside = simulated(trajectory="radial", acceleration=2.0, size=32)
    first, second = (reconstruct(kspace, ReconstructionSettings(backend=b), csm=csm).images for b in ("finufft", "torchkbnufft"))
    assert nrmse(second, first, inside) < 0.01


@pytest.mark.parametrize("method", ["adjoint", "cg-sense"])
def test_the_response_to_noise_repeats_the_course_of_the_measurement(method, rng):
    kspace, _, csm, _ = simulated(acceleration=2.0, snr=30.0)
    reconstructor = Reconstructor(kspace=kspace, csm=csm, settings=ReconstructionSettings(method=method))
    # Its own data through the same course give its own images.
    assert nrmse(reconstructor.response(kspace.data), reconstructor.images(kspace)) < 1e-5
    noise = rng.standard_normal((*kspace.data.shape, 2)).astype(np.float32).view(np.complex64)[..., 0] * kspace.mask[:, None]
    other = noise[::-1] * kspace.mask[:, None]
    np.testing.assert_allclose(
        reconstructor.response((2 * noise + other).astype(np.complex64)),
        2 * reconstructor.response(noise) + reconstructor.response(np.ascontiguousarray(other)),
        atol=2e-4,
    )


def test_the_same_measurement_is_reconstructed_once():
    kspace, _, csm, _ = simulated()
    reconstructor = Reconstructor(kspace=kspace, csm=csm)
    assert reconstructor(kspace) is reconstructor(kspace)


@pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
@pytest.mark.parametrize("method", ["cg-sense", "subspace"])
def test_residual_images_are_the_gradient_of_the_misfit(trajectory, method):
    """For small steps along them the weighted misfit falls by what the inner product says, and true images leave nothing."""
    kspace, truth, csm, _ = simulated(trajectory=trajectory, acceleration=2.0)
    settings = ReconstructionSettings(method=method)
    reconstructor = Reconstructor(kspace=kspace, csm=csm, settings=settings, model="t2")
    images = 0.5 * reconstructor.images(kspace)
    residual = reconstructor.residual_images(kspace, images)
    density = reconstructor.density.mask.double()

    def misfit(x):
        difference = reconstructor.operator(x) - torch.as_tensor(kspace.data)
        return float((density * difference.abs().double() ** 2).sum())

    step = 1e-3
    fall = misfit(images) - misfit(images + step * residual)
    energy = float((residual.abs().double() ** 2).sum())
    assert fall == pytest.approx(2 * step * energy, rel=5e-3)
    left = reconstructor.residual_images(kspace, torch.from_numpy(truth.images))
    assert float(left.abs().max()) < 1e-3 * float(residual.abs().max())


def test_residual_images_need_the_sampling_and_the_shape_of_the_images():
    kspace, _, csm, _ = simulated(acceleration=2.0)
    reconstructor = Reconstructor(kspace=kspace, csm=csm)
    other, _, _, _ = simulated(trajectory="radial")
    with pytest.raises(InputError, match="was sampled otherwise"):
        reconstructor.residual_images(other, reconstructor.images(kspace))
    with pytest.raises(InputError, match="got a tensor of shape"):
        reconstructor.residual_images(kspace, reconstructor.images(kspace)[:2])


def test_another_sampling_is_refused():
    kspace, _, csm, _ = simulated(acceleration=2.0)
    reconstructor = Reconstructor(kspace=kspace, csm=csm)
    moved = np.roll(kspace.mask, 1, axis=2)
    other = dataclasses.replace(kspace, mask=moved, data=np.roll(kspace.data, 1, axis=3))
    with pytest.raises(InputError, match="was sampled otherwise"):
        reconstructor(other)
    radial, _, _, _ = simulated(trajectory="radial")
    with pytest.raises(InputError, match="was sampled otherwise"):
        reconstructor(radial)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"method": "cgsense"},
            "reconstruction method 'cgsense': is not one of adjoint, cg-sense, subspace, unrolled; did you mean 'cg-sense'",
        ),
        ({"backend": "fft"}, "NUFFT back end 'fft': is not one of auto, finufft, cufinufft, torchkbnufft"),
        ({"basis": "svt"}, "kind of temporal basis 'svt': is not one of svd, cramer-rao; did you mean 'svd'"),
    ],
)
def test_unknown_names(changes, message):
    # The tests' type checker refuses such arguments before the class sees them.
    settings = ReconstructionSettings()
    object.__setattr__(settings, *next(iter(changes.items())))
    with pytest.raises(ConfigError, match=message):
        settings.__post_init__()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_iterations": 0}, "max_iterations=0"),
        ({"tolerance": 0.0}, "tolerance=0.0"),
        ({"tolerance": 1.0}, "tolerance=1.0"),
        ({"tolerance": float("nan")}, "tolerance=nan"),
        ({"regularisation": -0.1}, "regularisation=-0.1"),
        ({"regularisation": float("nan")}, "regularisation=nan"),
        ({"regularisation": float("inf")}, "regularisation=inf"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        ReconstructionSettings(**changes)


def test_coil_maps_must_fit():
    kspace, _, csm, _ = simulated()
    with pytest.raises(InputError, match="coil sensitivity maps: have shape"):
        Reconstructor(kspace=kspace, csm=csm[:3])


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="right-hand side of the normal equations: is not finite"):
        conjugate_gradients(lambda x: x, torch.full((1, 1, 2, 2), torch.nan + 0j), ReconstructionSettings())


def test_repeating_a_course_is_a_polynomial_of_the_normal_operator(rng):
    weights = torch.as_tensor(rng.uniform(0.1, 1, (2, 1, 3, 4)), dtype=torch.float32)
    right = torch.randn(2, 1, 3, 4, dtype=torch.complex64)
    course = conjugate_gradients(lambda x: weights * x, right, ReconstructionSettings(tolerance=1e-2))
    np.testing.assert_allclose(repeat_course(lambda x: weights * x, right, course), course.images, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def brain(data_root):
    """A measured brain: 12 % of the samples, a Poisson disc around a full centre, eight coils."""
    kspace = read_npy_kspace(data_root / "sigpy-brain-kspace" / "cartesian_ksp.npy")
    return kspace, Reconstructor(kspace=kspace)


@pytest.mark.integration
class TestMeasuredBrain:
    def test_agrees_with_sigpy(self, brain):
        import sigpy.mri.app

        kspace, _ = brain
        settings = ReconstructionSettings(tolerance=1e-6, max_iterations=12, regularisation=0.01)
        ours = Reconstructor(kspace=kspace, settings=settings)
        theirs = sigpy.mri.app.SenseRecon(kspace.data[0, :, 0], ours.csm[:, 0], lamda=0.01, max_iter=12, show_pbar=False).run()
        assert nrmse(ours.images(kspace)[0, 0] / 1.01, theirs) < 1e-3

    def test_predicts_samples_it_has_not_seen(self, brain, rng):
        """One tenth of the samples is left out; the image made from the others must say what they are."""
        kspace, full = brain
        left_out = kspace.mask & (rng.random(kspace.mask.shape) < 0.1)
        left_out[:, :, 100:130, 75:105] = False  # the centre makes the coil maps, and would be easy
        kept = kspace.mask & ~left_out
        thinned = dataclasses.replace(kspace, data=kspace.data * kept[:, None], mask=kept)
        every = dataclasses.replace(kspace, mask=None)
        reconstructor = Reconstructor(kspace=thinned)
        predicted = acquisition(every, reconstructor.csm)(reconstructor.images(thinned)).numpy()
        held = np.broadcast_to(left_out[:, None], kspace.data.shape)
        assert nrmse(predicted[held], kspace.data[held]) < 0.5
        assert full.own.images.isfinite().all()

    @pytest.mark.parametrize(("acceleration", "bar"), [(2.0, 0.1), (3.0, 0.18)])
    def test_undersampled_lines(self, brain, acceleration, bar):
        kspace, _ = brain
        mask = cartesian_mask(1, kspace.matrix, acceleration, centre_fraction=0.1)
        errors = self.errors(brain, dataclasses.replace(kspace, data=np.zeros_like(kspace.data), mask=mask))
        assert errors["cg-sense"] < bar
        assert errors["cg-sense"] < 0.8 * errors["adjoint"]

    def test_spokes_of_the_published_trajectory(self, brain, data_root):
        kspace, _ = brain
        coordinates = np.load(data_root / "sigpy-brain-kspace" / "projection_coord.npy")
        traj = (coordinates[None] * np.pi / 128).astype(np.float32)
        empty = np.zeros((1, kspace.n_coils, *traj.shape[1:3]), np.complex64)
        errors = self.errors(brain, KSpace(data=empty, traj=traj, matrix=kspace.matrix, fov=kspace.fov))
        assert errors["cg-sense"] < 0.06
        assert errors["cg-sense"] < 0.8 * errors["adjoint"]

    @staticmethod
    def errors(brain, sampling):
        """Errors when the reconstructed brain is measured again with another sampling and the noise of the real samples."""
        kspace, full = brain
        generator = np.random.default_rng(0)
        clean = acquisition(sampling, full.csm)(full.own.images).numpy()
        noise = noise_level(kspace) * generator.standard_normal((*clean.shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
        again = dataclasses.replace(sampling, data=clean + (noise if sampling.mask is None else noise * sampling.mask[:, None]))
        errors = {}
        for method in ("adjoint", "cg-sense"):
            reconstructor = Reconstructor(kspace=again, csm=full.csm, settings=ReconstructionSettings(method=method))
            errors[method] = nrmse(reconstructor.images(again), full.own.images)
        return errors


class TestDensity:
    KINDS = ("pipe-menon", "voronoi", "radial")

    @pytest.mark.parametrize(("method", "bar", "ratio"), [("adjoint", 0.05, 1.3), ("cg-sense", 0.01, 1.05)])
    def test_kinds_agree_on_a_fully_sampled_star_of_spokes(self, method, bar, ratio):
        kspace, truth, csm, inside = simulated(trajectory="radial")
        found = [
            reconstruct(kspace, ReconstructionSettings(method=method, density=kind), csm=csm).images.numpy() for kind in self.KINDS
        ]
        errors = [nrmse(images, truth.images, inside) for images in found]
        assert max(errors) < ratio * min(errors)
        for images in found[1:]:
            assert 0 < nrmse(images, found[0], inside) < bar

    def test_coil_maps_are_estimated_with_the_same_weights(self):
        kspace, _, _, inside = simulated(trajectory="radial", snr=50.0, acceleration=2.0)
        found = [Reconstructor(kspace=kspace, settings=ReconstructionSettings(density=kind)).csm for kind in self.KINDS]
        for maps in found[1:]:
            assert not np.array_equal(maps, found[0])
            assert nrmse(maps, found[0], inside) < 0.02

    @pytest.mark.parametrize("trajectory", ["cartesian", "spiral"])
    def test_what_does_not_fit_is_refused(self, trajectory):
        kspace, _, _, _ = simulated(trajectory=trajectory)
        problem = {
            "cartesian": "lies on a grid, density compensation radial is for trajectories; leave it out",
            "spiral": "is for even spokes through the centre, .*; use Pipe-Menon or Voronoi",
        }[trajectory]
        with pytest.raises(InputError, match=problem):
            Reconstructor(kspace=kspace, settings=ReconstructionSettings(density="radial"))

    def test_networks_are_refused(self):
        with pytest.raises(ConfigError, match=r"--density voronoi: is not for method unrolled"):
            ReconstructionSettings(method="unrolled", density="voronoi")


def test_a_back_end_that_is_not_there_is_refused_before_anything_is_computed(monkeypatch):
    kspace, _, _, _ = simulated(trajectory="radial")
    monkeypatch.setattr("puq_qmri.reconstruction.reconstructor.density_compensation", lambda *_: pytest.fail("too late"))
    with pytest.raises(InputError, match=r"NUFFT back end cufinufft: got a trajectory on cpu; use a CUDA device"):
        Reconstructor(kspace=kspace, settings=ReconstructionSettings(backend="cufinufft"))
