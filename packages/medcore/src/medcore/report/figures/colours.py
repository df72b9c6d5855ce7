"""Colours of relaxometry maps as the community agreed on them.

Fuderer et al., "Color-map recommendation for MR relaxometry maps", Magn Reson Med 2025, doi 10.1002/mrm.30290: T1 and R1 are
shown in *lipari*, T2, T2*, T1rho and their rates in *navia* (rates with the map reversed). The first entry of the table is black and
means "no valid value"; values below the displayed range take the lowest valid colour; and the table is read along a curve that is
linear for small values and logarithmic above, so that equal relative changes look equal where values are large.

The colours are Crameri's (doi 10.5281/zenodo.1243862), from the package cmcrameri.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from medcore.errors import InputError, MissingExtraError
from medcore.plugins import unknown_name

if TYPE_CHECKING:
    from matplotlib.colors import ListedColormap

N_COLOURS = 256


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """How one quantity is shown.

    Attributes
    ----------
    label, unit
        Its name and unit on the screen.
    scale
        Factor from SI to that unit.
    table
        Its colour table, ``"lipari"`` or ``"navia"``; None for grey.
    low, high
        Default range of display in SI units; None takes it from the data.
    """

    label: str
    unit: str = ""
    scale: float = 1.0
    table: str | None = None
    low: float = 0.0
    high: float | None = None

    @property
    def is_rate(self) -> bool:
        """Whether it is a relaxation rate, whose colours run the other way."""
        return self.unit == "1/s"

    @property
    def axis(self) -> str:
        """Name and unit for an axis or colour bar."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label


QUANTITIES = {
    "t1": Quantity(label="T1", unit="ms", scale=1e3, table="lipari", high=2.5),
    "t2": Quantity(label="T2", unit="ms", scale=1e3, table="navia", high=0.2),
    "t2star": Quantity(label="T2*", unit="ms", scale=1e3, table="navia", high=0.1),
    "t1rho": Quantity(label="T1\N{GREEK SMALL LETTER RHO}", unit="ms", scale=1e3, table="navia", high=0.2),
    "r1": Quantity(label="R1", unit="1/s", table="lipari", high=4.0),
    "r2": Quantity(label="R2", unit="1/s", table="navia", high=50.0),
    "r2star": Quantity(label="R2*", unit="1/s", table="navia", high=100.0),
    "m0": Quantity(label="M0", unit="arbitrary units"),
    "s0": Quantity(label="S0", unit="arbitrary units"),
    "adc": Quantity(label="ADC", unit="10\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT THREE} mm\N{SUPERSCRIPT TWO}/s", scale=1e9, high=3e-9),
    "signal": Quantity(label="signal", unit="arbitrary units"),
    "chi2": Quantity(label="reduced chi-square"),
    "relative": Quantity(label="relative standard deviation", unit="%", scale=100.0),
}


def quantity(name: str) -> Quantity:
    """The quantity called `name` (``t1``, ``T2``, ``R2*``, ``m0``, ``signal``, ...).

    Raises
    ------
    ConfigError
        If the name is unknown.
    """
    key = name.lower().replace("*", "star").replace("\N{GREEK SMALL LETTER RHO}", "rho")
    if key not in QUANTITIES:
        raise unknown_name("quantity", name, list(QUANTITIES))
    return QUANTITIES[key]


def table_indices(low: float, high: float, n: int = N_COLOURS) -> Int[np.ndarray, " n"]:
    r"""Which entry of an evenly spaced colour table shows each of `n` equal steps from `low` to `high`.

    With :math:`a = h / e` the position :math:`p(x)` in the table rises linearly from ``low`` to :math:`a` and logarithmically from there to
    ``high``, with one slope where they meet:

    .. math::
        p(x) = \frac{x - l}{2 a - l}\ (x \le a), \qquad
        p(x) = b + (1 - b)\,\frac{\ln(x / a)}{\ln(h / a)}\ (x > a), \qquad b = \frac{a - l}{2 a - l}.

    Where ``low`` is above :math:`a`, all of the curve is logarithmic (:math:`b = 0`, and :math:`a` becomes ``low``). Entry 0 is kept
    for invalid values, so a valid step never reads below entry 1.

    Returns
    -------
    numpy.ndarray
        Indices into a table of `n` entries; the first is 0, the others are in 1 .. n-1 and never fall.

    Raises
    ------
    InputError
        Unless ``high > 0``, ``high > low`` and both are finite.
    """
    if not (math.isfinite(low) and math.isfinite(high) and high > 0 and high > low):
        raise InputError(
            "display range", f"{low:g} to {high:g} is not a range with a positive upper end", "give low < high, high > 0"
        )
    first = 1 / n
    bend = high / math.e
    start = max(bend, low)
    # The last term keeps a position meant to be a whole entry from being rounded down to the one before.
    share = ((bend - low) / (2 * bend - low) if bend >= low else 0.0) + first + 1e-7
    x = low + np.arange(1, n + 1) * (high - low) / n
    straight = (x - low) / (bend - low) * (share - first) + first if bend > low else np.full(n, first)
    curved = share + (1 - share) * np.log(np.maximum(x, start) / start) / math.log(high / start)
    position = np.where(x > start, curved, straight)
    indices: Int[np.ndarray, " n"] = np.clip(np.floor(n * position).astype(np.int64), 1, n - 1)
    indices[0] = 0
    return indices


def relaxometry_table(name: str, low: float, high: float, n: int = N_COLOURS) -> Float[np.ndarray, "n 3"]:
    """The colour table (red, green, blue in 0 .. 1) for a range of display in SI units; entry 0 is black and means invalid.

    Raises
    ------
    InputError
        If the quantity has no recommended colours, or the range is empty.
    MissingExtraError
        If cmcrameri is not installed.
    """
    shown = quantity(name)
    if shown.table is None:
        raise InputError(f"quantity {name!r}", "has no recommended colours", "show it in grey")
    colours = _published(shown.table, n)
    if shown.is_rate:
        colours = colours[::-1].copy()
    colours[0] = 0.0
    return np.asarray(colours[table_indices(low, high, n)])


def _published(name: str, n: int) -> Float[np.ndarray, "n 3"]:
    """Crameri's colours at `n` even places; the file is read by itself, since importing its package takes a second for pyplot."""
    from matplotlib.colors import ListedColormap

    package = find_spec("cmcrameri")
    if package is None or not package.submodule_search_locations:
        raise MissingExtraError("cmcrameri", "medcore[viz]", "relaxometry colours")
    table = np.loadtxt(Path(package.submodule_search_locations[0], "cmaps", f"{name}.txt"))
    return np.asarray(ListedColormap(table)(np.linspace(0, 1, n)), dtype=np.float64)[:, :3]


def relaxometry_colormap(name: str, low: float, high: float) -> ListedColormap:
    """The valid colours as a matplotlib colour map; masked values are black, values below take the lowest valid colour."""
    from matplotlib.colors import ListedColormap

    table = relaxometry_table(name, low, high)
    return ListedColormap(table[1:], name=f"medcore-{name}", bad="black", under=table[1], over=table[-1])
