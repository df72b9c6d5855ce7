"""DICOM images as a data set: grey values, labels, and no patient named."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from medcore.config import to_mapping
from medcore.datasets import Dataset, DicomImages, split_dataset
from medcore.datasets.dicom_grey import apply_window
from medcore.errors import ConfigError, InputError

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.fixture
def films(save_film):
    """Two films of patient a, one of patient b."""
    for i, name in enumerate(("a1", "a2", "b1")):
        path = save_film(f"{name}.dcm", (RAMP + i).astype(np.uint16) * 300)
    return path.parent


def test_films_are_samples(films):
    found = DicomImages(films)
    assert isinstance(found, Dataset)
    assert [a.sample_id for a in found.annotations] == ["a1.dcm", "a2.dcm", "b1.dcm"]
    subjects = [a.subject for a in found.annotations]
    assert subjects[0] == subjects[1] != subjects[2]
    expected = np.rint(255 * np.arange(12) / 11).astype(np.uint8).reshape(3, 4)
    for sample in found:
        assert np.array_equal(sample.image, expected)
        assert sample.label is None
    assert found.card.notes == ("3 images are shown with the range of their values", "no table of labels")
    one, two = split_dataset(found, (0.6, 0.4), seed=0)
    assert sorted((len(one), len(two))) == [1, 2]


def test_patients_are_not_named(films):
    found = DicomImages(films, salt="secret")
    told = json.dumps([to_mapping(found.card), [to_mapping(a) for a in found.annotations]]) + repr(found.__dict__)
    for name in ("MRN", "Doe", "Jane", "secret"):
        assert name not in told
    assert found.annotations[0].subject.startswith("patient-")


def test_names_of_patients_depend_on_the_salt_alone(films, save_film):
    def names(**options):
        return {a.sample_id: a.subject for a in DicomImages(films, **options).annotations}

    salted, plain = names(salt="s"), names()
    assert names(salt="s") == salted != names(salt="t")
    assert names() == plain != salted
    save_film("c1.dcm", RAMP)
    assert names(salt="s").items() > salted.items()
    assert names()["a1.dcm"] != plain["a1.dcm"]
    with pytest.raises(ConfigError, match="salt: is empty"):
        DicomImages(films, salt=" ")


def test_films_without_patient_are_grouped_by_examination(save_film):
    for name in ("a", "b", "c"):
        path = save_film(f"{name}.dcm", RAMP, PatientID=None, StudyInstanceUID="1.2.3" if name != "c" else "1.2.4")
    found = DicomImages(path.parent)
    assert len({a.subject for a in found.annotations}) == 2
    assert "3 images have no PatientID and are grouped by examination" in found.card.notes


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_grey_values_are_those_of_pydicom(save_film, dtype, rng):
    """Slope, intercept and linear window against pydicom's own implementation."""
    pixels = rng.integers(-100 if np.dtype(dtype).kind == "i" else 0, 120, (6, 5)).astype(dtype)
    path = save_film("a.dcm", pixels, RescaleSlope=2.5, RescaleIntercept=-40, WindowCenter=[60.0, 9.0], WindowWidth=[150.0, 8.0])
    dataset = pydicom.dcmread(path)
    theirs = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low, high = theirs.min(), theirs.max()
    shares = np.clip((2.5 * pixels.astype(float) - 40 - 59.5) / 149 + 0.5, 0, 1)
    assert (shares.min(), shares.max()) == (0, 1)  # so both scales span 0 to 1
    np.testing.assert_allclose(DicomImages(path.parent)[0].image, 255 * (theirs - low) / (high - low), atol=0.5001)
    assert DicomImages(path.parent).card.notes[0] == "1 images are shown with the window of their file"


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_functions_are_those_of_pydicom(save_film, function):
    path = save_film("a.dcm", RAMP, WindowCenter=5.0, WindowWidth=6.0, VOILUTFunction=function, BitsStored=8)
    theirs = apply_voi_lut(RAMP, pydicom.dcmread(path))
    np.testing.assert_allclose(DicomImages(path.parent)[0].image, theirs, atol=0.5001)


def test_a_table_of_grey_values(save_film):
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [12, 0, 16], (np.arange(12)[::-1] ** 2).astype("<u2").tobytes()
    path = save_film("a.dcm", RAMP, VOILUTSequence=[item], WindowCenter=5.0, WindowWidth=6.0)
    expected = np.rint(255 * (11 - RAMP.astype(float)) ** 2 / 121)
    assert np.array_equal(DicomImages(path.parent)[0].image, expected)
    assert DicomImages(path.parent).card.notes[0] == "1 images are shown with the table of grey values of their file"


def test_bright_is_always_high(save_film):
    plain = save_film("a.dcm", RAMP)
    save_film("b.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")
    one, two = DicomImages(plain.parent)
    assert np.array_equal(two.image, 255 - one.image)


def test_windows_given(films):
    found = DicomImages(films, window=[1650.0, 3301.0])
    assert found[0].image[0, 0] == 0
    assert found.card.notes[0] == "3 images are shown with the window centre 1650, width 3301"
    assert found[2].image.max() == 255
    for wrong in ("full", (1.0,), (1.0, 0.0), (1.0, float("nan")), [float("inf"), 3.0], ()):
        with pytest.raises(ConfigError, match="window: is "):
            DicomImages(films, window=wrong)


def test_padding_does_not_count(save_film):
    pixels = RAMP.copy()
    pixels[0, 0] = 255
    path = save_film("a.dcm", pixels, PixelPaddingValue=255)
    assert DicomImages(path.parent)[0].image[2, 3] == 255


def test_an_image_of_one_value_is_black(save_film):
    path = save_film("a.dcm", np.full((3, 4), 7, np.uint8))
    assert not DicomImages(path.parent)[0].image.any()


KEYS = {
    "file name": ["a1.dcm", "a2.dcm", "b1.dcm"],
    "stem": ["a1", "a2", "b1"],
    "SOPInstanceUID": None,
    "SeriesInstanceUID": None,
}


@pytest.mark.parametrize("key", KEYS)
def test_labels_by_key(films, key):
    names = KEYS[key] or [str(getattr(pydicom.dcmread(films / f), key)) for f in KEYS["file name"]]
    text = "".join(f"x,{n},{label}\n" for n, label in zip(names[::-1], ("mass", "none", "mass"), strict=True))
    (films / "labels.csv").write_text(f"other,key,label\n{text}")
    found = DicomImages(films)
    assert [a.label for a in found.annotations] == ["mass", "none", "mass"]
    assert found.card.class_counts == {"mass": 2, "none": 1}
    assert set(found.card.sha256) == {"labels.csv", "all images"}


def test_labels_of_several_classes_and_grades(films):
    (films / "labels.csv").write_text("file,effusion,mass\na1,1,0\na2,1,1\nb1,0,0\n")
    found = DicomImages(films)
    assert [a.labels for a in found.annotations] == [("effusion",), ("effusion", "mass"), ()]
    (films / "labels.csv").write_text("file,severity\na1,mild\na2,none\nb1,mild\n")
    graded = DicomImages(films, label_column="severity", classes=("none", "mild"), ordered=True)
    assert [a.grade for a in graded.annotations] == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("file,label\na1,x\na2,y\nb9,x\n", {}, r"names in line 4 no image of the folder, or several \(file; tried as"),
        ("file,label\na1,x\na2,y\n", {}, r"b1.dcm: has no label; add a row to the table, or open with unlabelled='skip'"),
        ("file,label\na1,x\na2,y\nb1,x\na1,y\n", {}, "has two rows for one sample, the second in line 5"),
        ("file,label\na1,x\na2,y\nb1,x\n", {"key_column": "label"}, "names in line 2 no image of the folder"),
        ("file,label\na1,x\na2,y\nb1,x\n", {"key_column": "k"}, "has no column 'k'"),
        ("file,label\na1,x\na2,y\nb1,x\n", {"unit": "study"}, "unit: is 'study'; 'image' or 'series'"),
        ("file,label\na1,x\na2,y\nb1,x\n", {"csv": "../x.csv"}, "is not a plain file name"),
    ],
)
def test_bad_tables(films, text, options, words):
    (films / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        DicomImages(films, **options)


def test_images_without_row_can_be_left_out(films):
    (films / "labels.csv").write_text("file,label\na1,x\nb1,y\n")
    found = DicomImages(films, unlabelled="skip")
    assert [(a.sample_id, a.label) for a in found.annotations] == [("a1.dcm", "x"), ("b1.dcm", "y")]
    assert found[1].image.shape == (3, 4)
    assert "1 images have no row and are left out" in found.card.notes


def _slices(save_film, changes=None, n=3):
    for z in range(n):
        path = save_film(
            f"a{z}.dcm",
            (RAMP + 10 * z).astype(np.uint16),
            SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
            Modality="CT",
            StudyInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.3.4",
            FrameOfReferenceUID="1.2.3.5",
            SeriesNumber=1,
            ImagePositionPatient=[0.0, 0.0, 2.0 * z],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1.0, 1.0],
            SliceThickness=2.0,
            **(changes or {}),
        )
    return path.parent


def test_series_are_volumes(save_film):
    folder = _slices(save_film, {"WindowCenter": 16.0, "WindowWidth": 32.0})
    (folder / "labels.csv").write_text("series,label\n1.2.3.4,x\n")
    found = DicomImages(folder, unit="series")
    assert (len(found), found.card.volumetric, found[0].label) == (1, True, "x")
    stack = np.stack([RAMP + 10.0 * z for z in range(3)])
    assert np.array_equal(found[0].image, apply_window(stack, 16.0, 32.0))
    assert "1.2.3.4" not in found[0].sample_id


def test_kinds_of_samples_do_not_mix(save_film):
    folder = _slices(save_film)
    save_film("z.dcm", RAMP)
    with pytest.raises(InputError, match="mixes series of one image with volumes"):
        DicomImages(folder, unit="series")
    assert len(DicomImages(folder)) == 4


def test_a_series_of_two_patients_is_refused(save_film):
    folder = _slices(save_film)
    save_film("b.dcm", RAMP, SeriesInstanceUID="1.2.3.4")
    with pytest.raises(InputError, match="is of a series that mixes patients"):
        DicomImages(folder, unit="series")


def test_films_that_are_none(save_film, tmp_path):
    with pytest.raises(InputError, match="holds no DICOM files"):
        DicomImages(tmp_path)
    path = save_film("a.dcm", np.zeros((2, 3, 4), np.uint8), NumberOfFrames=2)
    with pytest.raises(InputError, match=r"a.dcm: has 2 frames; open the folder with unit='series'"):
        DicomImages(path.parent)
    path = save_film("a.dcm", RAMP, WindowCenter=1.0, WindowWidth=0.0)
    with pytest.raises(InputError, match="has a LINEAR window of centre 1 and width 0"):
        DicomImages(path.parent)
    assert len(DicomImages(path.parent, window="range")) == 1
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"a.dcm"):
        DicomImages(path.parent, window="range")


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20).map(sorted),
    st.floats(-1e4, 1e4),
    st.floats(1, 1e4),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_windows_keep_the_order_of_values(values, centre, width, function):
    grey = apply_window(np.array(values), centre, width, function)
    assert (np.diff(grey.astype(int)) >= 0).all()
    far = apply_window(np.array([centre - 3 * width, centre + 3 * width]), centre, width, function)
    assert far.tolist() == [0, 255]
