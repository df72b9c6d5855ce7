"""Data sets as tables of Hugging Face ``datasets``: everything comes back, nothing is left on disk."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from medcore.datasets import (
    ClassTable,
    CocoDetection,
    MedMnist,
    Subset,
    VqaLines,
    drawn_grades,
    drawn_scans,
    open_dataset,
    to_huggingface,
)
from medcore.errors import InputError

datasets = pytest.importorskip("datasets")


def test_classes_and_boxes_come_back():
    ours = drawn_scans(70)  # more than one batch
    table = to_huggingface(ours)
    assert table.num_rows == 70
    assert isinstance(table.features["label"], datasets.ClassLabel)
    assert isinstance(table.features["image"], datasets.Image)
    assert table.features["label"].names == list(ours.classes)
    for row, sample in zip(table, ours, strict=True):
        assert row["sample_id"] == sample.sample_id
        assert np.array_equal(np.asarray(row["image"]), sample.image)
        assert ours.classes[row["label"]] == sample.label
        assert row["boxes"] == sample.boxes.tolist()
        assert row["subject"] == sample.subject
        assert [ours.classes[n] for n in row["box_labels"]] == list(sample.box_labels)


def test_grades_and_what_their_boxes_hold():
    ours = drawn_grades(5)
    table = to_huggingface(ours)
    assert table["grade"][:] == [a.grade for a in ours.annotations]
    names = table.features["box_labels"].feature.names
    assert [[names[n] for n in row] for row in table["box_labels"]] == [list(a.box_labels) for a in ours.annotations]


def test_detection_comes_back(write_coco):
    ours = CocoDetection(write_coco({"bbox": [1.5, 2, 3, 4], "iscrowd": 1}), licence="CC BY 4.0", source="here")
    table = to_huggingface(ours)
    assert table["boxes"][:] == [[[1.5, 2, 4.5, 6]], []]
    assert table["box_crowd"][:] == [[True], []]
    assert table.info.license == "CC BY 4.0"
    assert "source: here" in table.info.description


def test_several_labels_come_back(write_table):
    ours = ClassTable(write_table("image,effusion,mass\na,0,1\nb,1,1\nc,0,0\n"))
    table = to_huggingface(ours)
    assert table["labels"][:] == [[1], [0, 1], []]
    assert "label" not in table.column_names


def test_questions_come_back(write_vqa):
    lines = [{"image": "images/0.png", "question": f"Is it {i}?", "answer": "no", "choices": ["no", "yes"]} for i in range(3)]
    table = to_huggingface(VqaLines(write_vqa(*lines)))
    assert table["question"][:] == ["Is it 0?", "Is it 1?", "Is it 2?"]
    assert table[2]["choices"] == ["no", "yes"]


def test_volumes_come_back(write_medmnist, rng):
    volumes = rng.integers(0, 256, (6, 9, 8, 7), dtype=np.uint8)
    ours = MedMnist(write_medmnist("vesselmnist3d", train_images=volumes))
    table = to_huggingface(ours).with_format("numpy")
    assert np.array_equal(np.stack(table["image"][:]), volumes)


def test_parts_and_tables_without_images(class_tree):
    ours = open_dataset(class_tree)
    table = to_huggingface(Subset(ours, [4, 0]), images=False)
    assert table.column_names == ["sample_id", "label", "split"]
    assert table["sample_id"][:] == [ours.annotations[4].sample_id, ours.annotations[0].sample_id]


def test_empty_parts_are_refused(class_tree):
    with pytest.raises(InputError, match="has no samples"):
        to_huggingface(Subset(open_dataset(class_tree), []))


def test_tables_survive_being_stored(tmp_path):
    """A parquet file of it gives the same images and names of classes back."""
    ours = drawn_scans(6)
    to_huggingface(ours).to_parquet(tmp_path / "scans.parquet")
    again = datasets.Dataset.from_parquet(str(tmp_path / "scans.parquet"), cache_dir=str(tmp_path / "cache"))
    assert again.features["label"].names == list(ours.classes)
    assert all(np.array_equal(np.asarray(row["image"]), s.image) for row, s in zip(again, ours, strict=True))


@pytest.mark.integration
def test_nothing_is_written_anywhere(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    code = "from medcore.datasets import *; t = to_huggingface(drawn_scans(80)); t[79]['image']; assert not t.cache_files"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_"))} | {
        "HOME": str(home),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
