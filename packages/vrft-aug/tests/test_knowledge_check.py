from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from medcore.errors import ConfigError
from vrft_aug.knowledge_check import check_knowledge
from vrft_aug.recipe import Recipe, load_recipe

Run = Callable[..., subprocess.CompletedProcess[str]]
ORIGIN = {"author": "A", "model": "none", "date": "2026-01-31", "licence": "CC0-1.0", "source": "B", "reviewer": "C"}
TEXTS = {
    "none": "both lungs are dark to the bottom",
    "mild": "fluid in less than a third of a lung",
    "moderate": "fluid in about half of a lung",
    "severe": "fluid in more than two thirds of a lung",
}
STAGE: dict[str, Any] = {
    "name": "reasoning",
    "task": "grading",
    "data": {
        "kind": "drawn-grades",
        "train": 40,
        "held_out": 30,
        "options": {"num_grades": 4, "sign": "fluid"},
        "classes": list(TEXTS),
    },
    "rewards": [{"name": "accuracy"}, {"name": "recitation", "weight": -0.2}],
    "knowledge": {"file": "knowledge.yaml"},
}


def written(folder: Path, *stages: dict[str, Any], **changes: Any) -> Path:
    content = {"task": "Chest film.", "classes": TEXTS, "provenance": ORIGIN, **changes}
    (folder / "knowledge.yaml").write_text(yaml.safe_dump(content))
    (folder / "recipe.yaml").write_text(json.dumps({"stages": list(stages) or [STAGE]}))
    return folder / "knowledge.yaml"


def recipe(folder: Path) -> Recipe:
    return load_recipe(folder / "recipe.yaml")


def codes(check: Any) -> list[str]:
    return [finding.code for finding in check.findings]


def test_good_knowledge_and_fair_prompts_have_no_findings(tmp_path: Path) -> None:
    found = check_knowledge(written(tmp_path), recipe(tmp_path))
    assert found.findings == []
    assert [(where, test.what, test.samples) for where, test in found.tests] == [
        ("reasoning, training", "prompt", 40),
        ("reasoning, held out", "prompt", 30),
    ]
    assert json.loads(json.dumps(found.as_dict()))["faults"] == 0


def test_texts_that_do_not_fit_the_data_are_findings_and_not_errors(tmp_path: Path) -> None:
    path = written(
        tmp_path, STAGE, STAGE | {"name": "again"}, classes={k: v for k, v in TEXTS.items() if k != "mild"} | {"odd": "a"}
    )
    found = check_knowledge(path, recipe(tmp_path))
    assert sorted(codes(found)) == ["missing-class", "no-attribute", "unknown-class"]
    assert found.tests == []
    assert codes(check_knowledge(path)) == ["no-attribute"]


def test_the_same_finding_of_two_stages_is_told_once(tmp_path: Path) -> None:
    path = written(tmp_path, STAGE, STAGE | {"name": "again"}, task="Answer mild.")
    found = check_knowledge(path, recipe(tmp_path))
    assert codes(found) == ["instruction"]
    assert found.faults == found.findings
    assert len(found.tests) == 4


def test_prompts_that_tell_the_label_are_found_through_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The readers here put nothing of a sample into its prompt, so one that does is made."""
    from vrft_aug.data import rows

    honest = rows.Form.row

    def telling(self: Any, dataset: Any, index: int, *others: Any) -> dict[str, Any]:
        row = honest(self, dataset, index, *others)
        row["prompt"][-1]["content"] += f" Ward {row['grade']}."
        return row

    monkeypatch.setattr(rows.Form, "row", telling)
    found = check_knowledge(written(tmp_path), recipe(tmp_path))
    assert codes(found) == ["prompt-tells-label"] * 2
    assert found.findings[0].where == "reasoning, training"


def test_a_recipe_without_the_file_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    other = tmp_path / "other.yaml"
    other.write_text((tmp_path / "knowledge.yaml").read_text())
    with pytest.raises(
        ConfigError, match=r"recipe: has no stage that injects .*other\.yaml; name the file as knowledge of a stage"
    ):
        check_knowledge(other, recipe(tmp_path))


def test_boxes_have_a_task_text_only(tmp_path: Path) -> None:
    boxes = STAGE | {"task": "localisation", "rewards": [{"name": "box_iou"}], "data": STAGE["data"] | {"classes": None}}
    found = check_knowledge(written(tmp_path, boxes), recipe(tmp_path))
    assert (found.findings, found.tests) == ([], [])


def test_the_demonstrations_own_knowledge_has_no_faults() -> None:
    import vrft_aug

    found = check_knowledge(Path(vrft_aug.__file__).parent / "demo_knowledge.yaml")
    assert codes(found) == ["no-reviewer"]


@pytest.mark.integration
def test_the_command_tells_findings_and_fails_on_faults(run_cli: Run, tmp_path: Path) -> None:
    path = written(tmp_path, provenance={k: v for k, v in ORIGIN.items() if k != "reviewer"})
    warned = run_cli("knowledge", "lint", path)
    assert warned.returncode == 0, warned.stderr
    assert warned.stdout.splitlines()[-1] == "0 faults, 1 warnings"
    assert warned.stdout.startswith("warning no-reviewer: provenance.reviewer: is missing")
    tested = run_cli("knowledge", "lint", path, "--recipe", tmp_path / "recipe.yaml", "--set", "stages.0.data.train=25")
    assert tested.returncode == 0, tested.stderr
    assert "reasoning, training: the prompt gives" in tested.stdout
    assert "of 25 labels without the image" in tested.stdout

    bad = written(tmp_path, task="Answer severe.")
    failed = run_cli("knowledge", "lint", bad, "--json")
    assert failed.returncode == 8
    assert failed.stderr == f"error: {bad}: has 1 faults; see the list\n"
    facts = json.loads(failed.stdout)
    assert (facts["faults"], facts["warnings"], facts["findings"][0]["code"]) == (1, 0, "instruction")


@pytest.mark.integration
def test_the_command_refuses_what_it_cannot_read(run_cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("task: Chest film.\n")
    for arguments, words in (
        ((path,), "provenance: is required and missing; add this key"),
        ((tmp_path / "none.yaml",), "none.yaml: cannot be read"),
        ((written(tmp_path), "--set", "a=1"), "--set: changes a recipe, and none is given; add --recipe"),
    ):
        refused = run_cli("knowledge", "lint", *arguments)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_the_check_does_not_change_the_recipe(tmp_path: Path) -> None:
    written(tmp_path)
    made = recipe(tmp_path)
    check_knowledge(tmp_path / "knowledge.yaml", made)
    assert made == recipe(tmp_path) == replace(made)
