"""Thorough runs: nothing that a model writes may raise, and no trick may pay (``nox -s property``)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrft_aug.parsing import parse_boxes, parse_grade, parse_label, read_label
from vrft_aug.rewards import Accuracy, BoxIou, Calibration, Format, Length, MultiGradeFuzzy, Recitation, TightenSettings, guard

pytestmark = pytest.mark.property

# Pieces of answers, put together at random, reach far deeper than random letters.
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
WORDS = (
    "normal",
    "pneumonia",
    "abnormal",
    "no ",
    "not ",
    "without ",
    "but ",
    " or ",
    "n't ",
    "non-",
    "absent",
    "grade ",
    "option ",
)
SIGNS = (
    ", ",
    ". ",
    "\n",
    "A)",
    "(b) ",
    "2",
    "-1",
    "3.5",
    "[",
    "]",
    "0, 0, 10, 10",
    "1e999",
    "nan",
    "\ud800",
    "\u202e",
    "\x00",
    ":",
    "?",
)
PIECES = st.sampled_from([*TAGS, *WORDS, *SIGNS])
WRITTEN = st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=200)
ANSWERED = WRITTEN.map(lambda text: f"<think>clear lungs</think><answer>{text}</answer>")
CLASSES = ("normal", "abnormal", "pneumonia", "no finding", "a", "B", "left lung", "grade 1")
NAMES = st.lists(st.sampled_from(CLASSES), max_size=5, unique=True)
ROW: dict[str, Any] = {
    "label": "normal",
    "classes": ["normal", "pneumonia"],
    "grade": 1,
    "num_grades": 5,
    "boxes": [[1.0, 2.0, 30.0, 40.0]],
    "image_size": [64, 48],
    "knowledge": "normal: clear lungs",
    "labels": ["normal"],
    "value": 2.5,
}
REWARDS = [
    Format(),
    Format(think=False, strict=False),
    Accuracy(negative="normal"),
    Accuracy(form="any", beta=2.0, tolerance=0.1, fade=0.5, relative=True),
    Calibration(negative="normal", abstain_below=0.3),
    Calibration(score="log", form="line"),
    Length(low=3, high=9),
    Length(unit="characters"),
    MultiGradeFuzzy(under=0.5),
    Recitation(),
    Recitation(similarity="chrf"),
    Recitation(similarity="rouge_l"),
    Recitation(similarity="token_f1", span="all", soft_threshold=0.2),
    Recitation(similarity="chrf", span="answer"),
    BoxIou(),
    BoxIou(coordinates="resized", tighten=TightenSettings()),
    BoxIou(score="giou"),
    BoxIou(score="f1"),
]


@given(st.lists(WRITTEN | ANSWERED, min_size=1, max_size=4))
def test_rewards_are_shares_of_whatever_is_written(texts: list[str]) -> None:
    columns = {name: [value] * len(texts) for name, value in ROW.items()}
    for reward in REWARDS:
        values = reward(prompts=[""] * len(texts), completions=texts, **columns)
        assert len(values) == len(texts)
        assert all(value is not None and 0 <= value <= 1 for value in values), reward


@given(WRITTEN, NAMES)
def test_names_are_read_the_same_with_more_space_and_other_case(text: str, classes: list[str]) -> None:
    found = parse_label(text, classes)
    assert found in (None, *classes)
    if text.strip() not in classes and len({c.casefold() for c in classes}) == len(classes):
        assert parse_label(f"  {text.upper()} ", classes) == parse_label(f"  {text.lower()} ", classes)


@given(st.lists(st.sampled_from(["nodule", "effusion", "mass"]), min_size=1, max_size=3, unique=True), WRITTEN)
def test_a_class_that_is_not_written_is_not_read(classes: list[str], text: str) -> None:
    if not any(name in text.casefold() for name in classes):
        assert parse_label(text, classes, letters=False) is None


@given(WRITTEN)
def test_what_stands_before_the_answer_never_changes_it(text: str) -> None:
    if "think>" not in text:
        assert read_label(f"{text}<answer>normal</answer>", ["normal", "pneumonia"]) == "normal"


@given(WRITTEN, st.integers(1, 12))
def test_grades_are_grades(text: str, total: int) -> None:
    assert parse_grade(text, total) in (None, *range(total))
    assert parse_grade(text, [f"grade {i}" for i in range(total)]) in (None, *range(total))


@given(WRITTEN)
def test_boxes_are_ordered_and_finite(text: str) -> None:
    for box in parse_boxes(text) or []:
        assert all(map(math.isfinite, box))
        assert box[0] <= box[2]
        assert box[1] <= box[3]


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JUNK = PLAIN | st.lists(PLAIN, max_size=4)


@given(st.dictionaries(st.sampled_from(sorted(ROW)), JUNK), ANSWERED)
def test_columns_of_any_type_cannot_stop_a_guarded_reward(row: dict[str, Any], text: str) -> None:
    columns = {name: [value, ROW[name]] for name, value in row.items()}
    for plain in REWARDS:
        values = guard(plain)(prompts=["", ""], completions=[text, text], **columns)
        assert len(values) == 2
        assert all(value is None or math.isfinite(value) for value in values)
