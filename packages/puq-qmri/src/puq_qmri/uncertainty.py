r"""Uncertainty of reconstructed images, for each contrast and voxel, and the pseudo-replica method.

Pseudo-replica (Robson et al. 2008, doi 10.1002/mrm.21728): the reconstruction is repeated on data with fresh noise of the
measured level; the spread of its results is the noise of the images. It works with every reconstruction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex64, Float32
from medcore.errors import InputError, NumericalError
from medcore.io.kspace import KSpace
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Images with the variance of their real and imaginary part.

    Attributes
    ----------
    mean
        complex64 (contrast, z, y, x).
    aleatoric
        float32, same shape: variance by measurement noise of one component (real or imaginary). Infinite where a contrast could
        not be reconstructed.
    epistemic
        float32, same shape: variance by ignorance of the model; zero where no method estimates it.
    """

    mean: Complex64[Tensor, "contrast z y x"]
    aleatoric: Float32[Tensor, "contrast z y x"]
    epistemic: Float32[Tensor, "contrast z y x"]

    @property
    def std(self) -> Float32[Tensor, "contrast z y x"]:
        """Standard deviation of one component, both kinds together."""
        return (self.aleatoric + self.epistemic).sqrt()


def whiten(kspace: KSpace) -> KSpace:
    """The measurement with noise of equal level in all coils and none shared between them.

    The noise scan gives the covariance between coils; its Cholesky factor is divided out of samples and noise (Pruessmann et al.
    2001, doi 10.1002/mrm.1241), and the mean noise level is kept. Without a noise scan the measurement comes back unchanged.

    Raises
    ------
    NumericalError
        If the noise covariance is singular (a dead or doubled coil).
    """
    if kspace.noise is None or kspace.csm is not None:
        return kspace
    covariance = kspace.noise @ kspace.noise.conj().T / kspace.noise.shape[1]
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise NumericalError(kspace.source, "has a singular noise covariance between coils", "leave out dead or doubled coils") from error
    level = float(np.sqrt(np.trace(covariance).real / len(covariance)))
    inverse = (np.linalg.inv(factor) * level).astype(np.complex64)
    data = np.einsum("cd,pd...->pc...", inverse, kspace.data).astype(np.complex64)
    return dataclasses.replace(kspace, data=data, noise=inverse @ kspace.noise)


def noise_level(kspace: KSpace) -> float:
    """Standard deviation of one component (real or imaginary) of the noise in a sample.

    From the noise scan if there is one. Otherwise from the twentieth of the samples that is farthest from the centre of k-space,
    by the median absolute deviation; signal there makes it an upper bound.

    Raises
    ------
    NumericalError
        If it comes out as zero: the data are noise-free or empty.
    """
    if kspace.noise is not None:
        level = float(np.sqrt(np.mean(np.abs(kspace.noise) ** 2) / 2))
    else:
        outer = _outer_samples(kspace)
        level = float(np.median(np.abs(np.stack([outer.real, outer.imag]))) / 0.6745)
    if level <= 0:
        raise NumericalError(kspace.source, "has no measurable noise", "choose --uncertainty none")
    return level


def _outer_samples(kspace: KSpace) -> NDArray[np.complex64]:
    if kspace.traj is not None:
        distance = np.linalg.norm(kspace.traj, axis=-1)
        far = distance >= np.quantile(distance, 0.95)
        return kspace.data[np.broadcast_to(far[:, None], kspace.data.shape)]
    axes = [np.abs(np.arange(n) - n // 2) / max(n, 2) for n in kspace.matrix]
    distance = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    sampled = np.ones((kspace.n_contrasts, *kspace.matrix), bool) if kspace.mask is None else kspace.mask
    far = sampled & (distance >= np.quantile(distance[sampled.any(axis=0)], 0.95))
    return kspace.data[np.broadcast_to(far[:, None], kspace.data.shape)]


def pseudo_replica(
    kspace: KSpace,
    reconstruct: Callable[[KSpace], Complex64[Tensor, "contrast z y x"]],
    *,
    n_replicas: int = 32,
    level: float | None = None,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Prediction:
    """Images and their noise variance by repeating a reconstruction.

    The variance given is that of one component, ``E|d|^2 / 2`` of the deviations ``d`` from the noise-free-added image: for
    reconstructions that are linear in the complex data, noise is circular and both components have it.

    Parameters
    ----------
    kspace
        The measurement, noise already white between coils (:func:`whiten`).
    reconstruct
        From a measurement to images.
    n_replicas
        Repetitions; the relative error of a variance is about ``n_replicas ** -0.5``.
    level
        Noise of one component of a sample; by default :func:`noise_level`.
    seed
        Of the noise.
    progress
        Wraps the range of repetitions, for a progress bar.
    """
    if n_replicas < 2:
        raise InputError("number of replicas", f"is {n_replicas}", "give at least 2")
    sigma = noise_level(kspace) if level is None else level
    generator = np.random.default_rng(seed)
    mean = reconstruct(kspace)
    total = torch.zeros(mean.shape, dtype=torch.float64)
    sampled = 1.0 if kspace.mask is None else kspace.mask[:, None]
    for _ in progress(range(n_replicas)):
        parts = generator.standard_normal((2, *kspace.data.shape), dtype=np.float32)
        noise = (sigma * (parts[0] + 1j * parts[1]) * sampled).astype(np.complex64)
        replica = reconstruct(dataclasses.replace(kspace, data=kspace.data + noise))
        total += (replica - mean).abs().double().cpu() ** 2
    variance = (total / (2 * n_replicas)).float().to(mean.device)
    empty = torch.as_tensor(~np.any(kspace.data.reshape(kspace.n_contrasts, -1), axis=1), device=mean.device)
    variance[empty] = torch.inf
    return Prediction(mean=mean, aleatoric=variance, epistemic=torch.zeros_like(variance))
