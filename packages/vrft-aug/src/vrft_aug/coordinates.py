"""The frame in which boxes are asked for and answered.

A box is ``[x0, y0, x1, y1]``, edges, x to the right and y down. In data it is in pixels of the original image. A model may be asked for
other units; the *frame* ``(width, height)`` is the extent of the whole image in those units, so one division converts.

=========== ============ ===================================================================================
name        also called  units
=========== ============ ===================================================================================
``pixel``   ``original`` pixels of the original image
``norm1``   ``rel1``     shares of width and height, 0 to 1, three decimals
``normN``   ``relN``     0 to N in both directions, whole numbers; ``norm1000`` is what Qwen2-VL was trained on
``resized``              pixels of the image after the processor's resize, which is what Qwen2.5-VL was trained on
=========== ============ ===================================================================================
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcore.errors import ConfigError, InputError

Box = tuple[float, float, float, float]
Number = int | float
MAX_ASPECT_RATIO = 200
"""The processors of the Qwen-VL family refuse images that are longer than this in relation to their width."""
_NORM = re.compile(r"(?:norm|rel)([1-9][0-9]{0,4})")
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


def check_coordinates(coordinates: str) -> str:
    """The name of the module's table for `coordinates`, which may be one of the other names.

    >>> check_coordinates("rel1000"), check_coordinates("original")
    ('norm1000', 'pixel')

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if coordinates in ("pixel", "original"):
        return "pixel"
    match = _NORM.fullmatch(coordinates)
    if match:
        return f"norm{match[1]}"
    if coordinates != "resized":
        raise ConfigError(
            "coordinates",
            f"{coordinates!r} is unknown",
            "choose pixel (original), resized, norm1 (rel1), norm1000 (rel1000) or another normN",
        )
    return coordinates


@dataclass(frozen=True, kw_only=True)
class Resize:
    """How a processor of the Qwen-VL family resizes an image: both sides become multiples of ``patch_size * merge_size``.

    The numbers are those of the processor's own file, see :meth:`from_processor`; the defaults are those of transformers' class.
    """

    patch_size: int = 14
    """Side of a patch in pixels."""
    merge_size: int = 2
    """Patches that are merged to one token, in each direction."""
    min_pixels: int = 56 * 56
    """Smallest area; smaller images are enlarged."""
    max_pixels: int = 28 * 28 * 1280
    """Largest area; larger images are made smaller. The published Qwen2.5-VL processor has 12845056."""

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.merge_size < 1 or not 0 < self.min_pixels <= self.max_pixels:
            raise ConfigError("resize", f"has {self}", "give positive sizes and min_pixels <= max_pixels")

    @classmethod
    def from_processor(cls, source: str | Path | Mapping[str, Any]) -> Resize:
        """The resize of a saved processor.

        Parameters
        ----------
        source
            A folder with ``preprocessor_config.json`` or ``processor_config.json``, or the content of such a file.

        Raises
        ------
        InputError
            If there is no such file, or it states no limits of the image's area.
        """
        found = source if isinstance(source, Mapping) else _processor_file(Path(source))
        found = found.get("image_processor", found)
        # In this family the two "edges" are areas in pixels; older files call them by other names.
        size = found.get("size") or {}
        try:
            return cls(
                patch_size=int(found["patch_size"]),
                merge_size=int(found["merge_size"]),
                min_pixels=int(found.get("min_pixels") or size["shortest_edge"]),
                max_pixels=int(found.get("max_pixels") or size["longest_edge"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = "the processor's file" if isinstance(source, Mapping) else source
            raise InputError(
                what, f"does not say how images are resized ({type(error).__name__}: {error})", "use norm1000 or give the limits"
            ) from error

    def __call__(self, image_size: Sequence[Number]) -> tuple[float, float]:
        """Width and height after the resize of an image of this width and height.

        As in transformers' ``smart_resize``: sides are rounded to the nearest multiple (ties to the even one); if the area then is
        outside of the limits, both sides are scaled by the square root of the ratio and rounded down, or up, to a multiple.

        Raises
        ------
        InputError
            If a side is not positive, or one is more than :data:`MAX_ASPECT_RATIO` times the other, which the processor refuses.
        """
        sides = float(image_size[0]), float(image_size[1])
        if not 0 < min(sides) <= max(sides) < math.inf or max(sides) / min(sides) > MAX_ASPECT_RATIO:
            raise InputError(
                "image size",
                f"{sides[0]:g} x {sides[1]:g} pixels cannot be resized by the processor",
                f"give images with sides in a ratio of at most {MAX_ASPECT_RATIO}, or leave them out",
            )
        factor, area = self.patch_size * self.merge_size, sides[0] * sides[1]
        width, height = (round(side / factor) * factor for side in sides)
        if width * height > self.max_pixels:
            scale = math.sqrt(area / self.max_pixels)
            width, height = (max(factor, math.floor(side / scale / factor) * factor) for side in sides)
        elif width * height < self.min_pixels:
            scale = math.sqrt(self.min_pixels / area)
            width, height = (math.ceil(side * scale / factor) * factor for side in sides)
        return float(width), float(height)


def _processor_file(folder: Path) -> Mapping[str, Any]:
    for name in _PROCESSOR_FILES:
        if (folder / name).is_file():
            try:
                found = json.loads((folder / name).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise InputError(
                    folder / name, f"cannot be read ({type(error).__name__})", "get another copy of the file"
                ) from error
            if isinstance(found, Mapping) and ("image_processor" in found or name == _PROCESSOR_FILES[1]):
                return found
    raise InputError(folder, f"has neither {' nor '.join(_PROCESSOR_FILES)} with an image processor", "give a processor's folder")


def frame(coordinates: str, image_size: Sequence[Number], *, resize: Resize | None = None) -> tuple[float, float]:
    """Extent ``(width, height)`` of an image in units of `coordinates`.

    Parameters
    ----------
    coordinates
        A mode of the module's table.
    image_size
        Width and height in pixels.
    resize
        The processor's resize, for ``resized``; by default that of transformers' class.

    Raises
    ------
    InputError
        If `coordinates` is unknown, or the processor refuses images of this size.
    """
    name = check_coordinates(coordinates)
    if name == "pixel":
        return float(image_size[0]), float(image_size[1])
    if name == "resized":
        return (resize or Resize())(image_size)
    extent = float(name.removeprefix("norm"))
    return extent, extent


def convert(boxes: Iterable[Sequence[Number]], source: Sequence[Number], target: Sequence[Number]) -> list[Box]:
    """Boxes given in the frame `source` (width, height) as boxes in the frame `target`."""
    x, y = target[0] / source[0], target[1] / source[1]
    return [(b[0] * x, b[1] * y, b[2] * x, b[3] * y) for b in boxes]
