r"""How large the errors of images are, learned from what a fit leaves.

The variance of contrast ``i`` of voxel ``v`` is taken as :math:`V_{iv} = c\,u_{iv} + \tau^2 \bar u_v`: the predicted variance up to a
factor, and a floor for what the prediction does not know (aliasing, motion, tissue that does not follow the model), in units of the
mean predicted variance of the voxel. Both are those of restricted maximum likelihood (Patterson and Thompson 1971,
doi 10.1093/biomet/58.3.545), which counts the degrees of freedom that the fit takes, by Fisher scoring, each step of which solves the
equations of Rao (1971, doi 10.1016/0047-259X(71)90001-7):

.. math:: \sum_b \mathrm{tr}(P G_a P G_b)\,\theta_b = r^T P G_a P r, \qquad P = V^{-1} - V^{-1} J (J^T V^{-1} J)^{-1} J^T V^{-1}

summed over voxels, with the residuals ``r`` of a fit near the solution, its Jacobian ``J``, and :math:`V = \sum_a \theta_a G_a`.
With one parameter and ``c = 1`` this is the problem of DerSimonian and Laird (1986, doi 10.1016/0197-2456(86)90046-2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import optimize, stats
from torch import Tensor

_STEPS = 20
_SETTLED = 1e-3
_KEPT = 0.995
"""Part of voxels with normal errors that counts; a larger misfit marks an outlier."""
_LEAST = 1e-3
"""Part of the mean variance of a voxel below which no contrast's falls during the iteration."""


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """What a fit of some voxels leaves.

    Attributes
    ----------
    residuals
        float64 (voxel, contrast), with any weights.
    jacobian
        float64 (voxel, contrast, parameter) at the estimates; columns may have any length.
    used
        bool (voxel, contrast): contrasts that the fit used.
    """

    residuals: Float[Tensor, "voxel contrast"]
    jacobian: Float[Tensor, "voxel contrast parameter"]
    used: Bool[Tensor, "voxel contrast"]

    def projector(self, variance: Float[Tensor, "voxel contrast"]) -> Float[Tensor, "voxel contrast contrast"]:
        """``P`` of these variances; zero for contrasts that were not used."""
        root = torch.where(self.used, variance, torch.inf).rsqrt()
        columns = self.jacobian * root[..., None]
        basis, _ = torch.linalg.qr(columns / columns.norm(dim=-2, keepdim=True))
        inner: Tensor = torch.diag_embed(self.used.to(basis.dtype)) - basis @ basis.mT
        return inner * root[:, :, None] * root[:, None, :]

    def misfit(self, projector: Float[Tensor, "voxel contrast contrast"]) -> Float[Tensor, " voxel"]:
        """Chi-square of the voxels under the variances of the projector."""
        return torch.einsum("vi,vij,vj->v", self.residuals, projector, self.residuals)

    @property
    def freedom(self) -> Float[Tensor, " voxel"]:
        """Contrasts used minus parameters."""
        return (self.used.sum(-1) - self.jacobian.shape[-1]).double()

    def reduced(self, variance: Float[Tensor, "voxel contrast"]) -> float:
        """Median chi-square under these variances over that of normal errors: 1 where they are right, whatever outliers do."""
        return _relative(self.misfit(self.projector(variance)), self.freedom)


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variances as they are found.

    Attributes
    ----------
    factor
        ``c``.
    floor
        ``tau^2``, in units of the mean predicted variance of a voxel.
    kept
        Part of the voxels that were no outliers.
    """

    factor: float
    floor: float
    kept: float

    def variance(self, predicted: Float[Tensor, "voxel contrast"]) -> Float[Tensor, "voxel contrast"]:
        """``V`` from predicted variances; a contrast that was not used (infinite) stays so."""
        return self.factor * predicted + self.floor * mean_variance(predicted)


def mean_variance(predicted: Float[Tensor, "voxel contrast"]) -> Float[Tensor, "voxel 1"]:
    """Mean over the contrasts with a finite variance."""
    finite = predicted.isfinite()
    return torch.where(finite, predicted, 0.0).sum(-1, keepdim=True) / finite.sum(-1, keepdim=True)


def estimate(leftover: Leftover, predicted: Float[Tensor, "voxel contrast"]) -> Components:
    """``c`` and ``tau^2`` by restricted maximum likelihood, without outliers, neither below zero.

    Parameters
    ----------
    leftover
        Of voxels with at least one degree of freedom.
    predicted
        Variances, positive; what they are where a contrast was not used does not matter.
    """
    predicted = torch.where(leftover.used, predicted, torch.inf)
    unit = mean_variance(predicted)
    relative = torch.where(leftover.used, predicted / unit, 0.0)
    scaled = Leftover(residuals=leftover.residuals / unit.sqrt(), jacobian=leftover.jacobian, used=leftover.used)
    parts = torch.stack([relative, leftover.used.to(relative.dtype)])
    theta = torch.full((2,), 0.5 * max(scaled.reduced(torch.ones_like(relative)), _LEAST), dtype=torch.float64)
    keep = torch.ones(len(unit), dtype=torch.bool)
    for _ in range(_STEPS):
        variance = torch.einsum("a,avi->vi", theta, parts)
        projector = scaled.projector(variance.clamp_min(_LEAST * float(theta.sum())))
        keep = _ordinary(scaled.misfit(projector), scaled.freedom)
        found = _step(projector[keep], scaled.residuals[keep], parts[:, keep])
        change = float((found - theta).abs().max() / found.sum().clamp_min(torch.finfo(found.dtype).tiny))
        theta = found
        if change < _SETTLED or not float(theta.sum()) > 0:
            break
    return Components(factor=float(theta[0]), floor=float(theta[1]), kept=float(keep.double().mean()))


def _step(
    projector: Float[Tensor, "voxel contrast contrast"],
    residuals: Float[Tensor, "voxel contrast"],
    parts: Float[Tensor, "part voxel contrast"],
) -> Float[Tensor, " part"]:
    """Solution, not below zero, of the equations of Rao."""
    information = torch.einsum("avi,vij,bvj->ab", parts, projector**2, parts)
    given = torch.einsum("avi,vi->a", parts, torch.einsum("vij,vj->vi", projector, residuals) ** 2)
    size = information.diagonal().sqrt()
    scaled = information / size[:, None] / size
    # Predicted variances that are all alike cannot be told from a floor: then half of the variance goes to each.
    lower = torch.linalg.cholesky(scaled + 1e-9 * torch.eye(len(size), dtype=scaled.dtype))
    target = torch.linalg.solve_triangular(lower, (given / size)[:, None], upper=False)[:, 0]
    return torch.as_tensor(optimize.nnls(lower.mT.numpy(), target.numpy())[0]) / size


def _ordinary(misfit: Float[Tensor, " voxel"], freedom: Float[Tensor, " voxel"]) -> Bool[Tensor, " voxel"]:
    """Voxels that are no outliers, measured by the median one."""
    limit = torch.as_tensor(stats.chi2.ppf(_KEPT, freedom.numpy()))
    return misfit <= limit * max(_relative(misfit, freedom), torch.finfo(misfit.dtype).tiny)


def _relative(misfit: Float[Tensor, " voxel"], freedom: Float[Tensor, " voxel"]) -> float:
    return float(np.median(misfit.numpy() / stats.chi2.median(freedom.numpy())))
