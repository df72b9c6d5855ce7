"""Free text inside compressed pictures: comments and application data of JPEG, JPEG-LS and JPEG 2000 are overwritten with zeros.

Lengths stay as they are, so that tables of offsets stay true. Segments that decoders need are left: JFIF, SPIFF and the colour
transform of Adobe.
"""

from __future__ import annotations

_COMMENT, _SCAN, _FILL = 0xFE, 0xDA, 0xFF
_NEEDED = frozenset({0xE0, 0xE8, 0xEE})
_J2K_COMMENT, _J2K_TILE = 0x64, 0x90


def blank_comments(pixels: bytes) -> tuple[bytes, int]:
    """Encapsulated pixels without text in their pictures, and how many segments were overwritten.

    Parameters
    ----------
    pixels
        Value of an encapsulated PixelData element: items, each with tag and length (PS3.5 A.4).
    """
    data, count, position = bytearray(pixels), 0, 0
    while position + 8 <= len(data) and data[position : position + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        start, end = position + 8, min(position + 8 + length, len(data))
        if data[start : start + 2] == b"\xff\xd8":
            count += _blank_jpeg(data, start + 2, end)
        elif data[start : start + 4] == b"\xff\x4f\xff\x51":
            count += _blank_j2k(data, start + 2, end)
        position = end
    return bytes(data), count


def _blank_jpeg(data: bytearray, position: int, end: int) -> int:
    count = 0
    while position + 4 <= end and data[position] == _FILL:
        marker = data[position + 1]
        if marker == _FILL:
            position += 1
            continue
        if marker == _SCAN:
            break
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        stop = min(position + 2 + max(length, 2), end)
        if marker == _COMMENT or (0xE0 <= marker <= 0xEF and marker not in _NEEDED):
            data[position + 4 : stop] = bytes(stop - position - 4)
            count += 1
        position = stop
    return count


def _blank_j2k(data: bytearray, position: int, end: int) -> int:
    count = 0
    while position + 4 <= end and data[position] == _FILL and data[position + 1] != _J2K_TILE:
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        stop = min(position + 2 + max(length, 2), end)
        if data[position + 1] == _J2K_COMMENT:
            data[position + 6 : stop] = bytes(max(stop - position - 6, 0))
            count += 1
        position = stop
    return count
