"""Objects that look like nothing: random shapes, textures and mixtures, so that a network learns no anatomy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

from medcore.datasets.phantoms import Phantom
from medcore.datasets.phantoms.geometry import Points, Waves, ellipsoid
from medcore.datasets.phantoms.relaxation import PURE
from medcore.errors import ConfigError

OVERSAMPLING = 2
"""Points along x and y inside a voxel."""
Where = Bool[np.ndarray, " point"]


def random_shapes(size: int, *, seed: int = 0) -> Phantom:
    """Draw an object of random shapes.

    A bumpy body holds ellipses, polygons and bands. Each is filled with one tissue, with a mixture of two (two pools in one voxel, so
    that the signal is no single exponential), or with a mixture that varies like waves; some are partly empty. T1 and T2 are random
    over the range of tissues and beyond, and so is the density.

    Parameters
    ----------
    size
        Edge of the square image matrix; one slice.
    seed
        Of everything. The same seed at another size gives the same geometry.

    Raises
    ------
    ConfigError
        If the size is below 8 or the seed negative.
    """
    if size < 8 or seed < 0:
        raise ConfigError("random shapes", f"have size {size} and seed {seed}", "give a size of at least 8 and a seed >= 0")
    rng = np.random.default_rng([seed, 5])
    m0, t1, t2 = _tissues(rng)
    fine = size * OVERSAMPLING
    axis = (np.arange(fine) + 0.5) * 2 / fine - 1
    y, x = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    points = Points(x=x, y=y, z=np.zeros_like(x))
    filled = np.zeros((len(m0), fine * fine), np.float32)
    body = _body(points, rng)
    _fill(filled, body, points, rng)
    for _ in range(int(rng.integers(8, 22))):
        _fill(filled, body & _shape(points, rng), points, rng)
    cells = filled.reshape(len(m0), size, OVERSAMPLING, size, OVERSAMPLING)
    fractions = cells.mean(axis=(2, 4))[:, None]
    return Phantom(
        anatomy="shapes",
        field_strength=3.0,
        seed=seed,
        tissues=tuple(f"tissue {i + 1}" for i in range(len(m0))),
        fractions=fractions,
        m0=m0,
        t1=t1,
        t2=t2,
        phase=_phase(size, rng),
        foreground=fractions.sum(axis=0) >= 0.5,
        pure=fractions.max(axis=0) > PURE,
    )


def _tissues(
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, " tissue"], Float[np.ndarray, " tissue"], Float[np.ndarray, " tissue"]]:
    """Density, T1 and T2 of some tissues; one of six or so is as slow as water."""
    count = int(rng.integers(5, 11))
    t1 = np.exp(rng.uniform(np.log(0.2), np.log(2.5), count))
    t2 = np.exp(rng.uniform(np.log(0.025), np.log(0.25), count))
    fluid = rng.random(count) < 0.15
    t1[fluid], t2[fluid] = rng.uniform(2.5, 4.5, fluid.sum()), rng.uniform(0.25, 2.0, fluid.sum())
    return rng.uniform(0.4, 1.0, count), t1, np.minimum(t2, t1)


def _body(points: Points, rng: np.random.Generator) -> Where:
    bumps = Waves.draw(rng, float(rng.uniform(0.5, 1.2)), n=8)
    radii = (float(rng.uniform(0.55, 0.92)), float(rng.uniform(0.55, 0.92)), 1.0)
    rim = ellipsoid(points, (0.0, 0.0), radii, float(rng.uniform(0, np.pi)))
    return np.asarray(rim + 0.06 * bumps(points.x, points.y, points.z) < 1)


def _shape(points: Points, rng: np.random.Generator) -> Where:
    """An ellipse, a convex polygon or a band along the zero line of a random field, of random size."""
    kind, size = rng.choice(3, p=(0.5, 0.3, 0.2)), float(np.exp(rng.uniform(np.log(0.04), np.log(0.4))))
    centre = (float(rng.uniform(-0.7, 0.7)), float(rng.uniform(-0.7, 0.7)))
    angle = float(rng.uniform(0, np.pi))
    if kind == 0:
        return np.asarray(ellipsoid(points, centre, (size, size * float(rng.uniform(0.3, 1.0)), 1.0), angle) < 1)
    if kind == 1:
        corners = int(rng.integers(3, 7))
        normals = angle + 2 * np.pi * (np.arange(corners) + rng.uniform(-0.2, 0.2, corners)) / corners
        x, y = points.x - centre[0], points.y - centre[1]
        inside = np.ones(x.shape, bool)
        for normal, reach in zip(normals, size * rng.uniform(0.6, 1.0, corners), strict=True):
            inside &= x * np.cos(normal) + y * np.sin(normal) < reach
        return inside
    field = Waves.draw(rng, float(rng.uniform(0.25, 0.9)), n=10)
    near = ellipsoid(points, centre, (3 * size, 3 * size, 1.0)) < 1
    return np.asarray(near & (np.abs(field(points.x, points.y, points.z)) < rng.uniform(0.1, 0.4)))


def _fill(filled: Float32[np.ndarray, "tissue point"], inside: Where, points: Points, rng: np.random.Generator) -> None:
    """Give the points inside to one tissue or two, in place."""
    first, second = rng.choice(len(filled), 2, replace=False)
    kind = rng.choice(4, p=(0.55, 0.15, 0.22, 0.08))
    x, y, z = points.x[inside], points.y[inside], points.z[inside]
    share: float | Float[np.ndarray, " inside"] = 1.0
    if kind == 1:
        share = float(rng.uniform(0.3, 0.7))
    elif kind == 2:
        waves = Waves.draw(rng, float(np.exp(rng.uniform(np.log(0.06), np.log(0.8)))), n=8)
        share = np.clip(0.6 + 0.25 * waves(x, y, z), 0, 1)
    full = float(rng.uniform(0.0, 0.5)) if kind == 3 else 1.0
    filled[:, inside] = 0
    filled[first, inside] = full * share
    filled[second, inside] += full * (1 - share)


def _phase(size: int, rng: np.random.Generator) -> Float32[np.ndarray, "1 y x"]:
    """A constant, a ramp and some waves, up to several turns over the image."""
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    y, x = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    waves = Waves.draw(rng, float(rng.uniform(1.0, 3.0)), n=6)
    ramp = rng.uniform(-2.0, 2.0, 2)
    phase = rng.uniform(-np.pi, np.pi) + ramp[0] * x + ramp[1] * y + rng.uniform(0, 0.8) * waves(x, y, 0 * x)
    return np.asarray(phase.reshape(1, size, size), np.float32)
