r"""Variable projection for models that are linear in all parameters but one time constant, batched over voxels.

For a fixed time constant ``T`` the weighted least-squares coefficients ``c(T)`` solve a 1 x 1 or 2 x 2 system, so the misfit

.. math:: f(T) = \min_c \sum_i w_i (y_i - \sum_k c_k \phi_k(t_i; T))^2

is a function of one variable (Golub and Pereyra 2003, doi 10.1088/0266-5611/19/2/201). It is first evaluated on a logarithmic grid
over all time constants allowed, for all voxels at once by matrix products. Between the neighbours of the best grid point lies a
minimum; there the Gauss-Newton step ``h(log T)`` with the derivative of Kaufman (1975, doi 10.1007/BF01932995) is zero, and it
has the sign of the direction of descent elsewhere. Its root is found by the secant method inside the bracket, with bisection
where the steps do not shrink (Brent 1973). Large residuals, which make Gauss-Newton alone slow, cost no more than a few steps.

Signals that are mostly noise can have two minima. The grid tells them apart unless their misfits are equal to about one part in
ten thousand; then neither is the better estimate, and either may be returned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from puq_qmri.fitting.dictionary import explained_energy
from puq_qmri.fitting.observation import observed
from puq_qmri.fitting.solution import Solution
from puq_qmri.signal_models.base import SeparableModel

GRID_RATIO = 1.08
"""Largest ratio of neighbouring time constants of the start grid; exponentials change too slowly for two minima between them."""
_FLAT = 1e-10
"""Share of the signal's energy below which two misfits are the same but for rounding."""
_DEPENDENT = 1e-7
"""Length of what the first basis function leaves of the second, below which rounding makes it up."""


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Voxels with the square roots of their weights (one row for all, or one for each) and their signal as these show it."""

    model: SeparableModel
    times: Float[Tensor, " contrast"]
    root: Float[Tensor, "#voxel contrast"]
    whitening: Float[Tensor, "contrast contrast"] | None
    target: Float[Tensor, "voxel contrast"]

    def part(self, keep: Bool[Tensor, " voxel"]) -> _Batch:
        root = self.root if len(self.root) == 1 else self.root[keep]
        return replace(self, root=root, target=self.target[keep])

    def span(self, constant: Float[Tensor, " voxel"]) -> _Span:
        """The space of the observed basis functions."""
        basis = self.model.basis(constant, self.times).unbind(-1)
        return _Span.of([observed(c, self.root, self.whitening) for c in basis])


def solve(
    model: SeparableModel,
    times: Float[Tensor, " contrast"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "#voxel contrast"],
    *,
    whitening: Float[Tensor, "contrast contrast"] | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 60,
) -> Solution:
    """Weighted least-squares estimates of all voxels.

    The time constant stays within its bounds; the coefficients are free, so that an estimate outside theirs tells that the
    model does not suit the voxel.

    Parameters
    ----------
    model
        A separable model.
    times
        float64, seconds.
    signal, weights
        float64 and finite; weights are inverse variances up to a factor, zero leaves a contrast out.
    whitening
        Inverse Cholesky factor of the correlation of the contrasts: the residuals are ``whitening @ (sqrt(weights) * (y - s))``.
    tolerance
        Convergence when a step changes ``log T`` by less.
    max_iterations
        Steps after which a voxel counts as not converged.
    """
    bounds = model.constant
    low, high = math.log(bounds.lower), math.log(bounds.upper)
    steps = 1 + max(16, math.ceil((high - low) / math.log(GRID_RATIO)))
    grid = torch.linspace(low, high, steps, dtype=torch.float64, device=signal.device)
    root = weights.sqrt()
    target = observed(signal, root, whitening)
    batch = _Batch(model=model, times=times, root=root, whitening=whitening, target=target)
    explained = explained_energy(model.basis(grid.exp(), times), signal, weights, whitening)
    best, index = explained.max(-1)
    log_constant, iterations, converged = _refine(batch, grid, index, tolerance, max_iterations)
    constant = log_constant.exp()
    coefficients, residual = batch.span(constant).project(batch.target)
    cost, total = (residual**2).sum(-1), (batch.target**2).sum(-1)
    at_limit = (log_constant <= low + 1e-6) | (log_constant >= high - 1e-6)
    flat = torch.maximum(explained[:, 0], explained[:, -1]) >= best - _FLAT * total
    return Solution(
        parameters=model.assemble(constant, torch.cat(coefficients, -1)),
        cost=cost,
        iterations=iterations,
        converged=converged & (cost <= total - best + _FLAT * total),
        at_bound=at_limit | flat,
    )


def misfit(
    model: SeparableModel,
    times: Float[Tensor, " contrast"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "#voxel contrast"],
    constant: Float[Tensor, " voxel"],
    *,
    whitening: Float[Tensor, "contrast contrast"] | None = None,
) -> Float[Tensor, " voxel"]:
    """The misfit that the best coefficients leave at given constants; other parameters as of :func:`solve`."""
    root = weights.sqrt()
    target = observed(signal, root, whitening)
    batch = _Batch(model=model, times=times, root=root, whitening=whitening, target=target)
    residual = batch.span(constant).project(target)[1]
    return (residual**2).sum(-1)


@dataclass(frozen=True, kw_only=True)
class _Span:
    """The space of the observed basis of each voxel, as orthonormal functions.

    The basis functions are ``lengths[0] f_0`` and ``share f_0 + lengths[1] f_1``. A function that vanishes, or that the first
    one explains, is replaced by zero and its length by infinity, so that its coefficient becomes zero.
    """

    functions: tuple[Float[Tensor, "voxel contrast"], ...]
    lengths: tuple[Float[Tensor, "voxel 1"], ...]
    share: Float[Tensor, "voxel 1"] | None

    @classmethod
    def of(cls, columns: list[Float[Tensor, "voxel contrast"]]) -> _Span:
        # Late echoes of a fast decay are so small that their squares vanish: in units of the largest they do not.
        sizes = [_or_infinite(c.abs().amax(-1, keepdim=True)) for c in columns]
        columns = [c / size for c, size in zip(columns, sizes, strict=True)]
        length = _or_infinite((columns[0] ** 2).sum(-1, keepdim=True).sqrt())
        first = columns[0] / length
        if len(columns) == 1:
            return cls(functions=(first,), lengths=(length * sizes[0],), share=None)
        share = (first * columns[1]).sum(-1, keepdim=True)
        rest = columns[1] - share * first
        size = (rest**2).sum(-1, keepdim=True).sqrt()
        size = torch.where(size > _DEPENDENT, size, torch.inf)
        return cls(functions=(first, rest / size), lengths=(length * sizes[0], size * sizes[1]), share=share * sizes[1])

    def project(
        self, target: Float[Tensor, "voxel contrast"]
    ) -> tuple[list[Float[Tensor, "voxel 1"]], Float[Tensor, "voxel contrast"]]:
        """Least-squares coefficients of the basis, by back substitution, and the residual they leave."""
        along = [(f * target).sum(-1, keepdim=True) for f in self.functions]
        residual = target - along[0] * self.functions[0]
        if self.share is None:
            return [along[0] / self.lengths[0]], residual
        second = along[1] / self.lengths[1]
        first = (along[0] - self.share * second) / self.lengths[0]
        return [first, second], residual - along[1] * self.functions[1]


def _or_infinite(length: Float[Tensor, "voxel 1"]) -> Float[Tensor, "voxel 1"]:
    return torch.where(length > 0, length, torch.inf)


def _refine(
    batch: _Batch, grid: Float[Tensor, " grid"], index: Int[Tensor, " voxel"], tolerance: float, max_iterations: int
) -> tuple[Float[Tensor, " voxel"], Int[Tensor, " voxel"], Bool[Tensor, " voxel"]]:
    """Root of the Gauss-Newton step between the neighbours of the best grid point, on the voxels that still move.

    Returns ``log T``, the number of evaluations and whether the last step was below the tolerance.
    """
    best = grid[index]
    iterations = torch.zeros_like(index)
    converged = torch.zeros_like(index, dtype=torch.bool)
    active = torch.arange(len(index), device=index.device)
    point, low, high = best, grid[(index - 1).clamp_min(0)], grid[(index + 1).clamp_max(len(grid) - 1)]
    newton = _newton_step(batch, point)
    low, high = torch.where(newton > 0, point, low), torch.where(newton > 0, high, point)
    step, last, before = newton, torch.full_like(point, torch.inf), torch.full_like(point, torch.inf)
    for _ in range(max_iterations):
        proposal = point + step
        outside = (proposal <= low) | (proposal >= high) | (step.abs() > before.abs() / 2)
        proposal = torch.where(outside & (step.abs() >= tolerance), (low + high) / 2, proposal.clamp(low, high))
        moved = proposal - point
        best[active] = proposal
        settled = moved.abs() < tolerance
        converged[active] = settled
        if settled.any():
            keep = ~settled
            if not keep.any():
                break
            batch, active = batch.part(keep), active[keep]
            proposal, moved, newton, last, low, high = (v[keep] for v in (proposal, moved, newton, last, low, high))
        iterations[active] += 1
        new = _newton_step(batch, proposal)
        low, high = torch.where(new > 0, proposal, low), torch.where(new > 0, high, proposal)
        step = moved * new / (newton - new)
        step = torch.where(step.isfinite(), step, new)
        point, newton, last, before = proposal, new, moved, last
    return best, iterations, converged


def _newton_step(batch: _Batch, log_constant: Float[Tensor, " voxel"]) -> Float[Tensor, " voxel"]:
    """The Gauss-Newton step of the misfit from ``log T``; its sign is that of descent. Zero where the misfit is flat."""
    constant = log_constant.exp()
    span = batch.span(constant)
    coefficients, residual = span.project(batch.target)
    slopes = batch.model.basis_slope(constant, batch.times).unbind(-1)
    slope = torch.stack([c * s for c, s in zip(coefficients, slopes, strict=True)]).sum(0)
    slope = observed(slope, batch.root, batch.whitening)
    for function in span.functions:
        slope = slope - (function * slope).sum(-1, keepdim=True) * function
    # The residual is orthogonal to the basis, so its product with the whole slope is that with the projected one.
    return ((slope * residual).sum(-1) / (slope**2).sum(-1)).nan_to_num(0.0, 0.0, 0.0)
