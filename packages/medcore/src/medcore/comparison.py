"""What ``medcore metrics`` does: two files of images or two tables of labels, compared by every metric that fits them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medcore import io, metrics
from medcore.datasets.graded import GRADE_COLUMNS, IMAGE_COLUMNS, SUBJECT_COLUMNS
from medcore.datasets.tables import Table, read_table
from medcore.errors import ConfigError, InputError
from medcore.metrics import Metric, MetricResult
from medcore.metrics.base import undefined

IMAGE_METRICS = ("nrmse", "ssim", "psnr", "bias", "loa_low", "loa_high", "median_relative_error", "ccc")
COMPLEX_METRICS = ("nrmse",)
LABEL_METRICS = ("accuracy", "balanced_accuracy", "f1")
GRADE_METRICS = (*LABEL_METRICS, "quadratic_weighted_kappa", "grade_mae")
ID_COLUMNS = ("sample_id", *IMAGE_COLUMNS)
VALUE_COLUMNS = (*GRADE_COLUMNS, "prediction", "predicted", "estimate", "class")
_AFFINE_TOLERANCE = 1e-5  # metres


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Results of all metrics.

    Attributes
    ----------
    kind
        ``images``, ``labels`` or ``grades``.
    facts
        What was compared: axes, or samples and subjects.
    results
        One for each metric, by its name.
    """

    kind: Literal["images", "labels", "grades"]
    facts: dict[str, Any]
    results: dict[str, MetricResult]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts and results."""
        rows = [{"name": n, "direction": metrics.get_metric(n).direction, **r.as_dict()} for n, r in self.results.items()]
        return {"kind": self.kind, **self.facts, "results": rows}


def is_table(path: Path) -> bool:
    """Whether `path` is taken as a table of labels."""
    return path.suffix.lower() in {".csv", ".tsv"}


def compare_images(
    reference: Path,
    estimate: Path,
    *,
    mask: Path | None = None,
    names: Sequence[str] = (),
    nan: Literal["refuse", "omit"] = "refuse",
    contrast_axis: int | None = None,
    ignore_geometry: bool = False,
) -> Comparison:
    """Compare two images, series or parameter maps (NIfTI, DICOM, .npy).

    Parameters
    ----------
    reference, estimate
        What :func:`medcore.io.open` reads as images, of one shape and position.
    mask
        Where to compare, 0 and 1, one image for all contrasts or one for each.
    names
        Metrics; by default those of :data:`IMAGE_METRICS`, for complex images :data:`COMPLEX_METRICS`.
    nan
        ``omit`` leaves out voxels that are not finite and counts them; by default they are an error.
    contrast_axis
        For ``.npy`` files, see :func:`medcore.io.read_npy`.
    ignore_geometry
        Compare voxel by voxel even if the files state different positions.

    Raises
    ------
    InputError
        If a file cannot be read, is k-space, or has another shape or position.
    ConfigError
        If a metric is unknown or is none of images.
    """
    options = {} if contrast_axis is None else {"contrast_axis": contrast_axis}
    ref, est = _images(reference, options), _images(estimate, options)
    _check_same_place(ref, est, ignore_geometry)
    inside = None
    if mask is not None:
        shown = _images(mask, options)
        _check_same_place(ref, shown, ignore_geometry, contrasts=False)
        inside = shown.data[0] if len(shown.data) == 1 else shown.data
    complex_data = np.iscomplexobj(ref.data) or np.iscomplexobj(est.data)
    chosen = _chosen(names, COMPLEX_METRICS if complex_data else IMAGE_METRICS, ("image", "maps"))
    results = {m.id: m.function(ref.data, est.data, mask=inside, nan=nan) for m in chosen}
    axes = dict(zip(("contrast", "z", "y", "x"), ref.data.shape, strict=True))
    return Comparison(kind="images", facts={"axes": axes, "masked": mask is not None}, results=results)


def _images(path: Path, options: dict[str, Any]) -> io.ImageSeries:
    kind = io.recognise(path)
    item = io.open(path, **(options if kind in {"npy", "npz"} else {}))
    if not isinstance(item, io.ImageSeries):
        raise InputError(path, "holds k-space", "reconstruct it first, metrics compare images")
    return item


def _check_same_place(ref: io.ImageSeries, other: io.ImageSeries, ignore_geometry: bool, *, contrasts: bool = True) -> None:
    start = 0 if contrasts or len(other.data) not in {1, len(ref.data)} else 1
    if ref.data.shape[start:] != other.data.shape[start:]:
        raise InputError(
            other.source,
            f"has shape {other.data.shape}, {ref.source} has {ref.data.shape}",
            "give images of one shape (contrast, z, y, x)",
        )
    assumed = any("no geometry in the file" in r for r in (*ref.repairs, *other.repairs))
    if not (ignore_geometry or assumed or np.allclose(ref.affine, other.affine, atol=_AFFINE_TOLERANCE)):
        raise InputError(
            other.source, f"lies elsewhere than {ref.source} (their affines differ)", "resample it, or add --ignore-geometry"
        )


def compare_labels(
    reference: Path,
    estimate: Path,
    *,
    names: Sequence[str] = (),
    column: str | None = None,
    id_column: str | None = None,
    subject_column: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two CSV tables of labels or of ordinal grades, row by row of one identifier.

    Values that are all whole numbers are grades. An empty estimate is an answer that could not be read: wrong for metrics of labels, and
    metrics of grades then have no value. With a column of subjects the metrics get bootstrap intervals over subjects.

    Parameters
    ----------
    reference, estimate
        The tables; both hold the same identifiers, in any order. Without a column of identifiers in both, rows are paired in order.
    names
        Metrics; by default :data:`GRADE_METRICS` or :data:`LABEL_METRICS`.
    column, id_column, subject_column
        Columns of value, identifier and subject; by default the first known name (:data:`VALUE_COLUMNS`, :data:`ID_COLUMNS`;
        ``subject``, ``patient``, ...). The reference holds the subjects.
    level, seed
        Level and random seed of the intervals.

    Raises
    ------
    InputError
        If a table cannot be read, lacks a column, or its identifiers are not those of the other; the first one is named.
    ConfigError
        If a metric is unknown or is none of labels.
    """
    tables = read_table(reference), read_table(estimate)
    truth = _values(tables[0], column)
    answers = _aligned(tables[0], tables[1], _values(tables[1], column), id_column)
    empty = next((line for line, v in zip(tables[0].lines, truth, strict=True) if not v), None)
    if empty is not None:
        raise InputError(reference, f"has no label in line {empty}", "leave unlabelled samples out")
    graded = all(_is_grade(v) for v in truth) and all(_is_grade(v) for v in answers if v)
    ref: list[Any] = [int(v) if graded else v for v in truth]
    est: list[Any] = [(int(v) if graded else v) if v else None for v in answers]
    name = subject_column or tables[0].find(SUBJECT_COLUMNS)
    subjects = tables[0].column(name) if name else None
    default = GRADE_METRICS if graded else LABEL_METRICS
    chosen = _chosen(names, default, ("classification",))
    results = {m.id: _label_metric(m, ref, est, subjects, level, seed) for m in chosen}
    facts: dict[str, Any] = {
        "samples": len(ref),
        "subjects": len(set(subjects)) if subjects else None,
        "unanswered": est.count(None),
    }
    return Comparison(kind="grades" if graded else "labels", facts=facts, results=results)


def _is_grade(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10


def _values(table: Table, column: str | None) -> tuple[str, ...]:
    name = column or table.find(VALUE_COLUMNS)
    if name is None:
        raise InputError(
            table.path, f"has no column that is known to hold labels, it has {', '.join(table.columns)}", "name one with --column"
        )
    return table.column(name)


def _aligned(ref: Table, est: Table, values: tuple[str, ...], id_column: str | None) -> list[str]:
    """`values` of `est` in the order of `ref`."""
    own = id_column or ref.find(ID_COLUMNS)
    theirs = id_column or est.find(ID_COLUMNS)
    if own is None or theirs is None:
        if len(ref.rows) != len(est.rows):
            raise InputError(
                est.path,
                f"has {len(est.rows)} rows, {ref.path} has {len(ref.rows)}",
                "name a column of identifiers with --id-column",
            )
        return list(values)
    keys = [table.column(name) for table, name in ((ref, own), (est, theirs))]
    for table, ids in zip((ref, est), keys, strict=True):
        counted: set[str] = set()
        for line, key in zip(table.lines, ids, strict=True):
            if key in counted:
                raise InputError(table.path, f"has {key!r} twice, again in line {line}", "give every sample one row")
            counted.add(key)
    found = dict(zip(keys[1], values, strict=True))
    for table, ids, other in ((est, keys[0], found), (ref, keys[1], set(keys[0]))):
        missing = next((key for key in ids if key not in other), None)
        if missing is not None:
            raise InputError(table.path, f"lacks {missing!r}, which the other table has", "give both tables the same samples")
    return [found[key] for key in keys[0]]


def _label_metric(
    m: Metric, ref: list[Any], est: list[Any], subjects: Sequence[str] | None, level: float, seed: int
) -> MetricResult:
    function: Callable[..., MetricResult] = m.function
    if m.id in {"quadratic_weighted_kappa", "grade_mae"} and None in est:
        lost = f"{est.count(None)} of {len(est)} samples have no estimate"
        return replace(undefined(lost, n=len(est)), metric=m.identity, unit=m.unit)
    plain = function(ref, est)
    if subjects is None or plain.value is None:
        return plain
    columns = tuple(np.array(v, dtype=object) for v in (ref, est))

    def statistic(a: np.ndarray, b: np.ndarray) -> MetricResult:
        return function(a.tolist(), b.tolist())

    drawn = metrics.cluster_interval(columns, list(subjects), statistic, level=level, seed=seed)
    return replace(plain, low=drawn.low, high=drawn.high, level=drawn.level, reason=drawn.reason, note=drawn.note)


def _chosen(names: Sequence[str], default: Sequence[str], kinds: tuple[str, ...]) -> list[Metric]:
    found = [metrics.get_metric(n) for n in (names or default)]
    for m in found:
        if m.kind not in kinds or m.inputs[:2] != ("reference", "estimate"):
            fitting = [n for n, k in metrics.registered().items() if k.kind in kinds and k.inputs[:2] == ("reference", "estimate")]
            raise ConfigError(f"metric {m.id!r}", f"does not fit this input, which has {', '.join(fitting)}", "choose one of these")
    return found
