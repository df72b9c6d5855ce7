"""Symmetric systems of a few unknowns, one for each voxel, solved over all voxels at once.

Libraries call one routine for each matrix, which for two to four unknowns costs several times what the arithmetic does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_LEAST_PIVOT = 1e-15
"""What is left of a diagonal of ones below this is rounding error."""


def solve(
    below: Sequence[Sequence[Tensor]], diagonal: Float[Tensor, " voxel"] | float, right: Sequence[Float[Tensor, " voxel"]]
) -> list[Float[Tensor, " voxel"]]:
    """Solutions by ``L D L^T``.

    Parameters
    ----------
    below
        ``below[i][j]`` is the entry of row ``i`` and column ``j < i``.
    diagonal
        All entries of the diagonal, at least 1 so that a pivot means how independent an unknown is of those before it.
    right
        The right sides.
    """
    factor, pivots = _factor(below, diagonal, len(right))
    return _substitute(factor, pivots, right)


def inverse(below: Sequence[Sequence[Tensor]], like: Float[Tensor, " voxel"], size: int) -> Float[Tensor, "voxel size size"]:
    """Inverses of matrices with a diagonal of ones; `like` has the shape and place of one entry."""
    one, zero = torch.ones_like(like), torch.zeros_like(like)
    factor, pivots = _factor(below, one, size)
    columns = [_substitute(factor, pivots, [one if i == j else zero for i in range(size)]) for j in range(size)]
    return torch.stack([torch.stack(column, -1) for column in columns], -1)


def _factor(
    below: Sequence[Sequence[Tensor]], diagonal: Float[Tensor, " voxel"] | float, size: int
) -> tuple[list[list[Tensor]], list[Tensor | float]]:
    factor: list[list[Tensor]] = [[] for _ in range(size)]
    pivots: list[Tensor | float] = []
    for i in range(size):
        pivot: Tensor | float = diagonal
        for j in range(i):
            # What is left of the entry is L times D, and then L.
            entry = below[i][j]
            for k in range(j):
                entry = entry - factor[i][k] * factor[j][k] * pivots[k]
            factor[i].append(entry / pivots[j])
            pivot = pivot - factor[i][j] * entry
        pivots.append(pivot.clamp_min(_LEAST_PIVOT) if isinstance(pivot, Tensor) else pivot)
    return factor, pivots


def _substitute(
    factor: Sequence[Sequence[Tensor]], pivots: Sequence[Tensor | float], right: Sequence[Tensor]
) -> list[Float[Tensor, " voxel"]]:
    solved: list[Tensor] = []
    for i in range(len(right)):
        value = right[i]
        for k in range(i):
            value = value - factor[i][k] * solved[k]
        solved.append(value)
    solved = [value / pivot for value, pivot in zip(solved, pivots, strict=True)]
    for i in reversed(range(len(solved))):
        for k in range(i + 1, len(solved)):
            solved[i] = solved[i] - factor[k][i] * solved[k]
    return solved
