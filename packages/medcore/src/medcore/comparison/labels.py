"""Tables of labels and grades."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medcore import metrics
from medcore.comparison.results import Comparison, Measure, chosen, measured
from medcore.comparison.tables import pairing, read_rows, subjects_of, value_column
from medcore.errors import InputError
from medcore.metrics import Bound

LABEL_METRICS = ("accuracy", "balanced_accuracy", "f1", "matthews", "cohen_kappa")
GRADE_METRICS = (*LABEL_METRICS, "quadratic_weighted_kappa", "grade_mae")
BINARY_METRICS = ("sensitivity", "specificity", "ppv", "npv")
_ORDINAL = ("quadratic_weighted_kappa", "grade_mae")


def compare_labels(
    reference: Path,
    estimate: Path,
    *,
    names: Sequence[str] = (),
    column: str | None = None,
    id_column: str | None = None,
    subject_column: str | None = None,
    subjects: str | None = None,
    positive: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two tables (CSV, JSON lines) of labels or of ordinal grades, row by row of one identifier.

    Values that are all whole numbers are grades. An empty estimate is an answer that could not be read: wrong for metrics of labels, and
    metrics of grades then have no value. With subjects the metrics get bootstrap intervals over them.

    Parameters
    ----------
    reference, estimate
        The tables; both hold the same identifiers, in any order. Without a column of identifiers in both, rows are paired in order.
    names
        Metrics; by default :data:`GRADE_METRICS` or :data:`LABEL_METRICS`, and :data:`BINARY_METRICS` of two classes, one of them positive.
    column, id_column, subject_column
        Columns of value, identifier and subject; by default the first known name (``grade``, ``label``, ``prediction``, ...; ``sample_id``,
        ``image``, ...; ``subject``, ``patient``, ...). The reference holds the subjects.
    subjects
        A table of samples and subjects instead, or ``each``.
    positive
        The positive class; by default 1 of labels 0 and 1.
    level, seed
        Level and random seed of the intervals.

    Raises
    ------
    InputError
        If a table cannot be read, lacks a column, or its identifiers are not those of the other; the first one is named.
    ConfigError
        If a metric is unknown or is none of labels.
    """
    tables = read_rows(reference), read_rows(estimate)
    truth, given = (table.column(value_column(table, column)) for table in tables)
    answers = [given[i] for i in pairing(*tables, id_column)]
    empty = next((line for line, v in zip(tables[0].lines, truth, strict=True) if not v), None)
    if empty is not None:
        raise InputError(reference, f"has no label in line {empty}", "leave unlabelled samples out")
    graded = all(_is_grade(v) for v in truth) and all(_is_grade(v) for v in answers if v)
    ref: list[Any] = [int(v) if graded else v for v in truth]
    est: list[Any] = [(int(v) if graded else v) if v else None for v in answers]
    chief = _positive(positive, graded, {*ref, *(e for e in est if e is not None)})
    default = (GRADE_METRICS if graded else LABEL_METRICS) + (BINARY_METRICS if chief is not None else ())
    fits = {n: m for n, m in metrics.registered().items() if m.kind == "classification" and n != "multilabel_f1"}
    who = subjects_of(tables[0], subject_column, subjects, id_column)
    columns = tuple(_objects(values) for values in (ref, est))
    lost = f"{est.count(None)} of {len(est)} samples have no estimate" if None in est else None
    measures = {
        m.id: Measure(
            metric=m,
            statistic=Bound(m, {"positive": chief} if m.id in BINARY_METRICS else {}),
            columns=tuple(np.array(v) for v in (ref, est)) if m.id in _ORDINAL and not lost else columns,
            kept=np.ones(len(ref), dtype=np.bool_),
            reason=lost if m.id in _ORDINAL else None,
        )
        for m in chosen(names, default, fits)
    }
    facts: dict[str, Any] = {"samples": len(ref), "subjects": len(set(who)) if who else None, "unanswered": est.count(None)}
    results = measured(measures, who, level=level, seed=seed)
    return Comparison(kind="grades" if graded else "labels", facts=facts, results=results, measures=measures, subjects=who)


def _is_grade(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10


def _objects(values: Sequence[Any]) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _positive(given: str | None, graded: bool, classes: set[Any]) -> Any:
    """The positive class, None if there is none."""
    if given is not None:
        return int(given) if graded and _is_grade(given) else given
    return 1 if graded and classes <= {0, 1} else None
