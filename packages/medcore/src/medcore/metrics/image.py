"""How close one image is to another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from medcore.errors import InputError
from medcore.metrics.base import Mask, MetricResult, Nan, Values, metric, prepare, undefined


@metric(
    "nrmse",
    kind="image",
    variant="rms",
    direction="lower",
    definition="sqrt(mean(|estimate - reference|^2) / mean(|reference|^2))",
    source="square root of fastMRI's NMSE (arXiv 1811.08839); scikit-image normalization='euclidean'",
    referee="scikit-image",
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
    "nmse",
    kind="image",
    variant="energy",
    direction="lower",
    definition="sum(|estimate - reference|^2) / sum(|reference|^2), the square of nrmse",
    source="fastMRI, arXiv 1811.08839",
    referee="numpy.linalg.norm; scikit-image",
)
def nmse(reference: Values, estimate: Values, *, mask: Mask = None, nan: Nan = "refuse") -> MetricResult:
    """Normalised mean squared error; parameters as :func:`nrmse`."""
    root = nrmse(reference, estimate, mask=mask, nan=nan)
    return root if root.value is None else replace(root, value=root.value**2)


@metric(
    "psnr",
    kind="image",
    variant="range",
    direction="higher",
    unit="dB",
    definition="10 log10(data_range^2 / mean((estimate - reference)^2))",
    source="scikit-image peak_signal_noise_ratio; data range as in fastMRI (arXiv 1811.08839)",
    referee="scikit-image",
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
    span = data_range_of(ref, data_range)
    if span is None:
        return undefined("the maximum of the reference is not positive", n=ref.size, dropped=dropped)
    error = float(np.mean((est - ref) ** 2))
    if error == 0:
        return undefined("the images are equal, the ratio is unbounded", n=ref.size, dropped=dropped)
    value = float(20 * np.log10(span) - 10 * np.log10(error))
    return MetricResult(value=value, n=ref.size, dropped=dropped, note=f"data_range {span:.6g}")


def data_range_of(reference: Float[np.ndarray, "..."], given: float | None) -> float | None:
    """The range of the data: `given`, or the maximum of the reference as in fastMRI; None where that is not positive.

    Raises
    ------
    InputError
        If `given` is not a positive number.
    """
    if given is not None:
        if not (np.isfinite(given) and given > 0):
            raise InputError("data_range", f"is {given}", "give a positive number")
        return float(given)
    top = float(reference.max())
    return top if top > 0 else None
