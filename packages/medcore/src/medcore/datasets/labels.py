"""Labels of a table: one class, several classes, or grades, by column."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

from medcore.datasets.base import Annotation, Task, class_names
from medcore.datasets.tables import Table
from medcore.datasets.tolerance import SampleError, spare
from medcore.errors import ConfigError, InputError

LABEL_COLUMNS = ("label", "labels", "class", "category", "finding", "findings", "finding_labels", "diagnosis", "dx", "target")
SPLIT_COLUMNS = ("split", "subset", "partition")
_NAMED = {"0": False, "1": True, "0.0": False, "1.0": True}
_HINT = "correct the table"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a table says of its rows.

    Attributes
    ----------
    task, classes, ordered
        As in :class:`medcore.datasets.DatasetCard`.
    label, labels, grade
        Of each row, as in :class:`medcore.datasets.Sample`.
    refused
        Rows whose labels cannot be used; empty unless faults are collected.
    """

    task: Task
    classes: tuple[str, ...]
    ordered: bool
    label: tuple[str | None, ...]
    labels: tuple[tuple[str, ...] | None, ...]
    grade: tuple[int | None, ...]
    refused: frozenset[int] = field(default=frozenset())


def read_labels(
    table: Table,
    *,
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    separator: str | None = None,
    no_label: str | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    others: Sequence[str | None] = (),
) -> Labels:
    """Labels of every row of a table.

    Parameters
    ----------
    table
        The table.
    label_column
        Column with one class name a row. By default the first known name, whatever its case: ``label``, ``class``, ``category``,
        ``finding labels``, ``diagnosis``, ...
    label_columns
        Instead: columns named like classes that hold 0 or 1. By default, where no column of class names is known, all columns
        that hold nothing but 0 and 1, if there are two or more.
    separator
        What stands between class names where `label_column` holds several, for example ``"|"``. An empty cell is then no class.
    no_label
        The word that stands for no class there, for example ``"No Finding"``.
    classes
        Class names in the order wanted; by default those that occur, sorted (by value where all are whole numbers).
    ordered
        Whether the order of `classes`, which must be given, is that of severity.
    others
        Columns that hold something else.

    Raises
    ------
    InputError
        If no column holds labels, a cell is empty or neither 0 nor 1, or a label is not among `classes`; the line is named.
    ConfigError
        If the options contradict each other.
    """
    if label_column is not None and label_columns is not None:
        raise ConfigError("label_columns", "are given beside label_column", "give one of them")
    if ordered and (classes is None or separator is not None or label_columns is not None):
        raise ConfigError("ordered", "is given without the order of single labels", "give classes=, the mildest first")
    if no_label is not None and separator is None:
        raise ConfigError("no_label", "is given without separator", "leave it out or give separator=")
    column = label_column or (None if label_columns is not None else table.find(LABEL_COLUMNS))
    if column is not None:
        return _listed(table, column, separator, no_label, classes) if separator else _single(table, column, classes, ordered)
    return _columns(table, label_columns if label_columns is not None else zero_one_columns(table, others), classes)


def zero_one_columns(table: Table, others: Sequence[str | None] = ()) -> tuple[str, ...]:
    """The columns besides `others` that hold nothing but 0 and 1."""
    return tuple(c for c in table.columns if c and c not in others and set(table.column(c)) <= set(_NAMED))


def choose_split(annotations: Sequence[Annotation], split: str | None, what: str) -> list[int]:
    """Numbers of the samples of the published part `split`, of all where it is None.

    Raises
    ------
    InputError
        If there are none; the parts that exist are named.
    """
    chosen = [i for i, a in enumerate(annotations) if split is None or a.split == split]
    if not chosen:
        parts = sorted({a.split for a in annotations if a.split is not None})
        raise InputError(
            what, f"has no split {split!r}, it has {', '.join(parts) or 'none'}", "choose one of these or leave it out"
        )
    return chosen


def _single(table: Table, column: str, classes: Sequence[str] | None, ordered: bool) -> Labels:
    cells = table.column(column)
    full = set()
    for i, (line, cell) in enumerate(zip(table.lines, cells, strict=True)):
        with spare(f"line {line}"):
            if not cell:
                hint = "label the image or remove its row"
                raise SampleError(table.path, f"has no {column} in line {line}", hint, "no-label")
            full.add(i)
    names = _names([cells[i] for i in sorted(full)], classes)
    good = _refuse_others(table, column, [(c,) for c in cells], names, full)
    number = {name: i for i, name in enumerate(names)}
    return Labels(
        task="grading" if ordered else "classification",
        classes=names,
        ordered=ordered,
        label=cells,
        labels=(None,) * len(cells),
        grade=tuple(number.get(c) if ordered else None for c in cells),
        refused=frozenset(range(len(cells))) - good,
    )


def _listed(table: Table, column: str, separator: str, no_label: str | None, classes: Sequence[str] | None) -> Labels:
    found: list[tuple[str, ...]] = [() for _ in table.rows]
    full = set()
    for i, (line, cell) in enumerate(zip(table.lines, table.column(column), strict=True)):
        with spare(f"line {line}"):
            names = [n.strip() for n in cell.split(separator)] if cell and cell != no_label else []
            if not all(names) or len(set(names)) < len(names) or no_label in names:
                raise InputError(table.path, f"has {column} = {cell[:80]!r} in line {line}", "list different classes")
            found[i] = tuple(names)
            full.add(i)
    known = _names([n for names in found for n in names], classes)
    good = _refuse_others(table, column, found, known, full)
    return _several(known, [set(names) for names in found], frozenset(range(len(found))) - good)


def _columns(table: Table, columns: Sequence[str], classes: Sequence[str] | None) -> Labels:
    if len(columns) < 2:
        raise InputError(
            table.path,
            f"has no column that is known to hold labels, it has {', '.join(table.columns)}",
            "choose one with label_column= or several with label_columns=",
        )
    known = class_names(classes if classes is not None else columns)
    if wrong := [c for c in known if c not in columns]:
        raise ConfigError("classes", f"name {wrong[0]!r}, the columns are {', '.join(columns)}", "choose from these")
    found: list[set[str]] = [set() for _ in table.rows]
    bad = set()
    for name in known:
        for i, (line, cell) in enumerate(zip(table.lines, table.column(name), strict=True)):
            with spare(f"line {line}", "unknown-label"):
                if cell not in _NAMED:
                    bad.add(i)
                    raise InputError(table.path, f"has {name} = {cell[:80]!r} in line {line}, neither 0 nor 1", _HINT)
                if _NAMED[cell]:
                    found[i].add(name)
    return _several(known, found, frozenset(bad))


def _several(known: tuple[str, ...], found: Sequence[set[str]], refused: frozenset[int]) -> Labels:
    n = len(found)
    labels = tuple(tuple(c for c in known if c in own) for own in found)
    nothing = (None,) * n
    return Labels(task="multi-label", classes=known, ordered=False, label=nothing, labels=labels, grade=nothing, refused=refused)


def _names(cells: Sequence[str], classes: Sequence[str] | None) -> tuple[str, ...]:
    if classes is not None:
        return class_names(classes)
    names = set(cells)
    return tuple(sorted(names, key=lambda n: (int(n), n)) if all(n.isdecimal() for n in names) else sorted(names))


def _refuse_others(
    table: Table, column: str, cells: Sequence[tuple[str, ...]], known: tuple[str, ...], rows: set[int]
) -> frozenset[int]:
    """Those of `rows` whose labels are all known."""
    allowed, good = set(known), set()
    for i in sorted(rows):
        line = table.lines[i]
        with spare(f"line {line}"):
            wrong = next((n for n in cells[i] if n not in allowed), None)
            if wrong is not None:
                problem = f"has {column} = {wrong[:80]!r} in line {line}, classes are {', '.join(known)}"
                raise SampleError(table.path, problem, nearest(wrong, known) or "give all classes", "unknown-label")
            good.add(i)
    return frozenset(good)


def nearest(name: str, known: Sequence[str]) -> str | None:
    """A hint that names the class that `name` was probably meant to be, None where none is near."""
    plain = {k.casefold(): k for k in known}
    near = difflib.get_close_matches(name.casefold()[:200], list(plain), n=1, cutoff=0.7)
    return f"did you mean {plain[near[0]]!r}? Else give all classes" if near else None
