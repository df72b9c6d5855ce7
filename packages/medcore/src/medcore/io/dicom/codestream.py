"""What a compressed picture says of its own size, read without decoding it.

JPEG (ITU-T T.81), JPEG-LS (T.87) and JPEG 2000 with its high-throughput variant (T.800, T.814) begin with markers; the size stands in
the frame header or in the SIZ segment.
"""

from __future__ import annotations

END_MARK = b"\xff\xd9"
"""Last bytes of a picture of every kind, before padding."""
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
# Start of frame of every JPEG process, and of JPEG-LS; C4, C8 and CC are other segments.
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7})
_JP2_BOX = b"\x00\x00\x00\x0cjP  "
_SEARCH = 4096


def picture_size(head: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components of the picture that begins with `head`; None if no picture begins there or its header is not complete.

    Parameters
    ----------
    head
        The first bytes of a fragment.
    """
    if head.startswith(_JPEG):
        return _jpeg(head)
    start = 0 if head.startswith(_JPEG_2000) else head.find(_JPEG_2000, 0, _SEARCH) if head.startswith(_JP2_BOX) else -1
    return _jpeg_2000(head[start:]) if start >= 0 else None


def _jpeg(head: bytes) -> tuple[int, int, int] | None:
    position = 2
    while position + 4 <= len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _FRAME_HEADERS:
            return (
                (_word(head, position + 5), _word(head, position + 7), head[position + 9]) if position + 10 <= len(head) else None
            )
        position += 2 + max(_word(head, position + 2), 2)
    return None


def _jpeg_2000(head: bytes) -> tuple[int, int, int] | None:
    if len(head) < 42:
        return None
    right, bottom, left, top = (int.from_bytes(head[8 + 4 * i : 12 + 4 * i], "big") for i in range(4))
    return bottom - top, right - left, _word(head, 40)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")
