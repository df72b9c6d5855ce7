"""Images of every contrast and how sure they are, by any method of reconstruction and any kind of uncertainty."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from jaxtyping import Complex64
from torch import Tensor

from medcore.errors import ConfigError
from medcore.io.kspace import KSpace
from medcore.plugins import unknown_name
from puq_qmri.automatic import automatic_method, automatic_uncertainty
from puq_qmri.calibration import Calibration
from puq_qmri.choices import FITTERS, ROBUST, WEIGHTINGS, Fitter, Intervals, Robust, Weighting
from puq_qmri.fitting.checks import checked_intervals
from puq_qmri.networks.reconstructor import NetworkReconstructor
from puq_qmri.networks.variance import evidence_of
from puq_qmri.networks.weights import Weights, load_weights, method_of, shipped
from puq_qmri.reconstruction import Method, ReconstructionSettings, Reconstructor
from puq_qmri.signal_models import SignalModel
from puq_qmri.uncertainty import Prediction, noise_level, noise_level_or_zero, pseudo_replica

Uncertainty = Literal["auto", "none", "pseudo-replica", "learned", "mc-dropout", "ensemble"]
UNCERTAINTIES: dict[str, str] = {
    "auto": "learned (of several networks: ensemble) where samples are missing and weights predict errors, otherwise pseudo-replica",
    "none": "not estimated: all contrasts weigh the same, and the residuals of each voxel give its intervals",
    "pseudo-replica": "measurement noise, by repeated reconstruction (Robson et al. 2008)",
    "learned": "expected error by a trained variance head: noise, aliasing and what regularisation leaves",
    "mc-dropout": "spread of the network over passes with dropout, beside the variance head's",
    "ensemble": "spread over several networks, beside their variance heads'",
}


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """How maps are made from k-space.

    Attributes
    ----------
    reconstruction
        See :class:`~puq_qmri.reconstruction.ReconstructionSettings`; by default the method is chosen by
        :func:`puq_qmri.automatic.automatic_method`.
    uncertainty
        One of :data:`UNCERTAINTIES`; the deviations of every contrast and voxel weight the fit.
    n_replicas
        Repetitions of the reconstruction for ``pseudo-replica``.
    n_passes
        Passes of ``mc-dropout``.
    weights
        Folders of weights, or names of those that come with the package; by default the one named like the method. The method ``auto``
        is the one that named weights are for.
    calibration
        File of ``puq-qmri calibrate`` for this method and uncertainty; by default that of the weights. ``none``: the variances stay as
        predicted.
    model
        Name of a signal model; None takes the one that fits the times that vary.
    model_settings
        Settings of the model in SI units, beside those that the scan states.
    fitter
        One of :data:`puq_qmri.choices.FITTERS`.
    intervals
        One of :data:`puq_qmri.choices.INTERVALS`; a profile does not go with robust estimates.
    mlp
        Folder of a pixelwise network that takes the place of the fit; needed by ``fitter="mlp"``.
    weighting, robust
        See :class:`puq_qmri.fitting.Guidance`; ``correlated`` takes the correlation between contrasts of the calibration.
    seed
        Of the replicas' noise and of the dropout.
    device
        Where to compute, for example ``cpu`` or ``cuda``.
    n_coils
        Compress to so many virtual coils first; 0 keeps the coils.
    keep_oversampling
        Whether to keep what the file states as oversampling, instead of cutting the field of view to what it asks for.
    """

    reconstruction: ReconstructionSettings = field(default_factory=lambda: ReconstructionSettings(method="auto"))
    uncertainty: Uncertainty = "auto"
    n_replicas: int = 32
    n_passes: int = 100
    weights: tuple[str, ...] = ()
    calibration: str | None = None
    model: str | None = None
    model_settings: Mapping[str, Any] = field(default_factory=dict)
    fitter: Fitter = "auto"
    mlp: str | None = None
    weighting: Weighting = "auto"
    robust: Robust = "none"
    intervals: Intervals = "auto"
    seed: int = 0
    device: str = "cpu"
    n_coils: int = 0
    keep_oversampling: bool = False

    def __post_init__(self) -> None:
        if self.uncertainty not in UNCERTAINTIES:
            raise unknown_name("--uncertainty", self.uncertainty, [*UNCERTAINTIES])
        if self.fitter not in FITTERS:
            raise unknown_name("--fitter", self.fitter, [*FITTERS])
        if self.fitter == "mlp" and self.mlp is None:
            raise ConfigError("--fitter mlp", "needs a trained network", "give --mlp with the folder of puq-qmri train-mlp")
        if self.weighting not in WEIGHTINGS:
            raise unknown_name("--weighting", self.weighting, [*WEIGHTINGS])
        if self.robust not in ROBUST:
            raise unknown_name("--robust", self.robust, [*ROBUST])
        checked_intervals(self.intervals, robust=self.robust, noise="gaussian")
        for what, number in (("replicas", self.n_replicas), ("passes", self.n_passes)):
            if number < 2:
                raise ConfigError(f"number of {what}", f"is {number}", "give at least 2")
        if self.n_coils < 0:
            raise ConfigError("number of virtual coils", f"is {self.n_coils}", "give at least 1, or 0 to keep the coils")
        networks_only = self.uncertainty in {"mc-dropout", "ensemble"}
        if networks_only and self.reconstruction.method not in {"auto", "unrolled"}:
            raise ConfigError(
                f"--uncertainty {self.uncertainty}",
                f"needs a network, and the method is {self.reconstruction.method}",
                "choose --method unrolled, or another uncertainty",
            )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Images and what is known of their errors.

    Attributes
    ----------
    images
        complex64 (contrast, z, y, x).
    prediction
        The same images with their variances, calibrated where a calibration is known; None where they were not estimated.
    iterations, residuals
        Of the reconstruction, by contrast.
    noise_level
        Noise of one component of a sample, where it was used.
    real_images
        Whether the images are real but for a phase, along which their variance is meant.
    facts
        JSON-ready: method, uncertainty, weights and calibration that were used.
    """

    images: Complex64[Tensor, "contrast z y x"]
    prediction: Prediction | None
    iterations: list[int]
    residuals: list[float]
    noise_level: float | None = None
    real_images: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


def estimate(
    white: KSpace,
    settings: PipelineSettings,
    *,
    model: str | SignalModel | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Estimate:
    """Images of a prepared measurement and their uncertainty.

    Parameters
    ----------
    white
        Noise white between coils (:func:`puq_qmri.preparation.prepare`).
    settings
        Method and kind of uncertainty.
    model
        Signal model for the methods that use one.
    progress
        Wraps the range of replicas or passes, for a progress bar.

    Raises
    ------
    ConfigError
        If weights are missing or do not go with the method.
    InputError, NumericalError
        If the measurement cannot be reconstructed, or its noise not be measured.
    """
    settings = settled(settings, white, model)
    _named_calibration(settings)  # refused before anything is computed
    make = _by_network if settings.reconstruction.method == "unrolled" else _without_training
    found = make(white, settings, model, progress)
    used = {"method": settings.reconstruction.method, "uncertainty": settings.uncertainty}
    return dataclasses.replace(found, facts={**used, **found.facts})


def settled(settings: PipelineSettings, white: KSpace, model: str | SignalModel | None) -> PipelineSettings:
    """The settings with a method and a kind of uncertainty in place of ``auto``; parameters as :func:`estimate`."""
    method, uncertainty = settings.reconstruction.method, settings.uncertainty
    networks_only = uncertainty in {"mc-dropout", "ensemble"}
    if method == "auto" and settings.weights and not networks_only:
        method = cast("Method", method_of(settings.weights[0]) or method)  # settings refuse what is none
    if method == "auto":
        method = "unrolled" if networks_only else automatic_method(white, model)
        if method == "unrolled" and settings.reconstruction.density != "pipe-menon" and not networks_only:
            method = "subspace"  # the network knows one density only
    if uncertainty == "auto":
        uncertainty = automatic_uncertainty(white, method, weights=settings.weights)
    chosen = dataclasses.replace(settings.reconstruction, method=method)
    return dataclasses.replace(settings, reconstruction=chosen, uncertainty=uncertainty)


def _without_training(
    white: KSpace, settings: PipelineSettings, model: str | SignalModel | None, progress: Callable[[Iterable[int]], Iterable[int]]
) -> Estimate:
    weights = _head_for(settings) if settings.uncertainty == "learned" else None
    reconstructor = Reconstructor(kspace=white, settings=settings.reconstruction, device=settings.device, model=model)
    result = reconstructor(white)
    prediction, level = None, None
    if settings.uncertainty == "pseudo-replica":
        prediction, level = _replicas(white, result.images, reconstructor.response, settings, reconstructor.real_images, progress)
    elif weights is not None and weights.head is not None:
        level = noise_level_or_zero(white)
        evidence = evidence_of(white, result.images, reconstructor.residual_images(white, result.images), model=model)
        with torch.no_grad():
            variance = weights.head.variance(evidence)
        prediction = Prediction(mean=result.images, aleatoric=variance, epistemic=torch.zeros_like(variance))
    prediction, facts = _calibrated(prediction, settings, weights)
    return Estimate(
        images=result.images,
        prediction=prediction,
        iterations=result.iterations.tolist(),
        residuals=result.residuals.tolist(),
        noise_level=level,
        real_images=reconstructor.real_images,
        facts=facts,
    )


def _by_network(
    white: KSpace, settings: PipelineSettings, model: str | SignalModel | None, progress: Callable[[Iterable[int]], Iterable[int]]
) -> Estimate:
    members = _weights(settings)
    backend = settings.reconstruction.backend
    network = NetworkReconstructor(kspace=white, members=members, device=settings.device, model=model, backend=backend)
    assert settings.uncertainty != "auto"  # noqa: S101 - for the type checker: `settled` has chosen
    if settings.uncertainty == "pseudo-replica":
        prediction, _ = _replicas(white, network.images, network.response, settings, network.real_images, progress)
    else:
        prediction = network.predict(settings.uncertainty, n_passes=settings.n_passes, seed=settings.seed, progress=progress)
    images = prediction.mean
    known, facts = _calibrated(None if settings.uncertainty == "none" else prediction, settings, members[0])
    if len(members) > 1:
        facts["members"] = [{"weights": m.source, "weights_sha256": m.sha256} for m in members]
    problem = network.problems[0]
    left = (problem.back - problem.image_normal(images)).abs().double().square().sum(dim=(1, 2, 3))
    given = problem.back.abs().double().square().sum(dim=(1, 2, 3))
    return Estimate(
        images=images,
        prediction=known,
        iterations=[m.network.settings.unrolls for m in members if m.network is not None][:1] * len(images),
        residuals=(left / given.clamp_min(torch.finfo(given.dtype).tiny)).sqrt().tolist(),
        noise_level=problem.level,
        real_images=network.real_images,
        facts=facts,
    )


def _replicas(
    white: KSpace,
    images: Tensor,
    response: Callable[..., Tensor],
    settings: PipelineSettings,
    real_images: bool,
    progress: Callable[[Iterable[int]], Iterable[int]],
) -> tuple[Prediction, float]:
    level = noise_level(white)
    prediction = pseudo_replica(
        white,
        lambda _: images,
        response=response,
        real_images=real_images,
        n_replicas=settings.n_replicas,
        level=level,
        seed=settings.seed,
        progress=progress,
    )
    return prediction, level


def _weights(settings: PipelineSettings) -> list[Weights]:
    method = settings.reconstruction.method
    if not settings.weights and method not in shipped():
        raise ConfigError(f"--method {method}", "has no weights in this package", "train some and name them with --weights")
    return [load_weights(source, device=settings.device) for source in settings.weights or (method,)]


def _head_for(settings: PipelineSettings) -> Weights:
    """The one folder of weights whose head was trained on the errors of this method."""
    found, method = _weights(settings), settings.reconstruction.method
    if len(found) > 1:
        raise ConfigError(
            "--weights", f"names {len(found)} folders for method {method}", "give the one whose variance head is meant"
        )
    (weights,) = found
    if weights.head is None:
        raise ConfigError("--uncertainty learned", f"{weights.source} have no variance head", "choose pseudo-replica")
    if weights.method not in {None, method}:
        raise ConfigError(
            "--weights",
            f"{weights.source} predict errors of method {weights.method}, and the method is {method}",
            "choose weights of this method, or pseudo-replica",
        )
    return weights


def _calibrated(
    prediction: Prediction | None, settings: PipelineSettings, weights: Weights | None
) -> tuple[Prediction | None, dict[str, Any]]:
    """The prediction after calibration, and the facts of both; the weights' own calibration is for what their head predicts."""
    facts: dict[str, Any] = {} if weights is None else {"weights": weights.source, "weights_sha256": weights.sha256}
    calibration = _named_calibration(settings)
    if settings.calibration is None and weights is not None and settings.uncertainty == "learned":
        calibration = weights.calibration
    if prediction is None or calibration is None:
        return prediction, facts
    return calibration.apply(prediction), {**facts, "calibration": calibration.as_dict()}


def _named_calibration(settings: PipelineSettings) -> Calibration | None:
    """The calibration of the file that the settings name, for the method and uncertainty that it was measured on."""
    if settings.calibration in {None, "none"}:
        return None
    found = Calibration.read(str(settings.calibration))
    used, measured = f"{settings.reconstruction.method}, {settings.uncertainty}", found.provenance.method
    if measured not in {"", used}:
        raise ConfigError(
            "--calibration",
            f"{settings.calibration} was measured on {measured}, and this is {used}",
            "calibrate what is used, or choose --calibration none",
        )
    return found
