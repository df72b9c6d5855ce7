from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.parsing import has_format, read_boxes, read_grade, read_label
from vrft_aug.prompts import PromptSettings, messages, question, target, write_boxes
from vrft_aug.rewards import Accuracy, BoxIou, Format, MultiGradeFuzzy

CLASSES = ["normal", "nodule", "effusion"]
FRAMES = st.sampled_from([(1.0, 1.0), (16.0, 16.0), (100.0, 100.0), (1000.0, 1000.0), (640.0, 480.0)])


@pytest.mark.parametrize("style", ["full", "short"])
def test_a_question_names_all_choices(style: Any) -> None:
    settings = PromptSettings(style=style)
    for task in ("classification", "grading"):
        text = question(task, settings, classes=CLASSES)
        assert all(name in text for name in CLASSES)
    assert "optic disc" in question("localisation", settings, thing="optic disc")
    assert "finding" in question("localisation", settings)


def test_short_questions_are_short_and_full_ones_explain_the_format() -> None:
    for task in ("classification", "grading", "localisation"):
        short, full = (question(task, PromptSettings(style=style), classes=CLASSES) for style in ("short", "full"))
        assert len(short) < 50
        assert all(tag in full for tag in ("<think>", "</think>", "<answer>", "</answer>"))
        assert "<" not in short


def test_an_own_question_replaces_the_built_in_one_and_keeps_the_format() -> None:
    settings = PromptSettings(question="Is this lung ill?")
    text = question("classification", settings, classes=CLASSES)
    assert text.startswith("Is this lung ill?")
    assert "effusion" in text
    assert "<answer>" in text
    assert question("classification", PromptSettings(style="short", question="Ill?"), classes=CLASSES) == "Ill?"


def test_choices_with_commas_are_told_apart() -> None:
    assert "malignant; odd or normal, benign" in question(
        "classification", PromptSettings(), classes=["malignant", "odd", "normal, benign"]
    )


@pytest.mark.parametrize(
    ("units", "words"),
    [
        ("norm1000", "0 to 1000"),
        ("rel1000", "0 to 1000"),
        ("norm16", "0 to 16"),
        ("pixel", "pixels"),
        ("original", "pixels"),
        ("resized", "pixels"),
        ("norm1", "shares"),
        ("rel1", "shares"),
    ],
)
def test_units_of_boxes_are_stated(units: str, words: str) -> None:
    assert words in question("localisation", PromptSettings(coordinates=units))


def test_where_knowledge_stands() -> None:
    assert messages("Q") == [{"role": "user", "content": "Q"}]
    assert messages("Q", "K") == [{"role": "user", "content": "K\nQ"}]
    assert messages("Q", "K", "after") == [{"role": "user", "content": "Q\nK"}]
    assert messages("Q", "K", "system") == [{"role": "system", "content": "K"}, {"role": "user", "content": "Q"}]


@pytest.mark.parametrize("label", CLASSES)
def test_a_written_answer_earns_full_rewards(label: str) -> None:
    row = {"task": "classification", "label": label, "classes": CLASSES}
    text = target(row)
    assert has_format(text)
    assert read_label(text, CLASSES) == label
    assert Accuracy()(prompts=[""], completions=[text], label=[label], classes=[CLASSES]) == [1.0]


@pytest.mark.parametrize(
    "names", [["none", "mild", "severe"], ["grade 0", "grade 1", "grade 2"], ["ISUP 1", "ISUP 2", "ISUP 3"], None]
)
@pytest.mark.parametrize("grade", [0, 1, 2])
def test_a_written_grade_earns_full_rewards(names: list[str] | None, grade: int) -> None:
    text = target({"task": "grading", "label": None, "classes": names, "grade": grade})
    assert read_grade(text, names or 3) == grade
    assert Format()(prompts=[""], completions=[text]) == [1.0]
    assert MultiGradeFuzzy()(prompts=[""], completions=[text], grade=[grade], classes=[names], num_grades=[3]) == [1.0]


@given(
    st.lists(st.tuples(*[st.floats(0, 0.85)] * 2, *[st.floats(0.1, 0.15)] * 2), max_size=4),
    FRAMES,
    st.integers(56, 3000),
    st.integers(56, 3000),
)
def test_written_boxes_overlap_the_truth(shares: list[Any], extent: tuple[float, float], width: int, height: int) -> None:
    boxes = [[x * width, y * height, (x + w) * width, (y + h) * height] for x, y, w, h in shares]
    text = target({"task": "localisation", "boxes": boxes, "image_size": [width, height], "box_frame": list(extent)})
    assert has_format(text)
    written = read_boxes(text)
    assert len(written) == len(boxes)
    assert all(0 <= x0 < x1 <= extent[0] and 0 <= y0 < y1 <= extent[1] for x0, y0, x1, y1 in written)
    (score,) = BoxIou()(prompts=[""], completions=[text], boxes=[boxes], image_size=[[width, height]], box_frame=[list(extent)])
    assert score > (0.15 if extent == (16.0, 16.0) else 0.75)


def test_a_box_never_loses_its_extent_or_leaves_the_image() -> None:
    assert write_boxes([[3.4, 3.4, 3.6, 3.6]], (16, 16)) == "[3, 3, 4, 4]"
    assert write_boxes([[15.9, 15.9, 16, 16]], (16, 16)) == "[15, 15, 16, 16]"
    assert write_boxes([[0.1, 0.2, 0.30004, 0.4]], (1, 1)) == "[0.100, 0.200, 0.300, 0.400]"
    assert write_boxes([], (16, 16)) == "[]"
    assert write_boxes([[0, 0, 1, 1], [2, 2, 3, 3]], (16, 16)) == "[[0, 0, 1, 1], [2, 2, 3, 3]]"


def test_unknown_units_are_refused() -> None:
    with pytest.raises(ConfigError, match="'feet' is unknown"):
        PromptSettings(coordinates="feet")
