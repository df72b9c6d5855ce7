"""Readers that collect faults instead of stopping at the first; box conventions; windows by name; deep grey images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medcore.datasets import (
    WINDOW_PRESETS,
    ClassFolders,
    ClassTable,
    CocoDetection,
    DicomImages,
    GradedFolder,
    MaskFolder,
    StatedBox,
    VocFolder,
    VqaLines,
    collect_faults,
    read_deep_image,
    read_image,
)
from medcore.datasets.boxes import fitting
from medcore.datasets.dicom_grey import apply_window, check_window
from medcore.datasets.labels import nearest
from medcore.errors import ConfigError, InputError, MissingExtraError


def test_a_table_with_five_faults(write_table: Callable[[str], Path]) -> None:
    text = "image,label\na,x\nb,\ngone,x\n../b.png,y\na.png,y\n"
    folder = write_table(text)
    with pytest.raises(InputError, match="has no label in line 3"):
        ClassTable(folder)
    with collect_faults() as found:
        dataset = ClassTable(folder)
    assert [a.sample_id for a in dataset.annotations] == ["a.png"]
    assert [(f.kind, f.sample) for f in found.faults] == [
        ("no-label", "line 3"),
        ("missing-image", "gone"),
        ("outside-path", "../b.png"),
        ("repeated", "a.png"),
        ("no-label", "c.png"),
    ]
    assert all(f.sentence == f"{f.what}: {f.problem}; {f.hint}" for f in found.faults)


def test_unknown_labels_name_the_nearest(write_table: Callable[[str], Path]) -> None:
    folder = write_table("image,label\na,cyst\nb,stnoe\nc,zebra\n")
    with collect_faults() as found:
        dataset = ClassTable(folder, classes=("cyst", "stone"), ordered=True)
    assert [a.grade for a in dataset.annotations] == [0]
    assert [f.kind for f in found.faults] == ["unknown-label"] * 2
    assert "did you mean 'stone'" in found.faults[0].hint
    assert found.faults[1].hint == "give all classes"
    with pytest.raises(InputError, match="did you mean 'stone'"):
        ClassTable(folder, classes=("cyst", "stone"))


@pytest.mark.parametrize(
    ("text", "options", "kinds", "left"),
    [
        ("image,label\na,x|y\nb,x|x\nc,z\n", {"separator": "|", "classes": ("x", "y")}, ["bad-entry", "unknown-label"], 1),
        ("image,x,y\na,0,1\nb,1,2\nc,0,0\n", {"label_columns": ("x", "y")}, ["unknown-label"], 2),
    ],
)
def test_several_labels(write_table: Callable[[str], Path], text: str, options: Any, kinds: list[str], left: int) -> None:
    with collect_faults() as found:
        dataset = ClassTable(write_table(text), **options)
    assert [f.kind for f in found.faults] == kinds
    assert len(dataset) == left


def test_grades(graded: Path) -> None:
    (graded / "labels.csv").write_text("image,grade\na,0\nb,two\nc,200\nd,1\nd,1\nx,0\n")
    with collect_faults() as found:
        dataset = GradedFolder(graded)
    assert [(a.sample_id, a.grade) for a in dataset.annotations] == [("a", 0), ("d", 1)]
    assert [f.kind for f in found.faults] == ["unknown-label", "unknown-label", "repeated", "missing-image"]


def test_class_folders_without_patient(class_tree: Path, picture: Any, save_image: Any) -> None:
    save_image(picture(99), class_tree / "train" / "cyst" / "nobody.png")
    with collect_faults() as found:
        dataset = ClassFolders(class_tree, subject_pattern="^(p[0-9])_")
    assert [(f.kind, f.sample) for f in found.faults] == [("no-subject", "train/cyst/nobody.png")]
    assert len(dataset) == 6


def test_voc(write_voc: Callable[..., Path]) -> None:
    write_voc("a", ("cell", 1, 2, 3, 4))
    write_voc("b", ("cell", 5, 5, 5, 5), ("cell", 1, 1, 3, 3))
    write_voc("c", ("cell", 20, 5, 40, 15))
    write_voc("d", ("cell", 9, 9, 3, 3))
    folder = write_voc("e", text="<annotation><filename>e.png")
    with collect_faults() as found:
        dataset = VocFolder(folder)
    assert [(f.kind, f.sample) for f in found.faults if f.kind != "no-label"] == [
        ("zero-box", "b"),
        ("box-outside", "c"),
        ("bad-box", "d"),
        ("bad-entry", "e"),
    ]
    assert [a.sample_id for a in dataset.annotations] == ["a", "b", "c"]
    assert [b.numbers for b in found.boxes if b.sample == "a"] == [(1, 2, 3, 4)]
    assert all((b.height, b.width) == (20, 30) for b in found.boxes)


def test_coco(write_coco: Callable[..., Path]) -> None:
    def change(content: dict[str, Any]) -> None:
        content["images"].append({"id": 5, "file_name": "gone.png", "width": 3, "height": 3})
        content["images"].append({"id": 1, "file_name": "again.png", "width": 3, "height": 3})
        content["images"][1]["width"] = 31

    folder = write_coco(
        {}, {"bbox": [1, 1, 0, 4]}, {"bbox": [25, 1, 10, 4]}, {"category_id": 9}, {"bbox": "x"}, {"image_id": 77}, change=change
    )
    with collect_faults() as found:
        dataset = CocoDetection(folder)
    assert [(f.kind, f.sample.rpartition(", ")[2]) for f in found.faults] == [
        ("repeated", "images[3]"),
        ("missing-image", "gone.png"),
        ("wrong-size", "2.png"),
        ("zero-box", "1.png"),
        ("box-outside", "1.png"),
        ("unknown-label", "1.png"),
        ("bad-entry", "1.png"),
        ("bad-entry", "annotations[5]"),
    ]
    assert [a.sample_id for a in dataset.annotations] == ["1.png", "2.png"]
    assert dataset.card.faults == ()


def test_masks(tmp_path: Path, picture: Any, save_image: Any) -> None:
    for name in "abc":
        save_image(picture(ord(name)), tmp_path / f"{name}.png")
    masks = {"a": np.eye(20, 30, dtype=np.uint8), "b": np.zeros((20, 30), np.uint8), "c": np.ones((5, 5), np.uint8)}
    for name, mask in masks.items():
        save_image(mask, tmp_path / f"{name}_OD.png")
    with collect_faults() as found:
        dataset = MaskFolder(tmp_path)
    assert [(f.kind, f.sample) for f in found.faults] == [("empty-mask", "b"), ("wrong-size", "c")]
    assert [a.sample_id for a in dataset.annotations] == ["a", "b"]
    assert dataset.card.faults == ()


def test_questions(write_vqa: Callable[..., Path]) -> None:
    good = {"image": "images/0.png", "question": "Fluid?", "answer": "no"}
    lines = [good, "{", {**good, "image": "../x.png"}, {**good, "choices": ["a", "b"]}, {**good, "id": "q"}, {**good, "id": "q"}]
    with collect_faults() as found:
        dataset = VqaLines(write_vqa(*lines))
    assert [f.kind for f in found.faults] == ["bad-entry", "outside-path", "unknown-label", "repeated"]
    assert [a.sample_id for a in dataset.annotations] == ["vqa-000001", "q"]


def test_films(save_film: Callable[..., Path]) -> None:
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)
    for i, name in enumerate("abcd"):
        folder = save_film(f"{name}.dcm", pixels + i).parent
    (folder / "c.dcm").write_bytes((folder / "c.dcm").read_bytes()[:400])
    (folder / "labels.csv").write_text("file,label\na.dcm,x\nb.dcm,\nc.dcm,y\na.dcm,y\n")
    with collect_faults() as found:
        dataset = DicomImages(folder)
    assert {a.sample_id for a in dataset.annotations} == {"a.dcm"}
    assert {f.kind for f in found.faults} == {"damaged-image", "missing-image", "repeated", "no-label"}
    assert not any("MRN" in f.sentence or "Doe" in f.sentence for f in found.faults)


def test_collecting_ends_with_its_block_and_nests(write_table: Callable[[str], Path]) -> None:
    folder = write_table("image,label\na,x\nb,y\nc,\n")
    with collect_faults() as outer:
        with collect_faults() as inner:
            ClassTable(folder)
        assert len(inner.faults) == 1
        assert outer.faults == []
    with pytest.raises(InputError, match="line 4"):
        ClassTable(folder)


def test_wrong_options_and_missing_libraries_are_raised_even_then() -> None:
    from medcore.datasets.tolerance import spare

    for error in (ConfigError("a", "b", "c"), MissingExtraError("a", "b", "c")):
        with collect_faults() as found:
            with pytest.raises(type(error)), spare("s"):
                raise error
            assert found.faults == []


def test_good_data_are_the_same_whether_faults_are_collected_or_not(graded: Path, class_tree: Path) -> None:
    for reader, folder in ((GradedFolder, graded), (ClassFolders, class_tree)):
        strict: Any = reader(folder)
        with collect_faults() as found:
            lenient: Any = reader(folder)
        assert strict.annotations == lenient.annotations
        assert strict.card == lenient.card
        assert (found.faults, found.remarks) == ([], [])


def test_a_cmyk_image_is_remarked(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.jpg")
    with collect_faults() as found:
        read_image(tmp_path / "a.jpg")
    assert [(r.kind, r.sample) for r in found.remarks] == [("cmyk", "a.jpg")]


SIZE = st.integers(20, 400)


@given(SIZE, SIZE, st.lists(st.tuples(*[st.floats(0.05, 0.95)] * 4), min_size=1, max_size=8))
def test_boxes_fit_the_convention_that_they_were_written_in(height: int, width: int, shares: list[tuple[float, ...]]) -> None:
    made: dict[str, list[StatedBox]] = {}
    for a, b, c, d in shares:
        x0, x1, y0, y1 = min(a, c) * 0.9, max(a, c), min(b, d) * 0.9, max(b, d)
        forms = {
            "[x0, y0, x1, y1]": (x0, y0, x1, y1),
            "[x, y, width, height]": (x0, y0, x1 - x0, y1 - y0),
            "[centre x, centre y, width, height]": ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0),
        }
        for name, (p, q, r, s) in forms.items():
            pixels = (p * width, q * height, r * width, s * height)
            made.setdefault(name, []).append(StatedBox(sample="a", numbers=pixels, height=height, width=width))
            own = StatedBox(sample="a", numbers=(p, q, r, s), height=height, width=width)
            made.setdefault(f"{name} as shares of the image", []).append(own)
    for name, boxes in made.items():
        assert fitting(boxes)[name] == len(boxes)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("Cyst", ("cyst", "stone"), "did you mean 'cyst'"),
        ("pnuemonia", ("normal", "Pneumonia"), "did you mean 'Pneumonia'"),
        ("zebra", ("cyst", "stone"), None),
        ("", ("cyst",), None),
    ],
)
def test_nearest(name: str, known: tuple[str, ...], expected: str | None) -> None:
    found = nearest(name, known)
    assert found is None if expected is None else expected in str(found)


def test_presets_are_windows_of_ct(save_film: Callable[..., Path]) -> None:
    for name, window in WINDOW_PRESETS.items():
        assert check_window(name) == window
    with pytest.raises(ConfigError, match="did you mean 'lung'"):
        check_window("lungs")
    values = np.linspace(-1000, 1000, 600).reshape(20, 30).astype(np.int16)
    folder = save_film("a.dcm", values, Modality="CT").parent
    dataset = DicomImages(folder, window="bone")
    np.testing.assert_array_equal(dataset[0].image, apply_window(values.astype(np.float64), 400.0, 1800.0))
    assert any("centre 400, width 1800" in note for note in dataset.card.notes)
    save_film("b.dcm", values, Modality="MR")
    with pytest.raises(ConfigError, match=r"b\.dcm: is of the modality MR, and the window 'bone'"):
        DicomImages(folder, window="bone")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_images(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(1).integers(200, 50000, (30, 40)).astype(np.uint16)
    Image.fromarray(values).save(path := tmp_path / f"a{suffix}")
    with pytest.raises(InputError, match="more than 8 bits"):
        read_image(path)
    low, high = values.min(), values.max()
    expected = np.rint(255.0 * (values - float(low)) / float(high - low))
    np.testing.assert_array_equal(read_deep_image(path, "range"), expected)
    np.testing.assert_array_equal(read_deep_image(path, (0.0, 65535.0)), np.rint(values / 257.0))
    clipped = read_deep_image(path, "percentile")
    assert abs((clipped == 0).mean() - 0.005) < 0.01
    assert abs((clipped == 255).mean() - 0.005) < 0.01


def test_deep_images_that_cannot_be(tmp_path: Path) -> None:
    Image.fromarray(np.full((5, 5), 700, np.uint16)).save(tmp_path / "flat.png")
    assert not read_deep_image(tmp_path / "flat.png").any()
    Image.fromarray(np.full((5, 5), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(InputError, match="not finite"):
        read_deep_image(tmp_path / "nan.tif")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "eight.png")
    with pytest.raises(InputError, match="no grey image of more than 8 bits"):
        read_deep_image(tmp_path / "eight.png")
    with pytest.raises(ConfigError, match="lowest value first"):
        read_deep_image(tmp_path / "flat.png", (5.0, 5.0))
    content = (tmp_path / "flat.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:-20])
    with pytest.raises(InputError, match="damaged"):
        read_deep_image(tmp_path / "cut.png")


def test_file_names_need_not_be_text(class_tree: Path) -> None:
    file = next((class_tree / "train" / "cyst").iterdir())
    file.rename(file.with_name(os.fsdecode(b"k\xe4fer.png")))
    assert len(ClassFolders(class_tree)) == 6
