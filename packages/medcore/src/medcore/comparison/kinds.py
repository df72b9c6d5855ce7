"""What kind of things two paths hold, for the choice of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from medcore import metrics
from medcore.comparison.tables import holds_measurements, is_table, read_rows, score_columns
from medcore.errors import InputError

Kind = Literal["images", "masks", "labels", "values", "scores", "boxes", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def find_kind(reference: Path, estimates: Sequence[Path], names: Sequence[str], column: str | None = None) -> Kind:
    """Tell what is compared from the files and the metrics that were asked for.

    Tables (CSV, TSV, JSON lines) hold scores if an estimate has a column for each class of the reference or one of probabilities;
    measurements if the reference has decimal numbers, or a metric of maps was asked for; text if one of text was; else labels. JSON
    files hold boxes; everything else is images, or masks if a metric of masks was asked for.

    Raises
    ------
    InputError
        If the estimates are of another kind of file than the reference.
    """
    kinds = {metrics.get_metric(name).kind for name in names}
    shapes = [_shape(path) for path in (reference, *estimates)]
    for path, shape in zip(estimates, shapes[1:], strict=True):
        if shape != shapes[0]:
            raise InputError(path, f"is another kind of file than {reference}", "give two images or two CSV tables")
    if shapes[0] == "json":
        return "boxes"
    if shapes[0] != "table":
        return "masks" if kinds == {"mask"} else "images"
    if kinds and kinds <= {"text"}:
        return "text"
    truth = read_rows(reference)
    scored = all(score_columns(truth, read_rows(path)) is not None for path in estimates)
    if scored:
        return "scores"
    return "values" if holds_measurements(truth, column) or (kinds and kinds <= {"maps"}) else "labels"


def _shape(path: Path) -> str:
    if is_table(path):
        return "table"
    return "json" if path.suffix.lower() == ".json" else "images"
