"""One look for all figures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from medcore.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by readers with any colour vision; black and yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINES = ("-", "--", "-.", ":")
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5a6675",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e7ec",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "text.color": "#1b2430",
    "axes.labelcolor": "#1b2430",
    "xtick.color": "#3a4654",
    "ytick.color": "#3a4654",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Apply the look to what is drawn inside the block.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingExtraError("matplotlib", "medcore[viz]", "drawing figures") from error
    with mpl.rc_context(_STYLE):
        yield


def grid(n: int, *, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with `n` axes in even rows of at most `columns`; sizes of one in inches. Uses no global state of matplotlib."""
    from matplotlib.figure import Figure

    rows = -(-n // columns)
    columns = -(-n // rows)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(n)]
    return figure, axes
