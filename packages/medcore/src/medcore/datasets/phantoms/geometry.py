"""Shapes as functions of position, so that a phantom is the same at every resolution.

Lengths are in half fields of view: x, y in [-1, 1] from left to right and from top to bottom, z along the slices. Everything works
on arrays of points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int16

Values = Float[np.ndarray, " point"]
Inside = Bool[np.ndarray, " point"]
AIR = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Positions."""

    x: Values
    y: Values
    z: Values

    def placed(self, *, shift: tuple[float, float], angle: float, scale: tuple[float, float]) -> Points:
        """The same positions in the frame of a subject who lies shifted, rotated (radians) and scaled in the plane."""
        x, y = self.x - shift[0], self.y - shift[1]
        cos, sin = np.cos(angle), np.sin(angle)
        return Points(x=(cos * x + sin * y) / scale[0], y=(cos * y - sin * x) / scale[1], z=self.z / np.mean(scale))


def ellipsoid(points: Points, centre: tuple[float, float], radii: tuple[float, float, float], angle: float = 0.0) -> Values:
    """Distance from `centre` in units of the radii (x, y, z): below 1 inside. `angle` turns it in the plane."""
    x, y = points.x - centre[0], points.y - centre[1]
    cos, sin = np.cos(angle), np.sin(angle)
    u, v = (cos * x + sin * y) / radii[0], (cos * y - sin * x) / radii[1]
    return np.asarray(np.sqrt(u * u + v * v + (points.z / radii[2]) ** 2))


@dataclass(frozen=True, kw_only=True, eq=False)
class Waves:
    """A smooth random field of zero mean and unit variance: a sum of cosines of about one wavelength in random directions."""

    vectors: Float[np.ndarray, "wave 3"]
    phases: Float[np.ndarray, " wave"]

    @classmethod
    def draw(cls, generator: np.random.Generator, wavelength: float, n: int = 24) -> Waves:
        """Random waves around `wavelength` (in half fields of view)."""
        directions = generator.standard_normal((n, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavelength * generator.uniform(0.8, 1.3, (n, 1))
        return cls(vectors=2 * np.pi * directions / lengths, phases=generator.uniform(0, 2 * np.pi, n))

    def __call__(self, x: Values, y: Values, z: Values) -> Values:
        """The field at positions."""
        total = np.zeros_like(x)
        for (kx, ky, kz), phase in zip(self.vectors, self.phases, strict=True):
            total += np.cos(kx * x + ky * y + kz * z + phase)
        return np.asarray(total * np.sqrt(2 / len(self.phases)))


class Canvas:
    """Tissue of each point; later paint covers earlier paint."""

    def __init__(self, points: Points, tissues: tuple[str, ...]) -> None:
        self.points = points
        self._numbers = {name: i for i, name in enumerate(tissues)}
        self.labels: Int16[np.ndarray, " point"] = np.full(points.x.shape, AIR, dtype=np.int16)

    def paint(self, tissue: str, inside: Inside) -> None:
        """Give the points `inside` to `tissue`."""
        self.labels[inside] = self._numbers[tissue]

    def has(self, *tissues: str) -> Inside:
        """Which points belong to one of `tissues`."""
        return np.isin(self.labels, [self._numbers[t] for t in tissues])

    def blob(
        self,
        tissue: str,
        centre: tuple[float, float],
        radii: tuple[float, float, float],
        angle: float = 0.0,
        only: str | None = None,
    ) -> None:
        """Paint an ellipsoid; with `only`, where that tissue lies."""
        inside = ellipsoid(self.points, centre, radii, angle) < 1
        self.paint(tissue, inside & self.has(only) if only else inside)
