r"""What a predicted variance is trained to: the errors of finished images.

All losses are means over the voxels of a mask. Voxels of infinite predicted variance do not count: nothing was measured there.
"""

from __future__ import annotations

from jaxtyping import Bool, Complex64, Float, Float32
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.uncertainty import component_errors


def squared_error(
    images: Complex64[Tensor, "contrast z y x"], truth: Complex64[Tensor, "contrast z y x"], *, real_images: bool = False
) -> Float32[Tensor, "contrast z y x"]:
    r"""Squared error of one component of the images, what a predicted variance is the expectation of.

    With :math:`d = x - t` it is :math:`|d|^2 / 2` for complex images, the mean over real and imaginary part. For images that are
    real but for a phase it is :math:`(\mathrm{Re}\, d e^{-i \varphi})^2` with the phase :math:`\varphi` of the image (where the
    image is zero: of the truth); an error of the phase itself does not count, as the fit of such images does not see it.

    Parameters
    ----------
    images
        Reconstructed images x.
    truth
        True images t.
    real_images
        Whether the images are real but for a phase.
    """
    return component_errors(images, truth, real_images=real_images).square().mean(dim=1)


def nll(
    log_variance: Float[Tensor, "*contrast z y x"],
    squared_error: Float[Tensor, "*contrast z y x"],
    mask: Bool[Tensor, "*#contrast z y x"],
) -> Float[Tensor, ""]:
    r"""Negative log-likelihood of normal errors, :math:`\frac12 (\ln \sigma^2 + e^2 / \sigma^2)`, mean over the mask.

    The constant :math:`\frac12 \ln 2 \pi` is left out. Both arguments in the same unit: errors divided by the scale of the evidence.

    Parameters
    ----------
    log_variance
        Logarithm of the variance.
    squared_error
        Of one component (:func:`squared_error`).
    mask
        Voxels that count.

    Raises
    ------
    InputError
        If no voxel counts.
    """
    return beta_nll(log_variance, squared_error, mask, beta=0.0)


def beta_nll(
    log_variance: Float[Tensor, "*contrast z y x"],
    squared_error: Float[Tensor, "*contrast z y x"],
    mask: Bool[Tensor, "*#contrast z y x"],
    *,
    beta: float = 0.5,
) -> Float[Tensor, ""]:
    r""":func:`nll` with every voxel weighted by :math:`\sigma^{2 \beta}`, through which no gradient flows.

    Voxels of large variance then have gradients that do not fade (Seitzer et al. 2022, arXiv 2203.09168): beta 0 is the
    likelihood, beta 1 gives the mean the gradients of a squared error.

    Parameters
    ----------
    log_variance, squared_error, mask
        See :func:`nll`.
    beta
        Between 0 and 1.

    Raises
    ------
    InputError
        If no voxel counts, or beta lies outside [0, 1].
    """
    if not 0 <= beta <= 1:
        raise InputError("beta", f"is {beta:g}", "give a number from 0 to 1")
    chosen = mask.expand_as(log_variance) & log_variance.isfinite()
    if not chosen.any():
        raise InputError("mask", "holds no voxel of finite variance", "leave such an example out")
    logarithm, error = log_variance[chosen], squared_error[chosen]
    loss = (logarithm + error * (-logarithm).exp()) / 2
    return (loss * (beta * logarithm).exp().detach()).mean() if beta else loss.mean()
