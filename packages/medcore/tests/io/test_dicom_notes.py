"""What is odd is named in `repairs`; what cannot belong together is refused by name; names of files decide nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from dicom_files import change, classic, enhanced, save
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medcore.errors import InputError
from medcore.io import list_series, read_dicom
from medcore.io.dicom.files import NoImageError, open_dicom, program_in


def folder_of(tmp_path, *datasets):
    for i, dataset in enumerate(datasets):
        save(dataset, tmp_path / f"{i}.dcm")
    return tmp_path


# --- odd, and named


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"MZ\x90\0", "MZ, Windows"),
        (b"\x7fELF\2", "ELF, Linux"),
        (b"\xfe\xed\xfa\xcf", "Mach-O, macOS"),
        (b"\xcf\xfa\xed\xfe", "Mach-O, macOS"),
        (b"\xca\xfe\xba\xbe", "Mach-O, macOS"),
        (b"#!/bin/sh\n", "#!, a script"),
        (b"II*\0", None),  # a TIFF file at the same time, which is legitimate
        (bytes(4), None),
    ],
)
def test_a_preamble_that_begins_like_a_program_is_named(start, name, tmp_path):
    path = save(classic(), tmp_path / "a.dcm")
    path.write_bytes(start.ljust(128, b"\0") + path.read_bytes()[128:])
    assert program_in(start.ljust(128, b"\0")) == name
    expected = () if name is None else (f"the preamble of 1 files begins like a program ({name}); never run them",)
    assert read_dicom(path).repairs == expected


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"GantryDetectorTilt": 12.5}, "GantryDetectorTilt 12.5 degrees"),
        ({"GantryDetectorTilt": 0.0}, None),
        ({"PixelPaddingValue": 7}, "stored value 7 and are kept"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "only their display is inverted"),
        ({"EchoTime": 0.0}, "EchoTime 0 is taken as not stated"),
        ({"SpacingBetweenSlices": 2.5}, "slices lie 5 mm apart, SpacingBetweenSlices says 2.5 mm"),
        ({"SpacingBetweenSlices": 5.0}, None),
        ({"SpacingBetweenSlices": -5.0}, None),
    ],
)
def test_what_is_odd_is_named(changes, note, tmp_path):
    repairs = read_dicom(folder_of(tmp_path, *(classic(z=z, **changes) for z in (0.0, 5.0, 10.0)))).repairs
    assert not repairs if note is None else note in repairs[0]
    assert len(repairs) == (note is not None)


def test_missing_instance_numbers_are_named_for_each_series(tmp_path):
    place = folder_of(tmp_path, *(classic(z=5.0 * i, InstanceNumber=n) for i, n in enumerate((3, 4, 7, 9))))
    assert read_dicom(place).repairs == ("instance numbers 5, 6, 8 are absent",)


def test_elements_out_of_order_are_named(tmp_path):
    path = save(classic(), tmp_path / "a.dcm")
    content = path.read_bytes()
    te, tr = b"\x18\x00\x81\x00DS\x04\x0010.0", b"\x18\x00\x80\x00DS\x06\x00500.0 "
    assert tr + te in content
    path.write_bytes(content.replace(tr + te, te + tr))
    images = read_dicom(path)
    assert images.repairs == ("1 files have elements out of order",)
    assert images.times["te"] == pytest.approx(0.01)


def test_values_encoded_otherwise_than_stated_are_named(tmp_path):
    """Elements of explicit kind under the name of the implicit transfer syntax."""
    path = save(classic(), tmp_path / "a.dcm")
    content = path.read_bytes()
    old = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    new = b"\x02\x00\x10\x00UI\x12\x001.2.840.10008.1.2\0"
    length = int.from_bytes(content[140:144], "little") - 2
    path.write_bytes(content[:140] + length.to_bytes(4, "little") + content[144:].replace(old, new))
    assert "not encoded as their transfer syntax says" in read_dicom(path).repairs[0]


def test_reports_are_passed_over_in_a_folder_and_refused_by_name(tmp_path):
    report = change(classic(), Rows=None, Columns=None, PixelData=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    place = folder_of(tmp_path, classic(), report)
    assert read_dicom(place).repairs == ("passed over 1 DICOM files that are no images",)
    assert [s.n_files for s in list_series(place)] == [1]
    with pytest.raises(NoImageError, match="is no image but Basic Text SR Storage"):
        read_dicom(place / "1.dcm")
    (place / "0.dcm").unlink()
    with pytest.raises(InputError, match="holds no DICOM image"):
        read_dicom(place)


def test_pixels_are_not_read_to_list_a_folder(tmp_path):
    """A sparse file whose pixels nobody could hold."""
    path = save(classic(Rows=40000, Columns=50000, PixelData=bytes(70000)), tmp_path / "a.dcm")
    content = path.read_bytes()
    place = content.index(b"\xe0\x7f\x10\x00OW\0\0") + 8
    with path.open("wb") as file:
        file.write(content[:place] + (4_000_000_000).to_bytes(4, "little"))
        file.truncate(place + 4 + 4_000_000_000)
    assert [(s.n_files, s.n_frames) for s in list_series(tmp_path)] == [(1, 1)]
    assert open_dicom(path).get_item("PixelData", keep_deferred=True).value is None


# --- refused by name


@pytest.mark.parametrize(
    ("datasets", "word"),
    [
        ([classic(z=0.0), classic(z=5.0), classic(z=20.0)], "slices 5, 15 mm apart, so 2 are missing between the others"),
        ([classic(z=0.0), classic(z=5.0), classic(z=12.0)], "slices 5, 7 mm apart, an uneven increment"),
        (
            [classic(), classic(SOPInstanceUID="1.9"), classic(z=5.0, SOPInstanceUID="1.9")],
            "1 files whose SOPInstanceUID another file has",
        ),
        ([classic(), classic()], "1 images that lie at the place of another and differ in no time"),
        ([classic(ModalityLUTSequence=[Dataset()])], "by a table"),
        ([classic(HighBit=15)], "keeps 12 bits below HighBit 15"),
        ([classic(NumberOfFrames=2, PixelData=bytes(96))], "has 2 frames and says nothing about each"),
        ([classic(FloatPixelData=b"abcd", PixelData=None)], "is a parametric map; read it with read_parametric_map"),
        ([classic(PixelData=bytes(46))], "46 bytes of pixels where its header says 48"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(datasets, word, tmp_path):
    with pytest.raises(InputError, match=word):
        read_dicom(folder_of(tmp_path, *datasets))


# --- several series of one measurement


@pytest.fixture(scope="module")
def inversions(tmp_path_factory):
    """Three inversion times, each a series of its own number, two slices each."""
    place = tmp_path_factory.mktemp("inversions")
    for n, ti in enumerate((900.0, 50.0, 250.0)):
        for z in (0.0, 5.0):
            save(classic(z=z, InversionTime=ti, SeriesNumber=10 + n, SeriesInstanceUID=f"1.2.{n + 1}"), place / f"{n}-{int(z)}.dcm")
    return place


@pytest.mark.parametrize("series", ["all", "10,11,12", [12, 10, 11], ["1.2.1", "1.2.2", "1.2.3"], "1.2.3, 10, 11"])
def test_inversion_times_of_several_series_are_read_as_contrasts(series, inversions):
    images = read_dicom(inversions, series=series)
    assert images.times["ti"] == pytest.approx([0.05, 0.25, 0.9])
    assert images.data.shape == (3, 2, 4, 6)
    assert images.repairs == ()


def test_a_series_that_is_absent_is_named(inversions):
    with pytest.raises(InputError, match=r"has 0 series '13' \(10 with 2 files; 11 with 2 files; 12 with 2 files\)"):
        read_dicom(inversions, series="10,13")


@settings(max_examples=20)  # sixteen files each
@given(data=st.data())
def test_names_and_folders_decide_nothing_about_a_mixed_series(data, tmp_path_factory):
    """Echoes, inversion times and flip angles; files differ in facts that are the same for all contrasts or only in one file."""
    place, other = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("shuffled")
    facts = list(itertools.product((0.0, 5.0), (10.0, 20.0), (30.0, 60.0)))
    datasets = [
        classic(z=z, te=te, FlipAngle=flip, InstanceNumber=i + 1, SequenceName=f"*se{i}", SOPInstanceUID=f"1.5.{i}")
        for i, (z, te, flip) in enumerate(facts)
    ]
    names = data.draw(st.permutations(range(8)))
    for i, dataset in enumerate(datasets):
        save(dataset, place / f"{i}.dcm")
        (other / str(names[i] % 2)).mkdir(exist_ok=True)
        save(dataset, other / str(names[i] % 2) / f"x{names[i]}")
    first, second = read_dicom(place), read_dicom(other)
    assert np.array_equal(first.data, second.data)
    assert np.array_equal(first.affine, second.affine)
    assert first.repairs == second.repairs
    assert first.meta == second.meta
    assert {k: v.tolist() for k, v in first.times.items()} == {k: v.tolist() for k, v in second.times.items()}
    assert first.times["te"] == pytest.approx([0.01, 0.01, 0.02, 0.02])
    assert first.times["flip_angle"] == pytest.approx(np.deg2rad([30, 60, 30, 60]))


# --- enhanced files


def test_enhanced_frames_of_one_time_point_in_several_files(tmp_path):
    """Every file a volume, as Siemens XA writes them."""
    for number in (2, 1):
        dataset = enhanced((0, 1, 2, 3, 4, 5))
        dataset.AcquisitionNumber = number
        save(dataset, tmp_path / f"{3 - number}.dcm")
    assert read_dicom(tmp_path).data.shape == (4, 3, 4, 6)
