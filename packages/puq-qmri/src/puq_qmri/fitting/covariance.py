"""Covariance of the estimates from the Jacobian of the signals, by linear propagation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from puq_qmri.fitting import small_systems
from puq_qmri.fitting.observation import dot, observed
from puq_qmri.signal_models.base import SignalModel

_UNDETERMINED = 1e12
"""Variance inflation by the other parameters above which the covariance is rounding error."""


def observed_jacobian(
    model: SignalModel,
    times: Float[Tensor, " contrast"],
    parameters: Float[Tensor, "voxel column"],
    weights: Float[Tensor, "#voxel contrast"],
    whitening: Float[Tensor, "contrast contrast"] | None = None,
) -> list[Float[Tensor, "voxel contrast"]]:
    """Derivatives of the weighted signals with respect to each parameter; `parameters` ends with known values, if there are any."""
    root = weights.sqrt()
    return [observed(c, root, whitening) for c in model.jacobian(parameters, times).unbind(-1)]


def covariance(
    columns: Sequence[Float[Tensor, "voxel contrast"]], excess: Float[Tensor, "#voxel contrast"] | None = None
) -> Float[Tensor, "voxel parameter parameter"]:
    """Covariance for noise of unit weight, ``(J^T W J)^-1``; NaN where the data do not determine all parameters.

    Parameters
    ----------
    columns
        From :func:`observed_jacobian`.
    excess
        Deviation of each observed value over the one that its weight stands for, where weights are not inverse variances. The
        covariance is then the sandwich ``A^-1 B A^-1`` with ``A = J^T W J`` and ``B = J^T W S W J`` for the true variances ``S``
        (White 1980, doi 10.2307/1912934).
    """
    # To unit columns first: seconds and image units differ by many orders of magnitude.
    size = [dot(c, c).sqrt() for c in columns]
    columns = [c / s[:, None] for c, s in zip(columns, size, strict=True)]
    below = [[dot(c, other) for other in columns[:i]] for i, c in enumerate(columns)]
    inverse = small_systems.inverse(below, size[0], len(columns))
    inflation = inverse.diagonal(dim1=-2, dim2=-1)
    sound = ((inflation > 0.5) & (inflation < _UNDETERMINED)).all(-1)
    if excess is not None:
        spread = torch.stack([c * excess for c in columns], -1)
        inverse = inverse @ (spread.mT @ spread) @ inverse
    scale = torch.stack(size, -1)
    return torch.where(sound[:, None, None], inverse / scale[:, :, None] / scale[:, None, :], torch.nan)
