r"""Centred orthonormal Fourier transform, of all grid points or of some.

.. math:: y_k = N^{-1/2} \sum_r x_r \exp(-2 \pi i\,(k - \lfloor n/2 \rfloor)(r - \lfloor n/2 \rfloor) / n)

over the last three axes, so that the centre of k-space lies at index ``n // 2`` and the adjoint is the inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.operators.base import Expansion, Identity, LinearOperator, Mask, SelfAdjoint
from puq_qmri.operators.toeplitz import mix, pair_products

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

    def weighted_gram(self, weights: Tensor) -> LinearOperator:
        """A :class:`Convolution` as well."""
        return Convolution(self._weights(weights), self.domain)

    def subspace_gram(self, basis: Tensor, weights: Tensor | None = None) -> LinearOperator:
        """A :class:`SubspaceConvolution`, unless weights differ between coils."""
        spectrum = self._weights(torch.ones((), device=basis.device) if weights is None else weights)
        if len(self.domain) != 5 or spectrum.shape[-4] != 1:
            return super().subspace_gram(basis, weights)
        basis = Expansion(basis, self.domain).basis
        precision = torch.promote_types(basis.dtype, spectrum.dtype)
        products = pair_products(basis.detach().to(spectrum.device, precision))
        sums = torch.tensordot(products.T, spectrum.to(precision).expand(len(basis), *spectrum.shape[1:]), dims=1)
        return SubspaceConvolution(sums, (basis.shape[1], *self.domain[1:]))

    def _weights(self, weights: Tensor) -> Tensor:
        """Weights times mask with as many axes as the domain, zero frequency at index 0."""
        given = Mask(weights, self.domain).mask
        product = given if self.sampling is None else given * self.sampling.mask
        real = product if product.is_floating_point() else product.float()
        result: Tensor = torch.fft.ifftshift(real.reshape((1,) * (len(self.domain) - real.ndim) + tuple(real.shape)), AXES)
        return result


def _varying(spectrum: Tensor) -> tuple[tuple[int, ...], Tensor]:
    """Axes along which a spectrum is not constant, and its one value along the others: they need no transform."""
    axes = []
    for axis in AXES:
        if spectrum.ndim < -axis or spectrum.shape[axis] == 1:
            continue
        first = spectrum.narrow(axis, 0, 1)
        if bool((spectrum == first).all()):
            spectrum = first
        else:
            axes.append(axis)
    return tuple(axes), spectrum.contiguous()


class Convolution(SelfAdjoint):
    """Cyclic convolution over the last three axes with a kernel of real spectrum, so that it is its own adjoint.

    Axes along which the spectrum is constant, as that of whole lines along the readout, are not transformed.

    Parameters
    ----------
    spectrum
        Real or boolean, broadcastable to `shape`, zero frequency at index 0.
    shape
        Shape of what it takes and gives.
    """

    def __init__(self, spectrum: Tensor, shape: Sequence[int]) -> None:
        super().__init__(shape, shape)
        Mask(spectrum, shape)
        self.axes, kept = _varying(spectrum)
        self.spectrum = Mask(kept, shape)

    def for_one_coil(self) -> LinearOperator | None:
        """The same convolution for one coil, where the spectrum has one for all."""
        mask = self.spectrum.mask
        if len(self.domain) != 5 or (mask.ndim > 3 and mask.shape[-4] != 1):
            return None
        return Convolution(mask, (self.domain[0], 1, *self.domain[2:]))

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        if not self.axes:
            return self.spectrum(x)
        result: Tensor = torch.fft.ifftn(self.spectrum(torch.fft.fftn(x, dim=self.axes)), dim=self.axes)
        return result

    @property
    def gram(self) -> LinearOperator:
        """Convolution with the squared spectrum."""
        squared = self.spectrum.gram
        assert isinstance(squared, Mask)  # noqa: S101 - for the type checker
        return Convolution(squared.mask, self.domain)


class SubspaceConvolution(SelfAdjoint):
    """Cyclic convolution between every two components of (component, coil, z, y, x), with a real spectrum for each pair; self-adjoint.

    Parameters
    ----------
    spectrum
        Of each unordered pair of components, see :func:`puq_qmri.operators.toeplitz.pairs`; (pair, 1, z, y, x) with zero frequency
        first, or 1 for axes along which it is constant.
    shape
        Shape of what it takes and gives.
    """

    def __init__(self, spectrum: Float[Tensor, "pair 1 kz ky kx"], shape: Sequence[int]) -> None:
        super().__init__(shape, shape)
        self.axes, self.spectrum = _varying(spectrum)
        self.device = spectrum.device
        # Real numbers side by side, see `mix`; a value that is constant along x stays one.
        self._ready = self.spectrum[..., None].expand(*self.spectrum.shape, 1 if self.spectrum.shape[-1] == 1 else 2).contiguous()

    def for_one_coil(self) -> LinearOperator:
        """The same convolution for one coil."""
        return self if self.domain[1] == 1 else SubspaceConvolution(self.spectrum, (self.domain[0], 1, *self.domain[2:]))

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        result: Tensor = _Mixed.apply(x, self._ready, self.axes)  # type: ignore[no-untyped-call]
        return result


class _Mixed(torch.autograd.Function):
    """Its own backward because it is self-adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spectra: Tensor, axes: tuple[int, ...]) -> Tensor:
        ctx.axes = axes
        ctx.save_for_backward(spectra)
        # A copy where there is nothing to transform: the product of a single component is made in place.
        values = torch.fft.fftn(x, dim=axes) if axes else x.resolve_conj().clone()
        mixed = mix(values, spectra.to(x.real.dtype))
        result: Tensor = torch.fft.ifftn(mixed, dim=axes) if axes else mixed
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (spectra,) = ctx.saved_tensors
        result: Tensor = _Mixed.apply(gradients[0], spectra, ctx.axes)  # type: ignore[no-untyped-call]
        return result, None, None
