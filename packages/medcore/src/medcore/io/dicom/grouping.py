"""Sort frames into contrasts and slices by what they say of themselves, never by file name or order."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from medcore.errors import InputError
from medcore.io.dicom.frames import Frame
from medcore.io.geometry import affine_from_vectors

_SAME_PLACE = 1e-2
"""Slices nearer than this many millimetres are one slice."""
_SHIFT = 5e-2
"""In-plane distances below this many millimetres are rounding."""
_UNEVEN = 1e-2
"""Largest relative difference between slice distances."""
_TURN = 1e-4
"""Direction cosines nearer than this are the same."""
_STATED = 1e-2
"""Largest relative difference between slice distance and the one that the header states."""
_BASE_KEYS = ("ti", "te", "flip", "temporal")
_EXTRA_KEYS = ("tr", "acquisition")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Frames in order, [contrast][slice], and the geometry they share."""

    frames: list[list[Frame]]
    affine: Float[np.ndarray, "4 4"]
    repairs: tuple[str, ...]


def choose_kind(frames: list[Frame], wanted: str | None, what: str) -> tuple[list[Frame], list[str]]:
    """Keep frames of one type; without a wish, the only one or the only one that is a magnitude image.

    Raises
    ------
    InputError
        If `wanted` is absent, or several types are present and none or several are magnitudes.
    """
    kinds = Counter((frame.kind, frame.component) for frame in frames)
    if wanted is not None:
        chosen = [k for k in kinds if wanted.upper() in k]
    else:
        magnitude = [k for k in kinds if k[1] == "MAGNITUDE"]
        chosen = magnitude if len(kinds) > 1 and len(magnitude) == 1 else list(kinds)
    names = ", ".join(f"{kind or 'unnamed'} ({count} frames)" for (kind, _), count in kinds.items())
    if len(chosen) != 1:
        raise InputError(what, f"holds the image types {names}", "choose one with frame_type")
    notes = [f"left out {count} frames of type {kind or 'unnamed'}" for (kind, c), count in kinds.items() if (kind, c) != chosen[0]]
    return [f for f in frames if (f.kind, f.component) == chosen[0]], notes


def build_stack(frames: list[Frame], incomplete: str, what: str) -> Stack:
    """Order frames by contrast and position and derive the affine.

    Raises
    ------
    InputError
        If frames differ in size, spacing or direction, two are at one place under one contrast, slices are missing or unevenly
        spaced.
    """
    _check_uniform(frames, what)
    normal = np.cross(*frames[0].orientation.reshape(2, 3))
    heights = _merge_heights(np.array([normal @ f.position for f in frames]))
    table, keys = _contrast_table(frames, heights, what)
    places, contrasts, notes = _complete_block(table, sorted(set(heights)), keys, incomplete, what)
    ordered = [[table[key][h] for h in places] for key in contrasts]
    _check_positions(ordered, what)
    affine, geometry_notes = _affine(ordered[0], normal, places, what)
    return Stack(frames=ordered, affine=affine, repairs=(*notes, *geometry_notes))


def _check_uniform(frames: list[Frame], what: str) -> None:
    """Refuse frames that cannot share one grid; none of them is taken for the right one."""
    sizes = sorted({frame.size for frame in frames})
    if len(sizes) > 1:
        raise InputError(what, f"mixes images of {' and '.join(map(str, sizes))} pixels", "choose one series")
    spacings = sorted({frame.spacing for frame in frames})
    if not np.allclose(spacings, spacings[0], rtol=1e-4):
        raise InputError(what, f"mixes pixel spacings {' and '.join(map(str, spacings[:4]))} mm", "choose one series")
    turns = np.array([frame.orientation for frame in frames])
    if np.ptp(turns, axis=0).max() > _TURN:
        raise InputError(what, "mixes images of different orientation", "choose one series")


def _merge_heights(heights: Float[np.ndarray, "frame"]) -> list[float]:
    """Heights along the normal, where those nearer than a hundredth of a millimetre get one value."""
    order = np.argsort(heights, kind="stable")
    merged = np.empty(len(heights))
    previous = -np.inf
    for i in order:
        if heights[i] - previous > _SAME_PLACE:
            previous = float(heights[i])
        merged[i] = previous
    return [float(h) for h in merged]


def _contrast_table(
    frames: list[Frame], heights: list[float], what: str
) -> tuple[dict[tuple[Any, ...], dict[float, Frame]], list[tuple[Any, ...]]]:
    """Frames by contrast and height; further keys join only where frames would fall on one place."""
    for extra in ((), _EXTRA_KEYS[:1], _EXTRA_KEYS[1:], _EXTRA_KEYS):
        table: dict[tuple[Any, ...], dict[float, Frame]] = defaultdict(dict)
        doubles = 0
        for frame, height in zip(frames, heights, strict=True):
            row = table[tuple(_comparable(getattr(frame, name)) for name in (*_BASE_KEYS, *extra))]
            doubles += height in row
            row[height] = frame
        if not doubles:
            return dict(table), sorted(table)
    raise InputError(
        what,
        f"holds {doubles} images that lie at the place of another and differ in no time (TI, TE, flip angle, time point, TR, acquisition)",
        "remove the duplicates, or choose the images of one contrast",
    )


def _comparable(value: Any) -> float:
    return -1.0 if value is None else round(float(value), 4)


def _complete_block(
    table: dict[tuple[Any, ...], dict[float, Frame]], places: list[float], keys: list[tuple[Any, ...]], incomplete: str, what: str
) -> tuple[list[float], list[tuple[Any, ...]], list[str]]:
    """Slices and contrasts that form a full table; what is missing is refused, or dropped and named."""
    lacking = {key: len(places) - len(table[key]) for key in keys}
    if not any(lacking.values()):
        return places, keys, []
    names = "; ".join(f"{_describe(key)}: {len(table[key])} of {len(places)} slices" for key in keys)
    if incomplete == "refuse":
        raise InputError(what, f"is incomplete ({names})", "add the missing images, or say incomplete='drop'")
    common = [h for h in places if all(h in table[key] for key in keys)]
    full = [key for key in keys if not lacking[key]]
    if not common and not full:
        raise InputError(what, f"has no slice in all contrasts ({names})", "add the missing images")
    if len(common) * len(keys) >= len(full) * len(places):
        dropped = ", ".join(f"{h:.2f}" for h in places if h not in common)
        return common, keys, [f"dropped the slices at {dropped} mm, which some contrasts lack"]
    dropped = ", ".join(_describe(key) for key in keys if key not in full)
    return places, full, [f"dropped the contrasts {dropped}, which lack slices"]


def _check_positions(frames: list[list[Frame]], what: str) -> None:
    """Frames of one slice must lie at one place under all contrasts."""
    places = np.array([[frame.position for frame in row] for row in frames])
    shift = float(np.abs(places - places[:1]).max())
    if shift > _SHIFT:
        raise InputError(what, f"has contrasts shifted in the plane by up to {shift:.3g} mm", "choose one series, or register them")


def _describe(key: tuple[Any, ...]) -> str:
    words = zip(("TI", "TE", "flip angle", "time point"), key, strict=False)
    return ", ".join(f"{word} {value:g}" for word, value in words if value >= 0) or "no times"


def _affine(
    frames: list[Frame], normal: Float[np.ndarray, "3"], heights: list[float], what: str
) -> tuple[Float[np.ndarray, "4 4"], list[str]]:
    first, notes = frames[0], []
    row, column = first.orientation.reshape(2, 3)
    if len(frames) == 1:
        distance = first.thickness or 0.0
        if distance <= 0:
            distance = 1.0
            notes.append("no slice thickness stated, 1 mm assumed")
        step = distance * normal
    else:
        steps = np.diff(heights)
        if np.ptp(steps) > _UNEVEN * np.median(steps):
            raise InputError(what, _uneven(steps), "add the missing slices, or choose the images of one stack")
        step = (frames[-1].position - first.position) / (len(frames) - 1)
        bend = max(float(np.abs(f.position - first.position - k * step).max()) for k, f in enumerate(frames))
        if bend > max(_SHIFT, _UNEVEN * float(np.linalg.norm(step))):
            raise InputError(what, f"has slices up to {bend:.3g} mm off one line", "choose the images of one stack")
        if np.linalg.norm(step - (step @ normal) * normal) > _UNEVEN * float(np.linalg.norm(step)):
            notes.append("slices are shifted against each other (tilted stack), kept in the affine")
    distance = float(np.linalg.norm(step))
    stated = {f.distance for f in frames if f.distance}
    if len(frames) > 1 and any(abs(abs(d) - abs(float(step @ normal))) > _STATED * distance for d in stated):
        said = ", ".join(f"{d:.4g}" for d in sorted(stated))
        notes.append(f"slices lie {distance:.4g} mm apart, SpacingBetweenSlices says {said} mm: some may be missing")
    columns = np.stack([row, column, step / distance], axis=1)
    voxel = np.array([first.spacing[1], first.spacing[0], distance]) * 1e-3
    return affine_from_vectors(columns, voxel, first.position * 1e-3), notes


def _uneven(steps: Float[np.ndarray, "gap"]) -> str:
    """Name unequal slice distances: whole slices that are missing, or an increment that changes."""
    apart = ", ".join(f"{s:.3g}" for s in sorted(set(np.round(steps, 3))))
    times = steps / steps.min()
    missing = int(np.round(times).sum()) - len(steps)
    if np.abs(times - np.round(times)).max() < _UNEVEN * times.max():
        return f"has slices {apart} mm apart, so {missing} are missing between the others"
    return f"has slices {apart} mm apart, an uneven increment"
