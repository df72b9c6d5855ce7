"""``run.json``: what made a result, from what, with which settings, and how it ended."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcore.atomic import sha256_file, write_json
from medcore.config import to_mapping
from medcore.errors import InputError

RUN_FILE = "run.json"
_LIBRARIES = ("medcore", "puq-qmri", "vrft-aug", "numpy", "scipy", "torch", "transformers", "trl", "finufft", "pydicom", "nibabel")


def versions(names: Iterable[str] = _LIBRARIES) -> dict[str, str]:
    """Installed versions of those `names` that are installed, and Python's; imports nothing."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hash_inputs(paths: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 of every input file by its path; folders are walked in sorted order.

    Raises
    ------
    InputError
        If one of `paths` does not exist or cannot be read.
    """
    paths = list(paths)
    missing = [p for p in paths if not Path(p).exists()]
    if missing:
        raise InputError(missing[0], "does not exist", "check the path")
    files = (f for p in map(Path, paths) for f in ([p] if p.is_file() else sorted(q for q in p.rglob("*") if q.is_file())))
    try:
        return {str(f): sha256_file(f) for f in files}
    except OSError as error:
        raise InputError(error.filename or "input", f"cannot be read ({error.strerror})", "check its permissions") from error


@dataclass(kw_only=True)
class RunRecord:
    """Collects the facts of one run and writes them as ``run.json``.

    Parameters
    ----------
    command
        What was asked for, for example ``"puq-qmri fit"``.
    settings
        Resolved settings, a dataclass or mapping.
    seed
        Random seed, if one was used.
    inputs
        Input files or folders; their hashes are taken when the record is made, before anything is computed.
    device
        ``"cpu"`` or a GPU's name.
    extra
        Further JSON-ready facts (for example which rule chose a parameter).
    """

    command: str
    settings: Any
    seed: int | None = None
    inputs: Iterable[str | Path] = ()
    device: str = "cpu"
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start = time.monotonic()
        self._started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._hashes = hash_inputs(self.inputs)

    def as_dict(self, exit_state: str = "complete") -> dict[str, Any]:
        """The record as plain values, with the wall time until now."""
        settings: Mapping[str, Any] = _without_infinities(to_mapping(self.settings))
        return {
            "command": self.command,
            "exit_state": exit_state,
            "versions": versions(),
            "platform": f"{platform.system()} {platform.machine()}",
            "device": self.device,
            "seed": self.seed,
            "started": self._started,
            "wall_time_s": round(time.monotonic() - self._start, 3),
            "settings": settings,
            "inputs": self._hashes,
            **self.extra,
        }

    def write(self, folder: str | Path, exit_state: str = "complete") -> dict[str, Any]:
        """Write ``run.json`` into `folder` and return its content."""
        record = self.as_dict(exit_state)
        write_json(Path(folder) / RUN_FILE, record)
        return record


def _without_infinities(value: Any) -> Any:
    """Numbers that JSON does not know, as words: a setting may be infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _without_infinities(item) for key, item in value.items()}
    return [_without_infinities(item) for item in value] if isinstance(value, list | tuple) else value
