"""Tables of texts: answers, reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medcore import metrics
from medcore.comparison.results import Comparison, Measure, chosen, measured
from medcore.comparison.tables import pairing, read_rows, subjects_of
from medcore.datasets.tables import Table
from medcore.errors import InputError
from medcore.metrics import Bound
from medcore.metrics.text import text_pairs

TEXT_METRICS = ("bleu", "rouge_l", "chrf", "token_f1", "edit_ratio")
TEXT_COLUMNS = (
    "text",
    "report",
    "findings",
    "impression",
    "answer",
    "completion",
    "prediction",
    "reference",
    "estimate",
    "caption",
)


def compare_texts(
    reference: Path,
    estimate: Path,
    *,
    names: Sequence[str] = (),
    column: str | None = None,
    id_column: str | None = None,
    subject_column: str | None = None,
    subjects: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two tables of texts (CSV, JSON lines), row by row of one identifier.

    Parameters
    ----------
    reference, estimate, id_column, subject_column, subjects, level, seed
        See :func:`compare_labels`. A pair whose reference holds no word is left out and counted.
    names
        Metrics; by default :data:`TEXT_METRICS`.
    column
        Column of texts; by default the first known name (``text``, ``report``, ``answer``, ``completion``, ...).

    Raises
    ------
    InputError
        If a table cannot be read, lacks a column, or its identifiers are not those of the other.
    MissingExtraError
        If the extra ``text`` is not installed.
    """
    tables = read_rows(reference), read_rows(estimate)
    truth = list(tables[0].column(_text_column(tables[0], column)))
    given = tables[1].column(_text_column(tables[1], column))
    answers = [given[i] for i in pairing(*tables, id_column)]
    who = subjects_of(tables[0], subject_column, subjects, id_column)
    fits = {n: m for n, m in metrics.registered().items() if m.kind == "text"}
    _, there = text_pairs(truth, answers)
    columns = tuple(np.array(texts, dtype=object) for texts in (truth, answers))
    measures = {m.id: Measure(metric=m, statistic=Bound(m), columns=columns, kept=there) for m in chosen(names, TEXT_METRICS, fits)}
    facts: dict[str, Any] = {"samples": len(truth), "subjects": len(set(who)) if who else None, "unanswered": answers.count("")}
    results = measured(measures, who, level=level, seed=seed)
    return Comparison(kind="text", facts=facts, results=results, measures=measures, subjects=who)


def _text_column(table: Table, column: str | None) -> str:
    name = column or table.find(TEXT_COLUMNS)
    if name is None:
        raise InputError(
            table.path, f"has no column that is known to hold text, it has {', '.join(table.columns)}", "name one with --column"
        )
    return name
