"""What is refused before a fit, and which voxels cannot be fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcore.errors import ConfigError, InputError
from medcore.plugins import unknown_name
from puq_qmri.choices import FITTERS, INTERVALS, Fitter, Intervals
from puq_qmri.fitting.result import Status
from puq_qmri.signal_models import SeparableModel, SignalModel


def usable(
    images: NDArray[Any],
    deviation: NDArray[np.float64] | None,
    inside: NDArray[np.bool_],
    times: NDArray[np.float64],
    n_parameters: int,
    known: NDArray[np.bool_] | None = None,
) -> NDArray[np.int8]:
    """Status of the flattened voxels before the fit: which ones can be fitted at all; `known` marks usable known values."""
    used = np.ones((len(images), 1), bool) if deviation is None else np.isfinite(deviation)
    different = sum(used[times == time].any(axis=0).astype(np.int64) for time in np.unique(times))
    status = np.full(images.shape[1], Status.OK, np.int8)
    status[((images == 0) | ~used).all(axis=0)] = Status.NO_SIGNAL
    status[(~np.isfinite(images) & used).any(axis=0) | (different < n_parameters)] = Status.NOT_FINITE
    if known is not None:
        status[~known & (status == Status.OK)] = Status.NOT_FINITE
    status[~inside] = Status.OUTSIDE_MASK
    return status


def checked_times(images: NDArray[Any], times: NDArray[Any], model: SignalModel) -> NDArray[np.float64]:
    """Times as a vector of enough different, finite values."""
    if images.dtype.kind not in "iufc":
        raise InputError("images", f"are of type {images.dtype}", "give real or complex numbers")
    if images.ndim != 4 or 0 in images.shape:
        raise InputError("images", f"have shape {images.shape}", "give four non-empty axes (contrast, z, y, x)")
    vector = np.atleast_1d(np.asarray(times, np.float64))
    if vector.shape != (len(images),):
        raise InputError(
            f"{model.times_key} of model {model.name}",
            f"has {vector.size} values for {len(images)} contrasts",
            "give one time for each",
        )
    if not (np.isfinite(vector).all() and (vector >= 0).all()):
        raise InputError(f"{model.times_key} of model {model.name}", f"is {vector.tolist()}", "give finite seconds, not negative")
    needed = len(model.parameters)
    if len(np.unique(vector)) < needed:
        raise InputError(
            f"model {model.name}",
            f"estimates {needed} parameters, and there are {len(np.unique(vector))} different times",
            "use more contrasts or a simpler model",
        )
    return vector


def checked_sigma(sigma: float | NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Deviations (contrast, voxel), or (contrast, 1) where all voxels share them."""
    if sigma is None:
        return None
    if np.iscomplexobj(sigma):
        raise InputError("sigma", "is complex", "give the standard deviation of the real part")
    deviation = np.asarray(sigma, np.float64)
    if deviation.shape not in ((), shape[:1], shape):
        raise InputError("sigma", f"has shape {deviation.shape}", f"give one number, {shape[:1]} or {shape}")
    if deviation.ndim == 0:
        deviation = np.broadcast_to(deviation, shape[:1])
    return deviation.reshape(shape[0], -1)


def checked_weights(weights: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Weights (contrast, voxel)."""
    if weights is None:
        return None
    if weights.shape != shape:
        raise InputError("weights", f"have shape {weights.shape}", f"give the images' shape {shape}")
    values = np.asarray(weights, np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError("weights", "are negative or not finite somewhere", "give zero to leave a contrast out")
    return values.reshape(shape[0], -1)


def check_positive(deviation: NDArray[np.float64] | None, chosen: NDArray[np.bool_]) -> None:
    """Refuse deviations that no measurement has; zero is allowed where nothing is fitted, as outside of the coil maps."""
    if deviation is None:
        return
    shared = deviation.shape[1] == 1
    wrong = (deviation < 0) | ((deviation == 0) & (shared or chosen))
    if wrong.any():
        where = "" if shared else f" in {int(wrong.any(axis=0).sum())} voxels with signal"
        raise InputError(
            "sigma",
            f"has a value of {deviation[wrong].min():g}{where}",
            "give standard deviations above zero, or infinity to leave a contrast out",
        )


def checked_mask(mask: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Flattened mask."""
    if mask is None:
        return np.ones(int(np.prod(shape)), bool)
    if mask.shape != shape:
        raise InputError("mask", f"has shape {mask.shape}", f"give the images' shape {shape}")
    if not np.isfinite(mask).all():
        raise InputError("mask", "has values that are not finite", "give zero outside and one inside")
    inside = np.asarray(mask, bool).ravel()
    if not inside.any():
        raise InputError("mask", "is empty", "give a mask with voxels to fit")
    return inside


def checked_known(
    known: Mapping[str, float | NDArray[Any]] | None, model: SignalModel, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_] | None]:
    """Known values (voxel, known) in the model's order, 1 where none is given, and whether they lie within their bounds.

    Both are None where nothing is given.
    """
    if not known:
        return None, None
    names = [p.name for p in model.known]
    for name in known:
        if name not in names:
            takes = f"it takes {', '.join(names)}" if names else "it takes no known maps"
            raise ConfigError(f"known map {name!r}", f"is nothing that model {model.name} takes", takes)
    columns, usable = [], np.ones(int(np.prod(shape)), bool)
    for quantity in model.known:
        values = np.asarray(known.get(quantity.name, 1.0))
        if values.dtype.kind not in "iuf":
            raise InputError(f"known map {quantity.name}", f"is of type {values.dtype}", "give real numbers")
        if values.shape not in ((), shape):
            raise InputError(f"known map {quantity.name}", f"has shape {values.shape}", f"give one number or {shape}")
        column = np.broadcast_to(values, shape).astype(np.float64).ravel()
        usable &= (column >= quantity.lower) & (column <= quantity.upper)
        columns.append(column)
    if not usable.any():
        limits = ", ".join(f"{p.name} {p.lower:g} to {p.upper:g}" for p in model.known)
        raise InputError(
            f"known maps of model {model.name}", "are nowhere within their bounds", f"give {limits}; a map in per cent is over 100"
        )
    return np.stack(columns, axis=-1), usable


def chosen_fitter(model: SignalModel, requested: Fitter, *, known: bool) -> Fitter:
    """Variable projection where the model is separable and no map is given, else Levenberg-Marquardt, unless one is asked for.

    Raises
    ------
    ConfigError
        If there is no such fitter, a network is asked for, which :func:`puq_qmri.fitting.mlp_fit` applies, or variable projection is
        asked of what it cannot fit.
    """
    if requested not in FITTERS:
        raise ConfigError("--fitter", f"is {requested!r}", f"choose one of {', '.join(FITTERS)}")
    if requested == "mlp":
        raise ConfigError("--fitter mlp", "needs a trained network", "give --mlp with the folder of puq-qmri train-mlp")
    possible = isinstance(model, SeparableModel) and not known
    if requested == "auto":
        return "variable-projection" if possible else "levenberg-marquardt"
    if requested == "variable-projection" and not possible:
        reason = "is not linear in all parameters but one" if not isinstance(model, SeparableModel) else "has a known map"
        raise ConfigError(f"--fitter {requested}", f"was asked of model {model.name}, which {reason}", "use levenberg-marquardt")
    return requested


def checked_intervals(requested: Intervals, *, robust: str, noise: str) -> Intervals:
    """The kind of intervals that the assumptions allow.

    Robust estimates have no likelihood, and that of magnitudes is not the misfit of their least-squares steps: ``auto`` is ``normal``
    there.

    Raises
    ------
    ConfigError
        If there is no such kind, or a profile is asked of these.
    """
    if requested not in INTERVALS:
        raise unknown_name("--intervals", requested, [*INTERVALS])
    others = [f"--{name} {value}" for name, value in (("robust", robust), ("noise", noise)) if value not in {"none", "gaussian"}]
    if others and requested == "profile":
        raise ConfigError("--intervals profile", f"does not go with {others[0]}", "use --intervals auto or normal")
    return "normal" if others else requested
