r"""One scan made ready for a network: the images it works on, and how they return to the measurement.

A network works on *latent* images: the contrasts themselves, complex, or the coefficients of few temporal components, real after the
phase that the contrasts share, ``x_p = c \exp(i \phi) \sum_k B_{pk} a_k``, as in :mod:`puq_qmri.reconstruction.subspace`, whose result
the network starts from. With the scale ``c`` latent images of every scan have about the same size, so that one set of weights serves
all scanners.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Complex, Complex64, Float, Inexact
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import InputError, NumericalError
from medcore.io.kspace import KSpace
from puq_qmri.choices import Backend
from puq_qmri.networks.settings import NetworkSettings
from puq_qmri.networks.variance import Evidence, contrast_order, gather_evidence
from puq_qmri.reconstruction import ReconstructionSettings, Reconstructor
from puq_qmri.reconstruction.basis import temporal_basis
from puq_qmri.reconstruction.subspace import SubspaceSolver
from puq_qmri.signal_models import SignalModel, find_model
from puq_qmri.signal_models.sequence import model_for
from puq_qmri.uncertainty import noise_level_or_zero, sampled_fractions

_START_STEPS, _START_SHIFT = 8, 0.01
"""Conjugate-gradient steps and regularisation of the contrasts that a network without subspace starts from."""
_BRIGHT = 0.98
"""The scale is this quantile of the size of the start image."""
N_CONDITIONS = 4
"""Numbers that a network is told about a scan or contrast: noise, sampling (own or mean, least), kind of time."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One scan made ready; see the module's text.

    Attributes
    ----------
    normal
        ``A^H D A`` on latent images, 1 where everything was measured.
    right
        ``A^H D y``, latent, in units of `scale`.
    start
        Latent images to start from: real in a subspace, complex otherwise.
    power
        Sum of the squared coil maps (z, y, x).
    conditions
        Float (row, :data:`N_CONDITIONS`): one row for the scan, or one for each contrast.
    scale
        Size of the images.
    basis
        (contrast, latent), or None where the latent images are the contrasts.
    phase
        Unit complex (z, y, x), or None.
    gridded
        Whether the samples lie on a grid.
    back, image_normal
        ``A^H D y`` and ``A^H D A`` of the contrasts themselves, in the units of the measurement.
    level
        Noise of one component of a sample, 0 where none could be measured.
    sampled_fraction, times
        Of each contrast.
    """

    normal: Callable[[Tensor], Tensor]
    right: Inexact[Tensor, "latent z y x"]
    start: Inexact[Tensor, "latent z y x"]
    power: Float[Tensor, "z y x"]
    conditions: Float[Tensor, "row condition"]
    scale: float
    basis: Float[Tensor, "contrast latent"] | None = None
    phase: Complex64[Tensor, "z y x"] | None = None
    gridded: bool = True
    back: Complex64[Tensor, "contrast z y x"]
    image_normal: Callable[[Tensor], Tensor]
    level: float
    sampled_fraction: Float[Tensor, " contrast"]
    times: Float[Tensor, " contrast"]

    def images(self, latent: Inexact[Tensor, "latent z y x"]) -> Complex64[Tensor, "contrast z y x"]:
        """Images of latent ones, in the units of the measurement."""
        found = latent if self.basis is None else torch.einsum("pk,kzyx->pzyx", self.basis, latent)
        return (self.scale * (found if self.phase is None else self.phase * found)).to(torch.complex64)

    def latent(self, images: Complex[Tensor, "contrast z y x"]) -> Inexact[Tensor, "latent z y x"]:
        """The latent images nearest to given ones."""
        if self.basis is None or self.phase is None:
            return images / self.scale
        return torch.einsum("pk,pzyx->kzyx", self.basis, (self.phase.conj() * images).real / self.scale)

    @torch.no_grad()
    def evidence(self, images: Complex64[Tensor, "contrast z y x"]) -> Evidence:
        """What a variance head is shown of these images of the scan."""
        residuals = self.back - self.image_normal(images)
        return gather_evidence(images, residuals, level=self.level, sampled_fraction=self.sampled_fraction, times=self.times)


class Preparation:
    """Scans of one sampling made ready for a network: operator, density, normal operators and components are made once.

    Parameters
    ----------
    kspace
        A measurement, noise white between coils.
    csm
        Coil maps complex64 (coil, z, y, x).
    settings
        Of the network.
    model
        Signal model, whose components the layout ``subspace`` uses.
    level
        Noise of one component of a sample; by default :func:`puq_qmri.uncertainty.noise_level`, or 0 where none can be measured.
    device
        Where the network computes.
    backend
        Library of the non-uniform Fourier transform, for trajectories.

    Attributes
    ----------
    problem
        The measurement made ready.

    Raises
    ------
    InputError
        If the network cannot take this measurement: number of contrasts, times, sampling, a phase that evolves.
    NumericalError
        If there is no signal.
    """

    def __init__(
        self,
        kspace: KSpace,
        csm: NDArray[np.complex64],
        settings: NetworkSettings,
        *,
        model: str | SignalModel | None = None,
        level: float | None = None,
        device: str | torch.device = "cpu",
        backend: Backend = "auto",
    ) -> None:
        _check(kspace, settings, model)
        self._layout, self._model, self._device = settings.layout, model, device
        subspace = settings.layout == "subspace"
        method = ReconstructionSettings(
            method="subspace" if subspace else "adjoint",
            components=_components(kspace, settings, model),
            backend=backend,
        )
        self._reconstructor = Reconstructor(
            kspace=kspace, settings=method, csm=csm, device=device, model=model if subspace else None
        )
        self._power = torch.as_tensor((np.abs(csm) ** 2).sum(axis=0), device=device).float()
        self.problem = self.fresh(kspace, level=level)

    def fresh(self, kspace: KSpace, *, level: float | None = None) -> Problem:
        """A measurement with this sampling made ready, with a phase, a start and a scale of its own.

        Raises
        ------
        InputError
            If it was sampled otherwise.
        NumericalError
            If there is no signal.
        """
        reconstructor, per_contrast = self._reconstructor, self._layout == "contrast"
        with torch.no_grad():
            solver, solved = reconstructor.solved(kspace)
            back = reconstructor.back(kspace.data)
        level = noise_level_or_zero(kspace) if level is None else level
        fractions = sampled_fractions(kspace)
        problem = Problem(
            normal=reconstructor.normal,
            right=back,
            start=solved.images,
            power=self._power,
            conditions=torch.zeros(0, N_CONDITIONS),
            scale=1.0,
            gridded=kspace.traj is None,
            back=back,
            image_normal=reconstructor.normal,
            level=level,
            sampled_fraction=fractions,
            times=contrast_order(kspace, self._model),
        )
        if solver is not None:
            problem = _in_subspace(problem, solver, int(kspace.measured.argmax()))
        elif per_contrast:
            problem = replace(problem, start=_descend(problem.normal, back))
        scale = float(torch.quantile(problem.start.abs().square().sum(dim=0).sqrt().flatten(), _BRIGHT))
        scale /= 1 if solver is not None else math.sqrt(kspace.n_contrasts)
        if not 0 < scale < math.inf:
            raise NumericalError(kspace.source, "has no signal", "check the samples and coil maps")
        return replace(
            problem,
            right=problem.right / scale,
            start=problem.start / scale,
            scale=scale,
            conditions=_conditions(kspace, fractions, level / scale, per_contrast=per_contrast).to(self._device),
        )

    @torch.no_grad()
    def again(self, samples: Complex64[np.ndarray, "..."]) -> Problem:
        """The problem for samples that differ little from those prepared for, noise added for example.

        Phase, scale and conditions stay. The subspace's iteration goes on from its result, also for the same samples: compare with
        what those give.

        Parameters
        ----------
        samples
            Shaped like those of the measurement.
        """
        problem, reconstructor = self.problem, self._reconstructor
        back = reconstructor.back(samples)
        right = problem.latent(back)
        if self._layout == "subspace":
            start = problem.latent(reconstructor.solver.again(torch.as_tensor(samples, device=self._device)))
        elif self._layout == "contrast":
            start = _descend(problem.normal, right)
        else:
            start = problem.latent(reconstructor.response(samples))  # of the adjoint, which is linear
        return replace(problem, right=right, start=start, back=back)


def build_problem(
    kspace: KSpace,
    csm: NDArray[np.complex64],
    settings: NetworkSettings,
    *,
    model: str | SignalModel | None = None,
    level: float | None = None,
    device: str | torch.device = "cpu",
) -> Problem:
    """One measurement made ready; parameters and errors as those of :class:`Preparation`, which is for several."""
    return Preparation(kspace, csm, settings, model=model, level=level, device=device).problem


def _check(kspace: KSpace, settings: NetworkSettings, model: str | SignalModel | None) -> None:
    if settings.layout == "channels" and kspace.n_contrasts != settings.contrasts:
        raise InputError(
            kspace.source,
            f"has {kspace.n_contrasts} contrasts, the network {settings.contrasts}",
            "choose weights for this number of contrasts, or of the layout subspace",
        )
    if settings.consistency == "projection" and kspace.traj is not None:
        raise InputError(
            kspace.source, "was measured along a trajectory, and the network replaces points of a grid", "choose other weights"
        )
    if settings.layout == "subspace" and model is None:
        raise InputError(kspace.source, "has no signal model, whose components the network uses", "name one with --model")
    if settings.layout == "subspace" and model is not None and find_model(model).phase_evolves:
        raise InputError(kspace.source, f"has a phase that evolves with time in model {model}", "choose --method cg-sense")


def _components(kspace: KSpace, settings: NetworkSettings, model: str | SignalModel | None) -> int:
    """As many as the model's signals need and the network has; 0 without subspace."""
    if settings.layout != "subspace" or model is None:
        return 0
    chosen = model_for(model, kspace)
    if chosen.times_key not in kspace.times:
        raise InputError(kspace.source, f"states no {chosen.times_key}, which model {model} needs", "give the times")
    live = kspace.measured | ~kspace.measured.any()
    return min(settings.components, temporal_basis(chosen, kspace.times[chosen.times_key][live]).shape[1])


def _in_subspace(problem: Problem, solver: SubspaceSolver, first: int) -> Problem:
    """The same problem for the coefficients, which are real once the phase is taken out.

    Contrast `first` is positive in every component: a network meets them with the same sign in every protocol.
    """
    phase, gram = solver.phase, solver.normal
    assert phase is not None  # noqa: S101 - for the type checker: `_check` refuses models whose phase evolves
    signs = torch.where(solver.basis[first] < 0, -1.0, 1.0)
    basis, turn = solver.basis * signs, signs[:, None, None, None] * phase

    def latent(images: Tensor) -> Tensor:
        return torch.einsum("pk,pzyx->kzyx", basis, (phase.conj() * images).real)

    return replace(
        problem,
        basis=basis,
        phase=phase,
        normal=lambda x: (turn.conj() * gram(turn * x)).real,
        right=latent(problem.right),
        start=latent(problem.start),
    )


def _descend(normal: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """A few conjugate gradients from zero."""
    with torch.no_grad():
        return solve(lambda x: normal(x) + _START_SHIFT * x, right, torch.zeros_like(right), _START_STEPS)


def solve(map_: Callable[[Tensor], Tensor], right: Tensor, start: Tensor, steps: int) -> Tensor:
    """`steps` conjugate gradients for ``map_(x) = right`` from `start`, differentiable."""
    x, residual = start, right - map_(start)
    direction, norm = residual, _energy(residual)
    for step in range(steps):
        mapped = map_(direction)
        length = norm / (direction.conj() * mapped).real.sum().clamp_min(1e-30)
        x = x + length * direction
        if step == steps - 1:
            break
        residual = residual - length * mapped
        fresh = _energy(residual)
        direction, norm = residual + fresh / norm.clamp_min(1e-30) * direction, fresh
    return x


def _energy(x: Tensor) -> Tensor:
    return x.abs().square().sum()


def _conditions(
    kspace: KSpace, fractions: Float[Tensor, " contrast"], noise: float, *, per_contrast: bool
) -> Float[Tensor, "row condition"]:
    """What a network is told: all numbers of about the size of 1."""
    logs = torch.log2(fractions.clamp_min(1e-3))
    level = math.log10(min(max(noise, 1e-4), 1.0)) + 2
    kind = 1.0 if "ti" in kspace.times else 0.0
    known = logs[fractions > 0]  # a contrast without samples says nothing of how the others were sampled
    rows = logs if per_contrast else known.mean()[None]
    ones = torch.ones_like(rows)
    return torch.stack([level * ones, rows, known.min() * ones, kind * ones], dim=1)
