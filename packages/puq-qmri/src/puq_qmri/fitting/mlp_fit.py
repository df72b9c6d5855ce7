r"""Maps by a pixelwise network, in the same form as those of the least-squares fits.

A network has no likelihood, and so no covariance of its own. What it makes of the noise of the images is told by its Jacobian: with
``J = dp/dy`` at the measured signals and the deviations held fixed, the covariance is ``J diag(sigma^2) J^T``. That is the spread of its
estimates over repeated measurements, to first order. It is not their error: a bias towards the values it saw most in training is not
part of it, and where noise is strong the spread can be smaller than that of an unbiased estimate for this reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.fitting.checks import check_positive, checked_mask, checked_sigma, checked_times, usable
from puq_qmri.fitting.estimates import Estimate, Maps, quantile
from puq_qmri.fitting.mlp import PixelMlp
from puq_qmri.fitting.profile import Limits
from puq_qmri.fitting.result import FitResult, Status
from puq_qmri.fitting.signals import inside_bounds, signal_type, to_real
from puq_qmri.signal_models import SignalModel

_CHUNK = 2**15
"""Voxels worked on at once."""


def mlp_fit(
    images: NDArray[Any],
    times: NDArray[np.floating[Any]],
    model: SignalModel,
    mlp: PixelMlp,
    *,
    sigma: float | NDArray[Any] | None = None,
    mask: NDArray[Any] | None = None,
    signal: str = "auto",
    full_covariance: bool = False,
    residuals: bool = False,
    device: str | torch.device = "cpu",
) -> FitResult:
    """Estimate the parameters of every voxel by a network.

    Parameters
    ----------
    images, times, mask, signal, full_covariance, residuals, device
        As :func:`puq_qmri.fitting.fit` takes them.
    model
        That of the network.
    mlp
        From :func:`puq_qmri.training.mlp.train_mlp` or :func:`puq_qmri.fitting.mlp_files.load_mlp`.
    sigma
        As there. A network takes all contrasts: a voxel where one of them has no finite deviation gets the status ``NOT_FINITE``.
        A network without guidance uses `sigma` only for the deviations of its estimates and for chi-square.

    Returns
    -------
    FitResult
        Deviations and intervals are the propagated noise of the images, NaN where `sigma` is None. A voxel whose estimate leaves the
        bounds of the model or reaches an end of the network's range gets the status ``AT_BOUND``.

    Raises
    ------
    InputError
        If the network is for another model or other times, needs deviations that are not there, or the images are magnitudes of a
        signal that changes sign; otherwise as :func:`puq_qmri.fitting.fit`.
    """
    times = checked_times(images, times, model)
    mlp.check(model, times)
    if mlp.settings.guided and sigma is None:
        raise InputError(
            "sigma",
            "is not known, and the network was trained with deviations",
            "give --sigma, or a network without guidance",
        )
    inside = checked_mask(mask, images.shape[1:])
    flat = images.reshape(len(images), -1)
    kind = signal_type(flat if inside.all() else flat[:, inside], signal)
    if kind == "complex" and model.phase_evolves:
        kind = "magnitude"
    if kind == "magnitude" and (model.changes_sign or model.needs_sign):
        raise InputError(
            "images", f"are magnitudes, and the network takes signals of {model.name} with their sign", "give complex images"
        )
    deviation = checked_sigma(sigma, images.shape)
    status = usable(flat, deviation, inside, times, len(model.parameters))
    if deviation is not None:
        status[~np.isfinite(deviation).all(axis=0) & (status == Status.OK)] = Status.NOT_FINITE
    check_positive(deviation, status == Status.OK)
    freedom = len(times) - len(model.parameters)
    maps = Maps(status, parameters=len(model.parameters))
    mlp = mlp.to(device)
    fitted = np.flatnonzero(status == Status.OK)
    for start in range(0, len(fitted), _CHUNK):
        index = fitted[start : start + _CHUNK]
        y = torch.as_tensor(to_real(flat[:, index], kind, model, times).T, device=device)
        own = None
        if deviation is not None:
            chosen = deviation if deviation.shape[1] == 1 else deviation[:, index]
            own = torch.as_tensor(np.broadcast_to(chosen, (len(times), len(index))).T.copy(), device=device)
        found = _estimate(mlp, y, own, quantile(freedom, known=sigma is not None), residuals=residuals)
        maps.put(index, found if full_covariance else replace(found, covariance=None))
    facts = {"signal": kind, "fitter": "mlp", "noise": "gaussian", "robust": "none", "guided": mlp.settings.guided}
    return maps.result(images.shape[1:], model=model, times=times, sigma_known=deviation is not None, known=None, facts=facts)


def _estimate(
    mlp: PixelMlp,
    signal: Float[Tensor, "voxel contrast"],
    deviation: Float[Tensor, "voxel contrast"] | None,
    reach: float,
    *,
    residuals: bool,
) -> Estimate:
    """Results of some voxels; `signal` and `deviation` are float64 in the unit of the images, limits are `reach` deviations away."""
    model = mlp.signal_model
    # In units of the largest signal all squares stay within range, whatever the images' unit.
    scale = signal.abs().amax(-1, keepdim=True)
    y, noise = (signal / scale).float(), None if deviation is None else (deviation / scale).float()
    parameters, spread = _propagated(mlp, y, noise)
    left = y - model.signal(parameters, mlp.times)
    chi2 = ((left / noise) ** 2).sum(-1) if noise is not None else (left.double() * scale).square().sum(-1)
    in_image_unit = torch.tensor([p.unit == "a.u." for p in model.parameters], device=y.device)
    factor = torch.where(in_image_unit, scale, 1.0)
    values = (parameters * factor).float()
    covariance = spread * factor[:, :, None] * factor[:, None, :]
    std = covariance.diagonal(dim1=-2, dim2=-1).sqrt().float()
    weights = torch.ones_like(y) if noise is None or not mlp.settings.guided else (noise.amin(-1, keepdim=True) / noise) ** 2
    nonlinear = parameters[:, [i for i in range(len(model.parameters)) if i != model.amplitude]]
    sound = inside_bounds(model, values.double()) & ((nonlinear > mlp.low) & (nonlinear < mlp.high)).all(-1)
    if noise is not None:
        sound &= std.isfinite().all(-1)
    return Estimate(
        values=values,
        std=std,
        limits=Limits.normal(values, reach * std),
        covariance=covariance.float(),
        chi2=chi2.float(),
        used=torch.full((len(y),), y.shape[1], device=y.device),
        effective=weights.sum(-1) ** 2 / (weights**2).sum(-1),
        residuals=(left * scale).float() if residuals else None,
        n_iter=torch.zeros(len(y), dtype=torch.int64, device=y.device),
        status=torch.where(sound, int(Status.OK), int(Status.AT_BOUND)).to(torch.int8),
        near_floor=None,
    )


def _propagated(
    mlp: PixelMlp, signal: Float[Tensor, "voxel contrast"], deviation: Float[Tensor, "voxel contrast"] | None
) -> tuple[Float[Tensor, "voxel parameter"], Float[Tensor, "voxel parameter parameter"]]:
    """Estimates and their covariance by the Jacobian; NaN without deviations.

    Voxels are independent, so that one reverse pass through the sum over voxels gives one row of the Jacobian of each.
    """
    if deviation is None:
        with torch.no_grad():
            parameters = mlp.estimate(signal)
        return parameters, parameters.new_full((*parameters.shape, parameters.shape[1]), torch.nan)
    with torch.enable_grad():
        signal = signal.detach().requires_grad_()
        parameters = mlp.estimate(signal, deviation)
        rows = [torch.autograd.grad(column.sum(), signal, retain_graph=True)[0] for column in parameters.unbind(-1)]
    spread = torch.stack(rows, 1) * deviation[:, None, :]
    return parameters.detach(), spread @ spread.mT
