"""Images from k-space without training: the adjoint, and CG-SENSE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex64, Float, Int
from medcore.errors import ConfigError
from medcore.io.kspace import KSpace
from medcore.plugins import unknown_name
from numpy.typing import NDArray
from torch import Tensor

from puq_qmri.csm import espirit
from puq_qmri.dcf import pipe_menon
from puq_qmri.operators import LinearOperator, Mask, acquisition
from puq_qmri.operators.nufft import Backend

Method = Literal["adjoint", "cg-sense"]
METHODS: dict[str, str] = {
    "adjoint": "density-compensated adjoint, coils combined; no iteration",
    "cg-sense": "least squares by conjugate gradients with coil maps (Pruessmann et al. 2001)",
}


@dataclass(frozen=True, kw_only=True)
class ReconstructionSettings:
    """How images are made from k-space.

    Attributes
    ----------
    method
        ``adjoint`` or ``cg-sense``.
    max_iterations
        Most conjugate-gradient steps.
    tolerance
        A contrast is done when its residual has fallen to this part of the start.
    regularisation
        Tikhonov weight relative to the operator's scale of 1.
    backend
        Non-uniform Fourier transform: ``auto``, ``finufft`` or ``torchkbnufft``.
    """

    method: Method = "cg-sense"
    max_iterations: int = 40
    tolerance: float = 1e-3
    regularisation: float = 0.0
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown_name("reconstruction method", self.method, list(METHODS))
        if self.max_iterations < 1 or not 0 < self.tolerance < 1 or self.regularisation < 0:
            raise ConfigError(
                "reconstruction settings",
                f"are max_iterations={self.max_iterations}, tolerance={self.tolerance}, regularisation={self.regularisation}",
                "give at least one iteration, a tolerance between 0 and 1, and a regularisation of 0 or more",
            )


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Images and how they were reached.

    Attributes
    ----------
    images
        complex64 (contrast, z, y, x); zero for a contrast without signal.
    iterations, residuals
        Steps taken and relative residual reached, by contrast.
    """

    images: Complex64[Tensor, "contrast z y x"]
    iterations: Int[Tensor, " contrast"]
    residuals: Float[Tensor, " contrast"]


@dataclass(kw_only=True)
class Reconstructor:
    """A reconstruction prepared once (coil maps, density) and applied to many data sets of the same sampling.

    Parameters
    ----------
    kspace
        The measurement whose sampling is used.
    settings
        See :class:`ReconstructionSettings`.
    csm
        Coil maps complex64 (coil, z, y, x); estimated by ESPIRiT if not given.
    device
        Where to compute.
    """

    kspace: KSpace
    settings: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    csm: NDArray[np.complex64] | None = None
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        self.csm = espirit(self.kspace) if self.csm is None else self.csm
        self.operator = acquisition(self.kspace, self.csm, backend=self.settings.backend, device=self.device)
        self.density = Mask(self._density(), self.operator.codomain)

    def _density(self) -> Tensor:
        if self.kspace.traj is None:
            return torch.ones(1, device=self.device)
        return torch.as_tensor(pipe_menon(self.kspace.traj, self.kspace.matrix), device=self.device)[:, None]

    def __call__(self, kspace: KSpace) -> Reconstruction:
        """Reconstruct a measurement with this sampling."""
        data = torch.as_tensor(kspace.data, device=self.device)
        start = self.operator.adjoint(self.density(data))
        if self.settings.method == "adjoint":
            zeros = torch.zeros(len(start), device=self.device)
            return Reconstruction(images=start, iterations=zeros.long(), residuals=zeros)
        return conjugate_gradients(self._normal(), start, self.settings)

    def _normal(self) -> Callable[[Tensor], Tensor]:
        weighted = self.operator.H @ self.density @ self.operator if self.kspace.traj is not None else self.operator.gram
        shift = self.settings.regularisation
        return (lambda x: weighted(x) + shift * x) if shift else weighted

    def images(self, kspace: KSpace) -> Complex64[Tensor, "contrast z y x"]:
        """Only the images, for :func:`puq_qmri.uncertainty.pseudo_replica`."""
        return self(kspace).images


def conjugate_gradients(
    normal: Callable[[Tensor], Tensor] | LinearOperator, right: Complex64[Tensor, "contrast z y x"], settings: ReconstructionSettings
) -> Reconstruction:
    """Solve ``normal(x) = right`` for every contrast at once; the contrasts are independent and stop on their own.

    Hestenes and Stiefel 1952, doi 10.6028/jres.049.044.
    """
    image, residual, direction = torch.zeros_like(right), right.clone(), right.clone()
    energy = _energy(residual)
    target, start = energy * settings.tolerance**2, energy.clone()
    iterations = torch.zeros(len(right), dtype=torch.int64, device=right.device)
    for _ in range(settings.max_iterations):
        active = energy > target
        if not active.any():
            break
        image_of = normal(direction)
        curvature = (direction.conj() * image_of).real.double().sum(dim=(1, 2, 3))
        step = torch.where(active, energy / curvature.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
        image = image + _scale(step, direction)
        residual = residual - _scale(step, image_of)
        fresh = torch.where(active, _energy(residual), energy)
        ratio = torch.where(active, fresh / energy.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
        direction = residual + _scale(ratio, direction)
        energy, iterations = fresh, iterations + active
    reached = (energy / start.clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
    return Reconstruction(images=image, iterations=iterations, residuals=reached)


def _energy(x: Complex64[Tensor, "contrast z y x"]) -> Float[Tensor, " contrast"]:
    return (x.abs().double() ** 2).sum(dim=(1, 2, 3))


def _scale(factor: Float[Tensor, " contrast"], x: Tensor) -> Tensor:
    return factor.to(x.real.dtype)[:, None, None, None] * x


def reconstruct(
    kspace: KSpace,
    settings: ReconstructionSettings | None = None,
    *,
    csm: NDArray[np.complex64] | None = None,
    device: str | torch.device = "cpu",
) -> Reconstruction:
    """Images of one measurement; see :class:`Reconstructor` for many with the same sampling."""
    return Reconstructor(kspace=kspace, settings=settings or ReconstructionSettings(), csm=csm, device=device)(kspace)
