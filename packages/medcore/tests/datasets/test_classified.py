"""Class folders and tables of classes."""

from __future__ import annotations

import contextlib
import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.datasets import ClassFolders, ClassTable, Dataset, split_dataset
from medcore.errors import ConfigError, InputError


def test_folders_are_classes_and_splits(class_tree, picture):
    found = ClassFolders(class_tree)
    assert isinstance(found, Dataset)
    assert found.classes == ("cyst", "stone")
    assert [(s.sample_id, s.label, s.split) for s in found][:3] == [
        ("train/cyst/p0_cyst.png", "cyst", "train"),
        ("train/cyst/p1_cyst.png", "cyst", "train"),
        ("train/stone/p0_stone.png", "stone", "train"),
    ]
    assert np.array_equal(found[1].image, picture(1))
    card = found.card
    assert (card.splits, card.class_counts, card.n_samples) == ({"train": 4, "val": 2}, {"cyst": 3, "stone": 3}, 6)
    assert not card.ordered


def test_one_split(class_tree):
    found = ClassFolders(class_tree, split="val")
    assert (found.card.name, found.card.class_counts) == ("kidneys val", {"cyst": 1, "stone": 1})
    assert found.card.splits == {"train": 4, "val": 2}
    with pytest.raises(InputError, match=r"has no split 'test', it has train, val; choose one"):
        ClassFolders(class_tree, split="test")
    # A split opened by itself is a data set without splits.
    assert ClassFolders(class_tree / "train").card.splits == {}


def test_patients_are_found_in_file_names(class_tree):
    found = ClassFolders(class_tree, subject_pattern=r"^(p\d+)_")
    assert {a.subject for a in found.annotations} == {"p0", "p1"}
    one, two = split_dataset(found, (0.5, 0.5), seed=0)
    assert not {a.subject for a in one.annotations} & {a.subject for a in two.annotations}
    with pytest.raises(InputError, match=r"p0_cyst.png: holds nothing that subject_pattern"):
        ClassFolders(class_tree, subject_pattern=r"(q\d)")
    for wrong in ("(", "p0", "(a)(b)"):
        with pytest.raises(ConfigError, match="subject_pattern"):
            ClassFolders(class_tree, subject_pattern=wrong)


def test_order_makes_grades(class_tree):
    found = ClassFolders(class_tree, classes=("stone", "cyst"), ordered=True)
    assert found.card.task == "grading"
    assert [a.grade for a in found.annotations][:3] == [1, 1, 0]
    with pytest.raises(ConfigError, match="ordered: is given without the order of the classes"):
        ClassFolders(class_tree, ordered=True)


def test_missing_classes_are_faults_and_unknown_ones_errors(class_tree):
    (class_tree / "train" / "tumour").mkdir()
    assert ClassFolders(class_tree).card.faults == ("tumour has no image",)
    with pytest.raises(InputError, match=r"has the class 'tumour', classes are cyst, stone; give all classes"):
        ClassFolders(class_tree, classes=("cyst", "stone"))


def test_what_has_no_class(class_tree, picture, save_image):
    other = class_tree / "raw"
    other.mkdir()
    with pytest.raises(InputError, match=r"raw: stands beside the split train"):
        ClassFolders(class_tree)
    other.rmdir()
    stray = save_image(picture(), class_tree / "train" / "x.png")
    with pytest.raises(InputError, match=r"x.png: lies beside the class folders and has no class"):
        ClassFolders(class_tree)
    stray.unlink()
    save_image(picture(), class_tree / "train" / "cyst" / "more" / "x.png")
    with pytest.raises(InputError, match=r"more: is a folder within a class"):
        ClassFolders(class_tree)


def test_folders_without_images(tmp_path, class_tree):
    with pytest.raises(InputError, match="holds no folders of images"):
        ClassFolders(tmp_path)
    for file in class_tree.rglob("*.png"):
        file.unlink()
    with pytest.raises(InputError, match="holds no images in its class folders"):
        ClassFolders(class_tree)


def test_the_hash_changes_with_an_image(class_tree, picture, save_image):
    before = ClassFolders(class_tree).card.sha256
    save_image(picture(99), class_tree / "train" / "cyst" / "p0_cyst.png")
    assert ClassFolders(class_tree).card.sha256 != before


def test_a_table_of_classes(write_table, picture):
    found = ClassTable(write_table("image,label,patient_id,split\na.png,mass,p1,train\nb,none,p1,train\nc,mass,,test\n"))
    assert isinstance(found, Dataset)
    assert [(a.sample_id, a.label, a.subject, a.split) for a in found.annotations] == [
        ("a.png", "mass", "p1", "train"),
        ("b.png", "none", "p1", "train"),
        ("c.png", "mass", None, "test"),
    ]
    assert np.array_equal(found[2].image, picture(2))
    assert found.card.class_counts == {"mass": 2, "none": 1}
    assert found.card.splits == {"train": 2, "test": 1}


def test_numbers_of_classes_sort_by_value(write_table):
    assert ClassTable(write_table("image,label\na,10\nb,9\nc,10\n")).classes == ("9", "10")


def test_columns_of_zeros_and_ones_are_several_labels(write_table):
    folder = write_table("image,effusion,mass,age\na,0,1,63\nb,1,1.0,52\nc,0,0,1\n")
    found = ClassTable(folder)
    assert (found.card.task, found.classes) == ("multi-label", ("effusion", "mass"))
    assert [a.labels for a in found.annotations] == [("mass",), ("effusion", "mass"), ()]
    assert [a.label for a in found.annotations] == [None] * 3
    assert found.card.class_counts == {"effusion": 1, "mass": 2}
    assert found.card.class_shares == {"effusion": 0.333333, "mass": 0.666667}
    assert ClassTable(folder, label_columns=["mass", "effusion"]).classes == ("mass", "effusion")


def test_lists_of_labels(write_table):
    folder = write_table("Image Index,Finding Labels\na.png,mass|effusion\nb.png,No Finding\nc.png,mass\n")
    found = ClassTable(folder, image_column="Image Index", separator="|", no_label="No Finding")
    assert found.classes == ("effusion", "mass")
    assert [a.labels for a in found.annotations] == [("effusion", "mass"), (), ("mass",)]


def test_order_of_labels_makes_grades(write_table):
    found = ClassTable(write_table("image,label\na,mild\nb,severe\nc,mild\n"), classes=("none", "mild", "severe"), ordered=True)
    assert (found.card.task, found.card.ordered) == ("grading", True)
    assert [a.grade for a in found.annotations] == [1, 2, 1]
    assert found.card.faults == ("none has no image",)


def test_parts_of_the_images_by_path(write_table, picture, save_image):
    folder = write_table("image,label\na,x\nb,x\nc,y\ndeep/d.png,y\n")
    save_image(picture(9), folder / "deep" / "d.png")
    found = ClassTable(folder)
    assert found[3].sample_id == "deep/d.png"
    assert np.array_equal(found[3].image, picture(9))
    save_image(picture(9), folder / "deep" / "e.png")
    with pytest.raises(InputError, match=r"e.png: has no label"):
        ClassTable(folder)
    assert ClassTable(folder, unlabelled="skip").card.notes == ("1 images have no row and are left out",)


BAD = {
    "no label": ("image,label\na,x\nb,\nc,y\n", {}, "has no label in line 3"),
    "unknown": ("image,label\na,x\nb,y\nc,y\n", {"classes": ("x",)}, r"has label = 'y' in line 3, classes are x"),
    "no row": ("image,label\na,x\nb,y\n", {}, "c.png: has no label"),
    "no image": ("image,label\na,x\nb,y\nc,y\nd,y\n", {}, r"labels.csv, line 5: names the image 'd', which is not in"),
    "twice": ("image,label\na,x\nb,y\nc,y\na.png,x\n", {}, "has the identifier 'a.png' twice"),
    "up": ("image,label\n../a.png,x\nb,y\nc,y\n", {}, "line 2: names the file '../a.png'"),
    "absolute": ("image,label\n/a.png,x\nb,y\nc,y\n", {}, "line 2: names the file '/a.png'"),
    "no columns": ("image,age\na,4\nb,5\nc,6\n", {}, "has no column that is known to hold labels, it has image, age"),
    "no names": ("age,label\n4,x\n5,y\n", {}, "has no column that is known to hold file names"),
    "neither": ("image,m,n\na,0,1\nb,2,0\nc,1,1\n", {"label_columns": ["m", "n"]}, "has m = '2' in line 3, neither 0 nor 1"),
    "no column": ("image,m,n\na,0,1\nb,1,0\nc,1,1\n", {"label_columns": ["m", "k"]}, "has no column 'k'"),
    "list twice": ("image,label\na,x|x\nb,y\nc,y\n", {"separator": "|"}, r"has label = 'x\|x' in line 2; list different classes"),
    "list empty": ("image,label\na,x|\nb,y\nc,y\n", {"separator": "|"}, r"has label = 'x\|' in line 2"),
    "mixed none": ("image,label\na,x|no\nb,y\nc,y\n", {"separator": "|", "no_label": "no"}, r"has label = 'x\|no' in line 2"),
    "both": ("image,label\na,x\nb,y\nc,y\n", {"label_column": "label", "label_columns": ["x"]}, "are given beside label_column"),
    "no order": ("image,label\na,x\nb,y\nc,y\n", {"ordered": True}, "ordered: is given without the order"),
    "no list": ("image,label\na,x\nb,y\nc,y\n", {"no_label": "x"}, "no_label: is given without separator"),
    "option": ("image,label\na,x\nb,y\nc,y\n", {"unlabelled": "keep"}, "unlabelled: is 'keep'; use 'refuse' or 'skip'"),
    "other columns": ("image,m,n\na,0,1\nb,1,0\nc,1,1\n", {"classes": ("m", "k")}, "classes: name 'k', the columns are m, n"),
    "split": ("image,label,split\na,x,u\nb,y,v\nc,y,u\n", {"split": "w"}, "has no split 'w', it has u, v"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables(write_table, name):
    text, options, words = BAD[name]
    with pytest.raises(InputError, match=words):
        ClassTable(write_table(text), **options)


CLASS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)


@given(st.lists(CLASS, min_size=3, max_size=3), st.lists(CLASS, min_size=3, max_size=3))
def test_any_names_come_back(write_table, labels, subjects):
    folder = write_table("image\n")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("image", "label", "subject"), *zip("abc", labels, subjects, strict=True)])
    found = ClassTable(folder)
    assert [a.label for a in found.annotations] == labels
    assert [a.subject for a in found.annotations] == subjects
    assert sum(found.card.class_counts.values()) == 3
    assert set(found.classes) == set(labels)


@given(st.lists(st.sets(st.sampled_from(["mass", "cyst", "stone"])), min_size=3, max_size=3))
def test_lists_and_columns_say_the_same(write_table, rows):
    """Any labels, written as a list and as columns, come back equal from both."""
    names = ("cyst", "mass", "stone")
    listed = "".join(f"{i},{'|'.join(sorted(row))}\n" for i, row in zip("abc", rows, strict=True))
    columns = "".join(f"{i},{','.join(str(int(n in row)) for n in names)}\n" for i, row in zip("abc", rows, strict=True))
    one = ClassTable(write_table(f"image,label\n{listed}"), separator="|", classes=names)
    two = ClassTable(write_table(f"image,{','.join(names)}\n{columns}"))
    assert [a.labels for a in one.annotations] == [a.labels for a in two.annotations]
    assert [set(a.labels) for a in one.annotations] == rows
    assert one.card.class_counts == two.card.class_counts == {n: sum(n in row for row in rows) for n in names}


@given(st.binary(max_size=60), st.integers(0, 40))
def test_damaged_tables_raise_nothing_else(write_table, junk, place):
    folder = write_table("image,label,split\na,x,train\nb,y,train\nc,y,test\n")
    content = (folder / "labels.csv").read_bytes()
    (folder / "labels.csv").write_bytes(content[:place] + junk + content[place + len(junk) :])
    with contextlib.suppress(InputError):
        ClassTable(folder)
