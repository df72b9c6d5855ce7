"""What all metrics promise: an identity, no NaN in or out, masks that mean one thing, a reason where there is no number."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medcore import metrics
from medcore.errors import ConfigError, InputError, NumericalError
from medcore.metrics import MetricResult, get_metric, registered
from medcore.metrics.base import as_mask, metric, undefined

# Good positional input of every metric, for eight samples.
_rng = np.random.default_rng(3)
REF, EST = _rng.uniform(1, 2, (16, 16)), _rng.uniform(1, 2, (16, 16))
SD = _rng.uniform(0.1, 0.5, (16, 16))
GRADES = (np.array([0, 1, 2, 2, 1, 0, 1, 2]), np.array([0, 1, 1, 2, 2, 0, 1, 2]))
BINARY = (np.array([0, 1, 1, 0, 1, 0, 1, 0]), np.array([0.2, 0.9, 0.4, 0.4, 0.7, 0.1, 0.6, 0.5]))
BOXES = ([[[0, 0, 4, 4]], [[1, 1, 5, 5]]], [[[0, 0, 4, 3]], [[1, 1, 5, 5]]])
TEXTS = (["the left lung is clear", "no sign of pneumonia here"], ["the left lung is clear now", "no sign of it here"])
MASKS = (REF > 1.4).astype(int), (EST > 1.4).astype(int)
FINDINGS = (np.array([[0, 1], [1, 1], [1, 0], [0, 0]]), np.array([[0, 1], [1, 0], [1, 1], [0, 0]]))
GOOD = {
    **dict.fromkeys(("nrmse", "nmse", "psnr", "ssim", "ssim_w11", "ssim_gauss"), (REF, EST)),
    **dict.fromkeys(("bias", "loa_low", "loa_high", "mae", "rmse", "percent_bias", "median_relative_error", "ccc"), (REF, EST)),
    **dict.fromkeys(("within_subject_cov", "within_subject_sd", "repeatability_coefficient"), (REF, EST)),
    "cov": (REF,),
    "icc_2_1": (REF,),
    "icc_3_1": (REF,),
    **dict.fromkeys(("dice", "jaccard", "hausdorff95", "average_surface_distance"), MASKS),
    "coverage": (REF, EST - 1, EST + 1),
    "interval_score": (REF, EST - 1, EST + 1),
    "mean_width": (EST - 1, EST + 1),
    **dict.fromkeys(
        (
            "gaussian_nll",
            "crps_gaussian",
            "z_score_rms",
            "regression_calibration_error",
            "quantile_calibration_error",
            "ence",
            "ause",
            "error_spearman",
        ),
        (REF, EST, SD),
    ),
    "sharpness": (SD,),
    **dict.fromkeys(("accuracy", "balanced_accuracy", "f1", "matthews", "cohen_kappa"), GRADES),
    **dict.fromkeys(("quadratic_weighted_kappa", "grade_mae"), GRADES),
    **dict.fromkeys(("sensitivity", "specificity", "ppv", "npv"), (BINARY[0], 1 * (BINARY[1] > 0.45))),
    "multilabel_f1": FINDINGS,
    **dict.fromkeys(
        ("auroc", "average_precision", "brier", "log_loss", "ece", "ece_mass", "calibration_slope"),
        BINARY,
    ),
    **dict.fromkeys(("mean_iou", "mean_giou"), BOXES),
    **dict.fromkeys(("mean_average_precision", "ap50", "ap75"), (*BOXES, [[0.9], [0.8]])),
    **dict.fromkeys(("bleu", "chrf", "rouge_l", "token_f1", "edit_ratio", "longest_common_run", "copy_rate"), TEXTS),
}
LABELLED = {"accuracy", "balanced_accuracy", "f1", "matthews", "cohen_kappa", "sensitivity", "specificity", "ppv", "npv"}
VOXELWISE = [name for name, m in registered().items() if m.kind in {"image", "maps", "uncertainty"} and not name.startswith("icc")]
NUMERIC = [name for name, m in registered().items() if m.kind not in {"detection", "text"} and name not in LABELLED]


def test_the_table_of_good_input_is_complete():
    assert set(GOOD) == set(registered())


@pytest.mark.parametrize("name", registered())
def test_every_metric_states_what_it_is(name):
    entry = get_metric(name)
    assert entry.identity == f"{name}/{entry.variant}@{entry.version}"
    assert entry.definition
    assert entry.source
    assert entry.referee
    result = entry.function(*GOOD[name])
    assert result.metric == entry.identity
    assert result.unit == ("pixel" if entry.unit == "m" else entry.unit)
    assert result.value is not None
    assert math.isfinite(result.value)
    assert type(result.value) is float
    assert result.n > 0
    json.dumps(result.as_dict(), allow_nan=False)
    assert float(result) == result.value


@pytest.mark.parametrize("name", registered())
def test_metrics_do_not_change_their_input(name):
    def frozen(values):
        if isinstance(values, np.ndarray):
            values = values.copy()
            values.flags.writeable = False
        return values

    before = json.dumps([np.asarray(v, dtype=object).tolist() for v in GOOD[name]])
    get_metric(name).function(*map(frozen, GOOD[name]))
    assert json.dumps([np.asarray(v, dtype=object).tolist() for v in GOOD[name]]) == before


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NUMERIC)
def test_values_that_are_not_finite_are_refused_with_their_place(name, bad):
    for i in range(len(GOOD[name])):
        values = [np.array(v, dtype=np.float64) for v in GOOD[name]]
        values[i].flat[1] = bad
        with pytest.raises(InputError, match=r"not finite|lie above the upper|in \[0, 1\]"):
            get_metric(name).function(*values)


@pytest.mark.parametrize("name", VOXELWISE)
def test_a_mask_is_the_same_as_leaving_values_out(name):
    values = GOOD[name]
    mask = np.zeros((16, 16), bool)
    mask[:, :13] = True
    masked = get_metric(name).function(*values, mask=mask)
    cut = get_metric(name).function(*(v[:, :13] for v in values))
    assert masked.n == cut.n == 16 * 13
    if name.startswith("ssim"):  # windows at the edge of the mask see the zeros outside
        assert masked.value != cut.value
        values = [np.where(mask, v, 7.0) for v in values]
        assert get_metric(name).function(*values, mask=mask).value == masked.value
    else:
        assert masked.value == pytest.approx(cut.value, rel=1e-12)


@pytest.mark.parametrize("name", VOXELWISE)
def test_omitting_counts_what_was_left_out(name):
    values = [v.copy() for v in GOOD[name]]
    values[0][2, 3] = np.nan
    values[-1][5, 5] = np.nan
    bad = np.isnan(np.sum(values, axis=0))
    result = get_metric(name).function(*values, nan="omit")
    assert (result.n, result.dropped) == (256 - bad.sum(), bad.sum())
    masked = get_metric(name).function(*(np.where(bad, 1.5, v) for v in values), mask=~bad)
    assert result.value == pytest.approx(masked.value, rel=1e-12)
    # Outside the mask nothing is refused and nothing counted.
    inside = get_metric(name).function(*values, mask=~bad)
    assert inside.dropped == 0


@pytest.mark.parametrize("name", VOXELWISE)
def test_nothing_left_has_a_reason(name):
    result = get_metric(name).function(*GOOD[name], mask=np.zeros((16, 16), bool))
    assert result.value is None
    assert result.reason
    with pytest.raises(NumericalError, match="has no value"):
        float(result)
    assert str(result).startswith("undefined (")


@pytest.mark.parametrize("name", [n for n in VOXELWISE if len(GOOD[n]) > 1])
def test_shapes_that_differ_are_refused_not_broadcast(name):
    first, *rest = GOOD[name]
    with pytest.raises(InputError, match=r"differ: (reference|low)"):
        get_metric(name).function(first[:1], *rest)


def test_a_spatial_mask_serves_all_contrasts():
    ref, est = np.stack([REF, 2 * REF]), np.stack([EST, EST])
    mask = np.zeros((16, 16), bool)
    mask[3:9] = True
    assert metrics.nrmse(ref, est, mask=mask).value == metrics.nrmse(ref[:, 3:9], est[:, 3:9]).value
    assert metrics.nrmse(ref, est, mask=mask.astype(np.uint8)).n == mask.sum() * 2


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (np.full((16, 16), 2), "values other than 0 and 1"),
        (np.ones((16, 15), bool), "has shape"),
        (np.full((16, 16), np.nan), "other than 0 and 1"),
    ],
)
def test_masks_that_are_none_are_refused(mask, word):
    with pytest.raises(InputError, match=word):
        metrics.nrmse(REF, EST, mask=mask)


@given(shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=3), data=st.data())
def test_masks_broadcast_over_leading_axes_only(shape, data):
    k = data.draw(st.integers(1, len(shape)))
    mask = data.draw(hnp.arrays(bool, shape[-k:]))
    assert np.array_equal(as_mask(mask, shape), np.broadcast_to(mask, shape))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.ones(3) * 1j, "is complex"),
        (np.array(["a", "b", "c"]), "not numbers"),
        ([[1, 2], [3]], "not an array"),
        ([None, 1, 2], "not numbers"),
    ],
)
def test_what_is_no_number_is_refused(values, word):
    with pytest.raises(InputError, match=word):
        metrics.bias(values, np.ones(3))


def test_unknown_names_name_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean 'nrmse'\?"):
        get_metric("nrmsee")


def test_a_metric_never_returns_nan_and_a_name_has_one_owner():
    about = {"kind": "maps", "variant": "x", "direction": "none", "definition": "d", "source": "s", "referee": "r"}
    try:

        @metric("test_only", **about)
        def broken(value):
            return MetricResult(value=value, low=math.nan, high=1.0, level=0.95, n=3)

        assert broken(math.nan).value is None
        assert broken(math.inf).reason == "the result is too large for a number"
        assert broken(1.0).reason == "the interval is unbounded"
        with pytest.raises(ValueError, match="registered twice"):
            metric("test_only", **about)(broken)
    finally:
        from medcore.metrics.base import _METRICS

        _METRICS.pop("test_only", None)


def test_results_read_as_text():
    assert str(MetricResult(value=0.123456, low=0.1, high=0.2, level=0.95)) == "0.1235 [0.1, 0.2]"
    assert str(MetricResult(value=2.0)) == "2"
    assert str(undefined("no values are left")) == "undefined (no values are left)"
