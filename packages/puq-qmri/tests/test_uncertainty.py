from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from medcore.errors import InputError, NumericalError
from medcore.io.kspace import KSpace
from puq_qmri.operators import acquisition
from puq_qmri.reconstruction import ReconstructionSettings, Reconstructor
from puq_qmri.simulation import SimulationSettings, birdcage, simulate
from puq_qmri.trajectory import radial
from puq_qmri.uncertainty import (
    Prediction,
    component_errors,
    contrast_correlation,
    noise_level,
    pseudo_replica,
    sampled_fractions,
    whiten,
)


def gaussian(rng, shape, sigma=1.0):
    return (sigma * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))).astype(np.complex64)


def scan(rng, *, size=16, coils=4, contrasts=2, mask=None, sigma=0.1, **changes):
    shape = (contrasts, coils, 1, size, size)
    data = gaussian(rng, shape, sigma) * (1 if mask is None else mask[:, None])
    return KSpace(data=data, mask=mask, matrix=(1, size, size), fov=(0.005, 0.2, 0.2), **changes)


class TestPseudoReplica:
    @pytest.mark.parametrize("method", ["adjoint", "cg-sense"])
    @pytest.mark.parametrize("quick", [True, False], ids=["response", "repeated"])
    def test_full_sampling_gives_the_noise_of_the_samples(self, rng, method, quick):
        """Coil maps of root sum of squares 1 and an orthonormal transform: sigma in, sigma out, in each component."""
        kspace, csm = scan(rng), birdcage(4, 16)
        reconstructor = Reconstructor(kspace=kspace, csm=csm, settings=ReconstructionSettings(method=method))
        response = reconstructor.response if quick else None
        result = pseudo_replica(kspace, reconstructor.images, response=response, n_replicas=200, level=0.3)
        assert result.std.mean().item() == pytest.approx(0.3, rel=0.01)
        # 512 voxels: the largest of that many errors of 1 / (2 sqrt(200)) is about 3.2 of them.
        assert (result.std / 0.3 - 1).abs().max() < 0.15
        assert torch.equal(result.mean, reconstructor.images(kspace))
        assert not result.epistemic.any()

    @pytest.mark.parametrize("regularisation", [0.0, 0.05])
    @pytest.mark.parametrize("quick", [True, False], ids=["response", "repeated"])
    def test_sense_gives_the_g_factor_of_the_dense_matrix(self, rng, regularisation, quick):
        coils, size, sigma = 4, 8, 0.2
        csm = gaussian(rng, (coils, 1, size, size))
        csm /= np.sqrt((np.abs(csm) ** 2).sum(axis=0))
        mask = np.zeros((1, 1, size, size), bool)
        mask[:, :, ::2] = True
        kspace = scan(rng, size=size, coils=coils, contrasts=1, mask=mask)
        operator = acquisition(kspace, csm)
        columns = torch.eye(size**2, dtype=torch.complex128).reshape(-1, *operator.domain)
        a = torch.stack([operator(c).ravel() for c in columns], dim=1).numpy()
        normal = a.conj().T @ a + regularisation * np.eye(size**2)
        estimator = (1 + regularisation) * np.linalg.solve(normal, a.conj().T)
        expected = sigma * np.sqrt((np.abs(estimator) ** 2).sum(axis=1)).reshape(operator.domain)
        settings = ReconstructionSettings(tolerance=1e-6, max_iterations=200, regularisation=regularisation)
        reconstructor = Reconstructor(kspace=kspace, csm=csm, settings=settings)
        response = reconstructor.response if quick else None
        found = pseudo_replica(kspace, reconstructor.images, response=response, n_replicas=400, level=sigma).std.numpy()
        ratio = found / expected
        assert ratio.mean() == pytest.approx(1, abs=0.015)
        assert np.abs(ratio - 1).max() < 0.12
        # The test means something only if noise is amplified, and unevenly.
        assert expected.max() > 1.3 * expected.min()
        assert expected.max() > 1.3 * sigma * np.sqrt(2) if regularisation == 0 else expected.max() > sigma

    @pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
    def test_the_response_agrees_with_whole_repetitions(self, trajectory):
        """With the number of iterations fixed; a replica of its own may stop one iteration earlier or later."""
        kspace, truth = simulate(SimulationSettings(size=32, trajectory=trajectory, acceleration=2.0, times=(0.01, 0.1), snr=30.0))
        settings = ReconstructionSettings(tolerance=1e-6, max_iterations=8)
        reconstructor = Reconstructor(kspace=kspace, settings=settings)
        inside = torch.as_tensor(np.isfinite(truth.maps["m0"]))
        quick, whole = (
            pseudo_replica(kspace, reconstructor.images, response=r, n_replicas=60).aleatoric[:, inside].mean(dim=1)
            for r in (reconstructor.response, None)
        )
        np.testing.assert_allclose((quick / whole).sqrt(), 1, atol=0.06)

    def test_predicts_the_scatter_over_real_repetitions(self):
        """The same subject and sampling measured again and again with other noise: the referee without any theory."""
        kspace, truth = simulate(SimulationSettings(size=32, acceleration=2.0, times=(0.01, 0.1), snr=30.0))
        csm = birdcage(8, 32)
        reconstructor = Reconstructor(kspace=kspace, csm=csm)
        predicted = pseudo_replica(kspace, reconstructor.images, response=reconstructor.response, n_replicas=100)
        generator, level = np.random.default_rng(7), noise_level(kspace)
        clean = acquisition(kspace, csm)(torch.from_numpy(truth.images)).numpy()
        again = []
        for _ in range(100):
            noise = gaussian(generator, clean.shape, level) * kspace.mask[:, None]
            again.append(reconstructor.images(dataclasses.replace(kspace, data=clean + noise)).numpy())
        scatter = np.stack(again).view(np.float32).reshape(100, *truth.images.shape, 2).var(axis=0, ddof=1).mean(axis=-1)
        inside = np.isfinite(truth.maps["m0"])
        ratio = np.sqrt(predicted.aleatoric.numpy()[:, inside].mean(axis=1) / scatter[:, inside].mean(axis=1))
        np.testing.assert_allclose(ratio, 1, atol=0.1)

    def test_a_contrast_without_samples_and_a_voxel_without_coils_know_nothing(self, rng):
        kspace, csm = scan(rng), birdcage(4, 16)
        csm[:, 0, 3, 5] = 0
        data = kspace.data.copy()
        data[1] = 0
        empty = dataclasses.replace(kspace, data=data)
        reconstructor = Reconstructor(kspace=empty, csm=csm)
        for response in (reconstructor.response, None):
            result = pseudo_replica(empty, reconstructor.images, response=response, n_replicas=4, level=0.1)
            assert result.aleatoric[1].isinf().all()
            unseen = torch.zeros(1, 16, 16, dtype=torch.bool)
            unseen[0, 3, 5] = True
            assert torch.equal(result.aleatoric[0].isinf(), unseen)
            assert (result.aleatoric > 0).all()

    def test_the_seed_decides(self, rng):
        kspace = scan(rng)
        reconstructor = Reconstructor(kspace=kspace, csm=birdcage(4, 16))
        first, same, other = (
            pseudo_replica(kspace, reconstructor.images, response=reconstructor.response, n_replicas=3, seed=s) for s in (1, 1, 2)
        )
        assert torch.equal(first.aleatoric, same.aleatoric)
        assert not torch.equal(first.aleatoric, other.aleatoric)

    def test_input_is_left_alone_and_progress_sees_every_replica(self, rng):
        kspace = scan(rng, mask=rng.random((2, 1, 16, 16)) < 0.7)
        before, seen = kspace.data.copy(), []

        def progress(replicas):
            for i in replicas:
                seen.append(i)
                yield i

        reconstructor = Reconstructor(kspace=kspace, csm=birdcage(4, 16))
        pseudo_replica(kspace, reconstructor.images, n_replicas=3, level=0.1, progress=progress)
        assert seen == [0, 1, 2]
        assert np.array_equal(kspace.data, before)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"n_replicas": 1}, "number of replicas: is 1"),
            ({"level": 0.0}, "noise level: is 0"),
            ({"level": float("nan")}, "noise level: is nan"),
            ({"level": float("inf")}, "noise level: is inf"),
        ],
    )
    def test_bad_input(self, rng, changes, message):
        kspace = scan(rng)
        reconstructor = Reconstructor(kspace=kspace, csm=birdcage(4, 16))
        with pytest.raises(InputError, match=message):
            pseudo_replica(kspace, reconstructor.images, **changes)


def test_std_adds_both_kinds():
    part = torch.full((1, 1, 2, 2), 9.0)
    prediction = Prediction(mean=torch.zeros(1, 1, 2, 2, dtype=torch.complex64), aleatoric=part, epistemic=part * 16 / 9)
    assert torch.equal(prediction.std, torch.full((1, 1, 2, 2), 5.0))


class TestContrastCorrelation:
    @pytest.mark.parametrize("kind", ["complex", "real"])
    def test_is_that_of_the_errors(self, rng, kind):
        wanted = np.array([[1, 0.8, -0.3], [0.8, 1, 0], [-0.3, 0, 1]])
        draw = (lambda s: gaussian(rng, s)) if kind == "complex" else rng.standard_normal
        samples = [np.einsum("pq,qzyx->pzyx", np.linalg.cholesky(wanted), draw((3, 1, 30, 30))) for _ in range(10)]
        found = contrast_correlation(torch.from_numpy(s.astype(np.complex64 if kind == "complex" else np.float32)) for s in samples)
        np.testing.assert_allclose(found, wanted, atol=0.04)
        assert torch.equal(found.diagonal(), torch.ones(3))

    def test_deviations_keep_loud_voxels_from_deciding_alone(self, rng):
        """Errors shared where they are large and independent where they are small; most voxels are of the second kind."""
        loud = torch.zeros(2, 1, 20, 20)
        loud[:, :, :2] = 1
        shared, own = torch.randn(200, 1, 1, 20, 20), torch.randn(200, 2, 1, 20, 20)
        samples = [100 * loud * s + (1 - loud) * o for s, o in zip(shared, own, strict=True)]
        std = 100 * loud + (1 - loud)
        assert contrast_correlation(samples)[0, 1] > 0.99
        assert contrast_correlation(samples, std=std)[0, 1] == pytest.approx(0.1, abs=0.03)
        assert contrast_correlation(samples, std=std, mask=loud[0] == 0)[0, 1] == pytest.approx(0, abs=0.03)

    def test_a_contrast_of_unknown_variance_correlates_with_nothing(self, rng):
        errors = torch.from_numpy(gaussian(rng, (3, 1, 8, 8)))
        std = torch.ones(3, 1, 8, 8)
        std[1] = torch.inf
        found = contrast_correlation([errors], std=std)
        assert found[1].tolist() == [0, 1, 0]
        assert torch.linalg.eigvalsh(found).min() > -1e-6

    def test_pseudo_replicas_of_a_subspace_are_correlated_and_of_cg_sense_are_not(self):
        """One component for two contrasts: whatever noise does to one, it does to the other."""
        kspace, _ = simulate(SimulationSettings(size=32, acceleration=2.0, times=(0.01, 0.1), snr=30.0))
        generator, level = np.random.default_rng(3), noise_level(kspace)
        found = {}
        for method, changes in (("cg-sense", {}), ("subspace", {"components": 1, "discrepancy": 0.0})):
            settings = ReconstructionSettings(method=method, **changes)
            reconstructor = Reconstructor(kspace=kspace, csm=birdcage(8, 32), settings=settings, model="t2")
            noise = (gaussian(generator, kspace.data.shape, level) * kspace.mask[:, None] for _ in range(10))
            found[method] = contrast_correlation(reconstructor.response(n) for n in noise)[0, 1].item()
        assert abs(found["cg-sense"]) < 0.1
        # Of either sign, as the component has it.
        assert abs(found["subspace"]) > 0.99

    def test_nothing_to_learn_from(self):
        with pytest.raises(InputError, match="correlation between contrasts: has no errors"):
            contrast_correlation([])


class TestComponentErrors:
    def test_complex_images_have_two_components_and_real_ones_one(self, rng):
        images, truth = (torch.from_numpy(gaussian(rng, (2, 1, 4, 4))) for _ in range(2))
        both = component_errors(images, truth)
        assert torch.equal(torch.complex(both[:, 0], both[:, 1]), images - truth)
        along = component_errors(images, truth, real_images=True)
        assert along.shape == (2, 1, 1, 4, 4)
        torch.testing.assert_close(along[:, 0], images.abs() - (truth * images.conj()).real / images.abs())


class TestSampledFractions:
    def test_of_a_mask_and_of_contrasts_without_samples(self, rng):
        mask = np.zeros((3, 1, 16, 16), bool)
        for contrast, step in enumerate((1, 2, 4)):
            mask[contrast, :, ::step] = True
        assert sampled_fractions(scan(rng, contrasts=3, mask=mask)).tolist() == [1, 0.5, 0.25]
        kspace = scan(rng, contrasts=3, mask=mask)
        kspace.data[1] = 0
        assert sampled_fractions(kspace).tolist() == [1, 0, 0.25]
        assert sampled_fractions(scan(rng)).tolist() == [1, 1]

    @pytest.mark.parametrize("spokes", [4, 16, 200])
    def test_of_spokes_counts_the_grid_points_they_come_near(self, rng, spokes):
        size = 64
        traj = radial(2, spokes, 2 * size)
        data = gaussian(rng, (2, 1, spokes, 2 * size))
        found = sampled_fractions(KSpace(data=data, traj=traj, matrix=(1, size, size), fov=(0.005, 0.2, 0.2)))
        if spokes == 200:
            assert found.tolist() == pytest.approx([np.pi / 4] * 2, rel=0.03)
        else:
            # A line through the grid comes near 1 to 1.3 points for each unit of its length.
            few = spokes * size / size**2
            assert ((found > 0.7 * few) & (found < 1.35 * few)).all()


class TestWhiten:
    @pytest.fixture
    def correlated(self, rng):
        """Coils that share noise and differ in level by a factor of five, and the factor that mixes them."""
        mixing = rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4)) + np.diag([5, 3, 1, 1])
        noise = np.einsum("cd,ds->cs", mixing, gaussian(rng, (4, 20000))).astype(np.complex64)
        return scan(rng, noise=noise), mixing

    def test_noise_becomes_white_and_keeps_its_mean_level(self, correlated):
        kspace, _ = correlated
        white = whiten(kspace)
        covariance = white.noise @ white.noise.conj().T / white.noise.shape[1]
        level = 2 * noise_level(kspace) ** 2
        np.testing.assert_allclose(covariance / level, np.eye(4), atol=1e-4)
        assert noise_level(white) == pytest.approx(noise_level(kspace), rel=1e-5)

    def test_samples_noise_and_maps_undergo_the_same_map(self, correlated, rng):
        kspace, _ = correlated
        csm = gaussian(rng, (4, 1, 16, 16))
        white = whiten(dataclasses.replace(kspace, csm=csm))
        mixed = np.linalg.lstsq(kspace.noise.T, white.noise.T, rcond=None)[0].T
        np.testing.assert_allclose(white.data, np.einsum("cd,pd...->pc...", mixed, kspace.data), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(white.csm, np.einsum("cd,d...->c...", mixed, csm), rtol=1e-3, atol=1e-3)

    def test_images_do_not_change_and_their_noise_falls(self, correlated, rng):
        """The model stays the same, the weights become right: less noise in the least-squares image."""
        kspace, mixing = correlated
        mask = np.zeros((1, 1, 16, 16), bool)
        mask[:, :, ::2] = True
        csm = gaussian(rng, (4, 1, 16, 16))
        truth = gaussian(rng, (1, 1, 16, 16))
        base = KSpace(
            data=np.zeros((1, 4, 1, 16, 16), np.complex64),
            mask=mask,
            matrix=(1, 16, 16),
            fov=(0.01, 0.2, 0.2),
            noise=kspace.noise,
            csm=csm,
        )
        clean = acquisition(base, csm)(torch.from_numpy(truth)).numpy()
        settings = ReconstructionSettings(tolerance=1e-5, max_iterations=300, regularisation=0.0)
        errors = {"plain": [], "white": []}
        for _ in range(5):
            noise = 0.05 * np.einsum("cd,pd...->pc...", mixing, gaussian(rng, clean.shape)) * mask[:, None]
            noisy = dataclasses.replace(base, data=(clean + noise).astype(np.complex64))
            for name, given in (("plain", noisy), ("white", whiten(noisy))):
                images = Reconstructor(kspace=given, settings=settings).images(given).numpy()
                errors[name].append(np.linalg.norm(images - truth))
        exact = whiten(dataclasses.replace(base, data=clean))
        images = Reconstructor(kspace=exact, settings=settings).images(exact).numpy()
        assert np.linalg.norm(images - truth) < 1e-2 * np.linalg.norm(truth)
        assert np.mean(errors["white"]) < 0.9 * np.mean(errors["plain"])

    def test_points_outside_the_mask_stay_zero(self, correlated, rng):
        kspace, _ = correlated
        mask = rng.random((2, 1, 16, 16)) < 0.5
        white = whiten(dataclasses.replace(kspace, data=kspace.data * mask[:, None], mask=mask))
        assert np.array_equal((white.data != 0).any(axis=1), mask)

    def test_without_a_noise_scan_nothing_happens(self, rng):
        kspace = scan(rng)
        assert whiten(kspace) is kspace

    @pytest.mark.parametrize("fault", ["dead", "doubled"])
    def test_a_dead_or_doubled_coil_is_named(self, correlated, fault):
        kspace, _ = correlated
        noise = kspace.noise.copy()
        noise[2] = 0 if fault == "dead" else noise[1]
        with pytest.raises(
            NumericalError, match="memory: has a singular noise covariance between coils; leave out dead or doubled"
        ):
            whiten(dataclasses.replace(kspace, noise=noise))

    def test_too_short_a_noise_scan_is_refused(self, correlated):
        kspace, _ = correlated
        with pytest.raises(InputError, match="has 3 noise samples of 4 coils"):
            whiten(dataclasses.replace(kspace, noise=kspace.noise[:, :3]))


class TestNoiseLevel:
    def test_of_the_noise_scan(self, rng):
        kspace = scan(rng, noise=gaussian(rng, (4, 50000), 0.7))
        assert noise_level(kspace) == pytest.approx(0.7, rel=0.01)

    def test_of_a_noise_scan_in_units_of_a_scanner(self, rng):
        kspace = scan(rng, noise=gaussian(rng, (4, 50000), 1e-25))
        assert noise_level(kspace) == pytest.approx(1e-25, rel=0.01)

    @pytest.mark.parametrize("trajectory", ["cartesian", "radial", "spiral"])
    @pytest.mark.parametrize("acceleration", [1.0, 3.0])
    def test_of_the_outer_samples_is_a_close_upper_bound(self, trajectory, acceleration):
        kspace, _ = simulate(SimulationSettings(trajectory=trajectory, acceleration=acceleration, size=96, snr=20.0))
        known = noise_level(kspace)
        assert known <= 1.02 * noise_level(dataclasses.replace(kspace, noise=None)) < 1.4 * known

    def test_zeros_that_no_mask_mentions_do_not_count(self, rng):
        kspace = scan(rng, size=32, sigma=0.5)
        corners = np.hypot(*np.meshgrid(*[np.arange(32) - 16] * 2, indexing="ij")) > 15
        assert noise_level(dataclasses.replace(kspace, data=np.where(corners, 0, kspace.data))) == pytest.approx(0.5, rel=0.1)

    @pytest.mark.parametrize("trajectory", [True, False])
    def test_no_noise_is_an_error(self, rng, trajectory):
        kspace, _ = simulate(SimulationSettings(size=32, trajectory="radial" if trajectory else "cartesian"))
        empty = dataclasses.replace(kspace, data=np.zeros_like(kspace.data), noise=None)
        with pytest.raises(NumericalError, match="has no measurable noise; choose --uncertainty none"):
            noise_level(empty)
