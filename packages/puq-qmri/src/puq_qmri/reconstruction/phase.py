"""The smooth phase that all contrasts share."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Complex64, Float
from torch import Tensor

from puq_qmri.reconstruction.splitting import joint_conjugate_gradients

WIDE, NARROW = 8, 16
"""The phase is taken from this part (one n-th to each side) of k-space."""
_STEPS = 8


def common_phase(images: Complex64[Tensor, "contrast z y x"], part: int = WIDE) -> Complex64[Tensor, "z y x"]:
    """The smooth phase that the contrasts share up to their sign, as unit complex numbers.

    Where a voxel's contrasts are real multiples of one another, half the phase of the sum of their squares is theirs up to a sign,
    which the strongest contrast decides. The result is smoothed in k-space, which leaves ambiguous voxels to their neighbours.

    Parameters
    ----------
    images
        Of all contrasts.
    part
        Which part of k-space the phase is taken from: one n-th to each side.
    """
    half = 0.5 * torch.angle((images**2).sum(dim=0))
    strongest = images[images.abs().square().sum(dim=(1, 2, 3)).argmax()]
    sign = torch.where((torch.exp(-1j * half) * strongest).real < 0, -1.0, 1.0)
    rough = sign * torch.exp(1j * half) * strongest.abs()
    result: Tensor = torch.exp(1j * torch.angle(_smooth(rough, part)))
    return result.to(images.dtype)


def refined_phase(
    phase: Complex64[Tensor, "z y x"],
    coefficients: Float[Tensor, "component z y x"],
    normal: Callable[[Tensor], Tensor],
    back: Complex64[Tensor, "component z y x"],
    regularisation: float,
) -> Complex64[Tensor, "z y x"]:
    """One Gauss-Newton step of the misfit of the samples along a smooth change of the phase, the real coefficients held.

    A phase that is wrong by one part in fifty makes an error of that size in images held to be real, of which relaxation times
    many times longer than the echo times are made. The change is smooth by construction: it is the low part of k-space of
    something that conjugate gradients find.

    Parameters
    ----------
    phase
        Where to start.
    coefficients
        Real coefficient images.
    normal, back
        Normal operator and adjoint of the samples for complex coefficients.
    regularisation
        Shift of the normal equations, in units of the mean square of the image.
    """

    def across(residual: Tensor) -> Tensor:
        return _smooth((coefficients * (phase.conj() * residual).imag).sum(dim=0)).real

    shift = regularisation * float(coefficients.square().sum(dim=0).mean())

    def map_(change: Tensor) -> Tensor:
        turned = 1j * phase * (coefficients * _smooth(change).real)
        return across(normal(turned)) + shift * change

    right = across(back - normal(phase * coefficients))
    change = _smooth(joint_conjugate_gradients(map_, right, _STEPS, 1e-3)).real
    result: Tensor = phase * torch.exp(1j * change)
    return result.to(phase.dtype)


def _smooth(image: Tensor, part: int = NARROW) -> Tensor:
    """The low part of k-space; self-adjoint."""
    axes = [axis for axis in range(3) if image.shape[axis] > 1]
    spectrum = torch.fft.fftn(image, dim=axes)
    for axis in axes:
        n = image.shape[axis]
        position = torch.fft.fftfreq(n, device=image.device).abs() * n
        width = max(4.0, n / part)
        window = torch.cos(math.pi / 2 * (position / width).clamp_max(1.0)) ** 2
        spectrum = spectrum * window.reshape([-1 if a == axis else 1 for a in range(3)])
    result: Tensor = torch.fft.ifftn(spectrum, dim=axes)
    return result
