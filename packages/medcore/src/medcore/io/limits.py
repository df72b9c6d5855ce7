"""Budgets that a file may claim: checked before memory is taken, so that a lying header cannot exhaust the machine."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from medcore.errors import ConfigError, InputError

FREE_BYTES = 256 << 20
"""Arrays up to this size are never questioned."""
MAX_EXPANSION = 200
"""Larger arrays may hold at most this many times the bytes of their file."""
MAX_BYTES = 64 << 30
"""No array may be larger than this; the environment variable MEDCORE_MAX_BYTES changes it, see :func:`max_bytes`."""


def max_bytes() -> int:
    """Bytes that one array may have: the environment variable MEDCORE_MAX_BYTES, else :data:`MAX_BYTES`.

    Raises
    ------
    ConfigError
        If the variable is not a positive whole number.
    """
    given = os.environ.get("MEDCORE_MAX_BYTES")
    if given is None:
        return MAX_BYTES
    if not (given.isascii() and given.isdigit() and 0 < len(given) < 20 and int(given) > 0):
        raise ConfigError("MEDCORE_MAX_BYTES", f"is {given[:40]!r}", "set it to a number of bytes, for example 68719476736")
    return int(given)


def existing_file(path: str | Path) -> Path:
    """`path` as a readable, regular, non-empty file.

    Raises
    ------
    InputError
        If it is missing, a folder, a special file, empty or unreadable.
    """
    path = Path(path)
    hint = "check the path"
    if "\0" in str(path):
        raise InputError(repr(str(path)), "is no file name", hint)
    try:
        if not path.exists():
            raise InputError(path, "does not exist", hint)
        if not path.is_file():
            raise InputError(path, "is not a file", hint)
        if path.stat().st_size == 0:
            raise InputError(path, "is empty", "get another copy of the file")
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", hint) from error
    return path


def check_size(path: str | Path, shape: Sequence[int], itemsize: int, file_bytes: int) -> None:
    """Refuse to allocate an array that its file cannot plausibly fill.

    Raises
    ------
    InputError
        If a length is not positive or the array exceeds the budgets of this module.
    """
    if any(n < 1 for n in shape):
        raise InputError(path, f"claims the shape {tuple(shape)}", "get another copy of the file")
    size = math.prod(int(n) for n in shape) * itemsize
    if size > FREE_BYTES and size > MAX_EXPANSION * file_bytes:
        raise InputError(
            path,
            f"claims {size} bytes of data of shape {tuple(shape)} in a file of {file_bytes} bytes",
            "get another copy of the file",
        )
    if size > (limit := max_bytes()):
        raise InputError(path, f"needs {size} bytes of memory", f"the limit is {limit}, set MEDCORE_MAX_BYTES to raise it")
