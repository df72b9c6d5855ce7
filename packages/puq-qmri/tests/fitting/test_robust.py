"""Fits with a wrong contrast: the estimate stays near the truth, and the intervals stay honest."""

from __future__ import annotations

import numpy as np
import pytest

from medcore.errors import ConfigError
from puq_qmri.fitting import FitResult, Status, fit

TE = np.array([0.010, 0.025, 0.040, 0.055, 0.070, 0.090, 0.115, 0.150])
T2, SIGMA, N = 0.07, 0.02, 1500


def images(bad: float, seed: int = 21) -> np.ndarray:
    """Echoes; in each voxel one of them is off by `bad`."""
    rng = np.random.default_rng(seed)
    data = np.exp(-TE / T2)[:, None] + SIGMA * rng.standard_normal((len(TE), N))
    data[rng.integers(0, len(TE), N), np.arange(N)] += bad * rng.choice([-1, 1], N)
    return data[:, None, None, :]


def errors(result: FitResult) -> tuple[float, float]:
    """Root mean square error, and how often the intervals hold the truth."""
    ok = result.status == Status.OK
    held = (result.low95["t2"] <= T2) & (result.high95["t2"] >= T2)
    return float(np.sqrt(((result.maps["t2"][ok] - T2) ** 2).mean())), float(held[ok].mean())


@pytest.mark.parametrize("sigma", [SIGMA, None], ids=["known", "unknown"])
@pytest.mark.parametrize(("kind", "gain"), [("huber", 2.0), ("tukey", 3.0)])
def test_one_corrupted_contrast_hardly_moves_the_estimate_and_intervals_hold_the_truth(kind, gain, sigma) -> None:
    data = images(0.3)
    plain, found = (fit(data, TE, "t2", sigma=sigma, signal="signed", robust=r) for r in ("none", kind))
    (spoilt, _), (left, held) = errors(plain), errors(found)
    print(kind, sigma, spoilt, left, held)  # noqa: T201 - read with -rP
    assert left < spoilt / gain
    assert held > 0.94


@pytest.mark.parametrize("sigma", [SIGMA, None], ids=["known", "unknown"])
@pytest.mark.parametrize("kind", ["huber", "tukey"])
def test_without_an_outlier_it_costs_little_and_the_coverage_is_right(kind, sigma) -> None:
    data = images(0.0)
    plain, found = (fit(data, TE, "t2", sigma=sigma, signal="signed", robust=r) for r in ("none", kind))
    (least, _), (left, held) = errors(plain), errors(found)
    assert left < 1.1 * least
    assert 0.94 < held < 0.99


@pytest.mark.parametrize("size", [10, 100])
def test_a_huge_outlier_weighs_nothing_and_is_seen_in_chi2_and_effective_contrasts(size: float) -> None:
    data = images(0.0)
    data[4] += size
    found = fit(data, TE, "t2", sigma=SIGMA, signal="signed", robust="tukey")
    without = fit(np.delete(data, 4, axis=0), np.delete(TE, 4), "t2", sigma=SIGMA, signal="signed", robust="tukey")
    ok = (found.status == Status.OK) & (without.status == Status.OK)
    assert ok.mean() > 0.99
    alike = np.isclose(found.maps["t2"][ok], without.maps["t2"][ok], rtol=0.01)
    assert alike.mean() > 0.995  # Tukey's has several minima, which few voxels reach from another start
    assert (found.chi2[ok] > 1e5).all()
    assert (found.effective_contrasts[ok] < 7.5).all()


@pytest.mark.parametrize("kind", ["huber", "tukey"])
def test_an_outlier_that_hides_the_signal_is_never_a_wrong_map(kind: str) -> None:
    """The first fit follows a value of ten thousand times the signal to a bound: no value then, rather than a wrong one."""
    data = images(0.0)
    data[4] += 1e4
    found = fit(data, TE, "t2", sigma=SIGMA, signal="signed", robust=kind)
    wrong = ~np.isclose(found.maps["t2"], T2, rtol=0.3)
    assert np.isnan(found.maps["t2"][wrong]).all()
    assert (found.status[wrong] != Status.OK).all()


def test_the_unit_of_the_images_does_not_matter() -> None:
    data = images(0.3)[..., :100]
    one, other = (fit(data * u, TE, "t2", signal="signed", robust="tukey").maps["t2"] for u in (1.0, 1e6))
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_exact_signals_and_missing_contrasts_are_no_trouble() -> None:
    data = np.exp(-TE / T2)[:, None, None, None] * np.ones((1, 1, 1, 3))
    sigma = np.full(data.shape, SIGMA)
    sigma[2:, ..., 1] = np.inf  # two contrasts are as many as parameters
    sigma[5, ..., 2] = np.inf
    for given in (sigma, None):
        found = fit(data, TE, "t2", sigma=given, signal="signed", robust="tukey")
        assert (found.status == Status.OK).all()
        np.testing.assert_allclose(found.maps["t2"], T2, rtol=1e-5)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--robust 'tuckey': .*did you mean 'tukey'"):
        fit(images(0.0), TE, "t2", sigma=SIGMA, robust="tuckey")
