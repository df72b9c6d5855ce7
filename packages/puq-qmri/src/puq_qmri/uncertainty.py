r"""Uncertainty of reconstructed images, for each contrast and voxel, and the pseudo-replica method.

Pseudo-replica (Robson et al. 2008, doi 10.1002/mrm.21728): the reconstruction is repeated on data with fresh noise of the
measured level; the spread of its results is the noise of the images. It works with every reconstruction. For those that are
linear in the data, the noise alone can be reconstructed, which is cheaper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Complex64, Float32
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import InputError, NumericalError
from medcore.io.kspace import KSpace


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Images with the variance of their real and imaginary part.

    Attributes
    ----------
    mean
        complex64 (contrast, z, y, x).
    aleatoric
        float32, same shape: variance by measurement noise of one component (real or imaginary). Infinite where nothing was
        measured: for a contrast without samples, and in voxels that no coil sees.
    epistemic
        float32, same shape: variance by ignorance of the model; zero where no method estimates it.
    """

    mean: Complex64[Tensor, "contrast z y x"]
    aleatoric: Float32[Tensor, "contrast z y x"]
    epistemic: Float32[Tensor, "contrast z y x"]

    @property
    def variance(self) -> Float32[Tensor, "contrast z y x"]:
        """Variance of one component, both kinds together."""
        return self.aleatoric + self.epistemic

    @property
    def std(self) -> Float32[Tensor, "contrast z y x"]:
        """Standard deviation of one component, both kinds together."""
        return self.variance.sqrt()


def whiten(kspace: KSpace) -> KSpace:
    """The measurement with noise of equal level in all coils and none shared between them.

    The noise scan gives the covariance between coils; its Cholesky factor is divided out of samples, noise and coil maps
    (Pruessmann et al. 2001, doi 10.1002/mrm.1241), and the mean noise level is kept. Without a noise scan the measurement comes
    back unchanged.

    Raises
    ------
    InputError
        If the noise scan has fewer samples than coils.
    NumericalError
        If the noise covariance is singular (a dead or doubled coil).
    """
    if kspace.noise is None:
        return kspace
    noise = kspace.noise.astype(np.complex128)
    if noise.shape[1] < len(noise):
        raise InputError(
            kspace.source, f"has {noise.shape[1]} noise samples of {len(noise)} coils", "give a longer noise scan, or none"
        )
    covariance = noise @ noise.conj().T / noise.shape[1]
    values = np.linalg.eigvalsh(covariance)
    if not values[0] > 1e-10 * values[-1]:
        raise NumericalError(kspace.source, "has a singular noise covariance between coils", "leave out dead or doubled coils")
    level = float(np.sqrt(np.trace(covariance).real / len(covariance)))
    inverse = np.linalg.inv(np.linalg.cholesky(covariance)) * level

    def apply(array: NDArray[Any], axis: int) -> NDArray[np.complex64]:
        return np.moveaxis(np.tensordot(inverse, array, axes=(1, axis)), 0, axis).astype(np.complex64)

    csm = None if kspace.csm is None else apply(kspace.csm, 0)
    return dataclasses.replace(kspace, data=apply(kspace.data, 1), noise=apply(kspace.noise, 0), csm=csm)


def noise_level(kspace: KSpace) -> float:
    """Standard deviation of one component (real or imaginary) of the noise in a sample.

    From the noise scan if there is one. Otherwise from the twentieth of the samples that is farthest from the centre of k-space,
    by the median absolute deviation; signal there makes it an upper bound. Samples that are zero in every coil count as not
    measured.

    Raises
    ------
    NumericalError
        If it comes out as zero: the data are noise-free or empty.
    """
    if kspace.noise is not None:
        level = float(np.sqrt(np.mean(np.abs(kspace.noise.astype(np.complex128)) ** 2) / 2))
    else:
        outer = _outer_samples(kspace)
        level = float(np.median(np.abs(np.stack([outer.real, outer.imag]))) / 0.6745) if outer.size else 0.0
    if level <= 0:
        raise NumericalError(kspace.source, "has no measurable noise", "choose --uncertainty none")
    return level


def noise_level_or_zero(kspace: KSpace) -> float:
    """:func:`noise_level`, and 0 for data without measurable noise."""
    try:
        return noise_level(kspace)
    except NumericalError:
        return 0.0


def sampled_fractions(kspace: KSpace) -> Float32[Tensor, " contrast"]:
    """Part of the points of the Cartesian grid that each contrast measured.

    With a trajectory, grid points count that are the nearest one of a sample; a fully sampled disc has pi / 4. A contrast whose
    samples are all zero has none.
    """
    if kspace.mask is not None:
        found = kspace.mask.reshape(kspace.n_contrasts, -1).mean(axis=1)
    elif kspace.traj is None:
        found = np.ones(kspace.n_contrasts)
    else:
        size = np.asarray(kspace.matrix[-kspace.traj.shape[-1] :])
        nearest = np.rint(kspace.traj * (size / (2 * np.pi))).astype(np.int64) % size
        numbers = np.ravel_multi_index(tuple(np.moveaxis(nearest, -1, 0)), tuple(size)).reshape(kspace.n_contrasts, -1)
        found = np.array([len(np.unique(n)) for n in numbers]) / size.prod()
    empty = ~np.any(kspace.data.reshape(kspace.n_contrasts, -1), axis=1)
    return torch.from_numpy(np.where(empty, 0, found).astype(np.float32))


def _outer_samples(kspace: KSpace) -> Complex64[np.ndarray, " sample"]:
    if kspace.traj is not None:
        distance = np.linalg.norm(kspace.traj, axis=-1)
    else:
        axes = [np.abs(np.arange(n) - n // 2) / max(n, 2) for n in kspace.matrix]
        grid = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
        distance = np.broadcast_to(grid, (kspace.n_contrasts, *kspace.matrix))
    measured = np.any(kspace.data, axis=1)
    far = measured & (distance >= np.quantile(distance[measured], 0.95)) if measured.any() else measured
    return np.asarray(np.moveaxis(kspace.data, 1, -1)[far].ravel())


def component_errors(
    images: Complex64[Tensor, "contrast z y x"], truth: Complex64[Tensor, "contrast z y x"], *, real_images: bool = False
) -> Float32[Tensor, "contrast part z y x"]:
    """Errors of single components: real and imaginary part, or the one part of images that are real but for a phase.

    That part lies along the phase of the image (where it is zero: of the truth); an error of the phase itself does not count, as
    the fit of such images does not see it.

    Parameters
    ----------
    images, truth
        Reconstructed and true images.
    real_images
        Whether the images are real but for a phase.
    """
    error = images - truth
    if not real_images:
        return torch.stack([error.real, error.imag], dim=1)
    # The sign is zero where image and truth are, and so is the error.
    return (error * torch.where(images != 0, images, truth).sgn().conj()).real[:, None]


def contrast_correlation(
    errors: Iterable[Tensor], *, std: Float32[Tensor, "contrast z y x"] | None = None, mask: Bool[Tensor, "z y x"] | None = None
) -> Float32[Tensor, "contrast contrast"]:
    r"""Correlation of the errors of images between contrasts, one matrix for all voxels.

    With errors over deviations :math:`z`, it is :math:`\mathrm{Re} \sum z_i \bar z_j / \sqrt{\sum |z_i|^2 \sum |z_j|^2}` over voxels and
    samples: about zero mean, so that a bias shared by contrasts counts as correlation.

    Parameters
    ----------
    errors
        Samples, each complex or real (contrast, z, y, x): deviations of pseudo-replicas or Monte-Carlo passes from their mean, or errors
        of held-out images; taken one by one.
    std
        Deviation of one component, by which errors are divided, so that voxels of large variance do not decide alone. A contrast
        does not count where it is infinite or zero.
    mask
        Voxels that count.

    Returns
    -------
    Tensor
        Positive semi-definite, 1 on the diagonal; zero beside it for a contrast without errors.

    Raises
    ------
    InputError
        If there are no samples.
    """
    total: Tensor | None = None
    for sample in errors:
        values = sample.to(torch.complex128 if sample.is_complex() else torch.float64)
        if std is not None:
            values = torch.where(std.isfinite() & (std > 0), values / std, 0)
        flat = values.flatten(1) if mask is None else values[:, mask]
        products = (flat @ flat.mH).real
        total = products if total is None else total + products
    if total is None:
        raise InputError("correlation between contrasts", "has no errors to learn from", "give at least one sample")
    size = total.diagonal().sqrt()
    found = total / torch.where(size > 0, size, 1.0).outer(torch.where(size > 0, size, 1.0))
    return found.fill_diagonal_(1.0).float()


def pseudo_replica(
    kspace: KSpace,
    reconstruct: Callable[[KSpace], Complex64[Tensor, "contrast z y x"]],
    *,
    response: Callable[[NDArray[np.complex64]], Complex64[Tensor, "contrast z y x"]] | None = None,
    n_replicas: int = 32,
    real_images: bool = False,
    level: float | None = None,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Prediction:
    """Images and their noise variance by repeating a reconstruction.

    The variance given is that of one component, ``E|d|^2 / 2`` of the deviations ``d`` from the image without added noise: for
    reconstructions that are linear in the complex data, noise is circular and both components have it. Where the images are real but
    for a phase, all of it lies along that phase: ``E|d|^2``.

    Parameters
    ----------
    kspace
        The measurement, noise already white between coils (:func:`whiten`).
    reconstruct
        From a measurement to images.
    response
        From noise in the samples, complex64 shaped like ``kspace.data``, to the change of the images, for a reconstruction that
        is linear: :meth:`puq_qmri.reconstruction.Reconstructor.response`.
    real_images
        Whether the reconstruction gives images that are real but for a phase.
    n_replicas
        Repetitions; the relative error of a variance is about ``n_replicas ** -0.5``.
    level
        Noise of one component of a sample; by default :func:`noise_level`.
    seed
        Of the noise.
    progress
        Wraps the range of repetitions, for a progress bar.

    Raises
    ------
    InputError
        If there are fewer than two replicas, or the level is not positive.
    NumericalError
        If no level is given and none can be measured.
    """
    if n_replicas < 2:
        raise InputError("number of replicas", f"is {n_replicas}", "give at least 2")
    sigma = noise_level(kspace) if level is None else level
    if not 0 < sigma < np.inf:
        raise InputError("noise level", f"is {sigma:g}", "give a positive number")
    generator = np.random.default_rng(seed)
    mean = reconstruct(kspace)
    total = torch.zeros(mean.shape, dtype=torch.float64)
    sampled = None if kspace.mask is None else kspace.mask[:, None]
    for _ in progress(range(n_replicas)):
        noise = _noise(generator, kspace.data.shape, sigma)
        if sampled is not None:
            noise *= sampled
        deviation = response(noise) if response else reconstruct(dataclasses.replace(kspace, data=kspace.data + noise)) - mean
        total += deviation.abs().double().cpu() ** 2
    variance = (total / ((1 if real_images else 2) * n_replicas)).float()
    empty = torch.from_numpy(~np.any(kspace.data.reshape(kspace.n_contrasts, -1), axis=1))
    variance[empty] = torch.inf
    # Noise moves every voxel that a coil sees.
    variance[total == 0] = torch.inf
    variance = variance.to(mean.device)
    return Prediction(mean=mean, aleatoric=variance, epistemic=torch.zeros_like(variance))


def _noise(generator: np.random.Generator, shape: tuple[int, ...], sigma: float) -> NDArray[np.complex64]:
    """Circular complex normal samples."""
    parts = generator.standard_normal((*shape, 2), dtype=np.float32)
    parts *= np.float32(sigma)
    return parts.view(np.complex64)[..., 0]
