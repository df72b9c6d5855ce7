"""CSV tables read strictly: a header, rows of its length, bounded size."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medcore.datasets.images import files_in, folder_of
from medcore.errors import InputError
from medcore.io.guard import reason
from medcore.io.limits import existing_file

MAX_BYTES = 64 << 20
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
_HINT = "correct the table"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A CSV file's content as text.

    Attributes
    ----------
    path
        Where it came from.
    columns
        Names in the header.
    rows
        Cells of each row, stripped of outer blanks, as many as columns.
    lines
        Line of the file on which each row ends, for messages.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column(self, name: str) -> tuple[str, ...]:
        """Cells of one column.

        Raises
        ------
        InputError
            If there is no such column.
        """
        if name not in self.columns:
            raise InputError(self.path, f"has no column {name!r}, its columns are {', '.join(self.columns)}", "name one of these")
        i = self.columns.index(name)
        return tuple(row[i] for row in self.rows)

    def whole_numbers(self, name: str) -> tuple[int, ...]:
        """One column as integers.

        Raises
        ------
        InputError
            For the first cell that is not one, with its line and content.
        """
        self.column(name)
        return tuple(self.whole_number(name, i) for i in range(len(self.rows)))

    def whole_number(self, name: str, row: int) -> int:
        """One cell as an integer.

        Raises
        ------
        InputError
            If it is not one; its line and content are told.
        """
        cell = self.rows[row][self.columns.index(name)]
        if not _WHOLE.fullmatch(cell):
            raise InputError(self.path, f"has {name} = {cell!r} in line {self.lines[row]}, not a whole number", _HINT)
        return int(cell)

    def find(self, names: Sequence[str]) -> str | None:
        """The first column whose name, whatever its case and separators, is among `names`."""
        plain = {plain_name(c): c for c in reversed(self.columns)}
        return next((plain[n] for n in names if n in plain), None)


def plain_name(name: str) -> str:
    """A column's name in small letters with underscores, as the lists of known names have it."""
    return re.sub(r"[\s_.-]+", "_", name.strip().lower()).strip("_")


def read_table(path: str | Path) -> Table:
    """Read a CSV file with a header line: UTF-8, comma (or the semicolon or tab that its header holds instead), at most 64 MB.

    Empty lines, and columns without a name that hold nothing, are left out.

    Raises
    ------
    InputError
        If it is missing, too large, not text, has no rows, repeats a column, or has a row of another length; the line is named.
    """
    path = existing_file(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(path, f"has {size} bytes, more than {MAX_BYTES}", "give a smaller table")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, f"is not UTF-8 text ({reason(error)})", "save it as UTF-8") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    found: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                found.append((reader.line_num, [cell.strip() for cell in row]))  # noqa: PERF401 - line_num changes on the way
    except csv.Error as error:
        raise InputError(path, f"is no valid CSV in line {reader.line_num} ({reason(error)})", _HINT) from error
    if len(found) < 2:
        raise InputError(path, "has no rows below its header", _HINT)
    return _checked(path, found[0][1], found[1:])


def _checked(path: Path, columns: list[str], rows: list[tuple[int, list[str]]]) -> Table:
    while columns and not columns[-1] and all(len(r) < len(columns) or not r[len(columns) - 1] for _, r in rows):
        columns = columns[:-1]
        rows = [(line, r[: len(columns)]) for line, r in rows]
    twice = next((c for c in columns if columns.count(c) > 1), None)
    if twice is not None:
        raise InputError(path, f"has the column {twice!r} twice", _HINT)
    for line, row in rows:
        if len(row) != len(columns):
            raise InputError(path, f"has {len(row)} cells in line {line} and {len(columns)} columns", _HINT)
    return Table(path=path, columns=tuple(columns), rows=tuple(tuple(r) for _, r in rows), lines=tuple(n for n, _ in rows))


def find_table(path: Path, csv: str | None) -> tuple[Path, Table]:
    """The folder of a data set and its table: `path` is the CSV file, or the folder that holds it.

    Raises
    ------
    InputError
        If the folder holds no table or several and `csv` does not choose one by its plain name, or the table is refused.
    """
    if path.is_file():
        return path.parent, read_table(path)
    folder = folder_of(path)
    if csv is not None:
        if Path(csv).name != csv:
            raise InputError(csv, "is not a plain file name", f"name a table in {folder}")
        return folder, read_table(folder / csv)
    found = files_in(folder, (".csv",))
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "no table"
        raise InputError(folder, f"holds {names}", "choose one with csv=" if found else "add a CSV file of labels")
    return folder, read_table(found[0])


def known_column(table: Table, names: tuple[str, ...], what: str, option: str) -> str:
    """The first column whose name is among `names`.

    Raises
    ------
    InputError
        If there is none; `what` it would hold and the `option` that names it are told.
    """
    found = table.find(names)
    if found is None:
        raise InputError(
            table.path,
            f"has no column that is known to hold {what}, it has {', '.join(table.columns)}",
            f"choose one with {option}=",
        )
    return found
