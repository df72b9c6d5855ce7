"""What a run's folder holds, read without a model: all that its page is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcore.config import from_mapping
from medcore.errors import InputError
from medcore.provenance import RUN_FILE
from vrft_aug.completions import FACTS, FOLDER, LoggedStage, read_table
from vrft_aug.evaluation import EVALUATION, EvaluationResult, read_evaluation
from vrft_aug.ledger import LEDGER, Ledger, StageRecord
from vrft_aug.recipe import Recipe

AUDIT = "audit.json"


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The content of a run's folder.

    Attributes
    ----------
    folder, ledger
        The run and what was done in it.
    record
        ``run.json``; empty while a run is not finished.
    evaluations
        By policy, a result for each held-out set; empty before the evaluation.
    logs
        By stage, the entries of its training log.
    tables
        By stage, the table of its completions, where one was kept.
    audit
        The stages' audits or the reason why there is none; empty where none was asked for.
    """

    folder: Path
    ledger: Ledger
    record: Mapping[str, Any] = field(default_factory=dict)
    evaluations: dict[str, list[EvaluationResult]] = field(default_factory=dict)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tables: dict[str, LoggedStage] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self) -> Recipe:
        """What was asked for.

        Raises
        ------
        ConfigError
            If it is of another version of this program.
        """
        return from_mapping(Recipe, self.ledger.recipe, f"recipe in {self.folder / LEDGER}")


def read_run(folder: str | Path) -> RunFacts:
    """Read a run's folder.

    Raises
    ------
    InputError
        If it is not a run's, or a file in it is damaged.
    """
    folder = Path(folder)
    if not (folder / LEDGER).is_file():
        raise InputError(folder, "is not the folder of a run", "give the folder that vrft-aug train wrote")
    ledger = _ledger(folder)
    places = {name: folder / "stages" / part.name for name in ledger.stages for part in _folders(folder, name)}
    logs = {name: place / "log.json" for name, place in places.items()}
    return RunFacts(
        folder=folder,
        ledger=ledger,
        record=_json(folder / RUN_FILE) if (folder / RUN_FILE).is_file() else {},
        evaluations=read_evaluation(folder) if (folder / EVALUATION).is_file() else {},
        logs={name: _json(path) for name, path in logs.items() if path.is_file()},
        tables={name: read_table(p / FOLDER, name) for name, p in places.items() if (p / FOLDER / FACTS).is_file()},
        audit=_json(folder / AUDIT) if (folder / AUDIT).is_file() else {},
    )


def _folders(folder: Path, name: str) -> list[Path]:
    """The folder of a stage, whose name has the stage's number in front."""
    return [p for p in sorted((folder / "stages").glob(f"*-{name}")) if p.name.split("-", 1)[1] == name]


def _ledger(folder: Path) -> Ledger:
    saved = _json(folder / LEDGER)
    try:
        stages = {name: from_mapping(StageRecord, entry) for name, entry in saved["stages"].items()}
        return Ledger(folder=folder, recipe=saved["recipe"], data=saved["data"], stages=stages, state=saved["state"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(folder / LEDGER, "cannot be read", "give the folder that vrft-aug train wrote") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, "cannot be read", "give the folder of a run as training left it") from error
