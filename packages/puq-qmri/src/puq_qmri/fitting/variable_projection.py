r"""Variable projection for models that are linear in all parameters but one time constant, batched over voxels.

For a fixed time constant ``T`` the weighted least-squares coefficients ``c(T)`` solve a 1 x 1 or 2 x 2 system, so the misfit

.. math:: f(T) = \min_c \sum_i w_i (y_i - \sum_k c_k \phi_k(t_i; T))^2

is a function of one variable. It is first evaluated on a logarithmic grid, for all voxels at once by matrix products, then
refined from the best grid point by Gauss-Newton steps on ``log T`` with the derivative of Kaufman (1975, doi
10.1007/BF01932995), inside the bracket of the neighbouring grid points. A step that does not lower the misfit is halved. Voxels that have settled cost
nothing more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from puq_qmri.signal_models.base import SeparableModel

GRID_RATIO = 1.08
"""Ratio of neighbouring time constants of the start grid; the misfit has one minimum between neighbours."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Estimates of a batch of voxels.

    Attributes
    ----------
    parameters
        float64 (voxel, parameter).
    cost
        float64 (voxel,): weighted sum of squared residuals.
    iterations
        int64 (voxel,).
    converged
        bool (voxel,).
    at_bound
        bool (voxel,): the minimum lies at the first or last time constant allowed.
    """

    parameters: Float[Tensor, "voxel parameter"]
    cost: Float[Tensor, " voxel"]
    iterations: Int[Tensor, " voxel"]
    converged: Bool[Tensor, " voxel"]
    at_bound: Bool[Tensor, " voxel"]


def solve(
    model: SeparableModel,
    times: Float[Tensor, " contrast"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "voxel contrast"],
    *,
    tolerance: float = 1e-8,
    max_iterations: int = 60,
) -> Solution:
    """Weighted least-squares estimates of all voxels.

    Parameters
    ----------
    model
        A separable model.
    times
        float64, seconds.
    signal, weights
        float64; weights are inverse variances up to a factor, zero leaves a contrast out.
    tolerance
        Convergence when a step changes ``log T`` by less.
    max_iterations
        Steps after which a voxel counts as not converged.
    """
    bounds = model.parameters[model.nonlinear]
    low, high = math.log(bounds.lower), math.log(bounds.upper)
    steps = max(16, math.ceil((high - low) / math.log(GRID_RATIO)))
    grid = torch.linspace(low, high, steps, dtype=torch.float64, device=signal.device)
    start = _grid_search(model, times, signal, weights, grid)
    spacing = grid[1] - grid[0]
    log_constant, iterations, converged = _refine(
        model, times, signal, weights, grid[start], spacing, (low, high), tolerance, max_iterations
    )
    constant = log_constant.exp()
    coefficients, residual = _project(model.basis(constant, times), signal, weights)
    return Solution(
        parameters=model.assemble(constant, coefficients),
        cost=(weights * residual**2).sum(-1),
        iterations=iterations,
        converged=converged,
        at_bound=(log_constant <= low + 1e-6) | (log_constant >= high - 1e-6),
    )


def _grid_search(
    model: SeparableModel,
    times: Float[Tensor, " contrast"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "voxel contrast"],
    grid: Float[Tensor, " grid"],
) -> Int[Tensor, " voxel"]:
    """Index of the grid point that explains most of the weighted signal."""
    basis = model.basis(grid.exp(), times)
    weighted = weights * signal
    if model.n_linear == 1:
        curve = basis[..., 0]
        energy = (weighted @ curve.T) ** 2 / (weights @ (curve**2).T).clamp_min(torch.finfo(signal.dtype).tiny)
        return energy.argmax(-1)
    first, second = basis.unbind(-1)
    b0, b1 = weighted @ first.T, weighted @ second.T
    a00, a11, a01 = weights @ (first**2).T, weights @ (second**2).T, weights @ (first * second).T
    determinant = (a00 * a11 - a01**2).clamp_min(1e-12 * a00 * a11 + torch.finfo(signal.dtype).tiny)
    energy = (b0**2 * a11 - 2 * b0 * b1 * a01 + b1**2 * a00) / determinant
    return energy.argmax(-1)


def _project(
    basis: Float[Tensor, "voxel contrast linear"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "voxel contrast"],
) -> tuple[Float[Tensor, "voxel linear"], Float[Tensor, "voxel contrast"]]:
    """Weighted least-squares coefficients of the basis and the residual they leave."""
    if basis.shape[-1] == 1:
        curve = basis[..., 0]
        norm = (weights * curve**2).sum(-1, keepdim=True).clamp_min(torch.finfo(signal.dtype).tiny)
        coefficients = (weights * curve * signal).sum(-1, keepdim=True) / norm
        return coefficients, signal - coefficients * curve
    first, second = basis.unbind(-1)
    a00, a11 = (weights * first**2).sum(-1), (weights * second**2).sum(-1)
    # Orthogonalising the second function against the first keeps the digits that the determinant would lose.
    overlap = (weights * first * second).sum(-1) / a00.clamp_min(torch.finfo(signal.dtype).tiny)
    rest = second - overlap[:, None] * first
    norm = (weights * rest**2).sum(-1)
    safe = norm > 1e-14 * a11
    c1 = torch.where(safe, (weights * rest * signal).sum(-1) / norm.clamp_min(torch.finfo(signal.dtype).tiny), 0.0)
    c0 = (weights * first * signal).sum(-1) / a00.clamp_min(torch.finfo(signal.dtype).tiny) - overlap * c1
    return torch.stack([c0, c1], -1), signal - c0[:, None] * first - c1[:, None] * second


def _refine(
    model: SeparableModel,
    times: Float[Tensor, " contrast"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "voxel contrast"],
    start: Float[Tensor, " voxel"],
    spacing: Float[Tensor, ""],
    limits: tuple[float, float],
    tolerance: float,
    max_iterations: int,
) -> tuple[Float[Tensor, " voxel"], Int[Tensor, " voxel"], Bool[Tensor, " voxel"]]:
    """Gauss-Newton steps on ``log T`` with step halving, on the voxels that still move."""
    best, iterations = start.clone(), torch.zeros_like(start, dtype=torch.int64)
    active = torch.arange(len(start), device=start.device)
    point, bracket = start, ((start - spacing).clamp_min(limits[0]), (start + spacing).clamp_max(limits[1]))
    cost, step = _cost_and_step(model, times, signal, weights, point)
    scale = torch.ones_like(point)
    for _ in range(max_iterations):
        proposal = torch.minimum(torch.maximum(point + scale * step, bracket[0]), bracket[1])
        moved = proposal - point
        new_cost, new_step = _cost_and_step(model, times, signal, weights, proposal)
        better = new_cost <= cost
        settled = moved.abs() < tolerance
        point, cost, step = (torch.where(better, n, o) for n, o in ((proposal, point), (new_cost, cost), (new_step, step)))
        scale = torch.where(better, 1.0, scale / 4)
        best[active], iterations[active] = point, iterations[active] + 1
        keep = ~settled
        if not keep.any():
            return best, iterations, torch.ones_like(best, dtype=torch.bool)
        if keep.sum() < 0.7 * len(keep):
            active, point, cost, step, scale = (v[keep] for v in (active, point, cost, step, scale))
            bracket = (bracket[0][keep], bracket[1][keep])
            signal, weights = signal[keep], weights[keep]
    converged = torch.ones_like(best, dtype=torch.bool)
    converged[active[(scale * step).abs() >= math.sqrt(tolerance)]] = False
    return best, iterations, converged


def _cost_and_step(
    model: SeparableModel,
    times: Float[Tensor, " contrast"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "voxel contrast"],
    log_constant: Float[Tensor, " voxel"],
) -> tuple[Float[Tensor, " voxel"], Float[Tensor, " voxel"]]:
    """Misfit at ``log T`` and the Gauss-Newton step from there."""
    constant = log_constant.exp()
    basis = model.basis(constant, times)
    coefficients, residual = _project(basis, signal, weights)
    slope = (model.basis_slope(constant, times) * coefficients[:, None, :]).sum(-1)
    _, slope = _project(basis, slope, weights)
    curvature = (weights * slope**2).sum(-1)
    step = (weights * slope * residual).sum(-1) / curvature.clamp_min(torch.finfo(signal.dtype).tiny)
    return (weights * residual**2).sum(-1), step.nan_to_num(0.0, 0.0, 0.0)
