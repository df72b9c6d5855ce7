"""Measurements with known truth: a digital phantom, coils, sampling and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medcore.datasets.phantoms import Phantom, relaxation_phantom
from medcore.errors import ConfigError
from medcore.io.kspace import KSpace
from medcore.plugins import unknown_name
from puq_qmri.operators import acquisition
from puq_qmri.signal_models import get_model
from puq_qmri.trajectory import cartesian_mask, radial, spiral

DEFAULT_TE = (0.010, 0.025, 0.040, 0.055, 0.070, 0.090, 0.115, 0.150)
DEFAULT_TI = (0.05, 0.15, 0.35, 0.70, 1.20, 2.00, 3.00, 5.00)
MODELS = ("t2", "t1")
TRAJECTORIES = ("cartesian", "radial", "spiral")
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
        A phantom of :mod:`medcore.datasets.phantoms`.
    size
        Edge of the square image matrix.
    field_strength
        Tesla; chooses tissue values.
    trajectory
        ``cartesian`` (random lines), ``radial`` (golden angle) or ``spiral``.
    acceleration
        Nyquist number of lines or spokes over number measured.
    n_coils
        Receive coils around the object.
    snr
        Mean signal of the foreground in the brightest contrast over the noise of one component, in a fully sampled image
        combined with the true coil maps.
    seed
        Of subject, sampling and noise.
    """

    model: Literal["t2", "t1"] = "t2"
    times: tuple[float, ...] = ()
    anatomy: str = "brain"
    size: int = 128
    field_strength: float = 3.0
    trajectory: Literal["cartesian", "radial", "spiral"] = "cartesian"
    acceleration: float = 4.0
    n_coils: int = 8
    snr: float = 50.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise unknown_name("simulated model", self.model, list(MODELS))
        if self.trajectory not in TRAJECTORIES:
            raise unknown_name("trajectory", self.trajectory, list(TRAJECTORIES))
        if not all(0 <= t < math.inf for t in self.times):
            raise ConfigError("times of the simulation", f"are {list(self.times)}", "give finite seconds, not negative")
        if self.size < 16 or self.n_coils < 1 or not 0 < self.snr < math.inf or not self.acceleration >= 1:
            raise ConfigError(
                "simulation",
                f"has size {self.size}, {self.n_coils} coils, snr {self.snr:g}, acceleration {self.acceleration:g}",
                "give a size of at least 16, a coil, a positive snr and an acceleration of at least 1",
            )


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
    phantom = relaxation_phantom(
        settings.anatomy, shape=(1, settings.size, settings.size), field_strength=settings.field_strength, seed=settings.seed
    )
    name, key = ("t2", "te") if settings.model == "t2" else ("ir2", "ti")
    times = np.asarray(settings.times or (DEFAULT_TE if key == "te" else DEFAULT_TI), np.float64)
    images = contrast_images(phantom, name, times)
    csm = birdcage(settings.n_coils, settings.size)
    traj, mask = _sampling(settings, len(times))
    sampled = KSpace(
        data=np.zeros((len(times), settings.n_coils, *(traj.shape[1:3] if traj is not None else images.shape[1:])), np.complex64),
        matrix=images.shape[1:],
        fov=(0.005, 0.22, 0.22),
        traj=traj,
        mask=mask,
        times={key: times},
    )
    clean = acquisition(sampled, csm)(torch.from_numpy(images)).numpy()
    level = _mean_signal(images, phantom) / settings.snr
    generator = np.random.default_rng([settings.seed, 1])
    data = clean + _noise(generator, clean.shape, level) * (1 if mask is None else mask[:, None])
    kspace = KSpace(
        data=data.astype(np.complex64),
        matrix=sampled.matrix,
        fov=sampled.fov,
        traj=traj,
        mask=mask,
        times=sampled.times,
        noise=_noise(generator, (settings.n_coils, N_NOISE), level),
        field_strength=settings.field_strength,
        meta={"phantom": settings.anatomy, "acceleration": settings.acceleration, "snr": settings.snr, "seed": settings.seed},
        source=f"simulated {settings.anatomy}",
    )
    own = "t2" if settings.model == "t2" else "t1"
    maps = {"m0": phantom.m0_map, own: getattr(phantom, f"{own}_map")}
    return kspace, Truth(maps=maps, images=images, pure=phantom.pure & phantom.foreground)


def contrast_images(phantom: Phantom, model: str, times: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Noise-free images (contrast, z, y, x): tissue signals mixed by their fractions, with the phantom's smooth phase."""
    chosen = get_model(model)
    second = phantom.t2 if chosen.times_key == "te" else phantom.t1
    parameters = torch.as_tensor(np.stack([phantom.m0, second], axis=-1), dtype=torch.float64)
    signals = chosen.signal(parameters, torch.as_tensor(times)).numpy()
    return (phantom.mix(signals) * np.exp(1j * phantom.phase)).astype(np.complex64)


def birdcage(n_coils: int, size: int) -> NDArray[np.complex64]:
    """Smooth maps of coils around the object (coil, 1, y, x), unit root sum of squares."""
    import sigpy.mri

    maps: NDArray[np.complex64] = sigpy.mri.birdcage_maps((n_coils, size, size)).astype(np.complex64)
    maps /= np.sqrt((np.abs(maps) ** 2).sum(axis=0, keepdims=True))
    return maps[:, None]


def _mean_signal(images: NDArray[np.complex64], phantom: Phantom) -> float:
    magnitude = np.abs(images)[:, phantom.foreground]
    return float(magnitude.mean(axis=1).max())


def _noise(generator: np.random.Generator, shape: tuple[int, ...], level: float) -> NDArray[np.complex64]:
    parts = generator.standard_normal((2, *shape))
    noise: NDArray[np.complex64] = (level * (parts[0] + 1j * parts[1])).astype(np.complex64)
    return noise


def _sampling(settings: SimulationSettings, n_contrasts: int) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_] | None]:
    """Trajectory or mask of the sampling asked for."""
    size = settings.size
    if settings.trajectory == "cartesian":
        if settings.acceleration == 1:
            return None, None
        # Coil maps need some central lines, also of a small matrix.
        centre = max(0.08, min(8, max(4, round(size / settings.acceleration) // 2)) / size)
        return None, cartesian_mask(n_contrasts, (1, size, size), settings.acceleration, centre_fraction=centre, seed=settings.seed)
    if settings.trajectory == "radial":
        spokes = max(1, round(np.pi / 2 * size / settings.acceleration))
        return radial(n_contrasts, spokes, 2 * size), None
    arms = 16
    full_turns = size / (2 * arms)
    measured = max(1, round(arms / settings.acceleration))
    return spiral(n_contrasts, measured, round(4 * size * size / arms), n_turns=full_turns), None
