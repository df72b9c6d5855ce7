"""Spoiled gradient echoes in the steady state under several flip angles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from puq_qmri.signal_models.base import Parameter, SeparableModel
from puq_qmri.signal_models.quantities import B1, M0, T1
from puq_qmri.signal_models.settings import check_number, described


@dataclass(frozen=True, kw_only=True)
class VariableFlipAngle(SeparableModel):
    """Ernst's steady state ``s(a) = M0 sin(a) (1 - E) / (1 - E cos(a))`` with ``E = exp(-TR / T1)``.

    The flip angle is B1 times the nominal one. Transverse magnetisation is taken as spoiled completely; where it is not, T1 is
    biased by an amount that depends on TR, flip angles, the increment of the radio-frequency phase and the spoiling gradients
    (Preibisch and Deichmann 2009, doi 10.1002/mrm.21776), and their correction belongs to one protocol, so there is none here.
    Decay during the echo time stays in M0.
    """

    tr: float = field(metadata=described("repetition time", unit="s", option="--tr", header="RepetitionTimeExcitation"))

    name: ClassVar[str] = "vfa"
    summary: ClassVar[str] = "M0 sin(a) (1 - E)/(1 - E cos(a)), E = exp(-TR/T1), a = B1 flip angle"
    source: ClassVar[str] = "Deoni et al. 2003, doi 10.1002/mrm.10407"
    times_key: ClassVar[str] = "flip_angle"
    parameters: ClassVar[tuple[Parameter, ...]] = (M0, T1)
    known: ClassVar[tuple[Parameter, ...]] = (B1,)
    nonlinear: ClassVar[int] = 1
    n_linear: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_number(self.name, "tr", self.tr, upper=60.0, unit="s")

    def signal(
        self, parameters: Float[Tensor, "*voxels column"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each contrast."""
        m0, t1, b1 = self.columns(parameters)
        return m0[..., None] * self._shape(t1, b1[..., None] * times)

    def jacobian(
        self, parameters: Float[Tensor, "*voxels column"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast parameter"]:
        """Shape of the steady state, and M0 times its derivative."""
        m0, t1, b1 = self.columns(parameters)
        angle = b1[..., None] * times
        return torch.stack([self._shape(t1, angle), (m0 / t1)[..., None] * self._slope(t1, angle)], dim=-1)

    def basis(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """The steady state."""
        return self._shape(constant, times)[..., None]

    def basis_slope(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """Its derivative."""
        return self._slope(constant, times)[..., None]

    def assemble(
        self, constant: Float[Tensor, "*voxels"], coefficients: Float[Tensor, "*voxels linear"]
    ) -> Float[Tensor, "*voxels parameter"]:
        """The coefficient is M0."""
        return torch.stack([coefficients[..., 0], constant], dim=-1)

    def _shape(self, t1: Tensor, angle: Tensor) -> Tensor:
        # 1 - E and 1 - E cos(a) are small differences of numbers near one.
        lost = -torch.expm1(-self.tr / t1)[..., None]
        return torch.sin(angle) * lost / (lost + (1 - lost) * _versine(angle))

    def _slope(self, t1: Tensor, angle: Tensor) -> Tensor:
        """Derivative of the shape with respect to ``log T1``."""
        ratio = self.tr / t1[..., None]
        lost, versine = -torch.expm1(-ratio), _versine(angle)
        bottom = lost + (1 - lost) * versine
        return -torch.sin(angle) * versine * (1 - lost) * ratio / bottom**2


def _versine(angle: Tensor) -> Tensor:
    """``1 - cos(a)``."""
    return 2 * torch.sin(angle / 2) ** 2
