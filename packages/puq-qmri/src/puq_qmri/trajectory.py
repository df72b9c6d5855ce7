"""Where k-space is sampled: radial and spiral trajectories, random Cartesian lines and points."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float32

from medcore.errors import InputError

GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2
"""111.246 degrees (Winkelmann et al. 2007, doi 10.1109/TMI.2006.885337)."""


def radial(n_contrasts: int, n_spokes: int, n_samples: int) -> Float32[np.ndarray, "contrast spoke sample 2"]:
    """Golden-angle spokes through the centre, in radians per sample, (y, x).

    The angle goes on from contrast to contrast, so that each contrast is sampled at other angles. Samples lie at
    ``(j - n_samples // 2) 2 pi / n_samples``, the centre among them.

    Raises
    ------
    InputError
        If a number is not positive.
    """
    _positive(n_contrasts=n_contrasts, n_spokes=n_spokes, n_samples=n_samples)
    angle = GOLDEN_ANGLE * np.arange(n_contrasts * n_spokes).reshape(n_contrasts, n_spokes, 1)
    radius = (np.arange(n_samples) - n_samples // 2) * (2 * np.pi / n_samples)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1).astype(np.float32)


def spiral(
    n_contrasts: int, n_interleaves: int, n_samples: int, *, n_turns: float
) -> Float32[np.ndarray, "contrast spoke sample 2"]:
    """Archimedean interleaves from the centre outwards, rotated by the golden angle from contrast to contrast.

    The radius grows with the square root of the sample number, which makes the density even outside the centre.

    Parameters
    ----------
    n_contrasts, n_interleaves, n_samples
        Numbers of contrasts, of interleaves in each, and of samples on one of them.
    n_turns
        Turns of one interleaf; ``matrix / (2 n_interleaves)`` turns meet the Nyquist distance between neighbours.

    Raises
    ------
    InputError
        If a number is not positive.
    """
    if not n_turns > 0:
        raise InputError("n_turns", f"is {n_turns:g}", "give a positive number")
    _positive(n_contrasts=n_contrasts, n_interleaves=n_interleaves, n_samples=n_samples)
    progress = np.sqrt(np.arange(n_samples) / n_samples)
    start = 2 * np.pi * np.arange(n_interleaves)[:, None] / n_interleaves
    turned = start[None] + GOLDEN_ANGLE * np.arange(n_contrasts)[:, None, None]
    angle = turned + 2 * np.pi * n_turns * progress
    radius = np.pi * progress * (1 - 1e-6)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1).astype(np.float32)


def cartesian_mask(
    n_contrasts: int, matrix: tuple[int, int, int], acceleration: float, *, centre_fraction: float = 0.08, seed: int = 0
) -> Bool[np.ndarray, "contrast z y x"]:
    """Random lines along x, others in each contrast, with a fully sampled centre.

    Outside the centre one line is drawn from each of equally long stretches, which avoids wide gaps.

    Parameters
    ----------
    n_contrasts
        Number of contrasts.
    matrix
        (z, y, x); lines are chosen along y.
    acceleration
        Number of lines of the grid over number of lines measured, the centre included.
    centre_fraction
        Part of the lines around the centre that is always measured, at least one line.
    seed
        Of the random choice.

    Raises
    ------
    InputError
        If the acceleration is below 1 or leaves no line beside the centre, or the fraction is not one.
    """
    _positive(n_contrasts=n_contrasts)
    if not 0 <= centre_fraction <= 1:
        raise InputError("centre_fraction", f"is {centre_fraction:g}", "give a part between 0 and 1")
    lines = matrix[1]
    wanted, centre = round(lines / acceleration) if acceleration >= 1 else 0, max(1, round(lines * centre_fraction))
    if wanted < min(centre + 1, lines):
        raise InputError(
            "acceleration",
            f"is {acceleration:g}, which leaves {wanted} of {lines} lines with {centre} central ones",
            "choose a smaller one, at least 1",
        )
    generator = np.random.default_rng(seed)
    first = lines // 2 - centre // 2
    central = np.arange(first, first + centre)
    others = np.setdiff1d(np.arange(lines), central)
    mask = np.zeros((n_contrasts, *matrix), bool)
    for contrast in mask:
        contrast[:, central] = True
        if wanted > centre:
            stretches = np.array_split(others, wanted - centre)
            contrast[:, [generator.choice(s) for s in stretches]] = True
    return mask


def jittered_mask(
    n_contrasts: int, matrix: tuple[int, int, int], acceleration: float, *, centre_width: int = 8, seed: int = 0
) -> Bool[np.ndarray, "contrast z y x"]:
    """Random points of the (y, x) plane without wide gaps, others in each contrast, with a fully sampled centre.

    The plane is cut into equal cells, shifted at random, and one point is drawn in each: jittered sampling, which is close to a
    Poisson disc and fast. Both axes are then phase-encoded, or it is one plane of a volume.

    Parameters
    ----------
    n_contrasts
        Number of contrasts.
    matrix
        (z, y, x); all planes get the same points.
    acceleration
        Number of grid points over number of points measured, the centre included.
    centre_width
        Edge of the central square that is always measured.
    seed
        Of the random choice.

    Raises
    ------
    InputError
        If the acceleration is below 1 or leaves no point beside the centre, or the centre does not fit.
    """
    _positive(n_contrasts=n_contrasts, centre_width=centre_width)
    shape = matrix[1:]
    total, centre = math.prod(shape), centre_width**2
    wanted = round(total / acceleration) if acceleration >= 1 else 0
    if centre_width > min(shape) or wanted < min(centre + 1, total):
        raise InputError(
            "acceleration",
            f"is {acceleration:g}, which leaves {wanted} of {total} points with {centre} in the centre",
            "choose a smaller one, at least 1, or a smaller centre",
        )
    generator = np.random.default_rng(seed)
    pitch = math.sqrt((total - centre) / max(wanted - centre, 1))
    low = [n // 2 - centre_width // 2 for n in shape]
    central = np.zeros(shape, bool)
    central[low[0] : low[0] + centre_width, low[1] : low[1] + centre_width] = True
    planes = [_jittered(central, pitch, wanted, generator) for _ in range(n_contrasts)]
    return np.repeat(np.stack(planes)[:, None], matrix[0], axis=1)


def _jittered(
    central: Bool[np.ndarray, "y x"], pitch: float, wanted: int, generator: np.random.Generator
) -> Bool[np.ndarray, "y x"]:
    """One point in each cell of edge `pitch` and all central ones, made exactly `wanted` by leaving out or adding some at random."""
    cells = [np.arange(-1, math.ceil(n / pitch) + 1) for n in central.shape]
    corner = np.stack(np.meshgrid(*cells, indexing="ij"), axis=-1).reshape(-1, 2) + generator.random(2)
    points = np.floor((corner + generator.random(corner.shape)) * pitch).astype(int)
    points = points[((points >= 0) & (points < central.shape)).all(axis=1)]
    plane = central.copy()
    plane[points[:, 0], points[:, 1]] = True
    excess = int(plane.sum()) - wanted
    candidates = np.flatnonzero(plane & ~central if excess > 0 else ~plane)
    plane.ravel()[generator.choice(candidates, abs(excess), replace=False)] = excess < 0
    return plane


def _positive(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise InputError(name, f"is {value}", "give a positive number")
