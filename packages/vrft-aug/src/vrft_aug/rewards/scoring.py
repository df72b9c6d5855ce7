"""Completions in a file, judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from vrft_aug.rewards.building import build_reward, parse_spec

MAX_LINE = 10_000_000


def score_file(path: str | Path, spec: str) -> dict[str, Any]:
    """Judge every completion of a file of JSON lines.

    Parameters
    ----------
    path
        One JSON object a line: ``completion`` (text, or trl's messages), perhaps ``prompt``, and the columns of
        :mod:`vrft_aug.data` that the reward needs.
    spec
        ``NAME[:key=value,...]``.

    Returns
    -------
    dict
        ``scores`` (a number, or None where the reward does not apply), their ``mean``, how many were judged, and ``failures``.

    Raises
    ------
    InputError
        If a line is not such an object; the line is named, its content is not shown.
    ConfigError
        If `spec` names no reward.
    """
    settings = parse_spec(spec)
    reward = build_reward(settings)
    rows = list(_rows(Path(path)))
    names = sorted({name for row in rows for name in row} - {"completion", "prompt"})
    columns = {name: [row.get(name) for row in rows] for name in names}
    scores = reward([row.get("prompt", "") for row in rows], [row["completion"] for row in rows], **columns)
    judged = [value for value in scores if value is not None]
    return {
        "reward": reward.name,
        "options": settings.options,
        "scores": scores,
        "mean": sum(judged) / len(judged) if judged else None,
        "judged": len(judged),
        "not_judged": len(scores) - len(judged),
        "failures": dict(reward.failures),
    }


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), start=1):
                if line.strip():
                    yield _row(line, f"{path} line {number}")
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "give a file of JSON lines") from error


def _row(line: bytes, what: str) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise InputError(what, f"is longer than {MAX_LINE} bytes", "write one object a line")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(what, "is not JSON", "write one object a line") from error
    if not isinstance(row, dict) or "completion" not in row:
        raise InputError(what, "is not an object with the key 'completion'", "add it")
    return row
