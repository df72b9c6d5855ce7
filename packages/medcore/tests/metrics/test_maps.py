"""Agreement metrics against published tables, scikit-learn, statsmodels-free restatements and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import median_absolute_error

from medcore.errors import InputError
from medcore.metrics import (
    bias,
    ccc,
    coefficient_of_variation,
    icc,
    limits_of_agreement,
    median_relative_error,
    within_subject_cov,
)

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
"""Table 2 of Shrout and Fleiss 1979: six targets, four judges."""


def test_icc_of_shrout_and_fleiss_s_table():
    assert icc(SHROUT_FLEISS, form="2,1").value == pytest.approx(0.29, abs=0.005)
    assert icc(SHROUT_FLEISS, form="3,1").value == pytest.approx(0.71, abs=0.005)


def test_intervals_of_that_table_are_the_published_ones():
    """As printed by R's psych::ICC for the same table: (0.019, 0.761) and (0.342, 0.946)."""
    two, three = icc(SHROUT_FLEISS, form="2,1"), icc(SHROUT_FLEISS, form="3,1")
    assert (two.low, two.high) == pytest.approx((0.019, 0.761), abs=1e-3)
    assert (three.low, three.high) == pytest.approx((0.342, 0.946), abs=1e-3)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 12), k=st.integers(2, 5), offset=st.floats(-5, 5))
def test_icc_from_an_analysis_of_variance_by_least_squares(seed, n, k, offset):
    """Mean squares from the residuals of nested linear models, an independent way to the same numbers."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((n, 1)) * 2 + rng.standard_normal((n, k)) + offset * np.arange(k)
    y = table.ravel()
    subject, rater = np.repeat(np.eye(n), k, axis=0), np.tile(np.eye(k), (n, 1))

    def rss(*columns):
        design = np.hstack([np.ones((n * k, 1)), *columns])
        return np.sum((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2)

    mse = rss(subject, rater) / ((n - 1) * (k - 1))
    msr = (rss(rater) - rss(subject, rater)) / (n - 1)
    msc = (rss(subject) - rss(subject, rater)) / (k - 1)
    assert icc(table, form="3,1").value == pytest.approx((msr - mse) / (msr + (k - 1) * mse), rel=1e-6, abs=1e-8)
    expected = (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)
    assert icc(table, form="2,1").value == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_an_offset_of_a_rater_counts_in_one_form_only(rng):
    subjects = rng.standard_normal((20, 1))
    table = subjects + np.array([[0.0, 3.0]])
    assert icc(table, form="3,1").value == 1
    assert icc(table, form="2,1").value < 0.5


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (np.ones((1, 3)), "two subjects and two raters"),
        (np.ones((3, 1)), "two subjects and two raters"),
        (np.ones((3, 3)), "all ratings are equal"),
        (np.tile([[1.0, 2.0]], (4, 1)), "subjects do not differ"),
    ],
)
def test_icc_without_value_says_why(table, reason):
    for form in ("2,1", "3,1"):
        result = icc(table, form=form)
        assert result.value is None
        assert reason in result.reason


def test_icc_misuse():
    with pytest.raises(InputError, match="has 1 axes"):
        icc(np.ones(3))
    with pytest.raises(InputError, match="1 values are not finite"):
        icc([[1.0, np.nan], [1.0, 2.0]])


def test_icc_s_interval_covers_the_truth():
    """Two-way random effects with a true ICC(2,1) of 4 / 5.25; 95 % intervals of McGraw and Wong."""
    rng = np.random.default_rng(1)
    truth, inside = 4 / (4 + 0.25 + 1), 0
    for _ in range(300):
        table = 2 * rng.standard_normal((15, 1)) + 0.5 * rng.standard_normal((1, 6)) + rng.standard_normal((15, 6))
        result = icc(table, form="2,1")
        inside += result.low <= truth <= result.high
    assert inside >= stats.binom.ppf(0.001, 300, 0.93)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 50), level=st.sampled_from([0.8, 0.95, 0.99]))
def test_bias_has_the_interval_of_the_paired_t_test(seed, n, level):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n))
    result = bias(a, b, level=level)
    expected = stats.ttest_rel(b, a).confidence_interval(level)
    assert (result.low, result.high) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-12)
    assert result.value == pytest.approx(np.mean(b) - np.mean(a), abs=1e-12)


def test_limits_of_agreement_of_bland_and_altman_s_example():
    """17 pairs of peak expiratory flow (large and mini meter), Bland and Altman 1986: -2.1, sd 38.8, limits -79.7 to 75.5 (2 sd)."""
    large = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = limits_of_agreement(mini, large)
    assert found.bias.value == pytest.approx(-2.1, abs=0.05)
    sd = (found.high.value - found.low.value) / (2 * 1.959964)
    assert sd == pytest.approx(38.8, abs=0.05)
    assert found.low.value == pytest.approx(-2.1 - 1.96 * 38.8, abs=0.3)


def test_limits_contain_95_percent_of_normal_differences_and_their_intervals_the_truth():
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(400):
        difference = rng.normal(0.3, 2.0, 30)
        low = limits_of_agreement(np.zeros(30), difference).low
        inside += low.low <= 0.3 - 1.959964 * 2.0 <= low.high
    assert inside >= stats.binom.ppf(0.001, 400, 0.94)
    large = limits_of_agreement(np.zeros(100_000), rng.normal(0.3, 2.0, 100_000))
    assert (large.low.value, large.high.value) == pytest.approx((0.3 - 3.92, 0.3 + 3.92), abs=0.05)


def test_one_value_has_no_spread():
    found = limits_of_agreement([1.0], [3.0])
    assert (found.bias.value, found.bias.low) == (2.0, None)
    assert "no interval" in found.bias.reason
    assert found.low.value is None


@given(seed=st.integers(0, 2**32 - 1))
def test_median_relative_error_is_scikit_learn_s_of_ratios(seed):
    rng = np.random.default_rng(seed)
    ref, est = rng.uniform(0.5, 2, (2, 31)) * rng.choice([-1, 1], 31)
    assert median_relative_error(ref, est).value == pytest.approx(median_absolute_error(np.ones(31), est / ref), rel=1e-12)


def test_a_reference_of_zero_has_no_relative_error():
    result = median_relative_error([0.0, 1.0, 2.0], [1.0, 1.0, 1.0])
    assert result.value is None
    assert "1 of 3 reference values are zero" in result.reason
    assert median_relative_error([0.0, 1.0, 2.0], [1.0, 1.0, 1.0], mask=np.array([False, True, True])).value == 0.25


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 10), shift=st.floats(-3, 3))
def test_ccc_is_lin_s_definition_through_pearson(seed, scale, shift):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(40)
    b = scale * a + shift + rng.standard_normal(40)
    r = stats.pearsonr(a, b).statistic
    sa, sb = a.std(), b.std()
    accuracy = 2 / (sa / sb + sb / sa + (a.mean() - b.mean()) ** 2 / (sa * sb))
    assert ccc(a, b).value == pytest.approx(r * accuracy, rel=1e-9)
    assert ccc(a, b).value == pytest.approx(ccc(b, a).value, rel=1e-12)
    assert ccc(a, a).value == pytest.approx(1)
    assert ccc(a, -a + 2 * a.mean()).value == pytest.approx(-1)


def test_ccc_of_constants():
    assert "both sides are constant" in ccc([1.0, 1.0], [2.0, 2.0]).reason
    assert ccc([1.0, 1.0], [1.0, 2.0]).value == 0
    assert ccc([1.0], [2.0]).value is None


def test_coefficients_of_variation(rng):
    values = rng.normal(5, 1, 100)
    assert coefficient_of_variation(values).value == pytest.approx(stats.variation(values, ddof=1))
    assert coefficient_of_variation(-values).value == pytest.approx(stats.variation(values, ddof=1))
    assert "mean is zero" in coefficient_of_variation([1.0, -1.0]).reason
    assert coefficient_of_variation([1.0]).value is None
    pairs = rng.uniform(1, 2, (30, 2))
    expected = np.sqrt(np.mean((pairs.std(axis=1, ddof=1) / pairs.mean(axis=1)) ** 2))
    assert within_subject_cov(*pairs.T).value == pytest.approx(expected)
    assert "mean of a pair is zero" in within_subject_cov([1.0, 1.0], [-1.0, 1.0]).reason


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0])
def test_levels_that_are_none_are_refused(level):
    for call in (lambda: bias([1.0, 2.0], [1.0, 2.0], level=level), lambda: icc(SHROUT_FLEISS, level=level)):
        with pytest.raises(InputError, match="between 0 and 1"):
            call()
