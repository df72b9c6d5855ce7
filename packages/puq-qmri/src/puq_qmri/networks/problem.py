r"""One scan made ready for a network: the images it works on, and how they return to the measurement.

A network works on *latent* images: the contrasts themselves, or the coefficients of few temporal components,
``x_p = c \exp(i \phi) \sum_k B_{pk} a_k`` with an orthonormal basis ``B`` of the signal model, a smooth phase ``\phi`` that the
contrasts share, and a scale ``c``. The coefficients stay complex: what the smooth phase leaves is theirs. Latent images of every scan have
about the same size, so that one set of weights serves all scanners.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Complex, Complex64, Float
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import InputError, NumericalError
from medcore.io.kspace import KSpace
from puq_qmri.dcf import pipe_menon
from puq_qmri.networks.settings import NetworkSettings
from puq_qmri.networks.variance import Evidence, gather_evidence
from puq_qmri.operators import LinearOperator, acquisition
from puq_qmri.reconstruction.basis import temporal_basis
from puq_qmri.reconstruction.subspace import common_phase
from puq_qmri.signal_models import get_model
from puq_qmri.uncertainty import noise_level, sampled_fractions

_START_STEPS, _START_SHIFT = 8, 0.01
"""Conjugate-gradient steps and regularisation of the images that a network starts from."""
_BRIGHT = 0.98
"""The scale is this quantile of the size of the start image."""
N_CONDITIONS = 4
"""Numbers that a network is told about a scan or contrast: noise, sampling (mean, least), kind of time."""


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
        Latent images to start from.
    power
        Sum of the squared coil maps (z, y, x).
    conditions
        Float (latent or 1, :data:`N_CONDITIONS`): one row for the scan, or one for each contrast.
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
    right: Complex64[Tensor, "latent z y x"]
    start: Complex64[Tensor, "latent z y x"]
    power: Float[Tensor, "z y x"]
    conditions: Float[Tensor, "rows condition"]
    scale: float
    basis: Float[Tensor, "contrast latent"] | None = None
    phase: Complex64[Tensor, "z y x"] | None = None
    gridded: bool = True
    back: Complex64[Tensor, "contrast z y x"]
    image_normal: Callable[[Tensor], Tensor]
    level: float
    sampled_fraction: Float[Tensor, " contrast"]
    times: Float[Tensor, " contrast"]

    def images(self, latent: Complex[Tensor, "latent z y x"]) -> Complex64[Tensor, "contrast z y x"]:
        """Images of latent ones, in the units of the measurement."""
        found = latent if self.basis is None else torch.einsum("pk,kzyx->pzyx", self.basis.to(latent.dtype), latent)
        turned = found if self.phase is None else self.phase * found
        return (self.scale * turned).to(torch.complex64)

    @torch.no_grad()
    def evidence(self, images: Complex64[Tensor, "contrast z y x"]) -> Evidence:
        """What a variance head is shown of these images of the scan."""
        residuals = self.back - self.image_normal(images)
        return gather_evidence(images, residuals, level=self.level, sampled_fraction=self.sampled_fraction, times=self.times)

    def latent(self, images: Complex[Tensor, "contrast z y x"]) -> Complex64[Tensor, "latent z y x"]:
        """The latent images nearest to given ones."""
        turned = images / self.scale if self.phase is None else self.phase.conj() * images / self.scale
        found = turned if self.basis is None else torch.einsum("pk,pzyx->kzyx", self.basis.to(turned.dtype), turned)
        return found.to(torch.complex64)


def build_problem(
    kspace: KSpace,
    csm: NDArray[np.complex64],
    settings: NetworkSettings,
    *,
    model: str | None = None,
    level: float | None = None,
    dcf: NDArray[np.float32] | None = None,
    device: str | torch.device = "cpu",
) -> Problem:
    """Make a measurement ready for a network.

    Parameters
    ----------
    kspace
        The measurement, noise white between coils.
    csm
        Coil maps complex64 (coil, z, y, x).
    settings
        Of the network.
    model
        Signal model, whose components the layout ``subspace`` uses.
    level
        Noise of one component of a sample; by default :func:`puq_qmri.uncertainty.noise_level`, or 0 where none can be measured.
    dcf
        Density compensation (contrast, spoke, sample); by default Pipe's and Menon's.
    device
        Where the network computes.

    Raises
    ------
    InputError
        If the network cannot take this measurement: number of contrasts, times, sampling.
    """
    _check(kspace, settings, model)
    operator = acquisition(kspace, csm, device=device, eps=1e-4)
    weights = torch.ones(1, device=device)
    if kspace.traj is not None:
        weights = torch.from_numpy(pipe_menon(kspace.traj, kspace.matrix) if dcf is None else dcf)[:, None].to(device)
    samples = torch.as_tensor(kspace.data, device=device)
    with torch.no_grad():
        back = operator.adjoint(weights * samples)
    power = torch.as_tensor((np.abs(csm) ** 2).sum(axis=0), device=device)
    normal = operator.gram if kspace.traj is None else operator.weighted_gram(weights)
    basis = _basis(kspace, settings, model, device)
    phase = None
    if basis is not None:
        with torch.no_grad():
            first = _descend(_in_subspace(normal, basis, None), torch.einsum("pk,pzyx->kzyx", basis.to(back.dtype), back))
            phase = common_phase(torch.einsum("pk,kzyx->pzyx", basis.to(first.dtype), first))
            start = phase.conj() * first
    else:
        start = back / torch.where(power > 0, power, 1.0) if settings.layout == "channels" else _descend(normal, back)
    scale = float(torch.quantile(start.abs().square().sum(dim=0).sqrt(), _BRIGHT)) / math.sqrt(
        1 if basis is not None else len(start)
    )
    if not 0 < scale < math.inf:
        raise NumericalError(kspace.source, "has no signal", "check the samples and coil maps")
    level = _level(kspace) if level is None else level
    fractions = sampled_fractions(kspace)
    key = get_model(model).times_key if model else next(iter(kspace.times), None)
    problem = Problem(
        normal=normal if basis is None else _in_subspace(normal, basis, phase),
        right=back,
        start=start / scale,
        power=power.float(),
        conditions=_conditions(kspace, fractions, level / scale, per_contrast=settings.layout == "contrast").to(device),
        scale=scale,
        basis=basis,
        phase=phase,
        gridded=kspace.traj is None,
        back=back,
        image_normal=normal,
        level=level,
        sampled_fraction=fractions,
        times=torch.as_tensor(np.arange(kspace.n_contrasts) if key is None else kspace.times[key]),
    )
    return replace(problem, right=problem.latent(back))


def _level(kspace: KSpace) -> float:
    try:
        return noise_level(kspace)
    except NumericalError:
        return 0.0


def _check(kspace: KSpace, settings: NetworkSettings, model: str | None) -> None:
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
    if settings.layout != "subspace":
        return
    if model is None:
        raise InputError(kspace.source, "has no signal model, whose components the network uses", "name one with --model")
    key = get_model(model).times_key
    if key not in kspace.times:
        raise InputError(kspace.source, f"states no {key}, which model {model} needs", "give the times")
    if get_model(model).phase_evolves:
        raise InputError(kspace.source, f"has a phase that evolves with time in model {model}", "choose --method cg-sense")


def _basis(kspace: KSpace, settings: NetworkSettings, model: str | None, device: str | torch.device) -> Tensor | None:
    """Temporal components, their first contrast positive, so that a network meets them with the same sign in every protocol."""
    if settings.layout != "subspace" or model is None:
        return None
    chosen = get_model(model)
    wanted = min(settings.components, kspace.n_contrasts)
    basis = temporal_basis(chosen, kspace.times[chosen.times_key], n_components=wanted, kind="svd")
    signs = torch.where(basis[0] < 0, -1.0, 1.0)
    return (basis * signs).to(device)


def _in_subspace(normal: LinearOperator, basis: Tensor, phase: Tensor | None) -> Callable[[Tensor], Tensor]:
    mixing = basis.to(torch.complex64)

    def apply(latent: Tensor) -> Tensor:
        images = torch.einsum("pk,kzyx->pzyx", mixing, latent if phase is None else phase * latent)
        found = torch.einsum("pk,pzyx->kzyx", mixing, normal(images))
        return found if phase is None else phase.conj() * found

    return apply


def _descend(normal: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """A few conjugate gradients from zero."""
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
    return (x.real.square() + x.imag.square()).sum()


def _conditions(
    kspace: KSpace, fractions: Float[Tensor, " contrast"], noise: float, *, per_contrast: bool
) -> Float[Tensor, "rows condition"]:
    """What a network is told: all numbers of about the size of 1."""
    logs = torch.log2(fractions.clamp_min(1e-3))
    level = math.log10(min(max(noise, 1e-4), 1.0)) + 2
    kind = 1.0 if "ti" in kspace.times else 0.0
    rows = logs if per_contrast else logs.mean()[None]
    ones = torch.ones_like(rows)
    return torch.stack([level * ones, rows, logs.min() * ones, kind * ones], dim=1)
