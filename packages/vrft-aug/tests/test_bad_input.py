"""Data that cannot be right, from the file to the reward: each is refused with a sentence, mended and told, or not judged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcore.errors import ConfigError, InputError
from vrft_aug.data import DataSettings, load_parts
from vrft_aug.knowledge import load_knowledge
from vrft_aug.prompts import PromptSettings
from vrft_aug.rewards import Accuracy, MultiGradeFuzzy

VOC = "<annotation><filename>{name}.png</filename><object><name>cell</name><bndbox>{box}</bndbox></object></annotation>"


def stage(kind: str, path: Path, task: str, **data: Any) -> Any:
    settings = DataSettings(kind=kind, path=path, **data)
    return SimpleNamespace(data=settings, task=task, knowledge=None, prompts=PromptSettings())


def blood(folder: Path, rng: np.random.Generator, box: tuple[float, ...]) -> Any:
    """Eight images of 40 x 30 pixels with a box each, one of them `box`."""
    (folder / "Annotations").mkdir()
    (folder / "JPEGImages").mkdir()
    for i in range(8):
        corners = box if i == 3 else (2, 3, 20, 25)
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(folder / "JPEGImages" / f"b{i}.png")
        tags = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
        (folder / "Annotations" / f"b{i}.xml").write_text(VOC.format(name=f"b{i}", box=tags))
    return stage("voc", folder, "localisation")


def test_a_box_outside_its_image_is_refused_and_named(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(
        InputError, match=r"b3\.xml: has the box cell \(50, 5, 60, 20\) outside its image of 40 x 30 pixels; correct"
    ):
        load_parts(blood(tmp_path, rng, (50, 5, 60, 20)))


def test_a_box_with_swapped_corners_is_refused_and_named(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match=r"b3\.xml: has the box cell \(20, 5, 10, 20\) whose corners are swapped"):
        load_parts(blood(tmp_path, rng, (20, 5, 10, 20)))


def test_a_box_beyond_the_border_is_cut_and_told(tmp_path: Path, rng: np.random.Generator) -> None:
    parts = load_parts(blood(tmp_path, rng, (30, 5, 55, 20)))
    boxes = {row["sample_id"]: row["boxes"] for rows in (parts.train, parts.held_out) for row in rows}
    assert boxes["b3"] == [[30.0, 5.0, 40.0, 20.0]]
    assert parts.card["faults"] == [
        "b3.xml: the box cell (30, 5, 55, 20) reaches beyond the image of 40 x 30 pixels and is cut at its border"
    ]


def graded(folder: Path, rng: np.random.Generator, grades: list[Any]) -> Path:
    (folder / "images").mkdir()
    lines = ["image,grade"]
    for i, grade in enumerate(grades):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(folder / "images" / f"eye{i}.png")
        lines.append(f"eye{i},{grade}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(("grade", "words"), [("severe", "severe"), ("-1", "-1"), ("2.5", "2.5"), ("9", "9")])
def test_an_unknown_grade_in_a_table_is_refused_and_named(tmp_path: Path, rng: np.random.Generator, grade: str, words: str) -> None:
    folder = graded(tmp_path, rng, [0, 1, 2, grade, 0, 1, 2, 0])
    with pytest.raises(InputError, match=words):
        load_parts(stage("grades", folder, "grading", classes=("none", "mild", "severe disease")))


@pytest.mark.parametrize("label", ["effusion", "", "Normal", 1])
def test_a_label_that_is_no_class_cannot_be_judged(label: Any) -> None:
    texts = ["<answer>normal</answer>", "<answer>effusion</answer>", ""]
    columns = {"label": [label] * 3, "classes": [["normal", "pneumonia"]] * 3}
    assert Accuracy()(prompts=[""] * 3, completions=texts, **columns) == [None] * 3


def test_a_grade_beyond_the_scale_cannot_be_judged() -> None:
    columns = {"grade": [7, -1], "num_grades": [5, 5]}
    assert MultiGradeFuzzy()(prompts=[""] * 2, completions=["<answer>4</answer>"] * 2, **columns) == [None, None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: a text", "provenance: is required and missing; add this key"),
        ("task: a text\nprovenance: me", "provenance"),
        ("task: a text\nprovenance: {}", r"provenance\.author: is required and missing"),
        ("task: a text\nprovenance: {author: A, model: none, licence: CC0-1.0}", r"provenance\.date: is required and missing"),
        (
            "task: a text\nprovenance: {author: ' ', model: none, date: 2026-01-01, licence: CC0-1.0}",
            r"provenance\.author: is empty; say where the knowledge comes from",
        ),
    ],
)
def test_knowledge_without_provenance_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "knowledge.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as refused:
        load_knowledge(path)
    assert "knowledge.yaml" in str(refused.value) or "provenance" in str(refused.value)
