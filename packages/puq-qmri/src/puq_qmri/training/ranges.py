"""Random measurements to train with: which objects, coils, protocols, sampling and noise a network meets."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from medcore.datasets.phantoms import ANATOMIES, Phantom
from medcore.errors import ConfigError
from medcore.plugins import unknown_name
from puq_qmri.simulation import COILS, MODELS, SHAPES, TRAJECTORIES, SimulationSettings, central_fraction

HELD_OUT_SEED = 1_000_000
"""Objects, coils and noise of this seed and above never occur in training."""
_SPREAD = 0.15


@dataclass(frozen=True, kw_only=True)
class SimulatedData:
    """Ranges from which every example is drawn; a name that stands twice in a list is drawn twice as often.

    Attributes
    ----------
    anatomies
        ``shapes`` and phantoms of :mod:`medcore.datasets.phantoms`. The shipped weights never saw ``knee`` and ``tubes``.
    coils
        Geometries. The shipped weights never saw ``loops``.
    models
        ``t2`` and ``t1``.
    trajectories
        ``cartesian``, ``jittered``, ``radial``, ``spiral``.
    times
        Echo or inversion times in seconds, for a network of one protocol; empty draws them.
    contrasts
        Fewest and most contrasts.
    first_te, last_te
        Ranges in seconds of the first and the last echo; the others lie between them, evenly or not.
    ti
        Range in seconds of inversion times, whose logarithms are drawn.
    sizes
        Edges of the image matrix.
    n_coils
        Fewest and most coils.
    snr
        Range of the signal-to-noise ratio, whose logarithm is drawn.
    noise_free
        Part of the examples that has no noise.
    acceleration
        Range of the acceleration, whose logarithm is drawn.
    mixed
        Part of the Cartesian examples in which every contrast has the smallest or the largest acceleration.
    estimated_maps
        Part of the examples with coil maps from the measurement (ESPIRiT) instead of the true ones.
    objects
        How many objects of each anatomy there are; each one returns turned, with other tissue values and other coils.
    """

    anatomies: tuple[str, ...] = ("brain", "abdomen", "shapes", "shapes")
    coils: tuple[str, ...] = ("birdcage", "random-birdcage", "random-birdcage")
    models: tuple[Literal["t2", "t1"], ...] = ("t2", "t1")
    trajectories: tuple[str, ...] = ("cartesian", "cartesian", "radial", "jittered")
    times: tuple[float, ...] = ()
    contrasts: tuple[int, int] = (4, 12)
    first_te: tuple[float, float] = (0.0, 0.02)
    last_te: tuple[float, float] = (0.08, 0.25)
    ti: tuple[float, float] = (0.03, 5.0)
    sizes: tuple[int, ...] = (64, 80, 96)
    n_coils: tuple[int, int] = (4, 12)
    snr: tuple[float, float] = (10.0, 100.0)
    noise_free: float = 0.05
    acceleration: tuple[float, float] = (2.0, 10.0)
    mixed: float = 0.2
    estimated_maps: float = 0.0
    objects: int = 200

    def __post_init__(self) -> None:
        names: tuple[tuple[str, tuple[str, ...], list[str]], ...] = (
            ("anatomy", self.anatomies, [*sorted(ANATOMIES), SHAPES]),
            ("coil geometry", self.coils, [*COILS]),
            ("simulated model", self.models, [*MODELS]),
            ("trajectory", self.trajectories, [*TRAJECTORIES]),
        )
        for what, given, known in names:
            if not given:
                raise ConfigError(f"simulated data: {what}", "is an empty list", f"name one of {', '.join(known)}")
            for name in given:
                if name not in known:
                    raise unknown_name(what, name, known)
        ranges = {k: getattr(self, k) for k in ("contrasts", "first_te", "last_te", "ti", "n_coils", "snr", "acceleration")}
        least = {"contrasts": 1, "n_coils": 1, "acceleration": 1, "first_te": 0.0}
        for name, (low, high) in ranges.items():
            if not least.get(name, 1e-6) <= low <= high < math.inf:
                bound = f"two numbers from {least.get(name, 1e-6):g} on, the smaller one first"
                raise ConfigError(f"simulated data: {name}", f"is [{low:g}, {high:g}]", f"give {bound}")
        if self.last_te[0] <= self.first_te[1]:
            raise ConfigError(
                "simulated data: last_te",
                f"begins at {self.last_te[0]:g}, first_te ends at {self.first_te[1]:g}",
                "let it begin later",
            )
        for name in ("noise_free", "mixed", "estimated_maps"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"simulated data: {name}", f"is {getattr(self, name):g}", "give a part between 0 and 1")
        if not self.sizes or min(self.sizes) < 16 or self.objects < 1:
            raise ConfigError(
                "simulated data", f"has sizes {list(self.sizes)} and {self.objects} objects", "give sizes from 16 on and an object"
            )

        if {"cartesian", "jittered"} & set(self.trajectories):
            self._check_lines()

    def _check_lines(self) -> None:
        """The largest acceleration leaves lines beside the central ones."""
        size, acceleration = min(self.sizes), self.acceleration[1]
        lines, central = round(size / acceleration), max(1, round(size * central_fraction(size, acceleration)))
        if lines <= central < size:
            raise ConfigError(
                "simulated data",
                f"has the acceleration {acceleration:g} for images of {size} voxels, {lines} lines of which {central} are central",
                "give a smaller acceleration, or larger sizes",
            )

    def draw(self, rng: np.random.Generator, *, size: int, object_seed: int) -> SimulationSettings:
        """One measurement of an object of this size.

        Parameters
        ----------
        rng
            Decides everything else.
        size
            Edge of the image matrix.
        object_seed
            Seed of the object.
        """
        model = rng.choice(self.models)
        times = self.times or (self._echoes(rng) if model == "t2" else self._inversions(rng))
        trajectory = rng.choice(self.trajectories)
        low, high = self.acceleration
        mixed = trajectory in {"cartesian", "jittered"} and rng.random() < self.mixed
        accelerations = tuple(float(a) for a in rng.choice((low, high), len(times))) if mixed else ()
        return SimulationSettings(
            **self._named(str(model), str(trajectory), str(rng.choice(self.coils)), str(rng.choice(self.anatomies))),
            times=times,
            size=size,
            acceleration=_log_uniform(rng, low, high),
            accelerations=accelerations,
            n_coils=int(rng.integers(self.n_coils[0], self.n_coils[1] + 1)),
            snr=math.inf if rng.random() < self.noise_free else _log_uniform(rng, *self.snr),
            seed=object_seed,
        )

    @staticmethod
    def _named(model: str, trajectory: str, coils: str, anatomy: str) -> dict[str, Any]:
        return {"model": model, "trajectory": trajectory, "coils": coils, "anatomy": anatomy}

    def _count(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.contrasts[0], self.contrasts[1] + 1))

    def _echoes(self, rng: np.random.Generator) -> tuple[float, ...]:
        first, last, count = rng.uniform(*self.first_te), rng.uniform(*self.last_te), self._count(rng)
        even = np.linspace(0, 1, count)
        places = even if rng.random() < 0.5 else np.sort(np.r_[0, rng.uniform(0.02, 0.98, max(count - 2, 0)), 1][:count])
        return tuple(float(t) for t in first + (last - first) * places)

    def _inversions(self, rng: np.random.Generator) -> tuple[float, ...]:
        count = self._count(rng)
        low, high = np.log(self.ti)
        places = np.linspace(low, high, count) + rng.uniform(-0.4, 0.4, count) * (high - low) / count
        return tuple(float(t) for t in np.exp(np.clip(places, low, high)))


def vary(phantom: Phantom, rng: np.random.Generator) -> Phantom:
    """The object mirrored or turned by right angles, with tissue values varied by some percent."""
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))

    def turn(array: np.ndarray) -> np.ndarray:
        turned = np.rot90(array, turns, axes=(-2, -1))
        return np.ascontiguousarray(turned[..., ::-1] if mirrored else turned)

    m0, t1, t2 = (
        v * np.exp(_SPREAD * s * rng.standard_normal(len(v))) for v, s in ((phantom.m0, 0.5), (phantom.t1, 1), (phantom.t2, 1))
    )
    return dataclasses.replace(
        phantom,
        fractions=turn(phantom.fractions),
        phase=turn(phantom.phase),
        foreground=turn(phantom.foreground),
        pure=turn(phantom.pure),
        m0=np.minimum(m0, 1.0),
        t1=t1,
        t2=np.minimum(t2, t1),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))
