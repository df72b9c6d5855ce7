"""What ``medcore metrics`` computes: the right metric on the right values, and what cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest

from medcore import metrics
from medcore.comparison import GRADE_METRICS, IMAGE_METRICS, LABEL_METRICS, compare_images, compare_labels
from medcore.errors import ConfigError, InputError
from medcore.io import write_nifti

AFFINE = np.diag([-2e-3, -2e-3, 3e-3, 1.0])


@pytest.fixture
def maps(tmp_path, rng):
    """Two maps (1, 2, 16, 18) as NIfTI, with their values."""
    ref = rng.uniform(0.5, 2.0, (1, 2, 16, 18)).astype(np.float32)
    est = (ref * rng.uniform(0.9, 1.1, ref.shape)).astype(np.float32)
    for name, values in (("ref", ref), ("est", est)):
        write_nifti(tmp_path / f"{name}.nii.gz", values, AFFINE)
    return tmp_path, ref, est


def test_images_get_the_metrics_of_the_library(maps):
    folder, ref, est = maps
    found = compare_images(folder / "ref.nii.gz", folder / "est.nii.gz")
    assert list(found.results) == list(IMAGE_METRICS)
    assert found.facts["axes"] == {"contrast": 1, "z": 2, "y": 16, "x": 18}
    for name, result in found.results.items():
        assert result == metrics.get_metric(name).function(ref, est)
        assert result.value is not None


def test_a_mask_without_contrast_axis_counts_for_every_contrast(maps, rng):
    folder, ref, est = maps
    mask = rng.random((1, 2, 16, 18)) < 0.5
    write_nifti(folder / "mask.nii.gz", mask.astype(np.float32), AFFINE)
    found = compare_images(folder / "ref.nii.gz", folder / "est.nii.gz", mask=folder / "mask.nii.gz", names=["nrmse", "ccc"])
    assert found.results["nrmse"] == metrics.nrmse(ref, est, mask=mask[0])
    assert found.results["nrmse"].n == mask.sum()
    series = np.concatenate([ref, est])
    write_nifti(folder / "two.nii.gz", series, AFFINE)
    both = compare_images(folder / "two.nii.gz", folder / "two.nii.gz", mask=folder / "mask.nii.gz", names=["bias"])
    assert both.results["bias"].n == 2 * mask.sum()


def test_voxels_that_are_no_numbers_are_refused_or_counted(maps):
    folder, ref, _ = maps
    ref[0, 0, :3, 5] = np.nan
    write_nifti(folder / "holes.nii.gz", ref, AFFINE)
    with pytest.raises(InputError, match="reference: 3 of 576 values are not finite"):
        compare_images(folder / "holes.nii.gz", folder / "est.nii.gz", names=["nrmse"])
    found = compare_images(folder / "holes.nii.gz", folder / "est.nii.gz", names=["nrmse"], nan="omit")
    assert found.results["nrmse"].dropped == 3
    assert found.results["nrmse"].n == 573


def test_arrays_without_geometry_fit_files_with_one(maps):
    folder, ref, est = maps
    np.save(folder / "est.npy", est)
    found = compare_images(folder / "ref.nii.gz", folder / "est.npy", names=["nrmse"])
    assert found.results["nrmse"] == metrics.nrmse(ref, est)


def test_the_contrast_axis_of_arrays_may_be_chosen(tmp_path, rng):
    values = rng.random((5, 16, 20))
    np.save(tmp_path / "a.npy", values)
    assert compare_images(tmp_path / "a.npy", tmp_path / "a.npy").facts["axes"]["contrast"] == 20
    assert compare_images(tmp_path / "a.npy", tmp_path / "a.npy", contrast_axis=0).facts["axes"]["contrast"] == 5


def test_complex_images_are_compared_as_complex_numbers(tmp_path, rng):
    a = rng.standard_normal((16, 16)) + 1j * rng.standard_normal((16, 16))
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", 1j * a)
    found = compare_images(tmp_path / "a.npy", tmp_path / "b.npy")
    assert list(found.results) == ["nrmse"]
    assert found.results["nrmse"].value == pytest.approx(np.sqrt(2), rel=1e-6)


def test_images_elsewhere_are_refused_unless_asked_for(maps):
    folder, ref, est = maps
    shifted = AFFINE.copy()
    shifted[0, 3] = 5e-3
    write_nifti(folder / "shifted.nii.gz", est, shifted)
    with pytest.raises(InputError, match=r"shifted\.nii\.gz: lies elsewhere than .*ref\.nii\.gz \(their affines differ\)"):
        compare_images(folder / "ref.nii.gz", folder / "shifted.nii.gz")
    found = compare_images(folder / "ref.nii.gz", folder / "shifted.nii.gz", names=["nrmse"], ignore_geometry=True)
    assert found.results["nrmse"] == metrics.nrmse(ref, est)


def test_images_of_another_shape_are_refused(maps):
    folder, ref, _ = maps
    write_nifti(folder / "small.nii.gz", ref[..., :-1], AFFINE)
    with pytest.raises(InputError, match=r"has shape \(1, 2, 16, 17\), .* has \(1, 2, 16, 18\)"):
        compare_images(folder / "ref.nii.gz", folder / "small.nii.gz")
    with pytest.raises(InputError, match=r"has shape \(1, 2, 16, 17\)"):
        compare_images(folder / "ref.nii.gz", folder / "ref.nii.gz", mask=folder / "small.nii.gz")


def test_kspace_is_no_image(tmp_path, rng):
    np.save(tmp_path / "k.npy", rng.standard_normal((3, 8, 8)) + 0j)
    with pytest.raises(InputError, match=r"k\.npy: holds k-space; reconstruct it first"):
        compare_images(tmp_path / "k.npy", tmp_path / "k.npy")


def test_metrics_that_do_not_fit_are_refused(maps):
    folder, _, _ = maps
    pair = (folder / "ref.nii.gz", folder / "est.nii.gz")
    with pytest.raises(ConfigError, match=r"'nrmsee': is not one of .*did you mean 'nrmse'"):
        compare_images(*pair, names=["nrmsee"])
    for name in ("accuracy", "crps_gaussian", "icc_2_1", "cov"):
        with pytest.raises(ConfigError, match=f"metric '{name}': does not fit this input, which has .*nrmse"):
            compare_images(*pair, names=[name])


@pytest.fixture
def tables(tmp_path):
    def write(ref: str, est: str):
        (tmp_path / "ref.csv").write_text(ref)
        (tmp_path / "est.csv").write_text(est)
        return tmp_path / "ref.csv", tmp_path / "est.csv"

    return write


def test_rows_are_paired_by_identifier(tables):
    pair = tables("image,grade\na,0\nb,2\nc,1\nd,3\n", "image,prediction\nd,3\nc,1\nb,1\na,0\n")
    found = compare_labels(*pair)
    assert found.kind == "grades"
    assert list(found.results) == list(GRADE_METRICS)
    assert found.results["accuracy"].value == 0.75
    assert found.results["grade_mae"].value == 0.25
    assert found.results["quadratic_weighted_kappa"] == metrics.quadratic_weighted_kappa([0, 2, 1, 3], [0, 1, 1, 3])
    assert found.results["accuracy"].low is None


def test_rows_without_identifiers_are_paired_in_order(tables):
    found = compare_labels(*tables("label\nsick\nwell\n", "label\nsick\nsick\n"))
    assert found.kind == "labels"
    assert list(found.results) == list(LABEL_METRICS)
    assert found.results["accuracy"].value == 0.5


def test_answers_that_could_not_be_read_are_wrong(tables):
    found = compare_labels(*tables("id,grade\na,0\nb,2\n", "id,grade\na,0\nb,\n"))
    assert found.facts["unanswered"] == 1
    assert found.results["accuracy"].value == 0.5
    assert found.results["grade_mae"].value is None
    assert found.results["grade_mae"].reason == "1 of 2 samples have no estimate"
    assert found.results["grade_mae"].metric == "grade_mae/mean@1"


def test_subjects_give_intervals_that_respect_them(tables):
    rows = [(f"s{i}", f"p{i // 4}", i % 3, (i % 3) if i // 4 % 2 else (i + 1) % 3) for i in range(40)]
    ref = "id,grade,patient\n" + "".join(f"{i},{g},{p}\n" for i, p, g, _ in rows)
    est = "id,grade\n" + "".join(f"{i},{e}\n" for i, _, _, e in rows)
    found = compare_labels(*tables(ref, est), seed=3)
    assert found.facts["subjects"] == 10
    result = found.results["accuracy"]
    right = np.array([g == e for _, _, g, e in rows], dtype=float)
    expected = metrics.cluster_interval(right, [p for _, p, _, _ in rows], seed=3)
    assert (result.value, result.low, result.high) == (expected.value, expected.low, expected.high)
    single = metrics.cluster_interval(right, seed=3)
    assert result.high - result.low > 1.5 * (single.high - single.low)
    assert result.metric == "accuracy/exact@1"
    assert found.results["quadratic_weighted_kappa"].low < found.results["quadratic_weighted_kappa"].value
    assert compare_labels(*tables(ref, est), seed=3).results == found.results


def test_few_subjects_give_a_reason_instead_of_an_interval(tables):
    pair = tables("id,grade,patient\na,0,p\nb,1,q\n", "id,grade\na,0\nb,1\n")
    assert compare_labels(*pair).results["accuracy"].reason == "2 groups are too few for an interval"


@pytest.mark.parametrize(
    ("ref", "est", "message"),
    [
        ("id,grade\na,0\nb,1\n", "id,grade\na,0\n", r"est\.csv: lacks 'b', which the other table has"),
        ("id,grade\na,0\n", "id,grade\na,0\nc,1\n", r"ref\.csv: lacks 'c'"),
        ("id,grade\na,0\na,1\n", "id,grade\na,0\n", r"ref\.csv: has 'a' twice, again in line 3"),
        ("id,grade\na,0\n", "id,grade\na,0\na,0\n", r"est\.csv: has 'a' twice"),
        ("id,grade\na,0\nb,\n", "id,grade\na,0\nb,1\n", r"ref\.csv: has no label in line 3"),
        ("id,colour\na,0\n", "id,grade\na,0\n", r"ref\.csv: has no column that is known to hold labels, it has id, colour"),
        ("grade\n0\n1\n", "grade\n0\n", r"est\.csv: has 1 rows, .*ref\.csv has 2"),
    ],
)
def test_tables_that_do_not_fit(tables, ref, est, message):
    with pytest.raises(InputError, match=message):
        compare_labels(*tables(ref, est))


def test_grades_of_labels_are_refused(tables):
    pair = tables("id,label\na,x\nb,y\n", "id,label\na,x\nb,y\n")
    with pytest.raises(InputError, match="numbers"):
        compare_labels(*pair, names=["grade_mae"])
    with pytest.raises(ConfigError, match="metric 'nrmse': does not fit this input, which has accuracy, balanced_accuracy"):
        compare_labels(*pair, names=["nrmse"])
