"""What is done to a measurement before it is reconstructed changes neither image nor noise beyond what it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError, InputError, NumericalError
from medcore.io import KSpace
from puq_qmri.csm import espirit
from puq_qmri.operators import acquisition
from puq_qmri.preparation import compress_coils, prepare, remove_oversampling, undersample
from puq_qmri.reconstruction import ReconstructionSettings, Reconstructor, reconstruct
from puq_qmri.simulation import SimulationSettings, birdcage, simulate
from puq_qmri.uncertainty import noise_level, whiten

AXES = (-3, -2, -1)


def to_kspace(images: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(images, AXES), axes=AXES, norm="ortho"), AXES).astype(np.complex64)


def to_images(samples: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(samples, AXES), axes=AXES, norm="ortho"), AXES)


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


class TestCompression:
    def test_virtual_coils_hold_the_most_energy_that_any_combination_can(self, rng):
        """Against the singular values of the samples: no other rows of that number keep more."""
        kspace = KSpace(
            data=noise(rng, 2, 6, 1, 8, 7) * np.arange(1, 7, dtype=np.float32)[:, None, None, None],
            matrix=(1, 8, 7),
            fov=(0.01, 0.2, 0.2),
        )
        values = np.linalg.svd(np.moveaxis(kspace.data, 1, 0).reshape(6, -1).astype(np.complex128), compute_uv=False)
        found = compress_coils(kspace, 3)
        energy = float((np.abs(found.data.astype(np.complex128)) ** 2).sum())
        assert energy == pytest.approx((values[:3] ** 2).sum(), rel=1e-5)
        assert found.meta["energy_kept"] == pytest.approx((values[:3] ** 2).sum() / (values**2).sum(), rel=1e-5)
        assert found.meta["coils_measured"] == 6
        assert found.n_coils == 3

    def test_all_virtual_coils_are_only_turned(self, rng):
        kspace, _ = simulate(SimulationSettings(size=32, acceleration=2.0))
        found = compress_coils(kspace, 8)
        inner, expected = (np.einsum("pcsyx,pcsyx->psyx", k.data, k.data.conj()) for k in (found, whiten(kspace)))
        np.testing.assert_allclose(inner, expected, atol=1e-4 * np.abs(expected).max())

    def test_as_few_coils_as_hold_the_energy(self, rng):
        mixing = np.linalg.qr(noise(rng, 5, 5).astype(np.complex128))[0]
        data = np.einsum("cv,pvzyx->pczyx", mixing * [10, 5, 1e-2, 1e-2, 1e-2], noise(rng, 1, 5, 1, 20, 20)).astype(np.complex64)
        kspace = KSpace(data=data, matrix=(1, 20, 20), fov=(0.01, 0.2, 0.2))
        assert [compress_coils(kspace, energy=e).n_coils for e in (0.5, 0.99, 1 - 2e-6, 1.0)] == [1, 2, 3, 5]

    def test_noise_stays_white_and_keeps_its_level(self, rng):
        kspace, _ = simulate(SimulationSettings(size=48, n_coils=8))
        factor = np.linalg.cholesky(0.6 * np.ones((8, 8)) + 0.4 * np.diag(np.arange(1.0, 9)))
        coloured = dataclasses.replace(kspace, noise=(factor @ kspace.noise).astype(np.complex64))
        found = compress_coils(coloured, 4)
        covariance = found.noise @ found.noise.conj().T / found.noise.shape[1]
        level = noise_level(whiten(coloured))
        np.testing.assert_allclose(covariance, 2 * level**2 * np.eye(4), atol=1e-4 * level**2)

    def test_maps_are_transformed_like_the_samples(self, rng):
        """The operator with compressed maps gives the compressed samples of any image."""
        kspace, truth = simulate(SimulationSettings(size=32, acceleration=1.0, snr=1e6, n_coils=6))
        csm = birdcage(6, 32)
        found = compress_coils(dataclasses.replace(kspace, csm=csm, noise=None), 4)
        samples = acquisition(found, found.csm)(torch.from_numpy(truth.images)).numpy()
        assert error(samples, found.data) < 1e-3

    @pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
    def test_half_the_coils_give_nearly_the_same_images(self, trajectory):
        kspace, truth = simulate(
            SimulationSettings(size=64, n_coils=16, acceleration=2.0, trajectory=trajectory, times=(0.01, 0.1))
        )
        inside = np.isfinite(truth.maps["m0"])
        whole, half = (
            error(np.abs(reconstruct(k).images.numpy())[:, inside], np.abs(truth.images)[:, inside])
            for k in (whiten(kspace), compress_coils(kspace, 8))
        )
        assert half < 1.1 * whole

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({}, r"has n_coils=None and energy=None; give one of them"),
            ({"n_coils": 2, "energy": 0.9}, r"has n_coils=2 and energy=0.9"),
            ({"n_coils": 9}, r"is to give 9 virtual coils of 8 coils; choose 1 to 8"),
            ({"n_coils": 0}, r"is to give 0 virtual coils of 8"),
            ({"energy": 1.5}, r"is to keep 1.5 of the energy"),
            ({"energy": float("nan")}, r"is to keep nan of the energy"),
        ],
    )
    def test_impossible_numbers_are_refused(self, arguments, match):
        kspace, _ = simulate(SimulationSettings(size=32))
        with pytest.raises(ConfigError, match=match):
            compress_coils(kspace, **arguments)

    def test_without_signal_there_is_nothing_to_choose_by(self):
        kspace, _ = simulate(SimulationSettings(size=32))
        with pytest.raises(NumericalError, match=r"no signal to choose virtual coils by"):
            compress_coils(dataclasses.replace(kspace, data=np.zeros_like(kspace.data)), 2)


class TestOversampling:
    @given(seed=st.integers(0, 2**31), sizes=st.tuples(*[st.integers(1, 7)] * 3), smaller=st.tuples(*[st.floats(0, 1)] * 3))
    def test_the_image_is_cut_around_its_centre_and_stays_in_place(self, seed, sizes, smaller):
        rng = np.random.default_rng(seed)
        images, csm = noise(rng, 2, 3, *sizes), noise(rng, 3, *sizes)
        affine = np.array([[0, 2e-3, 0, 0.01], [3e-3, 0, 0, 0.02], [0, 0, 4e-3, -0.03], [0, 0, 0, 1]])
        matrix = tuple(max(1, round(n * part)) for n, part in zip(sizes, smaller, strict=True))
        kspace = KSpace(data=to_kspace(images), matrix=sizes, fov=(0.4, 0.3, 0.2), csm=csm, affine=affine)
        found = remove_oversampling(kspace, matrix)
        start = [n // 2 - m // 2 for n, m in zip(sizes, matrix, strict=True)]
        place = tuple(slice(s, s + m) for s, m in zip(start, matrix, strict=True))
        np.testing.assert_allclose(to_images(found.data), images[:, :, *place], atol=1e-5)
        np.testing.assert_array_equal(found.csm, csm[:, *place])
        np.testing.assert_allclose(np.array(found.fov) / matrix, np.array(kspace.fov) / sizes)
        corner = [0, 0, 0, 1]
        np.testing.assert_allclose(found.affine @ corner, affine @ [*start[::-1], 1], atol=1e-12)

    def test_what_was_not_measured_stays_so(self):
        kspace, _ = simulate(SimulationSettings(size=32, acceleration=2.0))
        found = remove_oversampling(kspace, (1, 32, 16))
        np.testing.assert_array_equal(found.mask, kspace.mask[..., :16])
        assert not np.any(np.moveaxis(found.data, 1, -1)[~found.mask])

    def test_noise_keeps_its_level(self, rng):
        kspace = KSpace(data=noise(rng, 1, 4, 1, 64, 128), matrix=(1, 64, 128), fov=(0.01, 0.2, 0.4), noise=noise(rng, 4, 500))
        found = remove_oversampling(kspace, (1, 64, 64))
        assert found.data.std() == pytest.approx(kspace.data.std(), rel=0.02)
        assert found.noise is kspace.noise

    @pytest.mark.parametrize(
        ("meta", "expected"),
        [
            ({}, (1, 24, 32)),
            ({"recon_fov": [0.01, 0.2, 0.2]}, (1, 24, 16)),
            ({"recon_fov": [0.01, 0.2, 0.3999]}, (1, 24, 32)),
            ({"recon_fov": [0.01, 0.1, 0.2], "recon_matrix": [1, 256, 256]}, (1, 24, 16)),
            ({"recon_fov": [0.01, 0.4, 0.8]}, (1, 24, 32)),
            ({"readout_oversampling": 2.0}, (1, 24, 16)),
            ({"readout_oversampling": 2.0, "recon_fov": [0.01, 0.2, 0.2]}, (1, 24, 16)),
            ({"readout_oversampling": 1.0}, (1, 24, 32)),
            ({"recon_fov": [float("nan"), 0.2, 0.2]}, (1, 24, 32)),
            ({"recon_fov": "all"}, (1, 24, 32)),
            ({"readout_oversampling": "twice"}, (1, 24, 32)),
        ],
        ids=str,
    )
    def test_what_the_file_states_decides_and_only_along_complete_axes(self, rng, meta, expected):
        mask = np.zeros((1, 1, 24, 32), bool)
        mask[:, :, ::2] = True
        data = noise(rng, 1, 2, 1, 24, 32) * mask[:, None]
        kspace = KSpace(data=data, mask=mask, matrix=(1, 24, 32), fov=(0.01, 0.2, 0.4), meta=meta)
        once = remove_oversampling(kspace)
        assert once.matrix == expected
        assert remove_oversampling(once) is once, "removed twice"

    def test_asymmetric_echoes_keep_their_oversampling(self, rng):
        mask = np.zeros((1, 1, 8, 32), bool)
        mask[..., 10:] = True
        data = noise(rng, 1, 2, 1, 8, 32) * mask[:, None]
        kspace = KSpace(data=data, mask=mask, matrix=(1, 8, 32), fov=(0.01, 0.2, 0.4), meta={"readout_oversampling": 2.0})
        assert remove_oversampling(kspace) is kspace
        with pytest.raises(InputError, match=r"not sampled fully along x, of which \(1, 8, 16\) of \(1, 8, 32\) are wanted"):
            remove_oversampling(kspace, (1, 8, 16))

    @pytest.mark.parametrize("matrix", [(1, 33, 32), (0, 32, 32)], ids=str)
    def test_a_larger_or_impossible_matrix_is_refused(self, matrix):
        kspace, _ = simulate(SimulationSettings(size=32, acceleration=1.0))
        with pytest.raises(InputError, match=r"has the matrix \(1, 32, 32\), .* is wanted"):
            remove_oversampling(kspace, matrix)

    def test_along_a_trajectory_only_the_matrix_changes(self):
        """The phantom lies well inside: the smaller image has the values of the larger one."""
        kspace, truth = simulate(SimulationSettings(size=48, trajectory="radial", acceleration=1.0, times=(0.01,), snr=1000.0))
        padded = np.zeros((1, 1, 80, 80), np.complex64)
        padded[:, :, 16:64, 16:64] = truth.images
        csm = np.pad(birdcage(8, 48), ((0, 0), (0, 0), (16, 16), (16, 16)), mode="edge")
        large = dataclasses.replace(kspace, matrix=(1, 80, 80), fov=(0.005, 0.4, 0.4), csm=csm, noise=None)
        large = dataclasses.replace(large, data=acquisition(large, csm)(torch.from_numpy(padded)).numpy())
        assert remove_oversampling(dataclasses.replace(large, meta={"recon_fov": [0.005, 0.24, 0.24]})).matrix == (1, 80, 80)
        small = remove_oversampling(large, (1, 48, 48))
        np.testing.assert_array_equal(small.traj, large.traj)
        expected = acquisition(small, small.csm)(torch.from_numpy(truth.images)).numpy()
        np.testing.assert_allclose(small.data, expected, atol=1e-4 * np.abs(expected).max())


class TestPartialFourier:
    def test_an_asymmetric_mask_is_solved_as_it_was_measured(self):
        """Five eighths of the lines. Coils fill in little of the rest; the phase that contrasts share fills in most of it."""
        kspace, truth = simulate(SimulationSettings(size=64, acceleration=1.0, snr=100.0))
        mask = np.ones(kspace.data[:, 0].shape, bool)
        mask[:, :, :24] = False
        partial = whiten(dataclasses.replace(kspace, data=kspace.data * mask[:, None], mask=mask))
        inside = np.isfinite(truth.maps["m0"])
        adjoint, sense, subspace = (
            error(
                reconstruct(partial, ReconstructionSettings(method=m), csm=birdcage(8, 64), model="t2").images.numpy()[:, inside],
                truth.images[:, inside],
            )
            for m in ("adjoint", "cg-sense", "subspace")
        )
        assert sense < adjoint < 0.15
        assert subspace < 0.05

    def test_coil_maps_come_from_the_symmetric_centre(self):
        kspace, truth = simulate(SimulationSettings(size=64, acceleration=1.0, times=(0.01, 0.1)))
        mask = np.ones(kspace.data[:, 0].shape, bool)
        mask[:, :, :26] = False
        maps = espirit(dataclasses.replace(kspace, data=kspace.data * mask[:, None], mask=mask))
        agreement = np.abs((birdcage(8, 64).conj() * maps).sum(axis=0))[np.isfinite(truth.maps["m0"])]
        assert np.quantile(agreement, 0.01) > 0.98


class TestUndersampling:
    def test_lines_differ_between_contrasts_and_follow_the_seed(self):
        kspace, _ = simulate(SimulationSettings(size=64, acceleration=1.0))
        found, again, other = (undersample(kspace, 4.0, seed=s) for s in (1, 1, 2))
        np.testing.assert_array_equal(found.mask, again.mask)
        assert not np.array_equal(found.mask, other.mask)
        lines = found.mask[:, 0, :, 0]
        assert (lines.sum(axis=1) == 16).all()
        assert len({tuple(row) for row in lines.tolist()}) == len(lines)
        np.testing.assert_array_equal(found.data, kspace.data * found.mask[:, None])
        assert kspace.mask is None

    def test_only_what_was_measured_can_be_kept(self):
        kspace, _ = simulate(SimulationSettings(size=64, acceleration=2.0))
        found = undersample(kspace, 2.0, seed=3)
        assert (found.mask <= kspace.mask).all()

    @pytest.mark.parametrize("trajectory", ["radial", "spiral"])
    def test_kept_spokes_are_spread_over_all_angles(self, trajectory):
        kspace, _ = simulate(SimulationSettings(size=64, trajectory=trajectory, acceleration=1.0, times=(0.01, 0.1)))
        found = undersample(kspace, 4.0, seed=0)
        n = round(kspace.data.shape[2] / 4)
        assert found.data.shape[2] == n
        period = np.pi if trajectory == "radial" else 2 * np.pi
        for samples, points, every, all_points in zip(found.data, found.traj, kspace.data, kspace.traj, strict=True):
            angles = np.sort(np.arctan2(points[:, -1, 0], points[:, -1, 1]) % period)
            gaps = np.diff(np.append(angles, angles[0] + period))
            assert gaps.max() < 2.5 * period / n
            for spoke, where in zip(np.moveaxis(samples, 0, 1), points, strict=True):
                (row,) = np.flatnonzero((all_points == where).all(axis=(1, 2)))
                np.testing.assert_array_equal(spoke, every[:, row])

    @pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
    @pytest.mark.parametrize("acceleration", [0.5, 1000.0])
    def test_impossible_accelerations_are_refused(self, trajectory, acceleration):
        kspace, _ = simulate(SimulationSettings(size=32, trajectory=trajectory, acceleration=1.0))
        with pytest.raises(InputError, match=rf"acceleration: is {acceleration:g}, which leaves 0 of"):
            undersample(kspace, acceleration)


class TestPrepare:
    def test_steps_work_together_with_given_maps(self):
        """Cut, then compressed: the images are those of the whole measurement, cut."""
        kspace, truth = simulate(SimulationSettings(size=64, n_coils=12, acceleration=1.0, times=(0.01, 0.1), snr=200.0))
        stated = dataclasses.replace(kspace, meta={"recon_fov": [0.005, 0.22, 0.165]})
        csm = birdcage(12, 64)
        found = prepare(stated, csm=csm, n_coils=6)
        assert (found.matrix, found.n_coils) == ((1, 64, 48), 6)
        inside = np.isfinite(truth.maps["m0"])[..., 8:56]
        images = Reconstructor(kspace=found).own.images.numpy()
        assert error(images[:, inside], truth.images[..., 8:56][:, inside]) < 0.02
        assert prepare(stated, csm=csm, keep_oversampling=True).matrix == (1, 64, 64)

    def test_inputs_are_not_changed(self):
        kspace, _ = simulate(SimulationSettings(size=32))
        before = kspace.data.copy(), kspace.noise.copy(), dict(kspace.meta), kspace.affine.copy()
        prepare(dataclasses.replace(kspace, meta=kspace.meta), n_coils=2)
        for now, then in zip((kspace.data, kspace.noise, kspace.affine), (before[0], before[1], before[3]), strict=True):
            np.testing.assert_array_equal(now, then)
        assert kspace.meta == before[2]
