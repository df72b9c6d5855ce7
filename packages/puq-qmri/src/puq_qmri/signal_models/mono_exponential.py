"""Mono-exponential transverse decay."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from puq_qmri.signal_models.base import Parameter, SeparableModel, decay, decay_slope
from puq_qmri.signal_models.quantities import M0, T2


class MonoExponentialT2(SeparableModel):
    """Spin-echo decay ``s(TE) = M0 exp(-TE / T2)``.

    Multi-echo trains with imperfect refocusing decay more slowly than this; their apparent T2 is too long (Milford et al.
    2015, doi 10.1371/journal.pone.0145255).
    """

    name: ClassVar[str] = "t2"
    summary: ClassVar[str] = "M0 exp(-TE/T2)"
    source: ClassVar[str] = "Hahn 1950, doi 10.1103/PhysRev.80.580"
    times_key: ClassVar[str] = "te"
    parameters: ClassVar[tuple[Parameter, ...]] = (M0, T2)
    nonlinear: ClassVar[int] = 1
    n_linear: ClassVar[int] = 1

    def signal(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each contrast."""
        m0, t2 = parameters.unbind(-1)
        return m0[..., None] * decay(t2, times)

    def jacobian(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast parameter"]:
        """``ds/dM0 = exp(-TE/T2)`` and ``ds/dT2 = M0 TE/T2^2 exp(-TE/T2)``."""
        m0, t2 = parameters.unbind(-1)
        slope = (m0 / t2)[..., None] * decay_slope(t2, times)
        return torch.stack([decay(t2, times), slope], dim=-1)

    def basis(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """The decay alone."""
        return decay(constant, times)[..., None]

    def basis_slope(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """Its derivative."""
        return decay_slope(constant, times)[..., None]

    def assemble(
        self, constant: Float[Tensor, "*voxels"], coefficients: Float[Tensor, "*voxels linear"]
    ) -> Float[Tensor, "*voxels parameter"]:
        """The coefficient is M0."""
        return torch.stack([coefficients[..., 0], constant], dim=-1)


class MonoExponentialT2Star(MonoExponentialT2):
    """Gradient-echo decay ``s(TE) = M0 exp(-TE / T2*)``."""

    name: ClassVar[str] = "t2star"
    summary: ClassVar[str] = "M0 exp(-TE/T2*)"
    source: ClassVar[str] = "Chavhan et al. 2009, doi 10.1148/rg.295095034"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        M0,
        Parameter(name="t2star", map_name="T2starmap", unit="s", lower=1e-4, upper=5.0, typical=(1e-3, 0.5)),
    )
    phase_evolves: ClassVar[bool] = True


class OffsetT2(SeparableModel):
    """Spin-echo decay on a constant ``s(TE) = M0 exp(-TE / T2) + C``, for a noise floor or a slow second compartment."""

    name: ClassVar[str] = "t2-offset"
    summary: ClassVar[str] = "M0 exp(-TE/T2) + C"
    source: ClassVar[str] = "Milford et al. 2015, doi 10.1371/journal.pone.0145255"
    times_key: ClassVar[str] = "te"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        M0,
        T2,
        Parameter(name="offset", map_name="offsetmap", unit="a.u.", lower=-float("inf"), upper=float("inf")),
    )
    amplitude: ClassVar[int | None] = None
    nonlinear: ClassVar[int] = 1
    n_linear: ClassVar[int] = 2

    def signal(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each contrast."""
        m0, t2, offset = parameters.unbind(-1)
        return m0[..., None] * decay(t2, times) + offset[..., None]

    def jacobian(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast parameter"]:
        """As for the plain decay, and 1 for the offset."""
        m0, t2, _ = parameters.unbind(-1)
        curve = decay(t2, times)
        return torch.stack([curve, (m0 / t2)[..., None] * decay_slope(t2, times), torch.ones_like(curve)], dim=-1)

    def basis(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """The decay and a constant."""
        curve = decay(constant, times)
        return torch.stack([curve, torch.ones_like(curve)], dim=-1)

    def basis_slope(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """Derivatives of both."""
        slope = decay_slope(constant, times)
        return torch.stack([slope, torch.zeros_like(slope)], dim=-1)

    def assemble(
        self, constant: Float[Tensor, "*voxels"], coefficients: Float[Tensor, "*voxels linear"]
    ) -> Float[Tensor, "*voxels parameter"]:
        """M0, T2, offset."""
        return torch.stack([coefficients[..., 0], constant, coefficients[..., 1]], dim=-1)
