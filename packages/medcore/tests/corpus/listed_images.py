"""A data set of given images, and pictures that look a little like retinas: no two alike, with details."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from medcore.datasets import AnnotatedImages, Annotation, DatasetCard


class Listed(AnnotatedImages):
    """Images, with the annotations given by keyword: one value for each image, or one for all."""

    def __init__(self, images: Sequence[Any], name: str = "listed", card: dict[str, Any] | None = None, **values: Any) -> None:
        given: dict[str, Any] = {"sample_id": [f"s{i}" for i in range(len(images))], "label": "a"} | values
        rows = [{k: v[i] if isinstance(v, list) else v for k, v in given.items()} for i in range(len(images))]
        items = [Annotation(**row) for row in rows]
        classes = tuple(sorted({a.label for a in items if a.label is not None})) or ("a",)
        facts: dict[str, Any] = {"task": "classification", "classes": classes, "ordered": False, "licence": "CC0"}
        facts |= {"class_counts": dict.fromkeys(classes, 0), "n_samples": len(items)}
        super().__init__(items, DatasetCard(name=name, **(facts | (card or {}))))
        self.images = list(images)

    def read_image(self, index: int) -> Any:
        image = self.images[index]
        if isinstance(image, Exception):
            raise image
        return image


def retina(number: int, height: int = 120, width: int = 160) -> np.ndarray:
    """A bright disc with structures of several sizes that depend on the number; uint8 (y, x, 3)."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1.2 : 1.2 : width * 1j]
    texture = sum(weight * gaussian_filter(rng.normal(size=(height, width)), s) * s for s, weight in ((1.5, 14), (4, 20), (12, 30)))
    disc = 1 / (1 + np.exp(40 * (np.hypot(y, x) - 0.95)))
    grey = disc * np.clip(120 + texture, 20, 240)
    return np.stack([grey, 0.6 * grey, 0.4 * grey], axis=-1).round().astype(np.uint8)
