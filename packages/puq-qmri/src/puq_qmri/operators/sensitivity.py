"""Coil sensitivity maps as an operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
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

    Raises
    ------
    InputError
        If the maps are not complex or do not have four axes.
    """

    def __init__(self, csm: Tensor, n_contrasts: int) -> None:
        if csm.ndim != 4:
            raise InputError("coil sensitivity maps", f"have shape {tuple(csm.shape)}", "give (coil, z, y, x)")
        if csm.dtype not in {torch.complex64, torch.complex128}:
            raise InputError("coil sensitivity maps", f"have values of type {csm.dtype}", "give complex64 or complex128")
        super().__init__((n_contrasts, *csm.shape[1:]), (n_contrasts, *csm.shape))
        self.csm, self.device = csm, csm.device

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return x[:, None] * self.csm

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return (y * self.csm.conj()).sum(dim=1)

    def for_contrasts(self, n_contrasts: int) -> LinearOperator:
        """The same maps for another number of contrasts."""
        return Sensitivity(self.csm, n_contrasts)

    def around(self, middle: LinearOperator) -> LinearOperator:
        """``S.H @ middle @ S``, one coil after the other where `middle` does the same to each."""
        one = middle.for_one_coil()
        return super().around(middle) if one is None or len(self.csm) == 1 else _CoilByCoil(self.csm, one)


class _CoilByCoil(LinearOperator):
    """``sum_c conj(csm_c) G(csm_c x)``: no more than a few coil images exist at a time."""

    def __init__(self, csm: Tensor, one: LinearOperator) -> None:
        contrasts, _, *matrix = one.domain
        super().__init__((contrasts, *matrix), (contrasts, *matrix))
        self.csm, self.one = csm, one

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self._summed(x, self.one)

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self._summed(y, self.one.adjoint)

    def _summed(self, x: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
        result = torch.zeros_like(x)
        for coil in self.csm:
            result = result + coil.conj() * transform((coil * x)[:, None])[:, 0]
        return result
