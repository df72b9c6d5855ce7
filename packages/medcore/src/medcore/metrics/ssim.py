"""Structural similarity: one name for several numbers, so each has its own name here."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Num
from scipy.ndimage import correlate1d

from medcore.metrics.base import Mask, MetricResult, Nan, Values, metric, numbers, selection, undefined
from medcore.metrics.image import data_range_of


@metric(
    "ssim",
    kind="image",
    variant="uniform7",
    direction="higher",
    definition="mean structural similarity, 7 x 7 uniform windows inside each slice, K1 0.01, K2 0.03, sample covariance",
    source="Wang et al. 2004, doi 10.1109/TIP.2003.819861; defaults of scikit-image and fastMRI (arXiv 1811.08839)",
    referee="scikit-image",
)
def ssim(
    reference: Values, estimate: Values, *, data_range: float | None = None, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Structural similarity with 7 x 7 windows.

    Windows lie in the last two axes and inside the image; other axes are slices. With a mask, both images are set to 0 outside and the
    windows centred in the mask are averaged: a number of its own, not comparable with the one without.

    Parameters
    ----------
    reference, estimate
        Real images (..., y, x).
    data_range
        Range of the data; by default the maximum of the reference, which is written into the result's note.
    mask, nan
        See :func:`nrmse`.
    """
    return _ssim(reference, estimate, data_range, mask, nan, window=7)


@metric(
    "ssim_w11",
    kind="image",
    variant="uniform11",
    direction="higher",
    definition="as ssim, with 11 x 11 uniform windows",
    source="published tables of uncertainty-guided relaxometry (window 11, data range = maximum of the reference)",
    referee="scikit-image",
)
def ssim_w11(
    reference: Values, estimate: Values, *, data_range: float | None = None, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Structural similarity with 11 x 11 windows; see :func:`ssim`."""
    return _ssim(reference, estimate, data_range, mask, nan, window=11)


@metric(
    "ssim_gauss",
    kind="image",
    variant="gauss11",
    direction="higher",
    definition="as ssim, with Gaussian windows (sigma 1.5 pixels, cut to 11 x 11) and moments with 1/n",
    source="Wang et al. 2004, doi 10.1109/TIP.2003.819861, as published; windows of torchmetrics (but no reflected borders) and MONAI",
    referee="scikit-image; torchmetrics inside the border",
)
def ssim_gauss(
    reference: Values, estimate: Values, *, data_range: float | None = None, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Structural similarity with Gaussian windows; see :func:`ssim`."""
    return _ssim(reference, estimate, data_range, mask, nan, window=11, sigma=1.5)


def _ssim(
    reference: Values,
    estimate: Values,
    data_range: float | None,
    mask: Mask,
    nan: Nan,
    *,
    window: int,
    sigma: float | None = None,
) -> MetricResult:
    ref, est = numbers(reference, "reference"), numbers(estimate, "estimate")
    chosen, dropped = selection({"reference": ref, "estimate": est}, mask, nan)
    if ref.ndim < 2 or min(ref.shape[-2:]) < window:
        return undefined(f"the images are smaller than the {window} x {window} window", n=ref.size)
    if not chosen.any():
        return undefined("no values are left", dropped=dropped)
    span = data_range_of(ref[chosen], data_range)
    if span is None:
        return undefined("the maximum of the reference is not positive", n=int(chosen.sum()), dropped=dropped)
    offsets = np.arange(window) - window // 2
    weights = np.ones(window) if sigma is None else np.exp(-(offsets**2) / (2 * sigma**2))
    sample = window**2 / (window**2 - 1) if sigma is None else 1.0
    inside = slice(window // 2, -(window // 2))
    inner = (..., inside, inside)
    similarity = _ssim_map(np.where(chosen, ref, 0.0), np.where(chosen, est, 0.0), span, weights, sample)[inner]
    centres = chosen[inner]
    if not centres.any():
        return undefined(f"no {window} x {window} window has its centre in the mask", n=int(chosen.sum()), dropped=dropped)
    value = float(np.mean(similarity[centres]))
    return MetricResult(value=value, n=int(chosen.sum()), dropped=dropped, note=f"data_range {span:.6g}")


def _ssim_map(
    ref: Num[np.ndarray, "*slices y x"],
    est: Num[np.ndarray, "*slices y x"],
    span: float,
    weights: Float[np.ndarray, " window"],
    sample: float,
) -> Float[np.ndarray, "*slices y x"]:
    """Similarity of the windows around each pixel; wrong within half a window of the border. `sample` scales the second moments."""
    weights = weights / weights.sum()

    def local_mean(image: np.ndarray) -> np.ndarray:
        rows: np.ndarray = correlate1d(image, weights, axis=-1)
        mean: np.ndarray = correlate1d(rows, weights, axis=-2)
        return mean

    mean_ref, mean_est = local_mean(ref), local_mean(est)
    var_ref = sample * (local_mean(ref * ref) - mean_ref**2)
    var_est = sample * (local_mean(est * est) - mean_est**2)
    covariance = sample * (local_mean(ref * est) - mean_ref * mean_est)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    top = (2 * mean_ref * mean_est + c1) * (2 * covariance + c2)
    return np.asarray(top / ((mean_ref**2 + mean_est**2 + c1) * (var_ref + var_est + c2)))
