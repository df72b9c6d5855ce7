"""Comparisons of any statistic: what the exchange test and its interval promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medcore.errors import InputError
from medcore.metrics import (
    Bound,
    accuracy,
    auroc,
    cluster_interval,
    f1,
    get_metric,
    holm,
    matthews,
    paired_comparison,
    sign_flip_test,
)


def guesses(rng, n=60, right=(0.6, 0.8)):
    truth = rng.integers(0, 3, n)
    return truth, *(np.where(rng.random(n) < p, truth, rng.integers(0, 3, n)) for p in right)


@given(seed=st.integers(0, 2**32 - 1), groups=st.sampled_from([5, 20]))
def test_for_a_mean_it_is_the_sign_flip_test(seed, groups):
    rng = np.random.default_rng(seed)
    truth, one, two = guesses(rng)
    who = np.arange(60) % groups
    difference, p = paired_comparison((truth, one), (truth, two), accuracy, who, n_resamples=200, seed=3)
    gains = (two == truth).astype(float) - (one == truth)
    assert p == sign_flip_test(gains, who, n_resamples=200, seed=3)
    alone = cluster_interval(gains, who, n_resamples=200, seed=3)
    assert difference.value == pytest.approx(gains.mean())
    if alone.low is not None:
        assert (difference.low, difference.high) == pytest.approx((alone.low, alone.high), abs=1e-12)


@pytest.mark.parametrize("name", ["f1", "matthews", "quadratic_weighted_kappa"])
def test_all_exchanges_by_enumeration(name, rng):
    truth, one, two = guesses(rng, 24)
    who = np.arange(24) // 4
    entry = get_metric(name)
    _, p = paired_comparison((truth, one), (truth, two), Bound(entry), who)
    found = []
    for swaps in itertools.product((False, True), repeat=6):
        away = np.array(swaps)[who]
        a, b = np.where(away, two, one), np.where(away, one, two)
        found.append(entry.function(truth, b).value - entry.function(truth, a).value)
    assert p == pytest.approx(np.mean(np.abs(found) >= abs(found[0]) - 1e-12))


def test_it_agrees_with_scipy_s_permutation_test(rng):
    truth, one, two = guesses(rng, 50, (0.6, 0.75))
    _, p = paired_comparison((truth, one), (truth, two), f1, n_resamples=8000)

    def difference(a, b):
        return f1(truth, b).value - f1(truth, a).value

    expected = stats.permutation_test(
        (one, two), difference, permutation_type="samples", vectorized=False, n_resamples=1500, rng=np.random.default_rng(1)
    )
    assert p == pytest.approx(expected.pvalue, abs=0.04)


def test_the_test_keeps_its_level_for_curves_of_clustered_scores():
    rng = np.random.default_rng(7)
    rejected = 0
    for i in range(150):
        who = np.repeat(np.arange(7), 4)
        truth = np.tile([0, 1, 0, 1], 7)
        shared = rng.standard_normal(7)[who]
        one, two = (truth + shared + rng.standard_normal(28) for _ in range(2))
        rejected += paired_comparison((truth, one), (truth, two), auroc, who, n_resamples=100, seed=i)[1] < 0.05
    assert rejected <= stats.binom.ppf(0.999, 150, 0.05)


def test_equal_methods_do_not_differ(rng):
    truth, one, _ = guesses(rng)
    difference, p = paired_comparison((truth, one), (truth, one), matthews)
    assert (difference.value, difference.low, difference.high, p) == (0, 0, 0, 1)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_exchanging_the_methods_changes_signs_only(seed):
    rng = np.random.default_rng(seed)
    truth, one, two = guesses(rng, 40)
    who = np.arange(40) // 5
    forth, p = paired_comparison((truth, one), (truth, two), f1, who, n_resamples=100)
    back, q = paired_comparison((truth, two), (truth, one), f1, who, n_resamples=100)
    assert p == q
    assert forth.value == -back.value
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-12)


@given(p=st.lists(st.floats(0, 1), min_size=2, max_size=8), factor=st.floats(0, 1), place=st.integers(0, 7))
def test_holm_is_monotone(p, factor, place):
    """A smaller p-value never makes any adjusted one larger."""
    smaller = list(p)
    smaller[place % len(p)] *= factor
    assert all(a <= b + 1e-12 for a, b in zip(holm(smaller), holm(p), strict=True))
    assert all(0 <= a <= 1 for a in holm(p))


def test_without_value_or_groups_there_is_a_reason(rng):
    truth, one, two = guesses(rng, 12)
    difference, p = paired_comparison((truth, one), (truth, two), f1, np.arange(12) // 6)
    assert "2 groups are too few" in difference.reason
    assert (difference.low, p) == (None, None)
    ones = np.ones(12, dtype=int)
    difference, p = paired_comparison((ones, one * 0.1), (ones, two * 0.1), auroc)
    assert (difference.value, p) == (None, None)
    assert "no value on the whole sample" in difference.reason
    with pytest.raises(InputError, match="have 12 and 11 samples"):
        paired_comparison((truth, one), (truth[:-1], two[:-1]), f1)


def test_a_statistic_that_resampling_shifts_has_no_interval(rng):
    """Perfectly calibrated in each bin: every resample is worse."""
    confidence = np.repeat([0.25, 0.75], 200)
    correct = np.concatenate([np.arange(200) < 50, np.arange(200) < 150]).astype(int)
    found = cluster_interval((correct, confidence), statistic=get_metric("ece").function)
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.low is None
    assert "beyond its own interval" in found.reason
