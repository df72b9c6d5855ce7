"""What a fit returns: a name for everything, and a status for every voxel."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

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
    Status.NOT_FINITE: "a contrast is NaN or infinite, or too few different times have a finite deviation",
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
    facts
        Further facts for the record: ``signal``, the kind that was fitted, and for magnitudes with known deviations
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
    degrees_of_freedom: int
    sigma_known: bool
    facts: dict[str, Any] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Number of voxels by status, in lower case with dashes."""
        return {s.name.lower().replace("_", "-"): int((self.status == s).sum()) for s in Status}
