"""Bad input: DICOM, after the numbers of the catalogue."""

from __future__ import annotations

import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from corpus_case import Case
from dicom_files import classic, csa_header, enhanced, mosaic, save
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless, RLELossless

Make = Callable[[Path], Path]
ROWS = b"\x28\x00\x10\x00"
SIZE = b"\xff\x51\x00\x29\x00\x00\0\0\0\x20\0\0\0\x40"
"""Header of the JPEG 2000 picture up to its columns and rows."""
ECHO_TIME = b"\x18\x00\x81\x00DS\x04\x00"
"""Tag, VR and length of the echo time of a classic file."""


def written(dataset: Callable[[], Any], change: Callable[[bytes], bytes] = bytes) -> Make:
    """One file, its bytes changed after it was written."""

    def make(folder: Path) -> Path:
        path = save(dataset(), folder / "a.dcm")
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def raw(content: Callable[[], bytes]) -> Make:
    def make(folder: Path) -> Path:
        (folder / "a.dcm").write_bytes(content())
        return folder / "a.dcm"

    return make


def several(*datasets: Callable[[], Any]) -> Make:
    """A folder of files."""

    def make(folder: Path) -> Path:
        for i, dataset in enumerate(datasets):
            save(dataset(), folder / f"{i}.dcm")
        return folder

    return make


def one(**changes: Any) -> Callable[[], Any]:
    return lambda: classic(**changes)


def pair(**changes: Any) -> Make:
    """Two slices, the second one changed."""
    return several(one(), one(z=5.0, **changes))


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        assert content.count(old) == 1, f"{old!r} is there {content.count(old)} times"
        return content.replace(old, new)

    return change


def echo_time(text: bytes) -> Callable[[bytes], bytes]:
    return swap(ECHO_TIME + b"10.0", ECHO_TIME + text)


def element(tag: int, vr: bytes, length: int) -> bytes:
    """Head of an element with a length of four bytes."""
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length)


def before_pixels(content: bytes, inserted: bytes) -> bytes:
    place = content.index(b"\xe0\x7f\x10\x00")
    return content[:place] + inserted + content[place:]


def document(length: int) -> Callable[[bytes], bytes]:
    """Put an element of that length before the pixels."""
    return lambda content: before_pixels(content, element(0x00420011, b"OB", length))


def deflate_bomb() -> bytes:
    """A file of some hundred kilobytes whose pixels would take a gigabyte."""
    dataset = classic(Rows=1, Columns=1, PixelData=bytes(2))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    from io import BytesIO

    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    start = 132 + 12 + int.from_bytes(content[140:144], "little")
    inner = zlib.decompressobj(-15).decompress(content[start:])
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [engine.compress(inner[: inner.index(b"\xe0\x7f\x10\x00")] + element(0x7FE00010, b"OW", 1 << 30))]
    parts += [engine.compress(bytes(1 << 22)) for _ in range(1 << 8)]
    return content[:start] + b"".join(parts) + engine.flush()


def rle() -> Any:
    dataset = classic()
    dataset.compress(RLELossless)
    return dataset


def jpeg_2000() -> Any:
    dataset = classic(Rows=64, Columns=32, PixelData=np.arange(2048, dtype="<u2").tobytes())
    dataset.compress(JPEG2000Lossless)
    return dataset


def unknown_syntax() -> Any:
    dataset = classic()
    dataset.file_meta.TransferSyntaxUID = "1.2.3.4.5.6"
    return dataset


def deep(content: bytes) -> bytes:
    """5000 sequences, each within the one before."""
    return before_pixels(content, (element(0x00409096, b"SQ", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 5000)


def dicomdir(folder: Path) -> Path:
    """An index that names a file outside its folder."""
    save(classic(), folder / "outside.dcm")
    (folder / "cd").mkdir()
    index = bare("1.2.840.10008.1.3.10")
    index.FileSetID, index.DirectoryRecordSequence = "CD", [Dataset()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's about these very names
        index.DirectoryRecordSequence[0].ReferencedFileID = ["..", "outside.dcm"]
    return save(index, folder / "cd" / "DICOMDIR")


def disc(folder: Path) -> Path:
    """A folder with such an index and one sound image of its own."""
    dicomdir(folder)
    save(classic(), folder / "cd" / "a.dcm")
    return folder / "cd"


def bare(sop_class: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta, dataset.preamble = FileMetaDataset(), bytes(128)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = sop_class, "1.2.9"
    return dataset


def report() -> Dataset:
    """A structured report, which holds no pixels."""
    dataset = bare("1.2.840.10008.5.1.4.1.1.88.11")
    dataset.SOPClassUID, dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPClassUID, "1.2.9"
    dataset.SeriesInstanceUID = "1.2.99"
    return dataset


def preamble(content: bytes) -> bytes:
    return b"MZ\x90\x00" + content[4:]


def copied_twice(folder: Path) -> Path:
    save(classic(), folder / "a.dcm")
    shutil.copy(folder / "a.dcm", folder / "b.dcm")
    return folder


def tilted(folder: Path) -> Path:
    for i in range(3):
        place = [-10.0, -20.0 + i, 5.0 * i]
        save(classic(z=5.0 * i, ImagePositionPatient=place, GantryDetectorTilt=11.3), folder / f"{i}.dcm")
    return folder


def shuffled(folder: Path) -> Path:
    """Twelve sound slices under names that have nothing to do with their order."""
    names = [f"{i:02}" for i in range(12)]
    np.random.default_rng(7).shuffle(names)
    for i, name in enumerate(names):
        save(classic(z=5.0 * (i % 6), te=10.0 * (1 + i // 6), InstanceNumber=i + 1), folder / name)
    return folder


def case(
    name: str,
    make: Make,
    words: str,
    expect: Literal["refused", "reported", "read"] = "refused",
    command: tuple[str, ...] = ("validate", "{path}"),
) -> Case:
    return Case(name=name, make=make, words=words, expect=expect, command=command)


CONVERT = ("convert", "{path}", "{out}")
BIG = "1.2.840.10008.1.2.2"

CASES: list[Case] = [
    case("D1 empty", raw(bytes), "is empty"),
    case("D2 text", raw(lambda: b"This is no image.\n" * 20), "text", command=CONVERT),
    case("D3 random", raw(lambda: np.random.default_rng(1).bytes(4096)), "of no kind that can be read|is not a DICOM"),
    case("D4 no preamble", written(classic, lambda c: c[132:]), "of no kind that can be read|is not a DICOM"),
    case("D5 cut in the header", written(classic, lambda c: c[:400]), "is cut|lacks"),
    case("D5 cut between elements, enhanced", written(enhanced, lambda c: c[: c.index(b"\xe0\x7f\x10\x00")]), "no pixel data"),
    case("D6 cut in the pixels", written(classic, lambda c: c[:-7]), "in the middle of an element, so it is cut"),
    case("D6 cut in the pixels, convert", written(classic, lambda c: c[:-7]), "in the middle of an element", command=CONVERT),
    case("D6 cut in compressed pixels", written(rle, lambda c: c[:-20]), "damaged DICOM|is cut"),
    case("D7 no PixelData", written(one(PixelData=None)), "no pixel data"),
    case("D8 empty PixelData", written(one(PixelData=b"")), "no pixel data"),
    case("D9 zero everywhere", written(one(PixelData=bytes(48))), "zero everywhere", "reported"),
    case("D10 Rows 0", written(one(Rows=0)), "0 x 6 pixels"),
    case("D11 Rows 65535", written(one(Rows=65535)), "48 bytes of pixels where its header says 786420"),
    case("D11 65535 x 65535", written(one(Rows=65535, Columns=65535)), "claims 8589672450 bytes"),
    case("D12 frames 0", written(one(NumberOfFrames=0)), "claims 0 frames"),
    case("D12 frames -3", written(one(NumberOfFrames=-3)), "claims -3 frames"),
    case("D12 frames 2147483647", written(one(NumberOfFrames=2147483647)), "claims 2147483647 frames"),
    case("D12 frames 2 of 6, enhanced", written(enhanced, swap(b"IS\x02\x006 ", b"IS\x02\x002 ")), "bytes of pixels"),
    case("D13 BitsAllocated 12", written(one(BitsAllocated=12)), "12 of 12 bits"),
    case("D13 no BitsAllocated", written(one(BitsAllocated=None)), "lacks BitsAllocated"),
    case(
        "D14 EchoTime is text",
        written(classic, echo_time(b"doe^")),
        "EchoTime that is not one number|element",
    ),
    case("D14 EchoTime blank in one of two", pair(EchoTime=""), "incomplete", "reported"),
    case("D14 EchoTime 0", written(one(te=0.0)), "EchoTime 0 is taken as not stated", "reported"),
    case("D14 EchoTime -9", written(one(te=-9.0)), "EchoTime -9"),
    case(
        "D14 EchoTime NaN",
        written(classic, echo_time(b"NaN ")),
        "EchoTime that is not one number|element",
    ),
    case("D14 EchoTime 1e9", written(classic, echo_time(b"1e9 ")), r"EchoTime 1e\+09"),
    case("D15 unknown VR", written(classic, swap(b"\x18\x00\x81\x00DS", b"\x18\x00\x81\x00ZZ")), "cannot be read|damaged"),
    case(
        "D15 Rows as text",
        written(classic, swap(ROWS + b"US\x02\x00\x04\x00", ROWS + b"LO\x02\x00ab")),
        "Rows that is not",
    ),
    case("D16 length of 65534", written(classic, swap(ECHO_TIME, ECHO_TIME[:-2] + b"\xfe\xff")), "middle of an element"),
    case(
        "D16 a text swallows the next element",
        written(one(ImageComments="x"), swap(b"\x20\x00\x00\x40LT\x02\x00", b"\x20\x00\x00\x40SH\x0c\x00")),
        "zero bytes inside|lacks|cut",
    ),
    case(
        "D17 length of 4 GiB",
        written(classic, document(0xFFFFFFFE)),
        "middle of an element",
    ),
    case(
        "D18 undefined length, no end",
        written(classic, document(0xFFFFFFFF)),
        "so it is cut",
    ),
    case("D19 unknown transfer syntax", written(unknown_syntax), "unknown transfer syntax '1.2.3.4.5.6'"),
    case("D20 labelled big endian", written(classic, swap(b"1.2.840.10008.1.2.1\0", BIG.encode() + b"\0")), "lacks|damaged|cut"),
    case("D21 JPEG 2000 cut", written(jpeg_2000, lambda c: c[:-40]), "damaged DICOM|is cut"),
    case("D21 JPEG 2000 says another size", written(jpeg_2000, swap(SIZE, SIZE[:6] + b"\0\0\xff\xff" * 2)), "compressed picture"),
    case("D22 deflate bomb", raw(deflate_bomb), "expands to more than"),
    case("D23 5000 nested sequences", written(classic, deep), "damaged DICOM"),
    case(
        "D24 two series in one folder",
        several(one(), one(SeriesInstanceUID="1.2.9", SeriesNumber=8)),
        "holds 2 series",
        command=CONVERT,
    ),
    case("D25 two patients", pair(PatientID="secret-18"), r"mixes 2 patients \(PatientID differs\)", "reported"),
    case("D25 two examinations", pair(StudyInstanceUID="1.2.9"), "mixes 2 examinations", "reported"),
    case("D26 a slice twice", several(one(), one()), "1 images that lie at the place of another", "reported"),
    case("D26 a file twice", copied_twice, "1 files whose SOPInstanceUID another file has", "reported"),
    case("D27 a slice is missing", several(one(), one(z=5.0), one(z=15.0)), "so 1 are missing", "reported"),
    case("D27 an echo lacks a slice", several(one(), one(z=5.0), one(te=20.0)), "TE 20, flip angle 90: 1 of 2 slices", "reported"),
    case("D27 uneven increment", several(one(), one(z=5.0), one(z=12.0)), "uneven increment", "reported"),
    case("D28 shuffled names", shuffled, "no faults found", "read"),
    case("D29 orientation differs", pair(ImageOrientationPatient=[0, 1, 0, 1, 0, 0]), "different orientation", "reported"),
    case("D29 spacing differs", pair(PixelSpacing=[2.0, 1.6]), "mixes pixel spacings", "reported"),
    case("D29 sizes differ", pair(Rows=6, Columns=4), "mixes images of", "reported"),
    case("D29 rescale differs", pair(RescaleSlope=2.0, RescaleIntercept=-1.0), "no faults found", "read"),
    case("D30 an echo twice", several(one(), one(te=20.0), one(te=20.0)), "lie at the place of another", "reported"),
    case("D30 an inversion time is missing", several(one(InversionTime=50.0), one()), "states ti for some contrasts", "reported"),
    case("MONOCHROME1", written(one(PhotometricInterpretation="MONOCHROME1")), "only their display is inverted", "reported"),
    case(
        "signed pixels",
        written(one(PixelRepresentation=1, PixelData=np.arange(-12, 12, dtype="<i2").tobytes())),
        "no faults",
        "read",
    ),
    case("colour", written(one(SamplesPerPixel=3, PhotometricInterpretation="RGB")), "is a RGB image"),
    case("HighBit at the top", written(one(HighBit=15)), "keeps 12 bits below HighBit 15"),
    case("table of values", written(one(ModalityLUTSequence=[Dataset()])), "ModalityLUTSequence"),
    case("begins like a Windows program", written(classic, preamble), r"begins like a program \(MZ, Windows\)", "reported"),
    case("enhanced, frames shuffled", written(enhanced), "no faults found", "read"),
    case("slices shifted by a tilted gantry", tilted, "GantryDetectorTilt 11.3 degrees", "reported"),
    case("DICOMDIR that leaves its folder", dicomdir, "is a DICOMDIR, an index of other files", command=("info", "{path}")),
    case("folder with that DICOMDIR", disc, "files 1", "read", ("info", "{path}")),
    case("a report", written(report), "is no image but Basic Text SR Storage"),
    case("a report beside images", several(classic, report), "passed over 1 DICOM files", "read", ("info", "{path}")),
    case("a path as name of the patient", written(one(PatientName="../../x", PatientID="../../y")), "no faults found", "read"),
    case("mosaic that does not say its slices", written(lambda: mosaic(classic())), "how many slices it holds"),
    case("mosaic of more slices than fit", written(lambda: mosaic(classic(), 5)), "mosaic of 5 slices in 4 x 6 pixels"),
    case(
        "mosaic whose private header is cut",
        written(lambda: mosaic(classic(), csa=csa_header({"A": ["1"]})[:60])),
        "private header",
    ),
]
assert ExplicitVRBigEndian == BIG
