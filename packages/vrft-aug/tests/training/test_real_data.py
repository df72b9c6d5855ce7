"""A few steps on real images through the command line: one recipe for each kind of reward."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.integration
SHORT = [f"stages.{i}.grpo.{k}={v}" for i in (0, 1) for k, v in (("max_steps", 2), ("per_device_train_batch_size", 16))]


@pytest.mark.parametrize(
    ("kind", "source", "sets"),
    [
        ("pneumonia", "pneumoniamnist/pneumoniamnist_train_val.npz", {"classification": "accuracy"}),
        ("grades", "idrid-fundus/grading", {"grading": "quadratic_weighted_kappa"}),
        ("boxes", "idrid-fundus", {"localisation": "mean_iou", "grading": "quadratic_weighted_kappa"}),
    ],
)
def test_the_recipes_that_init_writes_train(kind, source, sets, data_root, tmp_path, vrft):
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    written = vrft("init", kind, "-o", recipe, "--data", data_root / source)
    assert written.returncode == 0, written.stderr
    short = ["warm_start.steps=40", *SHORT[: 2 * len(sets)]]
    done = vrft("train", recipe, "-o", out, "--json", *(x for s in short for x in ("--set", s)))
    assert done.returncode == 0, done.stderr
    final = json.loads(done.stdout)["evaluations"]["final"]
    assert [r["task"] for r in final] == list(sets)
    for result in final:
        assert result["n"] >= 4
        assert result["metrics"][sets[result["task"]]]["value"] is not None
    ledger = json.loads((out / "ledger.json").read_text())
    assert all(s["completions"] == 32 for name, s in ledger["stages"].items() if name != "warm-start")


def test_blood_cells_train_the_perception_stage(data_root, tmp_path, vrft):
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    data = {"kind": "voc", "path": str(data_root / "bccd-boxes"), "box_class": "WBC", "train": 24, "held_out": 8}
    stage = {
        "name": "cells",
        "task": "localisation",
        "data": data,
        "prompts": {"style": "short", "coordinates": "norm16"},
        "rewards": [{"name": "box_iou"}, {"name": "format"}],
        "grpo": {"max_steps": 2, "per_device_train_batch_size": 16, "max_completion_length": 32},
    }
    recipe.write_text(json.dumps({"warm_start": {"steps": 60}, "stages": [stage]}))
    done = vrft("train", recipe, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["evaluations"]["final"][0]
    assert result["n"] == 8
    assert 0 <= result["metrics"]["mean_iou"]["value"] <= 1
