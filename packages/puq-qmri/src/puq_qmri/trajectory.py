"""Where k-space is sampled: radial and spiral trajectories, random Cartesian lines."""

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


def _positive(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise InputError(name, f"is {value}", "give a positive number")
