"""A pixelwise network as a folder: ``mlp.safetensors`` with its numbers and ``mlp.json`` with what they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medcore.atomic import atomic_directory
from medcore.atomic.files import write_json
from medcore.atomic.workspace import sha256_file
from medcore.config import from_mapping, to_mapping
from medcore.errors import InputError
from medcore.io.guard import foreign_errors
from medcore.io.json_object import parse_object
from medcore.io.limits import existing_file
from puq_qmri.fitting.mlp import MlpSettings, PixelMlp

TENSORS, RECORD = "mlp.safetensors", "mlp.json"
_FORMAT = 1
_KEYS = {"format", "sha256", "network", "training"}
_MAX_BYTES = 100_000_000
_HINT = "copy the folder whole, or train again with puq-qmri train-mlp"


def save_mlp(folder: str | Path, mlp: PixelMlp, *, training: Mapping[str, Any] | None = None, force: bool = False) -> None:
    """Write a network in one step.

    Parameters
    ----------
    folder
        Where.
    mlp
        The network.
    training
        JSON-ready facts of how it was trained.
    force
        Whether an earlier folder may be replaced.

    Raises
    ------
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_directory`.
    """
    from safetensors.torch import save

    with atomic_directory(folder, force=force) as target:
        # Written here: the error of the library about a full disk is no operating-system error.
        (target / TENSORS).write_bytes(save({name: v.detach().cpu().contiguous() for name, v in mlp.state_dict().items()}))
        record = {
            "format": _FORMAT,
            "sha256": sha256_file(target / TENSORS),
            "network": to_mapping(mlp.settings),
            "training": dict(training or {}),
        }
        write_json(target / RECORD, record)


def load_mlp(folder: str | Path, *, device: str | torch.device = "cpu") -> PixelMlp:
    """Read a network of :func:`save_mlp`, on that device.

    Raises
    ------
    InputError
        If a file is missing, damaged, of another format, or does not belong to the other.
    ConfigError
        If its settings cannot be.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "is no folder of a pixelwise network", "make one with puq-qmri train-mlp")
    path, tensors = existing_file(folder / RECORD), existing_file(folder / TENSORS)
    record = parse_object(path.read_bytes(), str(path), _HINT)
    if set(record) != _KEYS or record["format"] != _FORMAT:
        raise InputError(path, f"is of format {record.get('format')!r} with the fields {sorted(record)}", f"give format {_FORMAT}")
    if tensors.stat().st_size > _MAX_BYTES:
        raise InputError(tensors, f"has {tensors.stat().st_size} bytes", f"give at most {_MAX_BYTES}")
    if sha256_file(tensors) != record["sha256"]:
        raise InputError(tensors, f"does not have the hash that {RECORD} states", _HINT)
    settings = from_mapping(MlpSettings, record["network"], str(path))
    with foreign_errors(tensors, _HINT):
        found = load_file(tensors)
    with torch.random.fork_rng(devices=[]):  # new layers draw numbers, and those of the caller go on as they were
        mlp = PixelMlp(settings)
    wanted = mlp.state_dict()
    if {n: t.shape for n, t in found.items()} != {n: t.shape for n, t in wanted.items()}:
        raise InputError(tensors, f"does not fit the settings in {RECORD}", _HINT)
    if not all(bool(t.isfinite().all()) for t in found.values()):
        raise InputError(tensors, "holds NaN or infinity", "train again with puq-qmri train-mlp")
    mlp.load_state_dict(found)
    return mlp.to(device).eval()
