"""What a training would do, without doing it."""

from __future__ import annotations

from typing import Any

from torch import nn

from puq_qmri.networks import UnrolledNetwork
from puq_qmri.networks.variance import VarianceHead
from puq_qmri.training.loop import open_examples
from puq_qmri.training.settings import TrainingSettings


def plan(settings: TrainingSettings) -> dict[str, Any]:
    """Sizes of networks, stages and data, JSON-ready; measured data are opened and checked.

    Raises
    ------
    InputError
        If settings or data cannot be used.
    """
    sets = open_examples(settings, "cpu")
    head = None if settings.head is None else VarianceHead(settings.head)
    return {
        "network_parameters": _parameters(UnrolledNetwork(settings.network)),
        "head_parameters": None if head is None else _parameters(head),
        "stages": [
            {"name": name, "steps": stage.steps, "batch": stage.batch, "examples": len(sets[name])}
            for name, stage in settings.stages.items()
        ],
        "validation": len(sets["validation"]),
        "data": "simulated" if settings.data.measured is None else str(settings.data.measured.folder),
        "seed": settings.seed,
    }


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
