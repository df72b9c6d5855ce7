"""Small pieces of HTML; every text is escaped here and nowhere else."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, cast

MISSING = "\N{EN DASH}"
# Characters that HTML forbids, and halves of surrogate pairs, which UTF-8 cannot hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def escape(text: object) -> str:
    """`text` for use between tags or inside a quoted attribute."""
    return html.escape(_FORBIDDEN.sub("\ufffd", str(text)), quote=True)


def number(value: object, digits: int = 4) -> str:
    """A number with `digits` significant digits; whole numbers in full; NaN and infinity in words."""
    if isinstance(value, Integral):
        return str(value)
    value = float(cast(Any, value))
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    rounded = float(f"{value:.{digits - 1}e}")
    if 10**digits <= abs(rounded) and abs(value) < 1e7:
        shown = f"{value:.0f}"
    else:
        shown = f"{value:.{digits}g}" if value == 0 or 1e-4 <= abs(rounded) < 10**digits else f"{value:.{digits - 1}e}"
    return shown.replace("-", "\N{MINUS SIGN}")


def is_number(value: object) -> bool:
    """Whether a table cell holds a number."""
    return isinstance(value, Real) and not isinstance(value, bool)


def cell(value: object) -> str:
    """The content of one table cell."""
    if value is None:
        return f'<span class="missing">{MISSING}</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(number(value) if isinstance(value, Real) else value)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> str:
    """A table that scrolls sideways by itself; the first column heads its row, columns of numbers are right-aligned."""
    right = [any(is_number(r[i]) for r in rows) and all(r[i] is None or is_number(r[i]) for r in rows) for i in range(len(columns))]
    marks = [' class="number"' if flag else "" for flag in right]
    head = "".join(f'<th scope="col"{mark}>{escape(name)}</th>' for name, mark in zip(columns, marks, strict=True))
    body = []
    for row in rows:
        first = f'<th scope="row"{marks[0]}>{cell(row[0])}</th>'
        rest = "".join(f"<td{mark}>{cell(value)}</td>" for value, mark in zip(row[1:], marks[1:], strict=True))
        body.append(f"<tr>{first}{rest}</tr>")
    label = escape(caption or ", ".join(columns))
    title = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="Table: {label}"><table>\n{title}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody></table></div>"
    )


def paragraphs(text: str) -> str:
    """Plain text as paragraphs; an empty line starts a new one, line breaks are kept."""
    return "\n".join(f"<p>{escape(part.strip())}</p>" for part in re.split(r"\n[ \t]*\n", text) if part.strip())


def definitions(values: Mapping[str, object]) -> str:
    """Names and values, one a line."""
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{cell(value)}</dd>\n" for key, value in values.items())
    return f"<dl>\n{rows}</dl>"


def details(title: str, text: str) -> str:
    """A block the reader can open."""
    return f"<details><summary>{escape(title)}</summary>\n<pre>{escape(text)}</pre></details>"


def as_json(value: Any) -> str:
    """`value` as indented JSON; whatever JSON does not know is shown as text."""
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)
