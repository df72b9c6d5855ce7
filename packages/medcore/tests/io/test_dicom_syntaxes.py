"""Every transfer syntax that permissively licensed decoders read, against the pixels that were stored."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import classic, save
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from medcore.errors import InputError
from medcore.io import read_dicom
from medcore.io.dicom.codestream import picture_size

gdcm = pytest.importorskip("gdcm")

ROWS, COLUMNS = 48, 64
Y, X = np.mgrid[:ROWS, :COLUMNS]
SMOOTH = 1500 + 1000 * np.sin(X / 9) * np.cos(Y / 7)
# name: values, bits allocated, bits stored, signed
PIXELS = {
    "8 bits": (np.clip(SMOOTH / 12, 0, 255).astype("<u1"), 8, 8, 0),
    "12 bits": (SMOOTH.astype("<u2"), 16, 12, 0),
    "16 bits": ((SMOOTH * 20).astype("<u2"), 16, 16, 0),
    "12 bits signed": ((SMOOTH - 1500).astype("<i2"), 16, 12, 1),
    "16 bits signed": ((SMOOTH - 1500).astype("<i2") * 8, 16, 16, 1),
}
NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
# Pictures called JPEG 2000 may be compressed with loss; those made here are not.
LOSSLESS = ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "JPEG2000", "RLELossless"]
LOSSY = [
    ("JPEGBaselineProcess1", "8 bits", 2),
    ("JPEGExtendedProcess2_4", "8 bits", 2),
    ("JPEGExtendedProcess2_4", "12 bits", 4),
    ("JPEGLSNearLossless", "12 bits", 4),
]


def stored(name: str, **changes: object) -> tuple[np.ndarray, pydicom.FileDataset]:
    values, allocated, bits, sign = PIXELS[name]
    facts = {"BitsAllocated": allocated, "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": sign}
    return values, classic(Rows=ROWS, Columns=COLUMNS, **facts, PixelData=values.tobytes(), **changes)


def transcoded(folder: Path, syntax: str, name: str) -> tuple[np.ndarray, Path]:
    """Compress with GDCM, which is not what decodes all of them."""
    values, dataset = stored(name)
    save(dataset, folder / "native.dcm")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(folder / "native.dcm"))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    codec = gdcm.JPEGCodec()
    if syntax == "JPEGExtendedProcess2_4":
        codec.SetLossless(False)
        change.SetUserCodec(codec)
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(folder / "a.dcm"))
    assert writer.Write()
    return values, folder / "a.dcm"


@pytest.mark.parametrize("name", list(PIXELS))
@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.keyword)
def test_native_pixels_come_back(syntax, name, tmp_path):
    values, dataset = stored(name)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = values.astype(values.dtype.newbyteorder(">")).tobytes()
        dataset["PixelData"].VR = "OW"
        if values.itemsize == 1:  # 8-bit pixels stand in words of 16 bits, whose bytes change places
            dataset.PixelData = values.view("<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        if little:
            save(dataset, tmp_path / "a.dcm")
        else:
            pydicom.dcmwrite(tmp_path / "a.dcm", dataset, force_encoding=True, implicit_vr=implicit, little_endian=little)
    images = read_dicom(tmp_path / "a.dcm")
    assert np.array_equal(images.data[0, 0], values)
    assert images.repairs == ()


@pytest.mark.parametrize("name", list(PIXELS))
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_pixels_come_back(syntax, name, tmp_path, capfd):
    values, path = transcoded(tmp_path, syntax, name)
    images = read_dicom(path)
    assert np.array_equal(images.data[0, 0], values)
    assert images.repairs == ()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("syntax", "name", "most"), LOSSY)
def test_lossy_pixels_come_back_nearly_and_the_loss_is_named(syntax, name, most, tmp_path):
    values, path = transcoded(tmp_path, syntax, name)
    images = read_dicom(path)
    assert np.abs(images.data[0, 0] - values).max() <= most
    assert images.repairs == ("the pixels of 1 files were compressed with loss",)


def test_a_stated_loss_is_named(tmp_path):
    _, dataset = stored("12 bits", LossyImageCompression="01")
    assert read_dicom(save(dataset, tmp_path / "a.dcm")).repairs == ("the pixels of 1 files were compressed with loss",)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K], ids=lambda uid: uid.keyword)
def test_high_throughput_jpeg_2000_has_a_decoder(syntax):
    """No encoder of it is available under such a licence, so no picture is decoded here."""
    assert get_decoder(syntax).available_plugins == ("pylibjpeg",)


def test_several_compressed_frames_keep_their_places(enhanced_dicom, save_dicom, tmp_path):
    dataset = enhanced_dicom((5, 3, 1, 0, 2, 4))
    reference = read_dicom(save_dicom(dataset, tmp_path / "native.dcm"))
    dataset.compress(pydicom.uid.RLELossless)
    images = read_dicom(save_dicom(dataset, tmp_path / "rle.dcm"))
    assert np.array_equal(images.data, reference.data)


def test_a_frame_in_several_pieces(tmp_path):
    values, path = transcoded(tmp_path, "JPEGLosslessProcess14_1", "12 bits")
    dataset = pydicom.dcmread(path)
    stream = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = pydicom.encaps.encapsulate([stream], fragments_per_frame=3)
    save(dataset, tmp_path / "pieces.dcm")
    assert np.array_equal(read_dicom(tmp_path / "pieces.dcm").data[0, 0], values)


# --- what cannot be decoded


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "JPEGExtendedProcess2_4"])
@pytest.mark.parametrize("part", [0.4, 0.8, 0.99])
def test_a_picture_without_its_end_is_refused(syntax, part, tmp_path, capfd):
    """The file is whole, the picture in it is not."""
    _, path = transcoded(tmp_path, syntax, "12 bits")
    dataset = pydicom.dcmread(path)
    stream = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = pydicom.encaps.encapsulate([stream[: int(len(stream) * part) // 2 * 2]])
    with pytest.raises(InputError, match="without an end, so it is cut"):
        read_dicom(save(dataset, tmp_path / "cut.dcm"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGExtendedProcess2_4", "JPEGBaselineProcess1"])
def test_a_picture_that_ends_too_early_is_refused_though_its_decoder_fills_it_up(syntax, tmp_path, capfd):
    _, path = transcoded(tmp_path, syntax, "8 bits" if syntax == "JPEGBaselineProcess1" else "12 bits")
    dataset = pydicom.dcmread(path)
    stream = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    short = stream[: len(stream) * 2 // 3 // 2 * 2].rstrip(b"\xff") + b"\xff\xd9"
    dataset.PixelData = pydicom.encaps.encapsulate([short + bytes(len(short) % 2)])
    with pytest.raises(InputError, match=r"pixels that (are damaged|cannot be decoded)"):
        read_dicom(save(dataset, tmp_path / "short.dcm"))
    assert capfd.readouterr() == ("", "")


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(tmp_path):
    _, path = transcoded(tmp_path, "JPEGLosslessProcess14_1", "12 bits")
    content = path.read_bytes()
    sof = content.index(b"\xff\xc3")
    path.write_bytes(content[: sof + 5] + b"\xff\xff\xff\xff" + content[sof + 9 :])
    with pytest.raises(InputError, match=r"compressed picture of 65535 x 65535 pixels, its header says \(48, 64\)"):
        read_dicom(path)


def test_compressed_pixels_of_no_known_kind_are_refused(tmp_path):
    _, path = transcoded(tmp_path, "JPEG2000Lossless", "12 bits")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\xff\x4f\xff\x51", b"abcd"))
    with pytest.raises(InputError, match="no known kind"):
        read_dicom(path)


@pytest.mark.parametrize(
    ("syntax", "word"),
    [
        (JPEGBaseline8Bit, "against its transfer syntax"),
        (MPEG2MPML, "against its transfer syntax"),
        (UID("1.2.3.4"), "unknown transfer syntax '1.2.3.4'"),
    ],
)
def test_native_pixels_under_the_name_of_a_compression_are_refused(syntax, word, tmp_path):
    _, dataset = stored("12 bits")
    save(dataset, tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    old, new = b"UI\x14\x001.2.840.10008.1.2.1\0", syntax.encode()
    new += b"\0" * (len(new) % 2)
    new = b"UI" + len(new).to_bytes(2, "little") + new
    changed = content.replace(old, new)
    length = int.from_bytes(content[140:144], "little") + len(new) - len(old)
    (tmp_path / "b.dcm").write_bytes(changed[:140] + length.to_bytes(4, "little") + changed[144:])
    with pytest.raises(InputError, match=word):
        read_dicom(tmp_path / "b.dcm")


def test_a_missing_decoder_names_the_extra(tmp_path):
    """In a process where none of the decoders can be imported."""
    _, path = transcoded(tmp_path, "JPEG2000Lossless", "12 bits")
    blocked = "import sys; sys.modules.update(dict.fromkeys(['gdcm', 'pylibjpeg', 'openjpeg', 'jpeg_ls', 'PIL']))"
    code = f"{blocked}; from medcore.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "info", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "run: pip install 'medcore[dicom]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"\xff\xd8\xff\xe0\0\4ab\xff\xc0\0\x0b\x08\0\x10\0\x20\x01\x01\x11\0", (16, 32, 1)),
        (b"\xff\xd8\xff\xff\xf7\0\x0b\x08\0\x10\0\x20\x03\x01\x11\0", (16, 32, 3)),
        (b"\xff\xd8\xff\xc0\0\x0b\x08\0", None),
        (b"\xff\xd8" + b"\xff\xe0\0\0" * 20, None),
        (b"\xff\x4f\xff\x51\0\x29\0\0\0\0\0\x28\0\0\0\x18\0\0\0\x08\0\0\0\x08" + bytes(16) + b"\0\1", (16, 32, 1)),
        (b"\xff\x4f\xff\x51\0\x29", None),
        (b"no picture", None),
        (b"", None),
    ],
)
def test_the_size_a_picture_states(head, size):
    assert picture_size(head) == size
