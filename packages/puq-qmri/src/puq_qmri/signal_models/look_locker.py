"""Recovery from an inversion that is read out by many pulses: Look-Locker, and MOLLI, which puts several of them together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from puq_qmri.signal_models.base import Parameter, SeparableModel, decay, decay_slope
from puq_qmri.signal_models.quantities import M0, T1
from puq_qmri.signal_models.settings import check_number, described


@dataclass(frozen=True, kw_only=True)
class LookLocker(SeparableModel):
    r"""Recovery under a train of small flip angles ``s(t) = A - B exp(-t / T1*)``.

    The readout drives the magnetisation to a steady state ``A`` faster (``T1*``) than it would recover alone. With an inversion of
    efficiency ``d`` (1: perfect) and a continuous train of spoiled gradient echoes, ``T1 = T1* (B/A - 1) / d`` and
    ``M0 = A (B/A - 1) / d`` (Deichmann and Haase 1992). Estimated are M0, T1 itself and the factor ``f = B/A``, so that the
    deviation of T1 holds that of the correction.

    The sine of the flip angle stays in M0. Small flip angles are assumed: the train is taken as continuous, an error in T1 of order
    TR / T1*.
    """

    inversion_efficiency: float = field(
        default=1.0, metadata=described("part of the magnetisation that is inverted", header="InversionEfficiency")
    )

    name: ClassVar[str] = "look-locker"
    summary: ClassVar[str] = "M0 d/(f-1) (1 - f exp(-t (f-1)/(d T1))), inversion efficiency d"
    source: ClassVar[str] = "Deichmann and Haase 1992, doi 10.1016/0022-2364(92)90347-A"
    times_key: ClassVar[str] = "ti"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        M0,
        T1,
        Parameter(name="inversion", map_name="inversionmap", unit="1", lower=1.1, upper=30.0, typical=(1.5, 5.0)),
    )
    changes_sign: ClassVar[bool] = True
    nonlinear: ClassVar[int] = 1
    n_linear: ClassVar[int] = 2
    searched: ClassVar[Parameter | None] = Parameter(
        name="t1star", map_name="T1starmap", unit="s", lower=5e-3, upper=10.0, typical=(0.03, 3.0)
    )
    steady_state: ClassVar[bool] = False
    """Whether M0 is the steady state ``A`` itself."""

    def __post_init__(self) -> None:
        check_number(self.name, "inversion_efficiency", self.inversion_efficiency, upper=1.5)

    def signal(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each contrast."""
        m0, t1, factor = parameters.unbind(-1)
        shortening = (factor - 1) / self.inversion_efficiency
        level = m0 if self.steady_state else m0 / shortening
        return level[..., None] * (1 - factor[..., None] * decay(t1 / shortening, times))

    def basis(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """A constant and the recovery with ``T1*``."""
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
        """T1 from ``T1*`` and the ratio of the coefficients."""
        level, fall = coefficients.unbind(-1)
        factor = -fall / level
        shortening = (factor - 1) / self.inversion_efficiency
        return torch.stack([level if self.steady_state else level * shortening, constant * shortening, factor], dim=-1)


@dataclass(frozen=True, kw_only=True)
class Molli(LookLocker):
    """Modified Look-Locker inversion recovery ``s(TI) = M0 (1 - f exp(-TI (f-1)/(d T1)))``.

    The inversion times of several inversions are put together (TI of the first image after the inversion plus whole heart beats).
    The readout is a balanced one, for which the correction of Deichmann and Haase is an approximation, and M0 is the steady state
    that the signal reaches. Known to be too short with short T2, magnetisation transfer and off-resonance (Kellman and Hansen
    2014, doi 10.1186/1532-429X-16-2); an efficiency of the inversion below 1 is one of the reasons and a setting.
    """

    name: ClassVar[str] = "molli"
    summary: ClassVar[str] = "M0 (1 - f exp(-TI (f-1)/(d T1))), inversion efficiency d"
    source: ClassVar[str] = "Messroghli et al. 2004, doi 10.1002/mrm.20110"
    steady_state: ClassVar[bool] = True
