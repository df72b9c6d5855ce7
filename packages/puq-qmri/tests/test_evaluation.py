"""Agreement with a reference: numbers that can be worked out by hand, and folders that cannot be compared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medcore.errors import InputError
from puq_qmri.evaluation import errors, evaluate
from puq_qmri.results import MapFolder

SHAPE = (1, 10, 20)
AFFINE = np.diag([1e-3, 1e-3, 5e-3, 1.0])


def folder(values: np.ndarray, *, std: float | None = None, source: str = "maps", **extra: object) -> MapFolder:
    confidence = {}
    if std is not None:
        spread = np.full_like(values, std)
        confidence = {"std": {"T2map": spread}, "low95": {"T2map": values - 2 * spread}, "high95": {"T2map": values + 2 * spread}}
    return MapFolder(maps={"T2map": values}, affine=AFFINE, source=source, **confidence, **extra)


@pytest.fixture
def truth() -> MapFolder:
    values = np.full(SHAPE, 0.1, np.float32)
    values[0, 0] = np.nan  # background
    pure = np.zeros(SHAPE, bool)
    pure[0, 5:] = True
    return folder(values, source="truth", pure=pure, units={"T2map": "s"})


def test_a_shift_is_the_bias_and_the_error(truth: MapFolder) -> None:
    found = evaluate(folder(truth.maps["T2map"] + np.float32(0.005)), truth)
    assert [f.region for f in found] == ["all", "pure"]
    for one, voxels in zip(found, (180, 100), strict=True):
        facts = one.as_dict()
        assert (facts["voxels"], facts["missing"]) == (voxels, 0)
        assert facts["bias"] == pytest.approx(0.005, rel=1e-4)
        assert facts["median_relative_error"] == pytest.approx(0.05, rel=1e-4)
        assert facts["nrmse"] == pytest.approx(0.05, rel=1e-4)
        assert "coverage" not in facts


def test_coverage_counts_the_intervals_that_hold_the_truth(truth: MapFolder) -> None:
    estimate = truth.maps["T2map"].copy()
    estimate[0, 5:7] += 0.021  # 40 of 180 voxels lie a bit more than two deviations off
    facts = evaluate(folder(estimate, std=0.01), truth)[0].as_dict()
    assert facts["coverage"] == pytest.approx(140 / 180)
    low, high = facts["coverage_interval"]
    assert low < 140 / 180 < high
    assert facts["z_score_rms"] == pytest.approx(2.1 * np.sqrt(40 / 180), rel=1e-3)


def test_a_limit_that_is_missing_beside_the_other_is_open(truth: MapFolder) -> None:
    estimate = truth.maps["T2map"] - np.float32(0.021)
    maps = folder(estimate, std=0.01)
    assert evaluate(maps, truth)[0].as_dict()["coverage"] == 0
    high = np.full_like(estimate, np.nan)
    assert evaluate(dataclasses.replace(maps, high95={"T2map": high}), truth)[0].as_dict()["coverage"] == 1
    assert evaluate(dataclasses.replace(maps, low95={"T2map": high}), truth)[0].as_dict()["coverage"] == 0


def test_voxels_without_estimate_are_counted_not_scored(truth: MapFolder) -> None:
    estimate = truth.maps["T2map"].copy()
    estimate[0, 5] = np.nan
    facts = evaluate(folder(estimate, std=0.01), truth)[0].as_dict()
    assert (facts["voxels"], facts["missing"], facts["bias"]) == (180, 20, 0)
    assert facts["coverage"] == 1


def test_a_mask_limits_what_counts(truth: MapFolder) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[0, :2] = True
    found = evaluate(folder(truth.maps["T2map"]), truth, mask=mask)
    assert [(f.region, f.voxels) for f in found] == [("all", 20)]


def test_errors_are_missing_where_either_side_is(truth: MapFolder) -> None:
    estimate = truth.maps["T2map"] + np.float32(0.01)
    estimate[0, 5] = np.nan
    difference = errors(folder(estimate), truth, "T2map")
    assert np.isnan(difference[0, [0, 5]]).all()
    assert difference[0, 6:] == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"maps": {"T1map": np.ones(SHAPE, np.float32)}}, r"maps: holds T1map, the reference T2map"),
        ({"maps": {"T2map": np.ones((1, 4, 4), np.float32)}}, r"has T2map of shape \(1, 4, 4\)"),
        ({"affine": AFFINE + np.pad([[0.01]], ((0, 3), (3, 0)))}, r"lies elsewhere in space"),
        ({"units": {"T2map": "ms"}}, r"state T2map in ms and s"),
    ],
)
def test_what_cannot_be_compared_is_refused(truth: MapFolder, change: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        evaluate(dataclasses.replace(folder(truth.maps["T2map"]), **change), truth)


def test_a_mask_that_leaves_nothing_is_refused(truth: MapFolder) -> None:
    with pytest.raises(InputError, match=r"no value of T2map that counts"):
        evaluate(folder(truth.maps["T2map"]), truth, mask=np.zeros(SHAPE, bool))
    with pytest.raises(InputError, match=r"mask: has shape"):
        evaluate(folder(truth.maps["T2map"]), truth, mask=np.ones((1, 2, 2), bool))
