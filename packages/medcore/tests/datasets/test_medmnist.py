"""MedMNIST files, good and bad."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile

import numpy as np
import pytest

from medcore.config import to_mapping
from medcore.datasets import Dataset, MedMnist
from medcore.datasets.medmnist_facts import PUBLISHED, file_name
from medcore.errors import ConfigError, InputError


def test_a_split_is_a_dataset(write_medmnist):
    found = MedMnist(write_medmnist(), split="val")
    assert isinstance(found, Dataset)
    assert [s.label for s in found] == ["pneumonia", "normal", "pneumonia", "pneumonia"]
    assert found.card.class_counts == {"normal": 1, "pneumonia": 3}
    assert found.card.splits == {"train": 6, "val": 4}
    assert found.card.licence == "CC BY 4.0"
    assert found[0].grade is None
    assert found[-1].sample_id == "val-000003"
    with np.load(write_medmnist()) as arrays:
        assert np.array_equal(found[2].image, arrays["val_images"][2])


def test_changing_an_image_leaves_the_dataset_as_it_was(write_medmnist):
    found = MedMnist(write_medmnist())
    before = found[1].image.copy()
    found[1].image[:] = 7
    assert np.array_equal(found[1].image, before)


def test_pixels_are_read_when_asked_for(write_medmnist):
    """The card needs no pixels: cut-out pixels are noticed by the first image, not before."""
    path = write_medmnist()
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members["train_images.npy"] = members["train_images.npy"][:-10]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    found = MedMnist(path)
    assert found.card.n_samples == 6
    with pytest.raises(InputError, match=r"pneumoniamnist\.npz"):
        found[0]


def test_ordinal_sets_have_grades(write_medmnist):
    found = MedMnist(
        write_medmnist("retinamnist", train_labels=np.array([0, 4, 2, 1, 3, 0]), train_images=np.zeros((6, 64, 64, 3), np.uint8))
    )
    assert found.card.task == "grading"
    assert found.card.ordered
    assert [s.grade for s in found] == [0, 4, 2, 1, 3, 0]
    assert found[0].image.shape == (64, 64, 3)
    assert MedMnist(write_medmnist("my_set"), ordered=True)[1].grade == 1


def test_licence_of_the_one_set_that_is_not_free(write_medmnist):
    assert MedMnist(write_medmnist("dermamnist_64")).card.licence == "CC BY-NC 4.0"


def test_unknown_sets_get_plain_class_names_or_given_ones(write_medmnist):
    path = write_medmnist("mine")
    assert MedMnist(path).classes == ("class 0", "class 1")
    assert MedMnist(path).card.licence == "not stated"
    assert MedMnist(path, classes=("no", "yes"))[0].label == "no"


def test_the_card_is_plain_data(write_medmnist):
    import json

    assert json.loads(json.dumps(to_mapping(MedMnist(write_medmnist()).card)))["task"] == "classification"


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"split": "test"}, "has no split 'test', it holds train, val"),
        ({"train_labels": None}, {}, "has no split 'train', it holds val"),
        ({"train_labels": np.zeros((5, 1), int)}, {}, r"has train_labels of int64 \(5, 1\) for 6 images"),
        ({"train_labels": np.zeros((6, 14), int)}, {}, "holds 14 labels for each image and there are 2 classes"),
        ({"train_labels": np.zeros(6)}, {}, "has train_labels of float64"),
        ({"train_labels": np.array([0, 1, 2, 0, 1, 1])}, {}, "has the label 2 and classes 0 to 1"),
        ({"train_labels": np.array([0, 1, -1, 0, 1, 1])}, {}, "has the label -1"),
        ({"train_images": np.zeros((6, 28, 28))}, {}, "has train_images of float64"),
        ({"train_images": np.zeros((6, 28, 28, 28, 1), np.uint8)}, {}, r"has train_images of uint8 \(6, 28, 28, 28, 1\)"),
        ({"train_labels": np.eye(6, 14, dtype=int) * 2}, {}, "holds 14 labels for each image, one of them 2; give zeros and ones"),
        ({"train_labels": np.eye(6, 2, dtype=int)}, {"ordered": True}, "is given for a set with several labels an image"),
        ({"train_labels": np.zeros((6, 0), int)}, {}, r"claims the shape \(6, 0\)"),
        ({"train_labels": np.zeros((6, 1, 1), int)}, {}, r"has train_labels of int64 \(6, 1, 1\) for 6 images"),
        ({"train_images": np.zeros((6, 784), np.uint8)}, {}, r"has train_images of uint8 \(6, 784\)"),
        ({"train_images": np.zeros((0, 28, 28), np.uint8)}, {}, r"claims the shape \(0, 28, 28\)"),
    ],
)
def test_bad_files(write_medmnist, changes, options, message):
    with pytest.raises(InputError, match=message):
        MedMnist(write_medmnist(**changes), **options)


@pytest.mark.parametrize("classes", [(), ("a", "a"), ("a", ""), "ab"])
def test_class_names_are_different_words(write_medmnist, classes):
    with pytest.raises(ConfigError, match="classes: are"):
        MedMnist(write_medmnist(), classes=classes)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz: does not exist"):
        MedMnist(tmp_path / "none.npz")


@pytest.mark.parametrize("keep", [10, 300, 5000])
def test_cut_files(write_medmnist, keep):
    path = write_medmnist()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"pneumoniamnist\.npz: is a damaged \.npz file"):
        MedMnist(path)


def test_pickles_are_not_opened(write_medmnist):
    path = write_medmnist(train_images=np.array([{"a": 1}] * 6, dtype=object))
    with pytest.raises(InputError, match="has train_images of object"):
        MedMnist(path)
    path = write_medmnist(train_labels=np.array([{"a": 1}] * 6, dtype=object))
    with pytest.raises(InputError, match="object"):
        MedMnist(path)


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(write_medmnist):
    path = write_medmnist()
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**7, 1000, 1000)})
    members["train_images.npy"] = header.getvalue() + bytes(100)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match="claims 10000000000000 bytes"):
        MedMnist(path)


def test_volumes(write_medmnist, rng):
    volumes = rng.integers(0, 256, (6, 28, 28, 28), dtype=np.uint8)
    found = MedMnist(write_medmnist("organmnist3d", train_images=volumes, val_images=volumes[:4], train_labels=np.arange(6)))
    assert found.card.volumetric
    assert np.array_equal(found[5].image, volumes[5])
    assert found[5].label == "bladder"
    assert found.card.notes[:2] == (
        "train has 6 samples, published are 971",
        "val has 4 samples, published are 161",
    )
    assert len(found.card.notes) == 3  # the third: no test; the shape is as published


def test_several_labels_an_image(write_medmnist):
    rows = np.zeros((6, 14), np.uint8)
    rows[0, [2, 13]] = rows[3, 2] = 1
    found = MedMnist(write_medmnist("chestmnist", train_labels=rows))
    assert (found.card.task, len(found.classes)) == ("multi-label", 14)
    assert [s.labels for s in found] == [("effusion", "hernia"), (), (), ("effusion",), (), ()]
    assert found[0].label is None
    assert found.card.class_counts["effusion"] == 2
    assert found.card.class_shares["effusion"] == round(2 / 6, 6)
    assert MedMnist(write_medmnist("mine", train_labels=rows)).classes[13] == "class 13"


@pytest.mark.parametrize("flag", PUBLISHED)
def test_every_published_set_is_known(write_medmnist, flag):
    """Files with the arrays of each set: name, task, shape of labels and images, licence."""
    known = PUBLISHED[flag]
    n = len(known.classes)
    labels = np.eye(n, dtype=np.uint8) if known.task == "multi-label" else np.arange(n, dtype=np.uint8)[:, None]
    for size in known.md5:
        side = (size,) * (3 if known.volumetric else 2) + ((3,) if known.channels == 3 else ())
        images = np.zeros((n, *side), np.uint8)
        name = file_name(flag, size).removesuffix(".npz")
        found = MedMnist(write_medmnist(name, train_images=images, train_labels=labels, val_images=None))
        assert found.classes == known.classes
        assert found.card.task == known.task
        assert found.card.ordered == (flag == "retinamnist")
        assert found.card.licence == ("CC BY-NC 4.0" if flag == "dermamnist" else "CC BY 4.0")
        assert found.card.volumetric == flag.endswith("3d")
        assert [n for n in found.card.notes if "shape" in n] == []
        assert f"train has {n} samples, published are {known.samples[0]}" in found.card.notes


def test_published_facts_are_whole():
    assert len(PUBLISHED) == 18
    assert sum(p.volumetric for p in PUBLISHED.values()) == 6
    hashes = [h for p in PUBLISHED.values() for h in p.md5.values()]
    assert len(set(hashes)) == len(hashes) == 12 * 4 + 6 * 2
    assert all(re.fullmatch("[0-9a-f]{32}", h) for h in hashes)


@pytest.mark.parametrize(
    ("name", "shape", "note"),
    [
        ("pathmnist_64", (6, 28, 28, 3), r"train has the shape (6, 28, 28, 3), published is the size 64"),
        ("pathmnist", (6, 28, 28), r"train has the shape (6, 28, 28), published are colour images"),
        ("octmnist", (6, 28, 28, 28), r"train has the shape (6, 28, 28, 28), published are grey images"),
        ("vesselmnist3d_64", (6, 64, 64), r"train has the shape (6, 64, 64), published are volumes"),
        ("octmnist_mine", (6, 50, 50), r"train has the shape (6, 50, 50), published is the size 28 or 64 or 128 or 224"),
    ],
)
def test_what_differs_from_the_published_set_is_told(write_medmnist, name, shape, note):
    found = MedMnist(write_medmnist(name, train_images=np.zeros(shape, np.uint8), val_images=None))
    assert note in found.card.notes


def test_the_md5_is_verified_when_asked_for(write_medmnist, monkeypatch):
    path = write_medmnist()
    with pytest.raises(InputError, match=r"has the MD5 [0-9a-f]{32}, published is 28209eda62fecd6e6a2d98b1501bb15f"):
        MedMnist(path, verify=True)
    with pytest.raises(InputError, match="is called like no published file, so no MD5 of it is known"):
        MedMnist(write_medmnist("mine"), verify=True)
    own = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(PUBLISHED["pneumoniamnist"].md5, 28, own)
    assert len(MedMnist(path, verify=True)) == 6


def test_a_missing_published_file_says_where_to_get_it(tmp_path):
    expected = r"dermamnist_64\.npz: does not exist; download dermamnist_64\.npz \(MD5 b70a2f5635c6199aeaa28c31d7202e1f\) from https://zenodo"
    with pytest.raises(InputError, match=expected):
        MedMnist(tmp_path / "dermamnist_64.npz")
    with pytest.raises(InputError, match=expected):
        MedMnist(tmp_path, flag="dermamnist", size=64)
    with pytest.raises(InputError, match=r"mine\.npz: does not exist; check the path"):
        MedMnist(tmp_path / "mine.npz")


def test_folders(write_medmnist, tmp_path):
    write_medmnist()
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    assert len(MedMnist(tmp_path)) == 6
    write_medmnist("retinamnist")
    with pytest.raises(InputError, match=r"holds pneumoniamnist\.npz, retinamnist\.npz; choose one with flag= and size="):
        MedMnist(tmp_path)
    assert MedMnist(tmp_path, flag="retinamnist").card.ordered
    assert MedMnist(tmp_path / "retinamnist.npz", flag="retinamnist").card.ordered
    with pytest.raises(ConfigError, match=r"flag: pneumoniamnist is given and retinamnist\.npz is not its file"):
        MedMnist(tmp_path / "retinamnist.npz", flag="pneumoniamnist")
    with pytest.raises(ConfigError, match="did you mean 'retinamnist'"):
        MedMnist(tmp_path, flag="retinamnst")
    with pytest.raises(ConfigError, match="size: is 128 of nodulemnist3d; give flag= and one of 28, 64"):
        MedMnist(tmp_path, flag="nodulemnist3d", size=128)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no file with <split>_images and <split>_labels"):
        MedMnist(tmp_path / "empty")
