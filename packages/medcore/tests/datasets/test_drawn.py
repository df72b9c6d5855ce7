"""Drawn scans: balanced, reproducible, and their boxes lie on what can be seen."""

from __future__ import annotations

import numpy as np
import pytest

from medcore.datasets import Dataset, drawn_grades, drawn_scans
from medcore.datasets.phantoms import FINDINGS
from medcore.errors import ConfigError

MAKERS = pytest.mark.parametrize("make", [drawn_scans, drawn_grades], ids=["scans", "grades"])


@MAKERS
def test_they_are_datasets_of_8_bit_images(make):
    found = make(20, 3)
    assert isinstance(found, Dataset)
    assert len(found) == 20
    for sample in found:
        assert sample.image.shape == (56, 56)
        assert sample.image.dtype == np.uint8
        assert sample.label in found.classes
    assert found.card.class_counts == dict.fromkeys(found.classes, 20 // len(found.classes))
    assert len({a.sample_id for a in found.annotations}) == 20


@MAKERS
def test_a_longer_set_begins_with_the_shorter_one(make):
    short, long = make(6, 9), make(11, 9)
    assert all(np.array_equal(short[i].image, long[i].image) for i in range(6))
    assert short.annotations == long.annotations[:6]


@MAKERS
def test_seeds_share_no_image_and_no_identifier(make):
    one, other = make(40, 0), make(40, 1)
    assert not {s.image.tobytes() for s in one} & {s.image.tobytes() for s in other}
    assert not {a.sample_id for a in one.annotations} & {a.sample_id for a in other.annotations}


@MAKERS
def test_changing_an_image_leaves_the_dataset_as_it_was(make):
    found = make(2)
    found[0].image[:] = 0
    assert found[0].image.any()


@MAKERS
@pytest.mark.parametrize("size", [32, 56, 120])
def test_boxes_lie_in_the_image(make, size):
    for sample in make(40, 5, size=size):
        assert sample.boxes is not None
        assert len(sample.boxes) == len(sample.box_labels)
        x0, y0, x1, y1 = sample.boxes.T
        assert ((x0 >= 0) & (y0 >= 0) & (x1 <= size) & (y1 <= size) & (x1 > x0) & (y1 > y0)).all()


def test_every_finding_has_one_box_and_normal_scans_none():
    for sample in drawn_scans(60, 2):
        assert len(sample.boxes) == (0 if sample.label == "normal" else 1)
        assert sample.box_labels == (() if sample.label == "normal" else (sample.label,))


def test_nodules_are_brighter_than_the_lung_around_them():
    for sample in drawn_scans(80, 4, noise=0.0):
        if sample.label != "nodule":
            continue
        x0, y0, x1, y1 = sample.boxes[0].astype(int)
        centre = sample.image[(y0 + y1) // 2, (x0 + x1) // 2]
        ring = np.concatenate([sample.image[y0 - 2, x0:x1], sample.image[y1 + 1, x0:x1]])
        assert centre > ring.mean() + 40


def test_nothing_but_the_finding_tells_the_class():
    """The air in the corners is the same in every class on average; the mean over all scans of a class is not."""
    found = drawn_scans(400, 1)
    mean = {c: np.zeros((56, 56)) for c in FINDINGS}
    for sample in found:
        mean[sample.label] += sample.image / (len(found) / 4)
    for name in FINDINGS[1:]:
        for corner in (np.s_[:6, :6], np.s_[:6, -6:], np.s_[-4:, :3], np.s_[-4:, -3:]):
            assert abs((mean[name] - mean["normal"])[corner].mean()) < 3
        assert np.abs(mean[name] - mean["normal"]).max() > 15


@pytest.mark.parametrize("num_grades", [2, 3, 5, 6])
def test_the_number_of_spots_gives_the_grade(num_grades):
    for sample in drawn_grades(30, 6, num_grades=num_grades):
        low = sample.grade * (sample.grade + 1) // 2
        assert low <= len(sample.boxes) <= low + sample.grade
        assert sample.label == f"grade {sample.grade}"
    assert drawn_grades(1, num_grades=num_grades).card.ordered


def test_the_height_of_fluid_gives_the_grade():
    heights: dict[int, list[float]] = {g: [] for g in range(5)}
    for sample in drawn_grades(100, 6, sign="fluid"):
        heights[sample.grade] += [box[3] - box[1] for box in sample.boxes]
    assert heights[0] == []
    means = [np.mean(heights[g]) for g in range(1, 5)]
    assert (np.diff(means) > 3).all()


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (drawn_scans, {"n": -1}, "n -1"),
        (drawn_scans, {"n": 1, "size": 10}, "size 10"),
        (drawn_scans, {"n": 1, "noise": -2.0}, "noise -2"),
        (drawn_grades, {"n": 1, "num_grades": 1}, "num_grades is 1"),
    ],
)
def test_what_cannot_be_drawn(make, arguments, message):
    with pytest.raises(ConfigError, match=message):
        make(**arguments)
