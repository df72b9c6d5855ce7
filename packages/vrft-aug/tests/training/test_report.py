"""The report page and its JSON."""

from __future__ import annotations

import json
import re

import pytest

from vrft_aug.evaluation import judge
from vrft_aug.report import change, examples_figure, interval, pick, reward_panels


def test_the_page_has_what_a_reader_needs_and_loads_nothing(finished):
    text = (finished.folder / "report.html").read_text()
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", text)
    assert headings == [
        "Held-out results",
        "Training: warm-start",
        "Training: perception",
        "Training: reasoning",
        "What it took",
        "Examples: perception",
        "Examples: reasoning",
        "Provenance",
    ]
    assert "<script" not in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    accuracy = finished.evaluations["final"][1].metrics["accuracy"]
    assert interval(accuracy) in text
    assert str(finished.folder) not in text


def test_the_json_holds_the_same_numbers(finished):
    facts = json.loads((finished.folder / "report.json").read_text())
    assert facts["evaluations"]["final"][1]["metrics"]["accuracy"]["value"] == finished.evaluations["final"][1].main.value
    assert facts["stages"]["reasoning"]["completions"] == 64
    difference = facts["changes"][1]["difference"]["value"]
    before, after = (finished.evaluations[k][1].main.value for k in ("start", "final"))
    assert difference == pytest.approx(after - before)


def test_a_policy_does_not_differ_from_itself(finished):
    result = finished.evaluations["final"][1]
    found = change(result, result)
    assert (found["difference"]["value"], found["difference"]["low"], found["difference"]["high"]) == (0, 0, 0)
    assert found["p_value"] == 1


def graded(i, grade, answer):
    row = {"sample_id": str(i), "task": "grading", "grade": grade, "classes": ["a", "b", "c"], "num_grades": 3}
    return judge(row, f"<think>t</think><answer>{answer}</answer>")


def test_examples_show_wrong_answers_first_and_several_classes():
    predictions = [graded(i, i % 3, "abc"[i % 3] if i % 4 else "c") for i in range(60)]
    chosen = pick(predictions)
    assert len(chosen) == len(set(chosen)) == 6
    wrong = [i for i in chosen if not predictions[i]["correct"]]
    assert chosen[: len(wrong)] == wrong
    assert len(wrong) == 3
    assert {predictions[i]["grade"] for i in chosen} == {0, 1, 2}
    assert pick(predictions[1:2]) == [0]


def test_boxes_are_drawn_where_they_are():
    from PIL import Image

    row = {
        "sample_id": "x",
        "task": "localisation",
        "boxes": [[2.0, 3.0, 6.0, 9.0]],
        "image_size": [16, 16],
        "box_frame": [16.0, 16.0],
    }
    prediction = judge(row, "<think>t</think><answer>[1, 2, 3, 5]</answer>")
    figure = examples_figure([Image.new("L", (16, 16))], [prediction])
    drawn = [(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in figure.axes[0].patches]
    # Pixel centres are whole numbers on the axis, edges lie half a pixel before them.
    assert drawn == [(1.5, 2.5, 4.0, 6.0), (0.5, 1.5, 2.0, 3.0)]


def test_curves_come_from_the_log_with_gaps_left_out():
    history = [
        {"step": 1, "reward": 1.0, "rewards/accuracy/mean": 0.5, "rewards/format/mean": None, "entropy": 0.3},
        {"step": 2, "reward": 2.0, "rewards/accuracy/mean": 0.75, "rewards/format/mean": 1.0},
        {"step": 2, "train_runtime": 3.0},
    ]
    panels = reward_panels(history)
    assert panels["rewards (mean)"] == {"accuracy": ([1, 2], [0.5, 0.75]), "format": ([2], [1.0])}
    assert panels["total reward"] == {"total": ([1, 2], [1.0, 2.0])}
    assert panels["KL to the reference"] == {}
