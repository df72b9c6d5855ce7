"""The check of data sets: every kind of finding from data that has it, none from data that has not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from listed_images import Listed, retina

from medcore.datasets import Part, RelaxometryFolder, check_dataset
from medcore.datasets.check_report import listed
from medcore.errors import ConfigError, InputError, MissingExtraError
from medcore.io import write_nifti

RETINAS = [retina(i) for i in range(6)]


def kinds(report):
    return [(f.kind, f.severity, f.samples) for f in report.findings]


def darker(image):
    return (image * 0.8).astype(np.uint8)


def test_a_sound_data_set_has_no_findings():
    report = check_dataset(Listed(RETINAS))
    assert report.findings == ()
    assert report.datasets == ("listed",)
    (part,) = report.parts
    assert (part.samples, part.unreadable, part.sizes, part.modes) == (6, 0, {"160 x 120": 6}, {"colour": 6})
    assert part.class_counts == {"a": 6}


def test_copies_within_a_set():
    report = check_dataset(Listed([*RETINAS, RETINAS[2], RETINAS[2], darker(RETINAS[4])]))
    assert kinds(report) == [("duplicate", "fault", ("s2", "s6", "s7")), ("near duplicate", "fault", ("s4", "s8"))]
    assert report.findings[0].sentence == "s2, s6 and s7 have the same pixels"
    assert "s4 and s8 show one picture (details correlate to 0.9" in report.findings[1].sentence
    assert kinds(check_dataset(Listed([*RETINAS, darker(RETINAS[4])]), near=False)) == []


def test_copies_in_two_sets_are_shared_and_names_say_which_set():
    one, other = Listed(RETINAS[:4], name="one"), Listed([RETINAS[1], darker(RETINAS[3]), RETINAS[5]], name="other")
    assert kinds(check_dataset(one, other)) == [
        ("shared", "fault", ("one/s1", "other/s0")),
        ("near shared", "fault", ("one/s3", "other/s1")),
    ]


def test_copies_in_two_parts_of_a_set_are_leaks():
    ids = ["t0", "t1", "t2"]
    train = Part(dataset=Listed(RETINAS[:3]), name="eyes", split="train")
    test = Part(dataset=Listed([RETINAS[0], darker(RETINAS[1]), RETINAS[4]], sample_id=ids), name="eyes", split="test")
    report = check_dataset(train, test)
    assert kinds(report) == [("leak", "fault", ("s0", "t0")), ("near leak", "fault", ("s1", "t1"))]
    assert report.findings[0].sentence == "s0 and t0 have the same pixels, in train and test"
    assert [p.name for p in report.parts] == ["eyes, train", "eyes, test"]


def test_published_parts_within_one_set_and_a_subject_in_both():
    parts = ["train", "train", "test", "test"]
    report = check_dataset(Listed([*RETINAS[:3], RETINAS[0]], split=parts, subject=["p1", "Doe", "Doe", "p4"]))
    assert kinds(report) == [("leak", "fault", ("s0", "s3")), ("subject leak", "fault", ("s1", "s2"))]
    assert "Doe" not in json.dumps(report.as_dict()["findings"])


def test_labels_of_copies_that_contradict():
    report = check_dataset(Listed([*RETINAS[:2], RETINAS[0], darker(RETINAS[1])], label=["a", "b", "b", "b"]))
    assert [f.sentence for f in report.of_kind("label conflict")] == ["one picture has different labels: s0 is a and s2 is b"]


def test_labels_of_other_tasks_are_not_compared():
    boxes = Listed([RETINAS[0]], name="boxes", label="disc")
    grades = Listed([RETINAS[0]], name="grades", label="grade 1")
    assert [f.kind for f in check_dataset(boxes, grades).findings] == ["shared"]


def test_several_labels_and_grades_are_compared():
    several = {"task": "multi-label", "classes": ("x", "y")}
    found = check_dataset(Listed([RETINAS[0]] * 2, label=None, labels=[("x",), ()], card=several))
    assert [f.sentence for f in found.of_kind("label conflict")] == [
        "one picture has different labels: s0 is x and s1 is of no class"
    ]
    found = check_dataset(Listed([RETINAS[0]] * 2, label=None, grade=[0, 3]))
    assert "s0 is grade 0 and s1 is grade 3" in found.of_kind("label conflict")[0].sentence


def test_several_questions_about_one_image_are_no_duplicates_but_leak():
    card = {"task": "vqa", "classes": ("yes", "no")}
    asked = {"label": None, "question": ["fluid?", "drusen?"], "answer": ["yes", "no"]}
    assert kinds(check_dataset(Listed([RETINAS[0]] * 2, card=card, **asked))) == []
    parted = check_dataset(Listed([RETINAS[0]] * 2, card=card, split=["train", "test"], **asked))
    assert [f.kind for f in parted.findings] == ["leak"]
    twice = asked | {"question": "fluid?"}
    assert [f.kind for f in check_dataset(Listed([RETINAS[0]] * 2, card=card, **twice)).findings] == ["duplicate", "label conflict"]


def test_images_that_cannot_be_read_are_named_and_the_rest_is_checked():
    broken = InputError("s1.png", "is a damaged image", "get another copy")
    report = check_dataset(Listed([RETINAS[0], broken, RETINAS[0]]))
    assert kinds(report) == [("duplicate", "fault", ("s0", "s2")), ("unreadable", "fault", ("s1",))]
    assert report.findings[1].sentence == "s1 cannot be read: s1.png: is a damaged image"
    assert report.parts[0].unreadable == 1


def test_a_missing_library_is_no_finding():
    with pytest.raises(MissingExtraError):
        check_dataset(Listed([MissingExtraError("PIL", "medcore[viz]", "reading image files")]))


def test_constant_images():
    report = check_dataset(Listed([RETINAS[0], np.zeros((120, 160, 3), np.uint8), np.full((120, 160, 3), 7, np.uint8)]))
    assert [f.sentence for f in report.of_kind("constant")] == ["s1 is black everywhere", "s2 has the value 7 everywhere"]


def test_odd_sizes_and_modes_are_noted():
    images = [retina(i) for i in range(20)]
    images[3], images[8] = retina(3, 100, 90), images[8][..., 0]
    report = check_dataset(Listed(images))
    assert [f.sentence for f in report.notes] == [
        "listed: 19 of 20 images are 160 x 120, but s3 (90 x 100) is not",
        "listed: 19 of 20 images are colour, but s8 (grey) is not",
    ]
    mixed = [retina(i, 100 + i % 2) for i in range(6)]
    assert check_dataset(Listed(mixed)).findings == ()


def test_boxes_that_cannot_be():
    card = {"task": "detection", "classes": ("cell",)}
    boxes = [((1.0, 1.0, 5.0, 5.0),), ((3.0, 3.0, 3.0, 9.0), (150.0, 0.0, 170.0, 9.0)), ()]
    labels = [("cell",), ("cell", "cell"), ()]
    report = check_dataset(Listed(RETINAS[:3], label=None, boxes=boxes, box_labels=labels, card=card))
    assert [f.sentence for f in report.faults] == [
        "s1: the box cell (3, 3, 3, 9) has zero area",
        "s1: the box cell (150, 0, 170, 9) reaches outside its image of 160 x 120 pixels",
    ]
    assert report.notes == ()
    nothing = check_dataset(Listed(RETINAS[:2], label=None, boxes=(), card=card | {"class_counts": {"cell": 0}}))
    assert [f.sentence for f in nothing.faults] == ["listed: all of 2 samples have no box: s0 and s1"]


def test_classes_without_samples_and_rare_ones():
    images = [retina(i, 40, 40) for i in range(22)]
    labels = ["a"] * 21 + ["b"]
    report = check_dataset(Listed(images, label=labels, card={"classes": ("a", "b", "c")}), near=False)
    assert [(f.kind, f.sentence) for f in report.notes] == [
        ("empty class", "listed: no sample of c"),
        ("imbalance", "listed: a is 21 times as frequent as b (21 and 1)"),
    ]


def test_samples_without_label():
    half = check_dataset(Listed(RETINAS[:3], label=["a", None, "a"]))
    assert kinds(half) == [("no label", "note", ("s1",))]
    nothing = check_dataset(Listed(RETINAS[:2], label=None))
    assert ("no label", "fault", ("s0", "s1")) in kinds(nothing)


def test_what_the_card_tells_is_told_once_for_all_parts():
    card = {"faults": ("x.xml: a box is left out",), "notes": ("half of it",), "licence": "not stated"}
    parts = [Part(dataset=Listed(RETINAS[i : i + 1], card=card), name="set", split=s) for i, s in enumerate(("train", "val"))]
    report = check_dataset(*parts)
    assert [(f.kind, f.severity, f.sentence) for f in report.findings] == [
        ("card", "fault", "set: x.xml: a box is left out"),
        ("card", "note", "set: half of it"),
        ("licence", "note", "set: the licence is not stated"),
    ]


@pytest.mark.parametrize("given", [(), (Listed(RETINAS[:1]), Listed(RETINAS[1:2]))])
def test_nothing_and_one_name_twice(given):
    with pytest.raises(ConfigError, match="give different data sets"):
        check_dataset(*given)


def test_the_report_is_json_and_counts():
    report = check_dataset(Listed([RETINAS[0]] * 2, card={"licence": "not stated"}))
    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert (plain["n_faults"], plain["n_notes"]) == (1, 1)
    assert plain["findings"][0]["samples"] == ["s0", "s1"]


def test_names_in_sentences():
    assert [listed(names) for names in ([], ["a"], ["a", "b"], "abc")] == ["", "a", "a and b", "a, b and c"]
    assert listed(map(str, range(12))) == "0, 1, 2, 3, 4, 5, 6, 7 and 4 more"


def test_progress_is_told():
    seen = []
    check_dataset(Listed(RETINAS[:3]), near=False, watch=lambda items: (seen.append(i) or i for i in items))
    assert seen == [0, 1, 2]


def test_series_for_relaxometry(tmp_path):
    for subject, value in (("01", 1.0), ("02", 2.0), ("03", 1.0)):
        for echo in (1, 2):
            path = tmp_path / f"sub-{subject}" / "anat" / f"sub-{subject}_echo-{echo}_MESE.nii.gz"
            images = np.full((2, 3, 4), value * echo, np.float32)
            write_nifti(path, images, np.diag([1e-3, 1e-3, 2e-3, 1.0]), sidecar={"EchoTime": 0.01 * echo})
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.11.1", "License": "CC0"}')
    report = check_dataset(RelaxometryFolder(tmp_path))
    assert [(k, s) for k, _, s in kinds(report)] == [("duplicate", ("sub-01_MESE", "sub-03_MESE"))]
