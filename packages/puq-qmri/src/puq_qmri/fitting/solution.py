"""What every fitter returns for a batch of voxels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


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
        int64 (voxel,): evaluations of the misfit after the start grid.
    converged
        bool (voxel,).
    at_bound
        bool (voxel,): a parameter that is searched for lies at the first or last value allowed, or that explains the signal as
        well as any other.
    """

    parameters: Float[Tensor, "voxel parameter"]
    cost: Float[Tensor, " voxel"]
    iterations: Int[Tensor, " voxel"]
    converged: Bool[Tensor, " voxel"]
    at_bound: Bool[Tensor, " voxel"]

    def where(self, chosen: Bool[Tensor, " voxel"], other: Solution) -> Solution:
        """The voxels of this solution where `chosen`, those of the other elsewhere."""
        return Solution(
            parameters=torch.where(chosen[:, None], self.parameters, other.parameters),
            cost=torch.where(chosen, self.cost, other.cost),
            iterations=torch.where(chosen, self.iterations, other.iterations),
            converged=torch.where(chosen, self.converged, other.converged),
            at_bound=torch.where(chosen, self.at_bound, other.at_bound),
        )
