from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from medcore.config import from_mapping, to_mapping
from medcore.errors import ConfigError
from vrft_aug.coordinates import Resize
from vrft_aug.recipe import LoraSettings, ModelSettings, Recipe, WarmStartSettings, load_recipe

BOXES: dict[str, Any] = {
    "name": "perception",
    "task": "localisation",
    "data": {"kind": "drawn-scans"},
    "rewards": [{"name": "box_iou"}, {"name": "format"}],
}
LABELS: dict[str, Any] = {
    "name": "reasoning",
    "task": "classification",
    "data": {"kind": "drawn-scans"},
    "rewards": [{"name": "accuracy"}, {"name": "format"}],
    "grpo": {"per_device_train_batch_size": 32, "num_generations": 8},
}
KNOWLEDGE = {"file": "knowledge.yaml"}


def recipe(*stages: dict[str, Any], **other: Any) -> Recipe:
    return from_mapping(Recipe, {"stages": list(stages), **other}, "recipe")


def changed(stage: dict[str, Any], **values: Any) -> dict[str, Any]:
    return copy.deepcopy(stage) | values


def test_a_small_recipe_is_enough_and_round_trips() -> None:
    made = recipe(BOXES, LABELS)
    assert [s.name for s in made.stages] == ["perception", "reasoning"]
    assert made.model == ModelSettings(path="tiny")
    assert made.warm_start is None
    assert from_mapping(Recipe, to_mapping(made)) == made


def test_trl_fields_travel_untouched() -> None:
    grpo = {"max_steps": 3, "entropy_coef": 0.02, "anything_at_all": [1, {"a": None}], "num_generations": 4}
    assert recipe(changed(LABELS, grpo=grpo)).stages[0].grpo == grpo


@pytest.mark.parametrize(
    ("stage", "match"),
    [
        (changed(LABELS, rewards=[]), "no reward with a weight"),
        (changed(LABELS, rewards=[{"name": "accuracy", "weight": 0}]), "no reward with a weight"),
        (changed(LABELS, rewards=[{"name": "accuracy"}] * 2), "two rewards called accuracy"),
        (changed(LABELS, rewards=[{"name": "box_iou"}]), "uses box_iou, which judges localisation, for classification"),
        (changed(BOXES, rewards=[{"name": "accuracy"}]), "judges classification and grading, for localisation"),
        (changed(LABELS, rewards=[{"name": "multi_grade_fuzzy"}]), "judges grading, for classification"),
        (changed(LABELS, rewards=[{"name": "recitation", "weight": -0.2}]), "no knowledge is injected in training"),
        (
            changed(LABELS, rewards=[{"name": "recitation"}], knowledge=KNOWLEDGE | {"apply_at": "eval"}),
            "no knowledge is injected in training",
        ),
        (changed(LABELS, task="grading"), "asks for grading, but drawn-scans serves classification, localisation"),
        (changed(LABELS, task="localisation", data={"kind": "grades", "path": "x"}), "but grades serves grading, classification"),
        (changed(BOXES, task="classification", data={"kind": "voc", "path": "x"}), "but voc serves localisation"),
        (changed(LABELS, data={"kind": "drawn-scans", "keep_empty": True}), "keeps images without boxes"),
        (
            changed(BOXES, rewards=[{"name": "box_iou", "options": {"coordinates": "pixel"}}]),
            "boxes in norm1000 and reads them as pixel",
        ),
        (changed(LABELS, kl_reference="base"), "has kl_reference base and beta 0"),
        (changed(LABELS, kl_reference="stage_start", grpo={"beta": 0.0}), "has kl_reference stage_start and beta 0"),
        (changed(LABELS, grpo={"beta": 0.04}), "has beta 0.04 and kl_reference none"),
        (changed(LABELS, kl_reference="base", grpo={"beta": -1.0}), "beta: is -1.0"),
        (
            changed(LABELS, grpo={"per_device_train_batch_size": 12, "num_generations": 8}),
            "12 completions, not a multiple of num_generations 8",
        ),
        (changed(LABELS, grpo={"num_generations": 1}), "num_generations: is 1"),
        (changed(LABELS, grpo={"num_generations": "8"}), "is '8'; give a whole number"),
        (changed(LABELS, grpo={"per_device_train_batch_size": 0}), "is 0; give a whole number"),
        (changed(LABELS, grpo={"output_dir": "x"}), "output_dir: is set by the run itself"),
        (changed(LABELS, grpo={"reward_weights": [1]}), "reward_weights: is set by the run itself"),
        (changed(LABELS, name="Stage 1"), "is no usable name"),
        (changed(LABELS, name="../x"), "is no usable name"),
        (changed(LABELS, reward=[]), "reward: is unknown.*did you mean 'rewards'"),
        (changed(LABELS, task="segmentation"), "must be 'localisation' or"),
        ({k: v for k, v in LABELS.items() if k != "data"}, "data: is required"),
    ],
)
def test_contradictions_are_refused_before_anything_runs(stage: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        recipe(stage)


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"stages": []}, "stages: is empty"),
        ({"stages": [LABELS, LABELS]}, "two stages called reasoning"),
        ({"stages": [LABELS], "seed": -1}, "has seed -1"),
        ({"stages": [LABELS], "processes": 0}, "processes 0"),
        ({"stages": [LABELS], "modle": {}}, "did you mean 'model'"),
        ({"stages": [LABELS], "model": {"path": " "}}, "model.path: is empty"),
        ({"stages": [LABELS], "model": {"min_pixels": 10, "max_pixels": 5}}, "do not fit"),
        ({"stages": [LABELS], "model": {"lora": {"rank": 0}}}, "give rank and alpha of at least 1"),
        ({"stages": [LABELS], "warm_start": {"steps": 0}}, "positive steps"),
        ({"stages": [LABELS], "warm_start": {"missed_class": "fracture"}}, "only some of missed_class"),
        (
            {"stages": [LABELS], "warm_start": {"missed_class": "a", "missed_as": "a", "missed_fraction": 0.5}},
            "labels 0.5 of a as a",
        ),
        (
            {"stages": [LABELS], "warm_start": {"missed_class": "a", "missed_as": "b", "missed_fraction": 1.5}},
            "labels 1.5 of a as b",
        ),
        ({"stages": [LABELS], "evaluation": {"level": 1.0}}, "level between 0 and 1"),
    ],
)
def test_settings_of_the_whole_run_are_checked(other: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        from_mapping(Recipe, other, "recipe")


def test_the_same_reward_twice_needs_a_label() -> None:
    made = recipe(changed(BOXES, rewards=[{"name": "box_iou"}, {"name": "box_iou", "label": "box_f1", "options": {"score": "f1"}}]))
    assert [r.shown for r in made.stages[0].rewards] == ["box_iou", "box_f1"]


def test_batches_are_counted_over_processes_and_accumulation() -> None:
    grpo = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "num_generations": 8}
    with pytest.raises(ConfigError, match="gives 2 completions"):
        recipe(changed(LABELS, grpo=grpo))
    assert recipe(changed(LABELS, grpo=grpo), processes=8).stages[0].batch == 2
    assert recipe(changed(LABELS, grpo=grpo | {"steps_per_generation": 8})).stages[0].batch == 8
    assert recipe(changed(LABELS, grpo={})).stages[0].generations == 8


def test_defaults_are_those_of_trl() -> None:
    from trl import GRPOConfig

    fields = GRPOConfig.__dataclass_fields__
    stage = recipe(changed(LABELS, grpo={})).stages[0]
    assert stage.generations == fields["num_generations"].default
    assert stage.batch == fields["per_device_train_batch_size"].default * fields["gradient_accumulation_steps"].default


def test_paths_start_at_the_recipes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    content = {
        "model": {"path": "./model"},
        "warm_start": {"data": {"kind": "grades", "path": "warm"}},
        "stages": [
            {
                "name": "a",
                "task": "grading",
                "data": {"kind": "grades", "path": "../data"},
                "rewards": [{"name": "format"}],
                "knowledge": {"file": "k.yaml"},
            },
            changed(LABELS, data={"kind": "medmnist", "path": str(tmp_path / "x.npz")}),
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    made = load_recipe("deep/er/recipe.yaml")
    assert made.model.path == str(folder / "model")
    assert made.warm_start.data.path == folder / "warm"
    assert made.stages[0].data.path.resolve() == tmp_path / "deep" / "data"
    assert made.stages[0].knowledge.file == folder / "k.yaml"
    assert made.stages[1].data.path == tmp_path / "x.npz"


@pytest.mark.parametrize("name", ["tiny", "Qwen/Qwen2.5-VL-3B-Instruct"])
def test_hub_names_stay_what_they_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"model": {"path": name}, "stages": [LABELS]}))
    assert load_recipe(path).model.path == name


def test_overrides_win_and_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"stages": [LABELS]}))
    made = load_recipe(path, ["seed=7", "stages.0.grpo.max_steps=5", "model.lora.rank=8", "warm_start={}"])
    assert (made.seed, made.stages[0].grpo["max_steps"], made.model.lora, made.warm_start) == (
        7,
        5,
        LoraSettings(rank=8),
        WarmStartSettings(),
    )
    for wrong in ("stages.0.grpo.num_generations=7", "sead=1", "stages.3.name=x", "seed"):
        with pytest.raises(ConfigError):
            load_recipe(path, [wrong])


@pytest.mark.parametrize(
    "text", ["", "[]", "stages: 3", "stages: [3]", "stages: [{data: 3}]", "model: 3\nstages: []", "a: &x 1\nb: *x", "stages: ["]
)
def test_files_that_are_no_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_recipe(path)


RESIZED = changed(BOXES, prompts={"coordinates": "resized"})


def loaded(folder: Path, stage: dict[str, Any], **model: Any) -> Any:
    """The prompts of a recipe's only stage, read from a file."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"model": model, "stages": [stage]}))
    return load_recipe(path).stages[0].prompts


def processor(folder: Path, **values: Any) -> str:
    (folder / "model").mkdir()
    saved = {"patch_size": 16, "merge_size": 2, "min_pixels": 3136, "max_pixels": 12845056} | values
    (folder / "model" / "preprocessor_config.json").write_text(json.dumps(saved))
    return str(folder / "model")


def test_resized_boxes_are_asked_for_in_the_frame_of_the_models_own_processor(tmp_path: Path) -> None:
    model = processor(tmp_path)
    prompts = loaded(tmp_path, RESIZED, path=model)
    assert prompts.resize == Resize(patch_size=16, merge_size=2, min_pixels=3136, max_pixels=12845056)
    assert prompts.frame([2000, 1500]) == (1984, 1504)  # 62.5 multiples of 32 go to 62
    limited = loaded(tmp_path, RESIZED, path=model, max_pixels=401408)
    assert limited.resize == Resize(patch_size=16, merge_size=2, min_pixels=3136, max_pixels=401408)
    assert loaded(tmp_path, BOXES, path=model).max_pixels is None


def test_a_resize_that_contradicts_the_processor_or_is_not_known_is_refused(tmp_path: Path) -> None:
    model = processor(tmp_path)
    other = changed(BOXES, prompts={"coordinates": "resized", "max_pixels": 1003520})
    with pytest.raises(ConfigError, match=r"prompts\.max_pixels: is 1003520, but the model's processor has 12845056"):
        loaded(tmp_path, other, path=model)
    for path in ("tiny", "Qwen/Qwen2.5-VL-3B-Instruct"):
        with pytest.raises(ConfigError, match=r"how the processor of .* resizes images is not known here; set model\.min_pixels"):
            loaded(tmp_path, RESIZED, path=path)
        known = loaded(tmp_path, RESIZED, path=path, min_pixels=3136, max_pixels=401408)
        assert known.resize == Resize(min_pixels=3136, max_pixels=401408)
    assert loaded(tmp_path, changed(other, prompts=other["prompts"] | {"min_pixels": 3136})).max_pixels == 1003520


def test_other_names_of_units_are_no_contradiction() -> None:
    rewards = [{"name": "box_iou", "options": {"coordinates": "rel1000"}}]
    made = recipe(changed(BOXES, rewards=rewards, prompts={"coordinates": "norm1000"}))
    assert made.stages[0].rewards[0].options == {"coordinates": "rel1000"}
    with pytest.raises(ConfigError, match="asks for boxes in original and reads them as rel1000"):
        recipe(changed(BOXES, rewards=rewards, prompts={"coordinates": "original"}))
