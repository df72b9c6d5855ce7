"""Parameter maps, their standard deviations and differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped

from medcore.errors import InputError
from medcore.report.figures._style import style
from medcore.report.figures.colours import Quantity, quantity, relaxometry_colormap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images = Num[np.ndarray, "..."] | Mapping[str, Num[np.ndarray, "..."]]
Kind = Literal["value", "deviation", "difference"]


def map_figure(
    maps: Images,
    *,
    quantity: str,
    kind: Kind = "value",
    low: float | None = None,
    high: float | None = None,
    mask: Shaped[np.ndarray, "..."] | None = None,
    slices: int = 1,
    affine: Float[np.ndarray, "4 4"] | None = None,
) -> Figure:
    """Maps of one quantity side by side with one colour bar.

    Parameters
    ----------
    maps
        One map ``(y, x)`` or ``(z, y, x)`` in SI units, or several with their titles; all of one shape. Of complex images the
        magnitude is shown.
    quantity
        ``t1``, ``t2``, ``t2star``, ``t1rho``, ``r1``, ``r2``, ``r2star``: in the recommended colours, where black means invalid;
        ``m0``, ``signal``, ``chi2``, ``relative`` (standard deviation over value): in grey.
    kind
        ``value``; ``deviation`` (a standard deviation: grey, from 0); ``difference`` (diverging colours, symmetric about 0).
    low, high
        Range of display in SI units, by default the quantity's own, else 0 to the 99th percentile of the valid values.
    mask
        Where values are valid, in the maps' shape. Values that are not finite never are, nor relaxation times and rates that are
        not positive.
    slices
        How many slices of a volume to show, evenly spaced among those with valid values.
    affine
        Voxel index (x, y, z) to position (right, anterior, superior): sets the pixels' aspect, and which way is up: anterior, or
        superior where rows run along it.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each slice, a column for each map; slices of a single map stand side by side.

    Raises
    ------
    InputError
        If the maps differ in shape or have not two or three axes.
    """
    shown = _quantity(quantity)
    named = {k: _volume(v) for k, v in (maps if isinstance(maps, Mapping) else {"": maps}).items()}
    shape = next(iter(named.values())).shape if named else (0,)
    if 0 in shape or any(volume.shape != shape for volume in named.values()):
        raise InputError("maps", f"have the shapes {[v.shape for v in named.values()]}", "give maps of one shape that is not empty")
    valid = _valid(named, shown, kind, None if mask is None else _volume(mask) != 0)
    values = np.concatenate([v[valid[k]] for k, v in named.items()])
    bounds = _range(values, shown, kind, low, high)
    rows = _slices(np.any(list(valid.values()), axis=0), slices)
    with style():
        return _draw(named, valid, rows, _colormap(quantity, kind, shown, bounds), bounds, shown, kind, affine)


def _quantity(name: str) -> Quantity:
    return quantity(name)


def _volume(image: np.ndarray) -> Shaped[np.ndarray, "z y x"]:
    image = np.abs(image) if np.iscomplexobj(image) else np.asarray(image)
    if image.ndim not in {2, 3}:
        raise InputError("map", f"has {image.ndim} axes", "give (y, x) or (z, y, x)")
    return image[None] if image.ndim == 2 else image


def _valid(named: Mapping[str, np.ndarray], shown: Quantity, kind: Kind, mask: np.ndarray | None) -> dict[str, np.ndarray]:
    """Which voxels of each map can be shown."""
    found: dict[str, Bool[np.ndarray, "z y x"]] = {}
    for name, volume in named.items():
        good = np.isfinite(volume)
        if shown.table is not None and kind == "value":
            good &= volume > 0
        if mask is not None:
            if mask.shape != volume.shape:
                raise InputError("mask", f"has shape {mask.shape}, the maps {volume.shape}", "give a mask of the maps' shape")
            good &= mask
        found[name] = good
    return found


def _range(values: np.ndarray, shown: Quantity, kind: Kind, low: float | None, high: float | None) -> tuple[float, float]:
    """Range of display in SI units."""
    top = float(np.percentile(np.abs(values), 99)) if values.size else 1.0
    if high is None:
        high = shown.high if kind == "value" and shown.high is not None else top
    if kind == "difference":
        return -(high or 1.0), high or 1.0
    low = low if low is not None else 0.0
    return low, high if high > low else low + 1.0


def _slices(valid: np.ndarray, wanted: int) -> list[int]:
    """Evenly spaced slices among those that show something, the middle one if only one is wanted."""
    filled = np.flatnonzero(valid.any(axis=(1, 2)))
    filled = filled if filled.size else np.arange(len(valid))
    wanted = min(max(wanted, 1), filled.size)
    return [int(filled[int((i + 0.5) * filled.size / wanted)]) for i in range(wanted)]


def _colormap(name: str, kind: Kind, shown: Quantity, bounds: tuple[float, float]) -> Any:
    import matplotlib as mpl

    if kind == "value" and shown.table is not None:
        return relaxometry_colormap(name, *bounds)
    if kind == "difference":
        return mpl.colormaps["RdBu_r"].with_extremes(bad="#8b8b8b")
    return mpl.colormaps["gray"].with_extremes(bad="black")


def _draw(
    named: Mapping[str, np.ndarray],
    valid: Mapping[str, np.ndarray],
    rows: list[int],
    colormap: Any,
    bounds: tuple[float, float],
    shown: Quantity,
    kind: Kind,
    affine: np.ndarray | None,
) -> Figure:
    from matplotlib.figure import Figure

    origin, aspect = _orientation(affine)
    _, height, width = next(iter(named.values())).shape
    panel = 3.0 if max(len(named), len(rows)) < 4 else 2.2
    shape = (1, len(rows)) if len(named) == 1 else (len(rows), len(named))
    size = (panel * shape[1] + 0.9, panel * shape[0] * min(max(height * aspect / width, 0.4), 2.0) + 0.35)
    figure = Figure(figsize=size, layout="compressed")
    axes = figure.subplots(*shape, squeeze=False).reshape(len(rows), len(named))
    low, high = (b * shown.scale for b in bounds)
    image = None
    for row, z in enumerate(rows):
        for axis, (title, volume) in zip(axes[row], named.items(), strict=True):
            data = np.ma.masked_array(volume[z] * shown.scale, ~valid[title][z])
            image = axis.imshow(data, cmap=colormap, vmin=low, vmax=high, origin=origin, aspect=aspect, interpolation="nearest")
            axis.set_axis_off()
            if row == 0:
                axis.set_title(title)
            if axis is axes[row, 0] and len(rows) > 1:
                axis.text(0.02, 0.02, f"slice {z}", color="white", fontsize=7, transform=axis.transAxes)
    if image is not None:
        values = np.concatenate([v[valid[k]] for k, v in named.items()]) * shown.scale
        above, below = bool(np.any(values > high)), bool(np.any(values < low))
        extend = "both" if above and below else "max" if above else "min" if below else "neither"
        label = {"value": "", "deviation": "standard deviation of ", "difference": "difference of "}[kind] + shown.axis
        bar = figure.colorbar(image, ax=axes, label=label, extend=extend, shrink=0.92, pad=0.02)
        bar.outline.set_visible(False)
    return figure


def _orientation(affine: np.ndarray | None) -> tuple[Literal["upper", "lower"], float]:
    """Which way rows run on the screen, and the height of a pixel over its width."""
    if affine is None:
        return "upper", 1.0
    x, y = affine[:3, 0], affine[:3, 1]
    axis = int(np.argmax(np.abs(y)))
    # Rows that run to anterior or superior are drawn upwards.
    up = axis > 0 and y[axis] > 0
    return "lower" if up else "upper", float(np.linalg.norm(y) / np.linalg.norm(x))
