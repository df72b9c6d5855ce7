"""Rescoring of a real run: exact by default, honest about what differs; advantages against trl's own."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medcore.atomic import verify_directory
from medcore.errors import ConfigError, InputError, OutputExistsError
from medcore.provenance import RunRecord
from vrft_aug.rescore_page import write_rescored
from vrft_aug.rescoring import TOLERANCE, rescore, verdict
from vrft_aug.rewards import parse_spec


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A run that a test may change."""
    shutil.copytree(finished.folder / "stages", tmp_path / "run" / "stages", ignore=shutil.ignore_patterns("policy"))
    shutil.copy(finished.folder / "ledger.json", tmp_path / "run")
    return tmp_path / "run"


def table(run: Path, stage: str = "2-reasoning") -> Path:
    return run / "stages" / stage / "completions" / "completions.jsonl"


def change(path: Path, number: int, **values) -> None:
    lines = path.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | values)
    path.write_text("\n".join(lines) + "\n")


def test_a_run_is_reproduced_exactly(finished):
    found = rescore(finished.folder)
    assert [r.stage.name for r in found] == ["perception", "reasoning"]
    for stage in found:
        facts = stage.as_dict()
        assert facts["reproduced"] is True
        assert facts["completions"] == finished.ledger.stages[facts["name"]].completions
        assert all(r["same"] == facts["completions"] and r["different"] == 0 for r in facts["rewards"].values())
        assert facts["advantage_error"] < 1e-5
        assert facts["advantages_with_another_sign"] == 0.0
        assert verdict(facts)[0] == "passed"
        # Completions did earn something, so there was something to reproduce.
        assert np.nanstd(stage.values) > 0


def test_means_are_those_of_the_training_log(finished):
    found = rescore(finished.folder, stages=["reasoning"])[0].as_dict()
    history = json.loads((finished.folder / "stages/2-reasoning/log.json").read_text())
    for name, facts in found["rewards"].items():
        logged = [entry[f"rewards/{name}/mean"] for entry in history if f"rewards/{name}/mean" in entry]
        assert facts["mean"] == pytest.approx(np.mean(logged), abs=1e-6)


def test_one_changed_value_is_found(copied):
    entry = json.loads(table(copied).read_text().splitlines()[5])
    change(table(copied), 5, rewards={**entry["rewards"], "multi_grade_fuzzy": 0.062500007450580597})
    perception, reasoning = (r.as_dict() for r in rescore(copied))
    assert perception["reproduced"] is True
    assert reasoning["reproduced"] is False
    assert reasoning["rewards"]["multi_grade_fuzzy"]["different"] == 1
    assert verdict(reasoning) == ("failed", "multi_grade_fuzzy on 1 of 64 completions is not what was logged.")


def test_a_value_that_was_not_judged_then_is_a_difference(copied):
    entry = json.loads(table(copied).read_text().splitlines()[0])
    change(table(copied), 0, rewards={**entry["rewards"], "format": None})
    assert rescore(copied, stages=["reasoning"])[0].as_dict()["rewards"]["format"]["different"] == 1


def test_a_changed_advantage_is_found(copied):
    change(table(copied), 3, advantage=5.0)
    facts = rescore(copied, stages=["reasoning"])[0].as_dict()
    assert facts["reproduced"] is False
    assert "the advantages are not" in verdict(facts)[1]


def test_a_changed_completion_is_found(copied):
    change(table(copied), 3, completion=[{"role": "assistant", "content": "?!"}])
    assert rescore(copied, stages=["reasoning"])[0].reproduced in (True, False)
    text = next(i for i, line in enumerate(table(copied).read_text().splitlines()) if json.loads(line)["rewards"]["format"] == 1.0)
    change(table(copied), text, completion=[{"role": "assistant", "content": "?!"}])
    assert rescore(copied, stages=["reasoning"])[0].reproduced is False


def test_other_weights_change_advantages_and_nothing_else(finished):
    plain = rescore(finished.folder, stages=["reasoning"])[0]
    found = rescore(finished.folder, weights={"format": -3.0}, stages=["reasoning"])[0]
    assert np.array_equal(found.values, plain.values)
    assert found.reproduced is True
    assert found.as_dict()["advantages_with_another_sign"] > 0
    alone = rescore(finished.folder, weights={"format": 0.0, "accuracy": 0.0, "multi_grade_fuzzy": 2.0}, stages=["reasoning"])[0]
    k = alone.names.index("multi_grade_fuzzy")
    groups = alone.values[:, k].reshape(-1, 4)
    assert np.array_equal(
        np.sign(alone.advantages.reshape(-1, 4)), np.sign(np.round(groups - groups.mean(axis=1, keepdims=True), 12))
    )


def test_other_rewards(finished):
    found = rescore(finished.folder, rewards=[parse_spec("format:think=false")])
    assert [r.names for r in found] == [("format",)] * 2
    assert all(r.reproduced is None and r.as_dict()["rewards"]["format"]["mean"] > 0 for r in found)
    assert verdict(found[0].as_dict())[0] == "info"


def test_rewards_find_step_tokens_prompt_and_columns_again(finished, tmp_path, monkeypatch):
    module = tmp_path / "curious.py"
    module.write_text(
        "NEEDED = {'label', 'classes', 'grade', 'num_grades', 'boxes', 'image_size', 'box_frame', 'knowledge', 'task'}\n"
        "def look(prompts, completions, completion_ids, trainer_state, **columns):\n"
        "    columns['log_metric']('x', 1.0)\n"
        "    columns['log_extra']('y', [1] * len(prompts))\n"
        "    assert set(columns) >= NEEDED and trainer_state.max_steps == 4\n"
        "    step = trainer_state.global_step\n"
        "    return [step * 1e6 + len(ids) * 1e3 + len(p[0]['content']) for ids, p in zip(completion_ids, prompts)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = rescore(finished.folder, rewards=[parse_spec("curious:look")], stages=["reasoning"])[0]
    expected = [
        e["step"] * 1e6 + len(e["completion_ids"]) * 1e3 + len(found.stage.rows[e["row"]]["prompt"][0]["content"])
        for e in found.stage.entries
    ]
    assert found.values[:, 0].tolist() == expected
    assert {e["step"] for e in found.stage.entries} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"weights": {"formt": 1.0}}, "is not one of .*did you mean 'format'"),
        ({"stages": ["reasonin"]}, "did you mean 'reasoning'"),
        ({"rewards": [parse_spec("format"), parse_spec("format")]}, "names a reward twice"),
    ],
)
def test_what_does_not_exist(finished, arguments, match):
    with pytest.raises(ConfigError, match=match):
        rescore(finished.folder, **arguments)


def test_folders_that_are_no_run(tmp_path, copied):
    with pytest.raises(InputError, match="is not the folder of a run"):
        rescore(tmp_path)
    for folder in (copied / "stages").iterdir():
        shutil.rmtree(folder / "completions", ignore_errors=True)
    with pytest.raises(InputError, match="has no completions; train with log_completions"):
        rescore(copied)
    with pytest.raises(InputError, match="cannot be read"):
        rescore(copied, stages=["reasoning"])


def test_page_figures_and_tables(finished, tmp_path):
    found = rescore(finished.folder)
    out = tmp_path / "out"
    write_rescored(out, found, RunRecord(command="vrft-aug rescore", settings={}))
    verify_directory(out)
    assert {p.name for p in out.iterdir()} == {
        "rescore.html",
        "rescore.json",
        "run.json",
        "manifest.json",
        *(f"{n}.{kind}" for n in ("perception", "reasoning") for kind in ("csv", "png")),
    }
    rows = list(csv.DictReader((out / "reasoning.csv").read_text().splitlines()))
    assert len(rows) == 64
    assert max(abs(float(r["advantage"]) - float(r["logged_advantage"])) for r in rows) < TOLERANCE
    page = (out / "rescore.html").read_text()
    assert page.count("exactly what was logged") == 2
    assert page.count("<img ") == 2
    completion = found[1].stage.entries[0]["completion"][0]["content"]
    assert completion not in page + (out / "rescore.json").read_text() + (out / "reasoning.csv").read_text()
    with pytest.raises(OutputExistsError):
        write_rescored(out, found, RunRecord(command="vrft-aug rescore", settings={}))


@pytest.mark.integration
def test_the_command(copied, tmp_path, vrft):
    done = vrft("rescore", copied, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert [s["reproduced"] for s in facts["stages"]] == [True, True]
    assert (tmp_path / "out" / "reasoning.png").read_bytes().startswith(b"\x89PNG")
    entry = json.loads(table(copied).read_text().splitlines()[5])
    change(table(copied), 5, rewards={**entry["rewards"], "accuracy": 0.5})
    wrong = vrft("rescore", copied, "--json")
    assert wrong.returncode == 8
    assert json.loads(wrong.stdout)["stages"][1]["rewards"]["accuracy"]["different"] == 1
    assert wrong.stderr == f"error: run {copied}: is not reproduced in reasoning; see the table of its rewards\n"
    table(copied).write_text("{}\n")
    damaged = vrft("rescore", copied)
    assert damaged.returncode == 2
    assert "completions.jsonl line 1: has no usable step" in damaged.stderr


@pytest.mark.integration
def test_a_runs_own_table_can_be_scored(finished, vrft):
    done = vrft("rewards", "score", table(finished.folder), "--reward", "multi_grade_fuzzy", "--json")
    assert done.returncode == 0, done.stderr
    logged = [json.loads(line)["rewards"]["multi_grade_fuzzy"] for line in table(finished.folder).read_text().splitlines()]
    assert json.loads(done.stdout)["scores"] == logged
