"""What is kept of the sampling for a page."""

from __future__ import annotations

import numpy as np
import pytest

from puq_qmri.pipeline import PipelineSettings, reconstruct_images
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.report import images_report
from puq_qmri.sampling import Sampling
from puq_qmri.simulation import SimulationSettings, simulate


def test_a_mask_is_that_of_the_measurement() -> None:
    kspace, _ = simulate(SimulationSettings(size=32, n_coils=2, acceleration=3.0))
    found = Sampling.of(kspace)
    assert kspace.mask is not None
    for i in range(kspace.n_contrasts):
        np.testing.assert_array_equal(found.shown(i), kspace.mask[i, 0])
    assert found.fractions == pytest.approx(kspace.mask.mean(axis=(1, 2, 3)))


def test_readouts_are_thinned_but_keep_their_places() -> None:
    kspace, _ = simulate(SimulationSettings(size=96, n_coils=1, trajectory="radial", acceleration=1.0, times=(0.01, 0.05)))
    assert kspace.traj is not None
    found = Sampling.of(kspace).shown(1)
    assert found.shape[0] <= 200
    assert found.shape[1] <= 64
    given = kspace.traj[1].reshape(-1, 2)
    assert all((np.abs(given - point).max(axis=-1) == 0).any() for point in found.reshape(-1, 2)[::97])


def test_the_page_tells_the_part_of_each_contrast() -> None:
    kspace, _ = simulate(SimulationSettings(size=32, n_coils=4, accelerations=(1.0, 4.0), times=(0.01, 0.05)))
    settings = PipelineSettings(reconstruction=ReconstructionSettings(method="adjoint"), uncertainty="none")
    images = reconstruct_images(kspace, settings)
    assert images.sampling is not None
    text = images_report("title", images, {}).html()
    assert "Where k-space was measured" in text
    assert "100.0 %" in text
    assert f"{100 * images.sampling.fractions[1]:.1f} %" in text
    assert images.summary()["sampled"][0] == 1
