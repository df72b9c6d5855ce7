r"""Receive coils around an object: where they are and what they see.

Lengths are in half fields of view: the image fills [-1, 1] in x and y at z = 0. All maps have a root sum of squares of 1 in every
voxel, so that a fully sampled image combined with them is the object.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex64, Complex128, Float

from medcore.errors import ConfigError
from medcore.plugins import unknown_name

COILS = {
    "birdcage": "a ring of coils at equal angles, the same in every simulation",
    "random-birdcage": "one to three rings at random distances and angles, with random phases",
    "loops": "loops of wire of random size, place and tilt on an ellipse around the object, by the law of Biot and Savart",
}
"""Geometries by name."""
_NEAREST = 1.45
"""Just outside the corners of the image: there the phase of a coil's map turns around the coil."""
_WIRE = 0.12
"""Radius of the wire, which keeps the field finite."""
_SEGMENTS = 24


def coil_maps(kind: str, n_coils: int, size: int, *, seed: int = 0) -> Complex64[np.ndarray, "coil 1 y x"]:
    """Maps of a geometry of :data:`COILS`.

    Parameters
    ----------
    kind
        Name of the geometry.
    n_coils
        Number of coils.
    size
        Edge of the square image matrix.
    seed
        Of the random geometries.

    Raises
    ------
    ConfigError
        If the geometry is unknown, or there is no coil or no voxel.
    """
    if kind not in COILS:
        raise unknown_name("coil geometry", kind, list(COILS))
    if kind == "birdcage":
        return birdcage(n_coils, size)
    return (random_birdcage if kind == "random-birdcage" else loops)(n_coils, size, seed=seed)


def birdcage(n_coils: int, size: int) -> Complex64[np.ndarray, "coil 1 y x"]:
    """A ring of coils at equal angles, 1.5 half fields of view from the centre.

    The sensitivity falls with the distance, ``1 / d``, and its phase is the direction to the coil.
    """
    _check(n_coils, size)
    angle = 2 * np.pi * np.arange(n_coils) / n_coils
    return _unit(_points(np.full(n_coils, 1.5), angle, np.zeros(n_coils), -angle, size))


def random_birdcage(n_coils: int, size: int, *, seed: int = 0) -> Complex64[np.ndarray, "coil 1 y x"]:
    """One to three rings of coils like those of :func:`birdcage`.

    Distance, turn and position along z of each ring are random, and so are, within limits, the angle and the distance of every coil;
    phases are random.
    """
    _check(n_coils, size)
    rng = np.random.default_rng([seed, 3])
    rings = int(rng.integers(1, min(3, n_coils) + 1))
    ring = np.arange(n_coils) % rings
    of_ring = np.bincount(ring, minlength=rings)
    angle = rng.uniform(0, 2 * np.pi, rings)[ring] + 2 * np.pi * (np.arange(n_coils) // rings) / of_ring[ring]
    angle += rng.uniform(-0.25, 0.25, n_coils) * 2 * np.pi / of_ring[ring]
    distance = rng.uniform(_NEAREST, 1.9, rings)[ring] * rng.uniform(1.0, 1.15, n_coils)
    depth = rng.uniform(-0.8, 0.8, rings)[ring]
    return _unit(_points(distance, angle, depth, rng.uniform(-np.pi, np.pi, n_coils), size))


def loops(n_coils: int, size: int, *, seed: int = 0) -> Complex64[np.ndarray, "coil 1 y x"]:
    r"""Loops of wire on an ellipse around the object, in one or two rows.

    Size, place and tilt are random. The sensitivity is the transverse field of a current in the loop,
    :math:`B_x - i B_y` with :math:`B(r) = \int dl \times (r - r') / |r - r'|^3` along the loop (reciprocity: Hoult and Richards 1976,
    doi 10.1016/0022-2364(76)90233-X), of a wire of finite thickness.
    """
    _check(n_coils, size)
    rng = np.random.default_rng([seed, 4])
    rows = int(rng.integers(1, min(2, n_coils) + 1))
    count = -(-n_coils // rows)
    axes = rng.uniform(1.15, 1.5, 2)
    turn = rng.uniform(0, 2 * np.pi)
    maps = []
    for i in range(n_coils):
        angle = turn + 2 * np.pi * (i // rows + 0.5 * (i % rows)) / count + rng.uniform(-0.3, 0.3) * 2 * np.pi / count
        depth = 0.0 if rows == 1 else (0.45 if i % rows else -0.45)
        centre = np.array([axes[0] * np.cos(angle), axes[1] * np.sin(angle), depth + rng.uniform(-0.15, 0.15)])
        tilt = angle + rng.uniform(-0.35, 0.35)
        maps.append(_loop(centre, tilt, float(rng.uniform(0.3, 0.65)), size) * np.exp(1j * rng.uniform(-np.pi, np.pi)))
    return _unit(np.stack(maps))


def _check(n_coils: int, size: int) -> None:
    if n_coils < 1 or size < 1:
        raise ConfigError("coil maps", f"are asked for with {n_coils} coils and {size} voxels", "give at least one of each")


def _axis(size: int) -> Float[np.ndarray, " n"]:
    return np.asarray((np.arange(size) - size / 2) / (size / 2))


def _points(
    distance: Float[np.ndarray, " coil"],
    angle: Float[np.ndarray, " coil"],
    depth: Float[np.ndarray, " coil"],
    phase: Float[np.ndarray, " coil"],
    size: int,
) -> Complex128[np.ndarray, "coil y x"]:
    """What small coils at these places see: ``exp(i (direction + phase)) / d``."""
    x = _axis(size)[None, None, :] - (distance * np.cos(angle))[:, None, None]
    y = _axis(size)[None, :, None] - (distance * np.sin(angle))[:, None, None]
    far = np.sqrt(x**2 + y**2 + depth[:, None, None] ** 2)
    # The direction as a complex number of length 1: the same as exp(i arctan2(x, -y)), without the arc tangent.
    maps: Complex128[np.ndarray, "coil y x"] = (-y + 1j * x) / np.sqrt(x**2 + y**2) / far * np.exp(1j * phase)[:, None, None]
    return maps


def _loop(centre: Float[np.ndarray, " 3"], tilt: float, radius: float, size: int) -> Complex128[np.ndarray, "y x"]:
    """Transverse field of one loop whose axis lies in the plane in the direction `tilt`."""
    around = 2 * np.pi * np.arange(_SEGMENTS) / _SEGMENTS
    across = np.array([-np.sin(tilt), np.cos(tilt), 0.0])
    wire = centre + radius * (np.cos(around)[:, None] * across + np.sin(around)[:, None] * np.array([0.0, 0.0, 1.0]))
    piece = (2 * np.pi * radius / _SEGMENTS) * (
        -np.sin(around)[:, None] * across + np.cos(around)[:, None] * np.array([0.0, 0.0, 1.0])
    )
    x, y = _axis(size)[None, None, :] - wire[:, 0, None, None], _axis(size)[None, :, None] - wire[:, 1, None, None]
    z = -wire[:, 2, None, None]
    weight = (x**2 + y**2 + z**2 + _WIRE**2) ** -1.5
    dx, dy, dz = (piece[:, i, None, None] for i in range(3))
    along_x, along_y = ((dy * z - dz * y) * weight).sum(axis=0), ((dz * x - dx * z) * weight).sum(axis=0)
    field: Complex128[np.ndarray, "y x"] = along_x - 1j * along_y
    return field


def _unit(maps: Complex128[np.ndarray, "coil y x"]) -> Complex64[np.ndarray, "coil 1 y x"]:
    scaled: Complex128[np.ndarray, "coil y x"] = maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0, keepdims=True))
    return scaled[:, None].astype(np.complex64)
