"""Data sets are recognised by what they hold."""

from __future__ import annotations

import numpy as np
import pytest

import medcore
from medcore.datasets import KINDS, GradedFolder, MaskFolder, MedMnist, VocFolder, open_dataset
from medcore.errors import ConfigError, InputError
from medcore.opening import describe, find_faults


def test_every_kind_is_recognised(graded, write_voc, write_medmnist, tmp_path, picture, save_image):
    save_image(picture(), tmp_path / "masks" / "a.png")
    save_image(np.ones((20, 30), np.uint8), tmp_path / "masks" / "a_OD.png")
    places = {
        graded: GradedFolder,
        graded / "labels.csv": GradedFolder,
        write_voc("one", ("cell", 1, 2, 3, 4)): VocFolder,
        write_medmnist(): MedMnist,
        tmp_path / "masks": MaskFolder,
    }
    for place, kind in places.items():
        assert type(open_dataset(place)) is kind
        if place != graded / "labels.csv":
            assert type(medcore.open(place)) is kind
    assert {type(open_dataset(p)) for p in places} == {k.reader for k in KINDS.values()}


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
    with pytest.raises(ConfigError, match="'vok': is not one of medmnist, graded, voc, masks; did you mean 'voc'"):
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
    assert "c.png: is a damaged image" in found
