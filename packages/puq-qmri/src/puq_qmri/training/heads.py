"""Variance heads for reconstructions that need no training themselves, and their calibration.

The images are finished before the head sees them, so that they are made once and kept. Scans to train with and scans to calibrate with
share no object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Complex64
from torch import Tensor

from medcore.config import to_mapping
from medcore.errors import ConfigError
from puq_qmri.calibration import Calibration, calibrate
from puq_qmri.networks import NetworkSettings
from puq_qmri.networks.variance import Evidence, VarianceHead, VarianceSettings, evidence_of
from puq_qmri.networks.weights import save_weights
from puq_qmri.reconstruction import ReconstructionSettings, Reconstructor
from puq_qmri.training.data import Scan, SimulatedExamples
from puq_qmri.training.objectives import Shown, shown, variance_loss
from puq_qmri.training.optimisation import build_optimiser, learning_rate, set_rate, take_step
from puq_qmri.training.ranges import SimulatedData
from puq_qmri.training.settings import StageSettings
from puq_qmri.uncertainty import Prediction

Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """How a variance head is trained for a reconstruction.

    Attributes
    ----------
    method
        ``cg-sense`` or ``subspace``, with their defaults.
    head
        Shape of the head.
    data
        Ranges of the simulated scans.
    examples, calibration
        Scans to train with, and to calibrate with.
    stage
        How it is optimised.
    beta
        Of :func:`puq_qmri.networks.losses.beta_nll`.
    seed
        Of scans, weights and order.
    """

    method: Literal["cg-sense", "subspace"] = "cg-sense"
    head: VarianceSettings = field(default_factory=VarianceSettings)
    data: SimulatedData = field(default_factory=SimulatedData)
    examples: int = 300
    calibration: int = 40
    stage: StageSettings = field(
        default_factory=lambda: StageSettings(steps=600, batch=2, learning_rate=4e-3, weight_decay=1e-4, schedule="one-cycle")
    )
    beta: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.examples, self.calibration) < 1 or self.seed < 0:
            raise ConfigError(
                "variance head",
                f"has examples={self.examples}, calibration={self.calibration}, seed={self.seed}",
                "give at least one scan of each kind, and a seed of 0 or more",
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """Finished images of a scan, what a head is shown of them, and their truth.

    Attributes
    ----------
    images, truth
        complex64 (contrast, z, y, x).
    evidence
        Of the images.
    mask
        Voxels with signal.
    real_images
        Whether the images are real but for a phase.
    """

    images: Complex64[Tensor, "contrast z y x"]
    truth: Complex64[Tensor, "contrast z y x"]
    evidence: Evidence
    mask: Bool[Tensor, "z y x"]
    real_images: bool

    @cached_property
    def shown(self) -> Shown:
        """What a head is trained with."""
        return shown(self.images, self.truth, self.evidence, self.mask, real_images=self.real_images)

    def prediction(self, head: VarianceHead) -> Prediction:
        """The images with the variance that a head predicts."""
        with torch.no_grad():
            variance = head.variance(self.evidence)
        return Prediction(mean=self.images, aleatoric=variance, epistemic=torch.zeros_like(variance))


def finish(scan: Scan, method: str) -> Finished:
    """Reconstruct a scan with a method's defaults.

    Raises
    ------
    InputError, NumericalError
        See :class:`~puq_qmri.reconstruction.Reconstructor`.
    """
    kspace = scan.kspace
    settings = ReconstructionSettings(method=method)  # type: ignore[arg-type]
    reconstructor = Reconstructor(kspace=kspace, csm=scan.csm, settings=settings, model=scan.model)
    images = reconstructor(kspace).images
    evidence = evidence_of(kspace, images, reconstructor.residual_images(kspace, images), model=scan.model)
    return Finished(
        images=images,
        truth=torch.as_tensor(scan.truth),
        evidence=evidence,
        mask=torch.as_tensor(scan.mask),
        real_images=reconstructor.real_images,
    )


def finished_scans(
    settings: HeadSettings, part: Literal["variance", "validation"], progress: Progress = iter
) -> Iterator[Finished]:
    """Simulated scans to train (``variance``) or to calibrate with (``validation``), reconstructed."""
    count = settings.examples if part == "variance" else settings.calibration
    source = SimulatedExamples(settings.data, NetworkSettings(), count=count, seed=settings.seed, part=part)
    for number in progress(range(count)):
        yield finish(source.scan(number), settings.method)


def train_head(scans: list[Finished], settings: HeadSettings, progress: Progress = iter) -> VarianceHead:
    """Fit a head to the errors of finished images.

    Parameters
    ----------
    scans
        As :func:`finished_scans` makes them.
    settings
        How.
    progress
        Wraps the range of steps.

    Raises
    ------
    NumericalError
        If the loss is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        head = VarianceHead(settings.head)
    optimiser = build_optimiser(head, settings.stage)
    order = np.random.default_rng([settings.seed, 7])
    for step in progress(range(settings.stage.steps)):
        set_rate(optimiser, learning_rate(settings.stage, step))
        chosen = [scans[i].shown for i in order.integers(len(scans), size=settings.stage.batch)]
        loss = variance_loss(head, chosen, settings.beta)
        take_step(loss, head, optimiser, clip=settings.stage.clip, where=f"variance head, step {step + 1}")
    return head.eval()


def calibrate_head(head: VarianceHead, scans: Iterable[Finished], settings: HeadSettings) -> Calibration:
    """One scale and conformal quantiles for all contrasts, as protocols vary."""
    found = list(scans)
    return calibrate(
        (s.prediction(head) for s in found),
        (s.truth for s in found),
        (s.mask for s in found),
        real_images=found[0].real_images,
        per_contrast=False,
        seeds=(settings.seed,),
        sampling="simulated scans of the recipe's ranges, objects that were not trained on",
        method=f"{settings.method}, learned",
    )


def make_head(
    folder: str | Path, settings: HeadSettings, *, card: str | None = None, force: bool = False, progress: Progress = iter
) -> None:
    """Train, calibrate and write a head as a folder of weights, for ``run --uncertainty learned --weights FOLDER``.

    Parameters
    ----------
    folder
        Where.
    settings
        The whole recipe, which is written beside the weights.
    card
        Text of the model card.
    force
        Whether an earlier folder may be replaced.
    progress
        Wraps ranges of scans and steps.

    Raises
    ------
    NumericalError
        If the loss is not finite.
    OutputExistsError, OutputError, DiskFullError
        If the folder cannot be written.
    """
    head = train_head(list(finished_scans(settings, "variance", progress)), settings, progress)
    calibration = calibrate_head(head, finished_scans(settings, "validation", progress), settings)
    recipe = {"kind": "variance head", **to_mapping(settings)}
    save_weights(folder, head=head, recipe=recipe, calibration=calibration, card=card, force=force)
