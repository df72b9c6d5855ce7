"""A reconstruction prepared once and applied to many data sets of one sampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Complex64
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import ConfigError, InputError
from medcore.io.kspace import KSpace
from puq_qmri.csm import espirit
from puq_qmri.dcf import density_compensation
from puq_qmri.operators import LinearOperator, Mask, acquisition
from puq_qmri.operators.choice import choose_backend
from puq_qmri.reconstruction.basis import temporal_basis
from puq_qmri.reconstruction.linear import Reconstruction, conjugate_gradients, repeat_course
from puq_qmri.reconstruction.settings import ReconstructionSettings
from puq_qmri.reconstruction.subspace import SubspaceSolver
from puq_qmri.signal_models import SignalModel
from puq_qmri.signal_models.sequence import model_for
from puq_qmri.uncertainty import noise_level_or_zero

NUFFT_EPS = 1e-4
"""Accuracy asked of the non-uniform transform: far below the noise of any image, and several times faster than 1e-6."""


_PER_GRID = 2
"""Components that one full grid of samples determines, with the help of several coils."""


@dataclass(kw_only=True)
class Reconstructor:
    """A reconstruction prepared once (coil maps, density) and applied to many data sets of the same sampling.

    CG-SENSE minimises ``||D^(1/2) (A x - y)||^2 + r ||x||^2`` with the density compensation D of a trajectory, which makes few
    iterations enough (Pruessmann et al. 2001, doi 10.1002/mrm.1241); for gridded data D is 1. The result is multiplied with
    ``1 + r``, so that the regularisation r does not darken what is fully determined. The method ``subspace`` is that of
    :mod:`puq_qmri.reconstruction.subspace`.

    Parameters
    ----------
    kspace
        The measurement whose sampling is used.
    settings
        See :class:`ReconstructionSettings`.
    csm
        Coil maps complex64 (coil, z, y, x); those of the measurement, or by ESPIRiT, if not given.
    device
        Where to compute.
    model
        Signal model whose components ``subspace`` uses.

    Raises
    ------
    InputError
        If coil maps do not fit, or cannot be estimated; if the density compensation or the back end is not for such a measurement;
        or if it lacks the times that the model needs.
    ConfigError
        If ``subspace`` is asked for without a model, or the method is a network.
    """

    kspace: KSpace
    settings: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    csm: NDArray[np.complex64] | None = None
    device: str | torch.device = "cpu"
    model: str | SignalModel | None = None

    def __post_init__(self) -> None:
        if self.settings.method in {"unrolled", "auto"}:
            what = "is a network" if self.settings.method == "unrolled" else "may be a network"
            raise ConfigError(f"method {self.settings.method}", what, "use puq_qmri.imaging.estimate")
        dcf = self._density()
        maps = espirit(self.kspace, dcf=dcf) if self.csm is None else self.csm
        self.csm = maps
        self.operator = acquisition(self.kspace, maps, backend=self.settings.backend, eps=NUFFT_EPS, device=self.device)
        weights = torch.ones(1) if dcf is None else torch.from_numpy(dcf)[:, None]
        self._weights = weights.to(self.device)
        self.density = Mask(self._weights, self.operator.codomain)
        power = torch.from_numpy((np.abs(maps) ** 2).sum(axis=0)).to(self.device)
        self._coil_power = torch.where(power > 0, power, 1.0)
        if self.settings.method == "subspace":
            self._basis, self.real_images = self._components()

    def _density(self) -> NDArray[np.float32] | None:
        """Weights of the samples; what cannot be used is refused before anything is computed."""
        settings, traj = self.settings, self.kspace.traj
        if traj is not None:
            choose_backend(settings.backend, torch.device(self.device))
            return density_compensation(settings.density, traj, self.kspace.matrix)
        if settings.density != "pipe-menon":
            raise InputError(
                self.kspace.source, f"lies on a grid, density compensation {settings.density} is for trajectories", "leave it out"
            )
        return None

    real_images: bool = field(default=False, init=False)
    """Whether all contrasts share one phase, along which all their noise lies."""

    def _components(self) -> tuple[Tensor, bool]:
        """Temporal basis, and whether the contrasts share a phase."""
        if self.model is None:
            raise ConfigError("--method subspace", "has no signal model", "name one with --model")
        model = model_for(self.model, self.kspace)
        if model.times_key not in self.kspace.times:
            raise InputError(self.kspace.source, f"states no {model.times_key}, which model {self.model} needs", "give the times")
        live = self.kspace.measured
        # A contrast without samples takes no part: it has no weight in the components, and its image stays empty, not made up.
        basis = torch.zeros(len(live), 0)
        if live.any():
            known = temporal_basis(model, self.kspace.times[model.times_key][live], n_components=None, kind=self.settings.basis)
            wanted = min(self.settings.components, int(live.sum())) or self._determined(known.shape[1], len(model.parameters))
            if wanted != known.shape[1]:
                known = temporal_basis(
                    model, self.kspace.times[model.times_key][live], n_components=wanted, kind=self.settings.basis
                )
            basis = torch.zeros(len(live), known.shape[1])
            basis[torch.from_numpy(live)] = known
        return basis.to(self.device), not model.phase_evolves

    def _determined(self, needed: int, n_parameters: int) -> int:
        """Of the components that the model's signals need, as many as few lines of k-space determine.

        At most two for each full grid of samples, counted over all contrasts, but one more than the model has parameters. On simulated
        scans at acceleration 6, eight contrasts, three components gave smaller errors than four or five.
        """
        mask = self.kspace.mask
        if mask is None:
            return needed
        grids = float(mask.reshape(len(mask), -1).mean(axis=1).sum())
        return min(needed, max(n_parameters + 1, math.ceil(_PER_GRID * grids)))

    @cached_property
    def own(self) -> Reconstruction:
        """Reconstruction of the measurement it was prepared for."""
        return self._solved[1] if self.settings.method == "subspace" else self._linear(self.kspace)

    @property
    def solver(self) -> SubspaceSolver:
        """The subspace's solver after it has solved the measurement prepared for: its basis, phase and strength.

        Raises
        ------
        ConfigError
            If the method is another one.
        """
        if self.settings.method != "subspace":
            raise ConfigError(f"--method {self.settings.method}", "has no subspace", "choose subspace")
        return self._solved[0]

    def __call__(self, kspace: KSpace) -> Reconstruction:
        """Reconstruct a measurement with this sampling.

        Raises
        ------
        InputError
            If it was sampled otherwise.
        """
        return self.solved(kspace)[1]

    def solved(self, kspace: KSpace) -> tuple[SubspaceSolver | None, Reconstruction]:
        """Reconstruct a measurement with this sampling; with the solver that knows its phase and strength, for ``subspace``.

        Raises
        ------
        InputError
            If it was sampled otherwise.
        """
        self._check_sampling(kspace)
        if self.settings.method != "subspace":
            return None, self.own if kspace is self.kspace else self._linear(kspace)
        return self._solved if kspace is self.kspace else self._solve_subspace(kspace)

    def residual_images(self, kspace: KSpace, images: Tensor) -> Complex64[Tensor, "contrast z y x"]:
        """What the images leave of the samples, brought back to image space: ``A^H W (y - A x)`` with the density W.

        Zero where the images explain every sample; where they do not, aliasing and noise stand in their places.

        Parameters
        ----------
        kspace
            A measurement with this sampling.
        images
            complex64 (contrast, z, y, x).

        Raises
        ------
        InputError
            If it was sampled otherwise, or the images have another shape.
        """
        self._check_sampling(kspace)
        difference = torch.as_tensor(kspace.data, device=self.device) - self.operator(images)
        return self.operator.adjoint(self.density(difference))

    def _check_sampling(self, kspace: KSpace) -> None:
        if not (_same(kspace.traj, self.kspace.traj) and _same(kspace.mask, self.kspace.mask)):
            raise InputError(
                kspace.source, "was sampled otherwise than what the reconstruction was prepared for", "prepare another"
            )

    def images(self, kspace: KSpace) -> Complex64[Tensor, "contrast z y x"]:
        """Only the images, for :func:`puq_qmri.uncertainty.pseudo_replica`."""
        return self(kspace).images

    def response(self, noise: NDArray[np.complex64]) -> Complex64[Tensor, "contrast z y x"]:
        """Change of the images when a little `noise` is added to the samples of the measurement prepared for.

        Stopped conjugate gradients are a polynomial of the normal operator whose coefficients depend, weakly, on the data. The
        coefficients of the measurement itself are used for the noise, which makes the map linear and skips the reconstruction
        of the signal: deviations at a fixed number of iterations. For ``subspace`` the iteration goes on from its result, with the
        noise added and without it, at the same phase and strength.

        Parameters
        ----------
        noise
            Shaped like the samples.
        """
        if self.settings.method == "subspace":
            solver, samples = self._solved[0], torch.as_tensor(self.kspace.data, device=self.device)
            return solver.again(samples + torch.as_tensor(noise, device=self.device)) - self._repeated
        right = self.back(noise)
        if self.settings.method == "adjoint":
            return right / self._coil_power
        return repeat_course(self._regularised, right, self.own)

    @cached_property
    def _solved(self) -> tuple[SubspaceSolver, Reconstruction]:
        """The subspace's solver after it has solved the measurement prepared for, which its responses start from."""
        return self._solve_subspace(self.kspace)

    @cached_property
    def _repeated(self) -> Complex64[Tensor, "contrast z y x"]:
        return self._solved[0].again(torch.as_tensor(self.kspace.data, device=self.device))

    @cached_property
    def _subspace_normal(self) -> LinearOperator:
        return self.operator.subspace_gram(self._basis, None if self.kspace.traj is None else self._weights)

    def _solve_subspace(self, kspace: KSpace) -> tuple[SubspaceSolver, Reconstruction]:
        sampled = torch.ones(1) if kspace.mask is None else torch.from_numpy(kspace.mask[:, None]).float()
        density = self._weights * sampled.to(self.device)
        solver = SubspaceSolver(self.operator, self._subspace_normal, density, self._basis, self.settings, self.real_images)
        samples = torch.as_tensor(kspace.data, device=self.device)
        level = noise_level_or_zero(kspace)
        generator = torch.Generator().manual_seed(0)
        noise = level * math.sqrt(2) * torch.randn(samples.shape, generator=generator, dtype=samples.dtype)
        images = solver.solve(samples, level, noise.to(self.device))
        difference = density * (self.operator(images) - samples).abs().double() ** 2
        energy = (density * samples.abs().double() ** 2).flatten(1).sum(dim=1)
        residuals = (difference.flatten(1).sum(dim=1) / energy.clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
        none = residuals.new_zeros(0, len(residuals))
        return solver, Reconstruction(
            images=images,
            iterations=torch.full((len(images),), solver.n_normals),
            residuals=residuals.float(),
            steps=none,
            ratios=none,
        )

    def _linear(self, kspace: KSpace) -> Reconstruction:
        """By the methods whose contrasts know nothing of each other."""
        right = self.back(kspace.data)
        if self.settings.method == "adjoint":
            zeros = torch.zeros(len(right), device=right.device)
            images = right / self._coil_power
            return Reconstruction(
                images=images, iterations=zeros.long(), residuals=zeros, steps=zeros[None][:0], ratios=zeros[None][:0]
            )
        return conjugate_gradients(self._regularised, right, self.settings)

    def back(self, samples: NDArray[np.complex64]) -> Complex64[Tensor, "contrast z y x"]:
        """``A^H W samples`` with the density W."""
        return self.operator.adjoint(self.density(torch.as_tensor(samples, device=self.device)))

    @cached_property
    def normal(self) -> LinearOperator:
        """``A^H W A`` with the density W."""
        return self.operator.gram if self.kspace.traj is None else self.operator.weighted_gram(self._weights)

    @cached_property
    def _regularised(self) -> Callable[[Tensor], Tensor]:
        """The normal operator with regularisation, in units in which a fully determined image is multiplied with 1."""
        shift = self.settings.regularisation
        return (lambda x: (self.normal(x) + shift * x) / (1 + shift)) if shift else self.normal


def _same(first: NDArray[np.generic] | None, second: NDArray[np.generic] | None) -> bool:
    if first is None or second is None:
        return first is second
    return first is second or np.array_equal(first, second)


def reconstruct(
    kspace: KSpace,
    settings: ReconstructionSettings | None = None,
    *,
    csm: NDArray[np.complex64] | None = None,
    device: str | torch.device = "cpu",
    model: str | SignalModel | None = None,
) -> Reconstruction:
    """Images of one measurement; see :class:`Reconstructor` for many with the same sampling."""
    return Reconstructor(kspace=kspace, settings=settings or ReconstructionSettings(), csm=csm, device=device, model=model)(kspace)
