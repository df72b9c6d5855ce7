"""Tables of grades beside images, good and bad."""

from __future__ import annotations

import numpy as np
import pytest

from medcore.atomic import sha256_file
from medcore.datasets import Dataset, GradedFolder
from medcore.errors import ConfigError, InputError


def test_rows_find_their_images(graded, picture):
    found = GradedFolder(graded)
    assert isinstance(found, Dataset)
    assert [(s.sample_id, s.grade, s.label, s.subject) for s in found] == [
        ("a", 0, "grade 0", "p1"),
        ("b", 2, "grade 2", "p1"),
        ("c", 1, "grade 1", "p2"),
        ("d", 2, "grade 2", "p2"),
    ]
    assert all(np.array_equal(found[i].image, picture(i)) for i in range(4))
    card = found.card
    assert card.class_counts == {"grade 0": 1, "grade 1": 1, "grade 2": 2}
    assert card.sha256 == {"labels.csv": sha256_file(graded / "labels.csv")}
    assert card.faults == ()


def test_images_may_lie_in_a_subfolder_and_the_table_be_named(graded):
    (graded / "images").mkdir()
    for file in graded.glob("*.png"):
        file.rename(graded / "images" / file.name)
    assert len(GradedFolder(graded / "labels.csv")) == 4
    (graded / "other.csv").write_text("x,y\n1,2\n")
    assert len(GradedFolder(graded, csv="labels.csv")) == 4
    with pytest.raises(InputError, match=r"holds labels\.csv, other\.csv; choose one with csv="):
        GradedFolder(graded)
    with pytest.raises(InputError, match="is not a plain file name"):
        GradedFolder(graded, csv="../labels.csv")


def test_columns_and_classes_may_be_chosen(graded):
    (graded / "labels.csv").write_text("eye,who,how bad\na,1,1\nb,2,0\nc,3,1\nd,4,0\n")
    with pytest.raises(
        InputError, match="has no column that is known to hold file names, it has eye, who, how bad; choose one with image_column="
    ):
        GradedFolder(graded)
    found = GradedFolder(graded, image_column="eye", grade_column="how bad", classes=("fine", "bad", "worse"), subject_column="who")
    assert [s.label for s in found] == ["bad", "fine", "bad", "fine"]
    assert found.card.faults == ("worse has no image",)
    assert found[3].subject == "4"
    with pytest.raises(InputError, match="has no column 'nobody'"):
        GradedFolder(graded, image_column="eye", grade_column="how bad", subject_column="nobody")
    with pytest.raises(ConfigError, match="classes: are"):
        GradedFolder(graded, image_column="eye", grade_column="how bad", classes=("fine", "fine"))


def test_without_a_column_of_subjects_every_image_is_its_own(graded):
    (graded / "labels.csv").write_text("image,grade\na,0\nb,1\nc,0\nd,1\n")
    assert [a.subject for a in GradedFolder(graded).annotations] == ["a", "b", "c", "d"]


def test_a_grade_that_nobody_has_is_a_fault_not_an_error(graded):
    (graded / "labels.csv").write_text("image,grade\na,0\nb,3\nc,0\nd,1\n")
    found = GradedFolder(graded)
    assert found.classes == ("grade 0", "grade 1", "grade 2", "grade 3")
    assert found.card.faults == ("grade 2 has no image",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,grade\na,0\nb,1\nc,0\n", r"d\.png: has no label"),
        ("image,grade\na,0\n", r"b\.png: has no label \(and 2 more\)"),
        ("image,grade\na,0\nb,1\nc,0\nd,1\ne,1\n", r"labels\.csv, line 6: names the image 'e', which is not in"),
        ("image,grade\na,0\nb,1\nc,0\nd,1\na.png,1\n", "has the identifier 'a' twice"),
        ("image,grade\na,0\nb,1\nc,0\nd,1.5\n", "has grade = '1.5' in line 5, not a whole number"),
        ("image,grade\na,0\nb,\nc,0\nd,1\n", "has grade = '' in line 3"),
        ("image,grade\na,0\nb,-1\nc,0\nd,1\n", "has the grade -1 in line 3"),
        ("image,grade\na,0\nb,99999\nc,0\nd,1\n", "has the grade 99999 in line 3, grades are 0 to 99"),
        ("image,grade\na,0\n../secret,1\nc,0\nd,1\n", "line 3: names the image '../secret'"),
        ("image,grade\na,0\n/etc/passwd,1\nc,0\nd,1\n", "names the image '/etc/passwd'"),
        ("image,colour\na,0\n", "has no column that is known to hold grades, it has image, colour"),
        ("image,grade\n", "has no rows"),
    ],
)
def test_bad_tables(graded, text, message):
    (graded / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        GradedFolder(graded)


def test_grades_beyond_the_given_classes_are_refused(graded):
    with pytest.raises(InputError, match="has the grade 2 in line 3, grades are 0 to 1"):
        GradedFolder(graded, classes=("no", "yes"))


def test_missing_folders_and_tables(tmp_path, graded):
    with pytest.raises(InputError, match="does not exist"):
        GradedFolder(tmp_path / "nowhere")
    (graded / "labels.csv").unlink()
    with pytest.raises(InputError, match="holds no table; add a CSV file of labels"):
        GradedFolder(graded)


def test_a_damaged_image_is_named_and_spares_the_others(graded):
    found = GradedFolder(graded)
    (graded / "c.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"c\.png: is no image"):
        found[2]
    assert found[3].grade == 2
