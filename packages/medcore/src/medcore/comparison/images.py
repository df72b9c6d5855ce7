"""Images, parameter maps with or without uncertainty, and masks: one of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.stats import norm

from medcore import io, metrics
from medcore.comparison.results import Comparison, check_level, chosen
from medcore.datasets.images import SUFFIXES, read_image
from medcore.errors import InputError
from medcore.io.geometry import same_place
from medcore.metrics import Metric, MetricResult
from medcore.metrics.base import Nan

IMAGE_METRICS = ("nrmse", "ssim", "psnr", "bias", "loa_low", "loa_high", "median_relative_error", "ccc")
COMPLEX_METRICS = ("nrmse",)
MASK_METRICS = ("dice", "jaccard", "hausdorff95", "average_surface_distance")
UNCERTAINTY_METRICS = (
    "coverage",
    "mean_width",
    "interval_score",
    "gaussian_nll",
    "crps_gaussian",
    "sharpness",
    "z_score_rms",
    "regression_calibration_error",
    "ence",
    "ause",
    "error_spearman",
)


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are compared.

    Attributes
    ----------
    kind
        ``images`` or ``masks``.
    names
        Metrics; by default those that fit.
    nan
        ``omit`` leaves out voxels that are not finite and counts them; by default they are an error.
    contrast_axis
        For ``.npy`` files, see :func:`medcore.io.read_npy`.
    ignore_geometry
        Compare voxel by voxel even if the files state different positions.
    label
        The label that masks compare; by default the only one that occurs.
    level
        Level of the intervals whose coverage is measured.
    """

    kind: Literal["images", "masks"] = "images"
    names: Sequence[str] = ()
    nan: Nan = "refuse"
    contrast_axis: int | None = None
    ignore_geometry: bool = False
    label: int | None = None
    level: float = 0.95


def compare_images(
    reference: Path,
    estimate: Path,
    *,
    mask: Path | None = None,
    sd: Path | None = None,
    names: Sequence[str] = (),
    nan: Nan = "refuse",
    contrast_axis: int | None = None,
    ignore_geometry: bool = False,
    kind: Literal["images", "masks"] = "images",
    label: int | None = None,
    level: float = 0.95,
) -> Comparison:
    """Compare two images, series, parameter maps or masks (NIfTI, DICOM, .npy, PNG, ...).

    Parameters
    ----------
    reference, estimate
        What :func:`medcore.io.open` reads as images, or grey PNG, JPEG, BMP or TIFF files; of one shape and position.
    mask
        Where to compare, 0 and 1, one image for all contrasts or one for each.
    sd
        Standard deviations of the estimate, an image of its shape: adds :data:`UNCERTAINTY_METRICS`. Intervals are those of a normal
        distribution at `level`.
    names
        Metrics; by default those of :data:`IMAGE_METRICS`, for complex images :data:`COMPLEX_METRICS`, for masks :data:`MASK_METRICS`.
    nan, contrast_axis, ignore_geometry, kind, label, level
        See :class:`ImageOptions`.

    Raises
    ------
    InputError
        If a file cannot be read, is k-space, or has another shape or position.
    ConfigError
        If a metric is unknown or does not fit.
    """
    options = ImageOptions(
        kind=kind,
        names=names,
        nan=nan,
        contrast_axis=contrast_axis,
        ignore_geometry=ignore_geometry,
        label=label,
        level=level,
    )
    results, facts = image_results(reference, estimate, mask, sd, options)
    return Comparison(kind=kind, facts={**facts, "masked": mask is not None}, results=results)


def image_results(
    reference: Path, estimate: Path, mask: Path | None, sd: Path | None, options: ImageOptions
) -> tuple[dict[str, MetricResult], dict[str, Any]]:
    """The results of one pair of images, and its axes; see :func:`compare_images`."""
    check_level(options.level)
    ref, est = _read(reference, options), _read(estimate, options)
    _check_same_place(ref, est, options)
    inside = None
    if mask is not None:
        shown = _read(mask, options)
        _check_same_place(ref, shown, options, contrasts=False)
        inside = shown.data[0] if len(shown.data) == 1 else shown.data
    axes = dict(zip(("contrast", "z", "y", "x"), ref.data.shape, strict=True))
    if options.kind == "masks":
        return _mask_results(ref, est, inside, options), {"axes": axes}
    complex_data = np.iscomplexobj(ref.data) or np.iscomplexobj(est.data)
    inputs: dict[str, Any] = {"reference": ref.data, "estimate": est.data}
    default: tuple[str, ...] = COMPLEX_METRICS if complex_data else IMAGE_METRICS
    if sd is not None:
        deviation = _read(sd, options)
        _check_same_place(ref, deviation, options)
        half = float(norm.ppf((1 + options.level) / 2)) * deviation.data
        inputs.update(mean=est.data, deviation=deviation.data, low=est.data - half, high=est.data + half)
        default += UNCERTAINTY_METRICS
    fits = _fitting(inputs)
    results = {}
    for m in chosen(options.names, default, fits):
        arguments = [inputs[name] for name in m.inputs]
        extra = {"level": options.level} if m.id == "interval_score" else {}
        results[m.id] = m.function(*arguments, mask=inside, nan=options.nan, **extra)
    return results, {"axes": axes}


def _fitting(inputs: Mapping[str, Any]) -> dict[str, Metric]:
    return {
        name: m
        for name, m in metrics.registered().items()
        if m.kind in {"image", "maps", "uncertainty"} and set(m.inputs) <= set(inputs)
    }


def _mask_results(
    ref: io.ImageSeries, est: io.ImageSeries, inside: np.ndarray | None, options: ImageOptions
) -> dict[str, MetricResult]:
    if inside is not None:
        raise InputError("--mask", "does not apply to masks", "leave it out")
    if len(ref.data) != 1:
        raise InputError(ref.source, f"holds {len(ref.data)} contrasts", "give one mask in a file")
    fits = {n: m for n, m in metrics.registered().items() if m.kind == "mask"}
    known = not any("no geometry in the file" in r for r in ref.repairs)
    results = {}
    for m in chosen(options.names, MASK_METRICS, fits):
        spacing = {"spacing": ref.voxel_size} if known and m.unit == "m" else {}
        results[m.id] = m.function(ref.data[0], est.data[0], label=options.label, **spacing)
    return results


def _read(path: Path, options: ImageOptions) -> io.ImageSeries:
    if path.suffix.lower() in SUFFIXES and path.is_file():
        pixels = read_image(path)
        if pixels.ndim != 2:
            raise InputError(path, "is a colour image", "give grey images")
        note = "no geometry in the file: voxels of 1 m at the origin"
        return io.ImageSeries(data=pixels[None, None].astype(np.float32), affine=np.eye(4), repairs=(note,), source=str(path))
    kind = io.recognise(path)
    given = {} if options.contrast_axis is None or kind not in {"npy", "npz"} else {"contrast_axis": options.contrast_axis}
    item = io.open(path, **given)
    if not isinstance(item, io.ImageSeries):
        raise InputError(path, "holds k-space", "reconstruct it first, metrics compare images")
    return item


def _check_same_place(ref: io.ImageSeries, other: io.ImageSeries, options: ImageOptions, *, contrasts: bool = True) -> None:
    start = 0 if contrasts or len(other.data) not in {1, len(ref.data)} else 1
    if ref.data.shape[start:] != other.data.shape[start:]:
        raise InputError(
            other.source,
            f"has shape {other.data.shape}, {ref.source} has {ref.data.shape}",
            "give images of one shape (contrast, z, y, x)",
        )
    assumed = any("no geometry in the file" in r for r in (*ref.repairs, *other.repairs))
    if not (options.ignore_geometry or assumed or same_place(ref.affine, other.affine, ref.shape)):
        raise InputError(
            other.source, f"lies elsewhere than {ref.source} (their affines differ)", "resample it, or add --ignore-geometry"
        )
