"""A calibration measured on held-out scans, and how much it helps on scans that it was not measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from medcore.errors import ConfigError, InputError, NumericalError
from medcore.metrics import ause, error_spearman, gaussian_nll, z_score_rms
from puq_qmri.calibration import LEVELS, Calibration, calibrate
from puq_qmri.held_out.scans import aligned
from puq_qmri.imaging import PipelineSettings, estimate
from puq_qmri.preparation import prepare
from puq_qmri.training.data import Scan
from puq_qmri.uncertainty import Prediction, component_errors

_FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class Known:
    """A predicted scan and its truth."""

    prediction: Prediction
    truth: Tensor
    mask: Tensor
    real_images: bool


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How well predicted variances fit the errors.

    Attributes
    ----------
    calibration
        Measured on all scans.
    coverage
        By level: part of the errors inside the intervals before (normal ones of the predicted deviation) and after calibration.
    scores
        By name, before and after: ``nll`` (errors relative to the mean signal, nat), ``rms_z``, and ``ause`` and ``spearman``, which
        a common scale does not change.
    apart
        Whether "after" is about scans that the calibration did not see; otherwise there was one scan only.
    """

    calibration: Calibration
    coverage: dict[float, tuple[float, float]]
    scores: dict[str, tuple[float, float]]
    apart: bool

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready numbers."""
        return {
            "coverage": {f"{k:g}": {"before": b, "after": a} for k, (b, a) in self.coverage.items()},
            **{k: {"before": b, "after": a} for k, (b, a) in self.scores.items()},
            "judged_on_other_scans": self.apart,
        }


def calibrate_scans(
    scans: Iterable[Scan],
    settings: PipelineSettings,
    *,
    per_contrast: bool | None = None,
    levels: Sequence[float] = LEVELS,
    seeds: Sequence[int] = (),
    sampling: str = "",
    said: Callable[[str], None] = lambda _: None,
) -> Judgement:
    """Reconstruct scans, compare them with their truth, and measure the calibration of the predicted variances.

    The calibration is measured on all scans; the scores after calibration come from calibrations that leave out the scan (of more than
    ten scans: a tenth of them) that is judged.

    Parameters
    ----------
    scans
        With their truth.
    settings
        Method and uncertainty; a calibration named there is not used.
    per_contrast
        A scale for each contrast, or one for all; by default for each where all scans have the same number.
    levels
        Of the intervals.
    seeds, sampling
        For the provenance.
    said
        Told what is done.

    Raises
    ------
    InputError
        If there is no scan, or no uncertainty is asked for.
    """
    if settings.uncertainty == "none":
        raise InputError("--uncertainty", "is none, which leaves nothing to calibrate", "choose pseudo-replica or another one")
    if "auto" in {settings.reconstruction.method, settings.uncertainty}:
        raise ConfigError("calibration", "is of the method or uncertainty auto", "name the ones that are to be calibrated")
    plain = dataclasses.replace(settings, calibration="none")
    known = [_known(scan, plain, said) for scan in scans]
    if not known:
        raise InputError("calibration", "has no scan", "give scans whose truth is known")
    if len({k.real_images for k in known}) > 1:
        raise InputError("scans", "have images that are real but for a phase, and others", "calibrate each kind on its own")
    each = len({len(k.truth) for k in known}) == 1 if per_contrast is None else per_contrast

    def measure(chosen: Sequence[Known]) -> Calibration:
        return calibrate(
            [k.prediction for k in chosen],
            [k.truth for k in chosen],
            [k.mask for k in chosen],
            real_images=known[0].real_images,
            per_contrast=each,
            levels=levels,
            seeds=seeds,
            sampling=sampling,
            method=f"{settings.reconstruction.method}, {settings.uncertainty}",
        )

    calibration = measure(known)
    folds = [list(range(len(known)))[start::_FOLDS] for start in range(min(_FOLDS, len(known)))] if len(known) > 1 else []
    others: dict[int, Calibration] = {}
    for fold in folds:
        others |= dict.fromkeys(fold, measure([k for j, k in enumerate(known) if j not in fold]))
    judged = [_judge(k, others.get(i, calibration), sorted(set(levels))) for i, k in enumerate(known)]
    return Judgement(
        calibration=calibration,
        coverage={level: _mean([j[0][level] for j in judged]) for level in sorted(set(levels))},
        scores={name: _mean([j[1][name] for j in judged]) for name in judged[0][1]},
        apart=bool(others),
    )


def _known(scan: Scan, settings: PipelineSettings, said: Callable[[str], None]) -> Known:
    said(f"{scan.kspace.source}: {scan.kspace.n_contrasts} contrasts of {scan.truth.shape[1:]} voxels")
    white = prepare(scan.kspace, n_coils=settings.n_coils, keep_oversampling=settings.keep_oversampling)
    found = estimate(white, settings, model=settings.model or scan.model)
    prediction = found.prediction
    if prediction is None:
        raise InputError("--uncertainty", f"{settings.uncertainty} predicts no variance", "choose another one")
    truth = torch.as_tensor(scan.truth, device=prediction.mean.device)
    if truth.shape != prediction.mean.shape:
        raise InputError(
            scan.kspace.source,
            f"has a truth of shape {tuple(truth.shape)} and images of {tuple(prediction.mean.shape)}",
            "keep the oversampling with --keep-oversampling",
        )
    mask = torch.as_tensor(scan.mask, device=truth.device)
    return Known(prediction=prediction, truth=aligned(truth, prediction.mean), mask=mask, real_images=found.real_images)


def _judge(
    known: Known, calibration: Calibration, levels: Sequence[float]
) -> tuple[dict[float, tuple[float, float]], dict[str, tuple[float, float]]]:
    """Coverage and scores of one scan before and after calibration."""
    usable = known.mask & known.prediction.std.isfinite() & (known.prediction.std > 0)
    errors = component_errors(known.prediction.mean, known.truth, real_images=known.real_images)
    parts = errors.shape[1]

    def chosen(values: Tensor) -> np.ndarray:
        return values[:, None].expand(-1, parts, -1, -1, -1)[usable[:, None].expand_as(errors)].double().cpu().numpy()

    wrong = errors[usable[:, None].expand_as(errors)].double().cpu().numpy()
    if not wrong.size:
        raise NumericalError("held-out scan", "has no voxel of known variance", "leave it out")
    size = float(known.truth.abs().double()[:, known.mask].mean())
    before, after = (chosen(p.std) for p in (known.prediction, calibration.apply(known.prediction)))
    coverage = {}
    for level in levels:
        inside = np.abs(wrong) <= stats.norm.ppf((1 + level) / 2) * before
        covered = np.abs(wrong) <= chosen(calibration.interval(known.prediction, level))
        coverage[level] = (float(inside.mean()), float(covered.mean()))
    zero = np.zeros_like(wrong)
    scores = {
        name: tuple(_value(metric(wrong / size, zero, std / size)) for std in (before, after))
        for name, metric in (("nll", gaussian_nll), ("rms_z", z_score_rms), ("ause", ause), ("spearman", error_spearman))
    }
    return coverage, {k: (b, a) for k, (b, a) in scores.items()}


def _value(result: Any) -> float:
    return float("nan") if result.value is None else float(result.value)


def _mean(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean over the scans, each weighing the same."""
    before, after = np.nanmean(np.array(pairs, np.float64), axis=0)
    return float(before), float(after)
