"""Whatever bytes of a data set's files are changed: it opens, or the error names the file. No other exception, no other outcome."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from medcore.datasets import (
    ClassTable,
    CocoDetection,
    GradedFolder,
    MedMnist,
    VocFolder,
    VqaLines,
    check_dataset,
    open_dataset,
    read_image,
    recognise_dataset,
)
from medcore.datasets.parts import open_parts
from medcore.errors import ConfigError, InputError

CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


def _damaged(content: bytes, changes: list[tuple[float, int]], keep: float) -> bytes:
    changed = bytearray(content)
    for place, value in changes:
        changed[int(place * len(changed))] = value
    return bytes(changed[: max(1, int(keep * len(changed)))])


def _use(path, original, changes, keep, read):
    try:
        path.write_bytes(_damaged(original, changes, keep))
        with contextlib.suppress(InputError, ConfigError):
            read()
    finally:
        path.write_bytes(original)


KEEP = st.one_of(st.just(1.0), st.floats(0, 1))


@settings(max_examples=150)
@given(CHANGES, KEEP)
def test_medmnist(write_medmnist, changes, keep):
    path = write_medmnist()
    _use(path, path.read_bytes(), changes, keep, lambda: list(MedMnist(path)))


@settings(max_examples=150)
@given(CHANGES, KEEP)
def test_tables(graded, changes, keep):
    path = graded / "labels.csv"
    _use(path, path.read_bytes(), changes, keep, lambda: GradedFolder(graded))


@settings(max_examples=150)
@given(CHANGES, KEEP)
def test_annotations(write_voc, changes, keep):
    folder = write_voc("one", ("cell", 1, 2, 5, 9), ("dirt", 0, 0, 30, 20))
    path = folder / "Annotations" / "one.xml"
    _use(path, path.read_bytes(), changes, keep, lambda: VocFolder(folder))


@settings(max_examples=150)
@given(CHANGES, KEEP, st.sampled_from(["png", "jpg", "tif", "bmp"]))
def test_images(tmp_path, picture, save_image, changes, keep, suffix):
    path = save_image(picture(height=40, width=40), tmp_path / f"a.{suffix}")
    _use(path, path.read_bytes(), changes, keep, lambda: read_image(path))


@settings(max_examples=150)
@given(CHANGES, KEEP)
def test_tables_of_classes(write_table, changes, keep):
    folder = write_table("image,label,patient\na,cyst,p1\nb,stone,p1\nc,cyst,p2\n")
    path = folder / "labels.csv"
    _use(path, path.read_bytes(), changes, keep, lambda: ClassTable(folder))


@settings(max_examples=150)
@given(CHANGES, KEEP)
def test_coco(write_coco, changes, keep):
    folder = write_coco({}, {"category_id": 3, "iscrowd": 1})
    path = folder / "annotations" / "instances.json"
    _use(path, path.read_bytes(), changes, keep, lambda: CocoDetection(folder))


@settings(max_examples=150)
@given(CHANGES, KEEP)
def test_questions(write_vqa, changes, keep):
    line = {"image": "images/0.png", "question": "Is there fluid?", "answer": "no", "choices": ["no", "yes"], "subject": "p1"}
    folder = write_vqa(line, line | {"image": "images/1.png", "answer": "yes"})
    path = folder / "vqa.jsonl"
    _use(path, path.read_bytes(), changes, keep, lambda: VqaLines(folder))


@settings(max_examples=100)
@given(CHANGES, KEEP)
def test_what_a_damaged_file_is_taken_for(write_vqa, changes, keep):
    """Recognition looks at bytes too, and so does whatever reader it then chooses."""
    line = {"image": "images/0.png", "question": "Is there fluid?", "answer": "no"}
    path = write_vqa(line) / "vqa.jsonl"
    _use(path, path.read_bytes(), changes, keep, lambda: [recognise_dataset(path), open_dataset(path)])


@settings(max_examples=60)
@given(CHANGES, KEEP, st.sampled_from(["a.png", "b.png"]))
def test_the_check_names_an_image_that_is_damaged_or_finds_nothing(graded, changes, keep, name):
    """Pictures are decoded by the check itself: a damaged one is a finding, never an error. PNG has checksums, so none is read wrongly."""
    path = graded / name
    original = path.read_bytes()
    try:
        path.write_bytes(_damaged(original, changes, keep))
        report = check_dataset(GradedFolder(graded))
        if path.read_bytes() == original:
            assert report.faults == ()
        assert {f.samples for f in report.faults} <= {(path.stem,)}
        assert {f.kind for f in report.faults} <= {"unreadable"}
    finally:
        path.write_bytes(original)


@settings(max_examples=60)
@given(CHANGES, KEEP)
def test_the_check_of_medmnist_files(write_medmnist, changes, keep):
    path = write_medmnist()
    _use(path, path.read_bytes(), changes, keep, lambda: check_dataset(*open_parts([path]), near=False))
