"""Whether boxes are in the convention in which they are read."""

from __future__ import annotations

from collections.abc import Sequence

from medcore.datasets.boxes import fitting
from medcore.datasets.tolerance import StatedBox
from vrft_aug.preparing.faults import Fault

STATED = {"coco": "[x, y, width, height]", "voc": "[x0, y0, x1, y1]"}
"""The convention in which a kind of data states its boxes."""
_SHARES = "as shares of the image"
_TINY = 2


def check_convention(boxes: Sequence[StatedBox], kind: str) -> list[Fault]:
    """A fault if all boxes fit another convention and not all fit the stated one, or if all numbers look like shares."""
    boxes = [b for b in boxes if _has_area(b, kind)]  # one without area is a slip, and says nothing about the others
    if kind not in STATED or not boxes:
        return []
    own, counts = STATED[kind], fitting(boxes)
    shares = all(0 <= v <= 1 for b in boxes for v in b.numbers) and any(max(b.height, b.width) > _TINY for b in boxes)
    better = [name for name, n in counts.items() if n == len(boxes) and name != own and name.endswith(_SHARES) == shares]
    if not shares and (counts[own] == len(boxes) or not better):
        return []
    told = (
        f"all {len(boxes)} boxes lie between 0 and 1" if shares else f"{len(boxes) - counts[own]} of {len(boxes)} boxes do not fit"
    )
    fit = " or ".join(better) or "none of the usual conventions"
    hint = f"convert the boxes to {own} in pixels, which {kind.upper()} has"
    wrong = boxes if shares else [b for b in boxes if not fitting([b])[own]]
    leave = tuple(dict.fromkeys(b.sample for b in wrong))
    sentence = f"{told} as {own} in pixels, and all of them fit as {fit}; {hint}"
    return [Fault(kind="box-convention", sentence=sentence, leave=leave)]


def _has_area(box: StatedBox, kind: str) -> bool:
    a, b, c, d = box.numbers
    return (c != 0 and d != 0) if kind == "coco" else (a != c and b != d)
