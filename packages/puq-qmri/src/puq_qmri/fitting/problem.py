r"""The fit of a signal model to images whose contrasts have unequal, known or unknown deviations.

Heteroscedastic means here: contrast ``i`` of voxel ``v`` has standard deviation ``sigma_iv``, and the estimate minimises
``sum_i (y_iv - s(t_i; p_v))^2 / sigma_iv^2``. The covariance of the estimate is ``(J^T W J)^-1`` with the analytic Jacobian and
``W = diag(1 / sigma^2)``. Without deviations all contrasts weigh the same, and the residuals of the voxel estimate one variance
with ``n_contrasts - n_parameters`` degrees of freedom; the intervals are then Student's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from medcore.errors import ConfigError, InputError
from numpy.typing import NDArray
from torch import Tensor

from puq_qmri.fitting.result import FitResult, Status
from puq_qmri.fitting.signals import SignalType, signal_type, solve_with_polarity, to_real
from puq_qmri.fitting.variable_projection import Solution, solve
from puq_qmri.signal_models import SeparableModel, SignalModel, get_model

CHUNK = 8192
"""Voxels worked on at once: few enough that the start grid's products stay in the cache."""
_RESULT_FIELDS = ("maps", "std", "low95", "high95")


def fit(
    images: NDArray[Any],
    times: NDArray[np.floating[Any]],
    model: str | SignalModel,
    *,
    sigma: float | NDArray[np.floating[Any]] | None = None,
    mask: NDArray[np.bool_] | None = None,
    signal: str = "auto",
    device: str | torch.device = "cpu",
) -> FitResult:
    """Estimate the parameters of a signal model in every voxel.

    Parameters
    ----------
    images
        (contrast, z, y, x), real or complex.
    times
        (contrast,) in seconds; order and repetition do not matter.
    model
        A signal model or its name.
    sigma
        Standard deviation of the images: one number, (contrast,), or the shape of the images. An infinite or NaN deviation
        leaves that contrast of that voxel out. None: unknown and equal.
    mask
        bool (z, y, x); voxels outside are not fitted.
    signal
        ``auto``, ``signed``, ``magnitude`` or ``complex``, see :func:`puq_qmri.fitting.signals.signal_type`.
    device
        Where to compute.

    Raises
    ------
    InputError
        If shapes contradict each other, times are not finite, or there are fewer contrasts than parameters.
    """
    chosen = get_model(model) if isinstance(model, str) else model
    if not isinstance(chosen, SeparableModel):
        raise ConfigError(f"signal model {chosen.name!r}", "is not linear in all parameters but one", "use a SeparableModel")
    times = _checked_times(images, times, chosen)
    kind = signal_type(images, signal)
    real = to_real(images, kind, chosen, times)
    deviation = _checked_sigma(sigma, real.shape)
    inside = _checked_mask(mask, real.shape[1:])
    flat = _Flat(chosen, real.shape, sigma_known=sigma is not None)
    status = _usable(real, deviation, inside, len(chosen.parameters))
    for index in _chunks(np.flatnonzero(status == Status.OK)):
        _fit_chunk(flat, index, real, deviation, times, kind, status, device)
    return flat.result(status.reshape(real.shape[1:]), times, {"signal": kind})


class _Flat:
    """Result arrays over flattened voxels, filled chunk by chunk."""

    def __init__(self, model: SeparableModel, shape: tuple[int, ...], *, sigma_known: bool) -> None:
        self.model, self.shape, self.sigma_known = model, shape[1:], sigma_known
        self.freedom = shape[0] - len(model.parameters)
        n = int(np.prod(self.shape))
        self.values = {f: np.full((n, len(model.parameters)), np.nan, np.float32) for f in _RESULT_FIELDS}
        self.chi2, self.n_iter = np.full(n, np.nan, np.float32), np.zeros(n, np.int16)

    def result(self, status: NDArray[np.int8], times: NDArray[np.float64], facts: dict[str, Any]) -> FitResult:
        maps = {
            f: {p.name: np.ascontiguousarray(v[:, i]).reshape(self.shape) for i, p in enumerate(self.model.parameters)}
            for f, v in self.values.items()
        }
        return FitResult(
            model=self.model.name,
            times=times,
            status=status,
            chi2=self.chi2.reshape(self.shape),
            n_iter=self.n_iter.reshape(self.shape),
            degrees_of_freedom=self.freedom,
            sigma_known=self.sigma_known,
            facts=facts,
            **maps,
        )


def _fit_chunk(
    flat: _Flat,
    index: NDArray[np.int64],
    real: NDArray[Any],
    deviation: NDArray[np.float64] | None,
    times: NDArray[np.float64],
    kind: SignalType,
    status: NDArray[np.int8],
    device: str | torch.device,
) -> None:
    """Fit the voxels at `index` and put the results in their places."""
    model = flat.model
    t = torch.as_tensor(times, device=device)
    y = torch.as_tensor(real.reshape(len(times), -1)[:, index].T.astype(np.float64), device=device)
    weights = torch.ones_like(y)
    if deviation is not None:
        sigma = torch.as_tensor(deviation.reshape(len(times), -1)[:, index if deviation.shape[1:] != (1, 1, 1) else [0]].T, device=device)
        weights = torch.where(torch.isfinite(sigma), sigma**-2, 0.0).expand_as(y)
    # Working in units of the largest signal and weight keeps squares within range whatever the images' unit.
    scale, unit = y.abs().amax(-1, keepdim=True), weights.amax(-1, keepdim=True)
    if kind == "magnitude" and model.changes_sign:
        solution, _ = solve_with_polarity(model, t, y / scale, weights / unit)
    else:
        solution = solve(model, t, y / scale, weights / unit)
    covariance = _covariance(model, t, solution, weights / unit) / (unit * scale**2)[..., None]
    cost = solution.cost * (unit * scale**2)[:, 0]
    if not flat.sigma_known:
        covariance = covariance * (cost / flat.freedom if flat.freedom else torch.full_like(cost, torch.nan))[:, None, None]
    linear = torch.tensor([p.unit == "a.u." for p in model.parameters], device=device)
    factor = torch.where(linear, scale, 1.0)
    values = solution.parameters * factor
    std = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt() * factor
    half = _quantile(flat.freedom, known=flat.sigma_known) * std
    ok, code = _outcome(model, solution, std)
    status[index] = code.cpu().numpy()
    for name, tensor in zip(_RESULT_FIELDS, (values, std, values - half, values + half), strict=True):
        flat.values[name][index] = torch.where(ok[:, None], tensor, torch.nan).cpu().numpy()
    flat.chi2[index] = torch.where(ok, cost, torch.nan).cpu().numpy()
    flat.n_iter[index] = solution.iterations.cpu().numpy()


def _outcome(model: SeparableModel, solution: Solution, std: Float[Tensor, "voxel parameter"]) -> tuple[Tensor, Tensor]:
    """Which voxels have a trustworthy estimate, and the status code of each."""
    lower = torch.tensor([p.lower for p in model.parameters], dtype=torch.float64, device=std.device)
    upper = torch.tensor([p.upper for p in model.parameters], dtype=torch.float64, device=std.device)
    inside = ((solution.parameters > lower) & (solution.parameters < upper)).all(-1) & ~solution.at_bound
    code = torch.full_like(solution.iterations, Status.OK, dtype=torch.int8)
    code[~solution.converged] = Status.NOT_CONVERGED
    code[~inside] = Status.AT_BOUND
    return code == Status.OK, code


def _covariance(
    model: SignalModel, times: Float[Tensor, " contrast"], solution: Solution, weights: Float[Tensor, "voxel contrast"]
) -> Float[Tensor, "voxel parameter parameter"]:
    """``(J^T W J)^-1`` by voxel; NaN where it does not exist."""
    jacobian = model.jacobian(solution.parameters, times)
    information = torch.einsum("vcp,vc,vcq->vpq", jacobian, weights, jacobian)
    # Scaling to a unit diagonal first: seconds and image units differ by many orders of magnitude.
    size = information.diagonal(dim1=-2, dim2=-1).sqrt()
    inverse, failed = torch.linalg.inv_ex(information / (size[:, :, None] * size[:, None, :]))
    inverse = inverse / (size[:, :, None] * size[:, None, :])
    return torch.where((failed != 0)[:, None, None], torch.nan, inverse)


def _quantile(freedom: int, *, known: bool) -> float:
    """Half width of the 95 % interval in standard deviations."""
    from scipy import stats

    if known:
        return float(stats.norm.ppf(0.975))
    return float(stats.t.ppf(0.975, freedom)) if freedom > 0 else float("nan")


def _chunks(index: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(index), CHUNK):
        yield index[start : start + CHUNK]


def _usable(
    real: NDArray[Any], deviation: NDArray[np.float64] | None, inside: NDArray[np.bool_], n_parameters: int
) -> NDArray[np.int8]:
    """Flattened status before the fit: which voxels can be fitted at all."""
    flat = real.reshape(len(real), -1)
    status = np.full(flat.shape[1], Status.OK, np.int8)
    finite = np.isfinite(flat).all(axis=0)
    if deviation is not None:
        enough = np.isfinite(deviation).reshape(len(real), -1).sum(axis=0) >= n_parameters
        finite &= enough
    status[(flat == 0).all(axis=0)] = Status.NO_SIGNAL
    status[~finite] = Status.NOT_FINITE
    status[~inside.ravel()] = Status.OUTSIDE_MASK
    return status


def _checked_times(images: NDArray[Any], times: NDArray[Any], model: SignalModel) -> NDArray[np.float64]:
    if images.ndim != 4 or 0 in images.shape:
        raise InputError("images", f"have shape {images.shape}", "give four non-empty axes (contrast, z, y, x)")
    vector = np.atleast_1d(np.asarray(times, np.float64))
    if vector.shape != (len(images),):
        raise InputError(
            f"{model.times_key} of model {model.name}", f"has {vector.size} values for {len(images)} contrasts", "give one time for each"
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
    if sigma is None:
        return None
    deviation = np.asarray(sigma, np.float64)
    if deviation.ndim == 0:
        deviation = np.full((shape[0], 1, 1, 1), float(deviation))
    elif deviation.shape == shape[:1]:
        deviation = deviation[:, None, None, None]
    elif deviation.shape != shape:
        raise InputError("sigma", f"has shape {deviation.shape}", f"give one number, {shape[:1]} or {shape}")
    if (deviation <= 0).any():
        raise InputError("sigma", f"has a value of {np.nanmin(deviation):g}", "give standard deviations above zero, or infinity")
    return deviation


def _checked_mask(mask: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask is None:
        return np.ones(shape, bool)
    if mask.shape != shape:
        raise InputError("mask", f"has shape {mask.shape}", f"give the images' shape {shape}")
    inside = np.asarray(mask, bool)
    if not inside.any():
        raise InputError("mask", "is empty", "give a mask with voxels to fit")
    return inside
