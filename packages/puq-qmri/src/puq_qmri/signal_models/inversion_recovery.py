"""Inversion recovery with a long repetition time."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from puq_qmri.signal_models.base import Parameter, SeparableModel, decay, decay_slope
from puq_qmri.signal_models.quantities import M0, T1


class InversionRecovery(SeparableModel):
    """Three-parameter inversion recovery ``s(TI) = M0 (1 - f exp(-TI / T1))``.

    The factor ``f`` is 2 for a perfect inversion and full recovery between the shots; estimating it removes the bias of an
    imperfect inversion and, in good part, that of a short repetition time. With ``a = M0`` and ``b = -f M0`` this is the form
    ``a + b exp(-TI / T1)`` of Barral et al. 2010 (doi 10.1002/mrm.22497).
    """

    name: ClassVar[str] = "ir"
    summary: ClassVar[str] = "M0 (1 - f exp(-TI/T1)), f estimated"
    source: ClassVar[str] = "Barral et al. 2010, doi 10.1002/mrm.22497"
    times_key: ClassVar[str] = "ti"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        M0,
        T1,
        Parameter(name="inversion", map_name="inversionmap", unit="1", lower=0.0, upper=float("inf"), typical=(1.0, 2.0)),
    )
    changes_sign: ClassVar[bool] = True
    nonlinear: ClassVar[int] = 1
    n_linear: ClassVar[int] = 2

    def signal(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each contrast."""
        m0, t1, inversion = (p[..., None] for p in parameters.unbind(-1))
        return m0 * (1 - inversion * decay(t1[..., 0], times))

    def jacobian(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast parameter"]:
        """``1 - f e``, ``-M0 f TI/T1^2 e`` and ``-M0 e`` with ``e = exp(-TI/T1)``."""
        m0, t1, inversion = parameters.unbind(-1)
        curve = decay(t1, times)
        slope = -(m0 * inversion / t1)[..., None] * decay_slope(t1, times)
        return torch.stack([1 - inversion[..., None] * curve, slope, -m0[..., None] * curve], dim=-1)

    def basis(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """A constant and the recovery."""
        curve = decay(constant, times)
        return torch.stack([torch.ones_like(curve), curve], dim=-1)

    def basis_slope(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """Derivatives of both."""
        slope = decay_slope(constant, times)
        return torch.stack([torch.zeros_like(slope), slope], dim=-1)

    def assemble(
        self, constant: Float[Tensor, "*voxels"], coefficients: Float[Tensor, "*voxels linear"]
    ) -> Float[Tensor, "*voxels parameter"]:
        """``M0 = a`` and ``f = -b / a``."""
        a, b = coefficients.unbind(-1)
        return torch.stack([a, constant, -b / a], dim=-1)


class PerfectInversionRecovery(SeparableModel):
    """Two-parameter inversion recovery ``s(TI) = M0 (1 - 2 exp(-TI / T1))``: perfect inversion, full recovery.

    A subclass may change `depth`, the 2 of the formula.
    """

    name: ClassVar[str] = "ir2"
    summary: ClassVar[str] = "M0 (1 - 2 exp(-TI/T1))"
    source: ClassVar[str] = "Hahn 1949, doi 10.1103/PhysRev.76.145"
    times_key: ClassVar[str] = "ti"
    parameters: ClassVar[tuple[Parameter, ...]] = (M0, T1)
    depth: ClassVar[float] = 2.0
    changes_sign: ClassVar[bool] = True
    nonlinear: ClassVar[int] = 1
    n_linear: ClassVar[int] = 1

    def signal(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each contrast."""
        m0, t1 = parameters.unbind(-1)
        return m0[..., None] * (1 - self.depth * decay(t1, times))

    def jacobian(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast parameter"]:
        """``1 - d e`` and ``-d M0 TI/T1^2 e`` with ``e = exp(-TI/T1)`` and the depth ``d``."""
        m0, t1 = parameters.unbind(-1)
        slope = -self.depth * (m0 / t1)[..., None] * decay_slope(t1, times)
        return torch.stack([1 - self.depth * decay(t1, times), slope], dim=-1)

    def basis(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """The recovery."""
        return (1 - self.depth * decay(constant, times))[..., None]

    def basis_slope(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """Its derivative."""
        return -self.depth * decay_slope(constant, times)[..., None]

    def assemble(
        self, constant: Float[Tensor, "*voxels"], coefficients: Float[Tensor, "*voxels linear"]
    ) -> Float[Tensor, "*voxels parameter"]:
        """The coefficient is M0."""
        return torch.stack([coefficients[..., 0], constant], dim=-1)
