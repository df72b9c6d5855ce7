"""The folder of a training: who may write it, what was asked for, what the curves are."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medcore.atomic import check_writable, lock, write_json, write_text
from medcore.config import to_mapping
from medcore.errors import ConfigError, InputError, MedcoreError, OutputError, OutputExistsError
from medcore.io.json_object import parse_object
from puq_qmri.training.settings import TrainingSettings

LEDGER, LOG = "training.json", "log.jsonl"
_FREE = {"device", "threads", "workers", "compile", "log_every", "validate_every", "checkpoint_every", "keep"}
"""Settings that may change when a run is resumed: they do not say what is computed."""
_SHOWN = 4


def check_output(folder: Path, *, resume: bool, force: bool) -> None:
    """Refuse a folder that would mix or destroy something.

    Raises
    ------
    OutputExistsError, OutputError
        If it holds a run and neither `resume` nor `force` is given, holds anything else, or cannot be written.
    """
    if (folder / LEDGER).is_file():
        if not (resume or force):
            raise OutputExistsError(folder)
        check_writable(folder / LEDGER, force=True)
        return
    if folder.exists() and (not folder.is_dir() or any(p.name != ".lock" for p in folder.iterdir())):
        raise OutputError(folder, "exists and is no training of this program", "choose another output folder")
    check_writable(folder, force=True)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; one in which nothing was begun vanishes again."""
    made = not folder.exists()
    try:
        with lock(folder):
            yield
    except MedcoreError:
        if made and not (folder / LEDGER).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def clear(folder: Path) -> None:
    """Remove an earlier run, but for the lock that the caller holds."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in {".lock", LEDGER}:
            entry.unlink()
    # Last, so that the folder is known as a training's until nothing is left of it.
    (folder / LEDGER).unlink(missing_ok=True)


@dataclass(kw_only=True)
class Ledger:
    """What was asked for and whether it is done; the content of ``training.json``.

    Attributes
    ----------
    folder
        Of the run.
    settings
        Resolved settings.
    inputs
        Hashes of measured files.
    state
        ``running`` or ``complete``.
    facts
        What came of it.
    """

    folder: Path
    settings: dict[str, Any]
    inputs: dict[str, str] = field(default_factory=dict)
    state: Literal["running", "complete"] = "running"
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, settings: TrainingSettings, inputs: dict[str, str]) -> Ledger:
        """Read the folder's ledger, or start one.

        Parameters
        ----------
        folder
            Of the run.
        settings
            What is asked for.
        inputs
            Hashes of measured files.

        Raises
        ------
        ConfigError
            If settings or files differ from those of the run, in more than how fast it is computed.
        InputError
            If the ledger is damaged.
        """
        asked = json.loads(json.dumps(to_mapping(settings)))  # tuples become lists, as in the file
        path = folder / LEDGER
        if not path.exists():
            ledger = cls(folder=folder, settings=asked, inputs=inputs)
            ledger.write()
            return ledger
        saved = parse_object(path.read_bytes(), str(path), "start again with --force")
        if not isinstance(saved.get("settings"), dict) or saved.get("state") not in {"running", "complete"}:
            raise InputError(path, "does not hold the settings and state of a run", "start again with --force")
        changes = [d for d in differences(saved["settings"], asked) if d.split(":")[0] not in _FREE]
        changes += differences(saved.get("inputs"), inputs)
        if changes:
            more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
            raise ConfigError(
                "recipe",
                f"differs from that of the run in {folder}: {', '.join(changes[:_SHOWN])}{more}",
                "resume with what the run began with, or start a new one elsewhere",
            )
        return cls(folder=folder, settings=asked, inputs=inputs, state=saved["state"], facts=dict(saved.get("facts", {})))

    def complete(self, facts: dict[str, Any]) -> None:
        """Note that all is done."""
        self.state, self.facts = "complete", facts
        self.write()

    def write(self) -> None:
        """Write the file."""
        content = {"state": self.state, "facts": self.facts, "settings": self.settings, "inputs": self.inputs}
        write_json(self.folder / LEDGER, content)


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two plain values differ, as ``a.b: old -> new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{path}.{k}" if path else str(k))]
    return [] if old == new else [f"{path}: {json.dumps(old)} -> {json.dumps(new)}"]


class Curves:
    """Numbers of a run, one JSON object a line: what was lost in training and how validation went.

    Lines are held in memory and the file is replaced whole, with every checkpoint, so that it never tells of steps that a resumed run
    does again.

    Parameters
    ----------
    folder
        Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self.rows: list[dict[str, Any]] = []

    def load(self, number: int) -> None:
        """Take back what was written up to step `number` of all stages."""
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            rows = [parse_object(line.encode(), f"{self.path}, line {n}") for n, line in enumerate(lines, start=1)]
            self.rows = [row for row in rows if isinstance(row.get("number"), int) and row["number"] <= number]

    def add(self, stage: str, step: int, number: int, values: dict[str, float]) -> None:
        """Add a line."""
        self.rows.append({"stage": stage, "step": step, "number": number, **values})

    def write(self) -> None:
        """Write all lines."""
        write_text(self.path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in self.rows))

    def curve(self, stage: str, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one quantity."""
        found = [(row["step"], row[name]) for row in self.rows if row["stage"] == stage and name in row]
        return [s for s, _ in found], [v for _, v in found]
