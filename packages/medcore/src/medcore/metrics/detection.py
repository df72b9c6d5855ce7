"""Boxes ``[x0, y0, x1, y1]`` in pixels, x0 <= x1 and y0 <= y1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy.optimize import linear_sum_assignment

from medcore.errors import InputError, MissingExtraError
from medcore.metrics.base import MetricResult, Values, metric, numbers, undefined

Boxes = Shaped[np.ndarray, "..."] | Sequence[Any]


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
    overlap, union, _ = _areas(_boxes(reference, "reference"), _boxes(estimate, "estimate"))
    return _ratio(overlap, union)


def giou(reference: Boxes, estimate: Boxes) -> Float[np.ndarray, "reference estimate"]:
    """Generalised IoU (Rezatofighi et al. 2019, arXiv 1902.09630): IoU - (hull - union) / hull, in (-1, 1]; parameters as :func:`iou`."""
    overlap, union, hull = _areas(_boxes(reference, "reference"), _boxes(estimate, "estimate"))
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


@metric(
    "mean_iou",
    kind="detection",
    variant="matched",
    direction="higher",
    definition="mean over images of (sum of IoUs of the best one-to-one pairs) / max(number of references, number of estimates)",
    source="Hungarian matching (Kuhn 1955); missed and spurious boxes count 0",
)
def mean_iou(reference: Sequence[Boxes], estimate: Sequence[Boxes | None]) -> MetricResult:
    """Mean IoU over images.

    Parameters
    ----------
    reference, estimate
        For each image its boxes (possibly none); an estimate of None means that no answer could be read and counts 0. Images with
        neither reference nor estimated boxes are left out and counted.
    """
    if len(reference) != len(estimate):
        raise InputError("boxes", f"{len(reference)} references and {len(estimate)} estimates", "give one list for each image")
    scores: list[float] = []
    for ref, est in zip(reference, estimate, strict=True):
        matrix = iou(ref, [] if est is None else est)
        if est is None and not len(matrix):
            scores.append(0.0)
        elif max(matrix.shape):
            pairs = match_boxes(ref, [] if est is None else est, threshold=0.0).pairs
            scores.append(sum(p[2] for p in pairs) / max(matrix.shape))
    dropped = len(reference) - len(scores)
    if not scores:
        return undefined("no image has boxes", dropped=dropped)
    return MetricResult(value=float(np.mean(scores)), n=len(scores), dropped=dropped)


@metric(
    "mean_average_precision",
    kind="detection",
    variant="coco",
    direction="higher",
    definition="COCO AP: mean over classes and IoU thresholds 0.50, 0.55 ... 0.95 of 101-point interpolated precision, 100 boxes an image",
    source="Lin et al. 2014, arXiv 1405.0312; computed by faster-coco-eval",
)
def mean_average_precision(
    reference: Sequence[Boxes],
    estimate: Sequence[Boxes],
    scores: Sequence[Values],
    *,
    reference_classes: Sequence[Sequence[int]] | None = None,
    estimate_classes: Sequence[Sequence[int]] | None = None,
) -> MetricResult:
    """COCO's average precision; needs the extra ``detect``.

    Parameters
    ----------
    reference, estimate
        For each image its boxes.
    scores
        For each image one confidence for each estimated box.
    reference_classes, estimate_classes
        For each image one class number for each box; by default there is one class.

    Raises
    ------
    MissingExtraError
        If faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingExtraError("faster_coco_eval", "medcore[detect]", "mean average precision") from error
    truth = _annotations(reference, reference_classes, None)
    found = _annotations(estimate, estimate_classes, scores)
    if len(reference) != len(estimate):
        raise InputError("boxes", f"{len(reference)} references and {len(estimate)} estimates", "give one list for each image")
    if not truth:
        return undefined("there are no reference boxes")
    if not found:
        return MetricResult(value=0.0, n=len(truth))
    classes = sorted({a["category_id"] for a in [*truth, *found]})
    images = [{"id": i} for i in range(1, len(reference) + 1)]
    coco = COCO({"images": images, "categories": [{"id": c, "name": str(c)} for c in classes], "annotations": truth})
    evaluation = COCOeval_faster(coco, coco.loadRes(found), "bbox", print_function=_silent)
    evaluation.run()
    return MetricResult(value=float(evaluation.stats[0]), n=len(truth))


def _silent(*_: object) -> None:
    """The library's own report goes nowhere."""


def _annotations(
    boxes: Sequence[Boxes], classes: Sequence[Sequence[int]] | None, scores: Sequence[Values] | None
) -> list[dict[str, Any]]:
    """COCO's records, images and boxes numbered from 1."""
    records: list[dict[str, Any]] = []
    for i, one in enumerate(boxes):
        array = _boxes(one, "boxes")
        kinds = [1] * len(array) if classes is None else list(classes[i])
        sure = [1.0] * len(array) if scores is None else list(scores[i])
        if not len(array) == len(kinds) == len(sure):
            raise InputError(
                "boxes", f"image {i} has {len(array)} boxes, {len(kinds)} classes, {len(sure)} scores", "give one each"
            )
        for (x0, y0, x1, y1), kind, score in zip(array.tolist(), kinds, sure, strict=True):
            record = {"id": len(records) + 1, "image_id": i + 1, "category_id": int(kind), "bbox": [x0, y0, x1 - x0, y1 - y0]}
            extra = {"area": (x1 - x0) * (y1 - y0), "iscrowd": 0} if scores is None else {"score": float(score)}
            records.append(record | extra)
    return records


def _boxes(boxes: Boxes, what: str) -> Float[np.ndarray, "n 4"]:
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
