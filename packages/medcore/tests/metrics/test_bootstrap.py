"""Intervals and tests that respect groups: coverage by simulation, scipy as referee where groups are single samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medcore.errors import InputError
from medcore.metrics import accuracy, auroc, cluster_interval, compare_methods, holm, sign_flip_test


def clusters(rng, groups=25, size=8, between=1.0, within=0.3):
    """Slices of patients: values of one patient belong together."""
    return (between * rng.standard_normal((groups, 1)) + within * rng.standard_normal((groups, size))).ravel(), np.repeat(
        np.arange(groups), size
    )


def test_intervals_cover_the_truth_with_groups_and_not_without():
    rng = np.random.default_rng(11)
    covered, naive, n = 0, 0, 100
    for i in range(n):
        values, groups = clusters(rng)
        found = cluster_interval(values, groups, n_resamples=300, seed=i)
        covered += found.low <= 0 <= found.high
        alone = cluster_interval(values, n_resamples=100, seed=i)
        naive += alone.low <= 0 <= alone.high
    assert stats.binom.ppf(0.001, n, 0.92) <= covered <= n
    assert naive < 0.7 * n


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_single_samples_agree_with_scipy(method, rng):
    values = rng.exponential(1, 60)
    found = cluster_interval(values, method=method, n_resamples=20_000, seed=1)
    kind = {"percentile": "percentile", "bca": "BCa"}[method]
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method=kind, rng=2).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.02)
    assert found.value == pytest.approx(values.mean())
    assert found.n == 60


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not(rng):
    values, groups = clusters(rng)
    first, again, other = (cluster_interval(values, groups, seed=s) for s in (3, 3, 4))
    assert first == again
    assert first.low != other.low
    assert "seed 3" in first.note


@given(order=st.permutations(range(10)))
def test_names_of_groups_and_kinds_of_labels_decide_nothing(order):
    values = np.arange(10.0) ** 2
    names = [f"p{i}" for i in range(10)]
    first = cluster_interval(values, names, n_resamples=100)
    assert cluster_interval(values, np.array(order), n_resamples=100) == first


def test_pairs_are_resampled_together(rng):
    truth = rng.integers(0, 2, 80)
    guess = np.where(rng.random(80) < 0.8, truth, 1 - truth)
    found = cluster_interval((truth, guess), statistic=accuracy)
    assert found.value == accuracy(truth, guess).value
    p = found.value
    half = 1.96 * np.sqrt(p * (1 - p) / 80)
    assert (found.low, found.high) == pytest.approx((p - half, p + half), abs=0.03)
    texts = (np.array(["a", "b", "a", "b"]), ["a", "b", "b", "b"])
    assert cluster_interval(texts, statistic=accuracy).value == 0.75


def test_without_interval_there_is_a_reason():
    few = cluster_interval([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1])
    assert (few.value, few.low) == (2.5, None)
    assert few.reason
    never = cluster_interval(([1, 1, 1], [0.1, 0.2, 0.3]), statistic=auroc)
    assert never.value is None
    assert "no value on the whole sample" in never.reason
    rare = cluster_interval(([1, 0, 0, 0], [0.9, 0.2, 0.3, 0.1]), statistic=auroc)
    assert (rare.value, rare.low) == (1.0, None)
    assert "of 2000 resamples" in rare.reason
    flat = cluster_interval([1.0] * 9, method="bca")
    assert (flat.value, flat.low) == (1.0, None)
    assert "does not vary" in flat.reason


@pytest.mark.parametrize(
    ("arguments", "options", "word"),
    [
        (([1.0, np.nan, 2.0],), {}, "1 are not finite"),
        (([],), {}, "shapes"),
        ((([1, 2], [1, 2, 3]),), {}, "shapes"),
        (([1.0, 2.0, 3.0], [0, 1]), {}, "2 for 3 samples"),
        (([1.0, 2.0, 3.0],), {"level": 95.0}, "level"),
        (([1.0, 2.0, 3.0],), {"n_resamples": 10}, "at least 100"),
    ],
)
def test_misuse_is_refused(arguments, options, word):
    with pytest.raises(InputError, match=word):
        cluster_interval(*arguments, **options)


# --- comparisons


@given(data=st.lists(st.integers(-9, 9).map(float), min_size=3, max_size=9))
def test_the_exact_sign_flip_test_by_enumeration(data):
    sums = [abs(sum(s * d for s, d in zip(signs, data, strict=True))) for signs in itertools.product((1, -1), repeat=len(data))]
    expected = np.mean([s >= abs(sum(data)) - 1e-9 for s in sums])
    assert sign_flip_test(data) == pytest.approx(expected)


def test_the_random_sign_flip_test_agrees_with_scipy(rng):
    values = rng.normal(0.3, 1, 40)
    found = sign_flip_test(values, n_resamples=20_000)
    expected = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1).pvalue
    assert found == pytest.approx(expected, abs=0.015)
    assert found > 0


def test_groups_are_flipped_as_a_whole(rng):
    values, groups = clusters(rng, groups=6, size=50)
    sums = np.array([values[groups == g].sum() for g in range(6)])
    assert sign_flip_test(values, groups) == sign_flip_test(sums)
    assert sign_flip_test([1.0, 2.0, 3.0], [0, 0, 1]) is None


def test_the_test_keeps_its_level_under_clustering():
    rng = np.random.default_rng(4)
    rejected = sum(sign_flip_test(*clusters(rng, groups=8, size=5)) < 0.05 for _ in range(300))
    assert rejected <= stats.binom.ppf(0.999, 300, 0.05)


def test_holm_of_a_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(p=st.lists(st.floats(0, 1), max_size=8))
def test_holm_by_its_definition(p):
    """p_i is adjusted to the largest min(1, (m - j) p_j) over all p_j up to it in order."""
    found = holm(p)
    ordered = sorted(p)
    for value, adjusted in zip(p, found, strict=True):
        steps = [min(1.0, (len(p) - j) * q) for j, q in enumerate(ordered) if q <= value]
        # Among equal p-values the first in order decides for none but itself; the later ones inherit its maximum.
        assert adjusted <= max(steps) + 1e-12
        assert adjusted >= value - 1e-12
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(np.array(found)[order]) >= -1e-12)


@pytest.mark.parametrize("bad", [[-0.1], [1.1], [float("nan")]])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(InputError, match="p-values"):
        holm(bad)


def test_methods_are_compared_on_the_same_samples(rng):
    base, groups = clusters(rng, groups=15, size=4)
    scores = {"plain": base, "better": base + 0.5 + 0.05 * rng.standard_normal(60), "same": base + 0.05 * rng.standard_normal(60)}
    better, same = compare_methods(scores, "plain", groups)
    assert (better.name, better.reference) == ("better", "plain")
    assert better.difference.value == pytest.approx(np.mean(scores["better"] - base))
    assert better.difference.low > 0
    assert better.p_holm == pytest.approx(min(1, 2 * better.p_value)) or better.p_holm == pytest.approx(better.p_value)
    assert better.p_holm < 0.01 < same.p_holm
    assert same.difference.low < 0 < same.difference.high
    few = compare_methods({"a": [1.0, 2.0], "b": [1.0, 3.0]}, "a")
    assert (few[0].p_value, few[0].p_holm) == (None, None)


def test_methods_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="'x' is not among a, b"):
        compare_methods({"a": [1.0], "b": [1.0]}, "x")
    with pytest.raises(InputError, match="the same samples"):
        compare_methods({"a": [1.0, 2.0], "b": [1.0]}, "a")
