"""The stored pixels of one file, measured before they are read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from medcore.io.dicom.codestream import END_MARK, picture_size
from medcore.io.dicom.parsing import pydicom_errors
from medcore.io.limits import check_size

_HINT = "get another copy of the file"
_MAX_SIDE = 65535
_MAX_FRAMES = 1_000_000
_UNDEFINED = 0xFFFFFFFF
_RLE = "1.2.840.10008.1.2.5"
_NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_PEEK = 1 << 16
_TAIL = 64


def check_pixels(dataset: Any, found: dict[str, Any], path: Path) -> None:
    """Refuse pixels that are absent, cut, too many to be true, or not of one grey value each.

    Parameters
    ----------
    dataset
        As pydicom parsed it.
    found
        Its elements that describe the pixels, by keyword.
    path
        Of the file.
    """
    rows, columns, frames = (_whole(found[k], k, path) for k in ("Rows", "Columns", "NumberOfFrames"))
    bits, stored, sign, samples = (
        _whole(found[k], k, path) for k in ("BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel")
    )
    if not (0 < rows <= _MAX_SIDE and 0 < columns <= _MAX_SIDE and 0 < frames <= _MAX_FRAMES):
        raise InputError(path, f"claims {frames} frames of {rows} x {columns} pixels", _HINT)
    colours = str(found["PhotometricInterpretation"])
    if samples != 1 or colours not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(path, f"is a {colours[:16]} image with {samples} values in each pixel", "give greyscale images")
    if bits not in (8, 16, 32) or not 0 < stored <= bits or sign not in (0, 1):
        raise InputError(path, f"stores {stored} of {bits} bits for each pixel", _HINT)
    if found["HighBit"] not in (None, "") and _whole(found["HighBit"], "HighBit", path) != stored - 1:
        raise InputError(
            path, f"keeps {stored} bits below HighBit {found['HighBit']}", "convert it so that HighBit is BitsStored - 1"
        )
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise InputError(path, "holds floating-point pixels, so it is a parametric map", "read it with read_parametric_map")
    if "PixelData" not in dataset:
        raise InputError(path, "has no pixel data, so it is cut or no image", _HINT)
    _check_length(dataset, (frames, rows, columns), bits // 8, path)


def _whole(value: Any, keyword: str, path: Path) -> int:
    if keyword == "NumberOfFrames" and value in (None, ""):
        return 1
    if isinstance(value, int):
        return int(value)
    raise InputError(path, f"has {keyword} that is not one whole number", _HINT)


def _check_length(dataset: Any, shape: tuple[int, int, int], itemsize: int, path: Path) -> None:
    with pydicom_errors(path, "has pixel data that cannot be found"):
        raw = dataset.get_item("PixelData", keep_deferred=True)
        value, length, start = raw.value, int(raw.length), int(raw.value_tell)
        syntax = str(dataset.file_meta.TransferSyntaxUID)
    chained = length == _UNDEFINED
    if value is not None and not chained:
        length = len(value)
    if not length:
        raise InputError(path, "has no pixel data, so it is cut or no image", _HINT)
    frames, rows, columns = shape
    if chained != (syntax not in _NATIVE):
        raise InputError(path, f"has pixels that are {'' if chained else 'not '}compressed, against its transfer syntax", _HINT)
    if not chained:
        check_size(path, shape, itemsize, length)
        expected = frames * rows * columns * itemsize
        if length not in (expected, expected + expected % 2):
            raise InputError(path, f"has {length} bytes of pixels where its header says {expected}", _HINT)
        return
    with path.open("rb") as stream:
        pieces = _pieces(stream, start, path)[1:]  # the first one is the table of offsets
        check_size(path, shape, itemsize, sum(size for _, size in pieces))
        if len(pieces) < frames:
            raise InputError(path, f"is cut: it has {len(pieces)} complete pieces of pixels for {frames} frames", _HINT)
        if syntax != _RLE:
            _check_pictures(stream, pieces, (rows, columns), path)


def _pieces(stream: io.BufferedIOBase, position: int, path: Path) -> list[tuple[int, int]]:
    """Where the pieces of compressed pixels lie: offset and length of each."""
    end = stream.seek(0, io.SEEK_END)
    found, head = [], b""
    while position + 8 <= end:
        stream.seek(position)
        head = stream.read(8)
        if head[:4] != _ITEM:
            break
        length = int.from_bytes(head[4:], "little")
        found.append((position + 8, length))
        position += 8 + length
    if position + 8 > end or head[:4] != _END:
        raise InputError(path, "has compressed pixels without an end, so it is cut", _HINT)
    return found


def _check_pictures(stream: io.BufferedIOBase, pieces: list[tuple[int, int]], size: tuple[int, int], path: Path) -> None:
    """Compressed pictures carry their own size: one that differs would be decoded into memory nobody asked for."""
    starts = []
    for number, (offset, length) in enumerate(pieces):
        stream.seek(offset)
        stated = picture_size(stream.read(min(length, _PEEK)))
        if stated is None:
            continue  # the rest of a picture in several pieces
        starts.append(number)
        if stated != (*size, 1):
            raise InputError(path, f"holds a compressed picture of {stated[0]} x {stated[1]} pixels, its header says {size}", _HINT)
    if not starts or starts[0] != 0:
        raise InputError(path, "holds compressed pixels of no known kind", _HINT)
    for last in [*(number - 1 for number in starts[1:]), len(pieces) - 1]:
        offset, length = pieces[last]
        stream.seek(offset + max(length - _TAIL, 0))
        if not stream.read(min(length, _TAIL)).rstrip(b"\0").endswith(END_MARK):
            raise InputError(path, "holds a compressed picture without an end, so it is cut", _HINT)
