"""The supervised warm start: weak labels, written answers, that it learns."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.data import load_rows
from vrft_aug.recipe import WarmStartSettings
from vrft_aug.warmstart import answered, weaken

GRADES = ["none", "mild", "severe"]


def rows(labels):
    return [
        {"sample_id": str(i), "label": GRADES[g], "grade": g, "classes": GRADES, "task": "grading"} for i, g in enumerate(labels)
    ]


def weak(fraction, missed="mild", called="none"):
    return WarmStartSettings(missed_class=missed, missed_as=called, missed_fraction=fraction)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(0, 5))
def test_weak_labels_touch_only_the_missed_class(labels, seed):
    before = rows(labels)
    after = weaken(before, weak(0.5), seed=seed)
    assert before == rows(labels)
    for old, new in zip(before, after, strict=True):
        assert new["label"] == old["label"] or (old["label"], new["label"]) == ("mild", "none")
        assert GRADES[new["grade"]] == new["label"]
    assert after == weaken(before, weak(0.5), seed=seed)


def test_the_fraction_is_kept():
    found = weaken(rows([1] * 2000), weak(0.7), seed=0)
    assert sum(r["label"] == "none" for r in found) == pytest.approx(1400, abs=70)
    assert all(r["label"] == "none" for r in weaken(rows([1] * 50), weak(1.0), seed=0))


def test_without_a_missed_class_nothing_changes():
    assert weaken(rows([0, 1, 2]), WarmStartSettings(), seed=0) == rows([0, 1, 2])


@pytest.mark.parametrize(("missed", "called", "key"), [("fracture", "none", "missed_class"), ("mild", "fine", "missed_as")])
def test_unknown_classes_are_refused(missed, called, key):
    with pytest.raises(ConfigError, match=rf"warm_start\.{key}: is .*not one of mild, none, severe"):
        weaken(rows([0, 1]), weak(0.5, missed, called), seed=0)


def test_rows_without_classes_pass(small, as_recipe):
    boxes = load_rows(as_recipe(small).stages[0], part="train")
    with pytest.raises(ConfigError, match=r"not one of"):
        answered(boxes, weak(0.5), seed=0)
    assert len(answered(boxes, WarmStartSettings(), seed=0)) == len(boxes)


def test_answers_say_the_weak_label(one_stage, as_recipe):
    found = answered(load_rows(as_recipe(one_stage).stages[0], part="train"), weak(1.0), seed=0)
    texts = {row[0]["content"].split("<answer>")[1] for row in found["completion"]}
    assert texts == {"none</answer>", "moderate</answer>", "severe</answer>"}
    assert set(found.column_names) == {"prompt", "completion", "image"}


def test_the_warm_start_learns_the_form_of_answers(finished):
    log = json.loads((finished.folder / "stages/0-warm-start/log.json").read_text())
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert len(losses) == 60
    assert losses[-1] < 0.1 * losses[0]
    assert all(r.metrics["format"].value == 1 for r in finished.evaluations["start"])
