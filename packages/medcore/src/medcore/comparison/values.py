"""Tables of measurements: one number for each sample, such as the mean T1 of a region, or test and retest of subjects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from medcore import metrics
from medcore.comparison.results import Comparison, Measure, chosen, measured
from medcore.comparison.tables import MEASUREMENT_COLUMNS, numbers_of, pairing, read_rows, subjects_of
from medcore.datasets.tables import Table
from medcore.errors import InputError
from medcore.metrics import Bound, Metric, MetricResult
from medcore.metrics.resampling import Statistic

VALUE_METRICS = (
    "bias",
    "loa_low",
    "loa_high",
    "percent_bias",
    "mae",
    "ccc",
    "icc_2_1",
    "icc_3_1",
    "within_subject_sd",
    "repeatability_coefficient",
    "within_subject_cov",
)


def compare_values(
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
    """Compare two tables of measurements (CSV, JSON lines), row by row of one identifier.

    The two tables are two methods, or test and retest; for the intraclass correlations they are two raters.

    Parameters
    ----------
    reference, estimate, id_column, subject_column, subjects, level, seed
        See :func:`compare_labels`.
    names
        Metrics; by default :data:`VALUE_METRICS`.
    column
        Column of numbers; by default the first known name (``value``, ``measurement``, ``mean``, ``t1``, ...).

    Raises
    ------
    InputError
        If a table cannot be read, lacks a column, holds a cell that is no number, or its identifiers are not those of the other.
    ConfigError
        If a metric is unknown or does not fit.
    """
    tables = read_rows(reference), read_rows(estimate)
    truth, given = (_numbers(table, column) for table in tables)
    pair = truth, given[pairing(*tables, id_column)]
    who = subjects_of(tables[0], subject_column, subjects, id_column)
    fits = {n: m for n, m in metrics.registered().items() if (m.kind == "maps" and n != "cov") or n in {"nrmse", "nmse"}}
    kept = np.ones(len(truth), dtype=np.bool_)
    measures = {
        m.id: Measure(metric=m, statistic=_statistic(m), columns=pair, kept=kept) for m in chosen(names, VALUE_METRICS, fits)
    }
    facts: dict[str, Any] = {"samples": len(truth), "subjects": len(set(who)) if who else None}
    results = measured(measures, who, level=level, seed=seed)
    return Comparison(kind="values", facts=facts, results=results, measures=measures, subjects=who)


def _statistic(m: Metric) -> Statistic:
    if m.inputs[0] != "ratings":
        return Bound(m)

    def of_raters(first: Float[np.ndarray, " samples"], second: Float[np.ndarray, " samples"]) -> MetricResult:
        return m.function(np.stack([first, second], axis=1))

    return of_raters


def _numbers(table: Table, column: str | None) -> Float[np.ndarray, " samples"]:
    name = column or table.find(MEASUREMENT_COLUMNS)
    if name is None:
        shown = ", ".join(table.columns)
        raise InputError(table.path, f"has no column that is known to hold measurements, it has {shown}", "name one with --column")
    return np.array(numbers_of(table, name, table.column(name)))
