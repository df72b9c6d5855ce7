"""The page of a study: what became of each subject, its medians, and who stands out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcore.atomic import atomic_files, json_bytes
from medcore.report import Report
from medcore.report.figures import QUANTITIES, SpreadPanel, spread_figure
from puq_qmri.studies.group import OUTLIER, Row, fitted_keys, group_facts, group_table, map_keys

PAGE, TABLE, FACTS = "group.html", "group.tsv", "group.json"
_ENOUGH = 0.95
_NAMED = 10


def write_group(output: Path, rows: Sequence[Row], record: dict[str, Any]) -> dict[str, Any]:
    """Write ``group.html``, ``group.tsv`` and ``group.json`` together; earlier ones are replaced.

    Parameters
    ----------
    output
        The data set of derivatives.
    rows
        See :func:`puq_qmri.studies.group.collect_rows`.
    record
        Provenance.

    Returns
    -------
    dict
        Content of ``group.json``.

    Raises
    ------
    OutputError, DiskFullError
        If they cannot be written.
    """
    facts = group_facts(rows)
    page = group_report(f"{output.resolve().name}: {len(rows)} subjects", rows, record)
    table = "".join("\t".join(cells) + "\n" for cells in group_table(rows))
    contents = [page.html().encode(), table.encode(), json_bytes(output / FACTS, {**facts, "run": record})]
    with atomic_files([output / name for name in (PAGE, TABLE, FACTS)]) as temporary:
        for path, content in zip(temporary, contents, strict=True):
            path.write_bytes(content)
    return facts


def group_report(title: str, rows: Sequence[Row], record: dict[str, Any]) -> Report:
    """The page; parameters as :func:`write_group`."""
    done = [row for row in rows if row.state == "done"]
    page = Report(title, "parameter maps of a study, one row a subject")
    page.status("passed" if len(done) == len(rows) else "warned", f"{len(done)} of {len(rows)} subjects are done")
    for state in dict.fromkeys(row.state for row in rows if row.state != "done"):
        names = [row.name for row in rows if row.state == state]
        page.status("failed" if state == "failed" else "warned", f"{state}: {_listed(names)}")
    poor = [row.name for row in done if any(share < _ENOUGH for share in row.fitted.values())]
    if poor:
        page.status("warned", f"less than {100 * _ENOUGH:g} % of the voxels with signal fitted: {_listed(poor)}")
    outlying = [f"{row.name} ({', '.join(k for k, s in row.maps.items() if s.outlying)})" for row in rows if _outlying(row)]
    if outlying:
        page.status("warned", f"stands out: {_listed(outlying)}")
    page.section("Subjects").table(*_table(rows), caption="Medians and quartiles over the voxels with signal")
    page.text(
        f"A median stands out where its robust z-score, 0.6745 times its distance to the median of all subjects over their median "
        f"absolute deviation, is above {OUTLIER:g} in size."
    )
    panels = [_panel(rows, key) for key in map_keys(rows)]
    if panels:
        page.figure(spread_figure(panels), "Median and quartiles of every subject; dotted: the median of the medians.")
    reasons = [[row.name, row.reason] for row in rows if row.reason]
    if reasons:
        page.section("Failures").table(["subject", "reason"], reasons, caption="What went wrong")
    return page.provenance(record)


def _table(rows: Sequence[Row]) -> tuple[list[str], list[list[object]]]:
    keys, shares = map_keys(rows), fitted_keys(rows)
    units = {key: _scale(key, next(row.maps[key].unit for row in rows if key in row.maps))[1] for key in keys}
    columns = ["subject", "state", "runtime [s]", *(f"{key} fitted [%]" for key in shares)]
    columns += [column for key in keys for column in (f"{key} [{units[key]}]", "quartiles", "robust z")]
    table: list[list[object]] = []
    for row in rows:
        cells: list[object] = [row.name, row.state, None if row.seconds is None else round(row.seconds, 1)]
        cells += [None if key not in row.fitted else round(100 * row.fitted[key], 1) for key in shares]
        for key in keys:
            s = row.maps.get(key)
            if s is None:
                cells += [None, None, None]
                continue
            scale = _scale(key, s.unit)[0]
            z = None if s.z is None else f"{s.z:+.1f}{' !' if s.outlying else ''}"
            cells += [float(f"{scale * s.median:.4g}"), f"{scale * s.low:.4g} to {scale * s.high:.4g}", z]
        table.append(cells)
    return columns, table


def _panel(rows: Sequence[Row], key: str) -> SpreadPanel:
    there = [row for row in rows if key in row.maps]
    spreads = [row.maps[key] for row in there]
    scale, unit = _scale(key, spreads[0].unit)
    return SpreadPanel(
        title=key,
        unit=unit,
        names=[row.name for row in there],
        median=[scale * s.median for s in spreads],
        low=[scale * s.low for s in spreads],
        high=[scale * s.high for s in spreads],
        marked=[s.outlying for s in spreads],
    )


def _scale(key: str, unit: str) -> tuple[float, str]:
    """Factor and unit on the page: those of the quantity's figures, otherwise as in the files."""
    quantity = QUANTITIES.get(key.rpartition(" ")[2])
    return (quantity.scale, quantity.unit) if quantity is not None else (1.0, unit)


def _outlying(row: Row) -> bool:
    return any(s.outlying for s in row.maps.values())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
