"""medcore info and validate: facts for people and machines, and never a patient's name."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pydicom
import pytest
from dicom_files import classic, save
from pydicom.dataset import Dataset

from medcore.errors import InputError
from medcore.io import KSpace, write_ismrmrd, write_nifti
from medcore.opening import describe, find_faults, lines

AFFINE = np.diag([1e-3, 2e-3, 3e-3, 1.0])


@pytest.fixture
def identified(tmp_path):
    """A DICOM folder of two slices with identifiers in every place that has one."""
    import warnings

    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    def slice_at(z, number):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, "1.2.840.10008.5.1.4.1.1.4"
        meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        d = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        d.SOPClassUID, d.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        d.StudyInstanceUID, d.SeriesInstanceUID, d.SeriesNumber, d.Modality = "1.2.3", "1.2.3.4", 3, "MR"
        for keyword in ("PatientName", "ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName", "OtherPatientNames"):
            setattr(d, keyword, "Hush^Hush")
        for keyword in ("PatientID", "AccessionNumber", "StudyID", "InstitutionName", "StationName", "PatientComments"):
            setattr(d, keyword, "HUSH-17")
        for keyword in ("ImageComments", "StudyDescription", "ProtocolName", "RequestedProcedureDescription", "PatientAddress"):
            setattr(d, keyword, "hush hush")
        d.PatientBirthDate, d.StudyDate, d.AcquisitionDate = "19570704", "19570704", "19570704"
        private = d.private_block(0x0011, "HUSH", create=True)
        private.add_new(1, "LO", "hush private")
        item = Dataset()
        item.PatientID = "HUSH-18"
        d.OtherPatientIDsSequence = [item]
        d.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        d.Rows, d.Columns, d.PixelSpacing, d.SliceThickness = 2, 2, [1.0, 1.0], 5.0
        d.ImageOrientationPatient, d.ImagePositionPatient, d.EchoTime = [1, 0, 0, 0, 1, 0], [0, 0, z], 10.0
        d.SamplesPerPixel, d.PhotometricInterpretation, d.PixelRepresentation = 1, "MONOCHROME2", 0
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelData = 16, 16, 15, bytes([1, 0] * 4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            d.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)

    for number, z in enumerate((0.0, 5.0)):
        slice_at(z, number)
    return tmp_path


SECRET = re.compile("hush|1957", re.IGNORECASE)


def test_no_identifier_is_ever_shown(identified):
    facts = describe(identified)
    shown = json.dumps(facts) + "\n".join(lines(facts)) + json.dumps(find_faults(identified))
    assert facts["axes"] == {"contrast": 1, "z": 2, "y": 2, "x": 2}
    assert not SECRET.search(shown)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c[:-3],
        lambda c: c[: len(c) // 2],
        lambda c: c.replace(b"Hush^Hush", b"Psst^Psst", 1),
        lambda c: c.replace(b"DS\x04\x0010.0", b"DS\x04\x00hush"),
        lambda c: c.replace(b"IS\x02\x003 ", b"IS\x02\x00hu"),
        lambda c: c.replace(b"US\x02\x00\x02\x00", b"US\x02\x00hu"),
        lambda c: c.replace(b"MONOCHROME2", b"HUSHCHROME2"),
        lambda c: c.replace(b"ORIGINAL\\PRIMARY\\M", b"ORIGINAL\\PRIMARY\\P"),
        lambda c: c.replace(b"1.2.3.4", b"1.2.3.5"),
    ],
)
def test_no_identifier_is_in_an_error(identified, spoil):
    path = identified / "1.dcm"
    content = path.read_bytes()
    assert spoil(content) != content
    path.write_bytes(spoil(content))
    shown = ""
    for look in (describe, find_faults):
        try:
            shown += json.dumps(look(identified))
        except InputError as error:
            shown += str(error)
    assert not re.search("hush(?!chrome)|1957|psst", shown, re.IGNORECASE)


def test_images_are_described_in_the_units_of_the_screen(tmp_path):
    data = np.array([[[[1.0, np.nan]]], [[[-3.0, 2.0]]]], np.float32)
    sidecar = {"EchoTime": [0.0264, 0.0396], "FlipAngle": 90}
    write_nifti(tmp_path / "a.nii.gz", data, AFFINE, sidecar=sidecar)
    facts = describe(tmp_path / "a.nii.gz")
    assert facts["type"] == "images"
    assert facts["axes"] == {"contrast": 2, "z": 1, "y": 1, "x": 2}
    assert facts["times"] == {"te_ms": [26.4, 39.6], "flip_angle_deg": [90.0, 90.0]}
    assert facts["voxel_mm"] == [3.0, 2.0, 1.0]
    assert facts["range"] == [-3.0, 2.0]
    assert facts["not_finite"] == 1
    json.dumps(facts, allow_nan=False)
    shown = "\n".join(lines(facts))
    assert "te_ms 26.4, 39.6; flip_angle_deg 90, 90" in shown


def test_an_image_of_nothing_but_nan_has_no_range(tmp_path):
    write_nifti(tmp_path / "a.nii", np.full((1, 2, 2), np.nan, np.float32), AFFINE)
    assert describe(tmp_path / "a.nii")["range"] is None


@pytest.fixture
def kspace(rng):
    mask = np.ones((2, 1, 8, 6), dtype=bool)
    mask[:, :, 1::2] = False
    data = (rng.standard_normal((2, 3, 1, 8, 6)) + 1j).astype(np.complex64) * mask[:, None]
    return KSpace(data=data, mask=mask, matrix=(1, 8, 6), fov=(0.005, 0.21, 0.2), times={"te": [0.01, 0.02]}, field_strength=3.0)


def test_kspace_is_described(kspace, tmp_path):
    write_ismrmrd(tmp_path / "scan.h5", kspace)
    facts = describe(tmp_path / "scan.h5")
    assert facts["axes"] == {"contrast": 2, "coil": 3, "z": 1, "y": 8, "x": 6}
    assert (facts["sampling"], facts["sampled_fraction"], facts["fov_mm"]) == ("Cartesian", 0.5, [5.0, 210.0, 200.0])
    json.dumps(facts, allow_nan=False)


def test_faults_are_listed(tmp_path):
    data = np.ones((3, 1, 2, 2), np.float32)
    data[1] = 0
    data[2, 0, 0, 0] = np.nan
    write_nifti(tmp_path / "a.nii", data, AFFINE)
    assert find_faults(tmp_path / "a.nii") == [
        "1 values are no numbers, the first at index (2, 0, 0, 0)",
        "contrasts [1] are zero everywhere",
    ]
    write_nifti(tmp_path / "b.nii", np.ones((1, 2, 2), np.float32), AFFINE)
    assert find_faults(tmp_path / "b.nii") == []
    np.save(tmp_path / "c.npy", np.ones((2, 2)))
    assert find_faults(tmp_path / "c.npy") == ["no geometry in the file, voxels of 1 mm assumed"]
    with pytest.raises(InputError, match="does not exist"):
        find_faults(tmp_path / "absent")


def test_lines_have_words_for_everything():
    facts = {"a_b": None, "yes": True, "none": [], "nested": [[1.0, 2.5], [3.0, 4.0]], "times": {"te": [1.23456789]}, "empty": {}}
    assert lines(facts) == [
        "a b     not stated",
        "yes     yes",
        "none    none",
        "nested  1, 2.5 | 3, 4",
        "times   te 1.23457",
        "empty   none",
    ]


@pytest.mark.integration
def test_every_real_file_is_described_and_validated_and_names_no_patient(data_root):
    names = {
        str(value)
        for path in data_root.rglob("*.dcm")
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "ReferringPhysicianName", "InstitutionName")
        if len(str(value := pydicom.dcmread(path, stop_before_pixels=True).get(keyword) or "")) > 3
    }
    kinds = Counter()
    for path in sorted(p for p in data_root.rglob("*") if p.is_file()):
        facts = describe(path)
        said = "\n".join([json.dumps(facts, allow_nan=False), *lines(facts), *find_faults(path)]).replace(str(path), "")
        assert facts["format"] != "dicom" or not [n for n in names if n in said], path
        kinds[facts["format"]] += 1
    assert sum(kinds.values()) > 400
    assert {k: kinds[k] for k in ("dicom", "nifti", "par", "rec", "mat", "hdf5", "ismrmrd", "medmnist", "table")} == {
        "dicom": 26, "nifti": 11, "par": 2, "rec": 2, "mat": 1, "hdf5": 1, "ismrmrd": 1, "medmnist": 1, "table": 3
    }  # fmt: skip


@pytest.mark.integration
def test_every_real_folder_is_described(data_root):
    refused = []
    for path in sorted(p for p in data_root.rglob("*") if p.is_dir()):
        try:
            assert lines(describe(path))
        except InputError as error:
            refused.append((path.name, error.problem))
    # One series stored nine times.
    assert [name for name, _ in refused] == ["dicom-transfer-syntaxes"]
    assert describe(data_root / "koma-phantom-mrd")["kinds"] == {"hdf5": 1, "ismrmrd": 1, "mat": 1, "text": 1}


@pytest.mark.parametrize(
    ("name", "content", "kind", "fact"),
    [
        ("a.bin", b'{"b": [1, 2]}', "json", {"keys": 1}),
        ("a.txt", b"image,grade\nx,1\ny,2\n", "table", {"rows": 2, "columns": ["image", "grade"]}),
        ("a.csv", "word\n\u00e9\u00e8\n".encode(), "text", {"lines": 2}),
        ("a", b"<?xml version='1.0'?><root><a/><a/></root>", "xml", {"root": "root", "elements": 3}),
        ("a.log", b"# not, a table\n1,2\n", "text", {"lines": 2}),
    ],
)
def test_plain_files_are_known_by_content(name, content, kind, fact, tmp_path):
    (tmp_path / name).write_bytes(content)
    facts = describe(tmp_path / name)
    assert facts["format"] == kind
    assert fact.items() <= facts.items()
    assert find_faults(tmp_path / name) == []


def test_json_lines_are_no_damaged_json(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n')
    assert describe(tmp_path / "log.jsonl")["type"] == "JSON Lines"
    assert find_faults(tmp_path / "log.jsonl") == []
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": NaN}\n')
    with pytest.raises(InputError, match="line 3: holds NaN"):
        find_faults(tmp_path / "log.jsonl")


def test_films_need_no_place_in_space(tmp_path):
    for number in range(2):
        dataset = classic(ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None, Modality="DX")
        dataset.SeriesInstanceUID += f".{number}"
        save(dataset, tmp_path / f"{number}.dcm")
    assert describe(tmp_path / "0.dcm")["type"] == "projection image"
    assert describe(tmp_path / "0.dcm")["axes"] == {"y": 4, "x": 6}
    assert find_faults(tmp_path / "0.dcm") == []
    assert find_faults(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1, "a": 2}', "states 'a' twice"),
        (b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", "XML that cannot be read"),
        (b"<?xml version='1.0'?><a><b></a>", "XML that cannot be read"),
        (b"MATLAB 5.0 MAT-file" + bytes(200), "is a damaged MATLAB file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "is no image"),
        (b"\x00\x01\x02\x03", "is of no kind that can be read"),
    ],
)
def test_damaged_plain_files_are_refused(content, words, tmp_path):
    (tmp_path / "file").write_bytes(content)
    for function in (describe, find_faults):
        with pytest.raises(InputError, match=words):
            function(tmp_path / "file")


def test_arrays_that_are_no_images_are_listed(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([1.0, np.nan]), names=np.array(["x", "yz"]), b=np.ones((2, 3, 4)))
    facts = describe(tmp_path / "a.npz")
    assert facts["format"] == "npz"
    assert facts["arrays"] == [
        {"name": "a", "shape": [2], "dtype": "float64"},
        {"name": "names", "shape": [2], "dtype": "<U2"},
        {"name": "b", "shape": [2, 3, 4], "dtype": "float64"},
    ]
    assert find_faults(tmp_path / "a.npz") == ["a: 1 values are no numbers"]
    assert describe(tmp_path / "a.npz", key="b")["type"] == "images"
    np.save(tmp_path / "b.npy", np.arange(5))
    assert describe(tmp_path / "b.npy")["arrays"] == [{"name": "array", "shape": [5], "dtype": "int64"}]
    assert find_faults(tmp_path / "b.npy") == []
    np.savez(tmp_path / "c.npz", a=np.ones(2), b=np.array([{"a": 1}], dtype=object))
    for door in (describe, find_faults):
        with pytest.raises(InputError, match="holds values of type object"):
            door(tmp_path / "c.npz")


def test_a_folder_of_several_things_is_described_and_checked(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.json").write_text('{"a": 1, "a": 2}')
    (tmp_path / "notes.md").write_text("words\n")
    np.save(tmp_path / "x.npy", np.ones((3, 4)))
    (tmp_path / ".hidden").write_bytes(b"\0")
    (tmp_path / "link").symlink_to(tmp_path / "notes.md")
    facts = describe(tmp_path)
    assert (facts["format"], facts["files"], facts["kinds"]) == ("folder", 3, {"json": 1, "npy": 1, "text": 1})
    assert find_faults(tmp_path) == ["x.npy: no geometry in the file, voxels of 1 mm assumed", "sub/a.json: states 'a' twice"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files"):
        find_faults(tmp_path / "empty")


@pytest.mark.integration
def test_a_real_folder_with_a_fault_is_named(data_root):
    faults = find_faults(data_root / "siemens-mese-dicom")
    assert len(faults) == 1
    assert faults[0].startswith("series 3: is incomplete (TE 20, flip angle 180: 3 of 3 slices")
    assert describe(data_root / "siemens-mese-dicom")["type"] == "several series"
