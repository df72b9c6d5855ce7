"""Coil sensitivity maps as an operator."""

from __future__ import annotations

from jaxtyping import Complex
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.operators.base import LinearOperator


class Sensitivity(LinearOperator):
    """From images (contrast, z, y, x) to coil images (contrast, coil, z, y, x): ``y_pcr = csm_cr x_pr``.

    Parameters
    ----------
    csm
        complex (coil, z, y, x).
    n_contrasts
        Size of the contrast axis.
    """

    def __init__(self, csm: Tensor, n_contrasts: int) -> None:
        if csm.ndim != 4:
            raise InputError("coil sensitivity maps", f"have shape {tuple(csm.shape)}", "give (coil, z, y, x)")
        super().__init__((n_contrasts, *csm.shape[1:]), (n_contrasts, *csm.shape))
        self.csm = csm

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return x[:, None] * self.csm

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return (y * self.csm.conj()).sum(dim=1)
