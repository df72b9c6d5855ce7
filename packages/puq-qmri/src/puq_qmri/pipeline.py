"""The whole method in one place: from k-space to maps with their confidence.

>>> from puq_qmri.simulation import SimulationSettings, simulate
>>> kspace, truth = simulate(SimulationSettings(size=32, n_coils=4))
>>> images, maps = reconstruct_and_fit(kspace, PipelineSettings(n_replicas=4))
>>> sorted(maps.maps)
['m0', 't2']
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from medcore.errors import InputError, NumericalError
from medcore.io.images import ImageSeries
from medcore.io.kspace import KSpace
from puq_qmri.calibration import mixed_correlation
from puq_qmri.choices import Fitter, Intervals
from puq_qmri.fitting import FitResult, Guidance, Status, guided_fit
from puq_qmri.fitting.mlp import PixelMlp
from puq_qmri.fitting.mlp_files import load_mlp
from puq_qmri.imaging import UNCERTAINTIES, PipelineSettings, Uncertainty, estimate, settled
from puq_qmri.inputs import contrasts_with_signal, resolve_model
from puq_qmri.preparation import prepare
from puq_qmri.results import ReconstructedImages
from puq_qmri.sampling import Sampling
from puq_qmri.signal_models import SignalModel
from puq_qmri.slices import SlicedScan, reconstruct_slices, typical_slice

__all__ = [
    "UNCERTAINTIES",
    "PipelineSettings",
    "Uncertainty",
    "fit_images",
    "image_model",
    "reconstruct_and_fit",
    "reconstruct_images",
    "settled",
]


def reconstruct_and_fit(
    kspace: KSpace | SlicedScan,
    settings: PipelineSettings | None = None,
    *,
    csm: NDArray[np.complex64] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[ReconstructedImages, FitResult]:
    """Maps, deviations and intervals of a measurement of several contrasts.

    Whiten the coils, estimate their maps, reconstruct every contrast, measure its noise in every voxel, and fit the signal model
    with these deviations as weights.

    Parameters
    ----------
    kspace
        Several contrasts with their times; or several slices (:func:`puq_qmri.slices.open_slices`), which become one volume.
    settings
        See :class:`PipelineSettings`.
    csm
        Coil maps of the whitened coils on the grid of the measurement, complex64 (coil, z, y, x); by default its own, or ESPIRiT.
        Not for several slices.
    progress
        Wraps the range of replicas, for a progress bar.

    Raises
    ------
    InputError
        If times are missing or fewer than the model's parameters.
    NumericalError
        If the measurement holds no signal, or no voxel could be fitted.
    """
    settings = settings or PipelineSettings()
    model = resolve_model(settings.model, typical_slice(kspace), settings.model_settings)
    mlp = None if settings.mlp is None else load_mlp(settings.mlp)
    if mlp is not None:
        mlp.check(model, typical_slice(kspace).times[model.times_key])
    images = reconstruct_images(kspace, settings, csm=csm, progress=progress)
    calibration = images.facts.get("calibration") or {}
    learned = calibration.get("correlation") if settings.weighting == "correlated" else None
    guidance = Guidance(
        weighting=settings.weighting, robust=settings.robust, correlation=None if learned is None else mixed_correlation(learned)
    )
    result = fit_images(
        images.series,
        model,
        sigma=images.deviation,
        guidance=guidance,
        fitter=settings.fitter,
        intervals=settings.intervals,
        mlp=mlp,
        device=settings.device,
    )
    return images, result


def reconstruct_images(
    kspace: KSpace | SlicedScan,
    settings: PipelineSettings | None = None,
    *,
    csm: NDArray[np.complex64] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> ReconstructedImages:
    """Complex images of every contrast and their noise; parameters as :func:`reconstruct_and_fit`."""
    settings = settings or PipelineSettings()
    if isinstance(kspace, SlicedScan):
        if csm is not None:
            raise InputError(kspace.typical.source, "has several slices, and coil maps were given", "give slices one by one")
        return _reconstruct_slices(kspace, settings, progress)
    white = prepare(kspace, csm=csm, n_coils=settings.n_coils, keep_oversampling=settings.keep_oversampling)
    found = estimate(white, settings, model=image_model(settings, kspace), progress=progress)
    series = ImageSeries(
        data=found.images.cpu().numpy(),
        affine=white.affine,
        times=kspace.times,
        meta=white.meta if kspace.field_strength is None else {**white.meta, "field_strength": kspace.field_strength},
        repairs=(*kspace.repairs, *_unmeasured(white)),
        source=kspace.source,
    )
    source = "noise scan" if kspace.noise is not None else "outer k-space, an upper bound"
    return ReconstructedImages(
        series=series,
        deviation=None if found.prediction is None else found.prediction.std.cpu().numpy(),
        iterations=found.iterations,
        residuals=found.residuals,
        noise_level=found.noise_level,
        noise_source=source if found.noise_level else None,
        sampling=Sampling.of(white),
        facts=found.facts,
    )


def _reconstruct_slices(
    scan: SlicedScan, settings: PipelineSettings, progress: Callable[[Iterable[int]], Iterable[int]]
) -> ReconstructedImages:
    """The method and the uncertainty that the first slice gets are those of all."""

    def make(kspace: KSpace, ways: tuple[str, str] | None) -> ReconstructedImages:
        chosen = settings
        if ways is not None:
            method: Any = ways[0]
            uncertainty: Any = ways[1]
            reconstruction = dataclasses.replace(settings.reconstruction, method=method)
            chosen = dataclasses.replace(settings, reconstruction=reconstruction, uncertainty=uncertainty)
        return reconstruct_images(kspace, chosen, progress=progress)

    return reconstruct_slices(scan, make, keep_oversampling=settings.keep_oversampling)


def image_model(settings: PipelineSettings, kspace: KSpace) -> SignalModel | None:
    """The model of the images: None where no method needs it and the times tell of none."""
    method = settings.reconstruction.method
    if method == "auto" and settings.model is None:
        try:
            return resolve_model(None, kspace, settings.model_settings)
        except InputError:
            return None
    needed = settings.model is not None or method in {"subspace", "unrolled"}
    return resolve_model(settings.model, kspace, settings.model_settings) if needed else None


def _unmeasured(kspace: KSpace) -> list[str]:
    """What is to be said of contrasts without samples."""
    missing = np.flatnonzero(~kspace.measured).tolist()
    if not missing:
        return []
    return [
        f"no sample of contrast {', '.join(map(str, missing))} of {kspace.n_contrasts}: image empty, variance infinite, not fitted"
    ]


def fit_images(
    series: ImageSeries,
    model: str | SignalModel | None = None,
    *,
    sigma: float | Float[np.ndarray, "contrast z y x"] | None = None,
    mask: Bool[np.ndarray, "z y x"] | None = None,
    known: Mapping[str, Float[np.ndarray, "z y x"]] | None = None,
    guidance: Guidance | None = None,
    signal: str = "auto",
    fitter: Fitter = "auto",
    intervals: Intervals = "auto",
    mlp: PixelMlp | None = None,
    device: str | torch.device = "cpu",
) -> FitResult:
    """Fit a signal model to images; see :func:`puq_qmri.fitting.guided_fit`.

    A contrast whose image is zero everywhere was not measured, and is left out: ``facts["left_out"]`` of the result names it.

    Parameters
    ----------
    series
        Images with times.
    model
        A signal model or its name; None takes the one that fits the times that vary. A name gets the settings that the images
        state.
    sigma
        Deviations of the images. A deviation of zero belongs to a voxel that the reconstruction left empty, or would claim
        that there is no noise: that contrast of that voxel is left out.
    mask
        Voxels to fit, by default all that have signal.
    known
        Maps that the model takes, by name, such as ``b1``; by default 1 everywhere.
    guidance
        How the errors of the images enter; by default a rule chooses the weights.
    signal
        ``auto``, ``signed``, ``magnitude`` or ``complex``.
    fitter
        ``auto``, ``variable-projection`` or ``levenberg-marquardt``; ``mlp`` with `mlp`.
    intervals
        ``auto``, ``normal`` or ``profile``, see :func:`puq_qmri.fitting.fit`.
    mlp
        A network in place of a fit (:mod:`puq_qmri.fitting.mlp_fit`).
    device
        Where to compute.

    Raises
    ------
    InputError
        If times are missing or fewer than the model's parameters.
    NumericalError
        If no voxel could be fitted.
    """
    chosen = resolve_model(model, series)
    live = contrasts_with_signal(series)
    left_out = np.flatnonzero(~live).tolist() if live.any() else []
    used = series.select(np.flatnonzero(live).tolist()) if left_out else series
    if isinstance(sigma, np.ndarray):
        sigma = np.where(sigma == 0, np.inf, sigma)[live if left_out else slice(None)]
        sigma[:, (used.data == 0).all(axis=0)] = 1.0  # no signal, which is what the status should say
    guidance = guidance or Guidance()
    result = guided_fit(
        used.data,
        used.times[chosen.times_key],
        chosen,
        sigma=sigma,
        guidance=guidance.of_contrasts(np.flatnonzero(live).tolist()) if left_out else guidance,
        mask=mask,
        known=known,
        signal=signal,
        fitter=fitter,
        intervals=intervals,
        mlp=mlp,
        device=device,
    )
    if left_out:
        result = dataclasses.replace(result, facts={**result.facts, "left_out": left_out})
    if not (result.status == Status.OK).any():
        counts = ", ".join(f"{text}: {count}" for text, count in result.counts().items() if count)
        raise NumericalError(
            series.source, f"has no voxel that model {chosen} could be fitted to ({counts})", "check times, model and mask"
        )
    return result
