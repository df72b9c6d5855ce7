"""Whitening with a noise scan: what it is for, the least error that coils with noise of their own allow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medcore.io import KSpace
from puq_qmri.fitting import Status
from puq_qmri.pipeline import PipelineSettings, reconstruct_and_fit
from puq_qmri.reconstruction import ReconstructionSettings, reconstruct
from puq_qmri.simulation import SimulationSettings, Truth, birdcage, simulate
from puq_qmri.uncertainty import whiten

COILS, SIZE, LEVEL = 8, 48, 0.05


def coloured(acceleration: float, level: float = LEVEL) -> tuple[KSpace, Truth, np.ndarray]:
    """A scan whose coils share half of their noise and of which two are ten times as noisy, with a long noise scan."""
    kspace, truth = simulate(
        SimulationSettings(size=SIZE, n_coils=COILS, acceleration=acceleration, snr=1e5, times=(0.01, 0.03, 0.1), seed=3)
    )
    generator = np.random.default_rng(11)
    loudness = np.ones(COILS)
    loudness[[1, 4]] = 10
    mixing = np.linalg.cholesky(np.diag(loudness) @ (0.5 + 0.5 * np.eye(COILS)) @ np.diag(loudness))

    def noise(*shape: int) -> np.ndarray:
        return level * (generator.standard_normal(shape) + 1j * generator.standard_normal(shape))

    added = np.einsum("dc,pczyx->pdzyx", mixing, noise(*kspace.data.shape))
    if kspace.mask is not None:
        added *= kspace.mask[:, None]
    scan = (mixing @ noise(COILS, 20_000)).astype(np.complex64)
    return dataclasses.replace(kspace, data=(kspace.data + added).astype(np.complex64), noise=scan), truth, mixing


def error(images: np.ndarray, truth: Truth) -> float:
    inside = np.isfinite(truth.maps["m0"])
    return float(np.linalg.norm((images - truth.images)[:, inside]) / np.linalg.norm(truth.images[:, inside]))


@pytest.mark.parametrize("acceleration", [1.0, 3.0])
def test_the_error_of_cg_sense_falls(acceleration: float) -> None:
    kspace, truth, _ = coloured(acceleration)
    known = dataclasses.replace(kspace, csm=birdcage(COILS, SIZE))
    plain, white = (error(reconstruct(k).images.numpy(), truth) for k in (known, whiten(known)))
    assert white < 0.6 * plain, (white, plain)


def test_the_noise_that_is_left_is_the_least_possible() -> None:
    """Fully sampled, the best linear estimate of a voxel has the variance ``1 / (c^H S^-1 c)``."""
    kspace, truth, mixing = coloured(1.0)
    csm = birdcage(COILS, SIZE)
    settings = ReconstructionSettings(regularisation=0.0, tolerance=1e-6, max_iterations=60)
    images = reconstruct(whiten(dataclasses.replace(kspace, csm=csm)), settings).images.numpy()
    unmixed = np.linalg.solve(mixing, csm.reshape(COILS, -1))
    bound = LEVEL / np.sqrt((np.abs(unmixed) ** 2).sum(axis=0)).reshape(SIZE, SIZE)
    scatter = np.sqrt((np.abs(images - truth.images)[:, 0] ** 2).mean(axis=0) / 2)
    assert np.sqrt((scatter**2).mean() / (bound**2).mean()) == pytest.approx(1, abs=0.03)


def test_maps_of_the_pipeline_profit_from_the_noise_scan() -> None:
    """Maps estimated from the data have unit root sum of squares over the whitened coils: T2 does not know of that factor."""
    kspace, truth, _ = coloured(2.0, level=0.01)
    settings = PipelineSettings(reconstruction=ReconstructionSettings(), uncertainty="pseudo-replica", n_replicas=8)
    white, plain = (reconstruct_and_fit(k, settings) for k in (kspace, dataclasses.replace(kspace, noise=None)))
    assert (white[0].noise_source, plain[0].noise_source) == ("noise scan", "outer k-space, an upper bound")
    chosen = truth.pure & (white[1].status == Status.OK) & (plain[1].status == Status.OK)
    assert chosen.sum() > 0.5 * truth.pure.sum()
    errors = [np.median(np.abs(maps.maps["t2"] / truth.maps["t2"] - 1)[chosen]) for _, maps in (white, plain)]
    assert errors[0] < 0.7 * errors[1], errors
