"""Checkpoints that are complete or absent: tensors as safetensors, the rest as JSON, a hash of each file."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor

from medcore.atomic import atomic_directory, sweep, verify_directory, write_json
from medcore.errors import InputError
from medcore.io.guard import foreign_errors
from medcore.io.json_object import parse_object

FOLDER = "checkpoints"
TENSORS, STATE = "state.safetensors", "state.json"
_NAME = re.compile(r"^step-(\d{8})$")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a run stands.

    Attributes
    ----------
    stage
        Name of the stage.
    step
        Optimiser steps of that stage that are done.
    tensors
        ``network.*``, ``head.*``, ``mean.*`` (running mean of what is trained) and ``optimiser.*``.
    facts
        JSON-ready facts of finished stages.
    """

    stage: str
    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """Tensors under a name, without it."""
        return {k.removeprefix(f"{name}."): v for k, v in self.tensors.items() if k.startswith(f"{name}.")}


def save(folder: Path, checkpoint: Checkpoint, number: int, *, keep: int) -> Path:
    """Write a checkpoint and remove old ones.

    Parameters
    ----------
    folder
        Of the run.
    checkpoint
        What to write.
    number
        Steps of all stages, which orders checkpoints.
    keep
        How many of the newest stay.
    """
    target = folder / FOLDER / f"step-{number:08d}"
    with atomic_directory(target, force=True) as temporary:
        # Written here: the library's own error about a full disk is no operating-system error.
        (temporary / TENSORS).write_bytes(as_bytes({k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}))
        write_json(temporary / STATE, {"stage": checkpoint.stage, "step": checkpoint.step, "facts": checkpoint.facts})
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose files agree with its manifest; damaged ones are named in the log and passed over."""
    if (folder / FOLDER).is_dir():
        sweep(folder / FOLDER)
    for path in reversed(_all(folder)):
        try:
            verify_directory(path)
            state = parse_object((path / STATE).read_bytes(), str(path / STATE))
            with foreign_errors(path, "holds no tensors"):
                tensors = load_file(path / TENSORS)
            return Checkpoint(stage=str(state["stage"]), step=int(state["step"]), tensors=tensors, facts=dict(state["facts"]))
        except (InputError, OSError, KeyError, TypeError, ValueError) as error:
            _LOG.warning("checkpoint passed over: %s", error)
    return None


def remove(folder: Path) -> None:
    """Remove the checkpoints of a finished run."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _all(folder: Path) -> list[Path]:
    root = folder / FOLDER
    return sorted(p for p in root.iterdir() if _NAME.match(p.name)) if root.is_dir() else []
