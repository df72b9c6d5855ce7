"""Figures of reports: maps in the field's colours, fits, calibration, training, confusion. They need the extra ``viz``."""

from medcore.report.figures.colours import QUANTITIES, Quantity, relaxometry_colormap, relaxometry_table
from medcore.report.figures.curves import (
    FitPanel,
    calibration_figure,
    confusion_figure,
    fit_figure,
    sparsification_figure,
    training_figure,
)
from medcore.report.figures.maps import map_figure
from medcore.report.figures.sampling import sampling_figure
from medcore.report.figures.spreads import SpreadPanel, spread_figure

__all__ = [
    "QUANTITIES",
    "FitPanel",
    "Quantity",
    "SpreadPanel",
    "calibration_figure",
    "confusion_figure",
    "fit_figure",
    "map_figure",
    "relaxometry_colormap",
    "relaxometry_table",
    "sampling_figure",
    "sparsification_figure",
    "spread_figure",
    "training_figure",
]
