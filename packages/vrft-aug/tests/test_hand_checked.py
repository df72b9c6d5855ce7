"""Completions read by hand: for each, what someone who knows the field would take it to say, and if nothing, why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vrft_aug.parsing import (
    Reading,
    Reason,
    explain_boxes,
    explain_grade,
    explain_label,
    explain_labels,
    explain_number,
    read_boxes,
    read_grade,
    read_label,
    read_labels,
    read_number,
)

TABLES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((Path(__file__).parent / "hand_checked").glob("*.yaml"))}
_REPEATED = re.compile(r"\{([^{}]+)\}\*(\d+)")
ROWS = [
    pytest.param(table, expected, why, _REPEATED.sub(lambda m: m[1] * int(m[2]), text), id=f"{name}-{text[:60]}")
    for name, table in TABLES.items()
    for expected, why, text in table["rows"]
]
Reader = Callable[[Any, dict[str, Any]], Any]
EXPLAIN: dict[str, Reader] = {
    "label": lambda c, t: explain_label(c, t["classes"], t.get("synonyms"), negative=t.get("negative")),
    "labels": lambda c, t: explain_labels(c, t["classes"], t.get("synonyms")),
    "grade": lambda c, t: explain_grade(c, t["classes"], t.get("synonyms")),
    "boxes": lambda c, t: explain_boxes(c),
    "number": lambda c, t: explain_number(c),
}
READ: dict[str, Reader] = {
    "label": lambda c, t: read_label(c, t["classes"], t.get("synonyms"), negative=t.get("negative")),
    "labels": lambda c, t: read_labels(c, t["classes"], t.get("synonyms")),
    "grade": lambda c, t: read_grade(c, t["classes"], t.get("synonyms")),
    "boxes": lambda c, t: read_boxes(c),
    "number": lambda c, t: read_number(c),
}


def shaped(task: str, value: Any) -> Any:
    if task == "labels" and value is not None:
        return frozenset(value)
    return [tuple(map(float, box)) for box in value] if task == "boxes" and value is not None else value


@pytest.mark.parametrize(("table", "expected", "why", "text"), ROWS)
def test_what_is_read_and_why_not(table: dict[str, Any], expected: Any, why: str | None, text: str) -> None:
    task = table["task"]
    reading = EXPLAIN[task](text, table)
    assert reading == Reading(shaped(task, expected), None if why is None else Reason[why.upper()])
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]
    assert READ[task](messages, table) == shaped(task, expected)


def test_the_tables_are_large_and_have_every_reason() -> None:
    assert len(ROWS) >= 550
    assert {name for name, table in TABLES.items() if table["task"] in ("label", "labels", "grade")} == {
        "blood", "breast", "chest", "pneumonia", "retina_names", "retina_numbers", "skin",
    }  # fmt: skip
    texts = Counter((name, row[2]) for name, table in TABLES.items() for row in table["rows"])
    assert max(texts.values()) == 1
    reasons = {row[1] for table in TABLES.values() for row in table["rows"] if row[1]}
    assert reasons == {reason.name.lower() for reason in Reason if reason != Reason.OTHER_UNIT}


@pytest.mark.parametrize(("name", "most"), [("pneumonia", 0.5), ("skin", 0.5), ("blood", 0.5)])
def test_each_table_holds_answers_that_are_read_and_answers_that_are_not(name: str, most: float) -> None:
    refused = [row for row in TABLES[name]["rows"] if row[0] is None]
    assert 0.25 < len(refused) / len(TABLES[name]["rows"]) <= most
