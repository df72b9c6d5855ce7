"""Whether two thumbnails show one picture: one is shifted and stretched onto the other, then their details are correlated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from medcore.datasets.fingerprints import SIDE, local_contrast

_COARSE, _FINE = 5.0, 2.5  # pixels of a thumbnail over which mean and contrast are taken
_BLUR = 1.5  # of the coarse step, so that structures some pixels apart still attract each other
_COARSE_ROUNDS, _FINE_ROUNDS = 6, 3
_MARGIN = 3  # pixels along the border that are not compared, where local contrast knows one side only
_LEAST = 0.5  # of the thumbnail must overlap
_REACH = 0.2  # largest shift of a border and change of size, in shares of the image


class Match(NamedTuple):
    """How well pairs of thumbnails agree after alignment.

    Attributes
    ----------
    correlation
        Of their details, 1 for the same picture, 0 where less than half of the image overlaps.
    difference
        Mean absolute difference of grey levels after brightness and contrast have been matched, in shares of the standard deviation.
    """

    correlation: Float64[np.ndarray, " n"]
    difference: Float64[np.ndarray, " n"]


def match(first: UInt8[np.ndarray, "n 64 64"], second: UInt8[np.ndarray, "n 64 64"], views: Float64[np.ndarray, "n 4"]) -> Match:
    """Align each of `first` with its partner in `second` and compare.

    Rows and columns of the second are scaled and shifted versions of those of the first (four numbers a pair). They start at the view
    of the first (top, bottom, left, right in shares) that the hashes found to be like the second, and are refined by Gauss-Newton steps
    on the squared difference of local contrast (Lucas and Kanade 1981, in the inverse compositional form of Baker and Matthews 2004,
    doi 10.1023/B:VISI.0000011205.11775.fd).
    """
    from scipy.ndimage import gaussian_filter

    a, b = first.astype(np.float32), second.astype(np.float32)
    warp = np.stack(
        [(views[:, 1] - views[:, 0]), views[:, 0] * SIDE, (views[:, 3] - views[:, 2]), views[:, 2] * SIDE], axis=1
    )  # scale and shift of rows, then of columns; positions count from the border
    moving, fixed = (gaussian_filter(local_contrast(x, _COARSE), (0, _BLUR, _BLUR), mode="nearest") for x in (a, b))
    warp = _refine(moving, fixed, warp, _COARSE_ROUNDS)
    moving, fixed = local_contrast(a, _FINE), local_contrast(b, _FINE)
    warp = _refine(moving, fixed, warp, _FINE_ROUNDS)
    moved, inside = _warped(moving, warp)
    inside[:, :_MARGIN] = inside[:, -_MARGIN:] = False
    inside[:, :, :_MARGIN] = inside[:, :, -_MARGIN:] = False
    correlation = _correlation(moved, fixed, inside)
    difference = _difference(_warped(a, warp)[0], b, inside)
    far = inside.mean(axis=(1, 2)) < _LEAST
    return Match(np.where(far, 0.0, correlation), np.where(far, np.inf, difference))


def _refine(
    moving: Float32[np.ndarray, "n y x"], fixed: Float32[np.ndarray, "n y x"], warp: Float64[np.ndarray, "n 4"], rounds: int
) -> Float64[np.ndarray, "n 4"]:
    place = (np.arange(SIDE, dtype=np.float32) + 0.5)[None, :]
    down, right = np.gradient(fixed, axis=1), np.gradient(fixed, axis=2)
    steepest = np.stack([down * place[..., None], down, right * place[:, None], right], axis=1).reshape(len(fixed), 4, -1)
    start = warp
    for _ in range(rounds):
        moved, inside = _warped(moving, warp)
        error = np.where(inside, moved - fixed, 0).reshape(len(fixed), -1, 1)
        seen = steepest * inside.reshape(len(fixed), 1, -1)
        normal = seen @ seen.transpose(0, 2, 1) + 1e-3 * np.eye(4, dtype=np.float32) * SIDE
        step = np.linalg.solve(normal.astype(np.float64), (seen @ error).astype(np.float64))[..., 0]
        warp = _compose(warp, step)
        lost = (np.abs(warp - start) > _REACH * np.array([1, SIDE, 1, SIDE])).any(axis=1)
        warp[lost] = start[lost]
    return warp


def _compose(warp: Float64[np.ndarray, "n 4"], step: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 4"]:
    """`warp` after the inverse of the small warp (1 + step scale, step shift) of both axes."""
    found = np.empty_like(warp)
    for axis in (0, 2):
        grow = np.maximum(1 + step[:, axis], 0.5)
        found[:, axis] = warp[:, axis] / grow
        found[:, axis + 1] = warp[:, axis + 1] - warp[:, axis] * step[:, axis + 1] / grow
    return found


def _warped(images: Float32[np.ndarray, "n y x"], warp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images at the positions of `warp` (linear interpolation), and which of these lie inside."""
    rows, vertical = _weights(warp[:, 0], warp[:, 1])
    columns, horizontal = _weights(warp[:, 2], warp[:, 3])
    return rows @ images @ columns.transpose(0, 2, 1), vertical[:, :, None] & horizontal[:, None, :]


def _weights(scale: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centres = np.arange(SIDE) + 0.5
    position = scale[:, None] * centres + shift[:, None]
    near = np.clip(position, 0.5, SIDE - 0.5)
    weights = np.maximum(0, 1 - np.abs(near[:, :, None] - centres)).astype(np.float32)
    return weights, (position >= 0) & (position <= SIDE)


def _correlation(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> np.ndarray:
    count = np.maximum(inside.sum(axis=(1, 2)), 1)
    a, b = (np.where(inside, x - (np.where(inside, x, 0).sum(axis=(1, 2)) / count)[:, None, None], 0) for x in (a, b))
    power = np.sqrt((a**2).sum(axis=(1, 2), dtype=np.float64) * (b**2).sum(axis=(1, 2), dtype=np.float64))
    shared = (a * b).sum(axis=(1, 2), dtype=np.float64)
    return np.where(power > 0, shared / np.maximum(power, 1e-12), 0.0)


def _difference(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> np.ndarray:
    count = np.maximum(inside.sum(axis=(1, 2), dtype=np.float64), 1)[:, None, None]

    def standard(x: np.ndarray) -> np.ndarray:
        mean = np.where(inside, x, 0).sum(axis=(1, 2), keepdims=True, dtype=np.float64) / count
        spread = np.sqrt(np.where(inside, (x - mean) ** 2, 0).sum(axis=(1, 2), keepdims=True) / count)
        return np.asarray((x - mean) / np.maximum(spread, 1e-6))

    return np.asarray(np.where(inside, np.abs(standard(a) - standard(b)), 0).sum(axis=(1, 2)) / count[:, 0, 0])
