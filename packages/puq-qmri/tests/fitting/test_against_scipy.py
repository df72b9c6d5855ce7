"""Estimates, deviations and misfits against scipy's curve_fit, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest

from puq_qmri.fitting import FitResult, Status, fit

MODELS = ["t2", "t2-offset", "ir", "ir2"]
N = 60


def compare(result: FitResult, referees, *, at_least: bool = False) -> None:
    """Equal estimates and misfits, and equal deviations, or not smaller ones."""
    assert set(np.unique(result.status)) == {Status.OK}
    for i, name in enumerate(result.maps):
        expected = np.array([r.parameters[i] for r in referees])
        np.testing.assert_allclose(result.maps[name].ravel(), expected, rtol=2e-5, atol=1e-6 * np.abs(expected).max())
        ratio = result.std[name].ravel() / np.array([r.std[i] for r in referees])
        close = np.abs(ratio - 1) < 2e-3  # scipy takes its derivatives by differences
        assert (close | (ratio > 1)).all() if at_least else close.all()
        assert close.mean() > 0.6
    np.testing.assert_allclose(result.chi2.ravel(), [r.chi2 for r in referees], rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_without_deviations(name, rng, times, measure, scipy_fit) -> None:
    _, images = measure(name, rng, N, 2.0)
    result = fit(images, times[name], name, signal="signed")
    compare(result, [scipy_fit(name, times[name], y, None) for y in images[:, 0, 0].T])
    assert not result.sigma_known


@pytest.mark.parametrize("name", MODELS)
def test_with_a_deviation_for_each_contrast(name, rng, times, measure, scipy_fit) -> None:
    sigma = np.exp(rng.uniform(-0.5, 1.5, len(times[name])))
    _, images = measure(name, rng, N, sigma)
    result = fit(images, times[name], name, sigma=sigma, signal="signed")
    compare(result, [scipy_fit(name, times[name], y, sigma) for y in images[:, 0, 0].T])
    assert result.sigma_known


@pytest.mark.parametrize("name", MODELS)
def test_with_a_deviation_for_each_value(name, rng, times, measure, scipy_fit) -> None:
    _, images = measure(name, rng, N, 1.0)
    sigma = np.exp(rng.uniform(-1, 1.5, images.shape))
    result = fit(images, times[name], name, sigma=sigma, signal="signed")
    voxels = zip(images[:, 0, 0].T, sigma[:, 0, 0].T, strict=True)
    compare(result, [scipy_fit(name, times[name], y, s) for y, s in voxels])


@pytest.mark.parametrize("name", ["t2", "t2-offset"])
def test_magnitudes_of_a_decay(name, rng, times, measure, scipy_fit) -> None:
    _, images = measure(name, rng, N, 2.0)
    magnitude = np.abs(images)
    result = fit(magnitude, times[name], name)
    assert result.facts["signal"] == "magnitude"
    compare(result, [scipy_fit(name, times[name], y, None) for y in magnitude[:, 0, 0].T])


@pytest.mark.parametrize("name", ["ir", "ir2"])
def test_magnitudes_of_a_recovery_get_the_polarity_with_the_least_misfit(name, rng, times, measure, scipy_fit) -> None:
    _, images = measure(name, rng, 30, 2.0)
    magnitude = np.abs(images)
    t = times[name]
    result = fit(magnitude, t, name)
    referees = []
    for y in magnitude[:, 0, 0].T:
        trials = [scipy_fit(name, t, np.where(np.arange(len(t)) < k, -y, y), None) for k in range(len(t) + 1)]
        referees.append(min((r for r in trials if (r.parameters > 0).all()), key=lambda r: r.chi2))
    # Doubt about the sign of a value near zero adds to the deviation.
    compare(result, referees, at_least=True)


@pytest.mark.parametrize("name", MODELS)
def test_complex_images_whose_noise_is_along_their_phase(name, rng, times, measure, scipy_fit) -> None:
    _, images = measure(name, rng, N, 2.0)
    turned = images * np.exp(1j * rng.uniform(-np.pi, np.pi, images.shape[1:]))
    result = fit(turned, times[name], name)
    assert result.facts["signal"] == "complex"
    compare(result, [scipy_fit(name, times[name], y, None) for y in images[:, 0, 0].T])


def test_student_intervals_are_those_of_the_t_distribution(rng, times, measure) -> None:
    from scipy import stats

    _, images = measure("t2", rng, 5, 2.0)
    unknown, known = (fit(images, times["t2"], "t2", sigma=s, intervals="normal") for s in (None, 2.0))
    assert unknown.degrees_of_freedom == 6
    for result, width in ((unknown, stats.t.ppf(0.975, 6)), (known, stats.norm.ppf(0.975))):
        half = (result.high95["t2"] - result.low95["t2"]) / 2
        np.testing.assert_allclose(half, width * result.std["t2"], rtol=1e-5)
        np.testing.assert_allclose((result.high95["t2"] + result.low95["t2"]) / 2, result.maps["t2"], rtol=1e-6)
