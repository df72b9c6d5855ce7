"""What a fit returns: a name for everything, and a status for every voxel."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray


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
    Status.NOT_FINITE: "a contrast is NaN or infinite, or too few contrasts have a finite deviation",
    Status.AT_BOUND: "the best estimate lies at a bound of the model, so the data do not determine it",
    Status.NOT_CONVERGED: "the iteration did not settle",
}


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """Maps of the estimated parameters with their confidence.

    Attributes
    ----------
    maps, std, low95, high95
        float32 (z, y, x) by parameter name: estimate, its standard deviation, and the limits of the 95 % interval.
    status
        int8 (z, y, x), values of :class:`Status`.
    chi2
        float32 (z, y, x): weighted sum of squared residuals. In units of the noise where `sigma_known`.
    n_iter
        int16 (z, y, x): iterations of the refinement.
    degrees_of_freedom
        Number of contrasts minus number of parameters.
    sigma_known
        Whether deviations of the images were given. If not, the residuals of each voxel estimate them, and the intervals are
        Student's.
    model
        Name of the signal model.
    times
        Seconds, (contrast,).
    facts
        Further facts for the record, for example which signal type was taken.
    """

    model: str
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
