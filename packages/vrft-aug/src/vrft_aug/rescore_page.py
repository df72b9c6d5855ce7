"""What rescoring found, as a page, figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medcore.atomic import atomic_directory, write_json, write_text
from medcore.provenance import RunRecord
from medcore.report import Report
from medcore.report.figures import training_figure
from vrft_aug.rescoring import Rescored, verdict
from vrft_aug.rewards.scoring import as_csv
from vrft_aug.sensitivity import MEASURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, FACTS = "rescore.html", "rescore.json"
_DPI = 160


def write_rescored(folder: str | Path, found: Sequence[Rescored], record: RunRecord, *, force: bool = False) -> None:
    """Write ``rescore.html``, ``rescore.json`` and of each stage ``NAME.csv`` (a line a completion) and ``NAME.png`` to `folder`.

    Raises
    ------
    OutputExistsError, OutputError
        If the folder exists and `force` is false, or it cannot be written.
    """
    facts = [stage.as_dict() for stage in found]
    page = Report("Completions judged again", ", ".join(f["name"] for f in facts))
    with atomic_directory(folder, force=force) as temporary:
        for stage, known in zip(found, facts, strict=True):
            _section(page, known)
            figure = sensitivity_figure(known["sensitivity"])
            figure.savefig(temporary / f"{known['name']}.png", dpi=_DPI, facecolor="white", metadata={"Software": None})
            page.figure(figure, _caption(known))
            write_text(temporary / f"{known['name']}.csv", completions_table(stage))
        write_json(temporary / FACTS, {"stages": facts})
        page.provenance(record.as_dict())
        page.write(temporary / PAGE)
        record.write(temporary)


def _section(page: Report, facts: Mapping[str, Any]) -> None:
    name = facts["name"]
    state, text = verdict(facts)
    page.status(state, f"{name}: {text}")  # type: ignore[arg-type]
    page.section(name)
    page.text(
        f"{facts['completions']} completions of {facts['rounds']} rounds, {facts['generations']} to a prompt; scale_rewards "
        f"{facts['scale_rewards']}, {facts['aggregation']}."
    )
    compared = facts["reproduced"] is not None
    columns = ["reward", "weight", "weight in the run", "mean", "judged", "not judged"]
    columns += ["same as logged", "different"] if compared else []
    rows = [
        [
            reward,
            *(r[key] for key in ("weight", "logged_weight", "mean", "judged", "not_judged")),
            *([r["same"], r["different"]] if compared else []),
        ]
        for reward, r in facts["rewards"].items()
    ]
    page.table(columns, rows)


def sensitivity_figure(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A panel for each of :data:`vrft_aug.sensitivity.MEASURES`, a line for each reward, over the factor of its weight."""
    panels = {
        title: {name: (np.array(c["factor"]), np.array(c[key])) for name, c in curves.items()}
        for key, (title, _) in MEASURES.items()
    }
    figure = training_figure(panels, x_label="factor of the weight")
    tops = [max([0.1, *(value for c in curves.values() for value in c[key])]) for key in MEASURES]
    for axis, (_, whose), top in zip(figure.axes, MEASURES.values(), tops, strict=True):
        axis.axvline(1.0, color="#5a6675", linewidth=1.0, linestyle=":", zorder=1)
        axis.set(ylim=(-0.04 * top, 1.06 * top), xlim=(0, 4), ylabel=whose)
    legends = [legend for axis in figure.axes if (legend := axis.get_legend()) is not None]
    if legends:  # one for all panels, below them, where it hides nothing
        handles, names = figure.axes[0].get_legend_handles_labels()
        for legend in legends:
            legend.remove()
        figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), frameon=False, fontsize=8)
    return figure


def _caption(facts: Mapping[str, Any]) -> str:
    zero = [name for name, c in facts["sensitivity"].items() if not c["weight"]]
    note = f" {', '.join(zero)} has weight 0 and is shown as if it were 1." if zero else ""
    return (
        f"{facts['name']}: what changes when the weight of one reward is multiplied and the others stay; the line marks the weight "
        f"as it is.{note}"
    )


def completions_table(found: Rescored) -> str:
    """CSV, a line for each completion: where it stands, its values and advantage now, and the logged advantage. No text of it."""
    header = ["step", "round", "group", "sample_id", *found.names, "advantage", "logged_advantage"]
    values = [[None if np.isnan(v) else float(v) for v in row] for row in np.column_stack([found.values, found.advantages])]
    rows = [
        [*(entry[key] for key in ("step", "round", "group", "sample_id")), *row, entry["advantage"]]
        for entry, row in zip(found.stage.entries, values, strict=True)
    ]
    return as_csv(header, rows)
