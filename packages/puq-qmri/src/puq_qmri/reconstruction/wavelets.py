"""Undecimated Haar wavelets with periodic ends: the same for every shift of the image, of any size, and a tight frame.

``synthesis(analysis(x)) = x``, and the coefficients have the energy of the image (Coifman and Donoho 1995, doi
10.1007/978-1-4612-2544-7_9).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Inexact
from torch import Tensor


@dataclass(frozen=True)
class HaarFrame:
    """The transform along `axes`, over `levels` scales.

    Attributes
    ----------
    axes
        Axes of the image, counted from the end.
    levels
        Number of scales, the finest first.
    """

    axes: tuple[int, ...]
    levels: int

    def analysis(self, x: Inexact[Tensor, "component *image"]) -> tuple[list[Tensor], Tensor]:
        """Detail coefficients, (2^axes - 1) bands of each level, and the coarse rest; all shaped like `x`."""
        details: list[Tensor] = []
        for level in range(self.levels):
            bands = [x]
            for axis in self.axes:
                bands = [half for band in bands for half in _split(band, 2**level, axis)]
            x = bands[0]
            details += bands[1:]
        return details, x

    def synthesis(self, details: list[Tensor], coarse: Tensor) -> Inexact[Tensor, "component *image"]:
        """The adjoint of :meth:`analysis` and, as the frame is tight, its left inverse."""
        per_level = self.per_level
        for level in reversed(range(self.levels)):
            bands = [coarse, *details[per_level * level : per_level * (level + 1)]]
            for axis in reversed(self.axes):
                pairs = zip(bands[::2], bands[1::2], strict=True)
                bands = [_join(low, high, 2**level, axis) for low, high in pairs]
            coarse = bands[0]
        return coarse

    @property
    def per_level(self) -> int:
        """Detail bands of one level."""
        return (1 << len(self.axes)) - 1

    def scale(self, band: int) -> float:
        """Size of the coefficients of a detail band beside those of an orthonormal transform."""
        return math.pow(2.0, -len(self.axes) / 2 * (band // self.per_level + 1))


def _split(x: Tensor, step: int, axis: int) -> tuple[Tensor, Tensor]:
    moved = torch.roll(x, -step, axis)
    return (x + moved) / 2, (x - moved) / 2


def _join(low: Tensor, high: Tensor, step: int, axis: int) -> Tensor:
    return (low + high + torch.roll(low - high, step, axis)) / 2
