"""How near a T2 map comes to the reference, by the published numbers and by what they hide."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from medcore.metrics import bias, median_relative_error, nrmse, ssim_w11
from puq_qmri.fitting import FitResult, Status

LONGEST = 2.0
"""Seconds; the protocol clips T2 there."""
TISSUE = 0.3
"""Seconds; longer reference values are fluid, which echoes of an eighth of a second do not determine."""
REGIONS = {
    "up to 60 ms": (0.0, 0.06),
    "60 to 100 ms": (0.06, 0.1),
    "100 to 300 ms": (0.1, TISSUE),
    "above 300 ms": (TISSUE, np.inf),
}
"""By reference T2: above the first limit, up to the second."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Agreement of one T2 map with the reference.

    Attributes
    ----------
    nrmse, ssim
        As published: both maps clipped to [0, 2] s and zero outside the region of interest; root of the mean squared error over
        the mean square of the reference, over the whole frame; structural similarity with 11 x 11 windows and the maximum of
        the reference as range.
    tissue_nrmse
        The former where the reference is at most 0.3 s.
    median_relative_error, bias_s
        Where there is an estimate: median of the relative error, and mean error in seconds by region.
    voxels, at_bound, missing
        Number of voxels in the region of interest; of those whose fit ended at a bound of the model, which counts as estimate
        with that bound in `nrmse` and `ssim`; and of those without signal or not converged, which are zero there.
    """

    nrmse: float | None
    ssim: float | None
    tissue_nrmse: float | None
    median_relative_error: float | None
    bias_s: dict[str, float | None]
    voxels: int
    at_bound: int
    missing: int

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


def score(
    reference: Float[np.ndarray, "y x"], roi: Bool[np.ndarray, "y x"], result: FitResult, signals: Float[np.ndarray, "contrast y x"]
) -> Scores:
    """Compare the T2 map of a fit with a reference.

    Parameters
    ----------
    reference
        T2 in seconds.
    roi
        What counts.
    result
        Of model ``t2``, one slice.
    signals
        Magnitudes that were fitted; they tell which bound a fit without estimate ran into.
    """
    found, status = result.maps["t2"][0].astype(np.float64), result.status[0]
    estimated = roi & (status == Status.OK)
    bound = roi & (status == Status.AT_BOUND)
    filled = np.where(estimated, found, np.where(bound, _bound(result, signals), 0.0))
    truth = np.where(roi, np.clip(reference, 0.0, LONGEST), 0.0)
    estimate = np.where(roi, np.clip(filled, 0.0, LONGEST), 0.0)
    inside = {name: roi & (truth > low) & (truth <= high) for name, (low, high) in REGIONS.items()}
    tissue = roi & (truth > 0) & (truth <= TISSUE)
    there = estimated & (truth > 0)
    return Scores(
        nrmse=nrmse(truth, estimate).value,
        ssim=ssim_w11(truth, estimate).value,
        tissue_nrmse=nrmse(truth, estimate, mask=tissue).value,
        median_relative_error=median_relative_error(truth, estimate, mask=there).value,
        bias_s={name: bias(truth, estimate, mask=region & estimated).value for name, region in inside.items()},
        voxels=int(roi.sum()),
        at_bound=int(bound.sum()),
        missing=int((roi & ~estimated & ~bound).sum()),
    )


def _bound(result: FitResult, signals: Float[np.ndarray, "contrast y x"]) -> Float[np.ndarray, "y x"]:
    """The bound of T2 that lies nearer to the signals: the upper one where late echoes keep at least half of the first's size."""
    constant = next(p for p in result.signal_model.parameters if p.name == "t2")
    order = np.argsort(result.times)
    early, late = signals[order[0]], signals[order[-1]]
    return np.where(late >= 0.5 * early, constant.upper, constant.lower)
