from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medcore.config import from_mapping
from medcore.errors import ConfigError
from vrft_aug.planning import plan
from vrft_aug.recipe import Recipe


def recipe(grpo: dict[str, Any], rewards: list[dict[str, Any]] | None = None, knowledge: Any = None, **other: Any) -> Recipe:
    stage = {
        "name": "reasoning",
        "task": "classification",
        "data": {"kind": "drawn-scans", "train": 40, "held_out": 12},
        "rewards": rewards or [{"name": "accuracy"}, {"name": "format", "weight": 0.5}],
        "grpo": {"per_device_train_batch_size": 16, "num_generations": 4} | grpo,
    }
    return from_mapping(Recipe, {"stages": [stage | ({"knowledge": knowledge} if knowledge else {})], **other})


def stage(*arguments: Any, **settings: Any) -> dict[str, Any]:
    return plan(recipe(*arguments, **settings))["stages"][0]


def test_a_plan_counts_images_prompts_and_completions() -> None:
    facts = plan(recipe({"max_steps": 5}))
    json.dumps(facts, allow_nan=False)
    first = facts["stages"][0]
    assert (first["train_images"], first["held_out_images"], first["removed_duplicates"]) == (40, 12, 0)
    assert (first["steps"], first["rounds"], first["prompts_per_round"], first["completions_per_round"]) == (5, 5, 4, 16)
    assert first["completions"] == facts["completions"] == 80
    assert [(r["name"], r["weight"]) for r in first["rewards"]] == [("accuracy", 1.0), ("format", 0.5)]
    assert "normal, nodule, effusion or fracture" in first["question"]
    assert facts["warm_start"] is None


@pytest.mark.parametrize(
    ("grpo", "processes", "steps", "rounds", "completions"),
    [
        ({"num_train_epochs": 2}, 1, 20, 20, 320),
        ({}, 1, 30, 30, 480),
        ({"max_steps": 4, "gradient_accumulation_steps": 2}, 1, 4, 4, 128),
        ({"max_steps": 4, "num_iterations": 2}, 1, 4, 2, 32),
        ({"max_steps": 5, "num_iterations": 2}, 1, 5, 3, 48),
        ({"max_steps": 4, "steps_per_generation": 4}, 1, 4, 1, 64),
        ({"max_steps": 4}, 2, 4, 4, 128),
    ],
)
def test_rounds_of_generation(grpo: dict[str, Any], processes: int, steps: int, rounds: int, completions: int) -> None:
    facts = stage(grpo, processes=processes)
    assert (facts["steps"], facts["rounds"], facts["completions"]) == (steps, rounds, completions)


def test_a_round_cannot_need_more_images_than_there_are() -> None:
    with pytest.raises(ConfigError, match="asks for 41 images a round, but there are 40"):
        stage({"per_device_train_batch_size": 164})


def test_rewards_are_made_to_see_that_they_can_be() -> None:
    with pytest.raises(ConfigError, match="negativ: is unknown"):
        stage({}, [{"name": "accuracy", "options": {"negativ": "normal"}}])
    with pytest.raises(ConfigError, match="reward 'mine': is not one of"):
        stage({}, [{"name": "mine"}])


def test_notes_say_what_a_reader_should_know(tmp_path: Path) -> None:
    path = tmp_path / "k.yaml"
    path.write_text("task: Chest films.\nprovenance: {author: A, model: none, date: 2026-01-31, licence: CC0-1.0}\n")
    facts = stage({}, [{"name": "accuracy"}, {"name": "recitation", "weight": -0.2}], {"file": str(path), "placement": "system"})
    assert any("recitation without format" in note for note in facts["notes"])
    assert facts["knowledge"]["provenance"]["author"] == "A"
    assert facts["prompt"][0] == {"role": "system", "content": "Chest films."}
    assert any("format alone" in note for note in stage({}, [{"name": "format"}])["notes"])
    assert stage({})["notes"] == []
