"""Whether a PNG file holds all of its rows, unharmed.

Pillow, like most viewers, does not compare the checksums of the pixel data, and where the compressed stream ends early at the end of a
row it leaves the missing rows black without a word. The file's own sums (a CRC of each chunk, one of the stream) and the number of bytes
that its header promises settle both (PNG specification, third edition, sections 5.3, 8.1 and 10).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from medcore.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Start and step of columns and rows in the seven passes of an interlaced image.
_PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
_BLOCK = 1 << 20
_HINT = "get another copy of the file"


def check_png(path: Path) -> None:
    """Refuse a PNG file whose pixel data are damaged or incomplete; other files pass.

    Raises
    ------
    InputError
        If a checksum is wrong, or the data do not fill the image that the header promises.
    """
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return
        chunks = _chunks(file, path)
        kind, header = next(chunks, (b"", b""))
        if kind != b"IHDR" or len(header) != 13:
            raise InputError(path, "is a PNG file without header", _HINT)
        wanted = _promised(header, path)
        found = _inflated(chunks, wanted, path)
    if found < wanted:
        raise InputError(path, f"is a damaged image: its pixel data have {found} of {wanted} bytes", _HINT)


def _chunks(file: IO[bytes], path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The header, and the pieces of the pixel data, whose checksums are right; everything else is passed over."""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return
        if kind not in {b"IHDR", b"IDAT"}:
            file.seek(length + 4, 1)
            continue
        state, left = zlib.crc32(kind), length
        while left and (piece := file.read(min(left, _BLOCK))):
            state, left = zlib.crc32(piece, state), left - len(piece)
            yield kind, piece
        if left or file.read(4) != struct.pack(">I", state):
            raise InputError(path, "is a damaged image: a checksum of its pixel data is wrong", _HINT)


def _promised(header: bytes, path: Path) -> int:
    """Bytes of the image once decompressed: each row of each pass has one byte more than its pixels."""
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if colour not in _CHANNELS or interlace > 1:
        raise InputError(path, f"is a PNG file of unknown kind (colour type {colour}, interlace {interlace})", _HINT)
    bits = depth * _CHANNELS[colour]
    total = 0
    for left, right, top, down in _PASSES if interlace else ((0, 1, 0, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _inflated(chunks: Iterator[tuple[bytes, bytes]], wanted: int, path: Path) -> int:
    """How many bytes the pixel data give, at most a little more than `wanted`."""
    stream, found = zlib.decompressobj(), 0
    try:
        for _, piece in chunks:
            data = piece
            while data and not stream.eof and found <= wanted:
                found += len(stream.decompress(data, _BLOCK))
                data = stream.unconsumed_tail
    except zlib.error as error:
        raise InputError(path, f"is a damaged image ({error})", _HINT) from error
    return found
