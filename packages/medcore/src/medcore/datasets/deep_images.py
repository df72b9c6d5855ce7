"""Grey images of more than 8 bits, made 8 bits in a stated way."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped, UInt8

from medcore.datasets.images import open_image
from medcore.datasets.png_check import check_png
from medcore.datasets.tolerance import SampleError
from medcore.errors import ConfigError, InputError
from medcore.io.guard import foreign_errors
from medcore.io.limits import existing_file

GreyMapping = Literal["percentile", "range"] | tuple[float, float]
"""How values become 0 to 255: the 0.5th to 99.5th percentile of the image, its range, or the given lowest and highest value."""
PERCENTILES = (0.5, 99.5)
_HINT = "get another copy of the file"


def read_deep_image(path: str | Path, mapping: GreyMapping = "percentile") -> UInt8[np.ndarray, "y x"]:
    """Decode a grey image of more than 8 bits (PNG, TIFF: integers or floats) and map it to 8 bits, linearly, clipped, halves to even.

    Parameters
    ----------
    path
        The file.
    mapping
        See :data:`GreyMapping`. Percentiles and range are those of the image itself, so that the same tissue may be of another grey in
        another image; give two values where that matters.

    Raises
    ------
    InputError
        If it is missing, damaged, of 8 bits or in colour, has several frames, too many pixels, or values that are not finite.
    ConfigError
        If the lowest value of `mapping` is not below the highest.
    """
    if isinstance(mapping, tuple) and not mapping[0] < mapping[1]:
        raise ConfigError("grey", f"is {mapping[0]:g} to {mapping[1]:g}", "give the lowest value first")
    path = existing_file(path)
    with open_image(path) as image:
        with foreign_errors(path, "is a damaged image", _HINT):
            frames = getattr(image, "n_frames", 1)
        if frames != 1:
            raise SampleError(path, f"holds {frames} frames", "give one image for each file", "several-frames")
        if not image.mode.startswith(("I", "F")):
            raise InputError(path, f"is no grey image of more than 8 bits (mode {image.mode})", "read it as it is")
        check_png(path)
        with foreign_errors(path, "is a damaged image", _HINT):
            values = np.array(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise SampleError(path, "holds values that are not finite", _HINT)
    return map_grey(values, mapping)


def map_grey(values: Shaped[np.ndarray, "y x"], mapping: GreyMapping) -> UInt8[np.ndarray, "y x"]:
    """Values as 0 to 255; an image of one value is black unless `mapping` gives the values."""
    if isinstance(mapping, tuple):
        low, high = mapping
    elif mapping == "range":
        low, high = float(values.min()), float(values.max())
    else:
        low, high = (float(v) for v in np.percentile(values, PERCENTILES))
        if low == high:  # a few bright pixels on an even ground
            low, high = float(values.min()), float(values.max())
    if low == high:
        return np.zeros(values.shape, dtype=np.uint8)
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)
