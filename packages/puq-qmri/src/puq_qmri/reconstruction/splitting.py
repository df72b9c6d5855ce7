"""Alternating direction method of multipliers for least squares with one regulariser that has an easy proximal map.

Boyd et al. 2011, doi 10.1561/2200000016. The regulariser works on the details of a tight frame, so that the inner least-squares
problem needs nothing beyond the normal operator; what the frame calls coarse is not regularised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

COUPLING = 0.05
"""Penalty of the splitting, beside a normal operator that is 1 where everything was measured."""
INNER = 3
"""Conjugate-gradient steps for each inner problem, started from the previous one's solution."""


@runtime_checkable
class Regulariser(Protocol):
    """A tight frame and the map that makes its details small."""

    def analysis(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Details and coarse rest of coefficient images (component, z, y, x)."""

    def synthesis(self, details: list[Tensor], coarse: Tensor) -> Tensor:
        """The adjoint, and left inverse, of :meth:`analysis`."""

    def shrink(self, details: list[Tensor], strength: float, step: int) -> list[Tensor]:
        """Details made smaller; `strength` is the threshold of one coefficient of an orthonormal transform."""


@dataclass
class Split:
    """State of the splitting: coefficient images, their details after shrinking, the coarse rest, and the multipliers."""

    coefficients: Tensor
    shrunk: list[Tensor]
    coarse: Tensor
    multipliers: list[Tensor]
    step: int = 0


def start(regulariser: Regulariser, coefficients: Tensor) -> Split:
    """The state of no regularisation yet."""
    details, coarse = regulariser.analysis(coefficients)
    return Split(coefficients, details, coarse, [torch.zeros_like(d) for d in details])


def iterate(
    normal: Callable[[Tensor], Tensor],
    right: Tensor,
    state: Split,
    regulariser: Regulariser,
    strength: float,
    iterations: int,
    *,
    inner: int = INNER,
) -> Split:
    """Go on from a state, which stays as it was.

    Parameters
    ----------
    normal, right
        Of the least-squares problem.
    state
        Where to start.
    regulariser, strength
        See :class:`Regulariser`.
    iterations, inner
        Steps of the splitting, and conjugate-gradient steps in each.
    """
    x, shrunk, coarse, multipliers = state.coefficients, state.shrunk, state.coarse, state.multipliers

    def map_(v: Tensor) -> Tensor:
        return normal(v) + COUPLING * v

    mapped = map_(x)
    for step in range(state.step, state.step + iterations):
        target = right + COUPLING * regulariser.synthesis([s - m for s, m in zip(shrunk, multipliers, strict=True)], coarse)
        change, left = _descend(map_, target - mapped, inner, 0.0)
        # What is left of the target tells what the new image is mapped to: the map is not applied once more.
        x, mapped = x + change, target - left
        details, coarse = regulariser.analysis(x)
        raised = [d + m for d, m in zip(details, multipliers, strict=True)]
        shrunk = regulariser.shrink(raised, strength, step)
        multipliers = [r - s for r, s in zip(raised, shrunk, strict=True)]
    return Split(x, shrunk, coarse, multipliers, state.step + iterations)


def joint_conjugate_gradients(map_: Callable[[Tensor], Tensor], right: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Solve ``map_(x) = right`` for all components together, from zero."""
    return _descend(map_, right, iterations, tolerance)[0]


def _descend(map_: Callable[[Tensor], Tensor], right: Tensor, iterations: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """The solution of :func:`joint_conjugate_gradients`, and the residual that it leaves."""
    x, residual = torch.zeros_like(right), right
    direction, norm = residual, _inner(residual, residual)
    start_norm = norm
    for _ in range(iterations):
        if not norm > start_norm * tolerance**2:
            break
        mapped = map_(direction)
        step = norm / _inner(direction, mapped)
        x, residual = x + step * direction, residual - step * mapped
        fresh = _inner(residual, residual)
        direction, norm = residual + fresh / norm * direction, fresh
    return x, residual


def _inner(a: Tensor, b: Tensor) -> float:
    return float((a.conj() * b).real.double().sum())
