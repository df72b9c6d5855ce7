"""Examples from fully sampled measurements, undersampled afterwards in another way every time."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex64

from medcore.errors import InputError
from medcore.io.kspace import KSpace
from puq_qmri.networks import NetworkSettings
from puq_qmri.operators import Nufft
from puq_qmri.operators.fft import centred_fft
from puq_qmri.simulation import N_NOISE, complex_noise
from puq_qmri.training.data import Example, Examples, Scan
from puq_qmri.training.settings import MeasuredData
from puq_qmri.training.sources import Source, check_source, list_sources, open_source
from puq_qmri.trajectory import cartesian_mask, jittered_mask, radial

_OPEN = 4
"""Files whose coil images stay in memory."""
_EPS = 1e-5


class MeasuredExamples:
    """Retrospectively undersampled scans; example `i` depends on the files, the seed and `i` alone.

    Samples on a grid are those that were measured. The truth is the fully sampled image, combined with coil maps by ESPIRiT.

    Parameters
    ----------
    files
        Measurements with the edges (y, x) of their images, as :func:`~puq_qmri.training.sources.check_source` tells them.
    settings
        How they are cut and undersampled.
    network
        For whom the scans are made ready.
    count
        Number of examples.
    seed
        Of everything.
    device
        Where the examples lie.
    """

    def __init__(
        self,
        files: dict[Path, tuple[int, int]],
        settings: MeasuredData,
        network: NetworkSettings,
        *,
        count: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.files, self.settings, self.network = files, settings, network
        self.count, self.seed, self.device = count, seed, device
        self._open = lru_cache(maxsize=_OPEN)(lambda path: open_source(path, settings))

    def __len__(self) -> int:
        return self.count

    def _path(self, index: int) -> Path:
        """Files take turns."""
        return list(self.files)[index % len(self.files)]

    def size(self, index: int) -> tuple[int, int]:
        """Edges of the images."""
        height, width = self.files[self._path(index)]
        crop = self.settings.crop or max(height, width)
        return min(crop, height), min(crop, width)

    def scan(self, index: int) -> Scan:
        """The undersampled measurement of example `index`, with its truth."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        source = self._open(self._path(index))
        return undersampled(_cut(source, self.size(index), rng), self.settings, rng)

    def __getitem__(self, index: int) -> Example:
        return Example.of(self.scan(index), self.network, self.device)


def measured_examples(
    settings: MeasuredData, network: NetworkSettings, *, counts: dict[str, int], seed: int, device: str
) -> dict[str, Examples]:
    """Sets of examples by name, each from files of its own; every file is opened and checked first.

    Parameters
    ----------
    settings, network
        See :class:`MeasuredExamples`.
    counts
        Number of examples of the sets ``mean``, ``validation`` and, where a head is trained, ``variance``.
    seed
        Of everything; also of which files validate.
    device
        Where the examples lie.

    Raises
    ------
    InputError
        If a file cannot be used, or there are too few.
    """
    paths = list_sources(settings.folder)
    if len(paths) < len(counts):
        raise InputError(
            settings.folder,
            f"holds {len(paths)} measurements",
            f"give at least {len(counts)}: images, variance head and validation need files of their own",
        )
    files = {path: check_source(path, settings, network) for path in paths}
    order = [paths[i] for i in np.random.default_rng([seed, 0]).permutation(len(paths))]
    small = [name for name in counts if name != "mean"]
    apart = min(max(1, round(settings.held_out * len(paths))), (len(paths) - 1) // len(small))
    parts = {name: order[place * apart : (place + 1) * apart] for place, name in enumerate(small)}
    parts["mean"] = order[len(small) * apart :]
    return {
        name: MeasuredExamples(
            {p: files[p] for p in parts[name]}, settings, network, count=count, seed=seed * len(counts) + place, device=device
        )
        for place, (name, count) in enumerate(counts.items())
    }


def _cut(source: Source, size: tuple[int, int], rng: np.random.Generator) -> Source:
    """A random slice, and of it a random rectangle."""
    z = int(rng.choice(source.slices))
    corner = [int(rng.integers(n - m + 1)) for n, m in zip(source.mask.shape[1:], size, strict=True)]
    rows, columns = (slice(c, c + m) for c, m in zip(corner, size, strict=True))
    place = (..., slice(z, z + 1), rows, columns)
    return dataclasses.replace(
        source,
        coil_images=source.coil_images[place],
        csm=source.csm[place],
        reference=source.reference[place],
        mask=source.mask[place],
    )


def undersampled(source: Source, settings: MeasuredData, rng: np.random.Generator) -> Scan:
    """A slice, measured again with fewer samples.

    Parameters
    ----------
    source
        With one slice.
    settings
        Trajectories, acceleration, noise.
    rng
        Decides everything.

    Raises
    ------
    InputError
        If the acceleration leaves too few samples.
    """
    matrix = (1, *source.mask.shape[1:])
    n_contrasts, n_coils = source.coil_images.shape[:2]
    low, high = settings.acceleration
    acceleration = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    seed = int(rng.integers(2**31))
    kind = str(rng.choice(settings.trajectories))
    coil_images = torch.from_numpy(np.ascontiguousarray(source.coil_images))
    traj = mask = None
    if kind == "radial":
        traj = radial(n_contrasts, max(1, round(np.pi / 2 * max(matrix) / acceleration)), 2 * max(matrix))
        data = Nufft(torch.from_numpy(traj), matrix, n_coils, eps=_EPS)(coil_images).numpy()
    else:
        if kind == "cartesian":
            mask = cartesian_mask(n_contrasts, matrix, acceleration, centre_fraction=settings.centre_fraction, seed=seed)
        else:
            mask = jittered_mask(n_contrasts, matrix, acceleration, seed=seed)
        data = centred_fft(coil_images).numpy() * mask[:, None]
    data, noise = _with_noise(source, data.astype(np.complex64), settings, rng)
    kspace = KSpace(
        data=data if mask is None else data * mask[:, None],
        matrix=matrix,
        fov=(1e-3, 1e-3 * matrix[1], 1e-3 * matrix[2]),
        traj=traj,
        mask=mask,
        times=source.times,
        noise=noise,
        source=f"{source.path.name}, undersampled",
    )
    return Scan(kspace=kspace, csm=source.csm, truth=source.reference, mask=source.mask, model=source.model)


def _with_noise(
    source: Source, data: Complex64[np.ndarray, "..."], settings: MeasuredData, rng: np.random.Generator
) -> tuple[Complex64[np.ndarray, "..."], Complex64[np.ndarray, "coil sample"] | None]:
    """Samples and noise scan with the noise that the settings add."""
    if not settings.snr:
        return data, source.noise
    ratio = float(np.exp(rng.uniform(*np.log(settings.snr))))
    inside = np.abs(source.reference)[:, source.mask]
    # A rectangle may hold no signal at all.
    level = float(inside.mean(axis=1).max() if inside.size else np.abs(source.reference).max()) / ratio
    own = np.zeros((len(source.csm), N_NOISE), np.complex64) if source.noise is None else source.noise
    return data + complex_noise(rng, data.shape, level), own + complex_noise(rng, own.shape, level)
