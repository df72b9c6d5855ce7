r"""Normal operator of the non-uniform Fourier transform as a convolution on the doubled grid.

``A^H W A`` maps an image to its convolution with ``q(r) = (\prod n)^{-1} \sum_j w_j \exp(i\, k_j \cdot r)``, which a doubled grid
makes a multiplication in Fourier space (Fessler et al. 2005, doi 10.1109/TSP.2005.853152). The kernel is one accurate transform of
the weights. Rows of zeros before, and rows cropped after, are never transformed, and every image is done on its own so that it stays
in the cache: less than half of the work of two transforms of the doubled grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from puq_qmri.operators.base import LinearOperator

_ACCURACY = 1e-12
_ESTIMATE = 64
"""FFTW's quick way to plan: the kernel is made once."""


class Toeplitz(LinearOperator):
    """Convolution of each contrast of (contrast, coil, z, y, x) with its own Hermitian kernel; self-adjoint.

    Parameters
    ----------
    spectrum
        Transform of each contrast's kernel, see :func:`kernel_spectrum`.
    matrix
        Image matrix (z, y, x).
    n_coils
        Size of the coil axis.
    """

    def __init__(self, spectrum: Float[Tensor, "contrast *doubled"], matrix: Sequence[int], n_coils: int) -> None:
        shape = (len(spectrum), n_coils, *matrix)
        super().__init__(shape, shape)
        self.spectrum, self.grid = spectrum, tuple(matrix)[-(spectrum.ndim - 1) :]

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        result: Tensor = _Convolve.apply(x.reshape(*x.shape[:2], *self.grid), self.spectrum)  # type: ignore[no-untyped-call]
        return result.reshape(self.domain)

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self._forward(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        """Itself."""
        return self


class _Convolve(torch.autograd.Function):
    """The convolution; its own backward because it is self-adjoint."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, spectrum: Tensor) -> Tensor:
        ctx.save_for_backward(spectrum)
        result = torch.empty_like(images)
        for contrast, kernel in enumerate(spectrum.to(images.device, images.real.dtype)):
            for coil, image in enumerate(images[contrast]):
                result[contrast, coil] = _convolve(image, kernel)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (spectrum,) = ctx.saved_tensors
        result: Tensor = _Convolve.apply(gradients[0], spectrum)  # type: ignore[no-untyped-call]
        return result, None


def _convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """One image; axes come last in turn, so that every transform runs along contiguous rows."""
    grid = image.shape
    values = torch.fft.fft(image, n=2 * grid[-1])
    for n in reversed(grid[:-1]):
        values = torch.fft.fft(values.movedim(-1, 0).contiguous(), n=2 * n)
    values *= kernel
    for n in grid[:-1]:
        values = torch.fft.ifft(values)[..., :n].movedim(0, -1).contiguous()
    result: Tensor = torch.fft.ifft(values)[..., : grid[-1]]
    return result


def kernel_spectrum(
    points: Float[Tensor, "contrast point dim"],
    matrix: Sequence[int],
    weights: Float[Tensor, "contrast point"] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "contrast *doubled"]:
    """Real spectrum of each contrast's kernel, its axes in the order in which :class:`Toeplitz` meets them.

    Computed in double precision with finufft at a relative accuracy of 1e-12. The lag ``-n`` has no partner ``+n`` and never
    contributes; zero there keeps the spectrum real.

    Parameters
    ----------
    points
        Radians per sample, last axis ordered like the spatial axes.
    matrix
        Image matrix (z, y, x).
    weights
        Of the samples, 1 if not given.
    dtype
        Of the result.
    """
    import finufft

    dim = points.shape[-1]
    grid = tuple(matrix)[-dim:]
    doubled = tuple(2 * n for n in grid)
    given = np.ones(points.shape[:2]) if weights is None else weights.detach().cpu().double().numpy()
    plan = finufft.Plan(
        1, doubled, isign=1, eps=_ACCURACY, dtype="complex128", modeord=1, fftw=_ESTIMATE, nthreads=torch.get_num_threads()
    )
    result = torch.empty(len(points), *_cycled(doubled), dtype=dtype)
    for contrast, where in enumerate(points.detach().cpu().double().numpy()):
        plan.setpts(*(np.ascontiguousarray(where[:, d]) for d in range(dim)))
        kernel = np.array(plan.execute(given[contrast].astype(np.complex128)))
        for axis, n in enumerate(grid):
            kernel[(slice(None),) * axis + (n,)] = 0
        spectrum = np.fft.fftn(kernel).real / math.prod(matrix)
        result[contrast] = torch.from_numpy(np.ascontiguousarray(spectrum.transpose(_order(dim))))
    return result.to(points.device)


def _order(dim: int) -> tuple[int, ...]:
    """Axes as :func:`_convolve` leaves them before the multiplication: (x, y) for (y, x), (y, x, z) for (z, y, x)."""
    order = list(range(dim))
    for _ in range(dim - 1):
        order = [order[-1], *order[:-1]]
    return tuple(order)


def _cycled(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in _order(len(shape)))
