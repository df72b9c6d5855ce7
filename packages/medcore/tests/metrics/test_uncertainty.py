"""Scores of predicted uncertainty against scoringrules, scipy and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medcore.errors import InputError
from medcore.metrics import (
    ause,
    calibration_curve,
    coverage,
    crps_gaussian,
    gaussian_nll,
    interval_score,
    regression_calibration_error,
    sharpness,
    sparsification,
    z_score_rms,
    z_scores,
)


@st.composite
def predictions(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 60))
    scale = draw(st.floats(1e-3, 1e3))
    return scale * rng.standard_normal(n), scale * rng.standard_normal(n), scale * rng.uniform(0.05, 2, n)


@given(prediction=predictions())
def test_scores_are_those_of_scoringrules_and_scipy(prediction):
    ref, mean, sd = prediction
    assert crps_gaussian(ref, mean, sd).value == pytest.approx(
        np.mean(scoringrules.crps_normal(ref, mean, sd)), rel=1e-9, abs=1e-12
    )
    assert gaussian_nll(ref, mean, sd).value == pytest.approx(-np.mean(stats.norm.logpdf(ref, mean, sd)), rel=1e-9, abs=1e-12)
    assert z_scores(ref, mean, sd) == pytest.approx((ref - mean) / sd)
    assert z_score_rms(ref, mean, sd).value == pytest.approx(np.sqrt(np.mean(((ref - mean) / sd) ** 2)))
    assert sharpness(sd).value == pytest.approx(np.sqrt(np.mean(sd**2)))


@given(prediction=predictions(), level=st.floats(0.05, 0.99))
def test_the_interval_score_is_scoringrules(prediction, level):
    ref, mean, sd = prediction
    low, high = mean - sd, mean + 1.5 * sd
    expected = np.mean(scoringrules.interval_score(ref, low, high, 1 - level))
    assert interval_score(ref, low, high, level=level).value == pytest.approx(expected, rel=1e-9)


def test_crps_is_the_integral_of_the_squared_difference_of_distributions():
    x = np.linspace(-30, 30, 600_001)
    for ref, mean, sd in ((0.3, -0.2, 1.4), (5.0, 0.0, 0.5)):
        expected = np.sum((stats.norm.cdf(x, mean, sd) - (x >= ref)) ** 2) * (x[1] - x[0])
        assert crps_gaussian([ref], [mean], [sd]).value == pytest.approx(expected, rel=1e-4)


def test_without_spread_crps_is_the_absolute_error_and_others_have_no_value():
    assert crps_gaussian([1.0, 2.0], [1.5, 2.0], [0.0, 0.0]).value == 0.25
    for function in (gaussian_nll, z_score_rms, regression_calibration_error):
        result = function([1.0, 2.0], [1.5, 2.0], [0.0, 1.0])
        assert result.value is None
        assert "1 of 2 deviations are zero" in result.reason
    with pytest.raises(InputError, match="1 of 2 values are zero"):
        z_scores([1.0, 2.0], [1.5, 2.0], [0.0, 1.0])


@given(inside=st.integers(0, 200), outside=st.integers(0, 200))
def test_coverage_has_wilson_s_interval(inside, outside):
    n = inside + outside
    if not n:
        return
    ref = np.r_[np.zeros(inside), np.full(outside, 5.0)]
    result = coverage(ref, ref * 0 - 1, ref * 0 + 1)
    assert result.value == inside / n
    expected = stats.binomtest(inside, n).proportion_ci(0.95, method="wilson")
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_ends_count_as_inside():
    assert coverage([1.0, 2.0], [1.0, 1.0], [3.0, 2.0]).value == 1


@pytest.mark.parametrize("function", [coverage, interval_score])
def test_swapped_ends_are_refused(function):
    with pytest.raises(InputError, match="1 of 2 lower ends lie above the upper"):
        function([1.0, 2.0], [1.0, 5.0], [3.0, 2.0])


@pytest.mark.parametrize("function", [gaussian_nll, crps_gaussian, z_score_rms, ause, regression_calibration_error, z_scores])
def test_negative_deviations_are_refused(function):
    with pytest.raises(InputError, match="1 values are negative"):
        function([1.0, 2.0], [1.5, 2.0], [1.0, -1.0])
    with pytest.raises(InputError, match="1 values are negative"):
        sharpness([1.0, -1.0])


def test_the_calibration_curve_is_the_observed_coverage_at_each_level(rng):
    ref, mean, sd = rng.standard_normal(500), np.zeros(500), rng.uniform(0.5, 2, 500)
    levels, observed = calibration_curve(ref, mean, sd)
    for level, share in list(zip(levels, observed, strict=True))[::10]:
        half = stats.norm.ppf((1 + level) / 2) * sd
        assert share == coverage(ref, mean - half, mean + half).value
    assert regression_calibration_error(ref, mean, sd).value == pytest.approx(np.mean(np.abs(observed - levels)))


def test_honest_deviations_are_calibrated_and_others_show_which_way():
    rng = np.random.default_rng(5)
    sd = rng.uniform(0.5, 2, 40_000)
    ref = rng.normal(0, sd)
    zero = np.zeros_like(ref)
    assert regression_calibration_error(ref, zero, sd).value < 0.01
    assert z_score_rms(ref, zero, sd).value == pytest.approx(1, abs=0.02)
    assert z_score_rms(ref, zero, sd / 2).value == pytest.approx(2, abs=0.04)
    levels, observed = calibration_curve(ref, zero, sd / 2)
    assert np.all(observed[5:-1] < levels[5:-1])
    honest = [f(ref, zero, sd).value for f in (gaussian_nll, crps_gaussian)]
    for factor in (0.5, 0.8, 1.25, 2):
        assert all(f(ref, zero, factor * sd).value > h for f, h in zip((gaussian_nll, crps_gaussian), honest, strict=True))


@given(prediction=predictions())
def test_sparsification_by_hand(prediction):
    ref, mean, sd = prediction
    if ref.size < 3:
        return
    losses = (ref - mean) ** 2
    curves = sparsification(ref, mean, sd)
    order, worst = np.argsort(sd), np.sort(losses)
    for i in (0, 13, 50, 99):
        kept = max(round(ref.size * (1 - i / 100)), 1)
        assert curves.predicted[i] == pytest.approx(np.sqrt(losses[order[:kept]].mean() / losses.mean()), rel=1e-9)
        assert curves.oracle[i] == pytest.approx(np.sqrt(worst[:kept].mean() / losses.mean()), rel=1e-9)
    assert ause(ref, mean, sd).value == pytest.approx(np.mean(curves.predicted - curves.oracle), abs=1e-12)
    assert ause(ref, mean, sd).value >= -1e-12


def test_ause_is_zero_for_a_perfect_ranking_and_the_same_under_rescaling(rng):
    ref = rng.standard_normal(200)
    assert ause(ref, np.zeros(200), np.abs(ref)).value == pytest.approx(0, abs=1e-12)
    sd = rng.uniform(0.1, 1, 200)
    assert ause(ref, np.zeros(200), sd).value == pytest.approx(ause(ref, np.zeros(200), 7 * sd**3).value, abs=1e-12)
    # Equal deviations rank nothing: the order of the samples must not matter.
    flat = [ause(r, np.zeros(200), np.ones(200)).value for r in (ref, ref[::-1], np.sort(ref))]
    assert flat == pytest.approx([flat[0]] * 3, abs=1e-12)


def test_sparsification_without_error_is_refused_and_ause_says_why():
    with pytest.raises(InputError, match="no error to sparsify"):
        sparsification([1.0, 2.0], [1.0, 2.0], [1.0, 1.0])
    assert "there is no error" in ause([1.0, 2.0], [1.0, 2.0], [1.0, 1.0]).reason
    assert ause([1.0], [2.0], [1.0]).value is None


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_levels_that_are_none_are_refused(level):
    with pytest.raises(InputError, match="between 0 and 1"):
        interval_score([1.0], [0.0], [2.0], level=level)
