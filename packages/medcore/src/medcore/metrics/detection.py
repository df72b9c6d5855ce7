"""Boxes ``[x0, y0, x1, y1]`` in pixels, x0 <= x1 and y0 <= y1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy.optimize import linear_sum_assignment

from medcore.errors import InputError
from medcore.metrics.base import MetricResult, Weighted, metric, numbers, undefined
from medcore.metrics.resampling import weighted_mean

Boxes = Shaped[np.ndarray, "..."] | Sequence[Any]
PerImage = Shaped[np.ndarray, " images"] | Sequence[Any]
"""For each image its boxes, classes or scores."""


def iou(reference: Boxes, estimate: Boxes) -> Float[np.ndarray, "reference estimate"]:
    """Intersection over union of every reference box with every estimated box; 0 where both have no area.

    Parameters
    ----------
    reference, estimate
        (n, 4) and (m, 4) boxes; one box of four numbers counts as (1, 4), an empty list as (0, 4).

    Returns
    -------
    numpy.ndarray
        (n, m), in [0, 1].

    Raises
    ------
    InputError
        If a box has not four finite numbers, or its corners are swapped.
    """
    overlap, union, _ = _areas(checked_boxes(reference, "reference"), checked_boxes(estimate, "estimate"))
    return _ratio(overlap, union)


def giou(reference: Boxes, estimate: Boxes) -> Float[np.ndarray, "reference estimate"]:
    """Generalised IoU (Rezatofighi et al. 2019, arXiv 1902.09630): IoU - (hull - union) / hull, in (-1, 1]; parameters as :func:`iou`."""
    overlap, union, hull = _areas(checked_boxes(reference, "reference"), checked_boxes(estimate, "estimate"))
    return np.asarray(_ratio(overlap, union) - _ratio(hull - union, hull))


class Matches(NamedTuple):
    """One-to-one pairs of boxes.

    Attributes
    ----------
    pairs
        Index of the reference, index of the estimate, and their IoU.
    missed, spurious
        Indices of references and estimates without a partner.
    """

    pairs: list[tuple[int, int, float]]
    missed: list[int]
    spurious: list[int]


def match_boxes(reference: Boxes, estimate: Boxes, *, threshold: float = 0.5) -> Matches:
    """Pair the boxes so that the sum of the IoUs of at least `threshold` (and above 0) is largest; parameters as :func:`iou`."""
    if not 0 <= threshold <= 1:
        raise InputError("threshold", f"is {threshold}", "give a number between 0 and 1")
    overlap = iou(reference, estimate)
    allowed = np.where(overlap >= threshold, overlap, 0.0)
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    pairs = [(int(i), int(j), float(overlap[i, j])) for i, j in zip(rows, columns, strict=True) if allowed[i, j] > 0]
    missed = sorted(set(range(overlap.shape[0])) - {i for i, _, _ in pairs})
    return Matches(pairs, missed, sorted(set(range(overlap.shape[1])) - {j for _, j, _ in pairs}))


def _per_image(
    reference: PerImage, estimate: PerImage, pairing: Callable[[Boxes, Boxes], float], nothing: float
) -> Float[np.ndarray, " images"]:
    """A score for each image: the sum over its pairs and `nothing` for each box without partner, over the larger number of boxes.

    NaN for images without boxes, `nothing` for those without an answer.
    """
    if len(reference) != len(estimate):
        raise InputError("boxes", f"{len(reference)} references and {len(estimate)} estimates", "give one list for each image")
    found = np.full(len(reference), np.nan)
    for i, (ref, est) in enumerate(zip(reference, estimate, strict=True)):
        n, m = len(checked_boxes(ref, "reference")), 0 if est is None else len(checked_boxes(est, "estimate"))
        if est is None or (max(n, m) and not min(n, m)):
            found[i] = nothing
        elif max(n, m):
            found[i] = (pairing(ref, est) + nothing * abs(n - m)) / max(n, m)
    return found


def _sum_of_iou(reference: Boxes, estimate: Boxes) -> float:
    return float(sum(pair[2] for pair in match_boxes(reference, estimate, threshold=0.0).pairs))


def _sum_of_giou(reference: Boxes, estimate: Boxes) -> float:
    overlap = giou(reference, estimate)
    return float(overlap[linear_sum_assignment(overlap, maximize=True)].sum())


def _iou_of_images(reference: PerImage, estimate: PerImage) -> np.ndarray:
    return _per_image(reference, estimate, _sum_of_iou, 0.0)


def _giou_of_images(reference: PerImage, estimate: PerImage) -> np.ndarray:
    return _per_image(reference, estimate, _sum_of_giou, -1.0)


def _mean(scores: Float[np.ndarray, " images"]) -> MetricResult:
    there = ~np.isnan(scores)
    n = int(there.sum())
    if not n:
        return undefined("no image has boxes", dropped=scores.size)
    return MetricResult(value=float(np.mean(scores[there])), n=n, dropped=scores.size - n)


def _weighted(images: Callable[[PerImage, PerImage], np.ndarray]) -> Callable[..., Weighted]:
    def weighted(reference: PerImage, estimate: PerImage) -> Weighted:
        scores = images(reference, estimate)
        there = ~np.isnan(scores)
        mean = weighted_mean(scores[there])
        return lambda weights: mean(weights[there])

    return weighted


@metric(
    "mean_iou",
    kind="detection",
    variant="matched",
    direction="higher",
    definition="mean over images of (sum of IoUs of the best one-to-one pairs) / max(number of references, number of estimates)",
    source="Hungarian matching (Kuhn 1955); missed and spurious boxes count 0",
    referee="enumeration of all pairings",
    weighted=_weighted(_iou_of_images),
)
def mean_iou(reference: PerImage, estimate: PerImage) -> MetricResult:
    """Mean IoU over images.

    Parameters
    ----------
    reference, estimate
        For each image its boxes (possibly none); an estimate of None means that no answer could be read and counts 0. Images with
        neither reference nor estimated boxes are left out and counted.
    """
    return _mean(_iou_of_images(reference, estimate))


@metric(
    "mean_giou",
    kind="detection",
    variant="matched",
    direction="higher",
    definition="as mean_iou with the pairs of largest summed GIoU; missed and spurious boxes and unread answers count -1",
    source="Rezatofighi et al. 2019, arXiv 1902.09630; Hungarian matching (Kuhn 1955)",
    referee="enumeration of all pairings",
    weighted=_weighted(_giou_of_images),
)
def mean_giou(reference: PerImage, estimate: PerImage) -> MetricResult:
    """Mean generalised IoU over images, in [-1, 1]; parameters as :func:`mean_iou`."""
    return _mean(_giou_of_images(reference, estimate))


def checked_boxes(boxes: Boxes, what: str) -> Float[np.ndarray, "n 4"]:
    """`boxes` as an array.

    Raises
    ------
    InputError
        If a box has not four finite numbers, or its corners are swapped.
    """
    array = numbers(boxes, what)
    if array.size == 0:
        return np.zeros((0, 4))
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(what, f"has shape {array.shape}", "give boxes of four numbers [x0, y0, x1, y1]")
    if not np.isfinite(array).all():
        raise InputError(what, "holds a number that is not finite", "leave this box out")
    if np.any(array[:, :2] > array[:, 2:]):
        bad = array[np.any(array[:, :2] > array[:, 2:], axis=1)][0].tolist()
        raise InputError(what, f"the box {bad} has swapped corners", "give [x0, y0, x1, y1] with x0 <= x1, y0 <= y1")
    return array


def _ratio(above: np.ndarray, below: np.ndarray) -> Float[np.ndarray, "reference estimate"]:
    """The quotient, 0 where `below` is 0."""
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))


def _areas(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Areas of intersection, union and common hull of every pair."""
    inner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    outer = np.maximum(a[:, None, 2:], b[None, :, 2:]) - np.minimum(a[:, None, :2], b[None, :, :2])
    overlap = np.prod(np.maximum(inner, 0), axis=-1)
    sizes = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (a, b)]
    return overlap, sizes[0][:, None] + sizes[1][None, :] - overlap, np.prod(outer, axis=-1)
