"""Tables of scores and probabilities of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medcore import metrics
from medcore.comparison.results import Comparison, Measure, chosen, measured
from medcore.comparison.tables import (
    VALUE_COLUMNS,
    all_score_columns,
    numbers_of,
    pairing,
    read_rows,
    score_columns,
    subjects_of,
)
from medcore.datasets.tables import Table
from medcore.errors import ConfigError, InputError
from medcore.metrics import Bound, Metric

SCORE_METRICS = ("auroc", "average_precision", "brier", "log_loss", "ece", "ece_mass")
_PROBABLE = {"brier", "log_loss", "ece", "ece_mass", "calibration_slope"}
_PER_CLASS = ("auroc", "average_precision")
_ROUNDING = 1e-3
"""So far from 1 the probabilities of a sample may sum, as rounded tables do."""


def compare_scores(
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
    """Compare a table of scores of classes with a table of labels (CSV, JSON lines).

    The estimate has one column ``probability`` of the positive class; or a column for each class, called like it or ``p_class``. Findings
    that may occur together have such columns in both tables, of 0 and 1 in the reference. Several classes give AUROC and average
    precision of each class too, as ``auroc[class]``.

    Parameters
    ----------
    reference, estimate, id_column, subject_column, subjects, level, seed
        See :func:`compare_labels`.
    names
        Metrics; by default those of :data:`SCORE_METRICS` that fit: scores outside [0, 1] are no probabilities and are ranked only.
        Calibration errors are those of the most probable class.
    column
        Column of labels in the reference.
    positive
        Of two classes, the one that ``probability`` means; by default 1 of labels 0 and 1.

    Raises
    ------
    InputError
        If a table cannot be read or lacks a column, a score is no number, probabilities of a sample do not sum to 1, or identifiers differ.
    ConfigError
        If a metric is unknown or does not fit.
    """
    tables = read_rows(reference), read_rows(estimate)
    classes = score_columns(*tables)
    if classes is None:
        wanted = "a column 'probability' or one for each class of the reference"
        raise InputError(estimate, f"has no scores, its columns are {', '.join(tables[1].columns)}", f"give {wanted}")
    order = pairing(*tables, id_column)
    together = column is None and tables[0].find(VALUE_COLUMNS) is None and "" not in classes
    if not together:
        classes = all_score_columns(*tables, classes)
    scores = np.array([numbers_of(tables[1], name, tables[1].column(name)) for name in classes.values()]).T[order]
    truth, labels = _truth(tables[0], column, classes, positive, together=together)
    scores = scores[:, 0] if "" in classes else scores
    probable = _are_probabilities(scores, estimate, exclusive=not together)
    who = subjects_of(tables[0], subject_column, subjects, id_column)
    fits = {n: m for n, m in metrics.registered().items() if m.kind == "probability" and _fits(n, scores, together, probable)}
    default = [n for n in SCORE_METRICS if n in fits]
    measures: dict[str, Measure] = {}
    for m in chosen(names, default, fits):
        measures[m.id] = _measure(m, truth, scores, together)
    if len(labels) > 1 and scores.ndim == 2:
        members = truth if together else truth[:, None] == np.arange(len(labels))
        for m in [measures[n].metric for n in _PER_CLASS if n in measures]:
            for i, name in enumerate(labels):
                measures[f"{m.id}[{name}]"] = _measure(m, members[:, i].astype(np.int64), scores[:, i], together)
    facts: dict[str, Any] = {"samples": len(truth), "subjects": len(set(who)) if who else None, "classes": list(labels)}
    results = measured(measures, who, level=level, seed=seed)
    return Comparison(kind="scores", facts=facts, results=results, measures=measures, subjects=who)


def _measure(m: Metric, truth: np.ndarray, scores: np.ndarray, together: bool) -> Measure:
    columns = truth, scores
    if m.id in {"ece", "ece_mass"} and scores.ndim == 2 and not together:
        columns = (scores.argmax(axis=1) == truth).astype(np.int64), scores.max(axis=1)
    return Measure(metric=m, statistic=Bound(m), columns=columns, kept=np.ones(len(truth), dtype=np.bool_))


def _fits(name: str, scores: np.ndarray, together: bool, probable: bool) -> bool:
    if name in _PROBABLE and not probable:
        return False
    if name == "calibration_slope":
        return scores.ndim == 1
    return not (together and name.startswith("ece"))


def _truth(
    table: Table, column: str | None, classes: dict[str, str], positive: str | None, *, together: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers of the samples, or findings (samples, classes), and the names of the classes."""
    if together:
        return np.array([[int(v) for v in table.column(name)] for name in classes]).T, tuple(classes)
    name = column or table.find(VALUE_COLUMNS)
    if name is None:
        raise InputError(table.path, "has no column that is known to hold labels", "name one with --column")
    labels = table.column(name)
    empty = next((line for line, v in zip(table.lines, labels, strict=True) if not v), None)
    if empty is not None:
        raise InputError(table.path, f"has no label in line {empty}", "leave unlabelled samples out")
    if "" not in classes:
        place = {label: i for i, label in enumerate(classes)}
        unknown = next((v for v in labels if v not in place), None)
        if unknown is not None:
            raise InputError(table.path, f"has the class {unknown!r}, which has no scores", "give it a column")
        return np.array([place[v] for v in labels]), tuple(classes)
    found = set(labels)
    chief = positive if positive is not None else ("1" if found <= {"0", "1"} else None)
    if chief is None:
        shown = ", ".join(sorted(found)[:5])
        raise ConfigError("positive class", f"is not known among {shown}", "name it with --positive")
    if chief not in found and positive is not None:
        raise ConfigError("--positive", f"{positive!r} is no label of {table.path}", "name one of its labels")
    return np.array([int(v == chief) for v in labels]), (chief,)


def _are_probabilities(scores: np.ndarray, path: Path, *, exclusive: bool) -> bool:
    if scores.min() < 0 or scores.max() > 1:
        return False
    if scores.ndim == 2 and exclusive:
        far = np.abs(scores.sum(axis=1) - 1)
        if far.max() > _ROUNDING:
            row = int(far.argmax())
            raise InputError(
                path, f"has probabilities that sum to {scores[row].sum():.6g} in a row", "give every class its column, or normalise"
            )
    return True
