"""The boxes that an answer states, in the spellings that models use.

=====================================================  ===================================================
``[x0, y0, x1, y1]``, ``(x0, y0, x1, y1)``             one box; a comma, semicolon or space separates
``[[x0, y0, x1, y1], ...]``                            several
``{"bbox_2d": [x0, y0, x1, y1], "label": "..."}``      objects with any keys; text in double quotes is not read
``{"x1": 1, "y1": 2, "x2": 3, "y2": 4}``               named edges: x0 y0 x1 y1, x1 y1 x2 y2, xmin ymin xmax ymax,
                                                       left top right bottom, x y width height, x y w h
``(x0, y0), (x1, y1)``                                 two corners, also in square brackets
``<|box_start|>...<|box_end|>``, ``<box>...</box>``    any of these in marks
``x0 y0 x1 y1``                                        four bare numbers and nothing else, one box a line
``[]``, ``none``, ``no boxes``                         no box
=====================================================  ===================================================

One bad box spoils the answer, and so do a bracket that is not closed and a denial outside of the brackets.
"""

from __future__ import annotations

import math
import re

from vrft_aug.parsing.reading import Reading, Reason, unusable
from vrft_aug.parsing.scope import denies
from vrft_aug.parsing.words import plain, tokens

Box = tuple[float, float, float, float]
MAX_BOXES = 100
"""Most boxes an answer may hold."""

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]{1,3})?"
_IS_NUMBER = re.compile(_NUMBER)
_SEPARATOR = re.compile(r"\s*[,;]\s*|\s+")
_GROUP = re.compile(r"\[([^\[\]()]*)\]|\(([^\[\]()]*)\)")
_QUOTED = re.compile(r'"[^"\n]*"')
_MARKED = re.compile(r"<(?:\|box_start\||box|bbox)>([^<>\[\]()]*)<(?:\|box_end\||/box|/bbox)>")
_TAG = re.compile(r"</?\|?[a-z_]{1,20}\|?>|```[a-z]*")
_OBJECT = re.compile(r"\{([^{}\[\]]*)\}")
_EDGE = re.compile(rf"(?<![a-z_])([a-z][a-z_]*[0-9]?)[\"']?\s*[:=]\s*({_NUMBER})(?![^\s,;}}])")
_EDGES = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
_SIZES = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
_PREFIX = re.compile(r"(?:the\s)?(?:bounding\s)?(?:box|boxes|bbox|bbox_2d)(?:\sis|\sare)?\s?[:=]?\s")
_NOTHING = frozenset(("none", "no box", "no boxes", "no finding", "no findings", "null"))


def parse_boxes(text: str | None) -> list[Box] | None:
    """The boxes an answer states, in its own units; None if it is not a list of boxes, an empty list for ``[]`` or "none".

    Every box must be four finite numbers ``x0, y0, x1, y1`` with x0 <= x1 and y0 <= y1.

    Parameters
    ----------
    text
        The answer, without tags (see :func:`vrft_aug.parsing.read_boxes` for completions).
    """
    return find_boxes(text).value


def find_boxes(text: str | None) -> Reading[list[Box]]:
    """As :func:`parse_boxes`, with the reason where there are none."""
    problem = unusable(text)
    if problem is not None or text is None:
        return Reading(reason=problem)
    shown = plain(text)
    if shown.strip(" \n\t.") in _NOTHING:
        return Reading([])
    if "{" in shown:
        shown = _OBJECT.sub(_object, shown)
    shown = _TAG.sub(" ", _MARKED.sub(r"[\1]", _QUOTED.sub(" ", shown)))
    groups = _groups(shown)
    outside = _GROUP.sub(" ", shown)
    if any(map(denies, tokens(outside))):
        return Reading(reason=Reason.DENIED)
    if not groups:
        return _bare(shown)
    if outside.count("[") != outside.count("]"):
        return Reading(reason=Reason.BAD_BOX)
    if len(groups) == 1 and not groups[0].strip():
        return Reading([])
    return _boxes(groups)


def _groups(text: str) -> list[str]:
    """What stands in innermost brackets; round ones without a digit are prose."""
    found = [match[0] for match in _GROUP.finditer(text)]
    return [group[1:-1] for group in found if group[0] == "[" or any(map(str.isdigit, group))]


def _boxes(groups: list[str]) -> Reading[list[Box]]:
    """Boxes of groups of four numbers, or of pairs of groups of two."""
    rows = [_numbers(group) for group in groups]
    if all(row is not None and len(row) == 2 for row in rows) and len(rows) % 2 == 0:
        rows = [(first or []) + (second or []) for first, second in zip(rows[::2], rows[1::2], strict=True)]
    if len(rows) > MAX_BOXES:
        return Reading(reason=Reason.MANY_BOXES)
    boxes = [_box(row) for row in rows]
    good = [box for box in boxes if box is not None]
    return Reading(good) if len(good) == len(boxes) else Reading(reason=Reason.BAD_BOX)


def _numbers(group: str) -> list[float] | None:
    parts = _SEPARATOR.split(group.strip())
    return list(map(float, parts)) if all(map(_IS_NUMBER.fullmatch, parts)) else None


def _box(row: list[float] | None) -> Box | None:
    if row is None or len(row) != 4:
        return None
    x0, y0, x1, y1 = row
    return (x0, y0, x1, y1) if x0 <= x1 and y0 <= y1 and all(map(math.isfinite, row)) else None


def _bare(text: str) -> Reading[list[Box]]:
    """Boxes without brackets: every line is four numbers, perhaps with named edges."""
    lines = [line.strip(" \t\r.") for line in text.splitlines()]
    groups = []
    for line in filter(None, lines):
        group = _PREFIX.sub("", f"{line} ", count=1).strip()
        groups.append(_edges(group) or group)
    if not any(_IS_NUMBER.search(group) for group in groups):
        return Reading(reason=Reason.NO_BOX)
    if any(mark in text for mark in "[](){}"):
        return Reading(reason=Reason.BAD_BOX)
    return _boxes(groups)


def _object(match: re.Match[str]) -> str:
    """An object with named edges as a list, any other as it is."""
    found = _edges(match[1])
    return f"[{found}]" if found else match[0]


def _edges(text: str) -> str | None:
    pairs = _EDGE.findall(text)
    values = dict(pairs)
    if len(pairs) < 4 or len(values) != len(pairs):
        return None
    for names in _EDGES:
        if all(name in values for name in names):
            return ", ".join(values[name] for name in names)
    for left, top, width, height in _SIZES:
        if all(name in values for name in (left, top, width, height)):
            x, y = float(values[left]), float(values[top])
            return f"{x!r}, {y!r}, {x + float(values[width])!r}, {y + float(values[height])!r}"
    return None
