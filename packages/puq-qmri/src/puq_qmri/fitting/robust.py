r"""Fits that a single wrong contrast of a voxel does not rule: M-estimates by iteratively reweighted least squares.

Weights are multiplied by a factor that falls with the standardised residual ``z``: Huber's ``min(1, k / |z|)`` with k = 1.345 (Huber
1964, doi 10.1214/aoms/1177703732), or Tukey's biweight ``(1 - (z / c)^2)^2`` with c = 4.685, zero beyond ``c`` (Beaton and Tukey 1974,
doi 10.1080/00401706.1974.10489171); of many values both lose 5 % efficiency where all errors are normal. Residuals are standardised by
the known deviation, or by the median absolute one of the voxel, and by their leverage, as a value that the fit follows leaves little
of its error. Tukey's starts from Huber's solution, as it has several minima.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from puq_qmri.fitting.covariance import covariance, observed_jacobian
from puq_qmri.fitting.signals import Solver
from puq_qmri.fitting.solution import Solution
from puq_qmri.signal_models.base import SignalModel

HUBER, TUKEY = 1.345, 4.685
HUBER_STEPS, TUKEY_STEPS = 20, 20
_SETTLED = 1e-3
_MAD = 1.4826
"""Deviation of a normal distribution over its median absolute value."""
_LEAST_SHARE = 0.05
"""Least part of its error that a value is taken to leave in its residual."""


def solve_robustly(
    solve: Solver,
    model: SignalModel,
    times: Float[Tensor, " contrast"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "#voxel contrast"],
    noise: Float[Tensor, "voxel 1"] | None,
    start: Solution,
    *,
    kind: str,
    known: Float[Tensor, "voxel known"] | None = None,
) -> tuple[Solution, Float[Tensor, "voxel contrast"], Float[Tensor, "voxel 1"], Float[Tensor, "voxel contrast"]]:
    """Reweighted estimates.

    Parameters
    ----------
    solve
        The least-squares fitter.
    model, times, signal
        As the fitter sees them.
    weights
        Inverse variances up to a factor.
    noise
        Deviation that a weight of 1 stands for; None: from the residuals.
    start
        Solution with these weights.
    kind
        ``huber`` or ``tukey``.
    known
        Known values of the model.

    Returns
    -------
    tuple
        Solution; weights times their factors; the deviation that a weight of 1 stood for; and for the sandwich covariance the
        deviation of each value over the one that its new weight stands for, residuals beyond the known deviation included.
    """
    weights = weights.expand_as(signal)
    found, factors = start, torch.ones_like(signal)
    z, scale = _standardised(model, times, signal, weights, factors, noise, start, known)
    phases = [(_huber, HUBER_STEPS), (_tukey, TUKEY_STEPS)] if kind == "tukey" else [(_huber, HUBER_STEPS)]
    for factor, steps in phases:
        for _ in range(steps):
            new = factor(z)
            # A fit needs more values than parameters, however far all of them lie.
            enough = ((new > 0.1) & (weights > 0)).sum(-1) > len(model.parameters)
            new = torch.where(enough[:, None], new, _huber(z))
            change, factors = (new - factors).abs().amax(), new
            found = solve(signal, weights * factors)
            # Tukey's keeps the deviation of Huber's: both falling together would call ever more values outliers.
            z, scale = _standardised(model, times, signal, weights, factors, noise if factor is _huber else scale, found, known)
            if change < _SETTLED:
                break
    if noise is None:
        z, scale = _for_intervals(z, scale, factors, weights, len(model.parameters))
    return found, weights * factors, scale, factors.sqrt() * z.abs().clamp_min(1)


def _for_intervals(
    z: Float[Tensor, "voxel contrast"],
    scale: Float[Tensor, "voxel 1"],
    factors: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "voxel contrast"],
    n_parameters: int,
) -> tuple[Float[Tensor, "voxel contrast"], Float[Tensor, "voxel 1"]]:
    """Residuals over an estimated deviation, and that deviation, where few values are left to estimate it from.

    The median of a few residuals is often too small by chance; the deviation is the larger one of it and of the root mean square of what
    counts, for the degrees of freedom that the factors leave. Intervals assume all degrees of freedom, so that the difference of Student's
    quantiles goes into the deviation.
    """
    there = (weights > 0).double()
    full = (there.sum(-1, keepdim=True) - n_parameters).clamp_min(1)
    left = ((there * factors).sum(-1, keepdim=True) - n_parameters).clamp(min=1)
    mean_square = (factors * z**2).sum(-1, keepdim=True) / (there * factors).sum(-1, keepdim=True)
    wider = mean_square.sqrt().clamp_min(1) * (_student(left) / _student(full)).clamp_min(1)
    return z / wider, scale * wider


def _student(freedom: Float[Tensor, "voxel 1"]) -> Float[Tensor, "voxel 1"]:
    return torch.as_tensor(special.stdtrit(freedom.cpu().numpy(), 0.975)).to(freedom)


def _standardised(
    model: SignalModel,
    times: Float[Tensor, " contrast"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "voxel contrast"],
    factors: Float[Tensor, "voxel contrast"],
    noise: Float[Tensor, "voxel 1"] | None,
    solution: Solution,
    known: Float[Tensor, "voxel known"] | None,
) -> tuple[Float[Tensor, "voxel contrast"], Float[Tensor, "voxel 1"]]:
    """Residuals over their deviation, and the deviation that a weight of 1 stands for."""
    given = solution.parameters if known is None else torch.cat([solution.parameters, known], -1)
    root = weights.sqrt()
    residual = root * (signal - model.signal(given, times))
    columns = torch.stack(observed_jacobian(model, times, given, weights * factors), -1)
    spread = covariance(list(columns.unbind(-1)))
    leverage = torch.einsum("vip,vpq,viq->vi", columns, spread, columns).nan_to_num(0.0)
    residual = residual / (1 - leverage).clamp_min(_LEAST_SHARE).sqrt()
    if noise is None:
        noise = _MAD * _median(torch.where(weights > 0, residual.abs(), torch.nan))
    tiny = torch.finfo(signal.dtype).eps * signal.abs().amax(-1, keepdim=True)
    scale = torch.maximum(noise, tiny)
    return torch.where(weights > 0, residual / scale, 0.0), scale


def _median(values: Float[Tensor, "voxel contrast"]) -> Float[Tensor, "voxel 1"]:
    """The larger of the two middle values, where they are an even number: of few residuals the lower one is too small."""
    return -(-values).nanmedian(-1, keepdim=True).values


def _huber(z: Float[Tensor, "voxel contrast"]) -> Float[Tensor, "voxel contrast"]:
    return (HUBER / z.abs().clamp_min(torch.finfo(z.dtype).tiny)).clamp_max(1)


def _tukey(z: Float[Tensor, "voxel contrast"]) -> Float[Tensor, "voxel contrast"]:
    return (1 - (z / TUKEY) ** 2).clamp_min(0) ** 2
