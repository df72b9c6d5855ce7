"""The choice of the fitter, known maps, and what a result holds beside its maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medcore.errors import MedcoreError
from puq_qmri.fitting import FitResult, Status, fit
from puq_qmri.signal_models import get_model

LM = "levenberg-marquardt"
few = settings(max_examples=max(4, settings().max_examples // 10))
seeds = st.integers(0, 2**31)
ANGLES = np.radians([2.0, 4.0, 8.0, 14.0, 20.0])
B1 = np.linspace(0.7, 1.3, 24).reshape(1, 4, 6)


def flip_angles(rng: np.random.Generator, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """T1 (z, y, x) and images (contrast, z, y, x) of a measurement whose flip angles are off by B1."""
    t1 = rng.uniform(0.5, 2.0, B1.shape)
    columns = torch.tensor(np.stack([np.full(B1.shape, 1000.0), t1, B1], -1))
    clean = get_model("vfa", tr=0.015).signal(columns, torch.tensor(ANGLES)).numpy()
    return t1, np.moveaxis(clean, -1, 0) + noise * rng.standard_normal((len(ANGLES), *B1.shape))


def same(one: FitResult, other: FitResult, *, rtol: float = 2e-5, scale: float = 1.0) -> None:
    np.testing.assert_array_equal(one.status, other.status)
    for field in ("maps", "std"):
        for name, values in getattr(one, field).items():
            factor = scale if name in {"m0", "offset"} else 1.0
            size = np.nanmax(np.abs(values * factor), initial=0)
            np.testing.assert_allclose(getattr(other, field)[name], values * factor, rtol=rtol, atol=rtol * size * 1e-2)


def test_a_known_map_is_used_and_without_it_t1_is_wrong(rng) -> None:
    t1, images = flip_angles(rng, 0.0)
    model = get_model("vfa", tr=0.015)
    found, blind = fit(images, ANGLES, model, known={"b1": B1}, signal="signed"), fit(images, ANGLES, model, signal="signed")
    np.testing.assert_allclose(found.maps["t1"], t1, rtol=1e-5)
    # The apparent T1 is nearly T1 times the square of B1.
    assert np.abs(blind.maps["t1"] / (t1 * B1**2) - 1).max() < 0.1
    assert found.facts["fitter"] == LM
    assert found.facts["known"] == {"b1": "given"}
    assert blind.facts["fitter"] == "variable-projection"
    assert blind.facts["known"] == {"b1": 1.0}
    np.testing.assert_allclose(found.known["b1"], B1, rtol=1e-6)


def test_one_number_is_a_map_and_a_map_of_ones_is_none(rng) -> None:
    _, images = flip_angles(rng, 0.3)
    model = get_model("vfa", tr=0.015)
    same(*(fit(images, ANGLES, model, known={"b1": v}, sigma=0.3, signal="signed") for v in (0.9, np.full(B1.shape, 0.9))))
    same(*(fit(images, ANGLES, model, known=k, sigma=0.3, signal="signed") for k in (None, {"b1": 1.0})))


def test_voxels_with_an_impossible_known_value_are_not_fitted(rng) -> None:
    _, images = flip_angles(rng, 0.3)
    bad = B1.copy()
    bad[0, 0, :4] = np.nan, np.inf, 0.0, -1.0
    found = fit(images, ANGLES, get_model("vfa", tr=0.015), known={"b1": bad}, signal="signed")
    assert (found.status[0, 0, :4] == Status.NOT_FINITE).all()
    assert (found.status.ravel()[4:] == Status.OK).all()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("t2", {"known": {"b1": 1.0}}, r"known map 'b1': is nothing that model t2 takes; it takes no known maps"),
        ("vfa", {"known": {"b0": 1.0}}, r"known map 'b0': is nothing that model vfa takes; it takes b1"),
        ("vfa", {"known": {"b1": np.ones((2, 2))}}, r"known map b1: has shape \(2, 2\); give one number or \(1, 4, 6\)"),
        (
            "vfa",
            {"known": {"b1": np.full((1, 4, 6), 100.0)}},
            r"are nowhere within their bounds; give b1 0\.1 to 3; a map in per cent",
        ),
        ("vfa", {"known": {"b1": np.ones((1, 4, 6), complex)}}, r"known map b1: is of type complex128"),
        ("vfa", {"known": {"b1": B1}, "fitter": "variable-projection"}, r"was asked of model vfa, which has a known map; use lev"),
        ("epg-t2", {"fitter": "variable-projection"}, r"model epg-t2, which is not linear in all parameters but one"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(model, options, message) -> None:
    chosen = get_model("vfa", tr=0.015) if model == "vfa" else get_model(model)
    times = ANGLES if model == "vfa" else 0.01 * np.arange(1, 6)
    with pytest.raises(MedcoreError, match=message) as caught:
        fit(np.ones((5, 1, 4, 6)), times, chosen, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["t2", "ir"])
@few
@given(seed=seeds, exponent=st.floats(-12, 12))
def test_the_unit_of_the_images_changes_m0_alone(name, seed, exponent, times, measure) -> None:
    _, images = measure(name, np.random.default_rng(seed), 12, 4.0)
    unit = 10**exponent
    same(
        fit(images, times[name], name, signal="signed", sigma=4.0, fitter=LM),
        fit(images * unit, times[name], name, signal="signed", sigma=4.0 * unit, fitter=LM),
        scale=unit,
    )


@pytest.mark.parametrize("name", ["t2", "ir"])
@few
@given(seed=seeds)
def test_the_order_of_the_contrasts_equal_weights_and_a_zero_weight_change_nothing(name, seed, times, measure) -> None:
    rng = np.random.default_rng(seed)
    _, images = measure(name, rng, 12, 3.0)
    plain = fit(images, times[name], name, signal="signed", sigma=3.0, fitter=LM)
    order = rng.permutation(len(images))
    same(plain, fit(images[order], times[name][order], name, signal="signed", sigma=3.0, fitter=LM))
    same(plain, fit(images, times[name], name, signal="signed", sigma=np.full(images.shape, 3.0), fitter=LM))
    more = np.concatenate([images, 1e6 * rng.standard_normal(images[:1].shape)])
    sigma = np.concatenate([np.full(len(images), 3.0), [np.inf]])
    extended = fit(more, np.append(times[name], 0.123), name, signal="signed", sigma=sigma, fitter=LM)
    same(plain, extended)
    np.testing.assert_array_equal(extended.contrasts_used, len(images))
    np.testing.assert_allclose(extended.chi2, plain.chi2, rtol=1e-5)
    np.testing.assert_allclose(extended.reduced_chi2, plain.reduced_chi2, rtol=1e-5)


@pytest.mark.parametrize("name", ["ir", "ir2"])
@pytest.mark.parametrize("kind", ["magnitude", "complex"])
def test_both_fitters_restore_the_same_signs(name, kind, rng, times, measure) -> None:
    _, images = measure(name, rng, 60, 2.0)
    seen = np.abs(images) if kind == "magnitude" else images * np.exp(2j)
    one, other = (fit(seen, times[name], name, sigma=2.0, fitter=f, residuals=True) for f in (LM, "variable-projection"))
    same(one, other, rtol=1e-5)
    np.testing.assert_allclose(one.residuals, other.residuals, atol=1e-4)
    assert one.facts["signal"] == kind


HOPELESS = [[0.0] * 4, [np.nan, 50, 30, 20], [80, 50, np.inf, 20], [50] * 4, [10, 20, 30, 40], [10, 0, 0, 0], [-80, -50, -30, -20]]


def test_hopeless_voxels_get_the_same_status_from_both_fitters() -> None:
    t = np.array([0.01, 0.03, 0.06, 0.1])
    columns = np.array([*HOPELESS, list(100 * np.exp(-t / 0.07))]).T[:, None, None, :]
    one, other = (fit(columns, t, "t2", signal="signed", fitter=f) for f in (LM, "variable-projection"))
    np.testing.assert_array_equal(one.status, other.status)
    assert one.status.ravel()[-1] == Status.OK
    assert np.isnan(one.maps["t2"].ravel()[:-1]).all()


def test_residuals_are_what_the_model_leaves(rng, times, measure) -> None:
    _, images = measure("t2-offset", rng, 20, 2.0)
    sigma = np.full(images.shape, 2.0)
    sigma[3, ..., 5] = np.inf
    found = fit(images, times["t2-offset"], "t2-offset", sigma=sigma, signal="signed", residuals=True)
    model = get_model("t2-offset")
    parameters = torch.tensor(np.stack([found.maps[p.name].ravel() for p in model.parameters], -1), dtype=torch.float64)
    expected = images[:, 0, 0] - model.signal(parameters, torch.tensor(times["t2-offset"])).numpy().T
    assert np.isnan(found.residuals[3, 0, 0, 5])
    expected[3, 5] = np.nan
    np.testing.assert_allclose(found.residuals[:, 0, 0], expected, atol=2e-4)
    assert fit(images, times["t2-offset"], "t2-offset", signal="signed").residuals is None
    assert found.contrasts_used.ravel()[5] == len(images) - 1


@pytest.mark.parametrize("name", ["t2", "ir", "t2-offset"])
def test_the_covariance_is_that_of_repeated_measurements(name, rng, times, curves) -> None:
    truth = {"t2": (100.0, 0.08), "ir": (100.0, 0.9, 1.9), "t2-offset": (100.0, 0.06, 10.0)}[name]
    n, sigma = 6000, 1.0
    noise = sigma * rng.standard_normal((len(times[name]), 1, 1, n))
    found = fit(
        curves[name](times[name], *truth)[:, None, None, None] + noise,
        times[name],
        name,
        sigma=sigma,
        signal="signed",
        full_covariance=True,
    )
    ok = (found.status == Status.OK).ravel()
    assert ok.mean() > 0.999
    estimates = np.stack([m.ravel()[ok] for m in found.maps.values()]).astype(np.float64)
    predicted = found.covariance.reshape(n, *found.covariance.shape[-2:])[ok].astype(np.float64).mean(0)
    observed = np.cov(estimates)
    size = np.sqrt(np.diag(observed))
    np.testing.assert_allclose(predicted / np.outer(size, size), np.corrcoef(estimates), atol=0.06)
    np.testing.assert_allclose(
        np.sqrt(np.diagonal(found.covariance[0, 0], axis1=-2, axis2=-1))[ok].T,
        [m.ravel()[ok] for m in found.std.values()],
        rtol=1e-5,
    )


def test_p_values_are_uniform_under_the_model_and_tell_a_misfit(rng, times, curves) -> None:
    t = times["t2"]
    noise = rng.standard_normal((len(t), 1, 1, 4000))
    right = fit(curves["t2"](t, 100.0, 0.08)[:, None, None, None] + noise, t, "t2", sigma=1.0, signal="signed")
    assert stats.kstest(right.p_value.ravel(), "uniform").pvalue > 1e-3
    assert right.reduced_chi2.mean() == pytest.approx(1, abs=0.03)
    wrong = fit(curves["t2-offset"](t, 100.0, 0.03, 20.0)[:, None, None, None] + noise, t, "t2", sigma=1.0, signal="signed")
    assert np.median(wrong.p_value) < 1e-3
    unknown = fit(np.ones((8, 1, 1, 1)) * np.exp(-t / 0.1)[:, None, None, None], t, "t2", signal="signed")
    assert unknown.p_value is None


def test_the_effective_number_of_contrasts_counts_equal_weights_fully(rng, times, measure) -> None:
    _, images = measure("t2", rng, 3, 1.0)
    assert fit(images, times["t2"], "t2", signal="signed").effective_contrasts.tolist() == [[[8.0, 8.0, 8.0]]]
    sigma = np.array([1.0, 1.0, 2.0, 2.0, 2.0, 2.0, np.inf, np.inf])
    found = fit(images, times["t2"], "t2", sigma=sigma, signal="signed")
    assert found.effective_contrasts[0, 0, 0] == pytest.approx((2 + 4 / 4) ** 2 / (2 + 4 / 16))
    assert math.isclose(found.contrasts_used[0, 0, 0], 6)
