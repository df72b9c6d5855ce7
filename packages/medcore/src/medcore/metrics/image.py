"""How close one image is to another."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Num
from scipy.ndimage import uniform_filter1d

from medcore.errors import InputError
from medcore.metrics.base import Mask, MetricResult, Nan, Values, metric, numbers, prepare, selection, undefined


@metric(
    "nrmse",
    kind="image",
    variant="rms",
    direction="lower",
    definition="sqrt(mean(|estimate - reference|^2) / mean(|reference|^2))",
    source="square root of fastMRI's NMSE (arXiv 1811.08839); scikit-image normalization='euclidean'",
)
def nrmse(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Root mean squared error over the root mean square of the reference; complex images by complex difference.

    Parameters
    ----------
    reference, estimate
        Arrays of one shape.
    mask
        Which values count; leading axes may be missing.
    nan
        ``"omit"`` leaves out values that are not finite and counts them; by default they are an error.
    """
    (ref, est), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan, complex_ok=True)
    if not ref.size:
        return undefined("no values are left", dropped=dropped)
    power = np.mean(np.abs(ref) ** 2)
    if power == 0:
        return undefined("the reference is zero everywhere", n=ref.size, dropped=dropped)
    value = float(np.sqrt(np.mean(np.abs(est - ref) ** 2) / power))
    return MetricResult(value=value, n=ref.size, dropped=dropped)


@metric(
    "psnr",
    kind="image",
    variant="range",
    direction="higher",
    unit="dB",
    definition="10 log10(data_range^2 / mean((estimate - reference)^2))",
    source="scikit-image peak_signal_noise_ratio; data range as in fastMRI (arXiv 1811.08839)",
)
def psnr(
    reference: Values, estimate: Values, *, data_range: float | None = None, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Peak signal-to-noise ratio.

    Parameters
    ----------
    reference, estimate, mask, nan
        See :func:`nrmse`; real images.
    data_range
        Range of the data; by default the maximum of the reference, which is written into the result's note.
    """
    (ref, est), dropped = prepare({"reference": reference, "estimate": estimate}, mask, nan)
    if not ref.size:
        return undefined("no values are left", dropped=dropped)
    span = _data_range(ref, data_range)
    if span is None:
        return undefined("the maximum of the reference is not positive", n=ref.size, dropped=dropped)
    error = float(np.mean((est - ref) ** 2))
    if error == 0:
        return undefined("the images are equal, the ratio is unbounded", n=ref.size, dropped=dropped)
    value = float(20 * np.log10(span) - 10 * np.log10(error))
    return MetricResult(value=value, n=ref.size, dropped=dropped, note=f"data_range {span:.6g}")


@metric(
    "ssim",
    kind="image",
    variant="uniform7",
    direction="higher",
    definition="mean structural similarity, 7 x 7 uniform windows inside each slice, K1 0.01, K2 0.03, sample covariance",
    source="Wang et al. 2004, doi 10.1109/TIP.2003.819861; defaults of scikit-image and fastMRI (arXiv 1811.08839)",
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
)
def ssim_w11(
    reference: Values, estimate: Values, *, data_range: float | None = None, mask: Mask = None, nan: Nan = "refuse"
) -> MetricResult:
    """Structural similarity with 11 x 11 windows; see :func:`ssim`."""
    return _ssim(reference, estimate, data_range, mask, nan, window=11)


def _ssim(reference: Values, estimate: Values, data_range: float | None, mask: Mask, nan: Nan, *, window: int) -> MetricResult:
    ref, est = numbers(reference, "reference"), numbers(estimate, "estimate")
    chosen, dropped = selection({"reference": ref, "estimate": est}, mask, nan)
    if ref.ndim < 2 or min(ref.shape[-2:]) < window:
        return undefined(f"the images are smaller than the {window} x {window} window", n=ref.size)
    if not chosen.any():
        return undefined("no values are left", dropped=dropped)
    span = _data_range(ref[chosen], data_range)
    if span is None:
        return undefined("the maximum of the reference is not positive", n=int(chosen.sum()), dropped=dropped)
    inside = slice(window // 2, -(window // 2))
    inner = (..., inside, inside)
    similarity = _ssim_map(np.where(chosen, ref, 0.0), np.where(chosen, est, 0.0), span, window)[inner]
    centres = chosen[inner]
    if not centres.any():
        return undefined(f"no {window} x {window} window has its centre in the mask", n=int(chosen.sum()), dropped=dropped)
    value = float(np.mean(similarity[centres]))
    return MetricResult(value=value, n=int(chosen.sum()), dropped=dropped, note=f"data_range {span:.6g}")


def _ssim_map(
    ref: Num[np.ndarray, "*slices y x"], est: Num[np.ndarray, "*slices y x"], span: float, window: int
) -> Float[np.ndarray, "*slices y x"]:
    """Similarity of the windows around each pixel; wrong within half a window of the border."""

    def local_mean(image: np.ndarray) -> np.ndarray:
        rows: np.ndarray = uniform_filter1d(image, window, axis=-1)
        mean: np.ndarray = uniform_filter1d(rows, window, axis=-2)
        return mean

    mean_ref, mean_est = local_mean(ref), local_mean(est)
    sample = window**2 / (window**2 - 1)
    var_ref = sample * (local_mean(ref * ref) - mean_ref**2)
    var_est = sample * (local_mean(est * est) - mean_est**2)
    covariance = sample * (local_mean(ref * est) - mean_ref * mean_est)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    top = (2 * mean_ref * mean_est + c1) * (2 * covariance + c2)
    return np.asarray(top / ((mean_ref**2 + mean_est**2 + c1) * (var_ref + var_est + c2)))


def _data_range(reference: np.ndarray, given: float | None) -> float | None:
    if given is not None:
        if not (np.isfinite(given) and given > 0):
            raise InputError("data_range", f"is {given}", "give a positive number")
        return float(given)
    top = float(reference.max())
    return top if top > 0 else None
