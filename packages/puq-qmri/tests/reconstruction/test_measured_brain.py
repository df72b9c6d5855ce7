"""A measured brain: reconstructions of less against the image of everything that was measured (table: benchmarks/results/brain_kspace.md).

The bars lie about a tenth above what was measured when the tests were written.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from medcore.io import KSpace
from medcore.io.npy import load_array, read_npy_kspace
from puq_qmri.csm import espirit
from puq_qmri.operators import acquisition
from puq_qmri.preparation import compress_coils, undersample
from puq_qmri.reconstruction import ReconstructionSettings, reconstruct
from puq_qmri.uncertainty import noise_level

pytestmark = pytest.mark.integration
TE = np.array([0.010, 0.040, 0.080, 0.140])


class Brain:
    """The measurement, the image of all of it, and echoes of a synthetic decay made of that image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.measured = read_npy_kspace(folder / "cartesian_ksp.npy")
        self.csm = espirit(self.measured)
        self.reference = reconstruct(self.measured, csm=self.csm).images.numpy()
        size = np.abs(self.reference[0])
        self.inside = size > 0.15 * np.quantile(size, 0.99)
        self.echoes = self.reference * np.exp(-(TE - TE[0]) / 0.09)[:, None, None, None].astype(np.float32)

    def error(self, images: torch.Tensor, truth: np.ndarray) -> float:
        wanted = np.abs(truth)[:, self.inside]
        return float(np.linalg.norm(np.abs(images.numpy())[:, self.inside] - wanted) / np.linalg.norm(wanted))

    def again(self, truth: np.ndarray, *, radial: bool = False) -> KSpace:
        """Samples of images through the estimated maps, with noise of the measured level."""
        traj = None
        if radial:
            points = load_array(self.folder / "projection_coord.npy")
            traj = np.repeat((points / 128 * np.pi).astype(np.float32)[None, ..., ::-1], len(truth), axis=0)
        shape = truth.shape[1:] if traj is None else traj.shape[1:3]
        empty = KSpace(
            data=np.zeros((len(truth), 8, *shape), np.complex64),
            matrix=self.measured.matrix,
            fov=self.measured.fov,
            traj=traj,
            times={"te": TE[: len(truth)]},
        )
        clean = acquisition(empty, self.csm)(torch.from_numpy(truth)).numpy()
        generator = np.random.default_rng(1)
        noise = generator.standard_normal(clean.shape) + 1j * generator.standard_normal(clean.shape)
        return dataclasses.replace(empty, data=(clean + noise_level(self.measured) * noise).astype(np.complex64))


@pytest.fixture(scope="module")
def brain(data_root: Path) -> Brain:
    return Brain(data_root / "sigpy-brain-kspace")


def test_half_of_the_measured_points(brain: Brain) -> None:
    kept = np.random.default_rng(0).random(brain.measured.mask.shape) < 0.5
    kept[:, :, 103:127, 78:102] = True
    mask = brain.measured.mask & kept
    thinned = dataclasses.replace(brain.measured, data=brain.measured.data * mask[:, None], mask=mask)
    adjoint, sense = (
        brain.error(reconstruct(thinned, ReconstructionSettings(method=m)).images, brain.reference) for m in ("adjoint", "cg-sense")
    )
    assert sense < 0.094
    assert sense < 0.5 * adjoint


@pytest.mark.parametrize(("acceleration", "bar"), [(2.0, 0.053), (3.0, 0.105), (4.0, 0.108)])
def test_random_lines(brain: Brain, acceleration: float, bar: float) -> None:
    kspace = undersample(brain.again(brain.reference), acceleration, seed=5)
    assert brain.error(reconstruct(kspace).images, brain.reference) < bar


@pytest.mark.parametrize(("acceleration", "bar"), [(1.0, 0.031), (2.0, 0.054), (3.0, 0.075)])
def test_spokes(brain: Brain, acceleration: float, bar: float) -> None:
    kspace = undersample(brain.again(brain.reference, radial=True), acceleration, seed=5)
    assert brain.error(reconstruct(kspace).images, brain.reference) < bar


def test_a_subspace_of_the_echoes_needs_less(brain: Brain) -> None:
    kspace = undersample(brain.again(brain.echoes), 4.0, seed=5)
    sense, subspace = (
        brain.error(reconstruct(kspace, ReconstructionSettings(method=m), model="t2").images, brain.echoes)
        for m in ("cg-sense", "subspace")
    )
    assert subspace < 0.1
    assert subspace < 0.8 * sense


@pytest.mark.parametrize(("n_coils", "bar"), [(6, 0.015), (4, 0.04)])
def test_virtual_coils_of_a_head_coil(brain: Brain, n_coils: int, bar: float) -> None:
    """Everything that was measured, one eighth of the grid, with fewer coils."""
    images = reconstruct(compress_coils(brain.measured, n_coils)).images
    assert brain.error(images, brain.reference) < bar
