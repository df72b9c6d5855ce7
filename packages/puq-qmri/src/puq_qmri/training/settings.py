"""What is trained, on what, and how; read from YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from medcore.config import from_mapping, load_yaml, set_value
from medcore.errors import ConfigError
from medcore.plugins import unknown_name
from puq_qmri.networks import NetworkSettings
from puq_qmri.networks.variance import VarianceSettings
from puq_qmri.training.ranges import SimulatedData

Schedule = Literal["cosine", "one-cycle", "constant"]
Loss = Literal["latent", "relative", "images", "real", "magnitude"]


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How one stage is optimised.

    Attributes
    ----------
    steps
        Optimiser steps.
    batch
        Examples in a step, over all processes together.
    optimiser
        ``adamw`` or ``adam``.
    learning_rate
        The largest one.
    weight_decay
        Of ``adamw``.
    warmup
        Steps in which the rate rises from nearly zero.
    schedule
        ``cosine`` falls to zero after the warm-up; ``one-cycle`` rises along a cosine over three tenths of the steps and falls again;
        ``constant``.
    clip
        Largest norm of the gradient; 0 does not clip.
    ema
        Decay of the running mean of the weights that is validated and saved in their place; 0 keeps none.
    """

    steps: int = 1000
    batch: int = 4
    optimiser: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 20
    schedule: Schedule = "cosine"
    clip: float = 1.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.warmup < 0:
            raise ConfigError(
                "training stage",
                f"has steps={self.steps}, batch={self.batch}, warmup={self.warmup}",
                "give at least one step and one example, and a warm-up of 0 or more",
            )
        if not self.learning_rate > 0 or self.weight_decay < 0 or self.clip < 0 or not 0 <= self.ema < 1:
            raise ConfigError(
                "training stage",
                f"has learning_rate={self.learning_rate:g}, weight_decay={self.weight_decay:g}, clip={self.clip:g}, ema={self.ema:g}",
                "give a positive rate, a decay and a clip of 0 or more, and an ema from 0 to below 1",
            )


@dataclass(frozen=True, kw_only=True)
class MeasuredData:
    """Fully sampled measurements, undersampled afterwards.

    Attributes
    ----------
    folder
        Files of k-space (ISMRMRD, fastMRI, cfl, twix), or ``.npz`` with ``image``, ``sens`` and ``te_s`` or ``ti_s``.
    crop
        Edge of a square that is cut from the images at random; 0 takes whole images.
    te, ti
        Times in seconds for files that state none.
    trajectories
        ``cartesian``, ``jittered`` or ``radial``.
    acceleration
        Range of the acceleration, whose logarithm is drawn.
    centre_fraction
        Part of the lines around the centre that is always kept.
    snr
        Range of the signal-to-noise ratio of noise that is added, whose logarithm is drawn; empty adds none.
    held_out
        Part of the files, at least one, that only validates.
    """

    folder: Path
    crop: int = 0
    te: tuple[float, ...] = ()
    ti: tuple[float, ...] = ()
    trajectories: tuple[Literal["cartesian", "jittered", "radial"], ...] = ("cartesian",)
    acceleration: tuple[float, float] = (2.0, 8.0)
    centre_fraction: float = 0.08
    snr: tuple[float, ...] = ()
    held_out: float = 0.2

    def __post_init__(self) -> None:
        if not self.trajectories or not 1 <= self.acceleration[0] <= self.acceleration[1] or not 0 < self.centre_fraction < 1:
            raise ConfigError(
                "measured data",
                f"has trajectories {list(self.trajectories)}, acceleration {list(self.acceleration)}, "
                f"centre_fraction {self.centre_fraction:g}",
                "name a trajectory, accelerations from 1 on, the smaller one first, and a part between 0 and 1",
            )
        if self.snr and (len(self.snr) != 2 or not 0 < self.snr[0] <= self.snr[1]):
            raise ConfigError(
                "measured data: snr", f"is {list(self.snr)}", "give two positive numbers, the smaller one first, or none"
            )
        if self.crop and self.crop < 16:
            raise ConfigError("measured data: crop", f"is {self.crop}", "give 0 or at least 16")
        if self.te and self.ti:
            raise ConfigError("measured data", "names te and ti", "give times of one kind")
        if not 0 < self.held_out < 1:
            raise ConfigError("measured data: held_out", f"is {self.held_out:g}", "give a part between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Where examples come from and how many there are.

    Attributes
    ----------
    simulated, measured
        One of them; by default simulated data with their own defaults.
    examples
        Different examples of the first stage, which return in another order once all were seen.
    variance_examples
        Different examples of the variance stage, none of the first one's: errors of examples that were trained on are too small.
    validation
        Examples that only validate.
    kept
        Examples that are kept in memory once they are made; making one takes longer than a step of a small network.
    """

    simulated: SimulatedData | None = None
    measured: MeasuredData | None = None
    examples: int = 1000
    variance_examples: int = 200
    validation: int = 16
    kept: int = 1000

    def __post_init__(self) -> None:
        if self.simulated is not None and self.measured is not None:
            raise ConfigError("data", "names simulated and measured", "give one of them")
        if min(self.examples, self.variance_examples, self.validation) < 1 or self.kept < 0:
            raise ConfigError(
                "data",
                f"has examples={self.examples}, variance_examples={self.variance_examples}, validation={self.validation}, "
                f"kept={self.kept}",
                "give at least one example of each kind",
            )


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """A whole training.

    Attributes
    ----------
    network
        What is trained.
    head
        Variance head; null trains none.
    data
        See :class:`DataSettings`.
    loss
        Squared error of the first stage: of the ``latent`` images, or of the ``images`` (complex), their ``real`` part or
        ``magnitude``; ``relative``: of the latent images over their size in each voxel, as the logarithm of its ratio to that of the
        start images, so that scans that are easy count as much as those that are hard.
    mean, variance
        The stages: images first, then the variance head on the errors of finished images.
    beta
        Of :func:`puq_qmri.networks.losses.beta_nll`.
    log_every, validate_every, checkpoint_every
        Steps.
    keep
        Checkpoints that stay.
    device
        ``cpu``, ``cuda`` or ``auto``.
    threads
        Of the processor; 0 leaves torch's choice. One makes a run repeatable bit by bit.
    precision
        ``float32``, or ``bf16`` for the convolutions.
    compile
        Whether torch compiles the small networks.
    workers
        Threads that make examples in advance.
    seed
        Of weights, examples, their order and dropout.
    """

    network: NetworkSettings = field(default_factory=NetworkSettings)
    head: VarianceSettings | None = None
    data: DataSettings = field(default_factory=DataSettings)
    loss: Loss = "latent"
    mean: StageSettings = field(default_factory=StageSettings)
    variance: StageSettings = field(default_factory=StageSettings)
    beta: float = 0.5
    log_every: int = 10
    validate_every: int = 100
    checkpoint_every: int = 100
    keep: int = 2
    device: str = "cpu"
    threads: int = 1
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {k: getattr(self, k) for k in ("log_every", "validate_every", "checkpoint_every", "keep")}
        wrong = {k: v for k, v in numbers.items() if v < 1}
        wrong |= {k: getattr(self, k) for k in ("threads", "workers", "seed") if getattr(self, k) < 0}
        if wrong:
            name, value = next(iter(wrong.items()))
            raise ConfigError(f"training: {name}", f"is {value}", "give a larger number")
        if not 0 <= self.beta <= 1:
            raise ConfigError("training: beta", f"is {self.beta:g}", "give a number from 0 to 1")

    @property
    def stages(self) -> dict[str, StageSettings]:
        """The stages in their order, by name."""
        return {"mean": self.mean} | ({} if self.head is None else {"variance": self.variance})

    @property
    def simulated(self) -> SimulatedData | None:
        """Ranges of the simulation, or None where data are measured."""
        return (self.data.simulated or SimulatedData()) if self.data.measured is None else None


def presets() -> dict[str, Any]:
    """Recipes that come with the package, by name."""
    folder = resources.files("puq_qmri.training") / "presets"
    found = {entry.name.removesuffix(".yaml"): entry for entry in folder.iterdir() if entry.name.endswith(".yaml")}
    return dict(sorted(found.items()))


def load_settings(config: str | Path, overrides: Sequence[str] = (), *, seed: int | None = None) -> TrainingSettings:
    """Settings from a preset or a YAML file.

    Parameters
    ----------
    config
        Path of a file, or name of one of :func:`presets`.
    overrides
        ``a.b=value`` assignments.
    seed
        Instead of the recipe's.

    Raises
    ------
    ConfigError
        If there is no such file or preset, or a key or value is wrong.
    """
    path, known = Path(config), presets()
    if not path.is_file() and str(config) not in known:
        if path.suffix or len(path.parts) > 1:
            raise ConfigError(path, "does not exist", f"give a YAML file, or one of {', '.join(known)}")
        raise unknown_name("recipe", str(config), list(known))
    if path.is_file():
        mapping = load_yaml(path)
    else:
        with resources.as_file(known[str(config)]) as shipped:
            mapping = load_yaml(shipped)
    for assignment in overrides:
        set_value(mapping, assignment)
    settings = from_mapping(TrainingSettings, mapping, str(config))
    return settings if seed is None else dataclasses.replace(settings, seed=seed)
