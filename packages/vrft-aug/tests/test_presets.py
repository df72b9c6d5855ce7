from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from medcore.errors import ConfigError
from vrft_aug.knowledge import load_knowledge
from vrft_aug.memory import zero_stage
from vrft_aug.planning import plan
from vrft_aug.presets import PRESETS, knowledge_name, knowledge_text, preset, uses_knowledge
from vrft_aug.recipe import Recipe, load_recipe
from vrft_aug.templates import TEMPLATES


def write(folder: Path, name: str, kind: str, data: str | None = None) -> Path:
    path = folder / "my.yaml"
    path.write_text(preset(name, kind, recipe=path.name, data=data))
    if uses_knowledge(name):
        (folder / knowledge_name(path.name)).write_text(knowledge_text(kind))
    return path


def made(folder: Path, name: str, kind: str) -> Recipe:
    return load_recipe(write(folder, name, kind))


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_recipe_for_every_kind_of_data(tmp_path: Path, name: str, kind: str) -> None:
    path = write(tmp_path, name, kind, data='/data/with "quotes"')
    text = path.read_text()
    assert all(f"#   vrft-aug {command} my.yaml" in text for command in ("plan", "dry-run", "train"))
    recipe = load_recipe(path)
    assert recipe.warm_start is None
    assert recipe.model.path.startswith("Qwen/")
    assert all(stage.prompts.style == "full" for stage in recipe.stages)
    assert all(stage.batch * recipe.processes % stage.generations == 0 for stage in recipe.stages)
    assert {s.data.path is None for s in recipe.stages} == {kind == "scans"}
    assert recipe.stages[-1].data.kind == {"scans": "drawn-scans", "pneumonia": "medmnist", "prepared": "prepared"}.get(
        kind, "grades"
    )
    assert len(recipe.stages) == (2 if name == "vrft-aug" and kind in ("scans", "boxes") else 1) + (
        kind == "boxes" and name in ("lora-single-gpu", "zero3-8gpu")
    )


def rewards(recipe: Recipe) -> list[dict[str, float]]:
    return [{r.name: r.weight for r in stage.rewards} for stage in recipe.stages]


def test_classic_grpo_says_what_trl_would_do_otherwise(tmp_path: Path) -> None:
    stage = made(tmp_path, "grpo-classic", "pneumonia").stages[0]
    assert (stage.grpo["loss_type"], stage.grpo["beta"], stage.grpo["scale_rewards"]) == ("grpo", 0.04, "group")
    assert stage.kl_reference == "base"


def test_the_baseline_and_the_method_differ_in_its_components_only(tmp_path: Path) -> None:
    baseline, method = made(tmp_path, "vrft", "boxes"), made(tmp_path, "vrft-aug", "boxes")
    assert rewards(baseline) == [{"accuracy": 1.0, "format": 1.0}]
    assert rewards(method) == [
        {"box_iou": 1.0, "format": 1.0},
        {"multi_grade_fuzzy": 1.0, "format": 1.0, "recitation": -0.2},
    ]
    assert [s.task for s in method.stages] == ["localisation", "grading"]
    assert baseline.stages[0].grpo == method.stages[0].grpo == method.stages[1].grpo
    assert baseline.model == method.model
    assert baseline.stages[0].knowledge is None
    assert method.stages[1].knowledge is not None


def test_what_the_data_cannot_give_is_left_out_and_named(tmp_path: Path) -> None:
    text = preset("vrft-aug", "pneumonia")
    assert "# Not in this recipe: perception, as this data has no boxes; fuzzy grades, as the classes" in text
    assert rewards(made(tmp_path, "vrft-aug", "pneumonia")) == [{"accuracy": 1.0, "format": 1.0, "recitation": -0.2}]
    assert "# Not in this recipe: perception, as this data has no boxes.\n" in preset("vrft-aug", "grades")
    assert "Not in this recipe" not in preset("vrft-aug", "boxes")
    assert "Not in this recipe" not in preset("vrft", "pneumonia")


def test_options_of_rewards_are_those_of_the_data(tmp_path: Path) -> None:
    accuracy = made(tmp_path, "vrft", "pneumonia").stages[0].rewards[0]
    assert accuracy.options == {"negative": "normal"}
    fuzzy = made(tmp_path, "vrft-aug", "grades").stages[0].rewards[0]
    assert fuzzy.options["under"] == 0.5


def test_settings_of_machines(tmp_path: Path) -> None:
    lora = made(tmp_path, "lora-single-gpu", "grades")
    assert lora.model.lora is not None
    assert (lora.model.lora.rank, lora.model.lora.alpha, lora.model.freeze_vision) == (64, 128, True)
    assert lora.stages[0].grpo["learning_rate"] == 1e-5
    eight = made(tmp_path, "zero3-8gpu", "grades")
    assert eight.processes == 8
    assert zero_stage(eight.stages[0].grpo["deepspeed"]) == 3


@pytest.mark.parametrize("kind", TEMPLATES)
def test_drafts_of_knowledge_say_that_nobody_has_checked_them(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "k.yaml"
    path.write_text(knowledge_text(kind))
    provenance = load_knowledge(path).provenance
    assert "not reviewed" in provenance.model
    assert provenance.reviewed_by is None
    assert provenance.source


def test_names_of_knowledge_files() -> None:
    assert knowledge_name("a/b.yaml") == "b.knowledge.yaml"
    assert knowledge_name("c.yml") == "c.knowledge.yaml"
    assert knowledge_name("recipe") == "recipe.knowledge.yaml"


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'vrft-aug'"):
        preset("vrft-agu", "scans")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_planned_on_drawn_scans(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, "scans")
    few = [
        f"stages.{i}.data.{part}={count}"
        for i in range(len(yaml.safe_load(path.read_text())["stages"]))
        for part, count in (("train", 32), ("held_out", 8))
    ]
    facts = plan(load_recipe(path, few))
    assert all(stage["completions"] > 0 and stage["tokens"]["prompt"] > stage["tokens"]["image"] > 0 for stage in facts["stages"])
    expected = "nothing" if name == "lora-single-gpu" else "permanent part"
    assert {stage["memory"]["known"] for stage in facts["stages"]} == {expected}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("kind", "data"),
    [("pneumonia", "pneumoniamnist/pneumoniamnist_train_val.npz"), ("grades", "idrid-fundus/grading"), ("boxes", "idrid-fundus")],
)
@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_planned_on_real_data(tmp_path: Path, data_root: Path, name: str, kind: str, data: str) -> None:
    recipe = load_recipe(write(tmp_path, name, kind, data=os.fspath(data_root / data)))
    facts = plan(recipe)
    assert all(stage["train_images"] > 0 for stage in facts["stages"])
    assert facts["network"]["sent"] == "nothing"
