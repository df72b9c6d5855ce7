"""Overlap and distance of segmentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from medcore.errors import InputError
from medcore.metrics.base import MetricResult, Values, metric, numbers, undefined

_RELOADED = "Maier-Hein, Reinke et al. 2024 (Metrics Reloaded), doi 10.1038/s41592-023-02151-z"


@metric(
    "dice",
    kind="mask",
    variant="binary",
    direction="higher",
    definition="2 |A and B| / (|A| + |B|); 0 if one mask is empty, undefined if both are",
    source=f"Dice 1945, doi 10.2307/1932409; {_RELOADED}",
    referee="scikit-learn f1_score",
)
def dice(reference: Values, estimate: Values, *, label: int | None = None) -> MetricResult:
    """Overlap of two masks.

    Parameters
    ----------
    reference, estimate
        Arrays of one shape that hold 0 and one other value; or any labels, of which `label` is meant.
    label
        The label to compare; by default the only one that occurs.

    Returns
    -------
    MetricResult
        `n` is the number of voxels in the reference.

    Raises
    ------
    InputError
        If shapes differ, values are not finite, or several labels occur and none is chosen.
    """
    ref, est = _masks(reference, estimate, label)
    total, n = int(ref.sum() + est.sum()), int(ref.sum())
    if not total:
        return undefined("both masks are empty")
    return MetricResult(value=2 * int((ref & est).sum()) / total, n=n)


@metric(
    "jaccard",
    kind="mask",
    variant="binary",
    direction="higher",
    definition="|A and B| / |A or B|; 0 if one mask is empty, undefined if both are",
    source=f"Jaccard 1912, doi 10.1111/j.1469-8137.1912.tb05611.x; {_RELOADED}",
    referee="scikit-learn jaccard_score",
)
def jaccard(reference: Values, estimate: Values, *, label: int | None = None) -> MetricResult:
    """Intersection over union of two masks; see :func:`dice`."""
    ref, est = _masks(reference, estimate, label)
    either = int((ref | est).sum())
    if not either:
        return undefined("both masks are empty")
    return MetricResult(value=int((ref & est).sum()) / either, n=int(ref.sum()))


@metric(
    "hausdorff95",
    kind="mask",
    variant="larger-of-two",
    direction="lower",
    unit="m",
    definition="the larger of the two 95th percentiles of the distances from the surface of one mask to that of the other",
    source=_RELOADED,
    referee="scipy cdist of all pairs of surface voxels",
)
def hausdorff95(
    reference: Values, estimate: Values, *, label: int | None = None, spacing: Sequence[float] | None = None
) -> MetricResult:
    """Hausdorff distance without its worst 5 %.

    Surfaces are the voxels of a mask with a face towards the outside, or at the border of the image; distances are between their centres.
    Axes of length 1 do not count.

    Parameters
    ----------
    reference, estimate, label
        See :func:`dice`.
    spacing
        Distance of voxels along each axis (metres); by default distances are in pixels.
    """
    found = _distances(reference, estimate, label, spacing)
    if isinstance(found, MetricResult):
        return found
    value = max(float(np.percentile(distance, 95)) for distance in found)
    return MetricResult(value=value, n=found[0].size, unit="m" if spacing is not None else "pixel")


@metric(
    "average_surface_distance",
    kind="mask",
    variant="symmetric",
    direction="lower",
    unit="m",
    definition="mean distance from the surface of each mask to that of the other, over all voxels of both surfaces",
    source=f"ASSD: Heimann et al. 2009, doi 10.1109/TMI.2009.2013851; {_RELOADED}",
    referee="scipy cdist of all pairs of surface voxels",
)
def average_surface_distance(
    reference: Values, estimate: Values, *, label: int | None = None, spacing: Sequence[float] | None = None
) -> MetricResult:
    """Average symmetric surface distance; see :func:`hausdorff95`."""
    found = _distances(reference, estimate, label, spacing)
    if isinstance(found, MetricResult):
        return found
    value = float(np.concatenate(found).mean())
    return MetricResult(value=value, n=found[0].size, unit="m" if spacing is not None else "pixel")


def surface(mask: Bool[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """The voxels of a mask with a face towards the outside or at the border of the image."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask))


def _distances(
    reference: Values, estimate: Values, label: int | None, spacing: Sequence[float] | None
) -> tuple[Float[np.ndarray, " a"], Float[np.ndarray, " b"]] | MetricResult:
    """From each surface voxel of one mask the distance to the other's surface, both ways."""
    ref, est = _masks(reference, estimate, label)
    step = np.ones(ref.ndim) if spacing is None else np.asarray(spacing, dtype=np.float64)
    if step.shape != (ref.ndim,) or not np.all(np.isfinite(step) & (step > 0)):
        raise InputError("spacing", f"is {spacing} for {ref.ndim} axes", "give a positive distance for each axis")
    empty = [name for name, mask in (("reference", ref), ("estimate", est)) if not mask.any()]
    if empty:
        words = f"the {empty[0]} is empty" if len(empty) == 1 else "both masks are empty"
        return replace(undefined(f"{words}, a distance needs two surfaces"), unit="pixel" if spacing is None else "m")
    long = tuple(i for i, size in enumerate(ref.shape) if size > 1)
    shape = tuple(ref.shape[i] for i in long) or (1,)
    edges = [surface(mask.reshape(shape)) for mask in (ref, est)]
    sampling = step[list(long)] if long else np.ones(1)
    # From every voxel to the nearest one of a surface.
    far = [ndimage.distance_transform_edt(~edge, sampling=sampling) for edge in edges]
    return np.asarray(far[1][edges[0]]), np.asarray(far[0][edges[1]])


def _masks(reference: Values, estimate: Values, label: int | None) -> tuple[Bool[np.ndarray, "..."], Bool[np.ndarray, "..."]]:
    ref, est = numbers(reference, "reference"), numbers(estimate, "estimate")
    if ref.shape != est.shape:
        raise InputError("shapes", f"differ: reference {ref.shape}, estimate {est.shape}", "give masks of one shape")
    for what, values in (("reference", ref), ("estimate", est)):
        bad = ~np.isfinite(values)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise InputError(what, f"{np.count_nonzero(bad)} values are not finite, the first at index {first}", "give labels")
    if label is None:
        found = np.union1d(ref[ref != 0], est[est != 0])
        if found.size > 1:
            shown = ", ".join(f"{v:g}" for v in found[:6]) + (" ..." if found.size > 6 else "")
            raise InputError("masks", f"hold the labels {shown}", "choose one of them")
        return ref != 0, est != 0
    return ref == label, est == label
