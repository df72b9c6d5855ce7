"""Fits, calibration, training and confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, Real

from medcore.errors import InputError
from medcore.report.figures._style import COLOURS, LINES, grid, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Real[np.ndarray, " n"] | Sequence[Any]
FinePoints = Real[np.ndarray, " fine"] | Sequence[Any]
Curve = tuple[Points, Points]


@dataclass(frozen=True, kw_only=True)
class FitPanel:
    """One fitted voxel or region.

    Attributes
    ----------
    title
        Where it is and what came out.
    times, signal
        The measurement; times in seconds, or whatever else the contrasts differ in.
    curve_times, curve
        The fitted model on a fine axis.
    sigma
        Standard deviation of each measured point, drawn as an error bar.
    low, high
        Band around the curve (for example 95 %).
    """

    title: str
    times: Points
    signal: Points
    curve_times: FinePoints
    curve: FinePoints
    sigma: Points | None = None
    low: FinePoints | None = None
    high: FinePoints | None = None


def fit_figure(panels: Sequence[FitPanel], *, time: str = "echo time", unit: str = "ms", scale: float = 1e3) -> Figure:
    """Measured points, the fitted curve and its band, one panel each.

    Parameters
    ----------
    panels
        What to draw.
    time, unit, scale
        Name of the horizontal axis, its unit, and the factor from the panels' values to that unit.
    """
    _need(panels, "fit figure")
    with style():
        figure, axes = grid(len(panels), columns=3, width=3.3, height=2.6)
        for axis, panel in zip(axes, panels, strict=True):
            t, fine = np.asarray(panel.times) * scale, np.asarray(panel.curve_times) * scale
            if panel.low is not None and panel.high is not None:
                axis.fill_between(fine, panel.low, panel.high, color=COLOURS[0], alpha=0.18, linewidth=0, label="95 % band")
            axis.plot(fine, panel.curve, color=COLOURS[0], label="fit")
            axis.errorbar(t, panel.signal, yerr=panel.sigma, fmt="o", ms=4, color=COLOURS[1], elinewidth=1, label="measured")
            axis.set(title=panel.title, xlabel=f"{time} [{unit}]", ylabel="signal [arbitrary units]")
        axes[0].legend(fontsize=8)
        return figure


def calibration_figure(curves: Mapping[str, Curve]) -> Figure:
    """Observed against nominal coverage of intervals; on the diagonal they keep their promise.

    Parameters
    ----------
    curves
        By name, nominal levels and observed fractions, both in [0, 1].
    """
    _need(curves, "calibration figure")
    with style():
        figure, (axis,) = grid(1, columns=1, width=5.4, height=3.5)
        axis.plot([0, 1], [0, 1], color="#8b95a1", linewidth=1, linestyle=":", label="ideal")
        _lines(axis, curves, marker="o")
        axis.set(xlabel="nominal level", ylabel="observed coverage", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axis.text(0.03, 0.95, "deviations too large", fontsize=8, color="#5a6675", va="top")
        axis.text(0.97, 0.04, "deviations too small", fontsize=8, color="#5a6675", ha="right")
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return figure


def sparsification_figure(curves: Mapping[str, Curve], *, error: str = "remaining error") -> Figure:
    """Error of what is left after leaving out the most uncertain values, against the fraction left out."""
    _need(curves, "sparsification figure")
    with style():
        figure, (axis,) = grid(1, columns=1, width=5.4, height=3.4)
        _lines(axis, curves)
        axis.set(xlabel="fraction left out", ylabel=error, xlim=(0, 1))
        axis.set_ylim(bottom=0)
        axis.legend()
        return figure


def training_figure(panels: Mapping[str, Mapping[str, Curve]], *, window: int = 1, x_label: str = "step") -> Figure:
    """Curves over training steps, one panel for each quantity.

    Parameters
    ----------
    panels
        By quantity, by run: steps and values. Values that are not finite leave gaps.
    window
        Length of the running mean drawn over the pale original; 1 draws the original only.
    x_label
        Name of the horizontal axis.
    """
    _need(panels, "training figure")
    with style():
        figure, axes = grid(len(panels), columns=3, width=3.3, height=2.4)
        for axis, (title, curves) in zip(axes, panels.items(), strict=True):
            if window > 1:
                for (x, y), colour in zip(curves.values(), cycle(COLOURS), strict=False):
                    axis.plot(x, y, color=colour, alpha=0.25, linewidth=0.8)
            _lines(axis, {name: (x, running_mean(np.asarray(y, dtype=np.float64), window)) for name, (x, y) in curves.items()})
            axis.set(title=title, xlabel=x_label)
            if len(curves) > 1:
                axis.legend(fontsize=8)
        return figure


def running_mean(values: Real[np.ndarray, " n"], window: int) -> Real[np.ndarray, " n"]:
    """Mean over the last `window` values at each place (fewer at the start), leaving out those that are not finite."""
    if window <= 1:
        return values
    good = np.isfinite(values)
    sums, counts = (np.cumsum(np.r_[np.zeros(window), a]) for a in (np.where(good, values, 0.0), good))
    total, count = sums[window:] - sums[:-window], counts[window:] - counts[:-window]
    means: Real[np.ndarray, " n"] = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return means


def confusion_figure(matrix: Int[np.ndarray, "true predicted"], classes: Sequence[str]) -> Figure:
    """Counts of true against predicted classes, shaded by the fraction of the true class.

    Raises
    ------
    InputError
        If the matrix does not have one row for each class (columns may be more, for example for unreadable answers).
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] > len(classes) or matrix.shape[1] != len(classes) or not matrix.size:
        raise InputError("confusion matrix", f"has shape {matrix.shape} for {len(classes)} classes", "name every column")
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with style():
        side = max(0.55 * len(classes), 1.8)
        figure, (axis,) = grid(1, columns=1, width=side + 2.0, height=side * matrix.shape[0] / len(classes) + 1.3)
        axis.grid(visible=False)
        image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(matrix):
            axis.text(column, row, str(count), ha="center", va="center", color="white" if share[row, column] > 0.55 else "#1b2430")
        axis.set_xticks(range(len(classes)), classes, rotation=35, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(matrix.shape[0]), classes[: matrix.shape[0]])
        axis.set(xlabel="predicted", ylabel="true")
        axis.tick_params(length=0)
        figure.colorbar(image, ax=axis, label="fraction of the true class", shrink=0.9).outline.set_visible(False)
        return figure


def _lines(axis: object, curves: Mapping[str, Curve], marker: str | None = None) -> None:
    looks = zip(cycle(COLOURS), cycle(LINES), strict=False)
    for (name, (x, y)), (colour, line) in zip(curves.items(), looks, strict=False):
        axis.plot(x, y, color=colour, linestyle=line, marker=marker, markersize=3.5, label=name)  # type: ignore[attr-defined]


def _need(panels: Sequence[object] | Mapping[str, object], what: str) -> None:
    if not panels:
        raise InputError(what, "got nothing to draw", "give at least one curve or panel")
