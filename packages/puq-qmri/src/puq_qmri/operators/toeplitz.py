r"""Normal operator of the non-uniform Fourier transform as a convolution on the doubled grid.

``A^H W A`` maps an image to its convolution with ``q(r) = (\prod n)^{-1} \sum_j w_j \exp(i\, k_j \cdot r)``, which a doubled grid
makes a multiplication in Fourier space (Fessler et al. 2005, doi 10.1109/TSP.2005.853152). The kernel is one accurate transform of
the weights. Between the coefficients of a temporal basis it is a convolution for every two components with the kernel
``\sum_p B_pk B_pl q_p`` (Tamir et al. 2017, doi 10.1002/mrm.26102): the work is that of the components, however many the contrasts.

On the CPU, rows of zeros before and rows cropped after are never transformed, and every image is done on its own so that it stays in
the cache: less than half of the work of two transforms of the doubled grid. On a GPU, where many small steps would wait for their
launches, images are transformed together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from puq_qmri.operators.base import LinearOperator, SelfAdjoint

_ESTIMATE = 64
"""FFTW's quick way to plan: the kernel is made once."""
_BLOCK = 1 << 17
"""Values of all components in one block of rows on the CPU: 1 MiB in single precision."""
_ASIDE = 8
"""Unused values between rows."""
_BATCH = 1 << 27
"""Values transformed together on a GPU: 1 GiB in single precision."""


class Toeplitz(SelfAdjoint):
    """Convolution of each contrast of (contrast, coil, z, y, x) with its own Hermitian kernel; self-adjoint.

    Parameters
    ----------
    spectrum
        Transform of each contrast's kernel, see :func:`kernel_spectrum`; operands lie on its device.
    matrix
        Image matrix (z, y, x).
    n_coils
        Size of the coil axis.
    """

    def __init__(self, spectrum: Float[Tensor, "contrast *doubled"], matrix: Sequence[int], n_coils: int) -> None:
        shape = (len(spectrum), n_coils, *matrix)
        super().__init__(shape, shape)
        self.spectrum, self.grid = spectrum, tuple(matrix)[-(spectrum.ndim - 1) :]
        self.device, self._ready = spectrum.device, _arranged(spectrum)[:, None]

    def for_one_coil(self) -> LinearOperator:
        """The same kernels for one coil."""
        return self if self.domain[1] == 1 else Toeplitz(self.spectrum, self.domain[2:], 1)

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        images = x.reshape(self.domain[0], 1, self.domain[1], *self.grid)
        result: Tensor = _Convolve.apply(images, self._ready)  # type: ignore[no-untyped-call]
        return result.reshape(self.domain)


class SubspaceToeplitz(SelfAdjoint):
    """Convolution between every two components of (component, coil, z, y, x), with a Hermitian kernel for each pair; self-adjoint.

    Parameters
    ----------
    spectrum
        Transform of the kernel of each unordered pair of components, see :func:`pairs`; operands lie on its device.
    n_components
        Number of components.
    matrix
        Image matrix (z, y, x).
    n_coils
        Size of the coil axis.
    """

    def __init__(self, spectrum: Float[Tensor, "pair *doubled"], n_components: int, matrix: Sequence[int], n_coils: int) -> None:
        shape = (n_components, n_coils, *matrix)
        super().__init__(shape, shape)
        self.spectrum, self.grid = spectrum, tuple(matrix)[-(spectrum.ndim - 1) :]
        self.device, self._ready = spectrum.device, _arranged(spectrum)[None]

    def for_one_coil(self) -> LinearOperator:
        """The same kernels for one coil."""
        return self if self.domain[1] == 1 else SubspaceToeplitz(self.spectrum, self.domain[0], self.domain[2:], 1)

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        result: Tensor = _Convolve.apply(x.reshape(1, *x.shape[:2], *self.grid), self._ready)  # type: ignore[no-untyped-call]
        return result.reshape(self.domain)


def pairs(n_components: int) -> list[tuple[int, int]]:
    """Unordered pairs of components in the order of their kernels: (0, 0), (0, 1), ..., (1, 1), ..."""
    return list(itertools.combinations_with_replacement(range(n_components), 2))


def pair_products(basis: Float[Tensor, "contrast component"]) -> Float[Tensor, "contrast pair"]:
    """Products of the entries of each pair of components, for each contrast."""
    first, second = zip(*pairs(basis.shape[1]), strict=True)
    return basis[:, list(first)] * basis[:, list(second)]


class _Convolve(torch.autograd.Function):
    """Groups of components, each mixed by the spectra of its pairs; its own backward because it is self-adjoint."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, spectra: Tensor) -> Tensor:
        ctx.save_for_backward(spectra)
        together = images.is_cuda
        spectra = spectra.to(images.real.dtype)
        result = torch.empty_like(images, memory_format=torch.contiguous_format)
        step = max(1, _BATCH // math.prod(spectra.shape[2:]) // images.shape[1]) if together else 1
        block = None if together else _padded_block(images[0])
        for given, kernels, out in zip(images, spectra, result, strict=True):
            for start in range(0, images.shape[2], step):
                coils = slice(start, start + step)
                if block is None:
                    out[:, coils] = _together(given[:, coils], kernels)
                else:
                    out[:, start] = _by_rows(given[:, start], kernels, block)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (spectra,) = ctx.saved_tensors
        result: Tensor = _Convolve.apply(gradients[0], spectra)  # type: ignore[no-untyped-call]
        return result, None


def _together(images: Complex[Tensor, "component coil *grid"], spectra: Tensor) -> Tensor:
    """By transforms over all axes at once."""
    grid = images.shape[2:]
    axes = tuple(range(-len(grid), 0))
    values = torch.fft.fftn(images, s=[2 * n for n in grid], dim=axes)
    mixed = torch.fft.ifftn(mix(values, spectra), dim=axes)
    result: Tensor = mixed[(..., *(slice(n) for n in grid))]
    return result


def _by_rows(images: Complex[Tensor, "component *grid"], spectra: Tensor, padded: Tensor) -> Tensor:
    """Axes come last in turn, so that every transform runs along contiguous rows; the last one goes there and back by blocks.

    `padded` is a block of rows whose second half is zero and stays so: made once for many images.
    """
    first, *others = images.shape[1:]
    values = images
    for n in reversed(others):
        values = torch.fft.fft(values, n=2 * n).movedim(-1, 1)
    # Rows of a power of two would fall into the same lines of the cache when they are turned.
    room = values.new_empty(*values.shape[:-1], first + _ASIDE)[..., :first]
    step = padded.shape[1]
    for start in range(0, values.shape[1], step):
        given = values[:, start : start + step]
        block = padded[:, : given.shape[1]]
        block[..., :first] = given
        mixed = torch.fft.ifft(mix(torch.fft.fft(block), spectra[:, start : start + step]))
        room[:, start : start + step] = mixed[..., :first]
    result = room
    for n in others:
        result = torch.fft.ifft(result.movedim(1, -1).contiguous())[..., :n]
    return result


def _padded_block(images: Complex[Tensor, "component coil *grid"]) -> Tensor:
    """The block of :func:`_by_rows` for images of this shape."""
    components, _, first, *others = images.shape
    # The last axis but one to be transformed is the one that blocks divide.
    inner = [2 * n for n in others[1:]]
    step = min(2 * others[0], max(1, _BLOCK // (components * math.prod(inner) * 2 * first)))
    return images.new_zeros(components, step, *inner, 2 * first)


def mix(values: Complex[Tensor, "component *frequencies"], spectra: Tensor) -> Tensor:
    """``out_k = sum_l spectrum_kl values_l`` with the spectra of :func:`pairs`, broadcast; changes `values` where there is one.

    Spectra may have a last axis of length 2 more than `values`, both entries the same: a product of real numbers side by side is
    several times faster than one of real and complex numbers.
    """
    interleaved = spectra.ndim == values.ndim + 1
    plain = torch.view_as_real(values) if interleaved else values
    if len(plain) == 1:
        return values.mul_(spectra[0]) if not interleaved else torch.view_as_complex(plain.mul_(spectra[0]))
    result = torch.empty_like(plain)
    begun = [False] * len(plain)
    for spectrum, pair in zip(spectra, pairs(len(plain)), strict=True):
        for to, source in {pair, pair[::-1]}:
            if begun[to]:
                result[to].addcmul_(plain[source], spectrum)
            else:
                torch.mul(plain[source], spectrum, out=result[to])
                begun[to] = True
    return torch.view_as_complex(result) if interleaved else result


def _arranged(spectrum: Float[Tensor, "kernel *doubled"]) -> Tensor:
    """As the convolution of this device wants it: on the CPU axes in the order in which they come last, in 2-D interleaved."""
    if spectrum.is_cuda:
        return spectrum
    order = range(1, spectrum.ndim)
    turned = spectrum.permute(0, *order[1:], 1).contiguous()
    # Twice the memory, which is nothing in two dimensions.
    return turned[..., None].expand(*turned.shape, 2).contiguous() if len(order) == 2 else turned


def kernel_spectrum(
    points: Float[Tensor, "contrast point dim"],
    matrix: Sequence[int],
    weights: Float[Tensor, "contrast point"] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "contrast *doubled"]:
    """Real spectrum of each contrast's kernel on the doubled grid, zero frequency first.

    Computed in double precision with finufft. The lag ``-n`` has no partner ``+n`` and never contributes; zero there keeps the
    spectrum real.

    Parameters
    ----------
    points
        Radians per sample, last axis ordered like the spatial axes.
    matrix
        Image matrix (z, y, x).
    weights
        Of the samples, 1 if not given.
    dtype
        Of the result, which says how accurate it has to be.
    """
    return torch.stack([s.to(dtype) for s in _spectra(points, matrix, weights, dtype)]).to(points.device)


def subspace_spectrum(
    points: Float[Tensor, "contrast point dim"],
    matrix: Sequence[int],
    basis: Float[Tensor, "contrast component"],
    weights: Float[Tensor, "contrast point"] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "pair *doubled"]:
    """Spectrum of the kernel of every pair of components; see :func:`kernel_spectrum` and :func:`pairs`.

    One contrast after the other, so that the kernels of all contrasts are never held together.
    """
    products = pair_products(basis.detach().cpu().double())
    grid = tuple(matrix)[-points.shape[-1] :]
    result = torch.zeros(products.shape[1], *(2 * n for n in grid), dtype=dtype)
    for factors, spectrum in zip(products, _spectra(points, matrix, weights, dtype), strict=True):
        for pair, factor in zip(result, factors.tolist(), strict=True):
            pair.add_(spectrum, alpha=factor)
    return result.to(points.device)


def _spectra(points: Tensor, matrix: Sequence[int], weights: Tensor | None, dtype: torch.dtype) -> Iterator[Tensor]:
    """The spectrum of each contrast in double precision, one at a time."""
    import finufft

    dim = points.shape[-1]
    grid = tuple(matrix)[-dim:]
    doubled = tuple(2 * n for n in grid)
    given = np.ones(points.shape[:2]) if weights is None else weights.detach().cpu().double().numpy()
    double = dtype == torch.float64
    plan = finufft.Plan(
        1,
        doubled,
        isign=1,
        eps=1e-12 if double else 1e-8,
        # The smaller oversampled grid takes less than half of the time; its 1e-8 vanish in single precision.
        upsampfac=2.0 if double else 1.25,
        dtype="complex128",
        modeord=1,
        fftw=_ESTIMATE,
        nthreads=torch.get_num_threads(),
        showwarn=0,
    )
    for contrast, where in enumerate(points.detach().cpu().double().numpy()):
        plan.setpts(*(np.ascontiguousarray(where[:, d]) for d in range(dim)))
        kernel = np.array(plan.execute(given[contrast].astype(np.complex128)))
        for axis, n in enumerate(grid):
            kernel[(slice(None),) * axis + (n,)] = 0
        yield torch.fft.fftn(torch.from_numpy(kernel)).real / math.prod(matrix)
