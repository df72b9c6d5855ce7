"""The demonstration, with few steps: what it compares and what it writes."""

from __future__ import annotations

import json

import pytest

from medcore.errors import OutputError, OutputExistsError
from vrft_aug.demo import METHODS, DemoSettings, run_demo, stages, table

SHORT = DemoSettings(train=64, held_out=16, warm_steps=60, steps=3, perception_steps=1)


def test_both_methods_get_the_same_completions_and_see_the_same_images(tmp_path):
    perception, reasoning, plain = stages(DemoSettings(), tmp_path / "knowledge.yaml")
    steps = [s.grpo["max_steps"] for s in (perception, reasoning, plain)]
    assert steps[0] + steps[1] == steps[2]
    assert len({s.batch for s in (perception, reasoning, plain)}) == 1
    assert len({s.generations for s in (perception, reasoning, plain)}) == 1
    assert reasoning.data == plain.data
    assert {r.name for r in plain.rewards} == {"accuracy", "format"}
    assert {r.name for r in reasoning.rewards} == {"accuracy", "multi_grade_fuzzy", "recitation", "format"}
    assert reasoning.knowledge is not None
    assert plain.knowledge is None


@pytest.mark.integration
def test_the_demonstration_end_to_end(tmp_path):
    out = tmp_path / "demo"
    summary = run_demo(out, SHORT)
    assert tuple(summary["methods"]) == METHODS
    assert summary["held_out"] == 16
    completions = {name: b["completions"] for name, b in summary["budgets"].items()}
    assert completions == {"plain RL": 384, "full method": 384}
    assert json.loads((out / "report.json").read_text()) == summary
    columns, rows = table(summary)
    assert [r[0] for r in rows] == list(METHODS)
    assert all(len(r) == len(columns) for r in rows)
    for name in (
        "report.html",
        "run.json",
        "plain-rl/report.html",
        "full-method/report.html",
        "full-method/final/model.safetensors",
    ):
        assert (out / name).is_file(), name
    # One set of held-out images for all methods.
    sets = []
    for name in ("plain-rl", "full-method"):
        lines = [json.loads(line) for line in (out / name / "predictions.jsonl").read_text().splitlines()]
        sets.append({p["sample_id"] for p in lines if p["task"] == "grading"})
    assert sets[0] == sets[1]
    with pytest.raises(OutputExistsError):
        run_demo(out, SHORT)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(OutputError, match="is not a run of this program"):
        run_demo(tmp_path, SHORT, force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
