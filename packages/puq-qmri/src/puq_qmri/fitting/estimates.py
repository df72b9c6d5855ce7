"""From estimates of some voxels to the maps of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from puq_qmri.fitting.profile import Limits
from puq_qmri.fitting.result import FitResult, Status
from puq_qmri.signal_models import SignalModel

_BY_PARAMETER = ("maps", "std", "low95", "high95")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Results of some voxels, in the units of the images and of the model; what was not asked for is None."""

    values: Float[Tensor, "voxel parameter"]
    std: Float[Tensor, "voxel parameter"]
    limits: Limits
    covariance: Float[Tensor, "voxel parameter parameter"] | None
    chi2: Float[Tensor, " voxel"]
    used: Int[Tensor, " #voxel"]
    effective: Float[Tensor, " #voxel"]
    residuals: Float[Tensor, "voxel contrast"] | None
    n_iter: Int[Tensor, " voxel"]
    status: Int[Tensor, " voxel"]
    near_floor: Bool[Tensor, " voxel"] | None


def quantile(freedom: int, *, known: bool) -> float:
    """Half width of the 95 % interval in standard deviations."""
    if known:
        return float(special.ndtri(0.975))
    return float(special.stdtrit(freedom, 0.975)) if freedom > 0 else float("nan")


class Maps:
    """Result arrays over flattened voxels, filled chunk by chunk."""

    def __init__(self, status: NDArray[np.int8], *, parameters: int) -> None:
        self.status = status
        n = len(status)
        self.values = {f: np.full((n, parameters), np.nan, np.float32) for f in _BY_PARAMETER}
        self.chi2, self.effective = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
        self.n_iter, self.used, self.near_floor = np.zeros(n, np.int16), np.zeros(n, np.int16), 0
        self.profiled, self.open = np.zeros(parameters, np.int64), np.zeros(parameters, np.int64)
        self.covariance: NDArray[np.float32] | None = None
        self.residuals: NDArray[np.float32] | None = None

    def put(self, index: NDArray[np.int64], estimate: Estimate) -> None:
        """Keep the results of the voxels at `index`."""
        ok = estimate.status == Status.OK
        by_parameter = (estimate.values, estimate.std, estimate.limits.low, estimate.limits.high)
        self.profiled += (estimate.limits.profiled & ok[:, None]).sum(0).cpu().numpy()
        self.open += (estimate.limits.open & ok[:, None]).sum(0).cpu().numpy()
        for name, tensor in zip(_BY_PARAMETER, by_parameter, strict=True):
            self.values[name][index] = _array(tensor, ok)
        self.chi2[index], self.effective[index] = _array(estimate.chi2, ok), _array(estimate.effective, ok)
        self.used[index] = estimate.used.cpu().numpy()
        self.n_iter[index] = estimate.n_iter.cpu().numpy()
        self.status[index] = estimate.status.cpu().numpy()
        if estimate.near_floor is not None:
            self.near_floor += int((estimate.near_floor & ok).sum())
        self.covariance = self._kept(self.covariance, index, estimate.covariance, ok)
        self.residuals = self._kept(self.residuals, index, estimate.residuals, ok)

    def _kept(
        self, whole: NDArray[np.float32] | None, index: NDArray[np.int64], part: Tensor | None, ok: Tensor
    ) -> NDArray[np.float32] | None:
        if part is None:
            return whole
        if whole is None:
            whole = np.full((len(self.status), *part.shape[1:]), np.nan, np.float32)
        whole[index] = _array(part, ok)
        return whole

    def result(
        self,
        shape: tuple[int, ...],
        *,
        model: SignalModel,
        times: NDArray[np.float64],
        sigma_known: bool,
        known: NDArray[np.float64] | None,
        facts: dict[str, Any],
    ) -> FitResult:
        """The maps in space."""
        names = [p.name for p in model.parameters]
        maps = {f: {n: np.ascontiguousarray(v[:, i]).reshape(shape) for i, n in enumerate(names)} for f, v in self.values.items()}
        given = None if known is None else known.astype(np.float32).T.reshape(-1, *shape)
        return FitResult(
            model=model.name,
            signal_model=model,
            times=times,
            status=self.status.reshape(shape),
            chi2=self.chi2.reshape(shape),
            n_iter=self.n_iter.reshape(shape),
            contrasts_used=self.used.reshape(shape),
            effective_contrasts=self.effective.reshape(shape),
            degrees_of_freedom=len(times) - len(names),
            sigma_known=sigma_known,
            covariance=None if self.covariance is None else self.covariance.reshape(*shape, len(names), len(names)),
            residuals=None if self.residuals is None else np.moveaxis(self.residuals.reshape(*shape, -1), -1, 0),
            known={} if given is None else dict(zip((p.name for p in model.known), given, strict=True)),
            facts=facts,
            **maps,
        )

    def interval_counts(self, model: SignalModel) -> dict[str, dict[str, int]]:
        """Fitted voxels by parameter whose limits come from the profile, and whose interval is open."""
        names = [p.name for p in model.parameters]
        counts = {"profiled": self.profiled, "open": self.open}
        return {kind: dict(zip(names, values.tolist(), strict=True)) for kind, values in counts.items()}

    def near_floor_share(self) -> float:
        """Share of fitted voxels with a magnitude near the noise floor."""
        return self.near_floor / max(1, int((self.status == Status.OK).sum()))


def _array(values: Tensor, ok: Bool[Tensor, " voxel"]) -> NDArray[np.float32]:
    """float32, NaN where the voxel has no estimate."""
    chosen = ok.reshape(-1, *[1] * (values.ndim - 1))
    return torch.where(chosen, values.float(), torch.nan).cpu().numpy()
