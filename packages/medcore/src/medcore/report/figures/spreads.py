"""Values of many, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medcore.errors import InputError
from medcore.report.figures._style import COLOURS, grid, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 40
"""Most names that are written below an axis."""


@dataclass(frozen=True, kw_only=True)
class SpreadPanel:
    """One quantity of many subjects.

    Attributes
    ----------
    title, unit
        Of the quantity.
    names
        Of the subjects.
    median, low, high
        By subject: the middle, and the ends of the bar (for example quartiles).
    marked
        Which of them stand out.
    """

    title: str
    unit: str
    names: Sequence[str]
    median: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    marked: Sequence[bool]


def spread_figure(panels: Sequence[SpreadPanel]) -> Figure:
    """A point and a bar for each subject, one panel a quantity, with the median of the points as a line.

    Parameters
    ----------
    panels
        What to draw.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if not panels or not all(panel.names for panel in panels):
        raise InputError("spread figure", "has nothing to draw", "give at least one panel with a subject")
    with style():
        widest = max(len(panel.names) for panel in panels)
        figure, axes = grid(len(panels), columns=1, width=min(max(4.0, 0.3 * widest + 1.5), 14.0), height=2.6)
        for axis, panel in zip(axes, panels, strict=True):
            places = range(len(panel.names))
            for index, (colour, word) in enumerate(((COLOURS[0], "median and quartiles"), (COLOURS[1], "stands out"))):
                chosen = [i for i in places if bool(panel.marked[i]) == bool(index)]
                if not chosen:
                    continue
                middle = [panel.median[i] for i in chosen]
                ends = [[panel.median[i] - panel.low[i] for i in chosen], [panel.high[i] - panel.median[i] for i in chosen]]
                axis.errorbar(chosen, middle, yerr=ends, fmt="s" if index else "o", ms=4, color=colour, elinewidth=1, label=word)
            ordered = sorted(panel.median)
            half = len(ordered) // 2
            axis.axhline((ordered[half] + ordered[-half - 1]) / 2, color="#8b95a1", linewidth=1, linestyle=":")
            axis.set(title=panel.title, ylabel=panel.unit)
            if len(panel.names) <= _NAMED:
                axis.set_xticks(list(places), panel.names, rotation=60, ha="right", fontsize=7)
            else:
                axis.set_xlabel("subject, in the order of the table")
            axis.legend(fontsize=8)
        return figure
