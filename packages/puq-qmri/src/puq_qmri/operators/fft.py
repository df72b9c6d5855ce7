r"""Centred orthonormal Fourier transform, of all grid points or of some.

.. math:: y_k = N^{-1/2} \sum_r x_r \exp(-2 \pi i\,(k - \lfloor n/2 \rfloor)(r - \lfloor n/2 \rfloor) / n)

over the last three axes, so that the centre of k-space lies at index ``n // 2`` and the adjoint is the inverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.operators.base import Identity, LinearOperator, Mask

AXES = (-3, -2, -1)


def centred_fft(x: Complex[Tensor, "*batch z y x"]) -> Complex[Tensor, "*batch z y x"]:
    """Transform over the last three axes."""
    result: Tensor = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, AXES), dim=AXES, norm="ortho"), AXES)
    return result


def centred_ifft(y: Complex[Tensor, "*batch z y x"]) -> Complex[Tensor, "*batch z y x"]:
    """Inverse, and adjoint, of :func:`centred_fft`."""
    result: Tensor = torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(y, AXES), dim=AXES, norm="ortho"), AXES)
    return result


class Fft(LinearOperator):
    """:func:`centred_fft` as an operator on tensors of shape (..., z, y, x).

    Parameters
    ----------
    shape
        Shape of what it takes and gives.
    mask
        Which grid points are measured, boolean, broadcastable to `shape`; the others come out as zero. None: all.

    Raises
    ------
    InputError
        If there are fewer than three axes, or the mask does not fit.
    """

    def __init__(self, shape: Sequence[int], mask: Bool[Tensor, "..."] | None = None) -> None:
        if len(shape) < 3:
            raise InputError("Fft", f"has shape {tuple(shape)}", "give at least the axes (z, y, x)")
        super().__init__(shape, shape)
        self.sampling = None if mask is None else Mask(mask, shape)

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        samples = centred_fft(x)
        return samples if self.sampling is None else self.sampling(samples)

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return centred_ifft(y if self.sampling is None else self.sampling(y))

    @property
    def gram(self) -> LinearOperator:
        """The identity, or with a mask a :class:`Convolution`: no sample needs to be brought into order."""
        if self.sampling is None:
            return Identity(self.domain)
        mask = self.sampling.mask
        return Convolution(torch.fft.ifftshift(mask.reshape((1,) * (3 - mask.ndim) + tuple(mask.shape)), AXES), self.domain)


class Convolution(LinearOperator):
    """Cyclic convolution over the last three axes with a kernel of real spectrum, so that it is its own adjoint.

    Parameters
    ----------
    spectrum
        Real or boolean, broadcastable to `shape`, zero frequency at index 0.
    shape
        Shape of what it takes and gives.
    """

    def __init__(self, spectrum: Tensor, shape: Sequence[int]) -> None:
        super().__init__(shape, shape)
        self.spectrum = Mask(spectrum, shape)

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        result: Tensor = torch.fft.ifftn(self.spectrum(torch.fft.fftn(x, dim=AXES)), dim=AXES)
        return result

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self._forward(y)

    @property
    def gram(self) -> LinearOperator:
        """Convolution with the squared spectrum."""
        squared = self.spectrum.gram
        assert isinstance(squared, Mask)  # noqa: S101 - for the type checker
        return Convolution(squared.mask, self.domain)
