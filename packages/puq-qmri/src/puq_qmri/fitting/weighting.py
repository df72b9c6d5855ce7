r"""Which weights the contrasts get, so that known deviations help and do no harm.

Weights ``1 / sigma^2`` are best if the model is right, the errors are independent, and ``sigma`` is all of them. Where it is not, they can
be worse than none: a deviation that holds the noise alone ranks contrasts wrongly when aliasing differs between them, and re-weighting
moves the effective relaxation time of tissue that does not follow the model. What residuals can tell was measured on simulated scans
(CG-SENSE, brain, T2):

- They tell the *level*: a reduced chi-square above 1 says that deviations miss something.
- They do not tell the *ranking*: errors that contrasts share (blurring, aliasing of like sampling) leave no residual, so that contrasts of
  the worst sampling can look best. Variances learned from residuals contrast by contrast made the T2 error 10 to 50 % worse there.
- The variance of a contrast relative to the others is better averaged over a region than taken voxel by voxel, where its own noise, and
  its dependence on the noise of the image, enter the weights. Voxelwise variances rank only where they explain the residuals clearly
  better.

So the rule is: ``given`` takes ``1 / sigma^2`` as it is; ``none`` weighs all contrasts the same; ``misfit-aware`` averages the relative
variances of the contrasts over each region, and where the reduced chi-square is above 1 weighs by ``1 / (c u + tau^2)`` of
:mod:`~puq_qmri.fitting.variance_components` with ``c`` of at least 1; ``auto`` takes ``misfit-aware`` in regions whose reduced chi-square
is at most :data:`TRUSTED`, and ``none`` in others. Intervals never become narrower by it: they use the given deviations, made larger by
``c`` above 1 and by ``tau^2``, and propagate them through the weights that were used.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import InputError
from medcore.plugins import unknown_name
from puq_qmri.fitting.problem import fit
from puq_qmri.fitting.result import FitResult, Status
from puq_qmri.fitting.variance_components import Components, Leftover, estimate
from puq_qmri.signal_models import SignalModel

RULES = ("auto", "none", "given", "misfit-aware")
TRUSTED = 1.5
"""Reduced chi-square of a region up to which deviations may rank the contrasts."""
MAX_RATIO = 30.0
"""How far a weight may lie above or below the median one of its voxel."""
_ENOUGH = 50
"""Voxels that a region needs; the others are judged together."""
_MOST = 20_000
"""Voxels of a region that are looked at; of more, equally spaced ones."""
_BETTER, _CONFIRMED = 0.8, 0.8
"""Reduced chi-square of voxelwise over averaged variances, and part of the variance in proportion to them, that make them rank."""
_SEEN = 3.0
"""Root mean square of signal over deviation from which a voxel counts."""


@dataclass(frozen=True, kw_only=True)
class Weighting:
    """How a fit is to weigh its contrasts.

    Attributes
    ----------
    weights
        float32 (contrast, z, y, x), relative; None: the inverse variances.
    deviation
        float32 (contrast, z, y, x): of the errors, for the intervals.
    facts
        JSON-ready: the rule asked for, and of each region the rule taken, voxels, ``reduced_chi2``, ``c``, ``tau`` (in units of the
        root mean square deviation of the voxel), ``spread`` (largest over least mean variance of the contrasts), ``voxelwise`` and
        ``outliers``.
    """

    weights: Float[np.ndarray, "contrast z y x"] | None
    deviation: Float[np.ndarray, "contrast z y x"]
    facts: dict[str, Any]


def weigh(
    images: NDArray[Any],
    times: NDArray[np.floating[Any]],
    model: SignalModel,
    sigma: Float[np.ndarray, "contrast z y x"],
    *,
    rule: str = "auto",
    labels: Int[np.ndarray, "..."] | None = None,
    mask: NDArray[Any] | None = None,
    **options: Any,
) -> Weighting:
    """Choose weights by the rule of this module.

    Parameters
    ----------
    images, times, model, mask
        As :func:`puq_qmri.fitting.fit` takes them.
    sigma
        Deviations; infinite or NaN leaves a contrast of a voxel out.
    rule
        ``auto``, ``none``, ``given`` or ``misfit-aware``.
    labels
        Regions that are judged apart, each integer one of them, for example tissues; by default slices.
    options
        Others of :func:`puq_qmri.fitting.fit`: ``known``, ``signal``, ``fitter``, ``device``.

    Raises
    ------
    ConfigError
        If there is no such rule.
    InputError
        If the labels have another shape.
    """
    if rule not in RULES:
        raise unknown_name("--weighting", rule, [*RULES])
    if labels is not None and labels.shape != images.shape[1:]:
        raise InputError("labels", f"have shape {labels.shape}", f"give the images' shape {images.shape[1:]}")
    deviation = np.where(np.isfinite(sigma), sigma, np.inf).astype(np.float32)
    if rule == "given":
        return Weighting(weights=None, deviation=deviation, facts={"rule": rule, "taken": rule})
    if rule == "none":
        equal = np.isfinite(deviation).astype(np.float32)
        return Weighting(weights=equal, deviation=deviation, facts={"rule": rule, "taken": rule})
    return _by_region(images, times, model, deviation, _regions(images, deviation, labels, mask), rule, options)


def _by_region(
    images: NDArray[Any],
    times: NDArray[np.floating[Any]],
    model: SignalModel,
    deviation: Float[np.ndarray, "contrast z y x"],
    regions: Mapping[str, tuple[Bool[np.ndarray, "z y x"], Bool[np.ndarray, "z y x"]]],
    rule: str,
    options: Mapping[str, Any],
) -> Weighting:
    weights, widened, found = np.isfinite(deviation).astype(np.float32), deviation.copy(), []
    for name, (inside, sample) in regions.items():
        facts: dict[str, Any] = {"region": name, "taken": "none", "voxels": 0}
        found.append(facts)
        seen = None if not sample.any() else _look(images, times, model, deviation, sample, options)
        if seen is None:
            continue
        leftover, predicted = seen
        judged = _judge(leftover, predicted)
        components, pattern = judged.components, judged.pattern
        trusted = rule == "misfit-aware" or judged.chi2 <= TRUSTED
        facts |= {
            "taken": "misfit-aware" if trusted else "none",
            "voxels": len(predicted),
            "reduced_chi2": _digits(judged.chi2),
            "c": _digits(components.factor),
            "tau": _digits(math.sqrt(components.floor)),
            "spread": _digits(float(pattern.max() / pattern.min())),
            "voxelwise": judged.voxelwise,
            "outliers": _digits(1 - components.kept),
        }
        here = torch.as_tensor(deviation[:, inside].T.astype(np.float64)) ** 2
        if trusted:
            weights[:, inside] = _bounded(components.variance(judged.ranking(here))).T.numpy()
        at_least = Components(factor=max(1.0, components.factor), floor=components.floor, kept=1.0)
        widened[:, inside] = at_least.variance(here).sqrt().T.numpy()
    taken = {f["taken"] for f in found}
    return Weighting(
        weights=weights,
        deviation=np.where(np.isfinite(deviation), widened, np.inf),
        facts={"rule": rule, "taken": taken.pop() if len(taken) == 1 else "by region", "regions": found},
    )


def _regions(
    images: NDArray[Any], deviation: NDArray[np.float32], labels: NDArray[Any] | None, mask: NDArray[Any] | None
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Voxels of each region, and those among them with enough signal to be judged by."""
    known = np.isfinite(deviation) & (deviation > 0)
    ratio = np.divide(np.abs(images), deviation, out=np.zeros(deviation.shape, np.float64), where=known)
    clear = np.sqrt((ratio**2).sum(axis=0) / np.maximum(known.sum(axis=0), 1)) > _SEEN
    if mask is not None:
        clear &= np.asarray(mask) != 0
    if labels is None:
        labels = np.broadcast_to(np.arange(images.shape[1])[:, None, None], images.shape[1:])
    word = "slice" if labels.base is not None and not labels.flags.writeable else "label"
    parts, rest = {}, np.zeros(images.shape[1:], bool)
    for value in np.unique(labels):
        inside = labels == value
        if (inside & clear).sum() < _ENOUGH:
            rest |= inside
        else:
            parts[f"{word} {value}"] = (inside, _thinned(inside & clear))
    if rest.any():
        # Too few voxels to judge by: together with all others.
        parts["rest" if parts else "all"] = (rest, _thinned(clear))
    return parts


def _thinned(chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    places = np.flatnonzero(chosen)
    kept = np.zeros(chosen.size, bool)
    kept[places[:: max(1, math.ceil(len(places) / _MOST))]] = True
    return kept.reshape(chosen.shape)


def _look(
    images: NDArray[Any],
    times: NDArray[np.floating[Any]],
    model: SignalModel,
    deviation: NDArray[np.float32],
    sample: NDArray[np.bool_],
    options: Mapping[str, Any],
) -> tuple[Leftover, Float[Tensor, "voxel contrast"]] | None:
    """What an unweighted fit of the sample leaves, and the variances there; None if there are too few voxels to tell."""
    equal = np.where(np.isfinite(deviation) & (deviation > 0), np.float32(1), np.float32(np.inf))
    result = fit(images, times, model, sigma=equal, mask=sample, intervals="normal", residuals=True, **options)
    chosen = sample & (result.status == Status.OK) & (result.contrasts_used > len(model.parameters))
    if chosen.sum() < _ENOUGH:
        return None
    left = np.asarray(result.residuals)
    residuals = torch.as_tensor(left[:, chosen].T.astype(np.float64))
    used = residuals.isfinite()
    leftover = Leftover(residuals=torch.where(used, residuals, 0.0), jacobian=_jacobian(result, chosen), used=used)
    predicted = torch.as_tensor(deviation[:, chosen].T.astype(np.float64)) ** 2
    return leftover, predicted


def _jacobian(result: FitResult, chosen: NDArray[np.bool_]) -> Float[Tensor, "voxel contrast parameter"]:
    columns = [*result.maps.values(), *(result.known[p.name] for p in result.signal_model.known if p.name in result.known)]
    at = torch.as_tensor(np.stack([c[chosen] for c in columns], axis=-1), dtype=torch.float64)
    return result.signal_model.jacobian(at, torch.as_tensor(result.times))


@dataclass(frozen=True, kw_only=True)
class _Judgement:
    """What is thought of the predicted variances of a region."""

    components: Components
    pattern: Float[Tensor, " contrast"]
    voxelwise: bool
    chi2: float

    def ranking(self, variance: Float[Tensor, "voxel contrast"]) -> Float[Tensor, "voxel contrast"]:
        """The variances that are to rank the contrasts."""
        return variance if self.voxelwise else _averaged(variance, self.pattern)


def _judge(leftover: Leftover, predicted: Float[Tensor, "voxel contrast"]) -> _Judgement:
    predicted = torch.where(leftover.used, predicted, torch.inf)
    count = leftover.used.sum(0)
    logs = torch.where(leftover.used, (predicted / _unit(predicted)).log(), 0.0).sum(0)
    pattern = torch.where(count > 0, (logs / count.clamp_min(1)).exp(), 1.0)
    averaged = _averaged(predicted, pattern)
    chi2, own = leftover.reduced(averaged), leftover.reduced(predicted)
    if own < _BETTER * chi2:
        components = estimate(leftover, predicted)
        if components.factor > _CONFIRMED * (components.factor + components.floor):
            return _Judgement(components=_raised(components, own), pattern=pattern, voxelwise=True, chi2=own)
    return _Judgement(components=_averaged_components(leftover, averaged, chi2), pattern=pattern, voxelwise=False, chi2=chi2)


def _averaged_components(leftover: Leftover, averaged: Float[Tensor, "voxel contrast"], chi2: float) -> Components:
    """Factor and floor of averaged variances; a floor adds to the predicted variances and never takes their place.

    Otherwise likelihood, which sees little difference between both, could drop a prediction that explains the residuals, and weights
    would jump where the reduced chi-square passes 1.
    """
    if chi2 <= 1:
        return Components(factor=chi2, floor=0.0, kept=1.0)
    found = estimate(leftover, averaged)
    return found if found.factor >= 1 else Components(factor=1.0, floor=chi2 - 1, kept=found.kept)


def _raised(components: Components, chi2: float) -> Components:
    """Without a floor where residuals ask for none: they cannot show that deviations are too large, only that they are too small."""
    return components if chi2 > 1 else dataclasses.replace(components, factor=chi2, floor=0.0)


def _unit(variance: Float[Tensor, "voxel contrast"]) -> Float[Tensor, "voxel 1"]:
    """Geometric mean over the contrasts with a finite variance."""
    finite = variance.isfinite()
    return (torch.where(finite, variance.log(), 0.0).sum(-1, keepdim=True) / finite.sum(-1, keepdim=True)).exp()


def _averaged(variance: Float[Tensor, "voxel contrast"], pattern: Float[Tensor, " contrast"]) -> Float[Tensor, "voxel contrast"]:
    """Variances with the level of each voxel and the ratios of the region; infinite where they were."""
    finite = variance.isfinite()
    return torch.where(finite, _unit(variance / pattern) * pattern, torch.inf)


def _bounded(variance: Float[Tensor, "voxel contrast"]) -> Float[Tensor, "voxel contrast"]:
    """Weights relative to the median one of the voxel, within the bound; zero for infinite variances."""
    finite = variance.isfinite()
    median = torch.where(finite, variance, torch.nan).nanmedian(-1, keepdim=True).values
    weights = (median / variance).clamp(1 / MAX_RATIO, MAX_RATIO)
    return torch.where(finite, weights, 0.0)


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
