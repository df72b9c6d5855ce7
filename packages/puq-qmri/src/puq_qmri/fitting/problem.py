r"""The fit of a signal model to images whose contrasts have unequal, known or unknown deviations.

Heteroscedastic means here: contrast ``i`` of voxel ``v`` has standard deviation ``sigma_iv``, and the estimate minimises
``sum_i (y_iv - s(t_i; p_v))^2 / sigma_iv^2``. The covariance of the estimate is ``(J^T W J)^-1`` with the analytic Jacobian and
``W = diag(1 / sigma^2)``. Without deviations all contrasts weigh the same, and the residuals of the voxel estimate one variance
with ``n_contrasts - n_parameters`` degrees of freedom; the intervals are then Student's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from medcore.errors import ConfigError, InputError
from puq_qmri.fitting.result import FitResult, Status
from puq_qmri.fitting.signals import (
    Polarities,
    SignalType,
    inside_bounds,
    signal_type,
    solve_with_polarity,
    to_real,
    with_physical_sign,
)
from puq_qmri.fitting.variable_projection import Solution, solve
from puq_qmri.signal_models import SeparableModel, SignalModel, get_model

CHUNK = 4096
"""Voxels worked on at once: few enough that the start grid's products stay in the cache."""
NOISE_FLOOR = 3.0
"""Magnitudes below this many deviations are too large by more than 5 % on average (Gudbjartsson and Patz 1995)."""
_UNDETERMINED = 1e12
"""Variance inflation by the other parameters above which the covariance is rounding error."""
_RESULT_FIELDS = ("maps", "std", "low95", "high95")


def fit(
    images: NDArray[Any],
    times: NDArray[np.floating[Any]],
    model: str | SignalModel,
    *,
    sigma: float | NDArray[Any] | None = None,
    mask: NDArray[Any] | None = None,
    signal: str = "auto",
    device: str | torch.device = "cpu",
) -> FitResult:
    """Estimate the parameters of a signal model in every voxel.

    The estimate is that of normal noise. Magnitudes have Rician noise: where they come near the noise floor (below about three
    deviations) they are too large, late echoes most, so T2 comes out too long. ``facts["near_noise_floor"]`` of the result is the
    share of fitted voxels with such a magnitude, where deviations are known. An offset is no cure; complex images have no such bias.

    Parameters
    ----------
    images
        (contrast, z, y, x), real or complex.
    times
        (contrast,) in seconds; order and repetition do not matter.
    model
        A signal model or its name.
    sigma
        Standard deviation of the images (of the real part, if complex): one number, (contrast,), or the shape of the images. An
        infinite or NaN deviation leaves that contrast of that voxel out, whatever its value. None: unknown and equal.
    mask
        (z, y, x), bool or zero outside; voxels outside are not fitted.
    signal
        ``auto``, ``signed``, ``magnitude`` or ``complex``, see :func:`puq_qmri.fitting.signals.signal_type`. Complex images are
        taken as magnitudes where the phase changes with the times of the model.
    device
        Where to compute.

    Raises
    ------
    InputError
        If shapes contradict each other, times are not finite, there are fewer contrasts than parameters, or a deviation of a
        voxel to be fitted is not positive.
    ConfigError
        If there is no such model, or it is not separable.
    """
    chosen = get_model(model) if isinstance(model, str) else model
    if not isinstance(chosen, SeparableModel):
        raise ConfigError(f"signal model {chosen.name!r}", "is not linear in all parameters but one", "use a SeparableModel")
    times = _checked_times(images, times, chosen)
    inside = _checked_mask(mask, images.shape[1:])
    flat = images.reshape(len(images), -1)
    kind = signal_type(flat if inside.all() else flat[:, inside], signal)
    if kind == "complex" and chosen.phase_evolves:
        kind = "magnitude"
    if kind == "magnitude" and chosen.needs_sign:
        raise InputError("images", f"are magnitudes, and model {chosen.name} needs their sign", "give complex or signed images")
    deviation = _checked_sigma(sigma, images.shape)
    status = _usable(flat, deviation, inside, times, len(chosen.parameters))
    _check_positive(deviation, status == Status.OK)
    problem = _Problem(model=chosen, times=times, images=flat, deviation=deviation, kind=kind, device=torch.device(device))
    result = _Maps(problem, status)
    for index in _chunks(np.flatnonzero(status == Status.OK)):
        result.put(index, problem.estimate(index))
    return result.finish(images.shape[1:])


@dataclass(frozen=True, kw_only=True)
class _Estimate:
    """Results of some voxels, in the units of the images and of the model."""

    values: Float[Tensor, "voxel parameter"]
    std: Float[Tensor, "voxel parameter"]
    chi2: Float[Tensor, " voxel"]
    n_iter: Int[Tensor, " voxel"]
    status: Int[Tensor, " voxel"]
    near_floor: Bool[Tensor, " voxel"]


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """Flattened images of one kind and what is to be fitted to them."""

    model: SeparableModel
    times: Float[np.ndarray, " contrast"]
    images: Num[np.ndarray, "contrast voxel"]
    deviation: Float[np.ndarray, "contrast #voxel"] | None
    kind: SignalType
    device: torch.device

    @property
    def freedom(self) -> int:
        return len(self.times) - len(self.model.parameters)

    def estimate(self, index: Int[np.ndarray, " chosen"]) -> _Estimate:
        """Fit the voxels at `index`, which must be usable."""
        weights, least = self._weights(index)
        y = to_real(self.images[:, index], self.kind, self.model, self.times, weights)
        y = np.where(weights > 0, y, 0.0)
        signal, weight = (torch.as_tensor(v.T, device=self.device).contiguous() for v in (y, weights))
        # In units of the largest signal and the least deviation all squares stay within range, whatever the images' unit.
        scale = signal.abs().amax(-1, keepdim=True)
        noise = torch.as_tensor(least, device=self.device)[:, None] / scale
        solution, polarities = self._solve(signal / scale, weight)
        cost = solution.cost
        if self.deviation is None:
            noise = (cost / self.freedom if self.freedom else torch.full_like(cost, torch.nan)).sqrt()[:, None]
            chi2 = cost * scale[:, 0] ** 2
        else:
            chi2 = cost / noise[:, 0] ** 2
        spread = _spread(self.model, torch.as_tensor(self.times, device=self.device), solution, weight)
        in_image_unit = torch.tensor([p.unit == "a.u." for p in self.model.parameters], device=self.device)
        factor = torch.where(in_image_unit, scale, 1.0)
        deviation = spread * noise
        if polarities is not None:
            deviation = (deviation**2 + polarities.doubt(noise[:, 0] ** 2)).sqrt()
        values, std = (solution.parameters * factor).float(), (deviation * factor).float()
        determined = values.isfinite().all(-1) & spread.isfinite().all(-1) & ~std.isinf().any(-1)
        return _Estimate(
            values=values,
            std=std,
            chi2=chi2.float(),
            n_iter=solution.iterations,
            status=_outcome(self.model, solution, determined),
            near_floor=((signal / scale < NOISE_FLOOR * noise / weight.sqrt()) & (weight > 0)).any(-1),
        )

    def _weights(
        self, index: Int[np.ndarray, " chosen"]
    ) -> tuple[Float[np.ndarray, "contrast #chosen"], Float[np.ndarray, " #chosen"]]:
        """Inverse variances in units of the largest one of each voxel, and the deviation that belongs to it."""
        if self.deviation is None:
            return np.ones((len(self.times), 1)), np.ones(1)
        deviation = self.deviation if self.deviation.shape[1] == 1 else self.deviation[:, index]
        deviation = np.where(np.isfinite(deviation), deviation, np.inf)
        least = deviation.min(axis=0)
        return (least / deviation) ** 2, least

    def _solve(
        self, signal: Float[Tensor, "voxel contrast"], weight: Float[Tensor, "#voxel contrast"]
    ) -> tuple[Solution, Polarities | None]:
        """The solution, and those of other polarities where the signal has lost its sign."""
        times = torch.as_tensor(self.times, device=self.device)
        if self.kind == "magnitude" and self.model.changes_sign:
            polarities = solve_with_polarity(self.model, times, signal, weight)
            return polarities.best, polarities
        solution = solve(self.model, times, signal, weight)
        return with_physical_sign(self.model, solution) if self.kind == "complex" else solution, None


class _Maps:
    """Result arrays over flattened voxels, filled chunk by chunk."""

    def __init__(self, problem: _Problem, status: NDArray[np.int8]) -> None:
        self.problem, self.status = problem, status
        n = len(status)
        self.values = {f: np.full((n, len(problem.model.parameters)), np.nan, np.float32) for f in _RESULT_FIELDS}
        self.chi2, self.n_iter, self.near_floor = np.full(n, np.nan, np.float32), np.zeros(n, np.int16), 0
        self.quantile = _quantile(problem.freedom, known=problem.deviation is not None)

    def put(self, index: NDArray[np.int64], estimate: _Estimate) -> None:
        ok = estimate.status == Status.OK
        half = self.quantile * estimate.std
        limits = (estimate.values, estimate.std, estimate.values - half, estimate.values + half)
        for name, tensor in zip(_RESULT_FIELDS, limits, strict=True):
            self.values[name][index] = torch.where(ok[:, None], tensor, torch.nan).cpu().numpy()
        self.chi2[index] = torch.where(ok, estimate.chi2, torch.nan).cpu().numpy()
        self.n_iter[index] = estimate.n_iter.cpu().numpy()
        self.status[index] = estimate.status.cpu().numpy()
        self.near_floor += int((estimate.near_floor & ok).sum())

    def finish(self, shape: tuple[int, ...]) -> FitResult:
        problem = self.problem
        names = [p.name for p in problem.model.parameters]
        maps = {f: {n: np.ascontiguousarray(v[:, i]).reshape(shape) for i, n in enumerate(names)} for f, v in self.values.items()}
        facts: dict[str, Any] = {"signal": problem.kind}
        if problem.kind == "magnitude" and problem.deviation is not None:
            facts["near_noise_floor"] = self.near_floor / max(1, int((self.status == Status.OK).sum()))
        return FitResult(
            model=problem.model.name,
            signal_model=problem.model,
            times=problem.times,
            status=self.status.reshape(shape),
            chi2=self.chi2.reshape(shape),
            n_iter=self.n_iter.reshape(shape),
            degrees_of_freedom=problem.freedom,
            sigma_known=problem.deviation is not None,
            facts=facts,
            **maps,
        )


def _outcome(model: SeparableModel, solution: Solution, determined: Bool[Tensor, " voxel"]) -> Int[Tensor, " voxel"]:
    """Status code of each voxel after its fit."""
    code = torch.full_like(solution.iterations, Status.OK, dtype=torch.int8)
    code[~solution.converged] = Status.NOT_CONVERGED
    code[~(inside_bounds(model, solution.parameters) & ~solution.at_bound & determined)] = Status.AT_BOUND
    return code


def _spread(
    model: SignalModel, times: Float[Tensor, " contrast"], solution: Solution, weights: Float[Tensor, "#voxel contrast"]
) -> Float[Tensor, "voxel parameter"]:
    """Deviations for noise of unit weight, the square roots of the diagonal of ``(J^T W J)^-1``; NaN where it does not exist."""
    jacobian = model.jacobian(solution.parameters, times) * weights.sqrt()[..., None]
    # To unit columns first: seconds and image units differ by many orders of magnitude.
    size = (jacobian**2).sum(-2, keepdim=True).sqrt()
    jacobian = jacobian / size
    inverse, failed = torch.linalg.inv_ex(jacobian.mT @ jacobian)
    inflation = inverse.diagonal(dim1=-2, dim2=-1)
    sound = (failed == 0) & ((inflation > 0.5) & (inflation < _UNDETERMINED)).all(-1)
    return torch.where(sound[:, None], inflation.clamp_min(1).sqrt() / size[:, 0], torch.nan)


def _quantile(freedom: int, *, known: bool) -> float:
    """Half width of the 95 % interval in standard deviations."""
    if known:
        return float(special.ndtri(0.975))
    return float(special.stdtrit(freedom, 0.975)) if freedom > 0 else float("nan")


def _chunks(index: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(index), CHUNK):
        yield index[start : start + CHUNK]


def _usable(
    images: NDArray[Any],
    deviation: NDArray[np.float64] | None,
    inside: NDArray[np.bool_],
    times: NDArray[np.float64],
    n_parameters: int,
) -> NDArray[np.int8]:
    """Status of the flattened voxels before the fit: which ones can be fitted at all."""
    used = np.ones((len(images), 1), bool) if deviation is None else np.isfinite(deviation)
    different = sum(used[times == time].any(axis=0).astype(np.int64) for time in np.unique(times))
    status = np.full(images.shape[1], Status.OK, np.int8)
    status[((images == 0) | ~used).all(axis=0)] = Status.NO_SIGNAL
    status[(~np.isfinite(images) & used).any(axis=0) | (different < n_parameters)] = Status.NOT_FINITE
    status[~inside] = Status.OUTSIDE_MASK
    return status


def _checked_times(images: NDArray[Any], times: NDArray[Any], model: SignalModel) -> NDArray[np.float64]:
    if images.dtype.kind not in "iufc":
        raise InputError("images", f"are of type {images.dtype}", "give real or complex numbers")
    if images.ndim != 4 or 0 in images.shape:
        raise InputError("images", f"have shape {images.shape}", "give four non-empty axes (contrast, z, y, x)")
    vector = np.atleast_1d(np.asarray(times, np.float64))
    if vector.shape != (len(images),):
        raise InputError(
            f"{model.times_key} of model {model.name}",
            f"has {vector.size} values for {len(images)} contrasts",
            "give one time for each",
        )
    if not (np.isfinite(vector).all() and (vector >= 0).all()):
        raise InputError(f"{model.times_key} of model {model.name}", f"is {vector.tolist()}", "give finite seconds, not negative")
    needed = len(model.parameters)
    if len(np.unique(vector)) < needed:
        raise InputError(
            f"model {model.name}",
            f"estimates {needed} parameters, and there are {len(np.unique(vector))} different times",
            "use more contrasts or a simpler model",
        )
    return vector


def _checked_sigma(sigma: float | NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Deviations (contrast, voxel), or (contrast, 1) where all voxels share them."""
    if sigma is None:
        return None
    if np.iscomplexobj(sigma):
        raise InputError("sigma", "is complex", "give the standard deviation of the real part")
    deviation = np.asarray(sigma, np.float64)
    if deviation.shape not in ((), shape[:1], shape):
        raise InputError("sigma", f"has shape {deviation.shape}", f"give one number, {shape[:1]} or {shape}")
    if deviation.ndim == 0:
        deviation = np.broadcast_to(deviation, shape[:1])
    return deviation.reshape(shape[0], -1)


def _check_positive(deviation: NDArray[np.float64] | None, chosen: NDArray[np.bool_]) -> None:
    """Refuse deviations that no measurement has; zero is allowed where nothing is fitted, as outside of the coil maps."""
    if deviation is None:
        return
    shared = deviation.shape[1] == 1
    wrong = (deviation < 0) | ((deviation == 0) & (shared or chosen))
    if wrong.any():
        where = "" if shared else f" in {int(wrong.any(axis=0).sum())} voxels with signal"
        raise InputError(
            "sigma",
            f"has a value of {deviation[wrong].min():g}{where}",
            "give standard deviations above zero, or infinity to leave a contrast out",
        )


def _checked_mask(mask: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Flattened mask."""
    if mask is None:
        return np.ones(int(np.prod(shape)), bool)
    if mask.shape != shape:
        raise InputError("mask", f"has shape {mask.shape}", f"give the images' shape {shape}")
    if not np.isfinite(mask).all():
        raise InputError("mask", "has values that are not finite", "give zero outside and one inside")
    inside = np.asarray(mask, bool).ravel()
    if not inside.any():
        raise InputError("mask", "is empty", "give a mask with voxels to fit")
    return inside
