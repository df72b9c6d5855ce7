"""Pascal VOC folders, good and bad."""

from __future__ import annotations

import numpy as np
import pytest

from medcore.datasets import Dataset, VocFolder
from medcore.errors import InputError


def test_boxes_come_with_their_images(write_voc):
    write_voc("one", ("cell", 1, 2, 5, 9), ("dirt", 0, 0, 30, 20))
    folder = write_voc("two")
    found = VocFolder(folder)
    assert isinstance(found, Dataset)
    assert [s.sample_id for s in found] == ["one", "two"]
    assert np.array_equal(found[0].boxes, [[1, 2, 5, 9], [0, 0, 30, 20]])
    assert found[0].boxes.dtype == np.float64
    assert found[0].box_labels == ("cell", "dirt")
    assert found[1].boxes.shape == (0, 4)
    assert found.card.class_counts == {"cell": 1, "dirt": 1}
    assert found.card.faults == ()
    assert found[0].image.shape == (20, 30, 3)


def test_corners_counted_from_one_are_moved_to_edges(write_voc):
    """The first pixel alone is (1, 1, 1, 1) in PASCAL's own files and [0, 0, 1, 1] here."""
    folder = write_voc("one", ("cell", 1, 1, 1, 1), ("cell", 1, 1, 30, 20))
    found = VocFolder(folder, one_based=True)
    assert np.array_equal(found[0].boxes, [[0, 0, 1, 1], [0, 0, 30, 20]])
    assert found.card.faults == ()


def test_boxes_of_zero_area_are_left_out_and_told(write_voc):
    found = VocFolder(write_voc("one", ("cell", 4, 4, 4, 4), ("cell", 1, 2, 5, 2), ("cell", 1, 2, 3, 4)))
    assert np.array_equal(found[0].boxes, [[1, 2, 3, 4]])
    assert found.card.class_counts == {"cell": 1}
    assert found.card.faults == (
        "one.xml: the box cell (4, 4, 4, 4) has zero area and is left out",
        "one.xml: the box cell (1, 2, 5, 2) has zero area and is left out",
    )


def test_boxes_beyond_the_border_are_cut_and_told(write_voc):
    found = VocFolder(write_voc("one", ("cell", -3, 5, 31, 20.5)))
    assert np.array_equal(found[0].boxes, [[0, 5, 30, 20]])
    assert found.card.faults == (
        "one.xml: the box cell (-3, 5, 31, 20.5) reaches beyond the image of 30 x 20 pixels and is cut at its border",
    )


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (("cell", 5, 5, 3, 9), r"one\.xml: has the box cell \(5, 5, 3, 9\) whose corners are swapped"),
        (("cell", 30, 0, 40, 9), r"has the box cell \(30, 0, 40, 9\) outside its image of 30 x 20 pixels"),
        (("cell", 0, -9, 4, -1), r"outside its image"),
        (("cell", "x", 0, 4, 9), "has xmin = 'x', not a number"),
        (("cell", "nan", 0, 4, 9), "has xmin = 'nan', not a number"),
        (("cell", 0, 0, "inf", 9), "has xmax = 'inf', not a number"),
        (("cell", "", 0, 4, 9), "has no <xmin> in <bndbox>"),
        (("", 0, 0, 4, 9), "has no <name> in <object>"),
    ],
)
def test_boxes_that_cannot_be(write_voc, box, message):
    folder = write_voc("one", box)
    with pytest.raises(InputError, match=message):
        VocFolder(folder)


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<annotation><filename>&a;</filename></annotation>"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"one\.xml: holds a document type or entities"),
        (OUTSIDE, "holds a document type or entities"),
        ("<annotation><filename>one.png", "is not valid XML"),
        ("<svg/>", "holds <svg>, not <annotation>"),
        ("", "is empty"),
        ("<annotation/>", "has no <filename> in <annotation>"),
        ("<annotation><filename>../one.png</filename></annotation>", r"names the image '\.\./one\.png'; give plain file names"),
        ("<annotation><filename>/etc/one.png</filename></annotation>", "names the image '/etc/one.png'"),
        ("<annotation><filename>none.png</filename></annotation>", "names the image 'none.png', which is not in"),
        (
            "<annotation><filename>one.png</filename><size><width>31</width><height>20</height></size></annotation>",
            "states 31 x 20 pixels and one.png has 30 x 20",
        ),
        (
            "<annotation><filename>one.png</filename><object><name>cell</name></object></annotation>",
            "has an object 'cell' without <bndbox>",
        ),
    ],
)
def test_bad_annotations(write_voc, text, message):
    folder = write_voc("one", text=text)
    with pytest.raises(InputError, match=message):
        VocFolder(folder)


def test_a_huge_annotation_is_not_parsed(write_voc):
    folder = write_voc("one", text="<annotation>" + " " * (5 << 20) + "</annotation>")
    with pytest.raises(InputError, match="bytes, more than 4194304"):
        VocFolder(folder)


def test_a_size_that_was_not_filled_in_is_no_contradiction(write_voc):
    text = "<annotation><filename>one</filename><size><width>0</width><height>0</height></size></annotation>"
    assert len(VocFolder(write_voc("one", text=text))) == 1


def test_every_image_needs_one_annotation(write_voc, save_image, picture):
    folder = write_voc("one", ("cell", 1, 2, 5, 9))
    save_image(picture(9), folder / "JPEGImages" / "two.png")
    with pytest.raises(InputError, match=r"two\.png: has no label"):
        VocFolder(folder)
    write_voc("two", image="one.png")
    with pytest.raises(InputError, match="has the identifier 'one' twice"):
        VocFolder(folder)


def test_classes_may_be_given_and_must_be_complete(write_voc):
    folder = write_voc("one", ("cell", 1, 2, 5, 9))
    assert VocFolder(folder, classes=("dirt", "cell")).card.class_counts == {"dirt": 0, "cell": 1}
    with pytest.raises(InputError, match="has a box of class 'cell' in one, known are dirt"):
        VocFolder(folder, classes=("dirt",))


def test_a_folder_without_annotations(tmp_path):
    with pytest.raises(InputError, match="holds no XML annotations"):
        VocFolder(tmp_path)
