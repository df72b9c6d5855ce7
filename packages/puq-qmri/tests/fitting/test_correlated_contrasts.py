"""Generalised least squares: errors that are correlated between contrasts."""

from __future__ import annotations

import numpy as np
import pytest

from medcore.errors import ConfigError, InputError
from puq_qmri.fitting import Status, fit

TE = np.array([0.010, 0.025, 0.040, 0.055, 0.070, 0.090, 0.115, 0.150])
T2, N = 0.07, 6000
SIGMA = 0.02 * np.array([1.0, 2.0, 1.0, 3.0, 1.0, 2.0, 1.0, 3.0])
CORRELATION = 0.8 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))


def images(seed: int = 31) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = np.linalg.cholesky(CORRELATION) @ rng.standard_normal((8, N))
    return (np.exp(-TE / T2)[:, None] + SIGMA[:, None] * noise)[:, None, None, :]


@pytest.mark.parametrize("fitter", ["variable-projection", "levenberg-marquardt"])
def test_the_correlation_narrows_the_spread_to_its_bound_and_rights_the_coverage(fitter) -> None:
    data = images()
    results = [fit(data, TE, "t2", sigma=SIGMA, correlation=c, signal="signed", fitter=fitter) for c in (None, CORRELATION)]
    spreads, covered = [], []
    for result in results:
        ok = result.status == Status.OK
        spreads.append(float(result.maps["t2"][ok].std()))
        covered.append(float(((result.low95["t2"] <= T2) & (result.high95["t2"] >= T2))[ok].mean()))
    jacobian = np.stack([np.exp(-TE / T2), np.exp(-TE / T2) * TE / T2**2], axis=1)
    bound = np.sqrt(np.linalg.inv(jacobian.T @ np.linalg.inv(np.outer(SIGMA, SIGMA) * CORRELATION) @ jacobian)[1, 1])
    print("spread", spreads, "bound", bound, "coverage", covered)  # noqa: T201 - read with -rP
    assert spreads[1] < 0.9 * spreads[0]
    assert bound / spreads[1] > 0.95
    assert covered[1] == pytest.approx(0.95, abs=0.015)
    assert abs(covered[0] - 0.95) > 0.02, "independent contrasts would have been as good"
    assert float(results[1].chi2.mean()) == pytest.approx(6, rel=0.05)


def test_independent_contrasts_are_weighted_least_squares() -> None:
    data = images()[..., :200]
    plain, found = (fit(data, TE, "t2", sigma=SIGMA, correlation=c, signal="signed") for c in (None, np.eye(8)))
    for field in ("maps", "std", "low95", "high95"):
        np.testing.assert_allclose(getattr(found, field)["t2"], getattr(plain, field)["t2"], rtol=1e-6)
    np.testing.assert_allclose(found.chi2, plain.chi2, rtol=1e-5)


def test_the_order_of_the_contrasts_does_not_matter() -> None:
    data, order = images()[..., :100], np.random.default_rng(0).permutation(8)
    first = fit(data, TE, "t2", sigma=SIGMA, correlation=CORRELATION, signal="signed")
    second = fit(data[order], TE[order], "t2", sigma=SIGMA[order], correlation=CORRELATION[np.ix_(order, order)], signal="signed")
    np.testing.assert_allclose(first.maps["t2"], second.maps["t2"], rtol=1e-6)
    np.testing.assert_allclose(first.std["t2"], second.std["t2"], rtol=1e-5)


def test_a_contrast_that_is_left_out_takes_its_correlation_with_it() -> None:
    """Voxels that miss different contrasts, in one fit: as fits without these contrasts."""
    data = images()[..., :90]
    sigma = np.broadcast_to(SIGMA[:, None, None, None], data.shape).copy()
    missing = {0: slice(0, 30), 5: slice(30, 60)}
    for contrast, voxels in missing.items():
        sigma[contrast, ..., voxels] = np.nan
        data[contrast, ..., voxels] = 1e9
    found = fit(data, TE, "t2", sigma=sigma, correlation=CORRELATION, signal="signed")
    assert (found.status == Status.OK).all()
    for contrast, voxels in missing.items():
        left = np.delete(np.arange(8), contrast)
        alone = fit(
            data[left][..., voxels], TE[left], "t2", sigma=SIGMA[left], correlation=CORRELATION[np.ix_(left, left)], signal="signed"
        )
        np.testing.assert_allclose(found.maps["t2"][..., voxels], alone.maps["t2"], rtol=1e-6)
        np.testing.assert_allclose(found.std["t2"][..., voxels], alone.std["t2"], rtol=1e-5)
    whole = fit(data[..., 60:], TE, "t2", sigma=SIGMA, correlation=CORRELATION, signal="signed")
    np.testing.assert_allclose(found.maps["t2"][..., 60:], whole.maps["t2"], rtol=1e-6)


@pytest.mark.parametrize(
    ("correlation", "message"),
    [
        (np.eye(3), r"has shape \(3, 3\); give 8 x 8"),
        (np.ones((8, 8)), r"is none that can be inverted"),
        (2 * np.eye(8), r"is none that can be inverted"),
        (np.full((8, 8), np.nan), r"is none that can be inverted"),
    ],
)
def test_what_is_no_correlation_is_refused(correlation, message) -> None:
    with pytest.raises(InputError, match=message):
        fit(images()[..., :4], TE, "t2", sigma=SIGMA, correlation=correlation, signal="signed")


def test_it_does_not_go_with_robust_estimates() -> None:
    with pytest.raises(ConfigError, match=r"--robust huber: does not go with a correlation between contrasts"):
        fit(images()[..., :4], TE, "t2", sigma=SIGMA, correlation=CORRELATION, robust="huber", signal="signed")
