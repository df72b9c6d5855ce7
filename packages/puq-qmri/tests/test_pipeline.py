"""The whole method: what comes out is near the truth, scales as it must, and says when it cannot."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medcore.errors import ConfigError, InputError, NumericalError
from medcore.io import ImageSeries, KSpace
from puq_qmri.fitting import Status
from puq_qmri.pipeline import PipelineSettings, fit_images, reconstruct_and_fit, reconstruct_images
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.simulation import SimulationSettings, Truth, birdcage, simulate

SIZE, COILS = 48, 4


@pytest.fixture(scope="module")
def measured() -> tuple[KSpace, Truth]:
    """Fully sampled, so that reconstruction is exact and only noise is left."""
    return simulate(SimulationSettings(size=SIZE, n_coils=COILS, acceleration=1.0, snr=80.0))


def settings(**changes: object) -> PipelineSettings:
    chosen = {"reconstruction": ReconstructionSettings(), "uncertainty": "pseudo-replica", "n_replicas": 8}
    return PipelineSettings(**{**chosen, **changes})


def test_maps_of_a_full_measurement_are_near_the_truth_and_intervals_hold_it(measured: tuple[KSpace, Truth]) -> None:
    kspace, truth = measured
    images, maps = reconstruct_and_fit(kspace, settings(n_replicas=32), csm=birdcage(COILS, SIZE))
    chosen = truth.pure & (maps.status == Status.OK)
    assert chosen.sum() > 0.8 * truth.pure.sum()
    relative = np.abs(maps.maps["t2"] - truth.maps["t2"])[chosen] / truth.maps["t2"][chosen]
    assert np.median(relative) < 0.05
    held = (maps.low95["t2"] <= truth.maps["t2"]) & (truth.maps["t2"] <= maps.high95["t2"])
    # About 500 voxels: the binomial deviation is 1 %; 32 replicas know each deviation to 9 %.
    assert 0.91 < held[chosen].mean() < 0.98
    assert images.noise_source == "noise scan"
    assert maps.sigma_known


def test_the_unit_of_the_samples_changes_m0_and_nothing_else(measured: tuple[KSpace, Truth]) -> None:
    kspace, _ = measured
    assert kspace.noise is not None
    louder = dataclasses.replace(kspace, data=kspace.data * np.float32(1000), noise=kspace.noise * np.float32(1000))
    csm = birdcage(COILS, SIZE)
    _, first = reconstruct_and_fit(kspace, settings(), csm=csm)
    _, second = reconstruct_and_fit(louder, settings(), csm=csm)
    both = (first.status == Status.OK) & (second.status == Status.OK)
    assert both.sum() > 0.999 * (first.status == Status.OK).sum()
    np.testing.assert_allclose(second.maps["t2"][both], first.maps["t2"][both], rtol=1e-3)
    np.testing.assert_allclose(second.std["t2"][both], first.std["t2"][both], rtol=1e-2)
    np.testing.assert_allclose(second.maps["m0"][both], 1000 * first.maps["m0"][both], rtol=1e-3)


def test_equal_seeds_give_equal_results_and_other_seeds_other_deviations(measured: tuple[KSpace, Truth]) -> None:
    kspace, _ = measured
    first, again, other = (
        reconstruct_images(kspace, settings(n_replicas=2, seed=s), csm=birdcage(COILS, SIZE)).deviation for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_uncertainty_the_residuals_give_the_intervals(measured: tuple[KSpace, Truth]) -> None:
    kspace, _ = measured
    images, maps = reconstruct_and_fit(kspace, settings(uncertainty="none"), csm=birdcage(COILS, SIZE))
    assert images.deviation is None
    assert images.noise_level is None
    assert not maps.sigma_known


def test_place_and_times_travel_with_the_images(measured: tuple[KSpace, Truth]) -> None:
    kspace = dataclasses.replace(measured[0], affine=np.diag([2e-3, 3e-3, 4e-3, 1.0]))
    series = reconstruct_images(kspace, settings(uncertainty="none"), csm=birdcage(COILS, SIZE)).series
    np.testing.assert_array_equal(series.affine, kspace.affine)
    np.testing.assert_array_equal(series.times["te"], kspace.times["te"])
    assert series.meta["field_strength"] == 3.0


def test_a_voxel_that_no_coil_sees_has_no_signal(measured: tuple[KSpace, Truth]) -> None:
    csm = birdcage(COILS, SIZE).copy()
    csm[:, :, :5] = 0
    _, maps = reconstruct_and_fit(measured[0], settings(), csm=csm)
    assert (maps.status[:, :5] == Status.NO_SIGNAL).all()
    assert np.isnan(maps.maps["t2"][:, :5]).all()


def test_measurements_that_cannot_be_fitted_are_refused_before_they_are_reconstructed(measured: tuple[KSpace, Truth]) -> None:
    kspace, _ = measured
    with pytest.raises(InputError, match=r"no echo or inversion times that differ; give --te or --ti"):
        reconstruct_and_fit(dataclasses.replace(kspace, times={}), settings())
    with pytest.raises(InputError, match=r"has 1 different te, and model t2 estimates 2"):
        reconstruct_and_fit(kspace.select([0]), settings(model="t2"))
    with pytest.raises(ConfigError, match=r"did you mean 't2star'"):
        reconstruct_and_fit(kspace, settings(model="t2-star"))


def test_a_single_replica_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"number of replicas: is 1; give at least 2"):
        settings(n_replicas=1)


def images(data: np.ndarray) -> ImageSeries:
    te = np.linspace(0.01, 0.1, len(data))
    return ImageSeries(data=data.astype(np.float32), affine=np.eye(4), times={"te": te}, source="memory")


def test_a_deviation_of_zero_leaves_out_its_contrast_instead_of_ruling_the_fit() -> None:
    te = np.linspace(0.01, 0.1, 5)
    data = np.repeat(np.exp(-te / 0.05)[:, None, None, None], 3, axis=-1)
    data[4, ..., 1] = 7.0  # a wrong value that its deviation of zero would make certain
    sigma = np.full(data.shape, 0.01, np.float32)
    sigma[4, ..., 1] = 0
    result = fit_images(images(data), sigma=sigma)
    np.testing.assert_allclose(result.maps["t2"], 0.05, rtol=1e-4)
    assert sigma[4, 0, 0, 1] == 0, "the input was changed"


def test_images_without_any_usable_voxel_are_a_numerical_error() -> None:
    with pytest.raises(NumericalError, match=r"no voxel that model t2 could be fitted to \(no-signal: 4\)"):
        fit_images(images(np.zeros((3, 1, 2, 2))))
    with pytest.raises(NumericalError, match=r"not-finite: 4"):
        fit_images(images(np.full((3, 1, 2, 2), np.nan)))
