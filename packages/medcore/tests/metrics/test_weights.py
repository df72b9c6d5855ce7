"""Weights: a sample that counts three times is a sample that is there three times, for every metric that says so."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcore.metrics import Bound, cluster_interval, get_metric, registered

QUICK = [name for name, m in registered().items() if m.weighted is not None]
WORDS = ["the", "lung", "is", "clear", "no", "sign", "of", "opacity", ""]


def ragged(rows):
    found = np.empty(len(rows), dtype=object)
    found[:] = rows
    return found


def boxes_of(rng, n):
    corner = rng.integers(0, 20, (n, 2)).astype(float)
    return np.hstack([corner, corner + rng.integers(5, 25, (n, 2))])


def columns_of(name, rng, n):
    """Samples that the metric takes, with ties and misses."""
    kind = get_metric(name).kind
    if kind == "text":
        return tuple(ragged([" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(n)]) for _ in range(2))
    if kind == "detection":
        truth = [boxes_of(rng, rng.integers(0, 4)) for _ in range(n)]
        found = [np.vstack([t + rng.integers(-2, 3, t.shape) * (1, 1, 0, 0) * 0.5, boxes_of(rng, 1)]) for t in truth]
        pair = ragged([t.tolist() for t in truth]), ragged([f.tolist() for f in found])
        sure = ragged([rng.random(len(f)).tolist() for f in found])  # among equal scores the order of images decides
        kinds = [ragged([rng.integers(0, 2, len(b)).tolist() for b in boxes]) for boxes in (truth, found)]
        return pair if name.startswith("mean_iou") or name == "mean_giou" else (*pair, sure, *kinds)
    if name == "multilabel_f1":
        return rng.integers(0, 2, (n, 3)), rng.integers(0, 2, (n, 3))
    if kind == "probability":
        return rng.integers(0, 2, n), np.round(rng.uniform(0.05, 0.95, n), 1)
    top = 2 if name in {"sensitivity", "specificity", "ppv", "npv"} else 3
    return rng.integers(0, top, n), rng.integers(0, top, n)


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_weights_count_samples(name, seed):
    rng = np.random.default_rng(seed)
    columns = columns_of(name, rng, 12)
    weights = rng.integers(0, 4, 12).astype(float)
    prepared = get_metric(name).weighted(*columns)
    index = np.repeat(np.arange(12), weights.astype(int))
    if not len(index):
        return
    expected = get_metric(name).function(*(c[index] for c in columns)).value
    with np.errstate(all="ignore"):
        found = prepared(weights)
        everything = prepared(np.ones(12))
    if expected is None:
        assert found is None or not np.isfinite(found)
    else:
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    whole = get_metric(name).function(*columns).value
    assert everything == (None if whole is None else pytest.approx(whole, rel=1e-9, abs=1e-12))


@pytest.mark.parametrize("name", ["auroc", "average_precision", "brier", "log_loss"])
@given(seed=st.integers(0, 2**32 - 1), many=st.booleans())
def test_weights_count_samples_of_several_classes(name, seed, many):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(3), 15)
    truth = rng.integers(0, 2, (15, 3)) if many else rng.integers(0, 3, 15)
    weights = rng.integers(0, 4, 15)
    index = np.repeat(np.arange(15), weights)
    expected = get_metric(name).function(truth[index], scores[index]).value
    found = get_metric(name).weighted(truth, scores)(weights.astype(float))
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-9))


@pytest.mark.parametrize("name", ["accuracy", "f1", "auroc", "ece_mass", "quadratic_weighted_kappa"])
def test_the_quick_way_draws_what_the_plain_way_draws(name, rng):
    columns, groups = columns_of(name, rng, 40), np.arange(40) // 4
    entry = get_metric(name)
    quick = cluster_interval(columns, groups, Bound(entry), n_resamples=200, seed=2)

    def copies(*columns):  # without the weighted form, samples are copied
        return entry.function(*columns)

    plain = cluster_interval(columns, groups, copies, n_resamples=200, seed=2)
    assert (quick.low, quick.high) == pytest.approx((plain.low, plain.high), rel=1e-12)
    assert quick.low < quick.value < quick.high


@pytest.mark.parametrize("name", ["accuracy", "f1", "quadratic_weighted_kappa", "auroc", "average_precision", "brier", "ece"])
def test_ten_thousand_samples_take_seconds(name, rng):
    """2000 resamples of 10 000 samples: well under a second each; the bar leaves room for a busy machine."""
    columns, groups = columns_of(name, rng, 10_000), np.arange(10_000) // 4
    start = time.perf_counter()
    found = cluster_interval(columns, groups, Bound(get_metric(name)))
    assert time.perf_counter() - start < 5
    assert found.low < found.value < found.high
