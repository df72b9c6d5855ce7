"""The whole method in one place: from k-space to maps with their confidence.

>>> from puq_qmri.simulation import SimulationSettings, simulate
>>> kspace, truth = simulate(SimulationSettings(size=32, n_coils=4))
>>> images, maps = reconstruct_and_fit(kspace, PipelineSettings(n_replicas=4))
>>> sorted(maps.maps)
['m0', 't2']
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from medcore.errors import ConfigError, NumericalError
from medcore.io.images import ImageSeries
from medcore.io.kspace import KSpace
from puq_qmri.fitting import FitResult, Status, fit
from puq_qmri.inputs import contrasts_with_signal, resolve_model
from puq_qmri.preparation import prepare
from puq_qmri.reconstruction import ReconstructionSettings, Reconstructor
from puq_qmri.results import ReconstructedImages
from puq_qmri.signal_models import get_model
from puq_qmri.uncertainty import noise_level, pseudo_replica

Uncertainty = Literal["none", "pseudo-replica"]
UNCERTAINTIES: tuple[Uncertainty, ...] = ("none", "pseudo-replica")


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """How maps are made from k-space.

    Attributes
    ----------
    reconstruction
        See :class:`~puq_qmri.reconstruction.ReconstructionSettings`.
    uncertainty
        ``pseudo-replica``: the noise of every contrast and voxel is measured by repeated reconstruction and weights the fit.
        ``none``: all contrasts weigh the same, and the residuals of each voxel give its intervals.
    n_replicas
        Repetitions of the reconstruction.
    model
        Name of a signal model; None takes the one that fits the times that vary.
    seed
        Of the replicas' noise.
    device
        Where to compute, for example ``cpu`` or ``cuda``.
    n_coils
        Compress to so many virtual coils first; 0 keeps the coils.
    keep_oversampling
        Whether to keep what the file states as oversampling, instead of cutting the field of view to what it asks for.
    """

    reconstruction: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    uncertainty: Uncertainty = "pseudo-replica"
    n_replicas: int = 32
    model: str | None = None
    seed: int = 0
    device: str = "cpu"
    n_coils: int = 0
    keep_oversampling: bool = False

    def __post_init__(self) -> None:
        if self.uncertainty not in UNCERTAINTIES:
            raise ConfigError("--uncertainty", f"is {self.uncertainty!r}", f"choose one of {', '.join(UNCERTAINTIES)}")
        if self.n_replicas < 2:
            raise ConfigError("number of replicas", f"is {self.n_replicas}", "give at least 2")
        if self.n_coils < 0:
            raise ConfigError("number of virtual coils", f"is {self.n_coils}", "give at least 1, or 0 to keep the coils")


def reconstruct_and_fit(
    kspace: KSpace,
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
        Several contrasts with their times.
    settings
        See :class:`PipelineSettings`.
    csm
        Coil maps of the whitened coils on the grid of the measurement, complex64 (coil, z, y, x); by default its own, or ESPIRiT.
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
    name = resolve_model(settings.model, kspace)
    images = reconstruct_images(kspace, settings, csm=csm, progress=progress)
    return images, fit_images(images.series, name, sigma=images.deviation, device=settings.device)


def reconstruct_images(
    kspace: KSpace,
    settings: PipelineSettings | None = None,
    *,
    csm: NDArray[np.complex64] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> ReconstructedImages:
    """Complex images of every contrast and their noise; parameters as :func:`reconstruct_and_fit`."""
    settings = settings or PipelineSettings()
    white = prepare(kspace, csm=csm, n_coils=settings.n_coils, keep_oversampling=settings.keep_oversampling)
    model = resolve_model(settings.model, kspace) if settings.reconstruction.method == "subspace" else None
    reconstructor = Reconstructor(kspace=white, settings=settings.reconstruction, device=settings.device, model=model)
    result = reconstructor(white)
    deviation, level = None, None
    if settings.uncertainty == "pseudo-replica":
        level = noise_level(white)
        prediction = pseudo_replica(
            white,
            lambda _: result.images,
            response=reconstructor.response,
            real_images=reconstructor.real_images,
            n_replicas=settings.n_replicas,
            level=level,
            seed=settings.seed,
            progress=progress,
        )
        deviation = prediction.std.cpu().numpy()
    series = ImageSeries(
        data=result.images.cpu().numpy(),
        affine=white.affine,
        times=kspace.times,
        meta=white.meta if kspace.field_strength is None else {**white.meta, "field_strength": kspace.field_strength},
        repairs=(*kspace.repairs, *_unmeasured(white)),
        source=kspace.source,
    )
    return ReconstructedImages(
        series=series,
        deviation=deviation,
        iterations=result.iterations.tolist(),
        residuals=result.residuals.tolist(),
        noise_level=level,
        noise_source=None if level is None else "noise scan" if kspace.noise is not None else "outer k-space, an upper bound",
    )


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
    model: str | None = None,
    *,
    sigma: float | Float[np.ndarray, "contrast z y x"] | None = None,
    mask: Bool[np.ndarray, "z y x"] | None = None,
    signal: str = "auto",
    device: str | torch.device = "cpu",
) -> FitResult:
    """Fit a signal model to images; see :func:`puq_qmri.fitting.fit`.

    A contrast whose image is zero everywhere was not measured, and is left out: ``facts["left_out"]`` of the result names it.

    Parameters
    ----------
    series
        Images with times.
    model
        Name of a signal model; None takes the one that fits the times that vary.
    sigma
        Deviations of the images. A deviation of zero belongs to a voxel that the reconstruction left empty, or would claim
        that there is no noise: that contrast of that voxel is left out.
    mask
        Voxels to fit, by default all that have signal.
    signal
        ``auto``, ``signed``, ``magnitude`` or ``complex``.
    device
        Where to compute.

    Raises
    ------
    InputError
        If times are missing or fewer than the model's parameters.
    NumericalError
        If no voxel could be fitted.
    """
    name = resolve_model(model, series)
    live = contrasts_with_signal(series)
    left_out = np.flatnonzero(~live).tolist() if live.any() else []
    used = series.select(np.flatnonzero(live).tolist()) if left_out else series
    if isinstance(sigma, np.ndarray):
        sigma = np.where(sigma == 0, np.inf, sigma)[live if left_out else slice(None)]
        sigma[:, (used.data == 0).all(axis=0)] = 1.0  # no signal, which is what the status should say
    times = used.times[get_model(name).times_key]
    result = fit(used.data, times, name, sigma=sigma, mask=mask, signal=signal, device=device)
    if left_out:
        result = dataclasses.replace(result, facts={**result.facts, "left_out": left_out})
    if not (result.status == Status.OK).any():
        counts = ", ".join(f"{text}: {count}" for text, count in result.counts().items() if count)
        raise NumericalError(
            series.source, f"has no voxel that model {name} could be fitted to ({counts})", "check times, model and mask"
        )
    return result
