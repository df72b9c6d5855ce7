"""Profile intervals: against scipy's, voxel by voxel, and by how often they hold the truth."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import optimize, stats

from medcore.errors import ConfigError
from puq_qmri.fitting import FitResult, Status, fit
from puq_qmri.signal_models import get_model
from puq_qmri.signal_models.base import Parameter, SignalModel

FEW = np.array([0.010, 0.030, 0.060, 0.100])
LIMIT = 3.841458820694124
N = 4000
SLACK = 3.5 * np.sqrt(0.025 * 0.975 / N)
"""3.5 binomial standard deviations of a share of 2.5 %."""


def few_echoes(rng: np.random.Generator, sigma: Any, n: int = N, t2: float = 0.07) -> NDArray[np.float64]:
    noise = np.reshape(sigma, (-1, 1, 1, 1)) * rng.standard_normal((len(FEW), 1, 1, n))
    return np.exp(-FEW / t2)[:, None, None, None] + noise


def misses(result: FitResult, key: str, truth: float) -> tuple[float, float]:
    """Share of the fitted voxels whose whole interval lies above the truth, and below it."""
    ok = result.status == Status.OK
    return float((result.low95[key][ok] > truth).mean()), float((result.high95[key][ok] < truth).mean())


def referee(
    curve: Any, t: NDArray[np.float64], y: NDArray[np.float64], best: list[float], index: int, threshold: float
) -> list[float]:
    """Both limits by a root finder around a minimiser."""

    def least(value: float) -> float:
        def left(others: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(y - curve(t, *np.insert(others, index, value)))

        found = optimize.least_squares(left, np.delete(best, index), x_scale=np.abs(np.delete(best, index)), xtol=1e-9, ftol=1e-9)
        return float(2 * found.cost)

    bottom = float(((y - curve(t, *best)) ** 2).sum())
    ends = []
    for factor in (1 / 1.2, 1.2):
        far = best[index]
        while least(far) - bottom < threshold:
            far *= factor
        ends.append(optimize.brentq(lambda v: least(v) - bottom - threshold, far / factor, far, xtol=1e-5 * abs(far)))
    return ends


@pytest.mark.parametrize(("name", "sigma"), [("t2", 8.0), ("ir2", 12.0), ("ir", 8.0)])
@pytest.mark.parametrize("known", [True, False])
def test_limits_are_those_of_scipy(name, sigma, known, rng, times, curves, measure) -> None:
    n = 3 if name == "ir" else 5
    _, images = measure(name, rng, n, sigma)
    t = times[name]
    result = fit(images, t, name, sigma=sigma if known else None, signal="signed", intervals="profile")
    names = list(result.maps)
    assert (result.status == Status.OK).all()
    assert result.facts["intervals"] == {"kind": "profile", "profiled": dict.fromkeys(names, n), "open": dict.fromkeys(names, 0)}
    for voxel in range(n):
        best = [float(result.maps[n][0, 0, voxel]) for n in names]
        threshold = LIMIT * sigma**2
        if not known:
            freedom = len(t) - len(names)
            threshold = stats.f.ppf(0.95, 1, freedom) * float(result.chi2[0, 0, voxel]) / freedom
        for index, key in enumerate(names):
            low, high = referee(curves[name], t, images[:, 0, 0, voxel], best, index, threshold)
            assert result.low95[key][0, 0, voxel] == pytest.approx(low, rel=1e-3)
            assert result.high95[key][0, 0, voxel] == pytest.approx(high, rel=1e-3)


@pytest.mark.parametrize("known", [True, False])
def test_misses_are_equal_on_both_sides_where_those_of_normal_intervals_are_not(known, rng) -> None:
    images = few_echoes(rng, 0.1)
    sigma = 0.1 if known else None
    normal, profile = (
        misses(fit(images, FEW, "t2", sigma=sigma, signal="signed", intervals=i), "t2", 0.07) for i in ("normal", "profile")
    )
    assert normal[0] < 0.025 - SLACK
    assert normal[1] > 0.025 + SLACK
    assert profile == pytest.approx((0.025, 0.025), abs=SLACK)


def test_weights_that_are_not_inverse_variances_move_the_threshold(rng) -> None:
    """Equal weights, unequal noise: the plain threshold would be wrong by the ratio of the variances."""
    sigma = np.array([0.02, 0.05, 0.05, 0.12])
    images = few_echoes(rng, sigma)
    result = fit(images, FEW, "t2", sigma=sigma, weights=np.ones(images.shape), signal="signed", intervals="profile")
    assert misses(result, "t2", 0.07) == pytest.approx((0.025, 0.025), abs=SLACK)


def test_both_kinds_agree_where_noise_is_low(rng) -> None:
    images = few_echoes(rng, 1e-3, 50)
    normal, profile = (fit(images, FEW, "t2", sigma=1e-3, signal="signed", intervals=i) for i in ("normal", "profile"))
    for key in ("t2", "m0"):
        for limit in ("low95", "high95"):
            off = getattr(profile, limit)[key] - getattr(normal, limit)[key]
            assert 0 < np.abs(off / normal.std[key]).max() < 0.02


def test_auto_takes_the_profile_of_skewed_estimates_alone(rng) -> None:
    images = np.concatenate([few_echoes(rng, 0.1, 20), few_echoes(rng, 1e-3, 20)], axis=-1)
    found = {i: fit(images, FEW, "t2", signal="signed", intervals=i) for i in ("auto", "normal", "profile")}
    skewed = found["auto"].std["t2"] > 0.05 * found["auto"].maps["t2"]
    assert 10 <= skewed.sum() <= 20
    assert found["auto"].facts["intervals"]["profiled"] == {"m0": 0, "t2": int(skewed.sum())}
    for limit in ("low95", "high95"):
        maps = {i: getattr(r, limit)["t2"] for i, r in found.items()}
        np.testing.assert_array_equal(maps["auto"], np.where(skewed, maps["profile"], maps["normal"]))


class Rate(SignalModel):
    """The same decay by its rate."""

    name: ClassVar[str] = "rate"
    summary: ClassVar[str] = "M0 exp(-TE R2)"
    source: ClassVar[str] = "test"
    times_key: ClassVar[str] = "te"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="m0", map_name="M0map", unit="a.u.", lower=0.0, upper=float("inf")),
        Parameter(name="r2", map_name="R2map", unit="1", lower=0.2, upper=1000.0),
    )

    def signal(self, parameters: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        m0, rate = parameters.unbind(-1)
        return m0[..., None] * torch.exp(-times * rate[..., None])


def test_neither_the_parametrisation_nor_the_unit_nor_the_fitter_matters(rng) -> None:
    images = few_echoes(rng, 0.08, 30)
    options: dict[str, Any] = {"signal": "signed", "intervals": "profile"}
    plain = fit(images, FEW, "t2", sigma=0.08, **options)
    scaled = fit(1e4 * images, FEW, "t2", sigma=800.0, **options)
    other = fit(images, FEW, "t2", sigma=0.08, fitter="levenberg-marquardt", **options)
    rate = fit(images, FEW, Rate(), sigma=0.08, **options)
    ok = (plain.status == Status.OK) & (rate.status == Status.OK)
    assert ok.mean() > 0.95
    for limit, opposite in (("low95", "high95"), ("high95", "low95")):
        maps = getattr(plain, limit)
        np.testing.assert_allclose(getattr(scaled, limit)["t2"][ok], maps["t2"][ok], rtol=1e-5)
        np.testing.assert_allclose(getattr(scaled, limit)["m0"][ok], 1e4 * maps["m0"][ok], rtol=1e-5)
        np.testing.assert_allclose(1 / getattr(rate, opposite)["r2"][ok], maps["t2"][ok], rtol=1e-3)
        for key in ("t2", "m0"):
            np.testing.assert_allclose(getattr(other, limit)[key][ok], maps[key][ok], rtol=1e-3)
            np.testing.assert_allclose(getattr(rate, limit)["m0"][ok], maps["m0"][ok], rtol=1e-3)


def test_magnitudes_of_an_inversion_recovery_keep_every_polarity_that_is_likely(rng, times, curves) -> None:
    t, n, sigma = times["ir2"], 60, 0.08
    t1 = np.linspace(0.45, 0.60, n)  # the third or fourth time meets the zero crossing
    images = np.abs(curves["ir2"](t[:, None], 1.0, t1) + sigma * rng.standard_normal((len(t), n)))[:, None, None, :]
    result = fit(images, t, "ir2", sigma=sigma, intervals="profile")
    assert (result.status == Status.OK).all()
    grid = np.geomspace(0.05, 5, 20_001)
    basis = 1 - 2 * np.exp(-t[:, None] / grid)
    for voxel in range(n):
        signs = [np.where(np.arange(len(t)) < k, -1.0, 1.0) for k in range(len(t) + 1)]
        y = np.stack(signs) * images[:, 0, 0, voxel]
        along = np.maximum(y @ basis, 0)  # M0 is positive
        misfit = ((y**2).sum(1)[:, None] - along**2 / (basis**2).sum(0)).min(0)
        inside = grid[misfit - misfit.min() < LIMIT * sigma**2]
        assert result.low95["t1"][0, 0, voxel] == pytest.approx(inside[0], rel=2e-3)
        assert result.high95["t1"][0, 0, voxel] == pytest.approx(inside[-1], rel=2e-3)


def test_an_interval_that_the_data_do_not_end_reaches_to_the_bound_and_is_counted(rng) -> None:
    images = few_echoes(rng, 0.2, 300, t2=0.3)
    result = fit(images, FEW, "t2", sigma=0.2, signal="signed", intervals="profile")
    ok, bound = result.status == Status.OK, np.float32(get_model("t2").parameters[1].upper)
    ended = result.high95["t2"][ok] < bound
    assert 0 < (~ended).sum() == result.facts["intervals"]["open"]["t2"] < ok.sum()
    assert (result.high95["t2"][ok][~ended] == bound).all()
    assert (~ok).any()
    assert np.isnan(result.low95["t2"][~ok]).all()
    assert np.isnan(result.high95["t2"][~ok]).all()


def test_complex_images_before_the_zero_crossing_are_those_of_the_signed_ones(rng, curves) -> None:
    """All values are negative, so that the sign of the phase is settled by the parameters; residuals and limits follow it."""
    t = np.array([0.05, 0.1, 0.2, 0.3])
    images = curves["ir2"](t, 1.0, 1.5)[:, None, None, None] + 0.03 * rng.standard_normal((4, 1, 1, 20))
    options: dict[str, Any] = {"sigma": 0.03, "intervals": "profile", "residuals": True}
    signed = fit(images, t, "ir2", signal="signed", **options)
    turned = fit(images * np.exp(0.7j), t, "ir2", signal="complex", **options)
    for one, other in ((signed.low95, turned.low95), (signed.high95, turned.high95)):
        np.testing.assert_allclose(one["t1"], other["t1"], rtol=1e-4)
    np.testing.assert_allclose(np.asarray(signed.residuals), np.asarray(turned.residuals), atol=1e-5)


def test_known_maps_and_correlations_enter_the_profile(rng) -> None:
    t = np.deg2rad([3.0, 8.0, 15.0, 25.0])
    model = get_model("vfa", tr=0.015)
    clean = model.signal(torch.tensor([[100.0, 1.0]], dtype=torch.float64), torch.as_tensor(t))[0].numpy()
    images = clean[:, None, None, None] + 0.5 * rng.standard_normal((4, 1, 1, 30))
    plain = fit(images, t, model, sigma=0.5, signal="signed", intervals="profile")
    given = fit(images, t, model, sigma=0.5, signal="signed", intervals="profile", known={"b1": 1.0})
    np.testing.assert_allclose(given.high95["t1"], plain.high95["t1"], rtol=1e-3)
    independent = fit(images, t, model, sigma=0.5, signal="signed", intervals="profile", correlation=np.eye(4))
    np.testing.assert_allclose(independent.high95["t1"], plain.high95["t1"], rtol=1e-4)


def test_what_has_no_profile_is_refused_or_normal(rng) -> None:
    images = np.abs(few_echoes(rng, 0.1, 5))
    for options in ({"robust": "huber"}, {"noise": "rician"}):
        with pytest.raises(ConfigError, match="does not go with"):
            fit(images, FEW, "t2", sigma=0.1, intervals="profile", **options)
        assert fit(images, FEW, "t2", sigma=0.1, **options).facts["intervals"]["kind"] == "normal"
