"""DICOM from real scanners against the NIfTI and PAR/REC files made of it by others."""

from __future__ import annotations

import itertools
import warnings

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.parrec import PARRECHeader

from medcore.atomic import sha256_file
from medcore.errors import InputError
from medcore.io import list_series, read_dicom, read_nifti
from medcore.io.dicom.decoding import FrameDecoder
from medcore.io.dicom.files import open_dicom


@pytest.mark.integration
def test_siemens_multi_echo_series(data_root):
    files = sorted((data_root / "siemens-mese-dicom").glob("TE_*.dcm"))
    before = {f: sha256_file(f) for f in files}
    with pytest.raises(InputError, match="TE 20, flip angle 180: 3 of 3 slices; TE 40, flip angle 180: 2 of 3"):
        read_dicom(files)
    images = read_dicom(files, incomplete="drop")
    assert images.data.shape == (3, 2, 192, 192)
    assert images.times["te"] == pytest.approx([0.02, 0.04, 0.06])
    assert images.times["tr"] == pytest.approx([3.0] * 3)
    heights = [(images.affine @ [0, 0, z, 1])[2] for z in range(2)]
    assert heights == pytest.approx([-0.033707626, -0.023207628], abs=1e-8)
    for file in files:
        dataset = pydicom.dcmread(file)
        z = [i for i, h in enumerate(heights) if abs(dataset.ImagePositionPatient[2] * 1e-3 - h) < 1e-6]
        if z:
            echo = round(dataset.EchoTime / 20) - 1
            assert np.array_equal(images.data[echo, z[0]], dataset.pixel_array.astype(np.float32))
    assert any("-2.21 mm" in r for r in images.repairs)
    assert {f: sha256_file(f) for f in files} == before


@pytest.mark.integration
def test_siemens_folder_with_two_series(data_root):
    assert [(s.number, s.n_files) for s in list_series(data_root / "siemens-mese-dicom")] == [(3, 1), (3, 7)]
    with pytest.raises(InputError, match="holds 2 series"):
        read_dicom(data_root / "siemens-mese-dicom")


@pytest.mark.integration
@pytest.mark.parametrize("name", ["T1", "T2", "T2-interleaved", "T2_"])
def test_philips_enhanced_values_equal_the_reference(data_root, name):
    """Stored pixels times the slope of each frame are the values of the NIfTI files, voxel by voxel."""
    images = read_dicom(data_root / "philips-enhanced-mr" / "DICOM" / f"{name}.dcm")
    reference = read_nifti(data_root / "philips-enhanced-mr" / "NIFTI" / f"{name}.nii.gz")
    assert images.data.shape == reference.data.shape
    assert images.data.max() == pytest.approx(reference.data.max(), rel=1e-6)
    assert np.allclose(images.data, reference.data, rtol=1e-6, atol=1e-6 * reference.data.max())
    assert images.affine[:3, :3] == pytest.approx(reference.affine[:3, :3], abs=2e-8)
    # The converter of the NIfTI files put the corner of the first voxel, half a voxel off, where its centre is.
    half = images.affine[:3, :2].sum(axis=1) / 2
    assert images.affine[:3, 3] - half == pytest.approx(reference.affine[:3, 3], abs=1e-4)
    if name == "T1":  # what the scanner itself exported, rounded to hundredths of a millimetre
        with (data_root / "philips-enhanced-mr" / "PARREC" / "T1.PAR").open() as file:
            exported = PARRECHeader.from_fileobj(file).get_affine()
        assert images.affine[:3, 3] * 1e3 == pytest.approx(exported[:3, 3], abs=0.02)


@pytest.mark.integration
def test_philips_field_map_mixes_two_types_with_their_own_rescale(data_root):
    path = data_root / "philips-enhanced-mr" / "DICOM" / "fieldmap.dcm"
    dataset = pydicom.dcmread(path)
    magnitude, phase = read_dicom(path), read_dicom(path, frame_type="velocity")
    for i, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        scale = group.PixelValueTransformationSequence[0]
        values = dataset.pixel_array[i] * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
        assert np.allclose((magnitude if i < 10 else phase).data[0, i % 10], values, rtol=1e-6, atol=1e-4)
    assert phase.data.max() == pytest.approx(496.337, abs=1e-3)
    assert magnitude.repairs == ("left out 10 frames of type VELOCITY",)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # nibabel keeps the REC file open
def test_philips_field_map_equals_what_the_scanner_exported_in_par_rec(data_root):
    """Both parts, values and places; PAR holds slopes and angles of few digits."""
    place = data_root / "philips-enhanced-mr"
    exported = nibabel.load(place / "PARREC" / "fieldmap.PAR")
    values = np.asanyarray(exported.dataobj).transpose(3, 2, 1, 0)
    for volume, frame_type, tolerance in ((0, "T1", 2e-3), (1, "VELOCITY", 2e-3)):
        images = read_dicom(place / "DICOM" / "fieldmap.dcm", frame_type=frame_type)
        assert np.abs(images.data[0] - values[volume]).max() < tolerance
        for x, y, z in itertools.product((0, 79), (0, 79), (0, 9)):
            there = exported.affine @ [x, y, z, 1]
            assert images.affine[:3] @ [x, y, z, 1] * 1e3 == pytest.approx(there[:3], abs=0.03)


@pytest.mark.integration
def test_philips_field_map_explains_its_nifti_file(data_root):
    """The converter of the NIfTI file took ten frames of both types by turns and gave all of them the scale of one."""
    place = data_root / "philips-enhanced-mr"
    converted = read_nifti(place / "NIFTI" / "fieldmap.nii.gz").data[0]
    phase = read_dicom(place / "DICOM" / "fieldmap.dcm", frame_type="VELOCITY").data[0]
    magnitude = read_dicom(place / "DICOM" / "fieldmap.dcm").data[0]
    assert np.abs(converted[[0, 2, 5, 7, 8]] - phase[:5]).max() < 1e-4
    stored = (converted[[1, 3, 4, 6, 9]] + 500) / 0.24420024420024  # back to what lies in the file
    assert np.abs(stored * 10.4004884004884 - magnitude[:5]).max() < 0.02


@pytest.mark.integration
def test_siemens_xa_enhanced_equals_its_reference(data_root):
    images = read_dicom(data_root / "siemens-xa-enhanced")
    reference = read_nifti(data_root / "siemens-xa-enhanced" / "ref" / "Siemens_REST1_w_SMS_PF7-8_6.nii")
    assert images.data.shape == (4, 6, 64, 64)
    assert np.array_equal(images.data[:, :, ::-1], reference.data)  # the converter stores rows from the back to the front
    for index in ([0, 0, 0], [5, 7, 3]):
        x, y, z = index
        assert images.affine @ [x, y, z, 1] == pytest.approx(reference.affine @ [x, 63 - y, z, 1], abs=1e-6)
    for key, values in reference.times.items():
        assert images.times[key] == pytest.approx(values, rel=1e-6)


@pytest.mark.integration
def test_nine_transfer_syntaxes_decode_identically(data_root, tmp_path):
    files = [data_root / "dicom-transfer-syntaxes" / f"{i}.dcm" for i in range(1, 10)]
    with FrameDecoder() as decoder:
        pixels = [np.stack([frame for _, frame in decoder.frames(open_dicom(f), [0], f)]) for f in files]
    assert len({pydicom.dcmread(f, stop_before_pixels=True).file_meta.TransferSyntaxUID for f in files}) >= 7
    assert pixels[0].shape == (1, 384, 384)
    for other in pixels[1:]:
        assert np.array_equal(other, pixels[0])
    reference = read_nifti(data_root / "dicom-transfer-syntaxes" / "ref" / "1.nii")
    for file in files:
        volume = read_dicom(file)
        assert np.array_equal(volume.data[:, :, ::-1], reference.data)  # the converter stores rows from the back to the front
        for x, y, z in ([0, 0, 0], [63, 20, 34], [5, 7, 3]):
            assert volume.affine @ [x, y, z, 1] == pytest.approx(reference.affine @ [x, 63 - y, z, 1], abs=1e-6)
        assert volume.times["te"] == pytest.approx(0.030)
    # As single pictures they are read like any other image, cut files are refused.
    for file in files:
        dataset = pydicom.dcmread(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's about private elements of this vendor
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
            dataset.save_as(tmp_path / file.name)
        assert np.array_equal(read_dicom(tmp_path / file.name).data[0, 0], pixels[0][0])
        content = (tmp_path / file.name).read_bytes()
        (tmp_path / "cut.dcm").write_bytes(content[: len(content) * 3 // 4])
        with pytest.raises(InputError, match=r"cut|damaged|bytes of pixels"):
            read_dicom(tmp_path / "cut.dcm")
