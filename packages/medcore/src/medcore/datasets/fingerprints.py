"""Perceptual hashes: 64 and 256 bits that stay nearly the same when an image is re-encoded, scaled, brightened or cut a little.

A grey thumbnail of 64 x 64 pixels is divided by its local contrast, and the signs of its lowest DCT coefficients are the bits. What
the hash sees is therefore structure, not brightness; the usual hash of raw coefficients sees little but the round field of view of a
fundus camera. Cropping moves structure, so the hash of an image is also taken of views that are cropped by 3, 6 and 10 per cent: a
cropped copy is near to one of these (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", describes
hashes of DCT signs).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt64

from medcore.datasets.base import Pixels

SIDE = 64
"""Rows and columns of a thumbnail."""
_VIEW_SIDE = 32
CROPS = (0.03, 0.06, 0.1)
"""Shares of height and width that the views leave out."""
_CORNERS = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
VIEWS: tuple[tuple[float, float, float, float], ...] = (
    (0.0, 1.0, 0.0, 1.0),
    *((f * y, 1 - f * (1 - y), f * x, 1 - f * (1 - x)) for f in CROPS for y, x in _CORNERS),
)
"""Views as (top, bottom, left, right) in shares of the image; the first is the whole."""
_SCALE = 2.5  # of the local mean and contrast, in pixels of a view
_FLOOR = 2.0  # grey levels of a thumbnail (stretched to 0..255) below which contrast is not raised further
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_FLAT = 1.0  # an image whose grey levels span less holds nothing to compare

Thumbnail = UInt8[np.ndarray, "64 64"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fingerprint:
    """What is kept of an image for the search.

    Attributes
    ----------
    thumbnail
        Grey, stretched to 0..255.
    short
        64 bits of each of :data:`VIEWS`.
    long
        256 bits of each, as four numbers.
    sides
        Height and width of the image itself.
    """

    thumbnail: Thumbnail
    short: UInt64[np.ndarray, " view"]
    long: UInt64[np.ndarray, "view 4"]
    sides: tuple[int, int]


def fingerprint(image: Pixels, *, volumetric: bool = False) -> Fingerprint | None:
    """Thumbnail and hashes of an image, or of the mean over z of a volume; None where all its pixels are as good as equal.

    Time is that of one pass over the pixels and about 2 ms.
    """
    grey = image.astype(np.float32)
    if grey.ndim == 3:
        grey = grey.mean(axis=0) if volumetric else grey @ _LUMA
    small = resampler(grey.shape[0], SIDE) @ grey @ resampler(grey.shape[1], SIDE).T
    low, high = float(small.min()), float(small.max())
    if high - low < _FLAT:
        return None
    thumbnail = np.round((small - low) * (255 / (high - low))).astype(np.uint8)
    short, long = hashes(thumbnail)
    return Fingerprint(thumbnail=thumbnail, short=short, long=long, sides=(grey.shape[0], grey.shape[1]))


def hashes(thumbnail: Thumbnail) -> tuple[UInt64[np.ndarray, " view"], UInt64[np.ndarray, "view 4"]]:
    """Bits of all views of a thumbnail: 64 and 256 of each."""
    from scipy.fft import dctn

    views = np.stack([_side(a, b) @ thumbnail @ _side(c, d).T for a, b, c, d in VIEWS])
    spectrum = dctn(local_contrast(views, _SCALE), axes=(1, 2), norm="ortho")
    short, long = _orders()
    return _pack(spectrum[:, short[0], short[1]] > 0)[:, 0], _pack(spectrum[:, long[0], long[1]] > 0)


def local_contrast(images: Float[np.ndarray, "n y x"], scale: float) -> Float32[np.ndarray, "n y x"]:
    """Each pixel less the mean around it, divided by the standard deviation around it (Gaussian windows of `scale` pixels)."""
    from scipy.ndimage import gaussian_filter

    sigma = (0, scale, scale)
    values = images.astype(np.float32)
    detail = values - gaussian_filter(values, sigma, mode="nearest")
    spread = np.sqrt(gaussian_filter(detail**2, sigma, mode="nearest") + _FLOOR**2)
    return np.asarray(detail / spread, dtype=np.float32)


@functools.lru_cache(maxsize=64)
def resampler(size: int, side: int, start: float = 0.0, stop: float = 1.0) -> Float32[np.ndarray, "side size"]:
    """Matrix that resamples the part from `start` to `stop` of a row of `size` pixels to `side` pixels.

    The kernel is a triangle, as wide as the pixels that are further apart: nothing is aliased, and small images are interpolated.
    """
    step = (stop - start) * size / side
    centres = start * size + (np.arange(side) + 0.5) * step
    distance = np.abs(np.arange(size) + 0.5 - centres[:, None])
    weights = np.maximum(0, 1 - distance / max(1.0, step))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _side(start: float, stop: float) -> Float32[np.ndarray, "32 64"]:
    return resampler(SIDE, _VIEW_SIDE, start, stop)


@functools.cache
def _orders() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the coefficients of the short and the long hash, the lowest frequencies first, without the mean."""
    places = [(i, j) for i in range(_VIEW_SIDE) for j in range(_VIEW_SIDE) if i or j]
    ordered = np.array(sorted(places, key=lambda p: (p[0] + p[1], p[0])))
    square = np.array([p for p in places if max(p) < 16] + [(16, 0)])
    dealt = ordered[:64].reshape(16, 4, 2).swapaxes(0, 1).reshape(64, 2)  # every 16 bits hold low and high frequencies alike
    return (dealt[:, 0], dealt[:, 1]), (square[:, 0], square[:, 1])


def _pack(bits: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint64)
