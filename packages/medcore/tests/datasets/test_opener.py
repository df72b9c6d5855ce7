"""Data sets are recognised by what they hold."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - what workers of a loader do with data sets
import re
import shutil

import numpy as np
import pytest

import medcore
from medcore.config import from_mapping, to_mapping
from medcore.datasets import (
    KINDS,
    ClassFolders,
    ClassTable,
    CocoDetection,
    DatasetCard,
    DicomImages,
    GradedFolder,
    MaskFolder,
    MedMnist,
    RelaxometryFolder,
    VocFolder,
    VqaLines,
    find_datasets,
    open_dataset,
    recognise_dataset,
)
from medcore.errors import ConfigError, InputError
from medcore.io import write_nifti
from medcore.opening import describe, find_faults


@pytest.fixture
def every_kind(
    graded, write_voc, write_medmnist, tmp_path, picture, save_image, write_coco, class_tree, write_table, write_vqa, save_film
):
    save_image(picture(), tmp_path / "masks" / "a.png")
    save_image(np.ones((20, 30), np.uint8), tmp_path / "masks" / "a_OD.png")
    for echo in (1, 2, 3):
        image = tmp_path / "study" / "sub-01" / "anat" / f"sub-01_echo-{echo}_MESE.nii.gz"
        write_nifti(image, np.ones((2, 3, 4), np.float32), np.eye(4), sidecar={"EchoTime": 0.01 * echo})
    film = save_film("a.dcm", np.arange(12, dtype=np.uint8).reshape(3, 4))
    film.parent.rename(tmp_path / "chest")
    return {
        graded: GradedFolder,
        graded / "labels.csv": GradedFolder,
        write_voc("one", ("cell", 1, 2, 3, 4)): VocFolder,
        write_medmnist(): MedMnist,
        tmp_path / "masks": MaskFolder,
        (coco := write_coco({})): CocoDetection,
        coco / "annotations" / "instances.json": CocoDetection,
        class_tree: ClassFolders,
        class_tree / "train": ClassFolders,
        write_table("image,finding\na,none\nb,mass\nc,none\n"): ClassTable,
        (vqa := write_vqa({"image": "images/0.png", "question": "Is it?", "answer": "no"})): VqaLines,
        vqa / "vqa.jsonl": VqaLines,
        tmp_path / "chest": DicomImages,
        tmp_path / "study": RelaxometryFolder,
    }


def test_every_kind_is_recognised(every_kind):
    for place, kind in every_kind.items():
        assert type(open_dataset(place)) is kind, place
        assert len(recognise_dataset(place)) == 1
    assert {type(open_dataset(p)) for p in every_kind} == {k.reader for k in KINDS.values()}


def test_medcore_open_finds_them_too(every_kind):
    for place, kind in every_kind.items():
        if place.is_dir() and kind not in (DicomImages, RelaxometryFolder):  # these are images first
            assert type(medcore.open(place)) is kind


def test_every_kind_has_a_card_with_licence_and_source_given(every_kind):
    for place in every_kind:
        card = open_dataset(place, licence="CC0 1.0", source="our archive").card
        assert (card.licence, card.source) == ("CC0 1.0", "our archive")
        assert card.sha256
        assert all(len(h) == 64 for h in card.sha256.values())
        assert set(card.class_shares) == set(card.class_counts) == set(card.classes)
        assert from_mapping(DatasetCard, json.loads(json.dumps(to_mapping(card)))) == card


def test_every_kind_can_be_pickled_and_read_again(every_kind):
    for place, kind in every_kind.items():
        found = open_dataset(place)
        first = found[0]  # so that what is read only once is in memory
        again = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
        assert len(again) == len(found)
        if kind is RelaxometryFolder:
            assert np.array_equal(again[0].series.data, first.series.data)
        else:
            assert again.annotations == found.annotations
            assert np.array_equal(again[0].image, first.image)


def test_data_sets_below_a_folder_are_found(every_kind, tmp_path):
    files = {p for p in every_kind if p.is_file() and p.suffix == ".npz"}
    expected = {p for p in every_kind if p.is_dir() and p.parent == tmp_path} | files
    assert {p for p, _ in find_datasets(tmp_path)} == expected
    assert find_datasets(tmp_path, depth=0) == [(next(iter(files)), "medmnist")]
    (tmp_path / "deep" / "a" / "b").mkdir(parents=True)
    shutil.copytree(tmp_path / "eyes", tmp_path / "deep" / "a" / "b" / "eyes")
    assert {p for p, _ in find_datasets(tmp_path)} == expected
    assert (tmp_path / "deep" / "a" / "b" / "eyes", "graded") in find_datasets(tmp_path, depth=4)
    with pytest.raises(InputError, match="nowhere: does not exist"):
        find_datasets(tmp_path / "nowhere")


def test_folders_of_data_sets_are_no_classes(tmp_path, picture, save_image):
    """Two folders with images are classes only if they hold images and nothing else."""
    for name in ("one", "two"):
        save_image(picture(), tmp_path / "set" / name / "a.png")
    assert recognise_dataset(tmp_path / "set") == ["class-folders"]
    (tmp_path / "set" / "one" / "labels.csv").write_text("image,grade\na,0\n")
    assert recognise_dataset(tmp_path / "set") == []
    assert find_datasets(tmp_path / "set") == [(tmp_path / "set" / "one", "graded")]


@pytest.mark.parametrize(
    ("header", "kinds"),
    [
        ("image,grade|a,0|b,1|c,2", ["graded"]),
        ("id_code,diagnosis|a,0|b,4|c,2", ["graded"]),
        ("id,diagnosis|a,flu|b,none|c,flu", ["class-table"]),
        ("image,label|a,0|b,1|c,1", ["graded", "class-table"]),
        ("image,label|a,x|b,y|c,x", ["class-table"]),
        ("image,effusion,mass|a,0,1|b,1,1|c,0,0", ["class-table"]),
        ("slide,stage|a,0|b,1|c,1", ["graded", "class-table"]),
    ],
)
def test_a_table_speaks_for_its_kind(write_table, header, kinds):
    assert recognise_dataset(write_table(header.replace("|", "\n") + "\n")) == kinds


def test_an_option_that_one_kind_has_makes_the_choice(write_table):
    folder = write_table("slide,stage\na,0\nb,1\nc,1\n")
    with pytest.raises(InputError, match="may be of the kinds graded and class-table; choose one with kind="):
        open_dataset(folder)
    assert type(open_dataset(folder, image_column="slide", grade_column="stage")) is GradedFolder
    assert type(open_dataset(folder, image_column="slide", label_column="stage")) is ClassTable


def test_a_table_of_labels_beside_dicom_belongs_to_it(save_film, tmp_path):
    for name in "ab":
        save_film(f"{name}.dcm", np.arange(12, dtype=np.uint8).reshape(3, 4))
    (tmp_path / "films" / "labels.csv").write_text("image,label\na,x\nb,y\n")
    assert recognise_dataset(tmp_path / "films") == ["dicom-images"]
    assert [a.label for a in open_dataset(tmp_path / "films").annotations] == ["x", "y"]


def test_options_reach_the_reader(write_medmnist, graded):
    assert open_dataset(write_medmnist(), split="val").card.n_samples == 4
    assert medcore.open(write_medmnist(), split="val").card.n_samples == 4
    assert open_dataset(graded, kind="graded", classes=("x", "y", "z")).classes == ("x", "y", "z")
    with pytest.raises(ConfigError, match="is of the kind graded, which has no option 'split'; use csv, image_column"):
        open_dataset(graded, split="val")


def test_a_choice_is_left_to_the_user(graded, write_voc):
    folder = write_voc("one", ("cell", 1, 2, 3, 4))
    (folder / "grades.csv").write_text("image,grade\none,0\n")
    with pytest.raises(InputError, match="may be of the kinds voc and graded; choose one with kind="):
        open_dataset(folder)
    assert type(open_dataset(folder, kind="voc")) is VocFolder
    with pytest.raises(ConfigError, match=r"'vok': is not one of medmnist, graded, voc, masks, .*did you mean 'voc'"):
        open_dataset(folder, kind="vok")


def test_nothing_known(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="holds no data set of a known kind"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="holds no data set of a known kind"):
        open_dataset(tmp_path / "notes.txt")


def test_a_damaged_file_is_called_damaged(write_medmnist):
    path = write_medmnist()
    path.write_bytes(path.read_bytes()[:-40])
    for opener in (open_dataset, medcore.open):
        with pytest.raises(InputError, match=r"pneumoniamnist\.npz: is a damaged \.npz file"):
            opener(path)


def test_info_tells_the_card(graded):
    facts = describe(graded)
    assert facts["type"] == "dataset"
    assert facts["samples"] == 4
    assert facts["card"]["class_counts"] == {"grade 0": 1, "grade 1": 1, "grade 2": 2}


def test_validate_tells_faults_of_the_card_and_images_that_cannot_be_decoded(write_voc, graded):
    folder = write_voc("one", ("cell", 4, 4, 4, 4))
    assert find_faults(folder) == ["one.xml: the box cell (4, 4, 4, 4) has zero area and is left out"]
    assert find_faults(graded) == []
    (graded / "c.png").write_bytes((graded / "c.png").read_bytes()[:200])
    (found,) = find_faults(graded)
    assert re.search(r"c\.png: is .*damaged", found)


def test_files_of_annotations_are_data_sets(write_vqa, write_coco):
    """What is wrong with a line or a box is told, not that a file of several lines is no JSON."""
    line = {"image": "images/0.png", "question": "Is it?", "answer": "no"}
    questions = write_vqa(line, line) / "vqa.jsonl"
    assert describe(questions)["card"]["class_counts"] == {"no": 2}
    assert find_faults(questions) == []
    assert type(medcore.open(questions)) is VqaLines
    questions = write_vqa(line, {"image": "images/0.png", "question": "Is it?"}) / "vqa.jsonl"
    with pytest.raises(InputError, match="line 2: has answer = None"):
        find_faults(questions)
    boxes = write_coco({"bbox": [1, 1, 0, 0]}) / "annotations" / "instances.json"
    assert find_faults(boxes) == ["annotation 1 (liver) of 1.png: the box (1, 1, 0, 0) has zero area and is left out"]


@pytest.mark.parametrize("content", [b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + b"\xff" * 18, b"PK\x03\x04" + bytes(60)])
def test_odd_archives_are_no_data_sets(tmp_path, content):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(InputError, match="holds no data set of a known kind"):
        open_dataset(tmp_path / "x.bin")


def test_other_files_of_lines_are_no_questions(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n')
    assert recognise_dataset(log) == []
    assert find_datasets(tmp_path) == []
    log.write_text('{"question": "Is it?", "answer": "no"}\n')
    with pytest.raises(InputError, match="line 1: has image = None"):
        open_dataset(log)
    log.write_text('{"question": \n')
    with pytest.raises(InputError, match="line 1: is not valid JSON"):
        open_dataset(log)
