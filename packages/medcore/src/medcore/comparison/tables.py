"""Tables of samples: rows of CSV or JSON lines, paired by identifier, with subjects."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcore.datasets.graded import GRADE_COLUMNS, IMAGE_COLUMNS, SUBJECT_COLUMNS
from medcore.datasets.tables import MAX_BYTES, Table, read_table
from medcore.errors import InputError
from medcore.io.json_object import parse_object
from medcore.io.limits import existing_file

ID_COLUMNS = ("sample_id", *IMAGE_COLUMNS)
VALUE_COLUMNS = (*GRADE_COLUMNS, "prediction", "predicted", "estimate", "class")
MEASUREMENT_COLUMNS = ("value", "measurement", "mean", "median", "t1", "t2", "t2star", "adc", *VALUE_COLUMNS)
PROBABILITY_COLUMNS = ("probability", "prob", "p", "confidence", "y_score")
_PREFIXES = ("", "p_", "prob_", "probability_", "score_")
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_WHOLE = re.compile(r"-?[0-9]{1,9}")
EACH = "each"
"""Given instead of a table of subjects: every sample is a subject of its own."""


def is_table(path: Path) -> bool:
    """Whether `path` is taken as a table of samples."""
    return path.suffix.lower() in _SUFFIXES


def read_rows(path: Path) -> Table:
    """Read a CSV file, or a file with one JSON object a line, as a table of text; null and missing keys are empty cells.

    Raises
    ------
    InputError
        If it is missing, too large, damaged, or holds nested values; the line is named.
    """
    if path.suffix.lower() not in {".jsonl", ".ndjson"}:
        return read_table(path)
    path = existing_file(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(path, f"has {size} bytes, more than {MAX_BYTES}", "give a smaller table")
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if line.strip():
            row = parse_object(line, f"{path}, line {number}")
            rows.append({key: _cell(value, path, number, key) for key, value in row.items()})
            lines.append(number)
    if not rows:
        raise InputError(path, "has no rows", "give one JSON object a line")
    columns = tuple(dict.fromkeys(key for row in rows for key in row))
    cells = tuple(tuple(row.get(c, "") for c in columns) for row in rows)
    return Table(path=path, columns=columns, rows=cells, lines=tuple(lines))


def _cell(value: Any, path: Path, line: int, key: str) -> str:
    if isinstance(value, list | dict):
        raise InputError(path, f"has a list or an object as {key!r} in line {line}", "give plain values")
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value).strip()


def score_columns(reference: Table, estimate: Table) -> dict[str, str] | None:
    """The columns of `estimate` that hold scores of classes, by class; None if it holds none.

    One column called ``probability`` (or ``p``, ``confidence``, ...) is the positive class's, by the name ``""``. Otherwise there is a
    column for each class of the reference, called like the class or ``p_class``. A reference with such columns of 0 and 1 instead of a
    column of labels holds findings that may occur together.
    """
    single = estimate.find(PROBABILITY_COLUMNS)
    if single is not None and estimate.find(VALUE_COLUMNS) is None:
        return {"": single}
    labels = reference.find(VALUE_COLUMNS)
    if labels is not None:
        names = list(dict.fromkeys(v for v in reference.column(labels) if v))
        found = {name: _named(estimate, name) for name in names}
        if len(found) > 1 and all(found.values()):
            return {name: column for name, column in found.items() if column}
        return None
    shared = {name: _named(estimate, name) for name in reference.columns if name != reference.find(ID_COLUMNS)}
    findings = {n: c for n, c in shared.items() if c and set(reference.column(n)) <= {"0", "1"}}
    return findings or None


def all_score_columns(reference: Table, estimate: Table, classes: dict[str, str]) -> dict[str, str]:
    """`classes` and those that the estimate scores but the reference has no sample of, known by a common prefix of their columns."""
    prefixes = {column[: len(column) - len(name)] for name, column in classes.items()}
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    if not prefix or reference.find(VALUE_COLUMNS) is None:
        return classes
    more = {c.removeprefix(prefix): c for c in estimate.columns if c.startswith(prefix)}
    return {**classes, **{name: column for name, column in more.items() if name not in classes}}


def _named(table: Table, name: str) -> str | None:
    return next((p + name for p in _PREFIXES if p + name in table.columns), None)


def numbers_of(table: Table, name: str, values: Sequence[str]) -> list[float]:
    """Cells of a column as finite numbers.

    Raises
    ------
    InputError
        For the first that is none, with its place.
    """
    found = []
    for i, cell in enumerate(values):
        if not _NUMBER.fullmatch(cell) or not math.isfinite(float(cell)):
            raise InputError(table.path, f"has {name} = {cell!r} in row {i + 1}, not a finite number", "correct the table")
        found.append(float(cell))
    return found


def holds_measurements(table: Table, column: str | None) -> bool:
    """Whether a column of values holds numbers only, and not only whole ones."""
    name = column or table.find(MEASUREMENT_COLUMNS)
    cells = table.column(name) if name in table.columns else ()
    return bool(cells) and all(map(_NUMBER.fullmatch, cells)) and not all(map(_WHOLE.fullmatch, cells))


def value_column(table: Table, column: str | None) -> str:
    """Name of the column of labels.

    Raises
    ------
    InputError
        If none is given and none is known.
    """
    name = column or table.find(VALUE_COLUMNS)
    if name is None:
        raise InputError(
            table.path, f"has no column that is known to hold labels, it has {', '.join(table.columns)}", "name one with --column"
        )
    return name


def pairing(ref: Table, est: Table, id_column: str | None) -> list[int]:
    """For each row of `ref` the row of `est` with its identifier; without identifiers in both, rows are paired in order.

    Raises
    ------
    InputError
        If an identifier occurs twice or in one table only.
    """
    own = id_column or ref.find(ID_COLUMNS)
    theirs = id_column or est.find(ID_COLUMNS)
    if own is None or theirs is None:
        if len(ref.rows) != len(est.rows):
            raise InputError(
                est.path,
                f"has {len(est.rows)} rows, {ref.path} has {len(ref.rows)}",
                "name a column of identifiers with --id-column",
            )
        return list(range(len(ref.rows)))
    keys = [unique(table, name) for table, name in ((ref, own), (est, theirs))]
    place = {key: i for i, key in enumerate(keys[1])}
    for table, ids, other in ((est, keys[0], place), (ref, keys[1], set(keys[0]))):
        missing = next((key for key in ids if key not in other), None)
        if missing is not None:
            raise InputError(table.path, f"lacks {missing!r}, which the other table has", "give both tables the same samples")
    return [place[key] for key in keys[0]]


def unique(table: Table, name: str) -> tuple[str, ...]:
    """A column of identifiers.

    Raises
    ------
    InputError
        If one occurs twice.
    """
    ids = table.column(name)
    counted: set[str] = set()
    for line, key in zip(table.lines, ids, strict=True):
        if key in counted:
            raise InputError(table.path, f"has {key!r} twice, again in line {line}", "give every sample one row")
        counted.add(key)
    return ids


def subjects_of(table: Table, column: str | None, subjects: str | None, id_column: str | None) -> tuple[str, ...] | None:
    """The subject of each row: of a column of the table, or of a table of subjects; None if they are not known.

    Raises
    ------
    InputError
        If a sample has no subject.
    """
    if subjects is None:
        name = column or table.find(SUBJECT_COLUMNS)
        return table.column(name) if name else None
    name = id_column or table.find(ID_COLUMNS)
    if name is None and subjects != EACH:
        raise InputError(table.path, "has no column of identifiers", "name one with --id-column")
    ids = table.column(name) if name else tuple(str(i) for i in range(len(table.rows)))
    return look_up_subjects(subjects, ids)


def look_up_subjects(subjects: str, samples: Sequence[str]) -> tuple[str, ...]:
    """The subject of each sample, from a CSV file with a column of samples and one of subjects; or ``each`` its own.

    Raises
    ------
    InputError
        If the file lacks a column or a sample, or names one twice.
    """
    if subjects == EACH:
        return tuple(samples)
    table = read_rows(Path(subjects))
    names = table.find(ID_COLUMNS), table.find(SUBJECT_COLUMNS)
    if names[0] is None or names[1] is None:
        wanted = "columns such as sample_id and subject"
        raise InputError(table.path, f"has the columns {', '.join(table.columns)}", f"give it {wanted}")
    found = dict(zip(unique(table, names[0]), table.column(names[1]), strict=True))
    missing = next((s for s in samples if not found.get(s)), None)
    if missing is not None:
        raise InputError(table.path, f"has no subject for {missing!r}", "add a row")
    return tuple(found[s] for s in samples)
