"""What holds for whole families: bounds, symmetry, order of samples, scale; and input that degenerates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore import metrics
from medcore.errors import InputError
from medcore.metrics import Bound, cluster_interval, get_metric

LABELS = ("accuracy", "balanced_accuracy", "f1", "matthews", "cohen_kappa", "quadratic_weighted_kappa", "grade_mae")
PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv")
PROBABILITIES = ("auroc", "average_precision", "brier", "log_loss", "ece", "ece_mass", "calibration_slope")
MAPS = ("mae", "rmse", "bias", "loa_low", "loa_high", "within_subject_sd", "repeatability_coefficient")
RATIOS = ("nrmse", "nmse", "percent_bias", "median_relative_error", "within_subject_cov", "ccc", "ssim", "ssim_gauss", "ssim_w11")
PREDICTED = ("z_score_rms", "regression_calibration_error", "quantile_calibration_error", "ence", "ause", "error_spearman")
SCORES = ("gaussian_nll", "crps_gaussian")
BOUNDS = {
    **dict.fromkeys(
        ("accuracy", "balanced_accuracy", "f1", *PROPORTIONS, "auroc", "average_precision", "brier", "ece", "ece_mass"), (0, 1)
    ),
    **dict.fromkeys(("matthews", "cohen_kappa", "quadratic_weighted_kappa", "ccc", "error_spearman"), (-1, 1)),
    **dict.fromkeys(("regression_calibration_error", "quantile_calibration_error"), (0, 1)),
    **dict.fromkeys(("ssim", "ssim_gauss", "ssim_w11"), (-1, 1)),
}
seeds = st.integers(0, 2**32 - 1)


def samples(name, rng, n=30):
    """Positional input of n samples; images for SSIM."""
    if name in LABELS:
        return rng.integers(0, 3, n), rng.integers(0, 3, n)
    if name in PROPORTIONS:
        return np.r_[0, 1, rng.integers(0, 2, n - 2)], np.r_[1, 0, rng.integers(0, 2, n - 2)]
    if name in PROBABILITIES:
        return np.r_[0, 1, rng.integers(0, 2, n - 2)], np.round(rng.uniform(0.05, 0.95, n), 2)
    if name in PREDICTED or name in SCORES:
        return rng.standard_normal(n), rng.standard_normal(n), rng.uniform(0.2, 2, n)
    shape = (15, 16) if name.startswith("ssim") else (n,)
    return rng.uniform(0.5, 2, shape), rng.uniform(0.5, 2, shape)


def value(name, *arguments):
    return get_metric(name).function(*arguments).value


@pytest.mark.parametrize("name", BOUNDS)
@given(seed=seeds)
def test_bounds(name, seed):
    found = value(name, *samples(name, np.random.default_rng(seed)))
    low, high = BOUNDS[name]
    assert found is None or low - 1e-12 <= found <= high + 1e-12


@pytest.mark.parametrize("name", [*LABELS, *PROPORTIONS, *PROBABILITIES, *MAPS, *PREDICTED, *SCORES])
@given(seed=seeds)
def test_the_order_of_samples_decides_nothing(name, seed):
    rng = np.random.default_rng(seed)
    columns = samples(name, rng)
    order = rng.permutation(len(columns[0]))
    found = value(name, *(c[order] for c in columns))
    expected = value(name, *columns)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-12))


@pytest.mark.parametrize(
    "name", ["accuracy", "matthews", "cohen_kappa", "quadratic_weighted_kappa", "grade_mae", "f1", "mae", "rmse", "ccc"]
)
@given(seed=seeds)
def test_symmetric_metrics(name, seed):
    one, two = samples(name, np.random.default_rng(seed))
    expected = value(name, two, one)
    assert value(name, one, two) == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-12))


@pytest.mark.parametrize("name", [*MAPS, *RATIOS, *PREDICTED, "crps_gaussian"])
@given(seed=seeds, power=st.integers(-6, 6))
def test_other_units_change_metrics_with_a_unit_only(name, seed, power):
    """Milliseconds instead of seconds: numbers of unit ``data`` scale, the others stay."""
    columns = samples(name, np.random.default_rng(seed))
    scale = 10.0**power
    factor = scale if get_metric(name).unit == "data" else 1.0
    assert value(name, *(scale * c for c in columns)) == pytest.approx(factor * value(name, *columns), rel=1e-6, abs=1e-9 * factor)


@pytest.mark.parametrize("name", ["auroc", "average_precision"])
@given(seed=seeds)
def test_ranks_decide(name, seed):
    truth, scores = samples(name, np.random.default_rng(seed))
    assert value(name, truth, np.exp(3 * scores) - 7) == pytest.approx(value(name, truth, scores))


@given(seed=seeds)
def test_turned_scores_turn_the_area(seed):
    truth, scores = samples("auroc", np.random.default_rng(seed))
    assert value("auroc", truth, -scores) == pytest.approx(1 - value("auroc", truth, scores))


@pytest.mark.parametrize("name", ["accuracy", "f1", "auroc", "brier", "ece", "log_loss", "calibration_slope"])
@given(seed=seeds)
def test_an_interval_contains_its_estimate_or_there_is_none(name, seed):
    columns = samples(name, np.random.default_rng(seed), 40)
    found = cluster_interval(columns, np.arange(40) // 4, Bound(get_metric(name)), n_resamples=100)
    if found.low is None:
        assert found.reason
    else:
        assert found.low - 1e-12 <= found.value <= found.high + 1e-12


DEGENERATE = [
    ("matthews", ([1, 1], [1, 1]), "of one class"),
    ("cohen_kappa", ([1, 1], [1, 1]), "all labels are equal"),
    ("sensitivity", ([0, 0], [0, 1]), "no reference is positive"),
    ("specificity", ([1, 1], [0, 1]), "no reference is negative"),
    ("ppv", ([0, 1], [0, 0]), "no estimate is positive"),
    ("npv", ([0, 1], [1, 1]), "no estimate is negative"),
    ("sensitivity", ([], []), "there are no samples"),
    ("multilabel_f1", (np.zeros((2, 2)), np.zeros((2, 2))), "no finding occurs"),
    ("average_precision", ([0, 0], [0.1, 0.2]), "a class has no samples"),
    ("log_loss", ([0, 1], [0.2, 0.0]), "1 of 2 samples have probability 0"),
    ("calibration_slope", ([0, 1], [0.2, 0.8]), "do not overlap"),
    ("calibration_slope", ([1, 1], [0.2, 0.8]), "one is missing"),
    ("calibration_slope", ([0, 1, 0], [0.0, 0.8, 1.0]), "2 of 3 probabilities are 0 or 1"),
    ("percent_bias", ([0.0, 1.0], [1.0, 1.0]), "1 of 2 reference values are zero"),
    ("percent_bias", ([], []), "no values are left"),
    ("mae", ([], []), "no values are left"),
    ("rmse", ([], []), "no values are left"),
    ("nmse", ([0.0, 0.0], [1.0, 1.0]), "zero everywhere"),
    ("within_subject_sd", ([], []), "no values are left"),
    ("mean_width", ([], []), "no values are left"),
    ("ence", ([1.0] * 3, [1.0] * 3, [1.0] * 3), "3 values do not fill 10 bins"),
    ("ence", ([1.0], [1.0], [0.0]), "deviations are zero"),
    ("quantile_calibration_error", ([1.0], [1.0], [0.0]), "deviations are zero"),
    ("error_spearman", ([1.0], [1.0], [1.0]), "fewer than two"),
    ("error_spearman", ([1.0, 2.0], [1.5, 1.0], [1.0, 1.0]), "all deviations are equal"),
    ("error_spearman", ([1.0, 2.0], [1.0, 2.0], [1.0, 2.0]), "all errors are equal"),
    ("mean_giou", ([[]], [[]]), "no image has boxes"),
    ("ap50", ([[]], [[[0, 0, 1, 1]]], [[0.5]]), "there are no reference boxes"),
]


@pytest.mark.parametrize(("name", "arguments", "reason"), DEGENERATE)
def test_degenerate_input_has_a_reason(name, arguments, reason):
    result = get_metric(name).function(*arguments)
    assert result.value is None
    assert reason in result.reason


REFUSED = [
    ("sensitivity", (["a", "b"], ["a", "b"]), "positive class: is not known among labels like 'a'"),
    ("ppv", ([0, 1], [0, None, 1]), "2 references and 3 estimates"),
    ("multilabel_f1", ([0, 1], [0, 1]), r"findings: have the shapes \(2,\) and \(2,\)"),
    ("multilabel_f1", ([[0, 2]], [[0, 1]]), "reference: holds 2"),
    ("auroc", (np.zeros((2, 2)), np.zeros((2, 3))), "scores: have shape"),
    ("auroc", ([0, 1], [0.5, np.nan]), r"scores: 1 of 2 values are not finite, the first at index \(1,\)"),
    ("log_loss", ([0, 1], [0.5, 1.2]), "reach from 0.5 to 1.2"),
    ("calibration_slope", ([0, 1], np.full((2, 2), 0.5)), "have 2 axes"),
    ("within_subject_sd", ([1.0, 2.0], [1.0]), "differ"),
    ("mean_width", ([1.0, 2.0], [0.0, 3.0]), "1 of 2 lower ends lie above"),
    ("mean_giou", ([[[0, 0, 1, 1]]], []), "1 references and 0 estimates"),
    ("ap50", ([[[0, 0, 1, 1]]], [[[0, 0, 1, 1]]], [[np.nan]]), "scores: those of image 0 are not finite"),
    ("mae", (np.ones(3) * 1j, np.ones(3)), "is complex"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED)
def test_bad_input_is_refused(name, arguments, message):
    with pytest.raises(InputError, match=message):
        get_metric(name).function(*arguments)


@pytest.mark.parametrize("options", [{"level": 0.0}, {"level": 95.0}])
def test_levels_that_are_none_are_refused(options):
    for function in (metrics.within_subject_sd, metrics.repeatability_coefficient, metrics.percent_bias):
        with pytest.raises(InputError, match="between 0 and 1"):
            function([1.0, 2.0], [1.0, 3.0], **options)


def test_answers_that_could_not_be_read_are_wrong_either_way():
    ref, est = ["sick", "sick", "well", "well"], ["sick", None, "well", None]
    found = {n: get_metric(n).function(ref, est, positive="sick").value for n in PROPORTIONS}
    assert found == {"sensitivity": 0.5, "specificity": 0.5, "ppv": 0.5, "npv": 0.5}


def test_each_class_against_the_others(rng):
    truth, scores = rng.integers(0, 3, 40), rng.random((40, 3))
    parts = metrics.per_class(metrics.auroc, truth, scores)
    assert np.mean([p.value for p in parts]) == pytest.approx(metrics.auroc(truth, scores).value)
    assert [p.metric for p in parts] == ["auroc/rank@1"] * 3


@pytest.mark.parametrize("bins", [0, -1])
def test_bins_that_are_none_are_refused(bins):
    with pytest.raises(InputError, match="bins"):
        metrics.ence([1.0], [1.0], [1.0], bins=bins)
