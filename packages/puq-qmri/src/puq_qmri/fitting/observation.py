"""How weights and correlations show the contrasts of a voxel to a fit."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def observed(
    values: Float[Tensor, "voxel contrast"],
    root: Float[Tensor, "#voxel contrast"],
    whitening: Float[Tensor, "contrast contrast"] | None = None,
) -> Float[Tensor, "voxel contrast"]:
    """Values in units of their noise, independent of each other: ``whitening @ (root * values)``.

    Parameters
    ----------
    values
        Signals, or derivatives of the signal.
    root
        Square roots of the weights, one row for all voxels or one for each.
    whitening
        Inverse Cholesky factor of the correlation of the contrasts; None: they are independent.
    """
    weighted = root * values
    return weighted if whitening is None else weighted @ whitening.T


def dot(one: Float[Tensor, "voxel contrast"], other: Float[Tensor, "voxel contrast"]) -> Float[Tensor, " voxel"]:
    """Inner product over the contrasts of each voxel."""
    product: Tensor = torch.linalg.vecdot(one, other)
    return product
