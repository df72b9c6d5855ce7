r"""Levenberg-Marquardt for any signal model, batched over voxels, with bounds and a damping of each voxel's own.

Each voxel takes the step ``(H + l diag H) d = g`` with ``H = J^T W J``, ``g = J^T W r`` (Marquardt 1963, doi 10.1137/0111030) and the
damping ``l``, which falls after a step that lowers the misfit as much as a linear model would, and rises after one that does not.
Where residuals bend the misfit as much as the derivatives do, as with echo trains near perfect refocusing, undamped steps overshoot
again and again. Positive parameters with an upper bound, such as relaxation times, are searched for by their logarithm. A parameter
at a bound that the descent leads out of stays there for this step and leaves the system (projection with an active set, Bertsekas
1982, doi 10.1137/0320018). The amplitude takes its least-squares value at every point (Golub and Pereyra 2003,
doi 10.1088/0266-5611/19/2/201). Systems of a few unknowns are solved by Cholesky's recursion, written over all voxels at once. Voxels
that have settled leave the batch and cost no more.

Parameters in the unit of the images keep no bounds here: complex images decide their sign only up to a convention, and an estimate
beyond the bounds of a model tells that it does not suit the voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from puq_qmri.fitting import small_systems
from puq_qmri.fitting.dictionary import start_values
from puq_qmri.fitting.observation import dot, observed
from puq_qmri.fitting.solution import Solution
from puq_qmri.signal_models.base import SignalModel

_FIRST_DAMPING = 1e-3
_LEAST_DAMPING = 1e-9
_NEAR = 2e-5
"""Part of its standard deviation that an estimate may have left to go after many steps."""
_MANY = 12
"""Steps after which a voxel settles so slowly that the rate of its steps is well known."""
_MOST_DAMPING = 1e10
"""No step that is any shorter lowers the misfit: something is wrong with the voxel."""
_ROUNDING = 1e-14
"""Share of the signal's energy below which two misfits are the same but for rounding."""
_NOTHING = 1e-17
"""Share of the signal's energy that is not worth another step, where a parameter hardly changes the signal."""
_CROWD = 0.25
"""Share of settled voxels from which on it pays to copy the others."""
_TINY = torch.finfo(torch.float64).tiny


def solve(
    model: SignalModel,
    times: Float[Tensor, " contrast"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "#voxel contrast"],
    *,
    start: Float[Tensor, "voxel parameter"] | None = None,
    known: Float[Tensor, "voxel known"] | None = None,
    whitening: Float[Tensor, "contrast contrast"] | None = None,
    fixed: int | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 100,
) -> Solution:
    """Weighted least-squares estimates of all voxels, non-linear parameters within their bounds.

    Parameters
    ----------
    model
        Any signal model.
    times
        float64.
    signal, weights
        float64; weights are inverse variances up to a factor, zero leaves a contrast out. A voxel with a signal that is not
        finite comes back as not converged.
    start
        First estimates; by default :func:`puq_qmri.fitting.dictionary.start_values`.
    known
        Values of the model's known maps; None: 1 everywhere.
    whitening
        Inverse Cholesky factor of the correlation of the contrasts: the residuals are ``whitening @ (sqrt(weights) * (y - s))``.
    fixed
        A parameter that keeps its start value.
    tolerance
        Convergence when what is left to go, by the rate at which the steps shrink, is less: in the logarithm of a parameter, or
        for one that is not searched for by its logarithm, in the change of the signal over its size; or when it is less than
        2e-5 of the estimate's standard deviation by the residuals, in voxels that settle slowly.
    max_iterations
        Steps after which a voxel counts as not converged.
    """
    if start is None:
        start = start_values(model, times, signal, weights, known, whitening)
    space = _Space.of(model, signal.device, fixed)
    point = space.inside(start)
    root = weights.sqrt()
    target = observed(signal, root, whitening)
    batch = _Batch(model=model, times=times, root=root, whitening=whitening, target=target, known=known, space=space)
    settled = _descend(batch, point, tolerance, max_iterations)
    at_limit = (settled.point <= space.lower + space.margin) | (settled.point >= space.upper - space.margin)
    return Solution(
        parameters=space.parameters(settled.point),
        cost=settled.cost,
        iterations=settled.iterations,
        converged=settled.converged,
        at_bound=at_limit.any(-1),
    )


@dataclass(frozen=True, kw_only=True)
class _Space:
    """Coordinates of the search: logarithms of some parameters, the others as they are."""

    logarithmic: Bool[Tensor, " parameter"]
    lower: Float[Tensor, " parameter"]
    upper: Float[Tensor, " parameter"]
    margin: Float[Tensor, " parameter"]
    amplitude: int | None
    searched: tuple[int, ...]

    @classmethod
    def of(cls, model: SignalModel, device: torch.device, fixed: int | None) -> _Space:
        free = [p.unit == "a.u." for p in model.parameters]
        logarithmic = [not f and p.lower > 0 and math.isfinite(p.upper) for f, p in zip(free, model.parameters, strict=True)]
        lower, upper, margin = [], [], []
        for parameter, log, unbounded in zip(model.parameters, logarithmic, free, strict=True):
            low, high = (-math.inf, math.inf) if unbounded else (parameter.lower, parameter.upper)
            lower.append(math.log(low) if log else low)
            upper.append(math.log(high) if log else high)
            width = high - low
            margin.append(1e-6 if log else 1e-6 * width if math.isfinite(width) else 0.0)
        tensors = [torch.tensor(v, dtype=torch.float64, device=device) for v in (lower, upper, margin)]
        amplitude = None if model.amplitude == fixed else model.amplitude
        return cls(
            logarithmic=torch.tensor(logarithmic, device=device),
            lower=tensors[0],
            upper=tensors[1],
            margin=tensors[2],
            amplitude=amplitude,
            searched=tuple(i for i in range(len(free)) if i not in {amplitude, fixed}),
        )

    def inside(self, parameters: Float[Tensor, "voxel parameter"]) -> Float[Tensor, "voxel parameter"]:
        """The point of the search that belongs to parameters, within the bounds."""
        point = torch.where(self.logarithmic, parameters.clamp_min(_TINY).log(), parameters)
        return self.clamp(point.nan_to_num(0.0, 0.0, 0.0))

    def clamp(self, point: Float[Tensor, "voxel parameter"]) -> Float[Tensor, "voxel parameter"]:
        return torch.minimum(torch.maximum(point, self.lower), self.upper)

    def parameters(self, point: Float[Tensor, "voxel parameter"]) -> Float[Tensor, "voxel parameter"]:
        return torch.where(self.logarithmic, point.exp(), point)


@dataclass(frozen=True, kw_only=True)
class _Normal:
    """Misfit, its descent and its curvature at one point: ``cost``, ``g = J^T W r`` and the lower triangle of ``H = J^T W J``.

    Of the parameters that are searched for, which the amplitude is not.
    """

    cost: Float[Tensor, " voxel"]
    descent: tuple[Float[Tensor, " voxel"], ...]
    curvature: tuple[tuple[Float[Tensor, " voxel"], ...], ...]

    def part(self, keep: Int[Tensor, " kept"]) -> _Normal:
        return _Normal(
            cost=self.cost[keep],
            descent=tuple(v[keep] for v in self.descent),
            curvature=tuple(tuple(v[keep] for v in row) for row in self.curvature),
        )

    def where(self, chosen: Bool[Tensor, " voxel"], other: _Normal) -> _Normal:
        return _Normal(
            cost=torch.where(chosen, self.cost, other.cost),
            descent=tuple(torch.where(chosen, a, b) for a, b in zip(self.descent, other.descent, strict=True)),
            curvature=tuple(
                tuple(torch.where(chosen, a, b) for a, b in zip(row, rest, strict=True))
                for row, rest in zip(self.curvature, other.curvature, strict=True)
            ),
        )


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Voxels with the square roots of their weights (one row for all, or one for each) and their signal as these show it."""

    model: SignalModel
    times: Float[Tensor, " contrast"]
    root: Float[Tensor, "#voxel contrast"]
    whitening: Float[Tensor, "contrast contrast"] | None
    target: Float[Tensor, "voxel contrast"]
    known: Float[Tensor, "voxel known"] | None
    space: _Space

    def part(self, keep: Int[Tensor, " kept"]) -> _Batch:
        return _Batch(
            model=self.model,
            times=self.times,
            root=self.root if len(self.root) == 1 else self.root[keep],
            whitening=self.whitening,
            target=self.target[keep],
            known=None if self.known is None else self.known[keep],
            space=self.space,
        )

    def normal(self, point: Float[Tensor, "voxel parameter"]) -> tuple[_Normal, Float[Tensor, "voxel parameter"]]:
        """The normal equations at a point of the search, and the point with the best amplitude.

        A signal that is proportional to a parameter is that parameter times its derivative, and the least-squares value of the
        parameter costs two products. Taking it at every point, and leaving in the other derivatives only what it cannot make up for
        (Kaufman 1975, doi 10.1007/BF01932995), straightens the curved valleys along which a time constant and the amplitude change.
        """
        parameters, amplitude = self.space.parameters(point), self.space.amplitude
        if amplitude is not None:
            parameters[:, amplitude] = 1.0
        given = parameters if self.known is None else torch.cat([parameters, self.known], -1)
        columns = [observed(c, self.root, self.whitening) for c in self.model.jacobian(given, self.times).unbind(-1)]
        if amplitude is not None:
            length = dot(columns[amplitude], columns[amplitude]).sqrt()
            shape = columns[amplitude] / length.clamp_min(_TINY)[:, None]
            along = dot(shape, self.target)
            best = torch.where(length > 0, along / length.clamp_min(_TINY), 0.0)
            columns = [best[:, None] * (c - dot(shape, c)[:, None] * shape) for c in columns]
            predicted = along[:, None] * shape
            point = point.clone()
            point[:, amplitude] = best
        else:
            predicted = observed(self.model.signal(given, self.times), self.root, self.whitening)
        residual = self.target - predicted
        searched = [columns[i] for i in self.space.searched]
        chain = [parameters[:, i] if bool(self.space.logarithmic[i]) else None for i in self.space.searched]
        descent, curvature = [], []
        for i, column in enumerate(searched):
            descent.append(_scaled(dot(column, residual), chain[i]))
            curvature.append(
                tuple(_scaled(_scaled(dot(column, other), chain[i]), chain[j]) for j, other in enumerate(searched[: i + 1]))
            )
        return _Normal(cost=dot(residual, residual), descent=tuple(descent), curvature=tuple(curvature)), point


def _scaled(value: Float[Tensor, " voxel"], factor: Float[Tensor, " voxel"] | None) -> Float[Tensor, " voxel"]:
    return value if factor is None else value * factor


@dataclass(frozen=True, kw_only=True)
class _Settled:
    """Where the voxels of a batch have come to."""

    point: Float[Tensor, "voxel parameter"]
    cost: Float[Tensor, " voxel"]
    iterations: Int[Tensor, " voxel"]
    converged: Bool[Tensor, " voxel"]


def _descend(batch: _Batch, point: Float[Tensor, "voxel parameter"], tolerance: float, max_iterations: int) -> _Settled:
    """Steps of all voxels until each has settled, given up, or made as many as allowed."""
    state, point = batch.normal(point)
    energy = dot(batch.target, batch.target)
    result = _Settled(
        point=point.clone(),
        cost=state.cost.clone(),
        iterations=torch.zeros(len(point), dtype=torch.int64, device=point.device),
        converged=torch.zeros(len(point), dtype=torch.bool, device=point.device),
    )
    active = torch.arange(len(point), device=point.device)
    done = ~(state.cost.isfinite() & energy.isfinite())
    if not batch.space.searched:  # the amplitude alone is at its best already
        return replace(result, converged=~done)
    damping, last = torch.full_like(energy, _FIRST_DAMPING), torch.full_like(energy, torch.inf)
    previous, freedom = torch.zeros_like(point), max(1, batch.target.shape[1] - point.shape[1])
    for iteration in range(max_iterations + 1):
        count = int(done.sum())
        if count == len(done):
            break
        if count > _CROWD * len(done):
            keep = torch.nonzero(~done)[:, 0]
            batch, state, point, active = batch.part(keep), state.part(keep), point[keep], active[keep]
            energy, damping, last, done, previous = (v[keep] for v in (energy, damping, last, done, previous))
        if iteration == max_iterations:
            break
        step = _step(state, point, damping, batch.space)
        proposal = batch.space.clamp(point + step)
        moves = (proposal - point).unbind(-1)
        promise = torch.stack([moves[i] * g for i, g in zip(batch.space.searched, state.descent, strict=True)]).sum(0)
        trial, target = batch.normal(proposal)
        better = trial.cost <= state.cost + _ROUNDING * energy
        size = _size(target - point, state, energy, batch.space)
        gain, before, moved = _gain(step, damping, state, trial.cost, energy), state, target - point
        state = trial.where(better, state)
        point = torch.where(better[:, None], target, point)
        # Before there are two steps nothing is known of the rate; damping alone makes steps shrink no faster than this.
        ratio = torch.maximum(torch.where(last.isfinite(), size / last, 1.0), damping).clamp_max(0.999)
        near = (size < tolerance) | (size * ratio < tolerance * (1 - ratio))
        if iteration >= _MANY:
            near = near | (_left_to_go(moved, previous, before) < _NEAR * (state.cost / freedom).sqrt())
        settled = better & (near | (promise < _NOTHING * energy))
        previous = torch.where(better[:, None], moved, previous)
        last = torch.where(better, size, last)
        damping = torch.where(better, _damping_after(damping, gain), (damping * 10).clamp_min(_FIRST_DAMPING))
        finished = (settled | (damping > _MOST_DAMPING)) & ~done
        moving = ~done
        index = active[moving]
        result.point[index], result.cost[index] = point[moving], state.cost[moving]
        result.iterations[index] = iteration + 1
        result.converged[active[settled & ~done]] = True
        done = done | finished
    return result


def _gain(
    step: Float[Tensor, "voxel parameter"],
    damping: Float[Tensor, " voxel"],
    state: _Normal,
    cost: Float[Tensor, " voxel"],
    energy: Float[Tensor, " voxel"],
) -> Float[Tensor, " voxel"]:
    """How much the misfit fell, over how much it would have fallen for a linear model; 1 where rounding hides it."""
    promised = torch.zeros_like(cost)
    for i, descent in enumerate(state.descent):
        promised = promised + step[:, i] * (descent + damping * step[:, i] * state.curvature[i][i])
    return torch.where(promised > 10 * _ROUNDING * energy, (state.cost - cost) / promised.clamp_min(_TINY), 1.0)


def _damping_after(damping: Float[Tensor, " voxel"], gain: Float[Tensor, " voxel"]) -> Float[Tensor, " voxel"]:
    """Less after a step that kept its promise, more after one that overshot although it lowered the misfit."""
    less, more = (damping / 10).clamp_min(_LEAST_DAMPING), torch.maximum(damping, (damping * 10).clamp(0.1, 3.0))
    return torch.where(gain > 0.75, less, torch.where(gain < 0.5, more, damping))


def _left_to_go(
    step: Float[Tensor, "voxel parameter"], previous: Float[Tensor, "voxel parameter"], state: _Normal
) -> Float[Tensor, " voxel"]:
    """What is left after a step by the rate at which steps shrink, in standard deviations for residuals of variance 1.

    Steps that turn back each time enclose what they go to, and are nearer to it than steps that go on.
    """

    def product(a: Tensor, b: Tensor) -> Tensor:
        terms = [
            value * (a[:, i] * b[:, j] if i == j else a[:, i] * b[:, j] + a[:, j] * b[:, i])
            for i, row in enumerate(state.curvature)
            for j, value in enumerate(row)
        ]
        return torch.stack(terms).sum(0)

    length, before = product(step, step).clamp_min(0).sqrt(), product(previous, previous).clamp_min(0).sqrt()
    rate = torch.where(product(step, previous) < 0, -1.0, 1.0) * length / before.clamp_min(_TINY)
    return length * rate.abs() / (1 - rate.clamp_max(0.999))


def _step(
    state: _Normal, point: Float[Tensor, "voxel parameter"], damping: Float[Tensor, " voxel"], space: _Space
) -> Float[Tensor, "voxel parameter"]:
    """The damped step of each voxel, zero for parameters that a bound holds."""
    scale, right = [], []
    for k, (i, descent) in enumerate(zip(space.searched, state.descent, strict=True)):
        size = state.curvature[k][k].sqrt()
        held = size <= 0
        low, high = float(space.lower[i]), float(space.upper[i])
        if low > -math.inf:
            held = held | ((point[:, i] <= low) & (descent <= 0))
        if high < math.inf:
            held = held | ((point[:, i] >= high) & (descent >= 0))
        # A column of zeros takes the parameter out of the system, and with the diagonal of one it does not move.
        inverse = torch.where(held, 0.0, 1 / size.clamp_min(_TINY))
        scale.append(inverse)
        right.append(descent * inverse)
    matrix = [[state.curvature[i][j] * scale[i] * scale[j] for j in range(i)] for i in range(len(scale))]
    solved = small_systems.solve(matrix, 1 + damping, right)
    step = torch.zeros_like(point)
    for i, x, s in zip(space.searched, solved, scale, strict=True):
        step[:, i] = x * s
    return step


def _size(
    step: Float[Tensor, "voxel parameter"], state: _Normal, energy: Float[Tensor, " voxel"], space: _Space
) -> Float[Tensor, " voxel"]:
    """How far a step goes: in a logarithm, or in the change of the signal over its size."""
    sizes = []
    norm = energy.clamp_min(_TINY).sqrt()
    for k, i in enumerate(space.searched):
        length = step[:, i].abs()
        sizes.append(length if bool(space.logarithmic[i]) else length * state.curvature[k][k].sqrt() / norm)
    return torch.stack(sizes).amax(0)
