"""Bring stored trajectories to radians per sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from medcore.errors import InputError

RADIANS, CYCLES, PER_FOV = "rad/sample", "cycles/sample", "1/fov"
UNITS = (RADIANS, CYCLES, PER_FOV)
_TOLERANCE = 1e-3


def in_radians(
    points: Float[np.ndarray, "readout sample dim"], matrix: tuple[int, int, int], unit: str | None, path: Path
) -> tuple[Float32[np.ndarray, "readout sample axis"], list[str]]:
    """Trajectory in radians per sample, last axis (y, x) or (z, y, x), and what was assumed.

    The format fixes no unit. Where the file declares none, points up to 0.5 are cycles per sample, up to half the matrix multiples
    of 1 / field of view.

    Parameters
    ----------
    points
        Columns (kx, ky[, kz]) as stored.
    matrix
        Encoded matrix (z, y, x).
    unit
        One of :data:`UNITS` if it is known.
    path
        Names the file in errors.
    """
    notes = []
    axes = 3 if matrix[0] > 1 else 2
    if points.shape[-1] < axes:
        raise InputError(path, f"has a {points.shape[-1]}-D trajectory for a {axes}-D matrix", "store one column for each axis")
    if points.shape[-1] > axes and np.any(points[..., axes:]):
        notes.append(f"left out columns beyond {axes} of the trajectory")
    points = points[..., :axes][..., ::-1]
    if unit == RADIANS:
        return np.ascontiguousarray(points, dtype=np.float32), notes
    largest = float(np.abs(points).max())
    sizes = np.array(matrix[3 - axes :])
    if unit is None:
        unit = _guess(largest, int(sizes.max()), path)
        notes.append(f"trajectory up to {largest:g} without a declared unit taken as {unit}")
    if unit not in UNITS:
        raise InputError(path, f"has a trajectory in {unit!r}", f"use {', '.join(UNITS)}")
    radians = np.empty(points.shape, dtype=np.float32)
    for row, stored in enumerate(points):  # one readout at a time: no copy of all of them in double precision
        scaled = stored * (2 * np.pi / (sizes if unit == PER_FOV else 1.0))
        radians[row] = np.where((scaled >= np.pi) & (scaled <= np.pi * (1 + _TOLERANCE)), scaled - 2 * np.pi, scaled)
    return radians, notes


def _guess(largest: float, n: int, path: Path) -> str:
    if largest <= 0.5 * (1 + _TOLERANCE):
        return CYCLES
    if largest <= n / 2 * (1 + _TOLERANCE) and largest > np.pi:
        return PER_FOV
    raise InputError(path, f"has trajectory points up to {largest:g} in no declared unit", f"say which: {', '.join(UNITS)}")
