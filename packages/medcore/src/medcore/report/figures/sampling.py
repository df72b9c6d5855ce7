"""Where k-space was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Real

from medcore.errors import InputError
from medcore.report.figures._style import COLOURS, grid, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sampling_figure(samples: Mapping[str, Bool[np.ndarray, "y x"] | Real[np.ndarray, "readout sample 2"]]) -> Figure:
    """One panel for each contrast, k_x to the right and k_y upwards.

    Parameters
    ----------
    samples
        By name: which points of the grid were measured, or the places of the samples of each readout in radians per voxel, last axis
        (y, x).

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if not samples:
        raise InputError("sampling figure", "has nothing to draw", "give the samples of at least one contrast")
    with style():
        figure, axes = grid(len(samples), columns=4, width=2.1, height=2.3)
        for axis, (name, points) in zip(axes, samples.items(), strict=True):
            if points.dtype == bool:
                axis.imshow(points, cmap="gray", vmin=0, vmax=1, interpolation="nearest", origin="lower")
            else:
                for readout in points:
                    axis.plot(readout[:, 1], readout[:, 0], color=COLOURS[0], linewidth=0.4)
                axis.set(xlim=(-np.pi, np.pi), ylim=(-np.pi, np.pi), aspect="equal")
            axis.set(title=name, xticks=[], yticks=[])
            axis.grid(visible=False)
        return figure
