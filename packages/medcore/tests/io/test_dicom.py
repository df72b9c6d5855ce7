"""DICOM series: what frames say of themselves decides, never file names; whatever is missing or mixed is refused and named."""

from __future__ import annotations

import dataclasses
import itertools
import shutil

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from medcore.errors import InputError
from medcore.io import list_series, read_dicom
from medcore.io.dicom.series import find_files

SLICES, ECHOES = (0.0, 5.0, 10.0), (10.0, 20.0)


@pytest.fixture(scope="session")
def series(classic_dicom):
    """Two echoes in three slices, in good order."""
    return [classic_dicom(z=z, te=te) for te in ECHOES for z in SLICES]


@pytest.fixture(scope="session")
def folder(series, save_dicom, tmp_path_factory):
    place = tmp_path_factory.mktemp("series")
    for i, dataset in enumerate(series):
        save_dicom(dataset, place / f"{i}.dcm")
    return place


def expected() -> np.ndarray:
    return np.array([[np.arange(24).reshape(4, 6) + 30 * int(z + te) for z in SLICES] for te in ECHOES], dtype=np.float32)


def test_a_classic_series_has_its_axes_times_and_place(folder):
    images = read_dicom(folder)
    assert np.array_equal(images.data, expected())
    assert images.times["te"] == pytest.approx([0.01, 0.02])
    assert images.times["tr"] == pytest.approx([0.5, 0.5])
    assert images.times["flip_angle"] == pytest.approx([np.pi / 2] * 2)
    assert images.voxel_size == pytest.approx((0.005, 0.002, 0.0015))
    # LPS (-10, -20, z) mm is RAS (10, 20, z) mm.
    assert images.affine @ [0, 0, 0, 1] == pytest.approx([0.01, 0.02, 0, 1])
    assert images.affine @ [1, 0, 0, 1] == pytest.approx([0.0085, 0.02, 0, 1])
    assert images.affine @ [0, 1, 0, 1] == pytest.approx([0.01, 0.018, 0, 1])
    assert images.affine @ [0, 0, 2, 1] == pytest.approx([0.01, 0.02, 0.01, 1])
    assert images.repairs == ()
    assert images.meta["field_strength"] == 3.0


@given(names=st.permutations([f"{c}{n}" for c, n in zip("zyxabc", (3, 1, 2, 9, 8, 7), strict=True)]), nested=st.booleans())
def test_file_names_and_folders_decide_nothing(names, nested, folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("shuffled")
    for i, name in enumerate(names):
        target = place / (str(i % 2) if nested else "") / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(folder / f"{i}.dcm", target)
    images, reference = read_dicom(place), read_dicom(folder)
    assert np.array_equal(images.data, reference.data)
    assert np.array_equal(images.affine, reference.affine)
    assert {k: v.tolist() for k, v in images.times.items()} == {k: v.tolist() for k, v in reference.times.items()}


@given(order=st.permutations(range(6)))
def test_the_order_of_given_paths_decides_nothing(order, folder):
    assert np.array_equal(read_dicom([folder / f"{i}.dcm" for i in order]).data, expected())


@given(order=st.permutations(range(6)))
def test_enhanced_frames_are_sorted_and_each_has_its_own_rescale(order, enhanced_dicom, save_dicom, tmp_path_factory):
    path = save_dicom(enhanced_dicom(tuple(order)), tmp_path_factory.mktemp("enhanced") / "a.dcm")
    images = read_dicom(path)
    assert images.times["te"] == pytest.approx([0.01, 0.02])
    assert images.voxel_size == pytest.approx((0.004, 0.002, 0.0015))
    for number in range(6):
        echo, z = divmod(number, 3)
        assert np.all(images.data[echo, z] == (100 + number) * (0.5 + number) - 3.0 * number)


def test_oblique_stacks_lie_where_the_standard_puts_them(classic_dicom, save_dicom, tmp_path, rng):
    """Every voxel against equation C.7.6.2.1-1 of the standard."""
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    row, column = axes[:, 0], axes[:, 1]
    normal = np.cross(row, column)
    origin = np.array([12.0, -34.0, 56.0])
    for i, k in enumerate([2, 0, 1]):
        position = origin + 4.5 * k * normal
        changes = {"ImageOrientationPatient": [*row, *column], "ImagePositionPatient": position.tolist()}
        save_dicom(classic_dicom(z=float(k), **changes), tmp_path / f"{i}.dcm")
    images = read_dicom(tmp_path)
    for x, y, z in itertools.product((0, 5), (0, 3), (0, 2)):
        lps = origin + 4.5 * z * normal + x * 1.5 * row + y * 2.0 * column
        assert (images.affine @ [x, y, z, 1])[:3] == pytest.approx(lps * [-1e-3, -1e-3, 1e-3], abs=1e-9)


@pytest.mark.parametrize("slope", [2.5, 1.0])
def test_rescale_and_signed_pixels(slope, classic_dicom, save_dicom, tmp_path):
    raw = np.arange(24, dtype="<i2") - 12
    changes = {"PixelRepresentation": 1, "PixelData": raw.tobytes(), "RescaleSlope": slope, "RescaleIntercept": -7.0}
    save_dicom(classic_dicom(**changes), tmp_path / "a.dcm")
    assert np.array_equal(read_dicom(tmp_path / "a.dcm").data.ravel(), (raw * slope - 7).astype(np.float32))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, ExplicitVRBigEndian])
def test_transfer_syntaxes_give_the_same_values(syntax, classic_dicom, save_dicom, tmp_path):
    dataset = classic_dicom(z=5.0)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset["PixelData"].VR = "OW"
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        pydicom.dcmwrite(tmp_path / "a.dcm", dataset, force_encoding=True, implicit_vr=False, little_endian=False)
    else:
        save_dicom(dataset, tmp_path / "a.dcm")
    assert np.array_equal(read_dicom(tmp_path / "a.dcm").data.ravel(), np.arange(24) + 30 * 15)


def test_missing_slices_are_refused_or_dropped_and_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "s")
    (tmp_path / "s" / "5.dcm").unlink()  # echo 2, slice at 10 mm
    with pytest.raises(InputError, match="TE 10, flip angle 90: 3 of 3 slices; TE 20, flip angle 90: 2 of 3 slices"):
        read_dicom(tmp_path / "s")
    images = read_dicom(tmp_path / "s", incomplete="drop")
    assert np.array_equal(images.data, expected()[:, :2])
    assert images.repairs == ("dropped the slices at 10.00 mm, which some contrasts lack",)
    (tmp_path / "s" / "4.dcm").unlink()
    assert read_dicom(tmp_path / "s", incomplete="drop").times["te"] == pytest.approx([0.01])


def test_a_gap_in_the_middle_is_refused_even_if_it_is_in_every_echo(classic_dicom, save_dicom, tmp_path):
    for i, (z, te) in enumerate(itertools.product((0.0, 5.0, 15.0), ECHOES)):
        save_dicom(classic_dicom(z=z, te=te), tmp_path / f"{i}.dcm")
    with pytest.raises(InputError, match="slices 5, 10 mm apart"):
        read_dicom(tmp_path)


def pair(classic_dicom, save_dicom, tmp_path, **changes):
    save_dicom(classic_dicom(z=0.0), tmp_path / "0.dcm")
    save_dicom(classic_dicom(z=5.0, **changes), tmp_path / "1.dcm")
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"PatientID": "other-secret"}, r"mixes 2 patients \(PatientID differs\)"),
        ({"PatientName": "Other^Secret"}, r"mixes 2 patients \(PatientName differs\)"),
        ({"StudyInstanceUID": "9.9"}, "mixes 2 examinations"),
        ({"FrameOfReferenceUID": "9.9"}, "mixes 2 frames of reference"),
        ({"SeriesInstanceUID": "9.9"}, "holds 2 series"),
        ({"Rows": 6, "Columns": 4}, r"mixes images of \(4, 6\) and \(6, 4\)"),
        ({"PixelSpacing": [2.0, 1.6]}, "mixes pixel spacings"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "different orientation"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, None),
        ({"ImagePositionPatient": [-10.0, -20.0, 0.0]}, "1 images that lie at the place of another"),
        ({"EchoTime": None}, "is incomplete"),
        ({"ImagePositionPatient": None}, "lacks ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "lacks ImageOrientationPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no pair of orthogonal unit vectors"),
        ({"PixelSpacing": [0.0, 1.5]}, r"PixelSpacing \[0.0, 1.5\]"),
        ({"RescaleSlope": 0}, "RescaleSlope 0"),
        ({"EchoTime": -1.0}, "EchoTime -1"),
        ({"EchoTime": 1e6}, "EchoTime 1e"),
        ({"EchoTime": [10.0, 20.0]}, "EchoTime that is not one number"),
        ({"NumberOfFrames": 2}, "pixels|frames"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes, word, classic_dicom, save_dicom, tmp_path):
    place = pair(classic_dicom, save_dicom, tmp_path, **changes)
    if word is None:  # a magnitude and a phase image: the magnitude is taken, which is said
        assert read_dicom(place).repairs == ("left out 1 frames of type P",)
        return
    with pytest.raises(InputError, match=word) as caught:
        read_dicom(place)
    assert "ecret" not in str(caught.value)


def test_a_time_that_is_no_number_is_refused(classic_dicom, save_dicom, tmp_path):
    path = save_dicom(classic_dicom(), tmp_path / "a.dcm")
    element = b"\x18\x00\x81\x00DS\x04\x00"
    content = path.read_bytes()
    assert content.count(element + b"10.0") == 1
    path.write_bytes(content.replace(element + b"10.0", element + b"doe^"))
    with pytest.raises(InputError, match=r"EchoTime that is not one number|element that cannot be read") as caught:
        read_dicom(path)
    assert "doe" not in str(caught.value)


def test_echoes_shifted_in_the_plane_are_refused(classic_dicom, save_dicom, tmp_path):
    save_dicom(classic_dicom(te=10.0), tmp_path / "0.dcm")
    save_dicom(classic_dicom(te=20.0, ImagePositionPatient=[-9.0, -20.0, 0.0]), tmp_path / "1.dcm")
    with pytest.raises(InputError, match="shifted in the plane by up to 1 mm"):
        read_dicom(tmp_path)


def test_slices_off_one_line_are_refused_and_tilted_stacks_are_kept(classic_dicom, save_dicom, tmp_path):
    for name, offsets in (("bent", (0.0, 2.0, 0.0)), ("tilted", (0.0, 2.0, 4.0))):
        (tmp_path / name).mkdir()
        for i, (z, offset) in enumerate(zip(SLICES, offsets, strict=True)):
            changes = {"ImagePositionPatient": [-10.0 + offset, -20.0, z]}
            save_dicom(classic_dicom(z=z, **changes), tmp_path / name / f"{i}.dcm")
    with pytest.raises(InputError, match="off one line"):
        read_dicom(tmp_path / "bent")
    tilted = read_dicom(tmp_path / "tilted")
    assert tilted.affine @ [0, 0, 1, 1] == pytest.approx([0.008, 0.02, 0.005, 1])
    assert "tilted stack" in tilted.repairs[0]


def test_a_time_that_differs_between_slices_is_left_out_and_named(classic_dicom, save_dicom, tmp_path):
    images = read_dicom(pair(classic_dicom, save_dicom, tmp_path, RepetitionTime=600.0))
    assert set(images.times) == {"te", "flip_angle"}
    assert images.repairs == ("tr differs between slices and is left out",)


def test_inversion_times_and_repetitions_become_contrasts(classic_dicom, save_dicom, tmp_path):
    for i, ti in enumerate((900.0, 50.0, 200.0)):
        save_dicom(classic_dicom(InversionTime=ti, z=float(i) * 0), tmp_path / f"{i}.dcm")
    assert read_dicom(tmp_path).times["ti"] == pytest.approx([0.05, 0.2, 0.9])


def test_several_series_are_listed_and_chosen(classic_dicom, save_dicom, tmp_path):
    for uid, number in (("9.1", 4), ("9.2", 5)):
        for i, z in enumerate(SLICES):
            dataset = classic_dicom(z=z, SeriesInstanceUID=uid, SeriesNumber=number)
            save_dicom(dataset, tmp_path / f"{number}-{i}.dcm")
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "link.dcm").symlink_to(tmp_path / "4-0.dcm")
    assert [(s.uid, s.number, s.n_files, s.n_frames) for s in list_series(tmp_path)] == [("9.1", 4, 3, 3), ("9.2", 5, 3, 3)]
    assert len(find_files(tmp_path)) == 6
    with pytest.raises(InputError, match=r"holds 2 series \(4 with 3 files; 5 with 3 files\); choose one with series="):
        read_dicom(tmp_path)
    for wanted in (5, "5", "9.2"):
        assert read_dicom(tmp_path, series=wanted).data.shape == (1, 3, 4, 6)
    with pytest.raises(InputError, match="has 0 series 6"):
        read_dicom(tmp_path, series=6)


# --- damaged files


@pytest.mark.parametrize("keep", [0.99, 0.9, 0.5, 0.2])
@pytest.mark.parametrize("syntax", ["plain", "rle"])
def test_a_cut_file_is_refused_though_pydicom_reads_it(keep, syntax, classic_dicom, save_dicom, tmp_path):
    dataset = classic_dicom()
    if syntax == "rle":
        dataset.compress(RLELossless)
    path = save_dicom(dataset, tmp_path / "a.dcm")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(InputError, match=r"cut|damaged|bytes of pixels|lacks"):
        read_dicom(path)


@given(data=st.data())
def test_any_cut_or_change_is_images_or_one_error_without_names(data, folder, tmp_path_factory):
    content = bytearray((folder / "3.dcm").read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("changed") / "a.dcm"
    path.write_bytes(content[: data.draw(st.integers(140, len(content)))])
    complaint = ""
    try:
        assert read_dicom(path).data.shape[:2] == (1, 1)
    except InputError as error:
        complaint = str(error)
    assert "ecret" not in complaint


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"PixelData": None}, "no pixel data"),
        ({"PixelData": bytes(46)}, "46 bytes of pixels where its header says 48"),
        ({"Rows": 0}, "lacks Rows|claims 1 frames of 0"),
        ({"Rows": 60000, "Columns": 60000}, "claims|bytes of pixels"),
        ({"BitsAllocated": 12}, "bits for each pixel"),
        ({"BitsStored": 20}, "stores 20 of 16 bits"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "is a RGB image"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, "Siemens mosaic"),
    ],
)
def test_a_file_that_lies_about_itself_is_refused(changes, word, classic_dicom, save_dicom, tmp_path):
    path = save_dicom(classic_dicom(**changes), tmp_path / "a.dcm")
    with pytest.raises(InputError, match=word):
        read_dicom(path)


def test_a_deflated_bomb_is_refused_before_it_expands(classic_dicom, save_dicom, tmp_path, monkeypatch):
    monkeypatch.setattr("medcore.io.dicom.files.FREE_BYTES", 1 << 20)
    dataset = classic_dicom(Rows=2000, Columns=2000, PixelData=bytes(8_000_000))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save_dicom(dataset, tmp_path / "a.dcm")
    assert path.stat().st_size < 40_000
    with pytest.raises(InputError, match="expands to more than"):
        read_dicom(path)


def test_values_beside_the_stored_bits_do_not_count(classic_dicom, save_dicom, tmp_path):
    """Old files keep overlays in the unused bits."""
    raw = np.arange(24, dtype="<u2") | 0xF000
    save_dicom(classic_dicom(PixelData=raw.tobytes()), tmp_path / "a.dcm")
    assert read_dicom(tmp_path / "a.dcm").data.ravel().tolist() == list(range(24))


def test_an_enhanced_file_that_describes_too_few_frames_is_refused(enhanced_dicom, save_dicom, tmp_path):
    dataset = enhanced_dicom()
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:5]
    with pytest.raises(InputError, match="describes 5 of 6 frames"):
        read_dicom(save_dicom(dataset, tmp_path / "a.dcm"))


def test_frame_types_are_chosen_or_named(enhanced_dicom, save_dicom, tmp_path):
    dataset = enhanced_dicom((0, 1, 2, 3, 4, 5))
    for group in dataset.PerFrameFunctionalGroupsSequence[3:]:
        frame_type: Dataset = group.MRImageFrameTypeSequence[0]
        frame_type.FrameType, frame_type.ComplexImageComponent = ["ORIGINAL", "PRIMARY", "VELOCITY", "NONE"], "PHASE"
    path = save_dicom(dataset, tmp_path / "a.dcm")
    assert read_dicom(path).repairs == ("left out 3 frames of type VELOCITY",)
    assert read_dicom(path, frame_type="velocity").times["te"] == pytest.approx([0.02])
    with pytest.raises(InputError, match=r"M \(3 frames\), VELOCITY \(3 frames\); choose one with frame_type"):
        read_dicom(path, frame_type="t2")


@pytest.mark.parametrize(
    ("path", "word"),
    [("absent", "does not exist"), ("empty", "holds no DICOM"), ("text.dcm", "is not a DICOM file"), ([], "at least one")],
)
def test_what_is_no_dicom_is_named(path, word, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.dcm").write_text("no DICOM" * 50)
    with pytest.raises(InputError, match=word):
        read_dicom(tmp_path / path if path else [])


def test_images_can_be_changed_without_changing_the_file(folder):
    images = read_dicom(folder)
    images.data[:] = 0
    assert np.array_equal(read_dicom(folder).data, expected())
    assert dataclasses.replace(images, repairs=("x",)).repairs == ("x",)
