"""Whether predicted intervals keep their promise."""

from __future__ import annotations

import numpy as np

from medcore.errors import InputError
from medcore.metrics.base import Mask, MetricResult, Nan, Values, metric, prepare, undefined
from medcore.metrics.proportions import WILSON, wilson
from medcore.metrics.uncertainty import GNEITING


@metric(
    "coverage",
    kind="uncertainty",
    variant="closed",
    direction="level",
    definition="fraction of references with low <= reference <= high, with Wilson's 95 % interval",
    source=f"prediction interval coverage probability (PICP); {WILSON}",
    referee="scipy binomtest",
)
def coverage(reference: Values, low: Values, high: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Fraction of true values inside their intervals; the interval of the fraction takes them as independent.

    Parameters
    ----------
    reference
        True values.
    low, high
        Ends of the predicted intervals, in the same shape.
    mask
        Which values count; leading axes may be missing.
    nan
        ``"omit"`` leaves out values that are not finite and counts them; by default they are an error.
    """
    ref, lo, hi, dropped = _intervals(reference, low, high, mask, nan)
    n = ref.size
    if not n:
        return undefined("no values are left", dropped=dropped)
    inside = int(np.count_nonzero((lo <= ref) & (ref <= hi)))
    low_end, high_end = wilson(inside, n)
    return MetricResult(value=inside / n, low=low_end, high=high_end, level=0.95, n=n, dropped=dropped)


@metric(
    "mean_width",
    kind="uncertainty",
    variant="mean",
    direction="lower",
    unit="data",
    definition="mean(high - low); smaller is better only at equal coverage",
    source="mean prediction interval width (MPIW), Khosravi et al. 2011, doi 10.1109/TNN.2010.2096824",
    referee="scoringrules, where every value lies inside",
)
def mean_width(low: Values, high: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Mean width of intervals; parameters as :func:`coverage`."""
    (lo, hi), dropped = prepare({"low": low, "high": high}, mask, nan)
    _refuse_swapped(lo, hi)
    if not lo.size:
        return undefined("no values are left", dropped=dropped)
    return MetricResult(value=float(np.mean(hi - lo)), n=lo.size, dropped=dropped)


@metric(
    "interval_score",
    kind="uncertainty",
    variant="mean",
    direction="lower",
    unit="data",
    definition="mean(width + 2/alpha * (distance of the reference outside the interval)), alpha = 1 - level",
    source=GNEITING,
    referee="scoringrules",
)
def interval_score(
    reference: Values, low: Values, high: Values, *, level: float = 0.95, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Winkler's interval score of intervals of the given `level`; other parameters as :func:`coverage`."""
    if not 0 < level < 1:
        raise InputError("level", f"is {level}", "give a number between 0 and 1")
    ref, lo, hi, dropped = _intervals(reference, low, high, mask, nan)
    if not ref.size:
        return undefined("no values are left", dropped=dropped)
    outside = np.maximum(lo - ref, 0) + np.maximum(ref - hi, 0)
    return MetricResult(value=float(np.mean(hi - lo + 2 / (1 - level) * outside)), n=ref.size, dropped=dropped)


def _intervals(
    reference: Values, low: Values, high: Values, mask: Mask, nan: Nan
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    (ref, lo, hi), dropped = prepare({"reference": reference, "low": low, "high": high}, mask, nan)
    _refuse_swapped(lo, hi)
    return ref, lo, hi, dropped


def _refuse_swapped(low: np.ndarray, high: np.ndarray) -> None:
    swapped = int(np.count_nonzero(low > high))
    if swapped:
        raise InputError("interval", f"{swapped} of {low.size} lower ends lie above the upper", "swap low and high")
