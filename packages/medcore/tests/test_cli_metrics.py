"""``medcore metrics`` in a process: several estimates, folders, masks, uncertainty, lists, and what it refuses in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medcore import metrics
from medcore.io import write_nifti
from medcore.metrics import registered

pytestmark = pytest.mark.integration
AFFINE = np.diag([-2e-3, -2e-3, 3e-3, 1.0])


@pytest.fixture
def files(tmp_path, rng):
    """Maps, masks, standard deviations, two tables of predictions, and folders of four subjects."""
    ref = rng.uniform(0.5, 2, (1, 2, 16, 18)).astype(np.float32)
    noise = rng.standard_normal(ref.shape)
    images = {"ref": ref, "near": ref + 0.05 * noise, "far": ref + 0.1 * noise, "sd": np.full_like(ref, 0.05), "mask": ref > 1}
    for name, values in {**images, "mask2": ref > 1.1}.items():
        write_nifti(tmp_path / f"{name}.nii.gz", np.asarray(values, np.float32), AFFINE)
    for s in range(4):
        for name in ("ref", "near", "far"):
            folder = tmp_path / "maps" / name / f"sub-{s}"
            folder.mkdir(parents=True)
            write_nifti(folder / f"sub-{s}_T2map.nii.gz", np.asarray(images[name] * (1 + 0.1 * s), np.float32), AFFINE)
    truth = rng.integers(0, 2, 40)
    tables = {
        "truth": truth,
        "good": np.where(rng.random(40) < 0.9, truth, 1 - truth),
        "poor": np.where(rng.random(40) < 0.5, truth, 1 - truth),
    }
    for name, values in tables.items():
        rows = "".join(f"s{i},{v},p{i // 4}\n" for i, v in enumerate(values))
        (tmp_path / f"{name}.csv").write_text("id,label,patient\n" + rows)
    return tmp_path


def test_several_estimates_are_compared_with_the_first(files, run_cli):
    arguments = ("metrics", files / "truth.csv", files / "poor.csv", files / "good.csv", "--metric", "accuracy", "--metric", "f1")
    shown = run_cli(*arguments)
    assert shown.returncode == 0, shown.stderr
    assert "differences from poor.csv, paired by sample, p-values of 2 comparisons after Holm" in shown.stdout
    assert "good.csv: accuracy" in shown.stdout
    found = json.loads(run_cli(*arguments, "--json", "--seed", 3).stdout)
    assert found["baseline"] == "poor.csv"
    assert [e["estimate"] for e in found["estimates"]] == ["poor.csv", "good.csv"]
    accuracy, f1 = found["differences"]
    assert accuracy["difference"]["low"] > 0
    assert [accuracy["p_holm"], f1["p_holm"]] == pytest.approx(metrics.holm([accuracy["p_value"], f1["p_value"]]))
    assert accuracy["difference"]["n"] == 10


def test_folders_are_compared_file_by_file(files, run_cli):
    folders = [files / "maps" / n for n in ("ref", "far", "near")]
    found = json.loads(run_cli("metrics", *folders, "--pairs", "--metric", "nrmse", "--json").stdout)
    assert (found["images"], found["subjects"]) == (4, 4)
    assert found["differences"][0]["difference"]["high"] < 0
    assert found["differences"][0]["p_value"] == 2 / 2**4
    single = run_cli("metrics", *folders[:2], "--pairs", "--metric", "nrmse")
    assert "subjects  4" in single.stdout


def test_uncertainty_and_masks(files, run_cli):
    found = json.loads(
        run_cli("metrics", files / "ref.nii.gz", files / "near.nii.gz", "--sd", files / "sd.nii.gz", "--json").stdout
    )
    by_name = {r["name"]: r for r in found["results"]}
    assert by_name["z_score_rms"]["value"] == pytest.approx(1, abs=0.1)
    assert by_name["coverage"]["low"] < 0.95 < by_name["coverage"]["high"]
    assert by_name["error_spearman"]["reason"] == "all deviations are equal"
    shown = run_cli("metrics", files / "mask.nii.gz", files / "mask2.nii.gz", "--metric", "dice", "--metric", "hausdorff95").stdout
    assert "compared  masks" in shown
    assert [line.split()[2] for line in shown.splitlines() if line.startswith("hausdorff95")] == ["m"]


def test_the_list_names_every_metric(run_cli):
    shown = run_cli("metrics", "--list").stdout
    found = json.loads(run_cli("metrics", "--list", "--json").stdout)["metrics"]
    assert [m["id"] for m in found] == list(registered())
    for entry in registered().values():
        assert entry.identity in shown
        assert entry.definition in shown
    one = run_cli("metrics", "--list", "--metric", "ccc").stdout
    assert one.startswith("ccc/lin@1  [1, higher is better]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "REF: is missing; give a reference and an estimate, or --list"),
        (("ref.nii.gz",), "EST: is missing"),
        (("ref.nii.gz", "near.nii.gz", "--sd", "sd.nii.gz", "--sd", "sd.nii.gz"), "--sd: is given 2 times for 1 estimates"),
        (("ref.nii.gz", "near.nii.gz", "--subjects", "each"), "--subjects: does not apply to single images"),
        (("truth.csv", "good.csv", "--sd", "sd.nii.gz"), "--sd: does not apply to tables; leave it out"),
        (("ref.nii.gz", "near.nii.gz", "--positive", "1"), "--positive: does not apply to images"),
        (("truth.csv", "good.csv", "good.csv"), "EST: names one file twice; give different estimates"),
        (("truth.csv", "good.csv", "--level", "95"), "level 95.0"),
        (("ref.nii.gz", "near.nii.gz", "--level", "1"), "level: is 1.0; give a number between 0 and 1"),
        (("truth.csv", "good.csv", "--subjects", "who.csv"), "who.csv: does not exist"),
        (("truth.csv", "good.csv", "--kind", "scores"), "good.csv: has no scores"),
        (("maps/ref", "ref.nii.gz", "--pairs"), "--pairs"),
    ],
)
def test_one_line_and_exit_code_2(files, run_cli, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    done = run_cli("metrics", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_real_masks_of_lesions(data_root, run_cli):
    """Microaneurysms and the optic disc of one photograph do not overlap."""
    folder = data_root / "idrid-fundus" / "segmentation"
    lesions, disc = folder / "IDRiD_01_MA.png", folder / "IDRiD_01_OD.png"
    same = json.loads(run_cli("metrics", disc, disc, "--kind", "masks", "--json").stdout)
    assert [r["value"] for r in same["results"]] == [1, 1, 0, 0]
    other = json.loads(run_cli("metrics", disc, lesions, "--kind", "masks", "--json").stdout)
    by_name = {r["name"]: r for r in other["results"]}
    assert by_name["dice"]["value"] == 0
    assert by_name["hausdorff95"]["value"] > by_name["average_surface_distance"]["value"] > 10
    assert by_name["hausdorff95"]["unit"] == "pixel"
