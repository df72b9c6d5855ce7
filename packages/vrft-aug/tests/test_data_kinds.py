"""Rows from folders of classes, COCO, DICOM, questions and prepared data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import makers as m
import numpy as np
import pytest

from medcore.errors import ConfigError, InputError
from vrft_aug.data import DataSettings, load_parts
from vrft_aug.prompts import PromptSettings, target
from vrft_aug.recipe import RewardSettings, StageSettings


def stage(kind: str, path: Path, task: str = "classification", style: str = "full", **data: Any) -> StageSettings:
    return StageSettings(
        name="one",
        task=task,
        data=DataSettings(kind=kind, path=path, **data),
        rewards=(RewardSettings(name="format"),),
        prompts=PromptSettings(style=style),
    )


@pytest.mark.parametrize("make", [m.table, m.tree])
def test_a_folder_of_classes(tmp_path: Path, make: Any) -> None:
    parts = load_parts(stage("folder", make(tmp_path / "d"), fraction=0.5))
    rows = [*parts.train, *parts.held_out]
    assert len(rows) == 6
    assert {row["label"] for row in rows} == {"cyst", "stone"}
    assert all(row["classes"] == ["cyst", "stone"] for row in rows)
    assert "cyst or stone" in rows[0]["prompt"][-1]["content"]


def test_classes_in_rising_order_are_grades(tmp_path: Path) -> None:
    folder = m.table(tmp_path / "d", ["mild", "severe"] * 4)
    data: dict[str, Any] = {"classes": ("mild", "severe"), "options": {"ordered": True}}
    rows = load_parts(stage("folder", folder, "grading", **data)).train
    assert all(row["grade"] == ["mild", "severe"].index(row["label"]) for row in rows)
    with pytest.raises(ConfigError, match="without an order"):
        load_parts(stage("folder", folder, "grading"))


def test_several_classes_an_image_are_refused(tmp_path: Path) -> None:
    folder = m.table(tmp_path / "d", ["cyst|stone", "stone"] * 3)
    with pytest.raises(ConfigError, match="several classes for each image"):
        load_parts(stage("folder", folder, options={"separator": "|"}))


def test_parts_that_a_table_states_are_used(tmp_path: Path) -> None:
    folder = m.table(tmp_path / "d", ["cyst", "stone"] * 3)
    lines = (folder / "labels.csv").read_text().splitlines()
    parts = ["split", *["training"] * 3, "valid", "valid", "test"]
    (folder / "labels.csv").write_text("".join(f"{line},{part}\n" for line, part in zip(lines, parts, strict=True)))
    found = load_parts(stage("folder", folder))
    assert found.train["sample_id"] == ["a0.png", "a1.png", "a2.png"]
    assert found.held_out["sample_id"] == ["a3.png", "a4.png"]
    assert load_parts(stage("folder", folder, held_out_split="test")).held_out["sample_id"] == ["a5.png"]
    with pytest.raises(ConfigError, match=r"extra is asked for, and the parts of d are training, valid, test"):
        load_parts(stage("folder", folder, held_out_split="extra"))


def test_coco_boxes_are_corners_in_pixels(tmp_path: Path) -> None:
    parts = load_parts(stage("coco", m.coco(tmp_path / "d", [[1, 2, 3, 4]] * 4), "localisation", fraction=0.5))
    assert [row["boxes"] for row in [*parts.train, *parts.held_out]] == [[[1, 2, 4, 6]]] * 4
    assert "every cell" in parts.train[0]["prompt"][-1]["content"]


def test_films_in_a_window(tmp_path: Path) -> None:
    parts = load_parts(stage("dicom", m.films(tmp_path / "d", modality="CT"), options={"window": "bone"}, fraction=0.4))
    rows = [*parts.train, *parts.held_out]
    assert {row["label"] for row in rows} == {"normal", "nodule"}
    assert not set(parts.train["subject"]) & set(parts.held_out["subject"])
    assert all(row["subject"].startswith("patient-") for row in rows)
    assert any("centre 400, width 1800" in note for note in parts.card["notes"])


def test_an_unknown_window_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'lung'"):
        load_parts(stage("dicom", m.films(tmp_path / "d", modality="CT"), options={"window": "lungs"}))


def test_closed_questions_are_classification_with_their_own_choices(tmp_path: Path) -> None:
    side = {"question": "Which side?", "choices": ["left", "right", "both"]}
    lines = [m.asked(i, "Yes" if i % 2 else "no") for i in range(3)] + [m.asked(i, "left", **side) for i in range(3, 6)]
    parts = load_parts(stage("vqa", m.vqa(tmp_path / "d", *lines), fraction=0.5))
    rows = [*parts.train, *parts.held_out]
    assert len(rows) == 6
    for row in rows:
        assert row["label"] in row["classes"]
        asked = row["prompt"][-1]["content"]
        assert asked.startswith("Which side?" if len(row["classes"]) == 3 else "Is there fluid?")
        assert ("left, right or both" if len(row["classes"]) == 3 else "yes or no") in asked
        assert f"<answer>{row['label']}</answer>" in target(row)
    short = load_parts(stage("vqa", tmp_path / "d", style="short", fraction=0.5)).train
    assert {row["prompt"][-1]["content"] for row in short} <= {"Is there fluid? yes or no?", "Which side? left, right or both?"}


def test_open_questions_are_refused_or_skipped(tmp_path: Path) -> None:
    lines = [m.asked(i) for i in range(4)] + [m.asked(4, "a nodule of 3 cm", "What is seen?")]
    folder = m.vqa(tmp_path / "d", *lines)
    with pytest.raises(InputError, match=r"question questions-000005: is open: .*no reward here can judge.*open_questions"):
        load_parts(stage("vqa", folder))
    parts = load_parts(stage("vqa", folder, options={"open_questions": "skip"}, fraction=0.5))
    assert len(parts.train) + len(parts.held_out) == 4
    with pytest.raises(ConfigError, match="use refuse or skip"):
        load_parts(stage("vqa", folder, options={"open_questions": "guess"}))


def test_answers_to_questions_with_different_choices_are_measured(tmp_path: Path) -> None:
    from vrft_aug.evaluation import judge, measure
    from vrft_aug.evaluation.policy import _names
    from vrft_aug.recipe import EvaluationSettings

    lines = [m.asked(0), m.asked(1, "no"), m.asked(2, "left", "Which side?", choices=["left", "right"]), m.asked(3)]
    rows = load_parts(stage("vqa", m.vqa(tmp_path / "d", *lines), fraction=0.5)).train
    facts = list(rows.remove_columns("image"))
    assert set(_names(facts)) == {name for row in facts for name in row["classes"]}
    found = measure([judge(r, target(r)) for r in facts], "classification", _names(facts), EvaluationSettings(), name="x")
    assert found.metrics["accuracy"].value == 1


def test_an_image_of_a_held_out_question_is_not_trained_on(tmp_path: Path) -> None:
    lines = [m.asked(i // 2, "yes", f"Question {i}?") for i in range(12)]
    parts = load_parts(stage("vqa", m.vqa(tmp_path / "d", *lines), fraction=0.3))
    pixels = [{np.asarray(image).tobytes() for image in rows["image"]} for rows in (parts.train, parts.held_out)]
    assert not pixels[0] & pixels[1]
    assert parts.removed > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "vqa", "classes": ("a", "b")}, "own choices"),
        ({"kind": "folder", "box_class": "x"}, "has no boxes"),
        ({"kind": "coco"}, "is missing for kind coco"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    path = None if settings["kind"] == "coco" else tmp_path
    with pytest.raises(ConfigError, match=words):
        DataSettings(path=path, **settings)


def test_a_folder_that_is_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no card\.json"):
        load_parts(stage("prepared", m.table(tmp_path / "d")))


def test_a_task_that_a_kind_cannot_serve(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="coco serves localisation"):
        stage("coco", tmp_path, "grading")
