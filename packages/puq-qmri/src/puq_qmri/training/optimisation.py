"""Optimiser, learning rate and running mean of weights, all of whose state is tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from medcore.errors import NumericalError
from puq_qmri.training.distributed import Group
from puq_qmri.training.settings import StageSettings

_RISE = 0.3
"""Part of the steps in which ``one-cycle`` rises."""
_LOW = 1 / 25
"""Part of the largest rate with which it starts."""


def learning_rate(settings: StageSettings, step: int) -> float:
    """The rate of optimiser step `step`, counted from 0: a function of the step alone, so that nothing needs to be resumed."""
    progress = step / max(settings.steps - 1, 1)
    if settings.schedule == "one-cycle":
        rising = progress < _RISE
        wave = 0.5 * (1 - math.cos(math.pi * (progress / _RISE if rising else (progress - _RISE) / (1 - _RISE))))
        return settings.learning_rate * (_LOW + (1 - _LOW) * wave if rising else 1 - wave)
    warm = min(1.0, (step + 1) / (settings.warmup + 1))
    if settings.schedule == "constant":
        return settings.learning_rate * warm
    left = max(settings.steps - settings.warmup, 1)
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0, step - settings.warmup) / left)))


def build_optimiser(module: nn.Module, settings: StageSettings) -> torch.optim.Optimizer:
    """The optimiser of a stage."""
    chosen = [p for p in module.parameters() if p.requires_grad]
    if settings.optimiser == "adam":
        return torch.optim.Adam(chosen, lr=settings.learning_rate)
    return torch.optim.AdamW(chosen, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameters this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def gradient_norm(parameters: Iterable[nn.Parameter], clip: float) -> Tensor:
    """Norm of the gradient, which is cut to `clip` in place unless that is 0."""
    return nn.utils.clip_grad_norm_(parameters, clip or math.inf)


def take_step(
    loss: Tensor, module: nn.Module, optimiser: torch.optim.Optimizer, *, clip: float, where: str, team: Group | None = None
) -> tuple[float, float]:
    """One step along the gradient of a loss; with several processes along the mean of theirs.

    Parameters
    ----------
    loss
        Of this process, with its graph.
    module, optimiser
        What is trained, and how it moves.
    clip
        Largest norm of the gradient; 0 does not clip.
    where
        For the error.
    team
        The processes; by default this one alone.

    Returns
    -------
    tuple[float, float]
        Loss and norm of the gradient, before it was clipped.

    Raises
    ------
    NumericalError
        If one of them is not finite; nothing has moved then.
    """
    team = team or Group()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    team.average(module.parameters())
    value, norm = team.mean(loss), float(gradient_norm(module.parameters(), clip))
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise NumericalError(
            where, f"has the loss {value:g} and a gradient of {norm:g}", "lower the learning rate, clip more, or look at the data"
        )
    optimiser.step()
    return value, norm


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state by parameter number and name; of the optimisers here it is tensors only."""
    found = {}
    for number, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            found[f"{number}.{name}"] = value
    return found


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of :func:`optimiser_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


class RunningMean:
    """Exponential running mean of a module's weights (Polyak and Juditsky 1992, doi 10.1137/0330046).

    Parameters
    ----------
    module
        Whose weights are followed.
    decay
        Weight of the past; it counts for less in the first steps, so that the start is forgotten soon. 0 follows nothing.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in module.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step`, counted from 0."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                self.tensors[name].lerp_(value, 1 - decay)
            else:
                self.tensors[name].copy_(value)

    def swap(self, module: nn.Module) -> None:
        """Exchange the module's weights and the mean."""
        if not self.decay:
            return
        own = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.tensors)
        self.tensors = own
