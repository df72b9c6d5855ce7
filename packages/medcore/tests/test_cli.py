"""The command line on files, in processes: what it prints, its JSON, its exit codes."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from medcore import metrics
from medcore.doctor import PURPOSES, examine, extras
from medcore.io import write_nifti

pytestmark = pytest.mark.integration
AFFINE = np.diag([-2e-3, -2e-3, 3e-3, 1.0])


@pytest.fixture
def maps(tmp_path, rng):
    ref = rng.uniform(0.5, 2.0, (1, 1, 16, 18)).astype(np.float32)
    for name, values in (("ref", ref), ("est", 1.1 * ref)):
        write_nifti(tmp_path / f"{name}.nii.gz", values.astype(np.float32), AFFINE)
    return tmp_path


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "ref.csv").write_text("id,grade,patient\n" + "".join(f"s{i},{i % 3},p{i // 2}\n" for i in range(12)))
    (tmp_path / "est.csv").write_text("id,grade\n" + "".join(f"s{i},{(i % 3) if i else 2}\n" for i in range(12)))
    return tmp_path


def test_metrics_of_maps_as_a_table_and_as_json(maps, run_cli):
    shown = run_cli("metrics", maps / "ref.nii.gz", maps / "est.nii.gz")
    assert shown.returncode == 0
    rows = {line.split()[0]: line.split()[1] for line in shown.stdout.splitlines() if line}
    assert float(rows["nrmse"]) == pytest.approx(0.1, rel=1e-3)
    assert float(rows["median_relative_error"]) == pytest.approx(0.1, rel=1e-3)
    found = json.loads(run_cli("metrics", maps / "ref.nii.gz", maps / "est.nii.gz", "--json").stdout)
    assert found["kind"] == "images"
    by_name = {r["name"]: r for r in found["results"]}
    assert by_name["nrmse"]["metric"] == "nrmse/rms@1"
    assert by_name["nrmse"]["direction"] == "lower"
    assert by_name["bias"]["low"] < by_name["bias"]["value"] < by_name["bias"]["high"]


def test_metrics_chosen_by_name(maps, run_cli):
    found = json.loads(
        run_cli("metrics", maps / "ref.nii.gz", maps / "est.nii.gz", "--metric", "ccc", "--metric", "ssim_w11", "--json").stdout
    )
    assert [r["name"] for r in found["results"]] == ["ccc", "ssim_w11"]


def test_undefined_metrics_say_why_and_stay_valid_json(maps, run_cli):
    shown = run_cli("metrics", maps / "ref.nii.gz", maps / "ref.nii.gz")
    assert "undefined (the images are equal, the ratio is unbounded)" in shown.stdout
    found = json.loads(run_cli("metrics", maps / "ref.nii.gz", maps / "ref.nii.gz", "--metric", "psnr", "--json").stdout)
    assert found["results"][0]["value"] is None


def test_metrics_of_tables_have_intervals_by_subject(tables, run_cli):
    found = json.loads(run_cli("metrics", tables / "ref.csv", tables / "est.csv", "--json", "--seed", 5).stdout)
    accuracy = next(r for r in found["results"] if r["name"] == "accuracy")
    assert found["subjects"] == 6
    assert accuracy["value"] == pytest.approx(11 / 12)
    right = [i > 0 for i in range(12)]
    expected = metrics.cluster_interval(np.array(right, float), [i // 2 for i in range(12)], seed=5)
    assert (accuracy["low"], accuracy["high"]) == (expected.low, expected.high)
    shown = run_cli("metrics", tables / "ref.csv", tables / "est.csv").stdout
    assert "quadratic_weighted_kappa" in shown
    assert "[" in shown


def test_cards_and_kinds(tmp_path, run_cli):
    np.savez(
        tmp_path / "breastmnist.npz",
        train_images=np.zeros((3, 28, 28), np.uint8),
        train_labels=np.array([[0], [1], [1]]),
        val_images=np.zeros((2, 28, 28), np.uint8),
        val_labels=np.array([[1], [0]]),
    )
    shown = run_cli("datasets", "card", tmp_path / "breastmnist.npz", "--option", "split=val")
    assert shown.returncode == 0
    assert "malignant 1; normal, benign 1" in shown.stdout
    found = json.loads(run_cli("datasets", "card", tmp_path / "breastmnist.npz", "--json").stdout)
    assert found["class_counts"] == {"malignant": 1, "normal, benign": 2}
    kinds = json.loads(run_cli("datasets", "list", "--json").stdout)["kinds"]
    assert {"medmnist", "graded", "voc", "masks", "coco", "class-folders", "class-table", "vqa", "relaxometry"} <= set(kinds)
    assert "malignant" in run_cli("info", tmp_path / "breastmnist.npz").stdout


def test_doctor_says_what_every_extra_is_for(run_cli):
    shown = run_cli("doctor")
    assert shown.returncode == 0
    found = json.loads(run_cli("doctor", "--json").stdout)
    assert found["versions"]["numpy"] == np.__version__
    assert found["missing"] == []
    assert {e["name"] for e in found["extras"]} == set(PURPOSES)
    assert found["hdf5"] == h5py.version.hdf5_version
    assert f"HDF5 library {found['hdf5']}" in shown.stdout
    assert found["problems"] == []
    assert "no problems found" in shown.stdout
    assert {"RLE Lossless", "JPEG-LS Lossless Image Compression"} <= {d["name"] for d in found["decoders"] if d["by"]}
    for extra in extras():
        assert extra.purpose != "not described"
        assert f"{extra.name:<8} {extra.purpose}" in shown.stdout
        assert extra.complete == (not extra.missing)
        assert extra.complete or extra.install in shown.stdout


def test_doctor_finds_what_is_not_there(monkeypatch):
    wanted = ["numpy>=2.0", "no-such-thing>=1; extra == 'viz'", 'h5py; extra == "viz"', "nor-this>=2"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: wanted)
    (viz,) = extras()
    assert viz.missing == ["no-such-thing"]
    assert list(viz.installed) == ["h5py"]
    assert viz.install == "pip install 'medcore[viz]'"
    monkeypatch.setattr("medcore.doctor.decoders", lambda: [{"uid": "1.2.3", "name": "RLE Lossless", "by": []}])
    monkeypatch.setenv("MEDCORE_MAX_BYTES", "lots")
    found = examine()
    assert found["missing"] == ["nor-this"]
    assert found["problems"] == [
        "nor-this is needed and not installed; run: pip install nor-this",
        "RLE Lossless cannot be read; run: pip install 'medcore[dicom]'",
        "the extra viz lacks no-such-thing; run: pip install 'medcore[viz]'",
        "MEDCORE_MAX_BYTES: is 'lots'; set it to a number of bytes, for example 68719476736",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("metrics", "ref.csv", "ref.nii.gz"),
            "ref.nii.gz: is another kind of file than ref.csv; give two images or two CSV tables",
        ),
        (("metrics", "ref.csv", "none.csv"), "none.csv: does not exist; check the path"),
        (("metrics", "ref.nii.gz", "none.nii.gz"), "none.nii.gz: does not exist; check the path"),
        (("metrics", "ref.nii.gz", "ref.nii.gz", "--column", "x"), "--column: does not apply to images; leave it out"),
        (("metrics", "ref.csv", "ref.csv", "--mask", "m.nii"), "--mask: does not apply to tables; leave it out"),
        (("metrics", "ref.nii.gz", "ref.nii.gz", "--metric", "nrmsee"), "did you mean 'nrmse'?"),
        (("datasets", "card", "."), ".: may be of the kinds"),
        (("datasets", "card", "ref.csv", "--kind", "gradet"), "did you mean 'graded'?"),
        (("datasets", "card", "none"), "none: does not exist; check the path"),
        (("info", "none"), "none: does not exist; check the path"),
    ],
)
def test_one_line_and_exit_code_2(maps, tables, run_cli, monkeypatch, arguments, message):
    monkeypatch.chdir(maps)
    (maps / "a.xml").write_text("<annotation/>")
    done = run_cli(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_metrics_on_published_maps(data_root, run_cli):
    """The published fit against itself at half the T2 scale: a known relative error."""
    folder = data_root / "prostate-t2"
    done = run_cli("metrics", folder / "preds_000198_nlls.nii.gz", folder / "synth_000001_labels.nii.gz", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["axes"] == {"contrast": 2, "z": 1, "y": 128, "x": 128}
    assert all(np.isfinite(r["value"]) for r in found["results"] if r["value"] is not None)


def test_validate_and_info_on_real_data_sets(data_root, run_cli):
    done = run_cli("validate", data_root / "bccd-boxes", "--json")
    assert done.returncode == 8
    assert json.loads(done.stdout)["faults"] == [
        "BloodImage_00338.xml: the box RBC (504, 337, 504, 337) has zero area and is left out"
    ]
    assert done.stderr == f"error: {data_root / 'bccd-boxes'}: has 1 fault; see the list\n"
    done = run_cli("validate", data_root / "idrid-fundus" / "grading")
    assert done.returncode == 0
    assert "no faults found" in done.stdout
    done = run_cli("info", data_root / "pneumoniamnist" / "pneumoniamnist_train_val.npz", "--json")
    assert json.loads(done.stdout)["card"]["class_counts"] == {"normal": 388, "pneumonia": 3494}


def test_metrics_of_real_grades(data_root, run_cli, tmp_path):
    path = data_root / "idrid-fundus" / "grading" / "labels.csv"
    done = run_cli("metrics", path, path, "--metric", "quadratic_weighted_kappa", "--json")
    assert json.loads(done.stdout)["results"][0]["value"] == 1.0
    done = run_cli("metrics", path, path, "--column", "macular_edema_risk")
    assert done.returncode == 0
    assert "grade_mae" in done.stdout
