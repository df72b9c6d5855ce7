"""JSON read strictly: one object, no key twice, no number that is none."""

from __future__ import annotations

import json
import math
from typing import Any

from medcore.errors import InputError
from medcore.io.guard import reason


def parse_object(content: bytes, what: str, hint: str = "correct the file", *, finite: bool = False) -> dict[str, Any]:
    """Parse UTF-8 bytes as one JSON object; `what` names them in errors, `hint` says what to do.

    With `finite` a number beyond the range of numbers is refused here; without, it becomes infinite and is left to the check of its value.

    Raises
    ------
    InputError
        If they are not UTF-8, not valid JSON, state a key twice, hold NaN or infinity, are nested too deeply, or are no
        object.
    """

    def no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InputError(what, f"states {twice[:80]!r} twice", hint)
        return found

    def no_constants(name: str) -> None:
        raise InputError(what, f"holds {name}, which JSON has no word for", hint)

    def in_range(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise InputError(what, f"holds {text[:20]}, which is beyond the range of numbers", hint)
        return value

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(what, f"is not UTF-8 text ({reason(error)})", "save it as UTF-8") from error
    try:
        value = json.loads(
            text, object_pairs_hook=no_doubles, parse_constant=no_constants, parse_float=in_range if finite else None
        )
    except (ValueError, RecursionError) as error:
        raise InputError(what, f"is not valid JSON ({reason(error)})", hint) from error
    if not isinstance(value, dict):
        raise InputError(what, f"holds {type(value).__name__}, not an object", hint)
    return value
