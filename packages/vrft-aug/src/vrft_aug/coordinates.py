"""The frame in which boxes are asked for and answered.

A box is ``[x0, y0, x1, y1]``, edges, x to the right and y down. In data it is in pixels of the original image. A model may be asked for
other units; the *frame* ``(width, height)`` is the extent of the whole image in those units, so one division converts.

=========== ================================================================================================
``pixel``   pixels of the original image
``norm1``   shares of width and height, 0 to 1, three decimals
``normN``   0 to N in both directions, whole numbers; ``norm1000`` is what Qwen2-VL was trained on
``resized`` pixels of the image after the resize of the Qwen2.5-VL processor, which is what that model was trained on
=========== ================================================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from medcore.errors import ConfigError

Box = tuple[float, float, float, float]
Number = int | float
_NORM = re.compile(r"norm([1-9][0-9]{0,4})")
_FACTOR = 28


def check_coordinates(coordinates: str) -> str:
    """Return `coordinates` if it names one of the modes of the module's table.

    Raises
    ------
    ConfigError
        If it does not.
    """
    if coordinates not in ("pixel", "resized") and not _NORM.fullmatch(coordinates):
        raise ConfigError(
            "coordinates", f"{coordinates!r} is unknown", "choose pixel, resized, norm1, norm100, norm1000 or another normN"
        )
    return coordinates


def frame(
    coordinates: str, image_size: Sequence[Number], *, min_pixels: int | None = None, max_pixels: int | None = None
) -> tuple[float, float]:
    """Extent ``(width, height)`` of an image in units of `coordinates`.

    Parameters
    ----------
    coordinates
        A mode of the module's table.
    image_size
        Width and height in pixels.
    min_pixels, max_pixels
        Limits of the processor's resize, for ``resized``; by default those of Qwen2.5-VL, 56 x 56 and 28 x 28 x 1280.
    """
    match = _NORM.fullmatch(check_coordinates(coordinates))
    if match:
        return float(match[1]), float(match[1])
    width, height = float(image_size[0]), float(image_size[1])
    if coordinates == "pixel":
        return width, height
    return _resized(width, height, min_pixels or 56 * 56, max_pixels or 28 * 28 * 1280)


def _resized(width: float, height: float, min_pixels: int, max_pixels: int) -> tuple[float, float]:
    """The size a Qwen2.5-VL processor brings an image to: multiples of 28 within the pixel limits, aspect ratio about kept."""
    new_width, new_height = (max(_FACTOR, round(side / _FACTOR) * _FACTOR) for side in (width, height))
    if new_width * new_height > max_pixels:
        scale = math.sqrt(width * height / max_pixels)
        new_width, new_height = (max(_FACTOR, math.floor(side / scale / _FACTOR) * _FACTOR) for side in (width, height))
    elif new_width * new_height < min_pixels:
        scale = math.sqrt(min_pixels / (width * height))
        new_width, new_height = (math.ceil(side * scale / _FACTOR) * _FACTOR for side in (width, height))
    return float(new_width), float(new_height)


def convert(boxes: Iterable[Sequence[Number]], source: Sequence[Number], target: Sequence[Number]) -> list[Box]:
    """Boxes given in the frame `source` (width, height) as boxes in the frame `target`."""
    x, y = target[0] / source[0], target[1] / source[1]
    return [(b[0] * x, b[1] * y, b[2] * x, b[3] * y) for b in boxes]
