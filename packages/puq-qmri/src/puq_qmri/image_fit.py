"""A fit of image series as the commands do it: what was asked for, what it needs opened, maps and facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from medcore.errors import InputError
from medcore.io import ImageSeries
from puq_qmri.calibration import Calibration, mixed_correlation
from puq_qmri.choices import Fitter, Intervals, Noise, Robust, Weighting
from puq_qmri.devices import checked_device
from puq_qmri.fitting import FitResult, Guidance, Status
from puq_qmri.fitting.mlp import PixelMlp
from puq_qmri.fitting.mlp_files import load_mlp
from puq_qmri.inputs import ImageOptions, open_b1, open_deviation, open_labels, open_mask, resolve_model, with_repetition_time
from puq_qmri.pipeline import fit_images
from puq_qmri.results import foreground, summary
from puq_qmri.signal_models import SignalModel


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What ``puq-qmri fit`` is asked for.

    Attributes
    ----------
    model, model_settings
        Name of a signal model, by default that of the images, and its settings in SI units.
    tr
        Repetition time in seconds.
    sigma
        Deviation of the images: a number, a file, ``background``, ``none``, or None for what comes with them.
    signal
        ``auto``, ``signed``, ``magnitude`` or ``complex``.
    mask, b1, labels, correlation
        Files.
    mlp
        Folder of a pixelwise network in place of a fit.
    images
        How to read them.
    fitter, weighting, robust, noise, noise_coils, intervals, device
        See :func:`puq_qmri.pipeline.fit_images` and :class:`puq_qmri.fitting.Guidance`.
    """

    model: str | None = None
    model_settings: dict[str, Any] = field(default_factory=dict)
    tr: float | None = None
    sigma: str | None = None
    signal: str = "auto"
    mask: Path | None = None
    b1: Path | None = None
    images: ImageOptions = field(default_factory=ImageOptions)
    fitter: Fitter = "auto"
    mlp: Path | None = None
    weighting: Weighting = "auto"
    labels: Path | None = None
    correlation: Path | None = None
    robust: Robust = "none"
    noise: Noise = "gaussian"
    noise_coils: int = 1
    intervals: Intervals = "auto"
    device: str = "cpu"

    @property
    def files(self) -> list[Path]:
        """The files beside the images."""
        named = [path for path in (self.mask, self.b1, self.labels, self.correlation, self.mlp) if path]
        return [*named, *([Path(self.sigma)] if self.sigma and Path(self.sigma).is_file() else [])]


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedFit:
    """Images and all that belongs to them, checked against each other.

    Attributes
    ----------
    series
        The images, with the repetition time that was given.
    model
        With its settings.
    deviation
        Of the images, where known.
    mask
        Where to fit; None is everywhere.
    known
        Maps that the model takes, by name.
    guidance
        How errors enter.
    mlp
        A network in place of a fit.
    """

    series: ImageSeries
    model: SignalModel
    deviation: float | Float[np.ndarray, "contrast z y x"] | None
    mask: Bool[np.ndarray, "z y x"] | None
    known: dict[str, Float[np.ndarray, "z y x"]] | None
    guidance: Guidance
    mlp: PixelMlp | None


def prepare_fit(series: ImageSeries, written: Float[np.ndarray, "contrast z y x"] | None, settings: FitSettings) -> PreparedFit:
    """Open what the settings name, and choose the model.

    Parameters
    ----------
    series, written
        Images and the deviations that came with them, see :func:`puq_qmri.inputs.open_images`.
    settings
        What is asked for.

    Raises
    ------
    InputError
        If a file cannot be read or is of another shape or place, or the model cannot be fitted to such images.
    """
    found = with_repetition_time(series, settings.tr)
    deviation: float | Float[np.ndarray, "contrast z y x"] | None = written
    if settings.sigma is not None:
        deviation = None if settings.sigma == "none" else open_deviation(settings.sigma, found, settings.noise_coils)
    return PreparedFit(
        series=found,
        deviation=deviation,
        mask=None if settings.mask is None else open_mask(settings.mask, found),
        model=resolve_model(settings.model, found, settings.model_settings),
        known=None if settings.b1 is None else {"b1": open_b1(settings.b1, found)},
        guidance=_guidance(found, settings),
        mlp=None if settings.mlp is None else load_mlp(settings.mlp),
    )


def fit_prepared(ready: PreparedFit, settings: FitSettings) -> tuple[FitResult, dict[str, Any]]:
    """The fit and its facts, see :func:`fit_facts`.

    Raises
    ------
    InputError, NumericalError
        See :func:`puq_qmri.pipeline.fit_images`.
    """
    result = fit_images(
        ready.series,
        ready.model,
        sigma=ready.deviation,
        mask=ready.mask,
        known=ready.known,
        guidance=ready.guidance,
        signal=settings.signal,
        fitter=settings.fitter,
        intervals=settings.intervals,
        mlp=ready.mlp,
        device=checked_device(settings.device),
    )
    return result, fit_facts(result, ready.series, ready.mask, ready.deviation)


def fit_facts(
    result: FitResult,
    series: ImageSeries,
    mask: Bool[np.ndarray, "z y x"] | None,
    sigma: float | Float[np.ndarray, "contrast z y x"] | None,
) -> dict[str, Any]:
    """JSON-ready facts of a fit: model, times, voxels by status, those of the mask or with signal, summary of the maps, repairs."""
    inside = foreground(series.data, sigma) if mask is None else mask
    return {
        "model": result.model,
        "model_settings": result.signal_model.settings(),
        "times": result.times.tolist(),
        "fitter": result.facts.get("fitter"),
        "known": result.facts.get("known", {}),
        "signal": result.facts.get("signal"),
        "sigma_known": result.sigma_known,
        "weighting": result.facts.get("weighting"),
        "robust": result.facts.get("robust"),
        "noise": result.facts.get("noise"),
        "intervals": result.facts.get("intervals"),
        "status": result.counts(),
        "region": {"voxels": int(inside.sum()), "fitted": int((inside & (result.status == Status.OK)).sum())},
        "maps": summary(result, inside),
        "left_out": result.facts.get("left_out", []),
        "repairs": list(series.repairs),
    }


def _guidance(series: ImageSeries, settings: FitSettings) -> Guidance:
    learned = None
    if settings.correlation is not None:
        found = Calibration.read(settings.correlation).correlation
        if found is None:
            raise InputError(settings.correlation, "holds no correlation between contrasts", "calibrate on scans of one protocol")
        learned = mixed_correlation(found)
    return Guidance(
        labels=None if settings.labels is None else open_labels(settings.labels, series),
        correlation=learned,
        weighting=settings.weighting,
        robust=settings.robust,
        noise=settings.noise,
        noise_coils=settings.noise_coils,
    )
