"""Siemens' private header ("CSA"): a table of named lists of text, in two layouts, read strictly and within bounds.

The layout is not published by its vendor; its description in the documentation of nibabel and SPM was followed. A header begins with
``SV10`` (second layout) or at once with the number of elements, followed by the number 77. Every element has a name of 64 bytes, six
numbers, and items; every item has four numbers and then its text, padded to four bytes. In the first layout the length of an item is its
first number less the first item count of the header; in the second layout it is its second number.
"""

from __future__ import annotations

import struct
from typing import Any

_MAX_ELEMENTS = 1000
_MAX_ITEMS = 1000
_SECOND_LAYOUT = b"SV10"
_COUNTS = struct.Struct("<2I")
_ELEMENT = struct.Struct("<64si4s3i")
_ITEM = struct.Struct("<4i")


class DamagedHeaderError(ValueError):
    """The bytes are no complete CSA header."""


def read_csa(header: bytes, wanted: frozenset[str]) -> dict[str, list[str]]:
    """The items of the wanted elements, without empty ones; elements that the header lacks are absent.

    Parameters
    ----------
    header
        Value of (0029,xx10) or (0029,xx20).
    wanted
        Names of elements, for example ``SliceNormalVector``.

    Raises
    ------
    DamagedHeaderError
        If the header is cut or its lengths contradict each other.
    """
    second = header.startswith(_SECOND_LAYOUT)
    position = 8 if second else 0
    (n_elements, _), position = _unpack(_COUNTS, header, position)
    if not 0 < n_elements <= _MAX_ELEMENTS:
        raise DamagedHeaderError(f"{n_elements} elements")
    found: dict[str, list[str]] = {}
    less = 0
    for number in range(n_elements):
        (name, _, _, _, n_items, _), position = _unpack(_ELEMENT, header, position)
        if not 0 <= n_items <= _MAX_ITEMS:
            raise DamagedHeaderError(f"{n_items} items")
        if number == 0:
            less = n_items
        items, position = _items(header, position, n_items, None if second else less)
        key = _text(name)
        if key in wanted:
            found[key] = items
    return found


def _items(header: bytes, position: int, count: int, less: int | None) -> tuple[list[str], int]:
    items = []
    for _ in range(count):
        numbers, position = _unpack(_ITEM, header, position)
        length = numbers[1] if less is None else numbers[0] - less
        if length < 0 and less is not None:
            break  # the first layout ends a list so, and the next element follows at once
        if not 0 <= length <= len(header) - position:
            raise DamagedHeaderError(f"an item of {length} bytes")
        if text := _text(header[position : position + length]):
            items.append(text)
        position += length + -length % 4
    return items, position


def _unpack(kind: struct.Struct, header: bytes, position: int) -> tuple[tuple[Any, ...], int]:
    if position + kind.size > len(header):
        raise DamagedHeaderError("cut")
    return kind.unpack_from(header, position), position + kind.size


def _text(raw: bytes) -> str:
    """Text up to the first zero byte."""
    return raw.split(b"\0", 1)[0].decode("latin-1").strip()
