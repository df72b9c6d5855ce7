"""Annotations in JSON: files of bounded size, and values that are text and numbers as they should be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from medcore.io.json_object import parse_object
from medcore.io.limits import existing_file

MAX_BYTES = 512 << 20
"""The largest file of annotations; COCO's own have 450 MB."""
_HINT = "correct the file"


def load_json(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises
    ------
    InputError
        If it is missing, larger than `max_bytes`, or no object as :func:`parse_object` wants it.
    """
    path = existing_file(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise InputError(path, f"has {size} bytes, more than {max_bytes}", "give a smaller file of annotations")
    return parse_object(path.read_bytes(), str(path))


def check_text(value: Any, name: str, what: str) -> str:
    """`value` as text without outer blanks.

    Raises
    ------
    InputError
        If it is no text, empty, or holds NUL or half of a surrogate pair, which no file name and no tokeniser takes.
    """
    if not isinstance(value, str) or not value.strip():
        raise InputError(what, f"has {name} = {_shown(value)}, not a text", _HINT)
    if "\0" in value:
        raise InputError(what, f"has a NUL character in {name}", _HINT)
    lone = next((c for c in value if "\ud800" <= c <= "\udfff"), None)
    if lone is not None:
        raise InputError(what, f"has half of a surrogate pair (U+{ord(lone):04X}) in {name}", _HINT)
    return value.strip()


def check_number(value: Any, name: str, what: str) -> float:
    """`value` as a finite number.

    Raises
    ------
    InputError
        If it is none; true and false are none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15 or math.isnan(value):
        raise InputError(what, f"has {name} = {_shown(value)}, not a number", _HINT)
    return float(value)


def check_whole(value: Any, name: str, what: str) -> int:
    """`value` as a whole number; ``3.0`` is one.

    Raises
    ------
    InputError
        If it is none.
    """
    number = check_number(value, name, what)
    if number != int(number):
        raise InputError(what, f"has {name} = {_shown(value)}, not a whole number", _HINT)
    return int(number)


def _shown(value: Any) -> str:
    return ascii(value)[:60]
