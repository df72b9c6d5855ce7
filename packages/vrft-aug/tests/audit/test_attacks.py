"""Attacks: what they deserve is stated, and none of them is a right answer in disguise."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from made_rows import KNOWLEDGE, classification, grading, localisation

from medcore.metrics import iou
from vrft_aug import coordinates, parsing
from vrft_aug.audit.attacks import ATTACKS, RIGHT, ROUGH, SPELLED, WRONG, attempts

SKIN = ("actinic keratosis", "basal cell carcinoma", "melanoma", "nevus")
ROWS = [
    *(classification(label, knowledge=KNOWLEDGE) for label in ("normal", "pneumonia")),
    *(classification(label, SKIN) for label in SKIN),
    *(grading(grade) for grade in range(5)),
    *(grading(grade, classes=["none", "mild", "moderate", "severe", "proliferative"]) for grade in range(5)),
    localisation((10, 20, 50, 60)),
    localisation((0, 0, 20, 20), (150, 50, 200, 100)),
    localisation(),
]


def test_every_attack_is_made_somewhere_and_nothing_else() -> None:
    made = {a.kind for row in ROWS for a in attempts(row)}
    assert made == {*ATTACKS, RIGHT, WRONG, ROUGH, SPELLED}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['task']} {row['label'] or row['grade'] or row['boxes']}")
def test_attacks_are_measured_against_honest_answers(row: dict[str, Any]) -> None:
    plan = attempts(row)
    honest = {a.completion for a in plan if a.kind not in ATTACKS}
    assert all(parsing.has_format(text) for text in honest)
    assert [a.kind for a in plan].count(RIGHT) == 1
    for attempt in plan:
        assert (attempt.deserves in honest) if attempt.kind in ATTACKS else attempt.deserves is None


@pytest.mark.parametrize("row", [r for r in ROWS if r["task"] != "localisation"], ids=lambda r: f"{r['label'] or r['grade']}")
def test_right_and_wrong_are_what_they_say(row: dict[str, Any]) -> None:
    names = row["classes"] or [str(i) for i in range(5)]
    truth = row["label"] or names[row["grade"]]
    answers = {a.kind: parsing.answer_text(a.completion) for a in attempts(row) if a.kind in (RIGHT, WRONG)}
    assert answers[RIGHT] == truth
    assert answers[WRONG] in set(names) - {truth}
    if row["grade"] is not None:  # as far from the truth as it can be
        assert abs(names.index(str(answers[WRONG])) - row["grade"]) >= 2


def test_boxes_right_rough_and_wrong() -> None:
    for row in ROWS:
        if row["task"] == "localisation" and row["boxes"]:
            kinds = {a.kind: a.completion for a in attempts(row)}
            stated = {
                k: coordinates.convert(parsing.read_boxes(kinds[k]) or [], row["box_frame"], row["image_size"]) for k in kinds
            }
            assert iou(row["boxes"], stated[RIGHT]).max(axis=1).min() > 0.97
            assert 0.5 < iou(row["boxes"], stated[ROUGH]).max(axis=1).min() < 0.65
            assert iou(row["boxes"], stated[WRONG]).max() == 0


def test_a_box_around_most_of_the_image_is_no_attack_where_it_is_nearly_right() -> None:
    assert "giant-box" not in {a.kind for a in attempts(localisation((5, 5, 195, 95)))}


def test_a_letter_that_names_the_right_option_is_no_attack() -> None:
    for label, row in itertools.product(("a wart", "b wart"), [("a wart", "b wart")]):
        parts = [parsing.answer_text(a.completion) for a in attempts(classification(label, row)) if a.kind == "substring"]
        assert label[0] not in parts
        assert f"ab{label}" in parts


def test_parts_of_numbers_are_left_alone() -> None:
    named = [f"grade {i}" for i in range(5)]
    assert not {"substring", "unicode-lookalike"} & {a.kind for a in attempts(grading(2, classes=named))}
