"""What must hold for every measurement, whatever its values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puq_qmri.fitting import FitResult, Status, fit

MODELS = ["t2", "t2-offset", "ir", "ir2"]
few = settings(max_examples=max(5, settings().max_examples // 5))
"""For properties that are tried with many models and kinds of signal."""
seeds = st.integers(0, 2**31)


def same(one: FitResult, other: FitResult, *, rtol: float = 2e-5, scale: float = 1.0) -> None:
    """Equal results; parameters in the images' unit of `other` are `scale` times those of `one`."""
    np.testing.assert_array_equal(one.status, other.status)
    for field in ("maps", "std", "low95", "high95"):
        for name, values in getattr(one, field).items():
            factor = scale if name in {"m0", "offset"} else 1.0
            size = np.nanmax(np.abs(values * factor), initial=0)
            np.testing.assert_allclose(getattr(other, field)[name], values * factor, rtol=rtol, atol=rtol * size * 1e-2)


@pytest.mark.parametrize("name", MODELS)
@few
@given(seed=seeds, exponent=st.floats(-12, 12), known=st.booleans())
def test_the_unit_of_the_images_changes_m0_alone(name, seed, exponent, known, times, measure) -> None:
    _, images = measure(name, np.random.default_rng(seed), 20, 4.0)
    unit = 10**exponent
    one = fit(images, times[name], name, signal="signed", sigma=4.0 if known else None)
    other = fit(images * unit, times[name], name, signal="signed", sigma=4.0 * unit if known else None)
    same(one, other, scale=unit)
    if known:
        np.testing.assert_allclose(other.chi2, one.chi2, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("signal", ["signed", "magnitude", "complex"])
@few
@given(seed=seeds)
def test_the_order_of_the_contrasts_is_irrelevant(name, signal, seed, times, measure) -> None:
    rng = np.random.default_rng(seed)
    _, images = measure(name, rng, 20, 3.0)
    sigma = rng.uniform(1, 5, images.shape)
    if signal == "magnitude":
        images = np.abs(images)
    if signal == "complex":
        images = images * np.exp(1j) + 3j * rng.standard_normal(images.shape)
    order = rng.permutation(len(images))
    one = fit(images, times[name], name, sigma=sigma, signal=signal)
    other = fit(images[order], times[name][order], name, sigma=sigma[order], signal=signal)
    same(one, other)


@pytest.mark.parametrize("name", MODELS)
@few
@given(seed=seeds)
def test_a_repeated_measurement_is_one_with_less_noise(name, seed, times, measure) -> None:
    rng = np.random.default_rng(seed)
    _, images = measure(name, rng, 20, 3.0)
    again = images + 3 * rng.standard_normal(images.shape)
    twice = fit(np.concatenate([images, again]), np.tile(times[name], 2), name, sigma=3.0, signal="signed")
    mean = fit((images + again) / 2, times[name], name, sigma=3 / np.sqrt(2), signal="signed")
    same(mean, twice)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("signal", ["signed", "magnitude", "complex"])
@few
@given(seed=seeds, left_out=st.integers(0, 7), value=st.sampled_from([np.nan, np.inf, -np.inf, 1e30, 0.0]))
def test_an_infinite_deviation_leaves_a_contrast_out_whatever_its_value(
    name, signal, seed, left_out, value, times, measure
) -> None:
    rng = np.random.default_rng(seed)
    _, images = measure(name, rng, 12, 3.0)
    if signal == "magnitude":
        images, value = np.abs(images), abs(value)
    if signal == "complex":
        images = images * np.exp(1j) + 3j * rng.standard_normal(images.shape)
    sigma = rng.uniform(1, 5, images.shape)
    rest = np.delete(np.arange(len(images)), left_out)
    without = fit(images[rest], times[name][rest], name, sigma=sigma[rest], signal=signal)
    images[left_out], sigma[left_out] = value, rng.choice([np.inf, np.nan], images.shape[1:])
    same(without, fit(images, times[name], name, sigma=sigma, signal=signal))


@pytest.mark.parametrize("name", MODELS)
@few
@given(seed=seeds)
def test_a_weight_towards_zero_is_the_same_as_leaving_out(name, seed, times, measure) -> None:
    rng = np.random.default_rng(seed)
    _, images = measure(name, rng, 12, 3.0)
    sigma = np.full(len(images), 3.0)
    chosen = int(rng.integers(len(images)))
    results = []
    for value in (np.inf, 3e6):
        sigma[chosen] = value
        results.append(fit(images, times[name], name, sigma=sigma, signal="signed"))
    same(*results, rtol=1e-4)


@given(seed=seeds, factor=st.floats(1e-3, 1e3))
def test_deviations_scale_the_std_and_leave_the_estimate(seed, factor, times, measure) -> None:
    rng = np.random.default_rng(seed)
    _, images = measure("t2", rng, 12, 2.0)
    sigma = rng.uniform(1, 5, images.shape)
    one, other = (fit(images, times["t2"], "t2", sigma=s, signal="signed") for s in (sigma, sigma * factor))
    np.testing.assert_allclose(other.maps["t2"], one.maps["t2"], rtol=1e-5)
    np.testing.assert_allclose(other.std["t2"], factor * one.std["t2"], rtol=1e-4)
    np.testing.assert_allclose(other.chi2, one.chi2 / factor**2, rtol=1e-4)


@given(seed=seeds)
def test_equal_deviations_weigh_as_none(seed, times, measure) -> None:
    _, images = measure("ir", np.random.default_rng(seed), 12, 2.0)
    forms = (3.0, np.full(8, 3.0), np.full(images.shape, 3.0))
    known = [fit(images, times["ir"], "ir", sigma=s, signal="signed") for s in forms]
    unknown = fit(images, times["ir"], "ir", signal="signed")
    for result in known:
        same(known[0], result)
        np.testing.assert_allclose(result.maps["t1"], unknown.maps["t1"], rtol=1e-6)
        np.testing.assert_allclose(unknown.std["t1"], result.std["t1"] / 3 * np.sqrt(unknown.chi2 / 5), rtol=1e-4)


@given(seed=seeds, exponent=st.floats(-3, 3))
def test_time_has_no_preferred_unit(seed, exponent, times, measure) -> None:
    """Within the bounds: twice the times give twice T2."""
    _, images = measure("t2", np.random.default_rng(seed), 12, 1.0)
    factor = 2**exponent
    one, other = (fit(images, times["t2"] * f, "t2", signal="signed") for f in (1.0, factor))
    np.testing.assert_allclose(other.maps["t2"], factor * one.maps["t2"], rtol=1e-5)
    np.testing.assert_allclose(other.std["t2"], factor * one.std["t2"], rtol=1e-4)


@few
@given(seed=seeds, noise=st.floats(0, 300), known=st.booleans())
def test_a_status_goes_with_every_voxel_and_numbers_with_every_good_one(seed, noise, known, times, measure) -> None:
    rng = np.random.default_rng(seed)
    for name in MODELS:
        _, images = measure(name, rng, 30, noise)
        result = fit(images, times[name], name, signal="signed", sigma=max(noise, 1e-3) if known else None)
        ok = result.status == Status.OK
        for field in (result.maps, result.std):
            for values in field.values():
                np.testing.assert_array_equal(np.isfinite(values), ok)
        for field in (result.low95, result.high95):
            for parameter, values in field.items():
                np.testing.assert_array_equal(~np.isnan(values), ok)
                assert np.isinf(values).sum() <= result.facts["intervals"]["open"][parameter]
        assert all((std[ok] >= 0).all() for std in result.std.values())
        assert np.isfinite(result.chi2[ok]).all()
        assert sum(result.counts().values()) == 30
