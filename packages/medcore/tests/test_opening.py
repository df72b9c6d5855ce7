"""medcore info and validate: facts for people and machines, and never a patient's name."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
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
    assert find_faults(tmp_path / "a.nii") == ["1 values are no numbers", "contrasts [1] are zero everywhere"]
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
def test_every_real_file_is_described_or_refused_in_one_line(data_root):
    described, refused = 0, 0
    for path in sorted(p for p in data_root.rglob("*") if p.suffix in {".dcm", ".gz", ".nii", ".mrd", ".h5", ".mat", ".npy"}):
        try:
            facts = describe(path)
        except InputError as error:
            refused += "\n" not in str(error)
            continue
        json.dumps(facts, allow_nan=False)
        assert lines(facts)
        described += 1
    assert described >= 25
    assert refused >= 10  # in one line each: nine mosaics, a phantom in plain HDF5, MATLAB


@pytest.mark.integration
def test_a_real_folder_with_a_fault_is_named(data_root):
    faults = find_faults(data_root / "siemens-mese-dicom")
    assert len(faults) == 1
    assert faults[0].startswith("series 3: is incomplete (TE 20, flip angle 180: 3 of 3 slices")
    assert describe(data_root / "siemens-mese-dicom")["type"] == "several series"
