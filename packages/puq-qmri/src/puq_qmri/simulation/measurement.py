"""A measurement of a digital phantom: contrasts, coils, sampling and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex64
from numpy.typing import NDArray

from medcore.datasets.phantoms import ANATOMIES, Phantom, relaxation_phantom
from medcore.errors import ConfigError
from medcore.io.kspace import KSpace
from medcore.plugins import unknown_name
from puq_qmri.choices import SAMPLINGS, CoilGeometry, Sampling
from puq_qmri.operators import acquisition
from puq_qmri.signal_models import get_model
from puq_qmri.simulation.coils import COILS, coil_maps
from puq_qmri.simulation.shapes import random_shapes
from puq_qmri.trajectory import cartesian_mask, jittered_mask, radial, spiral

DEFAULT_TE = (0.010, 0.025, 0.040, 0.055, 0.070, 0.090, 0.115, 0.150)
DEFAULT_TI = (0.05, 0.15, 0.35, 0.70, 1.20, 2.00, 3.00, 5.00)
MODELS = ("t2", "t1")
TRAJECTORIES = SAMPLINGS
SHAPES = "shapes"
"""Name of the object of random shapes, beside the anatomies of :mod:`medcore.datasets.phantoms`."""
N_NOISE = 4096
"""Samples of the noise scan of each coil."""


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """What is measured, how, and with how much noise.

    Attributes
    ----------
    model
        ``t2`` (spin echoes) or ``t1`` (inversion recovery, perfect inversion).
    times
        Echo or inversion times in seconds; empty for the defaults.
    anatomy
        A phantom of :mod:`medcore.datasets.phantoms`, or ``shapes`` (:func:`~puq_qmri.simulation.random_shapes`).
    size
        Edge of the square image matrix.
    field_strength
        Tesla; chooses tissue values.
    trajectory
        ``cartesian`` (random lines), ``jittered`` (random points of the plane, as two phase-encoded axes allow), ``radial`` (golden
        angle) or ``spiral``.
    acceleration
        Nyquist number of lines or spokes over number measured.
    accelerations
        One for each contrast, instead of `acceleration`; on a grid only.
    n_coils
        Receive coils around the object.
    coils
        Where they are: one of :data:`~puq_qmri.simulation.COILS`.
    snr
        Mean signal of the foreground in the brightest contrast over the noise of one component, in a fully sampled image
        combined with the true coil maps. Infinite: no noise, and no noise scan.
    seed
        Of subject, coils, sampling and noise.
    """

    model: Literal["t2", "t1"] = "t2"
    times: tuple[float, ...] = ()
    anatomy: str = "brain"
    size: int = 128
    field_strength: float = 3.0
    trajectory: Sampling = "cartesian"
    acceleration: float = 4.0
    accelerations: tuple[float, ...] = ()
    n_coils: int = 8
    coils: CoilGeometry = "birdcage"
    snr: float = 50.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise unknown_name("simulated model", self.model, list(MODELS))
        if self.trajectory not in TRAJECTORIES:
            raise unknown_name("trajectory", self.trajectory, list(TRAJECTORIES))
        if not all(0 <= t < math.inf for t in self.times):
            raise ConfigError("times of the simulation", f"are {list(self.times)}", "give finite seconds, not negative")
        if self.size < 16 or self.n_coils < 1 or not self.snr > 0 or not self.acceleration >= 1:
            raise ConfigError(
                "simulation",
                f"has size {self.size}, {self.n_coils} coils, snr {self.snr:g}, acceleration {self.acceleration:g}",
                "give a size of at least 16, a coil, a positive snr and an acceleration of at least 1",
            )
        if self.coils not in COILS:
            raise unknown_name("coil geometry", self.coils, list(COILS))
        if self.accelerations:
            self._check_accelerations()

    def _check_accelerations(self) -> None:
        what, given = "accelerations of the contrasts", list(self.accelerations)
        if self.trajectory not in {"cartesian", "jittered"}:
            raise ConfigError(what, f"are {given} for {self.trajectory} sampling", "give one acceleration for all contrasts")
        if len(given) != len(self.measured_times) or not all(1 <= a < math.inf for a in given):
            raise ConfigError(
                what, f"are {given} for {len(self.measured_times)} contrasts", "give one of at least 1 for each contrast"
            )

    @property
    def times_key(self) -> str:
        """``te`` or ``ti``."""
        return "te" if self.model == "t2" else "ti"

    @property
    def measured_times(self) -> tuple[float, ...]:
        """The times, in seconds."""
        return self.times or (DEFAULT_TE if self.model == "t2" else DEFAULT_TI)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the measurement should lead to.

    Attributes
    ----------
    maps
        float32 (z, y, x) by parameter name (``m0``, ``t1`` or ``t2``), NaN in the background.
    images
        complex64 (contrast, z, y, x), noise-free and fully sampled.
    pure
        bool (z, y, x): voxels of one tissue, where the truth is a single exponential.
    """

    maps: dict[str, NDArray[np.float32]]
    images: NDArray[np.complex64]
    pure: NDArray[np.bool_]


def simulate(settings: SimulationSettings) -> tuple[KSpace, Truth]:
    """A noisy, undersampled measurement of a phantom, and its truth."""
    csm = coil_maps(settings.coils, settings.n_coils, settings.size, seed=settings.seed)
    return measure(draw_object(settings), csm, settings)


def draw_object(settings: SimulationSettings) -> Phantom:
    """The object that is measured.

    Raises
    ------
    ConfigError
        If the anatomy is unknown.
    """
    if settings.anatomy == SHAPES:
        return random_shapes(settings.size, seed=settings.seed)
    if settings.anatomy not in ANATOMIES:
        raise unknown_name("anatomy", settings.anatomy, sorted([*ANATOMIES, SHAPES]))
    return relaxation_phantom(
        settings.anatomy, shape=(1, settings.size, settings.size), field_strength=settings.field_strength, seed=settings.seed
    )


def measure(
    phantom: Phantom, csm: Complex64[np.ndarray, "coil 1 y x"], settings: SimulationSettings, *, seed: int | None = None
) -> tuple[KSpace, Truth]:
    """Measure an object; :func:`simulate` with an object and coils at hand.

    Parameters
    ----------
    phantom
        What is measured.
    csm
        Coil maps.
    settings
        Contrasts, sampling and noise; what they say about object and coils is not used.
    seed
        Of sampling and noise, by default that of the settings.

    Raises
    ------
    InputError
        If the coil maps do not fit the object, or an acceleration leaves too few samples.
    """
    seed = settings.seed if seed is None else seed
    times = np.asarray(settings.measured_times, np.float64)
    images = contrast_images(phantom, "t2" if settings.model == "t2" else "ir2", times)
    traj, mask = _sampling(settings, len(times), images.shape[-1], seed)
    sampled = KSpace(
        data=np.zeros((len(times), len(csm), *(traj.shape[1:3] if traj is not None else images.shape[1:])), np.complex64),
        matrix=images.shape[1:],
        fov=(0.005, 0.22, 0.22),
        traj=traj,
        mask=mask,
        times={settings.times_key: times},
    )
    data = acquisition(sampled, csm)(torch.from_numpy(images)).numpy()
    noise = None
    if settings.snr < math.inf:
        level = _mean_signal(images, phantom) / settings.snr
        generator = np.random.default_rng([seed, 1])
        data = data + complex_noise(generator, data.shape, level) * (1 if mask is None else mask[:, None])
        noise = complex_noise(generator, (len(csm), N_NOISE), level)
    kspace = KSpace(
        data=data.astype(np.complex64),
        matrix=sampled.matrix,
        fov=sampled.fov,
        traj=traj,
        mask=mask,
        times=sampled.times,
        noise=noise,
        field_strength=phantom.field_strength,
        meta=_facts(phantom, settings, seed),
        source=f"simulated {phantom.anatomy}",
    )
    own = "t2" if settings.model == "t2" else "t1"
    maps = {"m0": phantom.m0_map, own: getattr(phantom, f"{own}_map")}
    return kspace, Truth(maps=maps, images=images, pure=phantom.pure & phantom.foreground)


def _facts(phantom: Phantom, settings: SimulationSettings, seed: int) -> dict[str, object]:
    acceleration: object = list(settings.accelerations) or settings.acceleration
    facts = {"phantom": phantom.anatomy, "acceleration": acceleration, "coils": settings.coils, "seed": seed}
    return facts if settings.snr == math.inf else {**facts, "snr": settings.snr}


def contrast_images(phantom: Phantom, model: str, times: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Noise-free images (contrast, z, y, x): tissue signals mixed by their fractions, with the phantom's smooth phase."""
    chosen = get_model(model)
    second = phantom.t2 if chosen.times_key == "te" else phantom.t1
    parameters = torch.as_tensor(np.stack([phantom.m0, second], axis=-1), dtype=torch.float64)
    signals = chosen.signal(parameters, torch.as_tensor(times)).numpy()
    return (phantom.mix(signals) * np.exp(1j * phantom.phase)).astype(np.complex64)


def _mean_signal(images: NDArray[np.complex64], phantom: Phantom) -> float:
    magnitude = np.abs(images)[:, phantom.foreground]
    return float(magnitude.mean(axis=1).max())


def complex_noise(generator: np.random.Generator, shape: tuple[int, ...], level: float) -> NDArray[np.complex64]:
    """White noise whose real and imaginary part have the deviation `level`."""
    parts = generator.standard_normal((2, *shape))
    noise: NDArray[np.complex64] = (level * (parts[0] + 1j * parts[1])).astype(np.complex64)
    return noise


def _sampling(
    settings: SimulationSettings, n_contrasts: int, size: int, seed: int
) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_] | None]:
    """Trajectory or mask of the sampling asked for."""
    if settings.trajectory in {"cartesian", "jittered"}:
        return None, _mask(settings, n_contrasts, size, seed)
    if settings.trajectory == "radial":
        spokes = max(1, round(np.pi / 2 * size / settings.acceleration))
        return radial(n_contrasts, spokes, 2 * size), None
    arms = 16
    full_turns = size / (2 * arms)
    measured = max(1, round(arms / settings.acceleration))
    return spiral(n_contrasts, measured, round(4 * size * size / arms), n_turns=full_turns), None


def _mask(settings: SimulationSettings, n_contrasts: int, size: int, seed: int) -> NDArray[np.bool_] | None:
    matrix = (1, size, size)
    draw = _lines if settings.trajectory == "cartesian" else _points
    if not settings.accelerations:
        return None if settings.acceleration == 1 else draw(n_contrasts, matrix, settings.acceleration, seed)
    # Seeds of their own, or contrasts of one acceleration would get the same mask.
    seeds = np.random.default_rng([seed, 6]).integers(2**31, size=n_contrasts)
    return np.concatenate([draw(1, matrix, a, int(s)) for a, s in zip(settings.accelerations, seeds, strict=True)])


def _lines(n_contrasts: int, matrix: tuple[int, int, int], acceleration: float, seed: int) -> NDArray[np.bool_]:
    centre = central_fraction(matrix[1], acceleration)
    return cartesian_mask(n_contrasts, matrix, acceleration, centre_fraction=centre, seed=seed)


def central_fraction(size: int, acceleration: float) -> float:
    """Part of the lines around the centre that a simulation always measures.

    At least 8 %, and of a small matrix as many lines as coil maps need, as far as the acceleration leaves them.
    """
    return max(0.08, min(8, max(4, round(size / acceleration) // 2)) / size)


def _points(n_contrasts: int, matrix: tuple[int, int, int], acceleration: float, seed: int) -> NDArray[np.bool_]:
    return jittered_mask(n_contrasts, matrix, acceleration, seed=seed)
