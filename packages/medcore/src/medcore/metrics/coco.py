"""Average precision of boxes by COCO's rules, also for weighted images: an interval needs it thousands of times."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from medcore.errors import InputError
from medcore.metrics.base import MetricResult, Weighted, Weights, metric, undefined
from medcore.metrics.detection import PerImage, checked_boxes, iou

THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_BOXES = 100
"""So many boxes of an image and class count, the surest ones."""
_RECALLS = np.linspace(0, 1, 101)
_LIN = "Lin et al. 2014, arXiv 1405.0312"
_REFEREE = "pycocotools; faster-coco-eval; COCO's rule by loops"
Classes = PerImage | None


class _ClassMatches(NamedTuple):
    """The estimates of one class in all images, surest first: their image, whether they hit at each threshold; references by image."""

    image: Int[np.ndarray, " boxes"]
    hit: Bool[np.ndarray, "thresholds boxes"]
    references: Float[np.ndarray, " images"]


def _average_precision(matches: list[_ClassMatches]) -> Weighted:
    def average(weights: Weights) -> float | None:
        found = [_interpolated(one, weights) for one in matches if weights @ one.references]
        return float(np.mean(found)) if found else None

    return average


def _interpolated(matches: _ClassMatches, weights: Weights) -> Float[np.ndarray, " thresholds"]:
    """Mean over 101 recalls of the best precision at this recall or above."""
    own = weights[matches.image]
    right = np.cumsum(matches.hit * own, axis=1)
    called = np.cumsum(own)
    precision = np.divide(right, called, out=np.zeros_like(right), where=called > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total = weights @ matches.references
    found = np.zeros(len(right))
    for i, (row, height) in enumerate(zip(right / total, best, strict=True)):
        place = np.searchsorted(row, _RECALLS, side="left")
        found[i] = np.sum(height[place[place < row.size]]) / _RECALLS.size
    return found


def _prepared(
    thresholds: Float[np.ndarray, " thresholds"],
    reference: PerImage,
    estimate: PerImage,
    scores: PerImage,
    reference_classes: Classes,
    estimate_classes: Classes,
) -> list[_ClassMatches]:
    if not len(reference) == len(estimate) == len(scores):
        raise InputError("boxes", f"{len(reference)} references and {len(estimate)} estimates", "give one list for each image")
    truth = _by_class(reference, reference_classes, None)
    found = _by_class(estimate, estimate_classes, scores)
    none = np.zeros((0, 5))
    matches = []
    for kind in sorted({kind for image in truth for kind in image}):
        images, hits, sure = [], [], []
        for i, (ref, est) in enumerate(zip(truth, found, strict=True)):
            boxes = est.get(kind, none)
            boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")][:MAX_BOXES]
            images.append(np.full(len(boxes), i))
            sure.append(boxes[:, 4])
            hits.append(_hits(ref.get(kind, none)[:, :4], boxes[:, :4], thresholds))
        order = np.argsort(-np.concatenate(sure), kind="stable")
        counts = np.array([len(ref.get(kind, none)) for ref in truth], dtype=np.float64)
        matches.append(_ClassMatches(np.concatenate(images)[order], np.concatenate(hits, axis=1)[:, order], counts))
    return matches


def _hits(
    reference: Float[np.ndarray, "n 4"], estimate: Float[np.ndarray, "m 4"], thresholds: Float[np.ndarray, " thresholds"]
) -> Bool[np.ndarray, "thresholds m"]:
    """Whether each estimate, surest first, finds a reference that is still free: the one it overlaps most, of equal ones the last."""
    found = np.zeros((len(thresholds), len(estimate)), dtype=np.bool_)
    free = np.ones((len(thresholds), len(reference)), dtype=np.bool_)
    if not len(reference):
        return found
    overlap = iou(reference, estimate)
    rows = np.arange(len(thresholds))
    for j in range(len(estimate)):
        left = np.where(free, overlap[:, j], -1.0)
        best = left.shape[1] - 1 - np.argmax(left[:, ::-1], axis=1)
        found[:, j] = left[rows, best] >= np.minimum(thresholds, 1 - 1e-10)
        free[rows[found[:, j]], best[found[:, j]]] = False
    return found


def _by_class(boxes: PerImage, classes: Classes, scores: PerImage | None) -> list[dict[int, np.ndarray]]:
    """For each image its boxes (n, 5) by class; the last column is the score."""
    found = []
    for i, one in enumerate(boxes):
        array = checked_boxes(one, "boxes")
        kinds = np.ones(len(array)) if classes is None else np.asarray(classes[i])
        sure = np.ones(len(array)) if scores is None else np.asarray(scores[i], dtype=np.float64)
        if not len(array) == len(kinds) == len(sure):
            problem = f"image {i} has {len(array)} boxes, {len(kinds)} classes, {len(sure)} scores"
            raise InputError("boxes", problem, "give one each")
        if not np.isfinite(sure).all():
            raise InputError("scores", f"those of image {i} are not finite", "leave these boxes out")
        table = np.column_stack([array, sure])
        found.append({int(kind): table[kinds == kind] for kind in np.unique(kinds)})
    return found


def _quick(thresholds: Float[np.ndarray, " thresholds"]) -> Callable[..., Weighted]:
    def weighted(
        reference: PerImage,
        estimate: PerImage,
        scores: PerImage,
        reference_classes: Classes = None,
        estimate_classes: Classes = None,
    ) -> Weighted:
        return _average_precision(_prepared(thresholds, reference, estimate, scores, reference_classes, estimate_classes))

    return weighted


def _result(
    thresholds: Float[np.ndarray, " thresholds"],
    reference: PerImage,
    estimate: PerImage,
    scores: PerImage,
    reference_classes: Classes,
    estimate_classes: Classes,
) -> MetricResult:
    matches = _prepared(thresholds, reference, estimate, scores, reference_classes, estimate_classes)
    value = _average_precision(matches)(np.ones(len(reference))) if matches else None
    if value is None:
        return undefined("there are no reference boxes")
    return MetricResult(value=value, n=int(sum(one.references.sum() for one in matches)))


@metric(
    "mean_average_precision",
    kind="detection",
    variant="coco",
    direction="higher",
    definition="COCO AP: mean over classes and IoU thresholds 0.50, 0.55 ... 0.95 of 101-point interpolated precision, 100 boxes an image",
    source=_LIN,
    referee=_REFEREE,
    weighted=_quick(THRESHOLDS),
)
def mean_average_precision(
    reference: PerImage,
    estimate: PerImage,
    scores: PerImage,
    reference_classes: Classes = None,
    estimate_classes: Classes = None,
) -> MetricResult:
    """COCO's average precision over all areas, without crowd regions.

    Parameters
    ----------
    reference, estimate
        For each image its boxes.
    scores
        For each image one confidence for each estimated box.
    reference_classes, estimate_classes
        For each image one class number for each box; by default there is one class. Classes without reference do not count.

    Raises
    ------
    InputError
        If lengths differ or a box is none.
    """
    return _result(THRESHOLDS, reference, estimate, scores, reference_classes, estimate_classes)


@metric(
    "ap50",
    kind="detection",
    variant="coco",
    direction="higher",
    definition="as mean_average_precision at the IoU threshold 0.50 alone",
    source=_LIN,
    referee=_REFEREE,
    weighted=_quick(THRESHOLDS[:1]),
)
def ap50(
    reference: PerImage,
    estimate: PerImage,
    scores: PerImage,
    reference_classes: Classes = None,
    estimate_classes: Classes = None,
) -> MetricResult:
    """Average precision of boxes that overlap by half; see :func:`mean_average_precision`."""
    return _result(THRESHOLDS[:1], reference, estimate, scores, reference_classes, estimate_classes)


@metric(
    "ap75",
    kind="detection",
    variant="coco",
    direction="higher",
    definition="as mean_average_precision at the IoU threshold 0.75 alone",
    source=_LIN,
    referee=_REFEREE,
    weighted=_quick(THRESHOLDS[5:6]),
)
def ap75(
    reference: PerImage,
    estimate: PerImage,
    scores: PerImage,
    reference_classes: Classes = None,
    estimate_classes: Classes = None,
) -> MetricResult:
    """Average precision of boxes that overlap by three quarters; see :func:`mean_average_precision`."""
    return _result(THRESHOLDS[5:6], reference, estimate, scores, reference_classes, estimate_classes)
