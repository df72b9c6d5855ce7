"""A simulation of isochromats, pulse by pulse, that shares nothing with the models it judges."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass
class Spins:
    """Magnetisation (3, isochromat) of one tissue whose isochromats lie evenly on a circle of dephasing."""

    t1: float
    t2: float
    count: int = 1
    m: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.m = np.zeros((3, self.count))
        self.m[2] = 1
        self.phases = 2 * np.pi * (np.arange(self.count) + 0.3) / self.count

    def pulse(self, angle: float, *, about: str = "x") -> None:
        """Rotate about the x or y axis."""
        c, s = np.cos(angle), np.sin(angle)
        x, y, z = self.m
        self.m = np.array([x, c * y - s * z, s * y + c * z] if about == "x" else [c * x + s * z, y, c * z - s * x])

    def wait(self, time: float, *, dephase: float = 0.0) -> None:
        """Relax, and turn isochromats by `dephase` times their phase."""
        e1, e2 = np.exp(-time / self.t1), np.exp(-time / self.t2) if self.t2 > 0 else 0.0
        turned = (self.m[0] + 1j * self.m[1]) * e2 * np.exp(1j * dephase * self.phases)
        self.m = np.array([turned.real, turned.imag, 1 + (self.m[2] - 1) * e1])

    def spoil(self) -> None:
        """Remove the transverse magnetisation."""
        self.m[:2] = 0

    def invert(self, efficiency: float) -> None:
        """Invert a part of the longitudinal magnetisation."""
        self.spoil()
        self.m[2] *= -efficiency

    @property
    def transverse(self) -> complex:
        """Mean over the isochromats."""
        return complex((self.m[0] + 1j * self.m[1]).mean())


@pytest.fixture(scope="session")
def bloch() -> type[Spins]:
    """The simulation."""
    return Spins
