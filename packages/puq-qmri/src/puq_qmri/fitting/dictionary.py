r"""Start values for the fit of any model, from a dictionary of signals on a grid of its non-linear parameters.

Parameters in which the signal is linear, the amplitude first of all, need no grid: for each entry their least-squares values and
the weighted energy that they explain follow from products of the dictionary with the signals of all voxels at once. The entry that
explains most is the best of the whole grid, so that a descent from there seldom ends in a minimum that is only local.

A known map, such as B1, changes the dictionary from voxel to voxel. Its values are put together in a few bins, each with a
dictionary of its own; the fit that follows takes the exact values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medcore.errors import ConfigError
from puq_qmri.fitting import small_systems
from puq_qmri.fitting.observation import dot, observed
from puq_qmri.signal_models.base import Parameter, SeparableModel, SignalModel

_POINTS = {1: 96, 2: 24, 3: 12}
_POINTS_OF_MANY = 6
"""Grid points of each non-linear parameter, by the number of these parameters."""
_MOST_ENTRIES = 20_000
_BINS = 16
"""Bins of a known map in one batch of voxels."""
_BLOCK = 2**21
"""Numbers of one product of voxels and entries: few enough for the cache, and a bound for the memory."""
_TINY = torch.finfo(torch.float64).tiny
_DEPENDENT = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Share of a function's energy that another leaves of it, below which rounding makes it up."""


def start_values(
    model: SignalModel,
    times: Float[Tensor, " contrast"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "#voxel contrast"],
    known: Float[Tensor, "voxel known"] | None = None,
    whitening: Float[Tensor, "contrast contrast"] | None = None,
) -> Float[Tensor, "voxel parameter"]:
    """Parameters of the entry that explains each signal best.

    Parameters
    ----------
    model
        Its parameters' ranges are their `typical` ones, or else their bounds.
    times
        float64.
    signal, weights
        float64; weights are inverse variances up to a factor, zero leaves a contrast out.
    known
        Values of the model's known maps; None: 1 everywhere.
    whitening
        Inverse Cholesky factor of the correlation of the contrasts; None: they are independent.

    Raises
    ------
    ConfigError
        If a non-linear parameter has no finite range, or there are so many that no grid over them is possible.
    """
    scale = signal.abs().amax(-1, keepdim=True).clamp_min(_TINY)
    found = torch.empty(len(signal), len(model.parameters), dtype=signal.dtype, device=signal.device)
    for rows, values in _groups(model, known, len(signal), signal.device):
        entries = _Entries.separable(model, times) if _is_separable(model, values) else _Entries.of(model, times, values)
        single = entries.basis.float()
        for part in torch.split(rows, max(1, _BLOCK // len(single))):
            own, measured = weights if len(weights) == 1 else weights[part], signal[part] / scale[part]
            # The order of entries needs no more than single precision.
            products = _Products.of(measured.float(), own.float(), None if whitening is None else whitening.float())
            best = (products.gain if entries.rigid else products.energy)(single).argmax(-1)
            coefficients = _coefficients(entries.basis[best], measured, own, whitening) * scale[part]
            found[part] = entries.parameters(best, coefficients)
    return found


@dataclass(frozen=True, kw_only=True)
class _Entries:
    """A dictionary: what each entry's parameters are, and the functions that are combined with free coefficients.

    `parameters` takes the chosen entry and the coefficients of each voxel. `rigid` entries have no free coefficient: their one
    function is the signal itself.
    """

    basis: Float[Tensor, "entry contrast linear"]
    parameters: Callable[[Tensor, Tensor], Tensor]
    rigid: bool = False

    @classmethod
    def separable(cls, model: SeparableModel, times: Float[Tensor, " contrast"]) -> _Entries:
        grid = _axis(model, model.constant, _POINTS[1], times).to(times.device)
        return cls(basis=model.basis(grid, times), parameters=lambda best, c: model.assemble(grid[best], c))

    @classmethod
    def of(cls, model: SignalModel, times: Float[Tensor, " contrast"], known: Float[Tensor, "1 known"] | None) -> _Entries:
        linear = linear_parameters(model)
        grid = _grid(model, times, linear)
        columns = grid if known is None else torch.cat([grid, known.expand(len(grid), -1)], -1)
        proportional = model.amplitude is not None or not linear
        basis = model.signal(columns, times)[..., None] if proportional else model.jacobian(columns, times)[..., linear]

        def parameters(best: Tensor, coefficients: Tensor) -> Tensor:
            chosen = grid[best]
            if linear:
                chosen[:, linear] = coefficients
            return chosen

        return cls(basis=basis, parameters=parameters, rigid=not linear)


def _is_separable(model: SignalModel, known: Float[Tensor, "1 known"] | None) -> TypeGuard[SeparableModel]:
    """Whether the basis of the model is that of these voxels."""
    return isinstance(model, SeparableModel) and (known is None or bool((known == 1).all()))


def linear_parameters(model: SignalModel) -> list[int]:
    """Parameters that the signal is linear in: the amplitude, or where there is none all parameters in the images' unit."""
    if model.amplitude is not None:
        return [model.amplitude]
    return [i for i, p in enumerate(model.parameters) if p.unit == "a.u."]


def explained_energy(
    basis: Float[Tensor, "entry contrast linear"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "#voxel contrast"],
    whitening: Float[Tensor, "contrast contrast"] | None = None,
) -> Float[Tensor, "voxel entry"]:
    """How much of each voxel's weighted energy the best combination of an entry's functions explains."""
    return _Products.of(signal, weights, whitening).energy(basis)


@dataclass(frozen=True, kw_only=True)
class _Products:
    """Weighted inner products of all signals with all entries, and of the entries with each other, by matrix products.

    `precision` is the inverse covariance of a voxel's contrasts: its diagonal, or where they are correlated all of it.
    """

    projected: Float[Tensor, "voxel contrast"]
    precision: Float[Tensor, "#voxel product"]

    @classmethod
    def of(cls, signal: Tensor, weights: Tensor, whitening: Tensor | None) -> _Products:
        if whitening is None:
            return cls(projected=weights * signal, precision=weights)
        root, inverse = weights.sqrt(), whitening.T @ whitening
        pairs = root[:, :, None] * inverse * root[:, None, :]
        return cls(projected=root * ((root * signal) @ inverse), precision=pairs.flatten(1))

    def between(self, one: Float[Tensor, "entry contrast"], other: Float[Tensor, "entry contrast"]) -> Float[Tensor, "voxel entry"]:
        correlated = self.precision.shape[-1] != self.projected.shape[-1]
        product = (one[:, :, None] * other[:, None, :]).flatten(1) if correlated else one * other
        return self.precision @ product.T

    def gain(self, basis: Float[Tensor, "entry contrast 1"]) -> Float[Tensor, "voxel entry"]:
        """How much less energy is left when an entry is subtracted as it is."""
        curve = basis[..., 0]
        return 2 * self.projected @ curve.T - self.between(curve, curve)

    def energy(self, basis: Float[Tensor, "entry contrast linear"]) -> Float[Tensor, "voxel entry"]:
        """How much energy is explained with the best coefficients."""
        size = basis.abs().amax(-2, keepdim=True)
        functions = (basis / torch.where(size > 0, size, 1.0)).unbind(-1)
        tiny, dependent = torch.finfo(basis.dtype).tiny, _DEPENDENT[basis.dtype]
        # In place, because most of the time would go into fresh memory for (voxel, entry).
        if len(functions) == 1:
            curve = functions[0]
            return (self.projected @ curve.T).square_().div_(self.between(curve, curve).clamp_min_(tiny))
        if len(functions) > 2:
            return self._energy_of_many(functions, dependent)
        first, second = functions
        b0, b1 = self.projected @ first.T, self.projected @ second.T
        a00, a11, a01 = self.between(first, first), self.between(second, second), self.between(first, second)
        # The energy along the first function and that along what is left of the second: no difference of large terms.
        share = a01 / a00.clamp_min_(tiny)
        rest = a01.mul_(share).neg_().add_(a11).clamp_min_(tiny)
        rest = torch.maximum(rest, a11.mul_(dependent))
        return b1.addcmul_(share, b0, value=-1).square_().div_(rest).add_(b0.square_().div_(a00))

    def _energy_of_many(self, functions: Sequence[Tensor], dependent: float) -> Float[Tensor, "voxel entry"]:
        """The same for three functions and more; slow, and seldom needed."""
        right = torch.stack([self.projected @ f.T for f in functions], -1)
        normal = torch.stack([torch.stack([self.between(f, g) for g in functions], -1) for f in functions], -2)
        size = normal.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(right.dtype).tiny).sqrt()
        normal = normal / size[..., :, None] / size[..., None, :]
        normal = normal + dependent * torch.eye(len(functions), dtype=right.dtype, device=right.device)
        right = right / size
        solved, _ = torch.linalg.solve_ex(normal.expand(len(right), -1, -1, -1), right[..., None])
        energy: Tensor = (solved[..., 0] * right).sum(-1)
        return energy


def _coefficients(
    basis: Float[Tensor, "voxel contrast linear"],
    signal: Float[Tensor, "voxel contrast"],
    weights: Float[Tensor, "#voxel contrast"],
    whitening: Float[Tensor, "contrast contrast"] | None,
) -> Float[Tensor, "voxel linear"]:
    """Least-squares values of the linear parameters with one entry for each voxel."""
    root = weights.sqrt()
    columns = [observed(c, root, whitening) for c in basis.unbind(-1)]
    target = observed(signal, root, whitening)
    size = [dot(c, c).clamp_min(_TINY).sqrt() for c in columns]
    below = [[dot(c, other) / size[i] / size[j] for j, other in enumerate(columns[:i])] for i, c in enumerate(columns)]
    right = [dot(c, target) / s for c, s in zip(columns, size, strict=True)]
    solved = small_systems.solve(below, torch.full_like(size[0], 1 + _DEPENDENT[basis.dtype]), right)
    return torch.stack([x / s for x, s in zip(solved, size, strict=True)], -1).nan_to_num(0.0, 0.0, 0.0)


def _grid(model: SignalModel, times: Float[Tensor, " contrast"], linear: list[int]) -> Float[Tensor, "entry parameter"]:
    """All combinations of grid points of the non-linear parameters; linear ones are 1."""
    count = len(model.parameters) - len(linear)
    points = _POINTS.get(count, _POINTS_OF_MANY)
    if points**count > _MOST_ENTRIES:
        raise ConfigError(
            f"signal model {model.name}",
            f"has {count} non-linear parameters, too many for a grid of start values",
            "give start values, or a model with fewer parameters",
        )
    one = torch.ones(1, dtype=torch.float64)
    axes = [one if i in linear else _axis(model, p, points, times) for i, p in enumerate(model.parameters)]
    return torch.cartesian_prod(*axes).reshape(-1, len(axes)).to(times.device)


def _axis(model: SignalModel, parameter: Parameter, points: int, times: Float[Tensor, " contrast"]) -> Float[Tensor, " point"]:
    low, high = parameter.typical or (parameter.lower, parameter.upper)
    if isinstance(model, SeparableModel) and parameter is model.constant:
        low, high = model.plausible(times)
    if not math.isfinite(low) or not math.isfinite(high):
        raise ConfigError(
            f"parameter {parameter.name} of signal model {model.name}", "has no finite range", "give it a typical range or bounds"
        )
    # Not on a bound, from where a descent may not get away.
    low = max(low, parameter.lower + 1e-6 * (high - low)) if math.isfinite(parameter.lower) else low
    high = min(high, parameter.upper - 1e-6 * (high - low)) if math.isfinite(parameter.upper) else high
    if parameter.lower > 0:
        return torch.linspace(math.log(low), math.log(high), points, dtype=torch.float64).exp()
    return torch.linspace(low, high, points, dtype=torch.float64)


def _groups(
    model: SignalModel, known: Float[Tensor, "voxel known"] | None, count: int, device: torch.device
) -> Iterator[tuple[Int[Tensor, " chosen"], Float[Tensor, "1 known"] | None]]:
    """Voxels whose known values fall into the same bins, and their mean values."""
    if known is None or not model.known:
        yield torch.arange(count, device=device), None
        return
    low, high = known.amin(0), known.amax(0)
    width = ((high - low) / _BINS).clamp_min(1e-9)
    labels, inverse = torch.unique(((known - low) / width).clamp(0, _BINS - 1).floor(), dim=0, return_inverse=True)
    for index in range(len(labels)):
        rows = torch.nonzero(inverse == index)[:, 0]
        yield rows, known[rows].mean(0, keepdim=True)
