"""Real processes: killed, asked to stop, started twice, given bad input."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

pytestmark = pytest.mark.integration


@pytest.fixture
def recipe_file(small, tmp_path) -> Path:
    small["stages"][1]["grpo"]["max_steps"] = 12
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(small))
    return path


def wait_for(path: Path, process, seconds: float = 180) -> None:
    """Wait until `path` exists; the process must still run then."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final" / "model.safetensors")


def test_killed_anywhere_a_run_resumes_to_the_same_weights(recipe_file, tmp_path, vrft, start_vrft):
    whole = tmp_path / "whole"
    done = vrft("train", recipe_file, "-o", whole)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "killed"
    stages = out / "stages"
    for landmark in (stages / "0-warm-start/checkpoints/step-00000050", stages / "2-reasoning/checkpoints/step-00000004"):
        process = start_vrft("train", recipe_file, "-o", out, "--resume")
        wait_for(landmark, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (out / "final").exists()
        assert json.loads((out / "ledger.json").read_text())["state"] == "running"
    done = vrft("train", recipe_file, "-o", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert "resuming at step-" in done.stderr
    first, second = weights(whole), weights(out)
    assert first.keys() == second.keys()
    assert all(torch.equal(v, second[k]) for k, v in first.items())
    for table in ("1-perception/completions/completions.jsonl", "2-reasoning/completions/completions.jsonl"):
        assert (whole / "stages" / table).read_bytes() == (stages / table).read_bytes()


def test_asked_to_stop_a_run_keeps_its_last_checkpoint(recipe_file, tmp_path, start_vrft, vrft):
    out = tmp_path / "out"
    process = start_vrft("train", recipe_file, "-o", out, "--set", "stages.1.grpo.max_steps=2000")
    kept = out / "stages/2-reasoning/checkpoints/step-00000002"
    wait_for(kept, process)
    second = vrft("train", recipe_file, "-o", out, "--resume")
    assert second.returncode == 3
    assert second.stderr.startswith(f"error: {out}: is in use by process {process.pid}")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "interrupted" in errors
    assert list(kept.parent.glob("step-*"))
    assert not list(kept.parent.glob(".*"))


def test_json_is_one_object_and_evaluate_agrees(one_stage, tmp_path, vrft, warm_policy):
    one_stage["model"]["path"] = str(warm_policy)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(one_stage))
    out = tmp_path / "out"
    trained = vrft("train", recipe, "-o", out, "--json", "--set", "stages.0.grpo.max_steps=2")
    assert trained.returncode == 0, trained.stderr
    facts = json.loads(trained.stdout)
    assert Path(facts["report"]).is_file()
    judged = vrft("evaluate", out, "--recipe", recipe, "-o", tmp_path / "judged", "--json")
    assert judged.returncode == 0, judged.stderr
    found = json.loads(judged.stdout)["evaluations"][0]["metrics"]
    assert found == facts["evaluations"]["final"][0]["metrics"]
    assert (tmp_path / "judged" / "predictions.jsonl").read_text().count("\n") == 24


def bad(kind):
    def change(recipe, folder):
        stage = recipe["stages"][1]
        if kind == "key":
            recipe["stags"] = []
        elif kind == "grpo":
            stage["grpo"]["learning_rat"] = 1
        elif kind == "folder":
            stage["data"] = {"kind": "grades", "path": str(folder / "missing")}
        elif kind == "label":
            stage["data"] = {"kind": "grades", "path": str(folder / "eyes")}
            (folder / "eyes").mkdir()
            (folder / "eyes" / "labels.csv").write_text("image,grade\nmissing.png,1\nother.png,\n")
        elif kind == "model":
            recipe["model"]["path"] = str(folder / "no-model")

    return change


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("key", "stags: is unknown"),
        ("grpo", "learning_rat: is unknown"),
        ("folder", "missing"),
        ("label", "labels.csv"),
        ("model", "no-model"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(small, tmp_path, vrft, kind, message):
    bad(kind)(small, tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(small))
    out = tmp_path / "out"
    done = vrft("train", recipe, "-o", out)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_an_output_that_cannot_be_written(recipe_file, tmp_path, vrft):
    (tmp_path / "file").write_text("no folder")
    done = vrft("train", recipe_file, "-o", tmp_path / "file" / "out")
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert (tmp_path / "file").read_text() == "no folder"


def test_dry_run_writes_nothing(recipe_file, tmp_path, vrft):
    done = vrft("train", recipe_file, "-o", tmp_path / "out", "--dry-run")
    assert done.returncode == 0
    assert "would train perception, reasoning" in done.stdout
    assert not (tmp_path / "out").exists()


def test_doctor_as_json(vrft):
    done = vrft("doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["telemetry_off"] is True
