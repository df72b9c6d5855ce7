"""From images as they were measured to the real, signed signals that a model describes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.fitting.solution import Solution
from puq_qmri.signal_models.base import SignalModel

SignalType = Literal["signed", "magnitude", "complex"]
Solver = Callable[[Tensor, Tensor], Solution]
"""Turns signals and weights, both (voxel, contrast), into estimates."""
SIGNAL_TYPES = ("auto", "signed", "magnitude", "complex")


def signal_type(images: NDArray[np.generic], requested: str) -> SignalType:
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
    lowest = 0.0 if is_complex else float(np.fmin.reduce(images, axis=None, initial=0))
    if requested == "auto":
        return "complex" if is_complex else "signed" if lowest < 0 else "magnitude"
    if requested == "complex" and not is_complex:
        raise InputError("--signal complex", f"was asked of {images.dtype} images", "give complex images, or --signal auto")
    if requested == "magnitude" and lowest < 0:
        raise InputError("--signal magnitude", f"was asked of images down to {lowest:g}", "use --signal signed or auto")
    if requested == "signed" and is_complex:
        raise InputError("--signal signed", f"was asked of {images.dtype} images", "use --signal complex or auto")
    return requested  # type: ignore[return-value]  # one of the three by the checks above


def to_real(
    images: NDArray[np.generic],
    kind: SignalType,
    model: SignalModel,
    times: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    r"""Real signals of shape (contrast, ...) from images of that kind.

    Complex images of one voxel share one phase. Its most likely value, with white noise, is half the angle of
    :math:`\sum_i w_i y_i^2`, whatever the signs of the signals. Noise that enters by it scales all contrasts of the voxel by the
    same ``1 + 1 / (2 SNR^2)`` on average, with SNR that of all contrasts together: M0 rises by this, times do not. That angle
    leaves one sign open: the contrast with the longest time is taken as positive where the model changes sign (its magnetisation
    has had most time to recover), the sum of all contrasts otherwise.

    Parameters
    ----------
    images
        (contrast, ...), real or complex.
    kind
        Of the images, see :func:`signal_type`.
    model
        The model that will be fitted.
    times
        (contrast,) in seconds.
    weights
        Inverse variances up to a factor, broadcast against the images; zero leaves a value out, even one that is not finite.
    """
    if kind == "magnitude":
        return np.asarray(np.abs(images), np.float64)
    if kind == "signed":
        return np.asarray(images, np.float64)
    worth = np.broadcast_to(1.0 if weights is None else weights, images.shape)
    values = np.where(worth > 0, images.astype(np.complex128), 0)
    with np.errstate(invalid="ignore", over="ignore"):  # a voxel that is not finite stays so
        size = np.maximum(np.abs(values).max(axis=0), np.finfo(np.float64).tiny)
        values = values / size
        turned = (values * np.exp(-0.5j * np.angle((worth * values**2).sum(axis=0)))).real
    if model.changes_sign:
        late = np.where(worth > 0, times.reshape(-1, *[1] * (turned.ndim - 1)), -1.0).argmax(axis=0)
        reference = np.take_along_axis(turned, late[None], axis=0)[0]
    else:
        reference = (worth * turned * np.abs(turned)).sum(axis=0)
    return np.asarray(np.where(reference < 0, -size, size) * turned, np.float64)


def inside_bounds(model: SignalModel, parameters: Float[Tensor, "voxel parameter"]) -> Bool[Tensor, " voxel"]:
    """Whether all parameters lie within their bounds; NaN does not."""
    lower = torch.tensor([p.lower for p in model.parameters], dtype=torch.float64, device=parameters.device)
    upper = torch.tensor([p.upper for p in model.parameters], dtype=torch.float64, device=parameters.device)
    return ((parameters > lower) & (parameters < upper)).all(-1)


def with_physical_sign(model: SignalModel, solution: Solution) -> Solution:
    """The solution, or that of the signals with the other sign where only its parameters lie within their bounds.

    Signals of the other sign have the same misfit, and parameters in the images' unit change sign.
    """
    in_image_unit = torch.tensor([p.unit == "a.u." for p in model.parameters], device=solution.parameters.device)
    mirrored = torch.where(in_image_unit, -solution.parameters, solution.parameters)
    better = inside_bounds(model, mirrored) & ~inside_bounds(model, solution.parameters)
    return replace(solution, parameters=torch.where(better[:, None], mirrored, solution.parameters))


@dataclass(frozen=True, kw_only=True)
class Polarities:
    """Solutions for every place where magnitudes may have changed sign.

    Attributes
    ----------
    best
        The one of least misfit with parameters within their bounds.
    signal
        (voxel, contrast): the magnitudes with the signs that belong to it.
    signals
        The magnitudes with the signs of every polarity, each as `signal`.
    parameters, costs
        (polarity, voxel, parameter) and (polarity, voxel) of all of them; the misfit of an unphysical one is infinite.
    """

    best: Solution
    signal: Float[Tensor, "voxel contrast"]
    signals: tuple[Float[Tensor, "voxel contrast"], ...]
    parameters: Float[Tensor, "polarity voxel parameter"]
    costs: Float[Tensor, "polarity voxel"]

    def doubt(self, variance: Float[Tensor, " voxel"]) -> Float[Tensor, "voxel parameter parameter"]:
        """Mean product of the distances of the other solutions from the best, weighted by their likelihood under noise of this variance.

        A value near the zero crossing fits nearly as well with either sign, and the best solution alone is too sure. Where an
        inversion time meets the zero crossing (T1 1.084 s, TI 0.7 s, f 1.9) its intervals cover 87 %, with this term 92 %.
        """
        excess = (self.costs - self.best.cost).clamp_min(0)
        likelihood = torch.exp(-excess / (2 * variance.clamp_min(torch.finfo(variance.dtype).tiny)))
        distance = torch.where(likelihood[..., None] > 0, self.parameters - self.best.parameters, 0.0)
        total = likelihood.sum(0).clamp_min(1)
        return torch.einsum("sv,svp,svq->vpq", likelihood / total, distance, distance)


def solve_with_polarity(
    solve: Solver,
    model: SignalModel,
    times: Float[Tensor, " contrast"],
    magnitude: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "#voxel contrast"],
) -> Polarities:
    """Fit magnitudes of a signal that is negative before some time and positive after it.

    Every place of the sign change between two times is tried (Nekolla et al. 1992, doi 10.1002/mrm.1910280114); the one with the
    smallest misfit and parameters within their bounds wins. The magnitude of noise is not zero on average, so that values near
    the zero crossing leave a bias, which grows as SNR falls.

    Parameters
    ----------
    solve
        The fitter of signed signals.
    model, times
        The model and its times.
    magnitude, weights
        float64, as the fitter takes them.
    """
    trials = [solve(magnitude, weights)]
    signals, costs = [magnitude], [_worth(model, trials[0])]
    for time in sorted(set(times.tolist())):
        turned = torch.where(times <= time, -magnitude, magnitude)
        trial = solve(turned, weights)
        # Turning only contrasts that are left out is the previous polarity once more.
        new = (weights[:, times == time] > 0).any(-1)
        trials.append(trial)
        signals.append(turned)
        costs.append(torch.where(new, _worth(model, trial), torch.inf))
    first = torch.stack(costs).argmin(0)
    best, signal = trials[0], magnitude
    for index, (trial, turned) in enumerate(zip(trials, signals, strict=True)):
        best = trial.where(first == index, best)
        signal = torch.where((first == index)[:, None], turned, signal)
    return Polarities(
        best=best,
        signal=signal,
        signals=tuple(signals),
        parameters=torch.stack([trial.parameters for trial in trials]),
        costs=torch.stack(costs),
    )


def _worth(model: SignalModel, solution: Solution) -> Float[Tensor, " voxel"]:
    """Misfit, with unphysical or undetermined solutions behind all others."""
    physical = inside_bounds(model, solution.parameters) & ~solution.at_bound
    return torch.where(physical, solution.cost, torch.inf)
