"""Licence and source of a data set: what the caller says, else what lies beside the data."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import NamedTuple

from medcore.errors import ConfigError, MedcoreError

NOT_STATED = "not stated"
_LICENCE_STEMS = {"license", "licence", "copying"}
_TEXT_SUFFIXES = {"", ".txt", ".md", ".rst"}
_MAX_BYTES, _MAX_LENGTH = 1 << 20, 200


class Origin(NamedTuple):
    """Where a data set comes from and under which terms; ``"not stated"`` where nobody says."""

    licence: str
    source: str


def find_origin(folder: Path, licence: str | None = None, source: str | None = None) -> Origin:
    """Licence and source of the data in `folder`.

    The licence is the first of: `licence`; ``license:`` in the front matter of ``README.md`` (a data set card as Hugging Face has it);
    the first line of a file LICENSE or LICENCE. The source is `source`, or not stated: nothing in a folder can be trusted to name it.

    Raises
    ------
    ConfigError
        If `licence` or `source` is empty or of several lines.
    """
    for name, value in (("licence", licence), ("source", source)):
        if value is not None and (not value.strip() or one_line(value) != value.strip()):
            raise ConfigError(name, f"is {value[:40]!r}", f"give one line of at most {_MAX_LENGTH} characters")
    found = licence.strip() if licence is not None else _front_matter(folder) or _licence_file(folder) or NOT_STATED
    return Origin(found, source.strip() if source is not None else NOT_STATED)


def one_line(text: str) -> str:
    """`text` without control characters and with single blanks, at most 200 characters."""
    plain = "".join(" " if unicodedata.category(c).startswith("C") else c for c in text)
    return " ".join(plain.split())[:_MAX_LENGTH]


def _read(file: Path) -> str:
    try:
        if not file.is_file() or file.stat().st_size > _MAX_BYTES:
            return ""
        return file.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError:
        return ""  # a licence that cannot be read is not stated; the data may still be


def _front_matter(folder: Path) -> str:
    from medcore.config import parse_yaml

    lines = _read(folder / "README.md").splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in [line.strip() for line in lines[1:]]:
        return ""
    end = next(i for i, line in enumerate(lines[1:], 1) if line.strip() == "---")
    try:
        value = parse_yaml("\n".join(lines[1:end]), str(folder / "README.md")).get("license")
    except MedcoreError:
        return ""  # front matter in another form states nothing to us
    names = value if isinstance(value, list) else [value]
    return one_line(", ".join(n for n in names if isinstance(n, str)))


def _licence_file(folder: Path) -> str:
    try:
        files = sorted(p for p in folder.iterdir() if p.stem.lower() in _LICENCE_STEMS and p.suffix.lower() in _TEXT_SUFFIXES)
    except OSError:
        return ""
    for file in files:
        first = next((one_line(line) for line in _read(file).splitlines() if line.strip(" #=-*\t")), "")
        if first:
            return f"{first.strip(' #=-*')} (first line of {file.name})"
    return ""
