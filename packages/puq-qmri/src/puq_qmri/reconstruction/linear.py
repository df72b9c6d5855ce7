"""Least squares by conjugate gradients, contrast by contrast at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex64, Float, Int, Shaped
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.operators import LinearOperator
from puq_qmri.reconstruction.settings import ReconstructionSettings

_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Images and how they were reached.

    Attributes
    ----------
    images
        complex64 (contrast, z, y, x); zero for a contrast without signal.
    iterations, residuals
        Steps taken and relative residual reached, by contrast.
    steps, ratios
        Course of the conjugate gradients, (iteration, contrast): how far along each direction, and how much of it is kept in
        the next. Empty for a method without iterations.
    """

    images: Complex64[Tensor, "contrast z y x"]
    iterations: Int[Tensor, " contrast"]
    residuals: Float[Tensor, " contrast"]
    steps: Float[Tensor, "iteration contrast"]
    ratios: Float[Tensor, "iteration contrast"]


def conjugate_gradients(
    normal: Callable[[Tensor], Tensor] | LinearOperator,
    right: Complex64[Tensor, "contrast z y x"],
    settings: ReconstructionSettings,
) -> Reconstruction:
    """Solve ``normal(x) = right`` for every contrast at once; the contrasts are independent and stop on their own.

    Hestenes and Stiefel 1952, doi 10.6028/jres.049.044.

    Parameters
    ----------
    normal
        A Hermitian positive map that does not mix contrasts.
    right
        The right-hand side.
    settings
        Number of iterations and tolerance.

    Raises
    ------
    InputError
        If the right-hand side is not finite.
    """
    size = right.abs().amax(dim=(1, 2, 3))
    if not size.isfinite().all():
        raise InputError("right-hand side of the normal equations", "is not finite", "repair the samples or the coil maps")
    # In units of the largest value, squares stay within the range of single precision whatever the scanner's scale.
    unit = torch.where(size > 0, size, 1.0).double()
    residual = _scale(1 / unit, right)
    image, direction = torch.zeros_like(right), residual
    norm = _energy(residual)
    start = norm
    steps, ratios = [], []
    for _ in range(settings.max_iterations):
        active = norm > start * settings.tolerance**2
        if not active.any():
            break
        # Zero for contrasts that are done, so that a transform may skip them.
        direction = _scale(active, direction)
        image_of = normal(direction)
        curvature = (direction.conj() * image_of).real.double().sum(dim=(1, 2, 3))
        step = torch.where(active, norm / curvature.clamp_min(_TINY), 0.0)
        image = image + _scale(step, direction)
        residual = residual - _scale(step, image_of)
        fresh = torch.where(active, _energy(residual), norm)
        ratio = torch.where(active, fresh / norm.clamp_min(_TINY), 0.0)
        direction = residual + _scale(ratio, direction)
        norm = fresh
        steps.append(step)
        ratios.append(ratio)
    course = torch.stack(steps) if steps else norm.new_zeros(0, len(norm))
    return Reconstruction(
        images=_scale(unit, image),
        iterations=(course > 0).sum(dim=0),
        residuals=(norm / start.clamp_min(_TINY)).sqrt().float(),
        steps=course,
        ratios=torch.stack(ratios) if ratios else course,
    )


def repeat_course(
    normal: Callable[[Tensor], Tensor] | LinearOperator, right: Complex64[Tensor, "contrast z y x"], course: Reconstruction
) -> Complex64[Tensor, "contrast z y x"]:
    """Take the steps of another solution of the same normal equations: a linear map of `right`."""
    image, residual, direction = torch.zeros_like(right), right, right
    for step, ratio in zip(course.steps, course.ratios, strict=True):
        direction = _scale(step != 0, direction)
        image = image + _scale(step, direction)
        residual = residual - _scale(step, normal(direction))
        direction = residual + _scale(ratio, direction)
    return image


def _energy(x: Complex64[Tensor, "contrast z y x"]) -> Float[Tensor, " contrast"]:
    return (x.abs().double() ** 2).sum(dim=(1, 2, 3))


def _scale(factor: Shaped[Tensor, " contrast"], x: Tensor) -> Tensor:
    return factor.to(x.real.dtype)[:, None, None, None] * x
