"""From images as they were measured to the real, signed signals that a model describes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from medcore.errors import InputError
from torch import Tensor

from puq_qmri.fitting.variable_projection import Solution, solve
from puq_qmri.signal_models.base import SeparableModel, SignalModel

SignalType = Literal["signed", "magnitude", "complex"]
SIGNAL_TYPES = ("auto", "signed", "magnitude", "complex")


def signal_type(images: np.ndarray, requested: str) -> SignalType:
    """Which kind of signal the images hold.

    ``auto`` takes complex data as complex, real data with negative values as signed, the rest as magnitude.

    Raises
    ------
    InputError
        If the request is unknown or contradicts the data (complex asked of real data, magnitude of data below zero).
    """
    if requested not in SIGNAL_TYPES:
        raise InputError("--signal", f"is {requested!r}", f"choose one of {', '.join(SIGNAL_TYPES)}")
    is_complex = np.iscomplexobj(images)
    negative = not is_complex and bool(np.nanmin(images, initial=0.0) < 0)
    if requested == "auto":
        return "complex" if is_complex else "signed" if negative else "magnitude"
    if requested == "complex" and not is_complex:
        raise InputError("--signal complex", f"was asked of {images.dtype} images", "give complex images, or --signal auto")
    if requested == "magnitude" and negative:
        raise InputError("--signal magnitude", f"was asked of images down to {np.nanmin(images):g}", "use --signal signed or auto")
    if requested == "signed" and is_complex:
        raise InputError("--signal signed", f"was asked of {images.dtype} images", "use --signal complex or auto")
    return requested  # type: ignore[return-value]  # one of the three by the checks above


def to_real(images: np.ndarray, kind: SignalType, model: SignalModel, times: np.ndarray) -> np.ndarray:
    """Real signals of shape (contrast, ...) from images of that kind.

    Complex images are turned by the phase of a reference: the contrast with the longest time where the model changes sign
    (its magnetisation has recovered), else the sum over all contrasts, weighted by their magnitude.
    """
    if kind == "magnitude":
        return np.abs(images)
    if kind == "signed":
        return images
    if model.changes_sign:
        reference = images[int(np.argmax(times))]
    else:
        reference = (images * np.abs(images)).sum(axis=0)
    return np.asarray((images * np.exp(-1j * np.angle(reference))).real)


def solve_with_polarity(
    model: SeparableModel,
    times: Float[Tensor, " contrast"],
    magnitude: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "voxel contrast"],
) -> tuple[Solution, Float[Tensor, "voxel contrast"]]:
    """Fit magnitudes of a signal that is negative before some time and positive after it.

    Every place of the sign change is tried (Nekolla et al. 1992, doi 10.1002/mrm.1910280114); the one with the smallest misfit
    and positive M0 wins. Returns the solution and the signed signals.
    """
    rank = times.argsort().argsort()
    best: Solution | None = None
    signed = magnitude
    for negative in range(len(times) + 1):
        trial = torch.where(rank < negative, -magnitude, magnitude)
        found = solve(model, times, trial, weights)
        if best is None:
            best, signed = found, trial
            worth = _worth(found)
            continue
        better = _worth(found) < worth
        worth = torch.where(better, _worth(found), worth)
        signed = torch.where(better[:, None], trial, signed)
        fields = {
            name: torch.where(better.reshape(-1, *[1] * (getattr(best, name).ndim - 1)), getattr(found, name), getattr(best, name))
            for name in ("parameters", "cost", "iterations", "converged", "at_bound")
        }
        best = Solution(**fields)
    assert best is not None  # noqa: S101 - for the type checker: the loop runs at least once
    return best, signed


def _worth(solution: Solution) -> Float[Tensor, " voxel"]:
    """Misfit, with unphysical or undetermined solutions behind all others."""
    physical = (solution.parameters[:, 0] > 0) & (solution.parameters[:, -1] > 0) & ~solution.at_bound
    return torch.where(physical, solution.cost, torch.inf)
