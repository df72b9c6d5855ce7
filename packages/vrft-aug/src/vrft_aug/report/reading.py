"""What a run's folder holds, read without a model: all that its page is made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcore.config import from_mapping
from medcore.errors import InputError
from medcore.provenance import RUN_FILE
from vrft_aug.completions import FACTS, FOLDER, ROWS, TABLE, LoggedStage, TableFacts
from vrft_aug.evaluation import EVALUATION, EvaluationResult, read_evaluation
from vrft_aug.ledger import LEDGER, Ledger, StageRecord
from vrft_aug.recipe import Recipe

AUDIT = "audit.json"
_BLOCK = 1 << 20  # bytes that are read from the end of a table at first


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
        By stage, the first and the last round of its completions, where a table was kept.
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
        tables={name: edge_rounds(p / FOLDER, name) for name, p in places.items() if (p / FOLDER / FACTS).is_file()},
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


def edge_rounds(folder: Path, name: str) -> LoggedStage:
    """The first and the last round in a table of completions, which may be too large to be read as a whole, or being written.

    Parameters
    ----------
    folder
        Folder of the table, see :mod:`vrft_aug.completions`.
    name
        The stage.

    Raises
    ------
    InputError
        If the table is damaged; a torn last line is passed over.
    """
    try:
        facts = from_mapping(TableFacts, json.loads((folder / FACTS).read_text(encoding="utf-8")), FACTS)
        rows = list(_entries((folder / ROWS).read_bytes().split(b"\n")))
        first, last = _first(folder / TABLE), _last(folder / TABLE)
        if first and last and first[0]["round"] == last[0]["round"]:
            last = []
        whole = [part[: len(part) - len(part) % facts.generations] for part in (first, last)]
        kept = [entry for part in whole for entry in part if entry["row"] < len(rows)]
        return LoggedStage(name=name, facts=facts, rows=rows, entries=kept)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(folder / TABLE, "cannot be read", "use the table as training wrote it") from error


def _first(path: Path) -> list[dict[str, Any]]:
    """The entries of the first round."""
    found: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for entry in _entries(file):
            if found and entry["round"] != found[0]["round"]:
                break
            found.append(entry)
    return found


def _last(path: Path) -> list[dict[str, Any]]:
    """The entries of the last round, from the end of the file."""
    size, length = path.stat().st_size, _BLOCK
    with path.open("rb") as file:
        while True:
            start = max(0, size - length)
            file.seek(start)
            # The first line of a block that begins within the file is a part of one.
            entries = list(_entries(file.read(size - start).split(b"\n")[min(start, 1) :]))
            found = [entry for entry in entries if entry["round"] == entries[-1]["round"]]
            if start == 0 or len(found) < len(entries):
                return found
            length *= 4


def _entries(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Objects of lines, up to the first one that is torn."""
    for line in lines:
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError:
                return


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, "cannot be read", "give the folder of a run as training left it") from error
