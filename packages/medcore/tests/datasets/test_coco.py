"""COCO files: boxes as other readers have them, and everything that must not be guessed."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcore.datasets import EDGES, CocoDetection, Dataset
from medcore.datasets.boxes import MAX_SHOWN
from medcore.errors import ConfigError, InputError

BOX = st.tuples(st.floats(0, 28), st.floats(0, 18), st.floats(0.01, 30), st.floats(0.01, 20)).map(
    lambda b: [b[0], b[1], min(b[2], 30 - b[0]), min(b[3], 20 - b[1])]
)


def test_boxes_become_corners(write_coco):
    found = CocoDetection(write_coco({"bbox": [1.5, 2, 3, 4]}, {"bbox": [0, 0, 30, 20], "category_id": 3, "iscrowd": 1}))
    assert isinstance(found, Dataset)
    assert found.classes == ("liver", "kidney")
    first, second = found
    assert first.boxes.tolist() == [[1.5, 2, 4.5, 6], [0, 0, 30, 20]]
    assert (first.box_labels, first.box_crowd) == (("liver", "kidney"), (False, True))
    assert second.boxes.shape == (0, 4)
    assert second.box_crowd == ()
    assert [s.sample_id for s in found] == ["1.png", "2.png"]
    card = found.card
    assert (card.name, card.task, card.box_convention, card.faults) == ("organs", "detection", EDGES, ())
    assert card.class_counts == {"liver": 1, "kidney": 1}
    assert card.class_shares == {"liver": 0.5, "kidney": 0.5}
    assert card.notes == ("1 images have no box", "1 boxes hold a crowd (iscrowd)")


def test_images_belong_to_their_entries(write_coco, picture):
    found = CocoDetection(write_coco({}))
    assert np.array_equal(found[1].image, picture(2))


@settings(max_examples=40)
@given(st.lists(st.tuples(BOX, st.sampled_from([7, 3]), st.sampled_from([1, 2])), max_size=6))
def test_boxes_are_those_of_pycocotools(write_coco, boxes):
    coco = pytest.importorskip("pycocotools.coco")
    folder = write_coco(*({"bbox": b, "category_id": c, "image_id": i} for b, c, i in boxes))
    with contextlib.redirect_stdout(io.StringIO()):
        other = coco.COCO(str(folder / "annotations" / "instances.json"))
    found = CocoDetection(folder)
    assert found.card.faults == ()
    for number, sample in zip((1, 2), found, strict=True):
        theirs = other.loadAnns(other.getAnnIds(imgIds=number))
        expected = np.array([a["bbox"] for a in theirs], dtype=float).reshape(-1, 4)
        np.testing.assert_allclose(sample.boxes, np.hstack([expected[:, :2], expected[:, :2] + expected[:, 2:]]), atol=1e-4)
        assert list(sample.box_labels) == [other.cats[a["category_id"]]["name"] for a in theirs]


def test_a_perfect_detector_scores_one_at_faster_coco_eval(write_coco):
    """The boxes read here, given back as detections, are the boxes of the file."""
    faster = pytest.importorskip("faster_coco_eval")
    folder = write_coco(
        {"bbox": [1, 2, 10, 8]}, {"bbox": [4.25, 3, 20, 16], "category_id": 3}, {"bbox": [0, 0, 9, 9], "image_id": 2}
    )
    content = json.loads((folder / "annotations" / "instances.json").read_text())
    for item in content["annotations"]:
        item |= {"area": item["bbox"][2] * item["bbox"][3], "iscrowd": 0}
    truth = faster.COCO(content)
    numbers = {"liver": 7, "kidney": 3}
    results = [
        {
            "image_id": int(s.sample_id[0]),
            "category_id": numbers[label],
            "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
            "score": 0.9,
        }
        for s in CocoDetection(folder)
        for b, label in zip(s.boxes.tolist(), s.box_labels, strict=True)
    ]
    evaluation = faster.COCOeval_faster(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_faults_are_told_and_mended(write_coco):
    found = CocoDetection(write_coco({"bbox": [5, 5, 0, 4]}, {"bbox": [25, 15, 10, 10]}, {"bbox": [0, 0, 2, 2]}))
    assert found[0].boxes.tolist() == [[25, 15, 30, 20], [0, 0, 2, 2]]
    assert found.card.faults == (
        "annotation 1 (liver) of 1.png: the box (5, 5, 0, 4) has zero area and is left out",
        "annotation 2 (liver) of 1.png: the box (25, 15, 10, 10) reaches beyond the image of 30 x 20 pixels and is cut at its border",
    )


def test_rounding_is_no_fault(write_coco):
    found = CocoDetection(write_coco({"bbox": [0.1, 0, math.nextafter(29.9, 31), 20]}))
    assert found.card.faults == ()
    assert found[0].boxes.max() <= 30


def test_many_faults_of_one_kind_are_counted(write_coco):
    found = CocoDetection(write_coco(*[{"bbox": [1, 1, 0, 0]}] * (MAX_SHOWN + 7)))
    assert len(found.card.faults) == MAX_SHOWN + 1
    assert found.card.faults[-1] == "and 7 more boxes of zero area"


def test_classes_wanted(write_coco):
    folder = write_coco({}, {"category_id": 3, "bbox": [0, 0, 1, 1]})
    found = CocoDetection(folder, classes=["kidney"])
    assert found.classes == ("kidney",)
    assert found[0].boxes.tolist() == [[0, 0, 1, 1]]
    with pytest.raises(ConfigError, match=r"classes: name 'spleen', instances.json has liver, kidney; choose from these"):
        CocoDetection(folder, classes=["spleen"])


def test_origin_and_patients_as_the_file_states_them(write_coco):
    def change(content):
        content["licenses"] = [{"id": 1, "name": "CC BY 4.0"}, {"id": 2, "name": "unused"}]
        content["info"] = {"description": "Organs\n in slices", "version": 2, "url": "https://example.org"}
        content["images"][0] |= {"license": 1, "patient_id": 17}

    found = CocoDetection(write_coco({}, change=change))
    assert (found.card.licence, found.card.source) == ("CC BY 4.0", "Organs in slices, 2, https://example.org")
    assert [a.subject for a in found.annotations] == ["17", None]


@pytest.mark.parametrize("place", ["images", "instances", ".", "annotations"])
def test_images_are_found_beside_the_annotations(write_coco, place):
    folder = write_coco({})
    (folder / "images").rename(folder / "elsewhere")
    (folder / place).mkdir(exist_ok=True)
    for file in (folder / "elsewhere").iterdir():
        file.rename(folder / place / file.name)
    assert len(CocoDetection(folder)) == 2


def test_images_elsewhere_are_named(write_coco, tmp_path):
    folder = write_coco({})
    (folder / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"images\[0\]: names '1.png', which is not in"):
        CocoDetection(folder)
    assert len(CocoDetection(folder, images=tmp_path / "elsewhere")) == 2


def test_one_of_several_files_is_chosen(write_coco):
    folder = write_coco({})
    content = (folder / "annotations" / "instances.json").read_text()
    (folder / "annotations" / "more.json").write_text(content)
    with pytest.raises(InputError, match=r"holds instances.json, more.json; choose one with json="):
        CocoDetection(folder)
    assert len(CocoDetection(folder, json="more.json")) == 2
    with pytest.raises(InputError, match=r"holds no COCO JSON called none.json"):
        CocoDetection(folder, json="none.json")


def test_sizes_can_be_checked_late(write_coco, picture, save_image):
    folder = write_coco({})
    save_image(picture(height=21), folder / "images" / "2.png")
    wrong = r"2.png: is stated with 30 x 20 pixels and has 30 x 21"
    with pytest.raises(InputError, match=wrong):
        CocoDetection(folder)
    found = CocoDetection(folder, check_sizes=False)
    assert found[0].image.shape == (20, 30, 3)
    with pytest.raises(InputError, match=wrong):
        found[1]


def _set(key, place, **values):
    return lambda content: content[key][place].update(values)


BAD = {
    "no annotations": (lambda c: c.pop("annotations"), "has no list 'annotations'"),
    "images no list": (lambda c: c.update(images={}), "has no list 'images'"),
    "no categories": (lambda c: c.update(categories=[]), "has no categories"),
    "no images": (lambda c: c.update(images=[]), "has no images"),
    "item no object": (lambda c: c.update(images=[3]), r"images\[0\]: is int, not an object"),
    "unknown image": (_set("annotations", 0, image_id=9), r"annotations\[0\]: belongs to the image 9, which is not listed"),
    "unknown category": (_set("annotations", 0, category_id=9), "is of the category 9, which is not listed"),
    "id twice": (lambda c: c["annotations"].append(c["annotations"][0]), r"annotations\[1\]: repeats the id 1"),
    "image id twice": (_set("images", 1, id=1), "repeats the image '2.png' or its id 1"),
    "file name twice": (_set("images", 1, file_name="1.png"), "repeats the image '1.png' or its id 2"),
    "category twice": (_set("categories", 1, name="liver"), "repeats the category 'liver' or its id 3"),
    "category id twice": (_set("categories", 1, id=7), "repeats the category 'kidney' or its id 7"),
    "no bbox": (_set("annotations", 0, bbox=None), "has bbox = None"),
    "three numbers": (_set("annotations", 0, bbox=[1, 2, 3]), r"has bbox = \[1, 2, 3\]"),
    "text in bbox": (_set("annotations", 0, bbox=[1, 2, "3", 4]), "has bbox = '3', not a number"),
    "true in bbox": (_set("annotations", 0, bbox=[1, 2, True, 4]), "has bbox = True, not a number"),
    "huge bbox": (_set("annotations", 0, bbox=[1, 2, 10**400, 4]), "not a number"),
    "negative": (_set("annotations", 0, bbox=[9, 9, -3, 4]), "has a bbox of -3 x 4 pixels"),
    "outside": (_set("annotations", 0, bbox=[40, 2, 3, 4]), r"the box \(40, 2, 3, 4\) outside its image of 30 x 20 pixels"),
    "crowd": (_set("annotations", 0, iscrowd=2), "has iscrowd = 2; give 0 or 1"),
    "size": (_set("images", 0, width=31), "1.png: is stated with 31 x 20 pixels and has 30 x 20"),
    "zero size": (_set("images", 0, width=0), "states 0 x 20 pixels"),
    "no size": (lambda c: c["images"][0].pop("height"), "has height = None, not a number"),
    "half a pixel": (_set("images", 0, width=30.5), "has width = 30.5, not a whole number"),
    "no name": (_set("images", 0, file_name=""), "has file_name = '', not a text"),
    "up": (_set("images", 0, file_name="../1.png"), "names the file '../1.png'"),
    "absolute": (_set("images", 0, file_name="/etc/passwd"), "names the file '/etc/passwd'"),
    "drive": (_set("images", 0, file_name="C:1.png"), "names the file 'C:1.png'"),
    "backslash": (_set("images", 0, file_name="..\\1.png"), "names the file"),
    "NUL": (_set("images", 0, file_name="1\0.png"), "has a NUL character in file_name"),
    "surrogate": (_set("images", 0, file_name="\ud800.png"), r"half of a surrogate pair \(U\+D800\) in file_name"),
    "long name": (_set("images", 0, file_name="x" * 5000 + ".png"), "which cannot be read|which is not in"),
    "no image file": (_set("images", 0, file_name="../annotations/instances.json"), "names the file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_content(write_coco, name):
    change, words = BAD[name]
    with pytest.raises(InputError, match=words):
        CocoDetection(write_coco({}, change=change))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "holds list, not an object"),
        ('{"images": [], "images": []}', "states 'images' twice"),
        ('{"images": [{"id": 1, "id": 2}]}', "states 'id' twice"),
        ('{"images": [NaN]}', "holds NaN, which JSON has no word for"),
        ('{"images": [-Infinity]}', "holds -Infinity"),
        ('{"images": [1e999]}', r"images\[0\]: is float, not an object|has no categories|no list"),
        ('{"images": [', "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"images": ' + "9" * 5000 + "}", "is not valid JSON"),
        ("", "is empty"),
    ],
)
def test_bad_json(write_coco, text, words):
    folder = write_coco(text=text)
    with pytest.raises(InputError, match=words):
        CocoDetection(folder / "annotations" / "instances.json")


def test_a_huge_file_is_refused_before_it_is_read(write_coco):
    path = write_coco({}) / "annotations" / "instances.json"
    with path.open("r+b") as file:
        file.truncate((512 << 20) + 1)
    with pytest.raises(InputError, match="has 536870913 bytes, more than 536870912"):
        CocoDetection(path)


def test_links_do_not_lead_out_of_the_folder(write_coco, tmp_path, picture, save_image):
    secret = save_image(picture(), tmp_path / "secret.png")
    folder = write_coco({})
    (folder / "images" / "1.png").unlink()
    (folder / "images" / "1.png").symlink_to(secret)
    with pytest.raises(InputError, match="a link that leads out of"):
        CocoDetection(folder)
    (folder / "images" / "1.png").unlink()
    (folder / "images" / "1.png").symlink_to("1.png")
    with pytest.raises(InputError, match=re.escape("1.png")):
        CocoDetection(folder)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6), st.floats(0, 1))
def test_damaged_bytes_raise_nothing_else(write_coco, changes, keep):
    path = write_coco({}, {"bbox": [0, 0, 30, 20]}) / "annotations" / "instances.json"
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content[: max(1, int(keep * len(content)))])
    with contextlib.suppress(InputError):
        CocoDetection(path)
