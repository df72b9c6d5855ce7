"""What ``medcore metrics`` does: estimates compared with a reference by every metric that fits them, and with each other."""

from medcore.comparison.boxes import BOX_METRICS, compare_boxes
from medcore.comparison.folders import compare_folders
from medcore.comparison.images import (
    COMPLEX_METRICS,
    IMAGE_METRICS,
    MASK_METRICS,
    UNCERTAINTY_METRICS,
    ImageOptions,
    compare_images,
)
from medcore.comparison.kinds import KINDS, Kind, find_kind
from medcore.comparison.labels import BINARY_METRICS, GRADE_METRICS, LABEL_METRICS, compare_labels
from medcore.comparison.results import Comparison, Ranking, rank
from medcore.comparison.scores import SCORE_METRICS, compare_scores
from medcore.comparison.texts import TEXT_METRICS, compare_texts
from medcore.comparison.values import VALUE_METRICS, compare_values

__all__ = [
    "BINARY_METRICS",
    "BOX_METRICS",
    "COMPLEX_METRICS",
    "GRADE_METRICS",
    "IMAGE_METRICS",
    "KINDS",
    "LABEL_METRICS",
    "MASK_METRICS",
    "SCORE_METRICS",
    "TEXT_METRICS",
    "UNCERTAINTY_METRICS",
    "VALUE_METRICS",
    "Comparison",
    "ImageOptions",
    "Kind",
    "Ranking",
    "compare_boxes",
    "compare_folders",
    "compare_images",
    "compare_labels",
    "compare_scores",
    "compare_texts",
    "compare_values",
    "find_kind",
    "rank",
]
