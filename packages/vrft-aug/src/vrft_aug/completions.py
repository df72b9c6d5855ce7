"""The table of all completions of a stage, with everything needed to judge them again without a model.

::

    completions/facts.json          rewards, weights and how trl made advantages of them
    completions/rows.jsonl          every row that was asked about, once, without its image
    completions/completions.jsonl   a line for each completion, completions of one prompt in a row

A line of ``completions.jsonl`` holds ``step`` and ``round`` of generation, ``group`` (the prompt's number in the round), ``row`` (the line
of ``rows.jsonl``, from 0), ``sample_id``, ``completion`` and ``completion_ids`` as rewards got them, ``rewards`` (raw values in the
trainer's single precision, before hooks; null where a reward did not judge) and ``advantage`` (trl's, before hooks).

Lines are on the disk before the step that learns from them is done, so that every checkpoint finds those of its steps; a resumed stage
drops the lines of steps that it does again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from medcore.atomic import sweep, write_json
from medcore.config import from_mapping, to_mapping
from medcore.errors import InputError, output_error
from vrft_aug.columns import IMAGES

FOLDER = "completions"
TABLE, ROWS, FACTS = "completions.jsonl", "rows.jsonl", "facts.json"
MAX_LINE = 10_000_000
"""Longest line that is read, in bytes."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """How a stage's completions were judged."""

    rewards: tuple[str, ...]
    """Names of the rewards in logs."""
    weights: tuple[float, ...]
    """Their weights."""
    generations: int
    """Completions of one prompt."""
    scale_rewards: str
    """trl's ``scale_rewards``: group, batch or none."""
    aggregation: str
    """trl's ``multi_objective_aggregation``."""
    hooks: tuple[str, ...] = ()
    """Classes of the refinement hooks, which may have changed rewards and advantages after they were logged."""
    max_steps: int = 0
    """Optimiser steps of the stage."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """Completions that were generated together, over all processes.

    Attributes
    ----------
    step, max_steps
        Optimiser steps done, and of the stage.
    rows
        The row of each completion; images are left out.
    completions, completion_ids
        As rewards get them: trl's messages, and tokens.
    rewards
        (completion, reward) raw values, NaN where a reward did not judge.
    advantages
        (completion,) trl's advantages.
    """

    step: int
    max_steps: int
    rows: Sequence[Mapping[str, Any]]
    completions: Sequence[Any]
    completion_ids: Sequence[Sequence[int]]
    rewards: Sequence[Sequence[float]]
    advantages: Sequence[float]


class CompletionLog:
    """Writes the table of one stage; one process of a training does so.

    Parameters
    ----------
    folder
        Folder of the table; an older table in it is continued.
    facts
        What is the same for all completions; ``max_steps`` comes with the first round.
    limit
        Most completions that are kept; the first round that would pass it ends the table.
    """

    def __init__(self, folder: Path, facts: TableFacts, *, limit: int) -> None:
        self.folder, self.facts, self.limit = folder, facts, limit
        self._begun = self._full = False
        self._lines = self._round = 0
        self._rows: dict[bytes, int] = {}

    def add(self, found: Round) -> None:
        """Append a round; the first one of a resumed stage replaces those of the same and later steps.

        Raises
        ------
        OutputError, DiskFullError
            If the table cannot be written.
        """
        try:
            if not self._begun:
                self._begin(found)
            if self._full:
                return
            self._full = self._lines + len(found.completions) > self.limit
            if self._full:
                _LOG.warning("%s: full with %d completions, the others are not kept", self.folder / TABLE, self._lines)
            else:
                self._append(found)
        except OSError as error:
            raise output_error(self.folder / TABLE, error) from error

    def _begin(self, found: Round) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        for line in _cut(self.folder / ROWS, lambda _: True):
            self._rows[_key(line)] = len(self._rows)
        known = len(self._rows)
        for line in _cut(self.folder / TABLE, lambda entry: bool(entry["step"] < found.step and entry["row"] < known)):
            self._lines, self._round = self._lines + 1, json.loads(line)["round"] + 1
        write_json(self.folder / FACTS, {**to_mapping(self.facts), "max_steps": found.max_steps})
        self._begun = True

    def _append(self, found: Round) -> None:
        new, lines = [], []
        for i, row in enumerate(found.rows):
            text = json.dumps({k: v for k, v in row.items() if k not in IMAGES}, sort_keys=True, default=str).encode()
            key = _key(text)
            if key not in self._rows:
                self._rows[key] = len(self._rows)
                new.append(text)
            entry = {
                "step": found.step,
                "round": self._round,
                "group": i // self.facts.generations,
                "row": self._rows[key],
                "sample_id": row.get("sample_id"),
                "completion": found.completions[i],
                "completion_ids": list(found.completion_ids[i]),
                "rewards": dict(zip(self.facts.rewards, map(_plain, found.rewards[i]), strict=True)),
                "advantage": _plain(found.advantages[i]),
            }
            lines.append(json.dumps(entry, default=str).encode())
        _extend(self.folder / ROWS, new)
        _extend(self.folder / TABLE, lines)
        self._lines, self._round = self._lines + len(lines), self._round + 1


def _key(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _extend(path: Path, lines: Sequence[bytes]) -> None:
    """Append lines and wait until they are on the disk."""
    with path.open("ab") as file:
        file.writelines(line + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def _cut(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[bytes]:
    """Go through a file of JSON lines up to the first one that is torn or not wanted, and cut the file there."""
    if not path.is_file():
        return
    kept = 0
    with path.open("rb") as file:
        for line in file:
            try:
                good = line.endswith(b"\n") and wanted(json.loads(line))
            except (ValueError, KeyError, TypeError):
                good = False
            if not good:
                break
            kept += len(line)
            yield line[:-1]
    if kept < path.stat().st_size:
        os.truncate(path, kept)


@dataclass(frozen=True, kw_only=True)
class LoggedStage:
    """The table of one stage, read.

    Attributes
    ----------
    name
        The stage.
    facts
        How its completions were judged.
    rows
        Columns of the rows, by their number.
    entries
        Lines of ``completions.jsonl``, rounds in order.
    """

    name: str
    facts: TableFacts
    rows: list[dict[str, Any]]
    entries: list[dict[str, Any]]

    def rounds(self) -> list[range]:
        """Which entries were generated together."""
        starts = [i for i, e in enumerate(self.entries) if i == 0 or e["round"] != self.entries[i - 1]["round"]]
        return [range(a, b) for a, b in zip(starts, [*starts[1:], len(self.entries)], strict=True)]


def read_table(folder: Path, name: str) -> LoggedStage:
    """Read the table in `folder`, which belongs to stage `name`.

    Raises
    ------
    InputError
        If a file is missing or damaged; the line is named, its content is not shown.
    """
    try:
        facts = from_mapping(TableFacts, json.loads((folder / FACTS).read_text(encoding="utf-8")), FACTS)
    except (OSError, ValueError) as error:
        raise InputError(folder / FACTS, "cannot be read", "train with log_completions to have a table") from error
    rows = [row for _, row in json_lines(folder / ROWS)]
    entries = []
    for number, entry in json_lines(folder / TABLE):
        _check(entry, facts, len(rows), f"{folder / TABLE} line {number}")
        entries.append(entry)
    stage = LoggedStage(name=name, facts=facts, rows=rows, entries=entries)
    for part in stage.rounds():
        if len(part) % facts.generations or entries[part[0]]["group"] != 0:
            problem = f"has {len(part)} completions in round {entries[part[0]]['round']}, not whole groups of {facts.generations}"
            raise InputError(folder / TABLE, problem, "use the table as training wrote it")
    return stage


def _check(entry: dict[str, Any], facts: TableFacts, rows: int, what: str) -> None:
    kinds: dict[str, Any] = {"step": int, "round": int, "group": int, "row": int, "completion_ids": list, "rewards": dict}
    wrong = next((k for k, kind in kinds.items() if not isinstance(entry.get(k), kind)), None)
    if wrong is not None or "completion" not in entry or "advantage" not in entry:
        raise InputError(what, f"has no usable {wrong or 'completion or advantage'}", "use the table as training wrote it")
    if not 0 <= entry["row"] < rows or list(entry["rewards"]) != list(facts.rewards):
        raise InputError(what, "does not fit the other files of the table", "use the table as training wrote it")


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Go through a file with one JSON object a line; empty lines are passed over.

    Yields
    ------
    tuple
        Number of the line, from 1, and the object.

    Raises
    ------
    InputError
        If the file cannot be read or a line is not such an object (NaN and infinity are not JSON); the line is named, its content is
        not shown.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), start=1):
                if line.strip():
                    yield number, _object(line, f"{path} line {number}")
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "give a file of JSON lines") from error


def _object(line: bytes, what: str) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise InputError(what, f"is longer than {MAX_LINE} bytes", "write one object a line")

    def refuse(name: str) -> NoReturn:
        raise InputError(what, f"holds {name}, which is not JSON", "write null for what is not known")

    try:
        found = json.loads(line, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(what, "is not JSON", "write one object a line") from error
    if not isinstance(found, dict):
        raise InputError(what, "is not an object", "write one object a line")
    return found
