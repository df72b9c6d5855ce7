"""Boxes in the one convention of this project: ``[x0, y0, x1, y1]`` along the edges of pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from medcore.datasets.tolerance import SampleError, StatedBox, report

Box = tuple[float, float, float, float]
MAX_SHOWN = 50
"""Faults of one kind that are told one by one."""


def tight_box(mask: Bool[np.ndarray, "y x"]) -> Box | None:
    """The smallest box that holds every true pixel, None for an empty mask.

    Pixel (row r, column c) covers [c, c + 1] x [r, r + 1], so a single pixel has the box ``(c, r, c + 1, r + 1)``.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def box_problem(box: Box, height: int, width: int) -> str | None:
    """Why `box` is no box of an image of this size: ``"zero area"``, ``"outside"`` (partly or fully), or None if it is one."""
    x0, y0, x1, y1 = box
    if not (x1 > x0 and y1 > y0):
        return "zero area"
    return "outside" if x0 < 0 or y0 < 0 or x1 > width or y1 > height else None


def cut_box(box: Box, height: int, width: int) -> Box | None:
    """The part of `box` within an image of this size, None if there is none."""
    x0, y0, x1, y1 = box
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


class BoxFaults:
    """What is wrong with the boxes of a data set, by kind, so that a hundred thousand faults of one kind do not fill its card."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._left: dict[str, int] = {}

    def add(self, kind: str, sentence: str) -> None:
        """Note a fault; `kind` completes "and 3 more ..."."""
        own = self._found.setdefault(kind, [])
        if len(own) < MAX_SHOWN:
            own.append(sentence)
        else:
            self._left[kind] = self._left.get(kind, 0) + 1

    def sentences(self) -> tuple[str, ...]:
        """All that were kept, and how many were not."""
        told: list[str] = []
        for kind, own in self._found.items():
            told += own
            if left := self._left.get(kind):
                told.append(f"and {left} more {kind}")
        return tuple(told)


def report_box(sample: str, where: str, problem: str, kind: str) -> bool:
    """Note a box that cannot be as it is stated, where faults are collected; False where they are not."""
    return report(sample, SampleError(where, problem, "correct the box, or state the convention it is in", kind))


_SLACK = 1.0
_SHARES = " as shares of the image"


def fitting(boxes: Sequence[StatedBox]) -> dict[str, int]:
    """How many boxes are boxes within their image, to one pixel, in each convention that four numbers may be in.

    The conventions are ``[x0, y0, x1, y1]``, ``[x, y, width, height]`` and ``[centre x, centre y, width, height]``, each in pixels and as
    shares of the image (no number above 1).
    """
    counts = {}
    for name, corners in _CORNERS.items():
        counts[name] = sum(_is_inside(corners(b.numbers), b.height, b.width) for b in boxes)
    for name, corners in _CORNERS.items():
        shares = [b for b in boxes if max(b.numbers) <= 1]
        counts[name + _SHARES] = sum(_is_inside(_scaled(corners(b.numbers), b.height, b.width), b.height, b.width) for b in shares)
    return counts


def _is_inside(box: Box, height: int, width: int) -> bool:
    x0, y0, x1, y1 = box
    return -_SLACK <= x0 < x1 <= width + _SLACK and -_SLACK <= y0 < y1 <= height + _SLACK


def _as_stated(box: Box) -> Box:
    return box


def _extent(box: Box) -> Box:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _centred(box: Box) -> Box:
    return box[0] - box[2] / 2, box[1] - box[3] / 2, box[0] + box[2] / 2, box[1] + box[3] / 2


def _scaled(box: Box, height: int, width: int) -> Box:
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


_CORNERS: dict[str, Callable[[Box], Box]] = {
    "[x0, y0, x1, y1]": _as_stated,
    "[x, y, width, height]": _extent,
    "[centre x, centre y, width, height]": _centred,
}
