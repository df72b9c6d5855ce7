r"""A small network that reads the parameters of one voxel off its signals, as the PUQ paper fits its maps.

The inputs are the signals of a voxel and, with guidance, their deviations, all divided by the first signal; five layers of 64 rectified
linear units follow, and each output is a sigmoid scaled to a range, for T2 from 0 to 2 s. That much is public of the paper's network. It
says nothing of the amplitude, which is here that of linear least squares, ``sum w y f / sum w f^2`` with ``f`` the model's signal of unit
amplitude and ``w`` the inverse variances, or 1 without guidance.

A network knows what it was trained on: one model, one list of times, one range of parameters and noise. Beyond these ranges it gives
values all the same, and they are wrong. It has no likelihood, so that its deviations are only the propagated noise of the images
(:mod:`puq_qmri.fitting.mlp_fit`), without its bias.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from medcore.errors import ConfigError, InputError
from puq_qmri.signal_models import SignalModel, get_model

PAPER_TIMES = (0.0, 0.025, 0.035, 0.045, 0.065, 0.085, 0.105, 0.125)
"""Echo times of the PUQ paper in seconds."""
_SAME = 1e-4
"""Seconds or other units of time, and part of the time, by which two times may differ."""


@dataclass(frozen=True, kw_only=True)
class MlpSettings:
    """What a pixelwise network estimates and how it is built; the defaults are the paper's T2 network with guidance.

    Attributes
    ----------
    model, model_settings
        Signal model with an amplitude and without known maps.
    times
        Of the contrasts, in the model's unit and in the order of the images.
    guided
        Whether deviations are inputs.
    reference
        What the inputs are divided by: the ``first`` signal, or the ``norm`` of all of them, which does not vanish where the first
        signal does.
    ranges
        Lower and upper end of the scaled sigmoid of every parameter but the amplitude, in its unit.
    layers, width
        Hidden layers and the units of each.
    """

    model: str = "t2"
    model_settings: Mapping[str, Any] = field(default_factory=dict)
    times: tuple[float, ...] = PAPER_TIMES
    guided: bool = True
    reference: Literal["first", "norm"] = "first"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=lambda: {"t2": (0.0, 2.0)})
    layers: int = 5
    width: int = 64

    def __post_init__(self) -> None:
        model = self.signal_model()
        if model.amplitude is None or model.known:
            reason = "has no amplitude" if model.amplitude is None else f"takes a map of {model.known[0].name}"
            raise ConfigError(f"network for model {self.model}", f"cannot be, as the model {reason}", "use another model or fitter")
        names = self.names
        if set(self.ranges) != set(names):
            raise ConfigError("network: ranges", f"are of {sorted(self.ranges)}", f"give those of {', '.join(names)}")
        for name, (low, high) in self.ranges.items():
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ConfigError(f"network: range of {name}", f"is [{low:g}, {high:g}]", "give two numbers, the smaller one first")
        if min(self.layers, self.width) < 1:
            raise ConfigError("network", f"has layers={self.layers}, width={self.width}", "give at least one of each")
        if len(set(self.times)) < len(model.parameters) or not all(math.isfinite(t) and t >= 0 for t in self.times):
            raise ConfigError(
                "network: times", f"are {list(self.times)}", f"give at least {len(model.parameters)} different ones, none negative"
            )

    def signal_model(self) -> SignalModel:
        """The model that it estimates."""
        return get_model(self.model, **self.model_settings)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters that the network gives: all but the amplitude."""
        model = self.signal_model()
        return tuple(p.name for i, p in enumerate(model.parameters) if i != model.amplitude)


class PixelMlp(nn.Module):
    """The network.

    Parameters
    ----------
    settings
        See :class:`MlpSettings`.

    Notes
    -----
    ``centre`` and ``spread`` bring the inputs to a common size, which the first layer could do as well; training sets them.
    """

    centre: Tensor
    spread: Tensor
    low: Tensor
    high: Tensor
    times: Tensor

    def __init__(self, settings: MlpSettings) -> None:
        super().__init__()
        self.settings = settings
        self.signal_model = settings.signal_model()
        inputs = len(settings.times) * (2 if settings.guided else 1)
        sizes = [inputs, *[settings.width] * settings.layers]
        hidden = [part for one, two in itertools.pairwise(sizes) for part in (nn.Linear(one, two), nn.ReLU())]
        self.body = nn.Sequential(*hidden, nn.Linear(settings.width, len(settings.ranges)))
        limits = torch.tensor([settings.ranges[name] for name in settings.names], dtype=torch.float32)
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.register_buffer("low", limits[:, 0].clone(), persistent=False)
        self.register_buffer("high", limits[:, 1].clone(), persistent=False)
        self.register_buffer("times", torch.tensor(settings.times, dtype=torch.float32), persistent=False)

    def features(
        self, signal: Float[Tensor, "voxel contrast"], deviation: Float[Tensor, "voxel contrast"] | None
    ) -> Float[Tensor, "voxel input"]:
        """Signals, and deviations with guidance, over the reference of the voxel."""
        first = self.settings.reference == "first"
        unit = signal[:, :1] if first else torch.linalg.vector_norm(signal, dim=-1, keepdim=True)
        if not self.settings.guided:
            return signal / unit
        if deviation is None:
            raise InputError("sigma", "is not known, and the network was trained with deviations", "give --sigma")
        return torch.cat([signal, deviation], -1) / unit

    def forward(
        self, signal: Float[Tensor, "voxel contrast"], deviation: Float[Tensor, "voxel contrast"] | None = None
    ) -> Float[Tensor, "voxel nonlinear"]:
        """Every parameter but the amplitude."""
        inputs = (self.features(signal, deviation) - self.centre) / self.spread
        return self.low + (self.high - self.low) * torch.sigmoid(self.body(inputs))

    def estimate(
        self, signal: Float[Tensor, "voxel contrast"], deviation: Float[Tensor, "voxel contrast"] | None = None
    ) -> Float[Tensor, "voxel parameter"]:
        """All parameters, the amplitude by linear least squares.

        Raises
        ------
        InputError
            If the network needs deviations and there are none.
        """
        nonlinear = self(signal, deviation)
        shape = self.signal_model.signal(self.with_amplitude(nonlinear, torch.ones_like(nonlinear[:, 0])), self.times)
        weighted = shape / deviation**2 if self.settings.guided and deviation is not None else shape
        return self.with_amplitude(nonlinear, (weighted * signal).sum(-1) / (weighted * shape).sum(-1))

    def with_amplitude(
        self, nonlinear: Float[Tensor, "voxel nonlinear"], amplitude: Float[Tensor, " voxel"]
    ) -> Float[Tensor, "voxel parameter"]:
        """The parameters in the order of the model."""
        place = self.signal_model.amplitude or 0
        return torch.cat([nonlinear[:, :place], amplitude[:, None], nonlinear[:, place:]], -1)

    def check(self, model: SignalModel, times: NDArray[np.float64]) -> None:
        """Refuse what the network was not trained for.

        Raises
        ------
        InputError
            If model, its settings, the number of contrasts or their times are others.
        """
        trained = self.signal_model
        mine, theirs = trained.settings(), model.settings()
        if type(model) is not type(trained) or mine != theirs:
            raise InputError(
                f"--mlp for model {trained.name} {mine or ''}",
                f"cannot fit model {model.name} {theirs or ''}",
                "train one for it, or use another fitter",
            )
        known = np.asarray(self.settings.times)
        if len(times) != len(known):
            raise InputError(
                "--mlp", f"was trained for {len(known)} contrasts, and there are {len(times)}", "train one for these times"
            )
        if not np.allclose(times, known, rtol=_SAME, atol=_SAME):
            raise InputError(
                "--mlp",
                f"was trained for {trained.times_key} {known.tolist()}, and the images have {np.round(times, 6).tolist()}",
                "train one for these times",
            )
