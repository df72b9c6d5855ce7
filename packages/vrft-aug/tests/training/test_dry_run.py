"""dry-run: every stage through the real code, faults reported, nothing left behind."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from medcore.errors import ConfigError
from vrft_aug.dry_run import DryRunSettings, _stand_in, dry_run, reduce
from vrft_aug.hooks import RefinementHook
from vrft_aug.recipe import LoraSettings, ModelSettings, load_recipe
from vrft_aug.templates import template


class BreaksLate(RefinementHook):
    """Fails in the second step."""

    def transform_advantages(self, advantages, state):
        if state.global_step:
            raise KeyError("late")
        return advantages


def careless(prompts, completions, **columns):
    raise RuntimeError("no reward today")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)


def test_every_stage_is_run_and_nothing_stays(small, as_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    small["stages"][1]["hooks"] = [{"name": "vrft_aug.refinement:Reasoning"}]
    small["stages"][1]["grpo"] |= {"beta": 0.04, "loss_type": "grpo", "gradient_accumulation_steps": 2, "num_iterations": 2}
    small["stages"][1]["kl_reference"] = "base"
    small["model"]["lora"] = {"rank": 8, "alpha": 16}
    facts = dry_run(as_recipe(small))
    json.dumps(facts, allow_nan=False)
    assert facts["faults"] == []
    assert [(s["name"], s["state"], s["steps"]) for s in facts["stages"]] == [
        ("warm-start", "complete", 2),
        ("perception", "complete", 2),
        ("reasoning", "complete", 2),
    ]
    assert facts["stages"][1]["rewards"].keys() == {"box_iou", "format"}
    assert facts["stages"][2]["completions"] > 0
    assert [found["name"] for found in facts["evaluation"]] == ["perception", "reasoning"]
    assert "gradient_accumulation_steps" in facts["changed"]["reasoning"]
    assert not {"beta", "loss_type"} & set(facts["changed"]["reasoning"])
    assert not list(tmp_path.glob("vrft-dry-run-*"))
    assert os.environ.get("CUDA_VISIBLE_DEVICES") != ""


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"hooks": [{"name": "test_dry_run:BreaksLate"}]}, "reasoning: KeyError: 'late'"),
        (
            {"rewards": [{"name": "test_dry_run:careless", "label": "mine", "guard": {"isolate": "never"}}, {"name": "format"}]},
            "reward mine failed",
        ),
    ],
    ids=["hook", "reward"],
)
def test_what_fails_is_a_fault_of_its_stage(one_stage, as_recipe, change, fault, tmp_path):
    one_stage["stages"][0] |= change
    facts = dry_run(as_recipe(one_stage), keep=tmp_path / "kept")
    assert any(fault in found for found in facts["faults"]), facts["faults"]
    assert (facts["stages"][0]["state"] == "complete") == ("reward" in fault)
    assert (tmp_path / "kept" / "ledger.json").exists()


def test_what_cannot_begin_is_an_error(one_stage, as_recipe):
    one_stage["stages"][0]["grpo"]["bta"] = 1
    with pytest.raises(ConfigError, match="bta: is unknown"):
        dry_run(as_recipe(one_stage))


def test_only_the_amount_of_work_is_reduced(small, as_recipe):
    small["stages"][0]["grpo"] |= {
        "bf16": True,
        "use_vllm": True,
        "vllm_mode": "colocate",
        "deepspeed": {"x": 1},
        "temperature": 0.7,
    }
    recipe = as_recipe(small)
    made = reduce(recipe, ModelSettings(), DryRunSettings(steps=3))
    for old, new in zip(recipe.stages, made.stages, strict=True):
        assert (new.task, new.rewards, new.hooks, new.knowledge, new.kl_reference) == (
            old.task,
            old.rewards,
            old.hooks,
            old.knowledge,
            old.kl_reference,
        )
        assert new.grpo["max_steps"] == 3
    assert made.stages[0].grpo["temperature"] == 0.7
    assert not {"bf16", "use_vllm", "vllm_mode", "deepspeed"} & made.stages[0].grpo.keys()
    assert made.processes == 1


def test_what_stands_in_for_a_model(tmp_path, finished):
    said: list[str] = []
    far, about = _stand_in(ModelSettings(path="org/Model-3B", max_pixels=401408), tmp_path / "a", said.append)
    assert far.path == "tiny"
    assert far.max_pixels == 112 * 112
    assert "the configuration of org/Model-3B is not on this disk" in about == said[0].removeprefix("model: ")
    near, about = _stand_in(ModelSettings(path=str(finished.folder / "base"), min_pixels=784), tmp_path / "b", said.append)
    assert near.path == str(tmp_path / "b")
    assert "random weights" in about
    broken = tmp_path / "c"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "bert"}')
    assert "could not be made small" in _stand_in(ModelSettings(path=str(broken)), tmp_path / "d", said.append)[1]
    assert (
        "not quantised"
        in _stand_in(ModelSettings(path="tiny", quantize="nf4", lora=LoraSettings(rank=2)), tmp_path, said.append)[1]
    )


@pytest.mark.integration
@pytest.mark.parametrize(
    ("kind", "data"),
    [("pneumonia", "pneumoniamnist/pneumoniamnist_train_val.npz"), ("grades", "idrid-fundus/grading"), ("boxes", "idrid-fundus")],
)
def test_recipes_run_on_real_data(vrft, tmp_path, data_root, kind, data):
    path = tmp_path / "recipe.yaml"
    path.write_text(template(kind, data=str(data_root / data)))
    result = vrft("dry-run", path, "--json", timeout=600)
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["faults"] == []
    assert all(stage["state"] == "complete" for stage in facts["stages"])
    assert len(facts["evaluation"]) == len(load_recipe(path).stages)


@pytest.mark.integration
def test_a_fault_ends_with_exit_code_8(vrft, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(template("scans"))
    hook = "stages.0.hooks=[{name: 'vrft_aug.refinement:Schedule', options: {reward: speed}}]"
    result = vrft("dry-run", path, "--set", hook, "--set", "warm_start=null")
    assert result.returncode == 8
    assert "names the reward 'speed', the stage has accuracy, format" in result.stdout
