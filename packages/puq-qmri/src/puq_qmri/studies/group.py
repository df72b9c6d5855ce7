"""All subjects of a study beside each other: what became of each, its medians, and which of them stand out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medcore.errors import InputError
from medcore.io.sidecar import read_json
from medcore.provenance import RUN_FILE
from puq_qmri.studies.plan import Unit
from puq_qmri.studies.status import Status, read_all
from puq_qmri.studies.supervision import is_intact

OUTLIER = 3.5
"""Size of the robust z-score above which a subject stands out (Iglewicz and Hoaglin, How to Detect and Handle Outliers, ASQC 1993)."""
FEWEST = 5
"""Subjects below which nothing stands out: the spread of fewer is not known."""
_TO_SIGMA = 0.6745
"""Median absolute deviation of a normal distribution with a standard deviation of 1."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """One map of one subject over its voxels with signal, in SI units.

    Attributes
    ----------
    median, low, high
        Median and quartiles.
    unit
        ``s``, ``m^2/s``, ...
    z
        Robust z-score of the median among all subjects; None where it is not defined.
    """

    median: float
    low: float
    high: float
    unit: str
    z: float | None = None

    @property
    def outlying(self) -> bool:
        """Whether it stands out."""
        return self.z is not None and abs(self.z) > OUTLIER


@dataclass(frozen=True, kw_only=True)
class Row:
    """One subject or session.

    Attributes
    ----------
    name, subject, session
        As in the names of files.
    state
        That of its status file, or ``missing``: never worked on.
    reason
        Of a failure.
    seconds
        Wall time.
    models
        Signal model by collection (``MESE``).
    fitted
        Share of the voxels with signal that were fitted, by collection.
    maps
        By collection and map, ``MESE t2``.
    """

    name: str
    subject: str
    session: str | None
    state: str
    reason: str | None = None
    seconds: float | None = None
    models: dict[str, str] = field(default_factory=dict)
    fitted: dict[str, float] = field(default_factory=dict)
    maps: dict[str, Spread] = field(default_factory=dict)


def robust_z(values: Sequence[float]) -> list[float | None]:
    """Robust z-scores, ``0.6745 (x - median) / MAD``; None for all where there are too few or half of them are equal.

    Source: Iglewicz and Hoaglin, How to Detect and Handle Outliers, ASQC 1993.
    """
    found = np.asarray(values, np.float64)
    deviation = float(np.median(np.abs(found - np.median(found)))) if found.size else 0.0
    if found.size < FEWEST or deviation == 0:
        return [None] * found.size
    return [float(z) for z in _TO_SIGMA * (found - np.median(found)) / deviation]


def collect_rows(output: Path, units: Sequence[Unit], *, only: bool = False) -> list[Row]:
    """A row for every subject of the data set and for every status file.

    Parameters
    ----------
    output
        What ``participant`` wrote.
    units
        Of the data set.
    only
        Whether to leave out status files of other subjects.

    Raises
    ------
    InputError
        If there is no status file.
    """
    statuses = read_all(output)
    if not statuses:
        raise InputError(output, "holds no status files", "run puq-qmri bids ... participant first")
    planned = {unit.name: unit for unit in units}
    rows = [_row(output, statuses.get(name), planned.get(name)) for name in sorted(planned if only else {*statuses, *planned})]
    return _with_scores(rows)


def _row(output: Path, status: Status | None, unit: Unit | None) -> Row:
    if status is None:
        assert unit is not None  # noqa: S101 - a name comes from one of the two
        return Row(name=unit.name, subject=unit.subject, session=unit.session, state="missing", reason=unit.problem)
    known: dict[str, Any] = {"name": status.name, "subject": status.subject, "session": status.session, "seconds": status.seconds}
    if status.state != "done":
        return Row(**known, state=status.state, reason=status.reason)
    folder = output / Unit(root=output, subject=status.subject, session=status.session).home
    if not is_intact(folder):
        return Row(**known, state="failed", reason=f"{folder.relative_to(output)} is not as it was written; run participant again")
    models: dict[str, str] = {}
    fitted: dict[str, float] = {}
    maps: dict[str, Spread] = {}
    for facts in read_json(folder / RUN_FILE)["collections"]:
        label, region = facts["label"], facts["region"]
        models[label] = facts["model"]
        if region["voxels"]:
            fitted[label] = region["fitted"] / region["voxels"]
        maps |= {f"{label} {name}": spread for name, values in facts["maps"].items() if (spread := _spread(values)) is not None}
    return Row(**known, state="done", models=models, fitted=fitted, maps=maps)


def _spread(values: Mapping[str, Any]) -> Spread | None:
    """None for maps in arbitrary units, which say nothing between subjects, and for those without a voxel."""
    if not values["voxels"] or values["unit"] == "a.u.":
        return None
    low, high = values["quartiles"]
    return Spread(median=values["median"], low=low, high=high, unit=values["unit"])


def _with_scores(rows: Sequence[Row]) -> list[Row]:
    scored = [dict(row.maps) for row in rows]
    for key in map_keys(rows):
        there = [i for i, row in enumerate(rows) if key in row.maps]
        for i, z in zip(there, robust_z([rows[i].maps[key].median for i in there]), strict=True):
            scored[i][key] = dataclasses.replace(scored[i][key], z=z)
    return [dataclasses.replace(row, maps=maps) for row, maps in zip(rows, scored, strict=True)]


def map_keys(rows: Sequence[Row]) -> list[str]:
    """Collections and maps that occur, in the order of their first occurrence."""
    return list(dict.fromkeys(key for row in rows for key in row.maps))


def fitted_keys(rows: Sequence[Row]) -> list[str]:
    """Collections that occur."""
    return list(dict.fromkeys(key for row in rows for key in row.fitted))


def group_facts(rows: Sequence[Row]) -> dict[str, Any]:
    """JSON-ready: numbers of subjects by state, every map over the subjects, outliers, and all rows; SI units."""
    states = [row.state for row in rows]
    maps = {}
    for key in map_keys(rows):
        found = [row.maps[key] for row in rows if key in row.maps]
        low, middle, high = np.percentile([spread.median for spread in found], (25, 50, 75)).tolist()
        maps[key] = {"subjects": len(found), "unit": found[0].unit, "median": middle, "quartiles": [low, high]}
    outliers = {row.name: out for row in rows if (out := [key for key, spread in row.maps.items() if spread.outlying])}
    return {
        "states": {state: states.count(state) for state in dict.fromkeys(states)},
        "maps": maps,
        "outliers": outliers,
        "participants": [_facts(row) for row in rows],
    }


def _facts(row: Row) -> dict[str, Any]:
    spreads = {
        key: {"median": s.median, "quartiles": [s.low, s.high], "unit": s.unit, "robust_z": s.z} for key, s in row.maps.items()
    }
    return {
        "participant_id": f"sub-{row.subject}",
        "session_id": None if row.session is None else f"ses-{row.session}",
        "state": row.state,
        "reason": row.reason,
        "seconds": row.seconds,
        "models": row.models,
        "fitted": row.fitted,
        "maps": spreads,
    }


def group_table(rows: Sequence[Row]) -> list[list[str]]:
    """Header and rows of ``group.tsv``: SI units, ``n/a`` where there is no value, as BIDS has it."""
    keys, shares = map_keys(rows), fitted_keys(rows)
    header = ["participant_id", "session_id", "state", "seconds"]
    header += [f"{_word(key)}_fitted" for key in shares]
    header += [f"{_word(key)}_{part}" for key in keys for part in ("median", "q25", "q75", "z")]
    table = [[*header, "outlier", "reason"]]
    for row in rows:
        cells: list[Any] = [f"sub-{row.subject}", None if row.session is None else f"ses-{row.session}", row.state, row.seconds]
        cells += [row.fitted.get(key) for key in shares]
        for key in keys:
            s = row.maps.get(key)
            cells += [None] * 4 if s is None else [s.median, s.low, s.high, s.z]
        cells += [", ".join(_word(k) for k, s in row.maps.items() if s.outlying) or None, row.reason]
        table.append([_cell(cell) for cell in cells])
    return table


def _word(key: str) -> str:
    return key.replace(" ", "_")


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
