"""Digital phantoms whose M0, T1 and T2 are known in every voxel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Inexact

from medcore.datasets.phantoms.anatomies import ANATOMIES, Anatomy
from medcore.datasets.phantoms.geometry import AIR, Canvas, Points, Waves
from medcore.datasets.phantoms.tissues import tissue_values
from medcore.errors import ConfigError
from medcore.plugins import unknown_name

OVERSAMPLING = 4
"""Points along x and y inside a voxel."""
PURE = 0.999
"""Fraction of one tissue above which a voxel counts as pure."""
_MAX_EDGE = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Phantom:
    """Tissue fractions of voxels and the tissues' values.

    Attributes
    ----------
    anatomy, field_strength, seed
        What was drawn.
    tissues
        Names.
    fractions
        float32 (tissue, z, y, x): the part of each voxel that each tissue fills; the rest of 1 is air.
    m0, t1, t2
        float64 (tissue,): visible proton density (water 1), and seconds.
    phase
        float32 (z, y, x): a smooth phase in radians, everywhere.
    foreground
        bool (z, y, x): at least half of the voxel is tissue that gives signal.
    pure
        bool (z, y, x): one tissue that gives signal fills more than 99.9 % of the voxel, so that it decays mono-exponentially.
    """

    anatomy: str
    field_strength: float
    seed: int
    tissues: tuple[str, ...]
    fractions: Float32[np.ndarray, "tissue z y x"]
    m0: Float[np.ndarray, " tissue"]
    t1: Float[np.ndarray, " tissue"]
    t2: Float[np.ndarray, " tissue"]
    phase: Float32[np.ndarray, "z y x"]
    foreground: Bool[np.ndarray, "z y x"]
    pure: Bool[np.ndarray, "z y x"]

    def mix(self, values: Inexact[np.ndarray, "tissue contrast"]) -> Inexact[np.ndarray, "contrast z y x"]:
        """Images of signals: for each contrast the sum over tissues of fraction times value.

        The values are signals of a voxel full of the tissue, its proton density included.
        """
        images: np.ndarray = np.tensordot(values, self.fractions, axes=(0, 0))
        return images

    @cached_property
    def m0_map(self) -> Float32[np.ndarray, "z y x"]:
        """Proton density of the voxel (sum of fraction times density), NaN in the background."""
        return self._masked(self._density)

    @cached_property
    def t1_map(self) -> Float32[np.ndarray, "z y x"]:
        """T1 in seconds, NaN in the background; in mixed voxels the mean over its protons, which no single exponential shows."""
        return self._proton_mean(self.t1)

    @cached_property
    def t2_map(self) -> Float32[np.ndarray, "z y x"]:
        """T2 in seconds, NaN in the background; in mixed voxels the mean over its protons, which no single exponential shows."""
        return self._proton_mean(self.t2)

    @cached_property
    def labels(self) -> np.ndarray:
        """int16 (z, y, x): number of the tissue that fills most of the voxel, -1 where air does."""
        most = self.fractions.argmax(axis=0).astype(np.int16)
        return np.where(self.fractions.max(axis=0) >= 1 - self.fractions.sum(axis=0), most, np.int16(AIR))

    @cached_property
    def _density(self) -> Float[np.ndarray, "z y x"]:
        return np.asarray(np.tensordot(self.m0, self.fractions.astype(np.float64), axes=(0, 0)))

    def _proton_mean(self, values: Float[np.ndarray, " tissue"]) -> Float32[np.ndarray, "z y x"]:
        total = np.tensordot(self.m0 * values, self.fractions.astype(np.float64), axes=(0, 0))
        return self._masked(np.divide(total, self._density, out=np.zeros_like(total), where=self._density > 0))

    def _masked(self, values: Float[np.ndarray, "z y x"]) -> Float32[np.ndarray, "z y x"]:
        return np.where(self.foreground, values, np.nan).astype(np.float32)


def relaxation_phantom(
    anatomy: str = "brain", *, shape: tuple[int, int, int] = (1, 128, 128), field_strength: float = 3.0, seed: int = 0
) -> Phantom:
    """Draw a subject.

    Parameters
    ----------
    anatomy
        One of :data:`ANATOMIES`.
    shape
        Voxels (z, y, x); the smaller of the in-plane edges spans the field of view, voxels are square. Slices lie apart by a
        thirtieth of the field of view.
    field_strength
        1.5 or 3 tesla; chooses tissue values.
    seed
        The subject: size, position, rotation, folding, lesions, phase, and tissue values within a few percent of the table in
        :mod:`medcore.datasets.phantoms.tissues` (the vials of ``tubes`` keep the table's values). The same seed at another
        shape or field strength gives the same geometry.

    Raises
    ------
    ConfigError
        For an unknown anatomy, a field strength without tissue values, or a shape with an edge below 1 (in the plane: 8).
    """
    if anatomy not in ANATOMIES:
        raise unknown_name("anatomy", anatomy, sorted(ANATOMIES))
    if shape[0] < 1 or min(shape[1:]) < 8 or max(shape) > _MAX_EDGE or seed < 0:
        raise ConfigError(
            "phantom", f"has shape {tuple(shape)} and seed {seed}", "give (z, y, x) from (1, 8, 8) on and a seed >= 0"
        )
    chosen = ANATOMIES[anatomy]
    m0, t1, t2 = tissue_values(chosen.tissues, field_strength, np.random.default_rng([seed, 1]))
    fractions = np.stack([_slice_fractions(chosen, z, shape, seed) for z in range(shape[0])], axis=1)
    signal = fractions[m0 > 0]
    return Phantom(
        anatomy=anatomy,
        field_strength=field_strength,
        seed=seed,
        tissues=chosen.tissues,
        fractions=fractions,
        m0=m0,
        t1=t1,
        t2=t2,
        phase=_phase(shape, np.random.default_rng([seed, 2])),
        foreground=signal.sum(axis=0) >= 0.5,
        pure=signal.max(axis=0) > PURE,
    )


def _axis(n: int, count: int, span: int) -> Float[np.ndarray, " n"]:
    """Coordinates of `count` points in each of `n` voxels, of which `span` fill [-1, 1]."""
    return np.asarray(((np.arange(n * count) + 0.5) / count - n / 2) * 2 / span)


def _points(z: int, shape: tuple[int, int, int], count: int) -> Points:
    span = min(shape[1:])
    y, x = np.meshgrid(_axis(shape[1], count, span), _axis(shape[2], count, span), indexing="ij")
    return Points(x=x.ravel(), y=y.ravel(), z=np.full(x.size, (z - (shape[0] - 1) / 2) / 15))


def _slice_fractions(anatomy: Anatomy, z: int, shape: tuple[int, int, int], seed: int) -> Float32[np.ndarray, "tissue y x"]:
    """Fractions of one slice by counting tissues on a finer grid; the slice itself is thin."""
    rng = np.random.default_rng([seed, 0])  # anew for each slice: all slices show one subject
    common, own = np.clip(rng.standard_normal(2), -2, 2)
    size = 1 + anatomy.varies * (common - 1 + 0.4 * own * np.array([1, -1]))
    points = _points(z, shape, OVERSAMPLING).placed(
        shift=(float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.04, 0.04))),
        angle=float(anatomy.varies * 2 * rng.uniform(-1, 1)),
        scale=(float(size[0]), float(size[1])),
    )
    canvas = Canvas(points, anatomy.tissues)
    anatomy.draw(canvas, rng)
    cells = canvas.labels.reshape(shape[1], OVERSAMPLING, shape[2], OVERSAMPLING)
    found = [(cells == i).mean(axis=(1, 3), dtype=np.float32) for i in range(len(anatomy.tissues))]
    return np.stack(found)


def _phase(shape: tuple[int, int, int], rng: np.random.Generator) -> Float32[np.ndarray, "z y x"]:
    """A constant, a ramp and a few long waves: about what off-resonance and receive coils leave."""
    offset, ramp = rng.uniform(-np.pi, np.pi), rng.uniform(-1.0, 1.0, 2)
    waves: Any = Waves.draw(rng, 2.0, n=8)
    slices = []
    for z in range(shape[0]):
        p = _points(z, shape, 1)
        slices.append((offset + ramp[0] * p.x + ramp[1] * p.y + 0.5 * waves(p.x, p.y, p.z)).reshape(shape[1:]))
    return np.stack(slices).astype(np.float32)
