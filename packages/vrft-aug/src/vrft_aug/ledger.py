"""The record of a run: what was asked for, on which data, and which stages are done."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medcore.atomic import write_json
from medcore.config import from_mapping, to_mapping
from medcore.errors import ConfigError, InputError
from vrft_aug.columns import without_images
from vrft_aug.recipe import Recipe

LEDGER = "ledger.json"
WARM_START = "warm-start"
_SHOWN = 5


@dataclass(kw_only=True)
class StageRecord:
    """What happened in one stage.

    Attributes
    ----------
    state
        ``running`` until its policy is saved, then ``complete``.
    steps, images, samples
        Optimiser steps; images in the data; images seen in a supervised stage.
    prompts, completions, completion_tokens
        What reinforcement learning generated.
    wall_time_s
        Seconds of all steps; of the warm start, seconds since it was begun or resumed.
    unjudged
        By reward, how many completions it failed on and why.
    """

    state: Literal["running", "complete"] = "running"
    steps: int = 0
    images: int = 0
    samples: int = 0
    prompts: int = 0
    completions: int = 0
    completion_tokens: int = 0
    wall_time_s: float = 0.0
    unjudged: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(kw_only=True)
class Ledger:
    """The content of ``ledger.json``; every change is written at once.

    Attributes
    ----------
    folder
        The run's folder.
    recipe, data
        Resolved settings and the data's fingerprints.
    stages
        Records by name.
    state
        ``running`` or ``complete``.
    """

    folder: Path
    recipe: dict[str, Any]
    data: dict[str, str]
    stages: dict[str, StageRecord] = field(default_factory=dict)
    state: Literal["running", "complete"] = "running"

    @classmethod
    def open(cls, folder: Path, recipe: Recipe, data: dict[str, str]) -> Ledger:
        """Read the folder's ledger, or start one.

        Raises
        ------
        ConfigError
            If recipe or data differ from those the run began with; the differences are named.
        InputError
            If the ledger cannot be read.
        """
        # Through JSON, so that tuples and lists are not taken for a difference.
        asked = json.loads(json.dumps(to_mapping(recipe)))
        path = folder / LEDGER
        if not path.exists():
            ledger = cls(folder=folder, recipe=asked, data=data)
            ledger.write()
            return ledger
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            stages = {name: from_mapping(StageRecord, entry) for name, entry in saved["stages"].items()}
            ledger = cls(folder=folder, recipe=saved["recipe"], data=saved["data"], stages=stages, state=saved["state"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(path, "cannot be read", "start again with --force") from error
        hint = "resume with what the run began with, or start a new one elsewhere"
        for what, old, new in (("recipe", ledger.recipe, asked), ("data", ledger.data, data)):
            changes = differences(old, new)
            if changes:
                more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
                raise ConfigError(what, f"differs from that of the run in {folder}: {', '.join(changes[:_SHOWN])}{more}", hint)
        return ledger

    def begin(self, name: str) -> None:
        """Note that stage `name` is running."""
        self.stages.setdefault(name, StageRecord())
        self.write()

    def finish(self, name: str, record: StageRecord) -> None:
        """Note that stage `name` is done."""
        self.stages[name] = record
        self.write()

    def complete(self) -> None:
        """Note that all is done."""
        self.state = "complete"
        self.write()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "state": self.state,
            "stages": {name: to_mapping(record) for name, record in self.stages.items()},
            "data": self.data,
            "recipe": self.recipe,
        }

    def write(self) -> None:
        """Write the file, atomically."""
        write_json(self.folder / LEDGER, self.as_dict())


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two plain values differ, as ``a.b.0: old -> new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{path}.{k}" if path else str(k))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for i, (a, b) in enumerate(zip(old, new, strict=True)) for d in differences(a, b, f"{path}.{i}")]
    return [] if old == new else [f"{path}: {_brief(old)} -> {_brief(new)}"]


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def fingerprint(rows: Any) -> str:
    """SHA-256 over everything but the pixels of rows: identifiers, prompts, truth, in order."""
    digest = hashlib.sha256()
    without = without_images(rows)
    for i in range(len(without)):
        digest.update(json.dumps(without[i], sort_keys=True, default=str).encode())
    return digest.hexdigest()
