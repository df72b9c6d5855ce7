"""Training of a pixelwise network on simulated voxels; less than a minute on one processor core.

How the PUQ paper trains its network is not public. The ranges, the loss and the optimiser here are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from medcore.config import from_mapping, load_yaml, set_value, to_mapping
from medcore.errors import ConfigError, NumericalError
from medcore.plugins import unknown_name
from puq_qmri.fitting.mlp import MlpSettings, PixelMlp
from puq_qmri.fitting.mlp_files import save_mlp

PRESETS: dict[str, dict[str, Any]] = {"puq-paper": {}, "puq-paper-unguided": {"network": {"guided": False}}}
"""Recipes by name, as changes of the defaults, which are the paper's network."""
_SMALLEST = 1e-6
"""Part of a range to which an estimate is raised before its logarithm is taken."""
_SAMPLE = 20_000
"""Voxels that tell the common size of the inputs."""


@dataclass(frozen=True, kw_only=True)
class MlpTraining:
    """What a pixelwise network is trained on and how.

    Attributes
    ----------
    network
        See :class:`puq_qmri.fitting.mlp.MlpSettings`.
    drawn
        Range of every parameter but the amplitude, within that of the network; its logarithm is uniform where the range is above
        zero, else the value.
    snr
        Range of amplitude over deviation, whose logarithm is uniform.
    spread
        How far the deviations of contrasts differ: the standard deviation of their logarithm is uniform from zero to this.
    loss
        ``log``: the mean size of the logarithm of estimate over truth; ``squared``: the mean squared error in units of the range,
        which long T2 dominates.
    steps, batch, learning_rate
        Of Adam; the rate rises over the first twentieth of the steps and falls to zero along a cosine.
    seed
        Of weights and voxels.
    """

    network: MlpSettings = field(default_factory=MlpSettings)
    drawn: Mapping[str, tuple[float, float]] = field(default_factory=lambda: {"t2": (0.01, 1.9)})
    snr: tuple[float, float] = (10.0, 200.0)
    spread: float = 2.0
    loss: Literal["log", "squared"] = "log"
    steps: int = 4000
    batch: int = 1024
    learning_rate: float = 6e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if set(self.drawn) != set(self.network.ranges):
            raise ConfigError("drawn", f"has {sorted(self.drawn)}", f"give ranges of {', '.join(self.network.names)}")
        for name, (low, high) in self.drawn.items():
            least, most = self.network.ranges[name]
            if not least <= low < high <= most:
                raise ConfigError(f"drawn: {name}", f"is [{low:g}, {high:g}]", f"give a range within [{least:g}, {most:g}]")
            if self.loss == "log" and low <= 0:
                raise ConfigError("loss: log", f"was asked for {name} from {low:g} on", "draw values above zero, or use squared")
        if not 0 < self.snr[0] <= self.snr[1] < math.inf or not self.spread >= 0:
            raise ConfigError(
                "noise", f"has snr={list(self.snr)}, spread={self.spread:g}", "give positive numbers, the smaller one first"
            )
        if min(self.steps, self.batch) < 1 or not self.learning_rate > 0 or self.seed < 0:
            raise ConfigError(
                "training",
                f"has steps={self.steps}, batch={self.batch}, learning_rate={self.learning_rate:g}, seed={self.seed}",
                "give positive numbers, and a seed of 0 or more",
            )


def load_mlp_training(config: str | Path, overrides: Sequence[str] = (), *, seed: int | None = None) -> MlpTraining:
    """Settings from one of :data:`PRESETS` or a YAML file, with ``a.b=value`` assignments.

    Raises
    ------
    ConfigError
        If there is no such file or preset, or a key or value is wrong.
    """
    if Path(config).is_file():
        mapping = load_yaml(config)
    elif str(config) in PRESETS:
        mapping = to_mapping(PRESETS[str(config)])
    else:
        raise unknown_name("YAML file or recipe", str(config), list(PRESETS))
    for assignment in overrides:
        set_value(mapping, assignment)
    settings = from_mapping(MlpTraining, mapping, str(config))
    return settings if seed is None else replace(settings, seed=seed)


def train_mlp(settings: MlpTraining, *, progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> PixelMlp:
    """Train a network; the same settings give the same numbers, as torch uses one thread.

    Parameters
    ----------
    settings
        See :class:`MlpTraining`.
    progress
        Wraps the range of steps.

    Raises
    ------
    NumericalError
        If the loss is not finite.
    """
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        mlp = PixelMlp(settings.network)
        _set_size(mlp, *simulated_voxels(settings, _SAMPLE, mlp)[:2])
        optimiser = torch.optim.Adam(mlp.parameters(), lr=settings.learning_rate)
        warm = max(1, settings.steps // 20)
        for step in progress(range(settings.steps)):
            fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
            optimiser.param_groups[0]["lr"] = settings.learning_rate * min(1.0, (step + 1) / warm) * fall
            signal, deviation, truth = simulated_voxels(settings, settings.batch, mlp)
            loss = _loss(settings, mlp, mlp(signal, deviation), truth)
            if not math.isfinite(loss.item()):
                raise NumericalError("train-mlp", f"has the loss {loss.item():g} at step {step}", "lower the learning rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(mlp.parameters(), 1.0)
            optimiser.step()
    return mlp.eval()


def train_to_folder(
    settings: MlpTraining, folder: str | Path, *, force: bool = False, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> PixelMlp:
    """Train a network and write it; see :func:`train_mlp` and :func:`puq_qmri.fitting.mlp_files.save_mlp`."""
    mlp = train_mlp(settings, progress=progress)
    facts = to_mapping(settings)
    del facts["network"]  # the record of the folder holds it already
    save_mlp(folder, mlp, training=facts, force=force)
    return mlp


def simulated_voxels(
    settings: MlpTraining, n: int, mlp: PixelMlp
) -> tuple[Float[Tensor, "voxel contrast"], Float[Tensor, "voxel contrast"], Float[Tensor, "voxel nonlinear"]]:
    """Signals of unit amplitude with normal noise, their deviations, and the parameters, from torch's generator."""
    columns = []
    for name in settings.network.names:
        low, high = settings.drawn[name]
        share = torch.rand(n)
        columns.append(low * (high / low) ** share if low > 0 else low + (high - low) * share)
    truth = torch.stack(columns, -1)
    clean = mlp.signal_model.signal(mlp.with_amplitude(truth, torch.ones(n)), mlp.times)
    low, high = settings.snr
    level = 1 / (low * (high / low) ** torch.rand(n, 1))
    deviation = level * torch.exp(settings.spread * torch.rand(n, 1) * torch.randn(clean.shape))
    return clean + deviation * torch.randn(clean.shape), deviation, truth


def _set_size(mlp: PixelMlp, signal: Float[Tensor, "voxel contrast"], deviation: Float[Tensor, "voxel contrast"]) -> None:
    """Bring the inputs to a median of zero and a middle two thirds from -1 to 1; those that do not vary stay as they are."""
    low, middle, high = torch.quantile(mlp.features(signal, deviation), torch.tensor([1 / 6, 0.5, 5 / 6]), dim=0)
    half = (high - low) / 2
    mlp.centre.copy_(middle)
    mlp.spread.copy_(torch.where(half > 0, half, 1.0))


def _loss(
    settings: MlpTraining, mlp: PixelMlp, found: Float[Tensor, "voxel nonlinear"], truth: Float[Tensor, "voxel nonlinear"]
) -> Float[Tensor, ""]:
    extent = mlp.high - mlp.low
    miss = (found - truth) / extent
    if settings.loss == "log":
        miss = ((found.clamp_min(0) + _SMALLEST * extent) / truth).log()
        return miss.abs().mean()
    return miss.square().mean()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
