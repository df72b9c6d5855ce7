"""Open one DICOM file and make sure that it is whole.

pydicom reads a file that was cut in half without a word; here the stored pixels must have exactly the length that rows, columns,
frames and bits demand, and compressed pixels must end with their delimiter.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from medcore.io.guard import foreign_errors
from medcore.io.limits import FREE_BYTES, MAX_BYTES, MAX_EXPANSION, check_size, existing_file

_DEFLATED = "1.2.840.10008.1.2.1.99"
_HINT = "get another copy of the file"
_REQUIRED = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
)
_MAX_SIDE = 65535


def is_dicom(head: bytes) -> bool:
    """Whether the first 132 bytes of a file are those of DICOM."""
    return head[128:132] == b"DICM"


def open_dicom(path: str | Path) -> Any:
    """Parse one DICOM image file completely; returns a pydicom Dataset whose pixels are not decoded yet.

    Raises
    ------
    InputError
        If the file is missing, not DICOM, cut, lies about its size, or holds no greyscale image.
    """
    import pydicom

    path = existing_file(path)
    check_size(path, (path.stat().st_size,), 1, path.stat().st_size)
    content = path.read_bytes()
    if not is_dicom(content[:132]):
        raise InputError(path, "is not a DICOM file", "give a file with the letters DICM at byte 128")
    with foreign_errors(path, "is damaged DICOM", quote=False, also=parser_errors()):
        _check_deflated(content, path)
        dataset = pydicom.dcmread(io.BytesIO(content))
        for keyword in _REQUIRED:
            if dataset.get(keyword) in (None, ""):
                raise InputError(path, f"lacks {keyword}, so it is cut or no image", _HINT)
        _check_pixels(dataset, path)
    return dataset


def _check_deflated(content: bytes, path: Path) -> None:
    """Refuse a deflated data set that expands beyond the budget, before pydicom expands it."""
    from pydicom.filereader import read_file_meta_info

    meta = read_file_meta_info(path)
    if str(meta.get("TransferSyntaxUID", "")) != _DEFLATED:
        return
    length = meta.get("FileMetaInformationGroupLength")
    if length is None:
        raise InputError(path, "does not say where its deflated part begins", _HINT)
    start = 132 + 12 + int(length)
    budget = min(max(FREE_BYTES, MAX_EXPANSION * len(content)), MAX_BYTES)
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    pending, total = content[start:], 0
    while pending and not engine.eof:
        total += len(engine.decompress(pending, 1 << 24))
        pending = engine.unconsumed_tail
        if total > budget:
            raise InputError(path, f"expands to more than {budget} bytes", _HINT)


def parser_errors() -> tuple[type[Exception], ...]:
    """The kinds of error of pydicom's own."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return BytesLengthException, InvalidDicomError


def n_frames(dataset: Any) -> int:
    """Number of frames; 1 where it is not stated."""
    value = dataset.get("NumberOfFrames")
    return 1 if value in (None, "") else int(value)


def _check_pixels(dataset: Any, path: Path) -> None:
    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), n_frames(dataset)
    bits, samples = int(dataset.BitsAllocated), int(dataset.SamplesPerPixel)
    if not (0 < rows <= _MAX_SIDE and 0 < columns <= _MAX_SIDE and frames > 0):
        raise InputError(path, f"claims {frames} frames of {rows} x {columns} pixels", _HINT)
    if samples != 1 or dataset.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(path, f"is a {dataset.PhotometricInterpretation} image", "give greyscale images")
    if bits not in (8, 16, 32) or not 0 < int(dataset.BitsStored) <= bits or int(dataset.PixelRepresentation) not in (0, 1):
        raise InputError(path, f"stores {dataset.BitsStored} of {bits} bits for each pixel", _HINT)
    pixels = dataset.get("PixelData")
    if not isinstance(pixels, bytes) or not pixels:
        raise InputError(path, "has no pixel data, so it is cut or no image", _HINT)
    check_size(path, (frames, rows, columns), bits // 8, len(pixels))
    if dataset.file_meta.TransferSyntaxUID.is_compressed and dataset.file_meta.TransferSyntaxUID != _DEFLATED:
        _check_encapsulated(pixels, frames, path)
        return
    expected = frames * rows * columns * bits // 8
    if len(pixels) not in (expected, expected + expected % 2):
        raise InputError(path, f"has {len(pixels)} bytes of pixels where its header says {expected}", _HINT)


def _check_encapsulated(pixels: bytes, frames: int, path: Path) -> None:
    """Compressed pixels must be a chain of complete fragments with at least one for each frame."""
    position, fragments = 0, -1  # the first item is the offset table
    while position + 8 <= len(pixels) and pixels[position : position + 4] == b"\xfe\xff\x00\xe0":
        position += 8 + int.from_bytes(pixels[position + 4 : position + 8], "little")
        fragments += 1
    if position > len(pixels) or fragments < frames:
        raise InputError(path, f"is cut: it has {max(fragments, 0)} complete pieces of pixels for {frames} frames", _HINT)
