"""What a fit returns: a name for everything, and a status for every voxel."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy import special

from puq_qmri.signal_models import SignalModel


class Status(IntEnum):
    """How the fit of one voxel ended; every value but ``OK`` goes with NaN in the maps."""

    OK = 0
    OUTSIDE_MASK = 1
    NO_SIGNAL = 2
    NOT_FINITE = 3
    AT_BOUND = 4
    NOT_CONVERGED = 5


STATUS_TEXT = {
    Status.OK: "fitted",
    Status.OUTSIDE_MASK: "outside the mask, not fitted",
    Status.NO_SIGNAL: "all contrasts are zero",
    Status.NOT_FINITE: "a contrast or known value is NaN, infinite or impossible, or too few different times have a finite deviation",
    Status.AT_BOUND: "the best estimate lies at or outside a bound of the model, so the data do not determine it",
    Status.NOT_CONVERGED: "the iteration did not settle",
}


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """Maps of the estimated parameters with their confidence.

    Attributes
    ----------
    maps, std, low95, high95
        float32 (z, y, x) by parameter name: estimate, its standard deviation, and the limits of the 95 % interval. NaN where the
        status is not ``OK``; deviation and limits also where there are as many contrasts as parameters and no deviations.
    status
        int8 (z, y, x), values of :class:`Status`.
    chi2
        float32 (z, y, x): sum of squared residuals, each over its variance where `sigma_known`, else in squared image units.
    n_iter
        int16 (z, y, x): evaluations of the misfit after the start grid.
    contrasts_used
        int16 (z, y, x): contrasts with a finite deviation, 0 where nothing was fitted.
    effective_contrasts
        float32 (z, y, x): ``(sum w)^2 / sum w^2`` (Kish 1965): how many contrasts of equal weight would be as evenly weighted.
    degrees_of_freedom
        Number of contrasts minus number of parameters. A voxel loses one for every contrast left out by an infinite deviation.
    sigma_known
        Whether deviations of the images were given. If not, the residuals of each voxel estimate them, and the intervals are
        Student's.
    model
        Name of the signal model.
    signal_model
        The model itself, with the settings it was fitted with.
    times
        Seconds, (contrast,).
    covariance
        float32 (z, y, x, parameter, parameter) if asked for.
    residuals
        float32 (contrast, z, y, x) if asked for: measured minus fitted signal, in the unit of the images and with the sign that the
        fit gave to the measured one; NaN for contrasts that were left out.
    known
        float32 (z, y, x) by name: known maps that were given.
    facts
        Further facts for the record: ``signal``, the kind that was fitted; ``fitter``; ``intervals``, their kind and how many come from
        the profile or are open; ``known``, which of the model's maps were
        given and which taken as 1; and for magnitudes with known deviations
        ``near_noise_floor``, the share of fitted voxels with a magnitude below three deviations. ``left_out`` names contrasts
        without signal anywhere that :func:`puq_qmri.pipeline.fit_images` left out; `times` are those of the others.
    """

    model: str
    signal_model: SignalModel
    times: NDArray[np.float64]
    maps: dict[str, Float[np.ndarray, "z y x"]]
    std: dict[str, Float[np.ndarray, "z y x"]]
    low95: dict[str, Float[np.ndarray, "z y x"]]
    high95: dict[str, Float[np.ndarray, "z y x"]]
    status: Int[np.ndarray, "z y x"]
    chi2: Float[np.ndarray, "z y x"]
    n_iter: Int[np.ndarray, "z y x"]
    contrasts_used: Int[np.ndarray, "z y x"]
    effective_contrasts: Float[np.ndarray, "z y x"]
    degrees_of_freedom: int
    sigma_known: bool
    covariance: Float[np.ndarray, "z y x parameter parameter"] | None = None
    residuals: Float[np.ndarray, "contrast z y x"] | None = None
    known: dict[str, Float[np.ndarray, "z y x"]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def reduced_chi2(self) -> Float[np.ndarray, "z y x"]:
        """Misfit over degrees of freedom of each voxel; NaN where there are none. About 1 if model and deviations are right."""
        freedom = self._freedom()
        return np.asarray(np.divide(self.chi2, freedom, out=np.full(self.chi2.shape, np.nan, np.float32), where=freedom > 0))

    @property
    def p_value(self) -> Float[np.ndarray, "z y x"] | None:
        """Probability of a misfit at least as large by noise alone; None where deviations are not known, NaN without freedom."""
        if not self.sigma_known:
            return None
        freedom = self._freedom()
        values = special.chdtrc(np.maximum(freedom, 1), self.chi2)
        return np.where(freedom > 0, values, np.nan).astype(np.float32)

    def _freedom(self) -> Int[np.ndarray, "z y x"]:
        return self.contrasts_used.astype(np.int64) - len(self.maps)

    def counts(self) -> dict[str, int]:
        """Number of voxels by status, in lower case with dashes."""
        return {s.name.lower().replace("_", "-"): int((self.status == s).sum()) for s in Status}
