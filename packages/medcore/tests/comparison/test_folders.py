"""Folders of images, masks, maps with uncertainty, and several estimates against each other."""

from __future__ import annotations

import numpy as np
import pytest

from medcore import metrics
from medcore.comparison import ImageOptions, compare_folders, compare_images, compare_labels, rank
from medcore.comparison.images import MASK_METRICS, UNCERTAINTY_METRICS
from medcore.errors import ConfigError, InputError
from medcore.io import write_nifti

AFFINE = np.diag([-2e-3, -2e-3, 3e-3, 1.0])


@pytest.fixture
def folders(tmp_path, rng):
    """Seven subjects with two maps each: a reference, a noisy and a noisier estimate."""
    for s in range(7):
        for run in (1, 2):
            ref = rng.uniform(0.5, 2, (1, 1, 14, 14)).astype(np.float32)
            shift = rng.standard_normal(ref.shape)
            for name, noise in (("ref", 0.0), ("near", 0.05), ("far", 0.15)):
                folder = tmp_path / name / f"sub-{s}"
                folder.mkdir(parents=True, exist_ok=True)
                values = (ref * (1 + noise * shift)).astype(np.float32)
                write_nifti(folder / f"sub-{s}_run-{run}_T1map.nii.gz", values, AFFINE)
    return tmp_path


def test_results_are_means_over_images_with_intervals_over_subjects(folders):
    found = compare_folders(folders / "ref", folders / "near", options=ImageOptions(names=["nrmse", "ccc"]), seed=4)
    assert found.facts == {"images": 14, "subjects": 7, "masked": False}
    each = []
    for s in range(7):
        for run in (1, 2):
            inner = f"sub-{s}/sub-{s}_run-{run}_T1map.nii.gz"
            each.append(compare_images(folders / "ref" / inner, folders / "near" / inner, names=["nrmse"]).results["nrmse"].value)
    expected = metrics.cluster_interval(each, np.arange(14) // 2, seed=4)
    result = found.results["nrmse"]
    assert (result.value, result.low, result.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert (result.metric, result.n, result.unit) == ("nrmse/rms@1", 14, "1")
    assert "mean over images" in result.note


def test_several_estimates_are_compared_by_subject(folders):
    options = ImageOptions(names=["nrmse", "bias"])
    found = {n: compare_folders(folders / "ref", folders / n, options=options) for n in ("far", "near", "ref")}
    ranking = rank(found, seed=2)
    assert ranking.baseline == "far"
    assert [(d.name, d.metric) for d in ranking.differences] == [(n, m) for n in ("near", "ref") for m in ("nrmse", "bias")]
    near = ranking.differences[0]
    values = [found[n].measures["nrmse"].columns[0] for n in ("far", "near")]
    (alone,) = metrics.compare_methods({"far": values[0], "near": values[1]}, "far", np.arange(14) // 2, seed=2)
    assert near.difference.value == pytest.approx(alone.difference.value)
    assert (near.difference.low, near.difference.high) == pytest.approx((alone.difference.low, alone.difference.high))
    assert near.p_value == alone.p_value == 2 / 2**7
    assert near.p_holm == pytest.approx(metrics.holm([d.p_value for d in ranking.differences])[0])
    assert near.difference.high < 0


def test_without_subjects_there_are_differences_but_no_p_values(folders):
    for name in ("ref", "near", "far"):
        for path in list((folders / name).rglob("*.nii.gz")):
            path.rename(folders / name / path.name.replace("sub-", "case"))
    for json in folders.rglob("*.json"):
        json.unlink()
    found = {n: compare_folders(folders / "ref", folders / n, options=ImageOptions(names=["nrmse"])) for n in ("far", "near")}
    assert found["far"].results["nrmse"].low is None
    ranking = rank(found)
    assert ranking.reason == "the subjects are not known"
    (difference,) = ranking.differences
    assert (difference.p_value, difference.difference.low) == (None, None)
    assert difference.difference.value < 0
    each = {n: compare_folders(folders / "ref", folders / n, options=ImageOptions(names=["nrmse"]), subjects="each") for n in found}
    assert rank(each).differences[0].p_holm < 0.05
    with pytest.raises(ConfigError, match="1 cannot be compared"):
        rank({"far": found["far"]})


def test_images_without_value_are_left_out_and_counted(folders):
    inner = "sub-3/sub-3_run-1_T1map.nii.gz"
    write_nifti(folders / "near" / inner, np.zeros((1, 1, 14, 14), np.float32), AFFINE, force=True)
    write_nifti(folders / "ref" / inner, np.zeros((1, 1, 14, 14), np.float32), AFFINE, force=True)
    found = {n: compare_folders(folders / "ref", folders / n, options=ImageOptions(names=["nrmse"])) for n in ("near", "far")}
    assert (found["near"].results["nrmse"].n, found["near"].results["nrmse"].dropped) == (13, 1)
    assert rank(found).differences[0].difference.dropped == 1


def test_files_without_partner_are_named(folders):
    (folders / "near" / "sub-2" / "sub-2_run-2_T1map.nii.gz").unlink()
    with pytest.raises(InputError, match=r"near: lacks 'sub-2/sub-2_run-2_T1map', which .*ref has"):
        compare_folders(folders / "ref", folders / "near")
    (folders / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no images"):
        compare_folders(folders / "ref", folders / "empty")
    np.save(folders / "ref" / "sub-0" / "sub-0_run-1_T1map.npy", np.ones((14, 14)))
    with pytest.raises(InputError, match="which may both be 'sub-0/sub-0_run-1_T1map'"):
        compare_folders(folders / "ref", folders / "far")


def test_voxels_that_are_no_numbers_name_the_array_and_place(folders):
    inner = "sub-3/sub-3_run-1_T1map.nii.gz"
    bad = np.ones((1, 1, 14, 14), np.float32)
    bad[0, 0, 3, 7] = np.nan
    write_nifti(folders / "near" / inner, bad, AFFINE, force=True)
    with pytest.raises(InputError, match=r"estimate: 1 of 196 values are not finite, the first at index \(0, 0, 3, 7\)"):
        compare_folders(folders / "ref", folders / "near")


# --- masks


def masks_of(rng):
    y, x = np.mgrid[:20, :24]
    return (y - 9) ** 2 + (x - 11) ** 2 < 40, (y - 10) ** 2 + (x - 12) ** 2 < 36


def test_masks_are_compared_in_metres(tmp_path, rng):
    ref, est = masks_of(rng)
    for name, mask in (("ref", ref), ("est", est)):
        write_nifti(tmp_path / f"{name}.nii.gz", mask[None, None].astype(np.float32), np.diag([2e-3, 3e-3, 4e-3, 1.0]))
    found = compare_images(tmp_path / "ref.nii.gz", tmp_path / "est.nii.gz", kind="masks")
    assert list(found.results) == list(MASK_METRICS)
    assert found.results["dice"].value == pytest.approx(metrics.dice(ref, est).value)
    expected = metrics.hausdorff95(ref, est, spacing=(3e-3, 2e-3))
    assert found.results["hausdorff95"].value == pytest.approx(expected.value)
    assert found.results["hausdorff95"].unit == "m"


def test_masks_without_geometry_are_compared_in_pixels(tmp_path, rng):
    from PIL import Image

    ref, est = masks_of(rng)
    Image.fromarray(255 * ref.astype(np.uint8)).save(tmp_path / "ref.png")
    Image.fromarray(255 * est.astype(np.uint8)).save(tmp_path / "est.png")
    found = compare_images(tmp_path / "ref.png", tmp_path / "est.png", kind="masks")
    assert found.results["average_surface_distance"].unit == "pixel"
    assert found.results["average_surface_distance"].value == pytest.approx(metrics.average_surface_distance(ref, est).value)
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(InputError, match=r"colour\.png: is a colour image; give grey images"):
        compare_images(tmp_path / "ref.png", tmp_path / "colour.png", kind="masks")


def test_a_label_is_chosen(tmp_path, rng):
    ref, est = masks_of(rng)
    np.save(tmp_path / "ref.npy", 2.0 * ref + 3.0 * (~ref & est))
    np.save(tmp_path / "est.npy", 2.0 * est)
    with pytest.raises(InputError, match="masks: hold the labels 2, 3; choose one of them"):
        compare_images(tmp_path / "ref.npy", tmp_path / "est.npy", kind="masks")
    found = compare_images(tmp_path / "ref.npy", tmp_path / "est.npy", kind="masks", label=2)
    assert found.results["dice"].value == pytest.approx(metrics.dice(ref, est).value)
    with pytest.raises(ConfigError, match="metric 'nrmse': does not fit this input, which has dice"):
        compare_images(tmp_path / "ref.npy", tmp_path / "est.npy", kind="masks", names=["nrmse"])


# --- uncertainty


def test_standard_deviations_add_metrics_of_uncertainty(tmp_path, rng):
    ref = rng.uniform(0.5, 2, (1, 2, 16, 16)).astype(np.float32)
    sd = rng.uniform(0.05, 0.2, ref.shape).astype(np.float32)
    est = (ref + sd * rng.standard_normal(ref.shape)).astype(np.float32)
    mask = (rng.random(ref.shape) < 0.7).astype(np.float32)
    for name, values in (("ref", ref), ("est", est), ("sd", sd), ("mask", mask)):
        write_nifti(tmp_path / f"{name}.nii.gz", values, AFFINE)
    paths = tmp_path / "ref.nii.gz", tmp_path / "est.nii.gz"
    found = compare_images(*paths, sd=tmp_path / "sd.nii.gz", mask=tmp_path / "mask.nii.gz", level=0.8).results
    inside = mask[0] > 0
    for name in UNCERTAINTY_METRICS:
        entry = metrics.get_metric(name)
        half = 1.2815515655446004 * sd
        given = {"reference": ref, "mean": est, "deviation": sd, "low": est - half, "high": est + half}
        extra = {"level": 0.8} if name == "interval_score" else {}
        expected = entry.function(*(given[n] for n in entry.inputs), mask=inside, **extra)
        assert found[name].value == pytest.approx(expected.value, rel=1e-6), name
    assert found["coverage"].low < 0.8 < found["coverage"].high
    write_nifti(tmp_path / "minus.nii.gz", -sd, AFFINE)
    with pytest.raises(InputError, match=r"lower ends lie above the upper|are negative"):
        compare_images(*paths, sd=tmp_path / "minus.nii.gz")


def test_predictions_are_compared_with_each_other(tmp_path, rng):
    truth = rng.integers(0, 3, 60)
    for name, share in (("ref", 1.0), ("good", 0.8), ("poor", 0.4)):
        guess = np.where(rng.random(60) < share, truth, (truth + 1) % 3)
        rows = "".join(f"s{i},{g},p{i // 3}\n" for i, g in enumerate(guess))
        (tmp_path / f"{name}.csv").write_text("id,grade,patient\n" + rows)
    found = {n: compare_labels(tmp_path / "ref.csv", tmp_path / f"{n}.csv") for n in ("poor", "good")}
    ranking = rank(found)
    by_metric = {d.metric: d for d in ranking.differences}
    for name, difference in by_metric.items():
        better = name == "grade_mae"
        assert (difference.difference.value < 0) == better
        assert difference.p_holm < 0.05, name
    row = ranking.as_dict()["differences"][0]
    assert set(row) >= {"name", "reference", "metric", "difference", "p_value", "p_holm"}
