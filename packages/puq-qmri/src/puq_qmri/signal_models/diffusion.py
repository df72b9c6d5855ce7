"""Signal loss by diffusion."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from puq_qmri.signal_models.base import Parameter, SeparableModel


class ApparentDiffusion(SeparableModel):
    """Mono-exponential decay with the b-value ``s(b) = S0 exp(-b ADC)``.

    b-values are in s/m^2 (1000 s/mm^2 = 1e9 s/m^2) and the apparent diffusion coefficient in m^2/s. Directions are not told apart:
    give images of one direction, or their geometric mean.
    """

    name: ClassVar[str] = "adc"
    summary: ClassVar[str] = "S0 exp(-b ADC)"
    source: ClassVar[str] = "Le Bihan et al. 1986, doi 10.1148/radiology.161.2.3763909"
    times_key: ClassVar[str] = "b_value"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="s0", map_name="S0map", unit="a.u.", lower=0.0, upper=float("inf")),
        Parameter(name="adc", map_name="ADCmap", unit="m^2/s", lower=1e-11, upper=1e-7, typical=(1e-10, 5e-9)),
    )
    nonlinear: ClassVar[int] = 1
    n_linear: ClassVar[int] = 1

    def signal(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each contrast."""
        s0, adc = parameters.unbind(-1)
        return s0[..., None] * torch.exp(-times * adc[..., None])

    def jacobian(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast parameter"]:
        """``e`` and ``-S0 b e`` with ``e = exp(-b ADC)``."""
        s0, adc = parameters.unbind(-1)
        curve = torch.exp(-times * adc[..., None])
        return torch.stack([curve, -s0[..., None] * times * curve], dim=-1)

    def basis(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """The decay."""
        return torch.exp(-times * constant[..., None])[..., None]

    def basis_slope(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """Its derivative."""
        exponent = times * constant[..., None]
        return (-exponent * torch.exp(-exponent))[..., None]

    def assemble(
        self, constant: Float[Tensor, "*voxels"], coefficients: Float[Tensor, "*voxels linear"]
    ) -> Float[Tensor, "*voxels parameter"]:
        """The coefficient is S0."""
        return torch.stack([coefficients[..., 0], constant], dim=-1)
