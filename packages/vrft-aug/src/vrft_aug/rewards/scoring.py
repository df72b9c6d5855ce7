"""Completions in a file, judged."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcore.atomic import write_text
from medcore.errors import ConfigError, InputError
from vrft_aug.completions import ROWS, json_lines
from vrft_aug.rewards.building import build_reward, parse_spec
from vrft_aug.rewards.settings import RewardSettings

_PARQUET = b"PAR1"


def score_file(path: str | Path, specs: str | Sequence[str]) -> dict[str, Any]:
    """Judge every completion of a file.

    Parameters
    ----------
    path
        JSON lines, one object a line: ``completion`` (text, or trl's messages), perhaps ``prompt``, and the columns of
        :mod:`vrft_aug.data` that the rewards need. Or trl's parquet table of completions, or a run's ``completions.jsonl``, whose columns
        are read from the ``rows.jsonl`` beside it.
    specs
        One or more times ``NAME[:key=value,...]``.

    Returns
    -------
    dict
        ``rewards``, a list with the facts of each: ``reward`` (its name), ``options``, ``scores`` (a number, or None where the reward does
        not apply), their ``mean``, how many were ``judged`` and ``not_judged``, and ``failures``. For one reward the same facts stand
        beside it. ``lines`` numbers the completions (lines of JSON, rows of parquet, from 1), ``samples`` holds their ``sample_id`` or
        None.

    Raises
    ------
    InputError
        If the file cannot be read or a line is not such an object; the line is named, its content is not shown.
    ConfigError
        If a spec names no reward, or two are the same.
    """
    wanted = parse_specs([specs] if isinstance(specs, str) else list(specs))
    rewards = [build_reward(settings) for settings in wanted]
    numbers, rows = read_completions(Path(path))
    names = sorted({name for row in rows for name in row} - {"completion", "prompt"})
    columns = {name: [row.get(name) for row in rows] for name in names}
    prompts, completions = [row.get("prompt", "") for row in rows], [row["completion"] for row in rows]
    found = []
    for settings, reward in zip(wanted, rewards, strict=True):
        scores = reward(prompts, completions, **columns)
        found.append(
            {
                "reward": settings.shown,
                "options": settings.options,
                "scores": scores,
                **means(scores),
                "failures": dict(reward.failures),
            }
        )
    samples = [row.get("sample_id") for row in rows]
    facts = {"file": str(path), "lines": numbers, "samples": samples, "columns": names, "rewards": found}
    return facts | found[0] if len(found) == 1 else facts


def means(scores: Sequence[float | None]) -> dict[str, Any]:
    """``mean`` (None where nothing was judged), ``judged`` and ``not_judged``."""
    judged = [value for value in scores if value is not None]
    mean = sum(judged) / len(judged) if judged else None
    return {"mean": mean, "judged": len(judged), "not_judged": len(scores) - len(judged)}


def write_scores(path: str | Path, facts: dict[str, Any], *, force: bool = True) -> None:
    """Write what :func:`score_file` found as CSV, atomically: ``line``, ``sample_id``, a column for each reward, empty if not judged."""
    names = [found["reward"] for found in facts["rewards"]]
    scores = zip(*(found["scores"] for found in facts["rewards"]), strict=True)
    rows = [[n, s, *v] for n, s, v in zip(facts["lines"], facts["samples"], scores, strict=True)]
    write_text(path, as_csv(["line", "sample_id", *names], rows), force=force)


def as_csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as CSV text; None becomes an empty cell, numbers keep all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def parse_specs(specs: Sequence[str]) -> list[RewardSettings]:
    """Settings of several rewards, with a name of its own each: a reward that is used twice is called by its whole specification.

    Raises
    ------
    ConfigError
        If a specification cannot be read or is given twice.
    """
    settings = [parse_spec(spec) for spec in specs]
    names = [s.name for s in settings]
    twice = next((s for s in specs if list(specs).count(s) > 1), None)
    if twice is not None:
        raise ConfigError("--reward", f"{twice!r} is given twice", "give each reward once")
    return [
        RewardSettings(name=s.name, options=s.options, label=spec if names.count(s.name) > 1 else None)
        for s, spec in zip(settings, specs, strict=True)
    ]


def read_completions(path: Path) -> tuple[list[int], list[dict[str, Any]]]:
    """The completions of a file, see :func:`score_file`: their numbers, and a dictionary of the columns of each."""
    numbered = _parquet(path) if _is_parquet(path) else list(json_lines(path))
    where = "row" if _is_parquet(path) else "line"
    for number, row in numbered:
        _check(row, f"{path} {where} {number}")
    facts = path.parent / ROWS
    if facts.is_file() and path.name != ROWS and any("row" in row for _, row in numbered):
        numbered = _joined(numbered, facts, path)
    return [number for number, _ in numbered], [row for _, row in numbered]


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_PARQUET)) == _PARQUET
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "give a file of JSON lines or a parquet table") from error


def _parquet(path: Path) -> list[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(path, f"is not a parquet table ({type(error).__name__})", "use another copy") from error
    # In tables of pandas, NaN stands for what is not known.
    return [
        (i, {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})
        for i, row in enumerate(rows, start=1)
    ]


def _check(row: dict[str, Any], what: str) -> None:
    if "completion" not in row:
        raise InputError(what, "is not an object with the key 'completion'", "add it")
    if not isinstance(row["completion"], (str, list)):
        problem = f"has a completion that is {type(row['completion']).__name__}, not text or a list of messages"
        raise InputError(what, problem, "write the text of the completion")


def _joined(numbered: list[tuple[int, dict[str, Any]]], rows: Path, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Completions of a run with the columns of their rows."""
    known = [row for _, row in json_lines(rows)]
    found = []
    for number, entry in numbered:
        place = entry.get("row")
        if not isinstance(place, int) or not 0 <= place < len(known):
            raise InputError(f"{path} line {number}", f"has no row in {rows.name}", "use the table as training wrote it")
        own = {key: entry[key] for key in ("completion", "completion_ids", "step") if key in entry}
        found.append((number, {**known[place], **own}))
    return found
