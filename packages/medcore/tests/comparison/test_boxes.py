"""COCO files: boxes reach the metrics, damaged files are refused with the box named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medcore import metrics
from medcore.comparison import compare_boxes, find_kind, rank
from medcore.errors import ConfigError, InputError


@pytest.fixture
def files(tmp_path, rng):
    """Annotations of twelve images of six patients, and results that are a little off; returns a writer of results."""
    images = [{"id": 10 + i, "file_name": f"im{i}.png", "patient": f"p{i // 2}"} for i in range(12)]
    annotations = []
    for image in images:
        for _ in range(2):
            x, y, w, h = (*rng.integers(0, 60, 2).tolist(), *rng.integers(15, 30, 2).tolist())
            kind = int(rng.integers(1, 3))
            annotations.append({"id": len(annotations), "image_id": image["id"], "category_id": kind, "bbox": [x, y, w, h]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    (tmp_path / "ref.json").write_text(json.dumps(content))

    def write(name, shift=1.0, change=None):
        found = [
            {
                "image_id": a["image_id"],
                "category_id": a["category_id"],
                "bbox": [a["bbox"][0] + shift * rng.uniform(0, 3), *a["bbox"][1:]],
                "score": float(rng.random()),
            }
            for a in annotations
        ]
        if change:
            change(found)
        (tmp_path / name).write_text(json.dumps(found))
        return tmp_path / name

    return tmp_path / "ref.json", write, annotations


def columns(annotations, results):
    order = {10 + i: i for i in range(12)}
    rows = [[[], [], [], [], []] for _ in range(12)]
    for one in annotations:
        x, y, w, h = one["bbox"]
        rows[order[one["image_id"]]][0].append([x, y, x + w, y + h])
        rows[order[one["image_id"]]][3].append(one["category_id"])
    for one in results:
        x, y, w, h = one["bbox"]
        row = rows[order[one["image_id"]]]
        row[1].append([x, y, x + w, y + h])
        row[2].append(one["score"])
        row[4].append(one["category_id"])
    return list(zip(*rows, strict=True))


def test_results_reach_the_metrics(files):
    ref, write, annotations = files
    est = write("est.json")
    assert find_kind(ref, [est], []) == "boxes"
    found = compare_boxes(ref, est)
    given = columns(annotations, json.loads(est.read_text()))
    for name in ("mean_average_precision", "ap50", "ap75"):
        result = found.results[name]
        assert result.value == pytest.approx(metrics.get_metric(name).function(*given).value)
        assert result.low <= result.value <= result.high
    assert found.facts == {"images": 12, "subjects": 6, "boxes": 24, "detections": 24}
    iou = compare_boxes(ref, est, names=["mean_iou"]).results["mean_iou"]
    assert iou.value == pytest.approx(metrics.mean_iou(given[0], given[1]).value)


def test_two_detectors_are_compared_by_patient(files):
    ref, write, _ = files
    found = {n: compare_boxes(ref, write(n, shift)) for n, shift in (("far.json", 4.0), ("near.json", 0.3))}
    difference = rank(found).differences[0]
    assert difference.metric == "mean_average_precision"
    assert difference.difference.low > 0
    assert difference.p_value <= 4 / 2**6


def test_boxes_without_scores_have_no_average_precision(files):
    ref, write, _ = files
    est = write("est.json", change=lambda found: [one.pop("score") for one in found])
    assert list(compare_boxes(ref, est).results) == ["mean_iou", "mean_giou"]
    with pytest.raises(ConfigError, match="metric 'ap50': does not fit this input, which has mean_iou, mean_giou"):
        compare_boxes(ref, est, names=["ap50"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "box 3: is of image 99, which the reference does not have"),
        ({"category_id": 7}, "box 3: is of category 7"),
        ({"bbox": [0, 0, 1]}, r"box 3: has bbox = \[0, 0, 1\]"),
        ({"bbox": [0, 0, -5, 3]}, "box 3: has a size of -5 x 3"),
        ({"bbox": [0, 0, "x", 3]}, "box 3: has bbox = 'x', not a number"),
        ({"score": True}, "box 3: has score = True, not a number"),
        ({"iscrowd": 1}, "box 3: is a crowd region"),
    ],
)
def test_boxes_that_are_none_are_named(files, change, message):
    ref, write, _ = files
    est = write("est.json", change=lambda found: found[2].update(change))
    with pytest.raises(InputError, match=message):
        compare_boxes(ref, est)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not valid JSON"),
        ("", "is empty"),
        ("[1, 2]", "has no list of objects called 'results'"),
        ('{"boxes": []}', "has no list of objects called 'annotations'"),
        ('[{"image_id": 10, "image_id": 11}]', "states 'image_id' twice"),
        ('[{"image_id": 10, "category_id": 1, "bbox": [0, 0, 1, 1], "score": NaN}]', "holds NaN"),
    ],
)
def test_damaged_results_are_refused(files, tmp_path, text, message):
    (tmp_path / "est.json").write_text(text)
    with pytest.raises(InputError, match=message):
        compare_boxes(files[0], tmp_path / "est.json")


def test_no_detection_at_all_is_worth_nothing(files):
    ref, write, _ = files
    est = write("est.json", change=lambda found: found.clear())
    results = compare_boxes(ref, est).results
    assert results["ap50"].value == 0
    assert np.isfinite(results["ap50"].low)
