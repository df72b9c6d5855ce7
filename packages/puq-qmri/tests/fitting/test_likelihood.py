"""Maximum likelihood for magnitudes: against the exact likelihood, against signed data, against the Cramer-Rao bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import optimize, special, stats

from medcore.errors import ConfigError, InputError
from puq_qmri.fitting import Status, fit
from puq_qmri.fitting.likelihood import Magnitudes, background_deviation, bessel_ratio

TE = np.array([0.010, 0.025, 0.040, 0.055, 0.070, 0.090, 0.115, 0.150])
T2 = 0.07
CASES = [(1, "rician"), (4, "non-central-chi")]


def magnitudes(rng: np.random.Generator, signal: NDArray[np.float64], sigma: float, n: int, coils: int = 1) -> NDArray[np.float64]:
    """(contrast, 1, 1, n): root sums of squares of the real and imaginary parts of all coils."""
    parts = sigma * rng.standard_normal((2 * coils, len(signal), n))
    parts[0] += signal[:, None]
    return np.sqrt((parts**2).sum(axis=0))[:, None, None, :]


@pytest.mark.parametrize("coils", [1, 2, 8])
def test_the_ratio_of_bessel_functions_is_right_and_stays_finite_from_zero_to_huge_arguments(coils: int) -> None:
    x = np.array([0.0, 1e-300, 1e-12, 1e-3, 1.0, 30.0, 600.0, 1e5, 1e7, 1e12, 1e300])
    found = bessel_ratio(torch.tensor(x), coils).numpy()
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
    assert found[0] == 0
    assert found[-1] == pytest.approx(1)
    plain = special.iv(coils, x[3:7]) / special.iv(coils - 1, x[3:7])
    np.testing.assert_allclose(found[3:7], plain, rtol=1e-12)
    assert found[7] == pytest.approx(1 - (coils - 0.5) / 1e5, rel=1e-8)


@pytest.mark.parametrize("coils", [1, 4])
def test_moments_and_information_are_those_of_the_distribution(coils: int) -> None:
    rng = np.random.default_rng(3)
    levels = np.array([0.0, 0.5, 1.7, 4.0, 60.0])
    mean, variance, information = (v.numpy() for v in Magnitudes(n_coils=coils).moments(torch.tensor(levels)))
    seen = np.sqrt(stats.ncx2.rvs(2 * coils, np.maximum(levels, 1e-9)[:, None] ** 2, size=(len(levels), 200_000), random_state=rng))
    np.testing.assert_allclose(mean, seen.mean(axis=1), atol=0.01)
    np.testing.assert_allclose(variance, seen.var(axis=1), atol=0.02)
    # Fisher information as the mean square of a numerical derivative of scipy's log-density; far up that of normal noise.
    step = 1e-4
    for level, found in zip(levels[1:4], information[1:4], strict=True):
        m = np.sqrt(stats.ncx2.rvs(2 * coils, level**2, size=100_000, random_state=rng))
        up, down = (stats.ncx2.logpdf(m**2, 2 * coils, (level + s) ** 2) for s in (step, -step))
        assert found == pytest.approx((((up - down) / (2 * step)) ** 2).mean(), rel=0.03)
    assert information[0] == pytest.approx(0, abs=1e-12)
    assert information[-1] == pytest.approx(1)


@pytest.mark.parametrize(("coils", "noise"), CASES)
def test_estimates_maximise_the_exact_likelihood_as_scipy_finds_it(coils: int, noise: str) -> None:
    sigma, n = 0.1, 12
    images = magnitudes(np.random.default_rng(11), np.exp(-TE / T2), sigma, n, coils)
    found = fit(images, TE, "t2", sigma=sigma, noise=noise, noise_coils=coils)
    assert (found.status == Status.OK).all()
    for voxel in range(n):
        squares = (images[:, 0, 0, voxel] / sigma) ** 2

        def cost(p: NDArray[np.float64], squares: NDArray[np.float64] = squares) -> float:
            return -float(stats.ncx2.logpdf(squares, 2 * coils, (p[0] * np.exp(-TE / p[1]) / sigma) ** 2).sum())

        start = np.array([float(found.maps[k][0, 0, voxel]) for k in ("m0", "t2")])
        best = optimize.minimize(
            cost, start * [1.1, 0.9], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
        )
        np.testing.assert_allclose(start, best.x, rtol=2e-4)


@pytest.mark.parametrize(("coils", "noise"), CASES)
def test_at_snr_10_the_bias_of_least_squares_is_gone_and_intervals_hold_the_truth(coils: int, noise: str) -> None:
    rng, sigma, n = np.random.default_rng(12), 0.1, 2500
    signal = np.exp(-TE / T2)
    images = magnitudes(rng, signal, sigma, n, coils)
    plain = fit(images, TE, "t2", sigma=sigma)
    found = fit(images, TE, "t2", sigma=sigma, noise=noise, noise_coils=coils)
    ok = found.status == Status.OK
    assert ok.mean() > 0.98
    medians = [float(np.median(r.maps["t2"][r.status == Status.OK])) / T2 - 1 for r in (plain, found)]
    print(f"{noise}: median bias {medians[0]:+.3f} by least squares, {medians[1]:+.4f}")  # noqa: T201 - read with -rP
    assert medians[0] > 0.05
    assert abs(medians[1]) < 0.01
    assert ((found.low95["t2"] <= T2) & (found.high95["t2"] >= T2))[ok].mean() == pytest.approx(0.95, abs=0.025)
    assert float(np.mean(found.chi2[ok])) == pytest.approx(found.degrees_of_freedom, rel=0.05)


def test_the_spread_at_snr_20_is_that_of_the_cramer_rao_bound_of_rician_noise() -> None:
    sigma = 0.05
    signal = np.exp(-TE / T2)
    images = magnitudes(np.random.default_rng(13), signal, sigma, 4000)
    found = fit(images, TE, "t2", sigma=sigma, noise="rician")
    information = Magnitudes().moments(torch.tensor(signal / sigma))[2].numpy()
    jacobian = np.stack([signal, signal * TE / T2**2], axis=1) / sigma
    bound = float(np.sqrt(np.linalg.inv(jacobian.T @ (information[:, None] * jacobian))[1, 1]))
    spread = float(found.maps["t2"].std())
    assert bound / spread > 0.95
    assert float(found.std["t2"].mean()) == pytest.approx(spread, rel=0.05)


def test_at_high_snr_it_is_the_least_squares_fit(curves, times) -> None:
    t = times["ir"]
    signal = np.abs(curves["ir"](t, 1.0, 1.1, 1.9))
    images = magnitudes(np.random.default_rng(14), signal, 1e-4, 200)
    plain, found = (fit(images, t, "ir", sigma=1e-4, noise=noise) for noise in ("gaussian", "rician"))
    assert (found.status == Status.OK).all()
    np.testing.assert_allclose(found.maps["t1"], plain.maps["t1"], rtol=1e-4)
    np.testing.assert_allclose(found.std["t1"], plain.std["t1"], rtol=1e-2)


def test_a_contrast_of_infinite_deviation_is_left_out_whatever_it_holds() -> None:
    images = magnitudes(np.random.default_rng(15), np.exp(-TE / T2), 0.05, 50)
    sigma = np.full(images.shape, 0.05)
    sigma[3] = np.inf
    first = fit(images, TE, "t2", sigma=sigma, noise="rician")
    images[3] = 1e6
    second = fit(images, TE, "t2", sigma=sigma, noise="rician")
    np.testing.assert_array_equal(first.maps["t2"], second.maps["t2"])


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("unit", [1.0, 1e4])
def test_the_deviation_of_the_background_is_measured_beside_any_object(coils: int, unit: float) -> None:
    rng = np.random.default_rng(19)
    images = magnitudes(rng, np.zeros(8), 0.03, 64 * 64, coils).reshape(8, 1, 64, 64)
    outside = np.ones((64, 64), bool)
    outside[10:50, 8:56] = False
    true = float(np.sqrt((images[:, 0, outside] ** 2).mean() / (2 * coils)))
    images[:, 0, ~outside] += 1
    assert background_deviation(unit * images, coils) == pytest.approx(true * unit, rel=0.015)


def test_images_without_a_background_are_refused() -> None:
    rng = np.random.default_rng(17)
    full = 1 + magnitudes(rng, np.ones(8), 0.03, 4096).reshape(8, 1, 64, 64) * rng.uniform(0.5, 2, (64, 64))
    masked = full.copy()
    masked[:, :, :20] = 0
    for images in (full, masked, np.zeros((8, 1, 64, 64))):
        with pytest.raises(InputError, match=r"no background of noise alone .*; give the deviation with --sigma"):
            background_deviation(images)


def test_assumptions_that_contradict_the_images_or_each_other_are_refused() -> None:
    images = magnitudes(np.random.default_rng(18), np.exp(-TE / T2), 0.05, 4)
    with pytest.raises(ConfigError, match=r"--noise rician: needs the deviation of the noise"):
        fit(images, TE, "t2", noise="rician")
    with pytest.raises(InputError, match=r"--noise rician: is that of magnitudes, and the images are complex"):
        fit(images * 1j, TE, "t2", sigma=0.05, noise="rician")
    with pytest.raises(ConfigError, match=r"--noise rician: is that of one coil, not 4"):
        fit(images, TE, "t2", sigma=0.05, noise="rician", noise_coils=4)
    with pytest.raises(ConfigError, match=r"--noise rician: does not go with --robust huber"):
        fit(images, TE, "t2", sigma=0.05, noise="rician", robust="huber")
    with pytest.raises(ConfigError, match=r"--noise 'ricean': .*did you mean 'rician'"):
        fit(images, TE, "t2", sigma=0.05, noise="ricean")
    with pytest.raises(ConfigError, match=r"--noise-coils: is 0"):
        fit(images, TE, "t2", sigma=0.05, noise="non-central-chi", noise_coils=0)
