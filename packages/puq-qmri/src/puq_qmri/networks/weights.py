"""Trained weights as a folder: tensors, what they belong to, calibration, model card.

``weights.safetensors`` holds the tensors of the network (``network.*``) and of its variance head (``head.*``); ``weights.json`` their
settings, the recipe and the hash of the tensors; ``calibration.json``, where there is one, how far to trust the variances. A folder may
hold a network, a variance head for a reconstruction without training, or both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medcore.atomic import atomic_directory
from medcore.atomic.files import write_json, write_text
from medcore.atomic.workspace import sha256_file
from medcore.config import from_mapping, to_mapping
from medcore.errors import InputError
from medcore.io.guard import foreign_errors
from medcore.io.json_object import parse_object
from medcore.io.limits import existing_file
from medcore.plugins import unknown_name
from puq_qmri.calibration import FILE as CALIBRATION
from puq_qmri.calibration import Calibration
from puq_qmri.networks.settings import NetworkSettings
from puq_qmri.networks.unrolled import UnrolledNetwork
from puq_qmri.networks.variance import VarianceHead, VarianceSettings

TENSORS, RECORD, CARD = "weights.safetensors", "weights.json", "MODEL_CARD.md"
_FORMAT = 1
_MAX_BYTES = 2_000_000_000
_KEYS = {"format", "sha256", "network", "head", "recipe"}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a folder of weights holds, ready for use.

    Attributes
    ----------
    network
        Unrolled network, or None.
    head
        Variance head for its images, or for those of another reconstruction; or None.
    calibration
        Of the variances, or None.
    recipe
        How they were trained.
    source
        Name or folder.
    sha256
        Of the tensors.
    """

    network: UnrolledNetwork | None
    head: VarianceHead | None
    calibration: Calibration | None
    recipe: dict[str, Any] = field(default_factory=dict)
    source: str
    sha256: str

    @property
    def method(self) -> str | None:
        """The reconstruction they are for: their own, or the one whose errors a head was trained on; None where it is not told."""
        return _method(self.network, self.recipe)


def save_weights(
    folder: str | Path,
    *,
    network: UnrolledNetwork | None = None,
    head: VarianceHead | None = None,
    recipe: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
    card: str | None = None,
    half: bool = False,
    force: bool = False,
) -> None:
    """Write a folder of weights in one step.

    Parameters
    ----------
    folder
        Where.
    network, head
        At least one of them.
    recipe
        JSON-ready facts of the training.
    calibration
        Of the variances.
    card
        Text of the model card.
    half
        Whether to store numbers in half precision, a relative error of 5e-4 at most; they are used in single precision.
    force
        Whether an earlier folder may be replaced.

    Raises
    ------
    InputError
        If there is nothing to be saved.
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_directory`.
    """
    from safetensors.torch import save

    parts: dict[str, nn.Module] = {k: m for k, m in (("network", network), ("head", head)) if m is not None}
    if not parts:
        raise InputError(folder, "would hold no weights", "give a network or a variance head")
    tensors = {f"{k}.{name}": v.detach().cpu().contiguous() for k, m in parts.items() for name, v in m.state_dict().items()}
    if half:
        tensors = {name: v.half() if v.is_floating_point() else v for name, v in tensors.items()}
    with atomic_directory(folder, force=force) as target:
        # Written here: the error of the library about a full disk is no operating-system error.
        (target / TENSORS).write_bytes(save(tensors))
        record = {
            "format": _FORMAT,
            "sha256": sha256_file(target / TENSORS),
            "network": None if network is None else to_mapping(network.settings),
            "head": None if head is None else to_mapping(head.settings),
            "recipe": dict(recipe or {}),
        }
        write_json(target / RECORD, record)
        if calibration is not None:
            write_json(target / CALIBRATION, calibration.as_dict())
        if card is not None:
            write_text(target / CARD, card)


def load_weights(source: str | Path, *, device: str | torch.device = "cpu") -> Weights:
    """Read weights from a folder, or those that come with the package by name.

    Parameters
    ----------
    source
        A folder, or one of :func:`shipped`.
    device
        Where to put them.

    Raises
    ------
    ConfigError
        If it is neither a folder nor a name of shipped weights.
    InputError
        If files are missing, damaged, or of another format.
    """
    folder = _folder(source)
    record = _record(folder)
    tensors = _tensors(folder, record["sha256"])
    with torch.random.fork_rng(devices=[]):  # new layers draw numbers, and those of the caller go on as they were
        network = (
            None if record["network"] is None else UnrolledNetwork(from_mapping(NetworkSettings, record["network"], str(folder)))
        )
        head = None if record["head"] is None else VarianceHead(from_mapping(VarianceSettings, record["head"], str(folder)))
    _fill(folder, tensors, {"network": network, "head": head})
    path = folder / CALIBRATION
    calibration = Calibration.read(path) if path.is_file() else None
    return Weights(
        network=None if network is None else network.to(device).eval(),
        head=None if head is None else head.to(device).eval(),
        calibration=calibration,
        recipe=record["recipe"],
        source=str(source),
        sha256=record["sha256"],
    )


def predicts_variance(source: str | Path) -> bool:
    """Whether weights hold a variance head, as their record says; their tensors are not read.

    Raises
    ------
    ConfigError, InputError
        See :func:`load_weights`.
    """
    return _record(_folder(source))["head"] is not None


def method_of(source: str | Path) -> str | None:
    """The reconstruction that weights are for (:attr:`Weights.method`), as their record says; their tensors are not read.

    Raises
    ------
    ConfigError, InputError
        See :func:`load_weights`.
    """
    record = _record(_folder(source))
    return _method(record["network"], record["recipe"])


def shipped() -> dict[str, Path]:
    """Names and folders of the weights that come with the package."""
    root = Path(str(resources.files("puq_qmri"))) / "weights"
    return {p.name: p for p in sorted(root.iterdir()) if (p / RECORD).is_file()} if root.is_dir() else {}


def _method(network: object | None, recipe: Mapping[str, Any]) -> str | None:
    stated = "unrolled" if network is not None else recipe.get("method")
    return None if stated is None else str(stated)


def _folder(source: str | Path) -> Path:
    folder, known = Path(source), shipped()
    if folder.is_dir():
        return folder
    if str(source) not in known:
        raise unknown_name("folder or name of weights", str(source), sorted(known))
    return known[str(source)]


def _record(folder: Path) -> dict[str, Any]:
    path = existing_file(folder / RECORD)
    record = parse_object(path.read_bytes(), str(path), "train again, or copy the folder whole")
    if set(record) != _KEYS or record["format"] != _FORMAT:
        raise InputError(
            path,
            f"is of format {record.get('format')!r} with the fields {sorted(record)}",
            f"give format {_FORMAT} of this package",
        )
    return record


def _tensors(folder: Path, sha256: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    path = existing_file(folder / TENSORS)
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(path, f"has {path.stat().st_size} bytes", f"give at most {_MAX_BYTES}")
    if sha256_file(path) != sha256:
        raise InputError(path, f"does not have the hash that {RECORD} states", "copy the folder whole, or train again")
    with foreign_errors(path, "train again, or copy the folder whole"):
        found: dict[str, torch.Tensor] = load_file(path)
    return found


def _fill(folder: Path, tensors: dict[str, torch.Tensor], parts: Mapping[str, nn.Module | None]) -> None:
    """Every tensor has a place, every place a tensor of its shape, and all numbers are finite."""
    wanted = {f"{k}.{name}": (m, name) for k, m in parts.items() if m is not None for name in m.state_dict()}
    strange = sorted(set(tensors) ^ set(wanted))
    wrong = sorted(n for n, (m, own) in wanted.items() if n in tensors and m.state_dict()[own].shape != tensors[n].shape)
    if strange or wrong:
        first = (strange or wrong)[0]
        raise InputError(folder / TENSORS, f"does not fit the settings in {RECORD}, first at {first}", "train again")
    broken = sorted(n for n, t in tensors.items() if not t.isfinite().all())
    if broken:
        raise InputError(folder / TENSORS, f"holds NaN or infinity in {broken[0]}", "train again")
    for key, module in parts.items():
        if module is not None:
            module.load_state_dict({n.removeprefix(f"{key}."): t for n, t in tensors.items() if n.startswith(f"{key}.")})
