"""The reward for boxes in the right place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from medcore.errors import ConfigError, InputError
from vrft_aug import coordinates as units
from vrft_aug.parsing import read_boxes
from vrft_aug.rewards.base import samples
from vrft_aug.rewards.tightening import TightenSettings


@dataclass(frozen=True, kw_only=True)
class BoxIou:
    """Overlap of the stated boxes with the true ones in [0, 1], after the best one-to-one matching.

    With n true and m stated boxes:

    ======== =======================================================================================
    score    value
    ======== =======================================================================================
    ``iou``  sum of the IoUs of matched pairs / max(n, m); pairs below `threshold` count 0
    ``giou`` the same with (1 + GIoU) / 2 (arXiv 1902.09630), which also tells far from near for
             boxes that do not touch; a box as large as the image then earns at least 0.5
    ``f1``   2 x pairs of at least `threshold` / (n + m)
    ======== =======================================================================================

    Missed and superfluous boxes thus cost the same, and many boxes or one giant box do not pay under ``iou``.

    Uses the columns ``boxes`` (``[x0, y0, x1, y1]`` in pixels), ``image_size`` (``[w, h]``) and ``box_frame`` (see `coordinates`). An
    image without boxes is answered by ``[]``. Boxes that cannot be read earn 0. A sample whose true boxes are no boxes of its image
    (swapped corners, no area, beyond the border by more than a pixel) cannot be judged: they are in other units, or of another image.

    >>> reward = BoxIou(coordinates="pixel")
    >>> reward(prompts=[""], completions=["<answer>[0, 0, 10, 5]</answer>"], boxes=[[[0, 0, 10, 10]]], image_size=[[64, 64]])
    [0.5]
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """Smallest and largest value."""

    coordinates: str | None = None
    """Units of the stated boxes (:mod:`vrft_aug.coordinates`): ``rel1000``, ``rel1``, ``resized``, ``original``, ...; by default the column
    ``box_frame``, the extent of the image in the units of the question, and ``norm1000`` where there is none."""
    resize: units.Resize | None = None
    """The processor's resize, for coordinates ``resized``; by default that of transformers' class."""
    score: Literal["iou", "giou", "f1"] = "iou"
    """What is measured."""
    threshold: float | None = None
    """Smallest IoU that counts, by default 0 for ``iou`` and 0.5 for ``f1``; none for ``giou``."""
    tighten: TightenSettings | None = None
    """A threshold on the score ``iou`` that rises with performance. It is applied in training, over all processes, by
    :class:`vrft_aug.tighten.TightenThreshold`; the values of this reward stay the plain overlap, whose mean is logged as
    ``box_iou/overlap``."""

    def __post_init__(self) -> None:
        if self.coordinates is not None:
            units.check_coordinates(self.coordinates)
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError("box_iou.threshold", f"is {self.threshold}", "give a number from 0 to 1")
        if self.threshold is not None and self.score == "giou":
            raise ConfigError("box_iou.threshold", "has no meaning for giou", "remove it or choose iou or f1")
        if self.resize is not None and self.coordinates != "resized":
            raise ConfigError("box_iou.resize", f"has no meaning for coordinates {self.coordinates}", "remove it or choose resized")
        if self.tighten is not None and (self.score != "iou" or self.threshold is not None):
            raise ConfigError("box_iou.tighten", "goes with the score iou without a fixed threshold only", "remove one of them")

    @property
    def __name__(self) -> str:
        return "box_iou"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Score of each completion, None where the true boxes or the size of the image are not known, or do not fit each other."""
        del prompts
        scores = [self._one(*row) for row in samples(completions, columns, "boxes", "image_size", "box_frame")]
        judged, log_metric = [score for score in scores if score is not None], columns.get("log_metric")
        if self.tighten is not None and judged and callable(log_metric):
            log_metric("box_iou/overlap", sum(judged) / len(judged))
        return scores

    def _one(self, completion: Any, boxes: Any, image_size: Any, box_frame: Any) -> float | None:
        if boxes is None or image_size is None or not _are_boxes(boxes, image_size):
            return None
        stated = read_boxes(completion)
        if stated is None:
            return 0.0
        if not len(boxes) or not stated:
            return float(len(boxes) == len(stated))
        try:
            own = self.coordinates is None and box_frame
            extent = box_frame if own else units.frame(self.coordinates or "norm1000", image_size, resize=self.resize)
        except InputError:  # an image that the processor refuses
            return None
        return self.compare(boxes, units.convert(stated, extent, image_size))

    def compare(self, truth: Sequence[Sequence[units.Number]], stated: Sequence[Sequence[units.Number]]) -> float:
        """Score of boxes in the same units, at least one on each side."""
        import numpy as np
        from scipy.optimize import linear_sum_assignment

        from medcore.metrics import giou, iou

        values = (1 + giou(truth, stated)) / 2 if self.score == "giou" else iou(truth, stated)
        if self.score == "f1":
            values = np.asarray((values >= (0.5 if self.threshold is None else self.threshold)) & (values > 0), dtype=float)
        elif self.threshold:
            values = np.where(values >= self.threshold, values, 0.0)
        total = float(values[linear_sum_assignment(values, maximize=True)].sum())
        count = (len(truth) + len(stated)) / 2 if self.score == "f1" else max(len(truth), len(stated))
        return min(1.0, total / count)


def _are_boxes(boxes: Sequence[Sequence[units.Number]], image_size: Sequence[units.Number]) -> bool:
    """Whether these can be boxes of an image of this size; a pixel beyond the border is rounding."""
    width, height = image_size
    return all(
        len(box) == 4
        and all(map(math.isfinite, box))
        and -1 <= box[0] < box[2] <= width + 1
        and -1 <= box[1] < box[3] <= height + 1
        for box in boxes
    )
