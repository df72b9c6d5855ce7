r"""Centred orthonormal Fourier transform.

.. math:: y_k = N^{-1/2} \sum_r x_r \exp(-2 \pi i\,(k - \lfloor n/2 \rfloor)(r - \lfloor n/2 \rfloor) / n)

over the last three axes, so that the centre of k-space lies at index ``n // 2`` and the adjoint is the inverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex
from torch import Tensor

from puq_qmri.operators.base import Identity, LinearOperator

AXES = (-3, -2, -1)


def centred_fft(x: Complex[Tensor, "*batch z y x"]) -> Complex[Tensor, "*batch z y x"]:
    """Transform over the last three axes."""
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, AXES), dim=AXES, norm="ortho"), AXES)


def centred_ifft(y: Complex[Tensor, "*batch z y x"]) -> Complex[Tensor, "*batch z y x"]:
    """Inverse, and adjoint, of :func:`centred_fft`."""
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(y, AXES), dim=AXES, norm="ortho"), AXES)


class Fft(LinearOperator):
    """:func:`centred_fft` as an operator on tensors of shape (..., z, y, x)."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape, shape)

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return centred_fft(x)

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return centred_ifft(y)

    @property
    def gram(self) -> LinearOperator:
        """The identity: the transform is unitary."""
        return Identity(self.domain)
