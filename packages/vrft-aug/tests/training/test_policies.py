"""Which policies are judged, and where they are found."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from medcore.errors import ConfigError
from vrft_aug.evaluation import scores
from vrft_aug.hooks import RefinementHook
from vrft_aug.run_folder import find_policy
from vrft_aug.stages import evaluate_folder, run_recipe


class StopAtRound(RefinementHook):
    """Ends the process's work like a crash when so many rounds have been generated."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def transform_rewards(self, rewards, *_):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return rewards


def test_every_stage_is_scored_on_every_task(tmp_path, small, as_recipe, warm_policy):
    small |= {"warm_start": None, "model": {"path": str(warm_policy)}}
    small["evaluation"] |= {"policies": "all", "audit_samples": 0}
    for stage in small["stages"]:
        stage["grpo"] |= {"max_steps": 1, "save_steps": 1}
    out = tmp_path / "out"
    result = run_recipe(as_recipe(small), out)
    assert list(result.evaluations) == ["start", "after perception", "final"]
    assert all([r.name for r in found] == ["perception", "reasoning"] for found in result.evaluations.values())
    saved = json.loads((out / "evaluation.json").read_text())["policies"]
    assert list(saved) == list(result.evaluations)
    between = evaluate_folder(out / "stages" / "1-perception" / "policy", as_recipe(small))
    assert [scores(r) for r in between] == [scores(r) for r in result.evaluations["after perception"]]
    assert not (out / "audit.json").exists()
    assert "after perception" in (out / "report.html").read_text()


def test_a_run_stands_for_its_last_policy(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished.folder, out)
    assert find_policy(out) == out / "final"
    shutil.rmtree(out / "final")
    stages = out / "stages"
    assert find_policy(out) == stages / "2-reasoning" / "policy"
    assert find_policy(stages / "1-perception" / "policy") == stages / "1-perception" / "policy"
    weights = next((stages / "2-reasoning" / "policy").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    assert find_policy(out) == stages / "1-perception" / "policy"
    with pytest.raises(ConfigError, match="holds no policy"):
        find_policy(stages)
    with pytest.raises(ConfigError, match="is not a folder"):
        find_policy(out / "nothing")


@pytest.mark.integration
def test_a_checkpoint_can_be_judged(tmp_path, one_stage, as_recipe, warm_policy):
    one_stage["model"] = {"path": str(warm_policy)}
    recipe, out = as_recipe(one_stage), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, out, hooks=[StopAtRound(4)])
    folder = out / "stages" / "1-reasoning" / "checkpoints"
    assert find_policy(folder) == folder / "step-00000002"
    (found,) = evaluate_folder(folder, recipe)
    assert len(found.predictions) == 24


@pytest.mark.integration
def test_probes_on_the_command_line(finished, small, tmp_path, vrft):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(small))
    out = tmp_path / "judged"
    asked = ("evaluate", finished.folder, "--recipe", recipe, "-o", out, "--probe", "shuffled", "--probe", "no-knowledge", "-k", 2)
    shown = vrft(*asked, "--likelihood")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("  shuffled: ") == 2
    assert "  no-knowledge: not made, the prompts carry no knowledge" in shown.stdout
    assert "AUROC" in shown.stdout
    assert "Pass@2" in shown.stdout
    facts = json.loads((out / "evaluation.json").read_text())
    assert facts["settings"]["probes"] == ["shuffled", "no-knowledge"]
    probes = [json.loads(line)["probe"] for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert probes.count("shuffled") == probes.count(None) > 0
    refused = vrft(*asked[:-4], "--probe", "dark", "--force")
    assert refused.returncode == 2
    assert "dark" in refused.stderr
    assert "shuffled" in refused.stderr


@pytest.mark.integration
def test_a_page_can_be_made_again(finished, tmp_path, vrft):
    out = tmp_path / "out"
    shutil.copytree(finished.folder, out)
    (out / "report.html").unlink()
    made = vrft("report", out, "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["images"] is True
    assert (out / "report.html").read_bytes() == (finished.folder / "report.html").read_bytes()
    assert vrft("report", tmp_path).returncode == 2
