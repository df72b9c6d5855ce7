from __future__ import annotations

from pathlib import Path

import pytest

from medcore.errors import ConfigError
from vrft_aug.planning import plan
from vrft_aug.recipe import load_recipe
from vrft_aug.templates import TEMPLATES, template


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_recipe_begins_with_its_own_command_line_and_loads(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "my recipe.yaml"
    path.write_text(template(kind, recipe=path.name, data='/data/with "quotes" and \\ in it'))
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert path.read_text().startswith("#")
    assert any(f"vrft-aug train {path.name} -o" in line for line in comments)
    made = load_recipe(path)
    paths = [s.data.path for s in made.stages if s.data.path]
    assert all(str(p).startswith('/data/with "quotes" and \\ in it') for p in paths)
    assert made.model.path == "tiny"


def test_every_override_in_the_comments_works(tmp_path: Path) -> None:
    for kind in TEMPLATES:
        path = tmp_path / f"{kind}.yaml"
        path.write_text(template(kind))
        overrides = [word for line in path.read_text().splitlines() if "--set" in line for word in line.split() if "=" in word]
        assert overrides
        made = load_recipe(path, overrides)
        assert all(s.grpo["max_steps"] == 10 for s in made.stages)


def test_the_recipe_without_data_can_be_planned(tmp_path: Path) -> None:
    path = tmp_path / "scans.yaml"
    path.write_text(template("scans"))
    facts = plan(load_recipe(path, ["stages.0.data.train=32", "stages.0.data.held_out=8"]))
    assert facts["stages"][0]["train_images"] == 32
    assert facts["warm_start"]["missed_class"] in facts["stages"][0]["question"]


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'grades'"):
        template("grade")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("kind", "data", "stages"),
    [
        ("pneumonia", "pneumoniamnist/pneumoniamnist_train_val.npz", [("classification", 1000, 256)]),
        ("grades", "idrid-fundus/grading", [("grading", None, None)]),
        ("boxes", "idrid-fundus", [("localisation", 15, 5), ("grading", None, None)]),
    ],
)
def test_recipes_can_be_planned_on_real_data(
    tmp_path: Path, data_root: Path, kind: str, data: str, stages: list[tuple[str, int | None, int | None]]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(template(kind, data=str(data_root / data)))
    facts = plan(load_recipe(path))
    assert [s["task"] for s in facts["stages"]] == [task for task, _, _ in stages]
    for found, (_, train, held_out) in zip(facts["stages"], stages, strict=True):
        assert train in (None, found["train_images"])
        assert held_out in (None, found["held_out_images"])
    if kind != "boxes":
        assert any("were removed" in note for note in facts["stages"][0]["notes"])
