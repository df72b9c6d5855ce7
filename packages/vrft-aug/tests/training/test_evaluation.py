"""Held-out judging: reading answers, metrics against independent code, files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, confusion_matrix

from medcore.errors import InputError
from vrft_aug.data import load_rows
from vrft_aug.evaluation import evaluate_policy, generate, judge, measure
from vrft_aug.models import load_policy
from vrft_aug.recipe import EvaluationSettings, ModelSettings

GRADES = ["none", "mild", "moderate", "severe"]
QUICK = EvaluationSettings(max_new_tokens=24, resamples=100, batch_size=10)


def answer(text):
    return f"<think>t</think><answer>{text}</answer>"


def grading(grade, **more):
    return {"sample_id": "a", "task": "grading", "grade": grade, "label": GRADES[grade], "classes": GRADES, "num_grades": 4, **more}


def box_row(boxes):
    return {"sample_id": "a", "task": "localisation", "boxes": boxes, "image_size": [64, 32], "box_frame": [16.0, 16.0]}


@pytest.mark.parametrize(
    ("text", "read", "right", "formatted"),
    [
        (answer("mild"), 1, True, True),
        (answer("severe"), 3, False, True),
        (answer("mild or severe"), None, False, True),
        ("mild", None, False, False),
        ("", None, False, False),
        (answer(""), None, False, False),
    ],
)
def test_grades_are_read_and_compared(text, read, right, formatted):
    found = judge(grading(1), text)
    assert (found["answer"], found["correct"], found["format"]) == (read, right, formatted)
    assert found["completion"] == text


@pytest.mark.parametrize(
    ("truth", "text", "iou"),
    [
        ([[16.0, 8.0, 32.0, 16.0]], answer("[4, 4, 8, 8]"), 1.0),
        ([[16.0, 8.0, 32.0, 16.0]], answer("[4, 4, 6, 8]"), 0.5),
        ([[16.0, 8.0, 32.0, 16.0]], answer("[4, 4, 8, 8], [0, 0, 1, 1]"), 0.5),
        ([[16.0, 8.0, 32.0, 16.0]], answer("somewhere"), 0.0),
        ([], answer("[]"), None),
        ([], answer("[0, 0, 1, 1]"), 0.0),
        ([], "", 0.0),
    ],
)
def test_boxes_are_compared_in_pixels(truth, text, iou):
    assert judge(box_row(truth), text)["iou"] == (None if iou is None else pytest.approx(iou))


def predictions(pairs, groups=None):
    found = [judge(grading(t), answer(GRADES[a]) if a is not None else "?") for t, a in pairs]
    for i, p in enumerate(found):
        p["subject"] = str(i if groups is None else groups[i])
    return found


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=8, max_size=40))
def test_metrics_agree_with_scikit_learn(pairs):
    truth, found = (np.array(v) for v in zip(*pairs, strict=True))
    result = measure(predictions(pairs), "grading", GRADES, QUICK, name="x")
    assert result.metrics["accuracy"].value == pytest.approx(np.mean(truth == found))
    assert result.metrics["grade_mae"].value == pytest.approx(np.abs(truth - found).mean())
    assert np.array_equal(result.confusion, confusion_matrix(truth, found, labels=range(4)))
    present = np.isin(found, truth)  # scikit-learn warns about answered classes that never occur
    if present.all() and len(set(truth)) > 1:
        assert result.metrics["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(truth, found))
    if len({*truth, *found}) > 1 and len(set(truth)) > 1:
        expected = cohen_kappa_score(truth, found, weights="quadratic", labels=range(4))
        assert result.metrics["quadratic_weighted_kappa"].value == pytest.approx(expected)


def test_an_unreadable_answer_is_the_worst_grade():
    result = measure(predictions([(0, None), (1, None), (2, None), (3, None)]), "grading", GRADES, QUICK, name="x")
    assert result.metrics["grade_mae"].value == pytest.approx((3 + 2 + 2 + 3) / 4)
    assert result.confusion == [[0, 0, 0, 0, 1]] * 4
    better = measure(predictions([(0, 3), (1, 3), (2, 0), (3, 0)]), "grading", GRADES, QUICK, name="x")
    assert better.metrics["grade_mae"].value == result.metrics["grade_mae"].value


def test_intervals_resample_subjects_not_images():
    pairs = [(i % 4, i % 4 if i < 60 else (i + 1) % 4) for i in range(120)]
    many = measure(predictions(pairs), "grading", GRADES, QUICK, name="x").metrics["accuracy"]
    few = measure(predictions(pairs, groups=[i // 12 for i in range(120)]), "grading", GRADES, QUICK, name="x").metrics["accuracy"]
    assert many.value == few.value == 0.5
    assert few.high - few.low > 2 * (many.high - many.low)
    assert (many.n, few.n) == (120, 10)


def test_images_without_boxes_and_answers_are_left_out():
    found = [judge(box_row([]), answer("[]")) for _ in range(5)]
    result = measure(found, "localisation", (), QUICK, name="x")
    assert result.main.value is None
    assert result.metrics["format"].value == 1


def test_generation_does_not_depend_on_the_batch(finished, warm_policy, as_recipe, small):
    model, processor = load_policy(ModelSettings(), warm_policy)
    rows = load_rows(as_recipe(small).stages[1], part="held_out")
    model.train()
    one, ten = (generate(model, processor, rows, EvaluationSettings(max_new_tokens=24, batch_size=n)) for n in (1, 10))
    assert one == ten
    assert model.training
    result = evaluate_policy(model, processor, rows, QUICK)
    assert [p["completion"] for p in result.predictions] == one
    assert [p["sample_id"] for p in result.predictions] == rows["sample_id"]


def test_generation_obeys_the_length_limit(warm_policy, as_recipe, small):
    model, processor = load_policy(ModelSettings(), warm_policy)
    rows = load_rows(as_recipe(small).stages[1], part="held_out").select(range(3))
    texts = generate(model, processor, rows, EvaluationSettings(max_new_tokens=2))
    assert all(len(processor.tokenizer.encode(t)) <= 2 for t in texts)


def test_mixed_tasks_are_refused(warm_policy, as_recipe, small):
    from datasets import concatenate_datasets

    model, processor = load_policy(ModelSettings(), warm_policy)
    parts = [load_rows(s, part="held_out").select(range(2)) for s in as_recipe(small).stages]
    with pytest.raises(InputError, match="4 rows of the tasks grading, localisation"):
        evaluate_policy(model, processor, concatenate_datasets(parts), QUICK)


def test_every_prediction_is_kept(finished):
    lines = [json.loads(line) for line in (finished.folder / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == sum(len(r.predictions) for found in finished.evaluations.values() for r in found)
    assert {line["policy"] for line in lines} == {"start", "final"}
    summary = json.loads((finished.folder / "evaluation.json").read_text())
    last = summary["policies"]["final"][-1]
    mine = [line["correct"] for line in lines if line["policy"] == "final" and line["set"] == "reasoning"]
    assert last["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(mine))
