"""Whole runs: what they leave, how they resume, what they refuse."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medcore.atomic import lock, verify_directory
from medcore.errors import ConfigError, InputError, LockedError, NumericalError, OutputError, OutputExistsError
from vrft_aug.hooks import RefinementHook
from vrft_aug.ledger import Ledger
from vrft_aug.stages import run_recipe


class StopAt(RefinementHook):
    """Ends the process's work like a crash in the middle of a stage."""

    def __init__(self, stage: str, step: int) -> None:
        self.stage, self.step, self.now = stage, step, ""

    def on_stage_start(self, name):
        self.now = name

    def transform_rewards(self, rewards, state):
        if self.now == self.stage and state.global_step == self.step:
            raise KeyboardInterrupt
        return rewards


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def test_a_run_leaves_a_verified_policy_and_its_report(finished):
    folder = finished.folder
    names = {p.name for p in folder.iterdir()}
    expected = {
        "ledger.json",
        "base",
        "stages",
        "final",
        "evaluation.json",
        "predictions.jsonl",
        "report.html",
        "report.json",
        "run.json",
    }
    assert expected <= names
    verify_directory(folder / "final")
    ledger = json.loads((folder / "ledger.json").read_text())
    assert ledger["state"] == "complete"
    assert list(ledger["stages"]) == ["warm-start", "perception", "reasoning"]
    assert [p.name for p in sorted((folder / "stages").iterdir())] == ["0-warm-start", "1-perception", "2-reasoning"]
    assert json.loads((folder / "run.json").read_text())["exit_state"] == "complete"


def test_every_stage_changes_the_policy(finished):
    stages = finished.folder / "stages"
    chain = [finished.folder / "base", *(stages / n / "policy" for n in ("0-warm-start", "1-perception", "2-reasoning"))]
    for before, after in itertools.pairwise(chain):
        assert not equal(weights(before), weights(after)), after
    assert equal(weights(chain[-1]), weights(finished.folder / "final"))


def test_budgets_are_counted(finished):
    stage = finished.ledger.stages["reasoning"]
    assert (stage.steps, stage.completions, stage.prompts) == (4, 64, 16)
    assert 64 <= stage.completion_tokens <= 64 * 24
    warm = finished.ledger.stages["warm-start"]
    assert (warm.samples, warm.completions) == (60 * 8, 0)


def test_nothing_but_the_policy_and_the_completions_stays_of_a_stage(finished):
    for stage in (finished.folder / "stages").iterdir():
        table = set() if stage.name == "0-warm-start" else {"completions"}
        assert {p.name for p in stage.iterdir()} == {"policy", "log.json", *table}


@pytest.mark.parametrize(("stage", "step"), [pytest.param("perception", 1, marks=pytest.mark.integration), ("reasoning", 3)])
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, small, as_recipe, finished, stage, step):
    recipe, out = as_recipe(small), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, out, hooks=[StopAt(stage, step)])
    assert not (out / "final").exists()
    said: list[str] = []
    run_recipe(recipe, out, resume=True, say=said.append)
    assert any("done before" in line for line in said)
    assert equal(weights(out / "final"), weights(finished.folder / "final"))
    logs = [json.loads((f / "stages/2-reasoning/log.json").read_text()) for f in (out, finished.folder)]
    rewards = [[entry["reward"] for entry in log if "reward" in entry] for log in logs]
    assert rewards[0] == rewards[1]
    assert len(rewards[0]) == 4
    for name in ("completions.jsonl", "rows.jsonl"):
        for folder in ("1-perception", "2-reasoning"):
            tables = [(f / "stages" / folder / "completions" / name).read_bytes() for f in (out, finished.folder)]
            assert tables[0] == tables[1], (folder, name)


def test_resume_of_a_finished_run_trains_nothing(tmp_path, finished, small, as_recipe):
    out = tmp_path / "out"
    shutil.copytree(finished.folder, out)
    said: list[str] = []
    again = run_recipe(as_recipe(small), out, resume=True, say=said.append)
    assert sum("done before" in line for line in said) == 3
    first, second = (r.evaluations["final"][1].as_dict()["metrics"] for r in (finished, again))
    assert first == second


@pytest.mark.integration
def test_resume_passes_over_a_damaged_checkpoint(tmp_path, small, as_recipe, finished):
    recipe, out = as_recipe(small), tmp_path / "out"
    small["stages"][1]["grpo"]["save_steps"] = 1
    recipe = as_recipe(small)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, out, hooks=[StopAt("reasoning", 3)])
    saved = sorted((out / "stages/2-reasoning/checkpoints").iterdir())
    assert [p.name for p in saved] == ["step-00000002", "step-00000003"]
    (saved[-1] / "model.safetensors").write_bytes(b"torn")
    said: list[str] = []
    run_recipe(recipe, out, resume=True, say=said.append)
    assert any("resuming at step-00000002" in line for line in said)
    # Checkpoints do not touch the course of training, so more of them end with the same weights.
    assert equal(weights(out / "final"), weights(finished.folder / "final"))


def test_resume_with_a_changed_recipe_names_what_differs(tmp_path, finished, small, as_recipe):
    out = tmp_path / "out"
    shutil.copytree(finished.folder, out)
    small["stages"][1]["grpo"]["learning_rate"] = 1e-3
    small["seed"] = 3
    with pytest.raises(ConfigError, match=r"recipe: differs .*stages\.1\.grpo\.learning_rate: 0\.0005 -> 0\.001.*seed: 0 -> 3"):
        run_recipe(as_recipe(small), out, resume=True)


def test_resume_with_changed_data_is_refused(tmp_path, finished, small, as_recipe):
    out = tmp_path / "out"
    shutil.copytree(finished.folder, out)
    ledger = json.loads((out / "ledger.json").read_text())
    ledger["data"]["reasoning"] = "0" * 64
    (out / "ledger.json").write_text(json.dumps(ledger))
    with pytest.raises(ConfigError, match="data: differs"):
        run_recipe(as_recipe(small), out, resume=True)


def test_an_unreadable_ledger_is_an_input_error(tmp_path, finished, small, as_recipe):
    out = tmp_path / "out"
    out.mkdir()
    (out / "ledger.json").write_text("{")
    with pytest.raises(InputError, match=r"ledger\.json: cannot be read"):
        run_recipe(as_recipe(small), out, resume=True)


def test_an_existing_run_needs_resume_or_force(finished, small, as_recipe):
    before = (finished.folder / "ledger.json").read_bytes()
    with pytest.raises(OutputExistsError, match="exists already"):
        run_recipe(as_recipe(small), finished.folder)
    assert (finished.folder / "ledger.json").read_bytes() == before


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_something_else_is_never_touched(tmp_path, small, as_recipe, force):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="is not a run of this program"):
        run_recipe(as_recipe(small), tmp_path, force=force)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_one_run_per_folder(tmp_path, small, as_recipe):
    out = tmp_path / "out"
    with lock(out), pytest.raises(LockedError, match="in use by process"):
        run_recipe(as_recipe(small), out)
    assert [p.name for p in out.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("stages", 1, "grpo", "learning_rat"), 1.0, r"learning_rat: is unknown.*did you mean 'learning_rate'"),
        (("stages", 1, "grpo", "save_steps"), 0, r"save_steps: is 0, not a multiple of 1"),
        (("stages", 1, "grpo", "generation_batch_size"), 10, r"reasoning\.grpo: .*must be divisible"),
        (("model", "path"), "./missing", "missing"),
        (("warm_start", "missed_class"), "fracture", "fracture"),
        (("stages", 1, "rewards", 0, "options"), {"colour": 1}, "colour"),
    ],
)
def test_bad_settings_write_nothing(tmp_path, small, as_recipe, path, value, message):
    target = small
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    if path[-1] == "missed_class":
        target.update(missed_as="none", missed_fraction=0.5)
    out = tmp_path / "out"
    with pytest.raises(InputError, match=message):
        run_recipe(as_recipe(small), out)
    assert not out.exists()


def test_rewards_without_a_number_stop_the_run(tmp_path, one_stage, as_recipe, warm_policy, monkeypatch):
    one_stage["model"]["path"] = str(warm_policy)
    one_stage["stages"][0]["rewards"] = [{"name": "silent_rewards:silent"}]
    module = tmp_path / "silent_rewards.py"
    module.write_text("def silent(prompts, completions, **columns):\n    return [float('nan')] * len(completions)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(NumericalError, match="none of the 16 completions of step 0 got a finite reward from silent_rewards:silent"):
        run_recipe(as_recipe(one_stage), tmp_path / "out")


@pytest.mark.parametrize(("key", "value", "word"), [("loss_type", 7, "loss type: 7"), ("temperature", 0.0, "temperature")])
def test_settings_that_trl_refuses_late_are_still_a_config_error(tmp_path, one_stage, as_recipe, warm_policy, key, value, word):
    one_stage["model"]["path"] = str(warm_policy)
    one_stage["stages"][0]["grpo"][key] = value
    with pytest.raises(ConfigError, match=f"was refused by the trainer .*{word}.*correct its grpo block"):
        run_recipe(as_recipe(one_stage), tmp_path / "out")


def test_hooks_are_told_of_stages(tmp_path, one_stage, as_recipe, warm_policy):
    one_stage["model"]["path"] = str(warm_policy)
    one_stage["stages"][0]["grpo"]["max_steps"] = 1
    seen = []

    class Listener(RefinementHook):
        def on_stage_start(self, name):
            seen.append(f"start {name}")

        def on_stage_end(self, name):
            seen.append(f"end {name}")

        def transform_advantages(self, advantages, state):
            seen.append(tuple(advantages.shape))
            return advantages

    run_recipe(as_recipe(one_stage), tmp_path / "out", hooks=[Listener()])
    assert seen == ["start reasoning", (16,), "end reasoning"]


def test_ledger_round_trip(tmp_path, small, as_recipe):
    recipe = as_recipe(small)
    first = Ledger.open(tmp_path, recipe, {"a": "1"})
    first.begin("perception")
    again = Ledger.open(tmp_path, recipe, {"a": "1"})
    assert again.as_dict() == first.as_dict()
    assert again.stages["perception"].state == "running"
