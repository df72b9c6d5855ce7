"""What ``vrft-aug prepare`` wrote: checked images as PNG, one JSON object for each sample, a card.

::

    card.json       {"format": "vrft-aug prepared", "version": 1, "card": {...}, "kind": ..., "faults": [...], "notes": [...], ...}
    samples.jsonl   one object a line, see COLUMNS
    images/         8-bit grey or RGB
    run.json, manifest.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medcore.atomic import sha256_file, verify_directory
from medcore.config import from_mapping
from medcore.datasets.base import AnnotatedImages, Annotation, DatasetCard, Pixels
from medcore.datasets.images import file_inside, folder_of, read_image
from medcore.datasets.strict_json import load_json
from medcore.datasets.vqa import read_lines
from medcore.errors import ConfigError, InputError

FORMAT, VERSION = "vrft-aug prepared", 1
CARD, SAMPLES, IMAGES = "card.json", "samples.jsonl", "images"
COLUMNS = (
    "sample_id",
    "image",
    "image_size",
    "pixels_sha256",
    "split",
    "subject",
    "label",
    "grade",
    "boxes",
    "box_labels",
    "box_crowd",
    "question",
    "answer",
    "choices",
)
"""Columns of ``samples.jsonl``: identifier, path of the image in the folder, [width, height], SHA-256 of shape and pixels; the others as
in :class:`medcore.datasets.Sample`, left out where a sample has none."""
_HINT = "prepare the data anew"


class PreparedFolder(AnnotatedImages):
    """A prepared data set; the labels, boxes, parts and pixels are those of its source.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    InputError
        If it is no such folder, was never finished, or a file of it was changed.
    """

    def __init__(self, path: str | Path) -> None:
        folder = folder_of(path)
        if not (folder / CARD).is_file():
            raise InputError(folder, f"holds no {CARD}", "give a folder that vrft-aug prepare wrote")
        verify_directory(folder)
        facts = load_json(folder / CARD)
        if facts.get("format") != FORMAT or facts.get("version") != VERSION:
            raise InputError(folder / CARD, f"is not of the format {FORMAT!r}, version {VERSION}", _HINT)
        try:
            card = from_mapping(DatasetCard, facts.get("card"), str(folder / CARD))
        except ConfigError as error:
            raise InputError(folder / CARD, f"has a card that cannot be read ({error.problem})", _HINT) from error
        annotations, self._files = [], []
        for number, item in read_lines(folder / SAMPLES):
            where = f"{folder / SAMPLES}, line {number}"
            annotations.append(_annotation(item, where))
            self._files.append(file_inside(folder, str(item.get("image")), where))
        if len(annotations) != card.n_samples:
            raise InputError(folder / SAMPLES, f"has {len(annotations)} samples, its card says {card.n_samples}", _HINT)
        super().__init__(annotations, replace(card, sha256={**card.sha256, SAMPLES: sha256_file(folder / SAMPLES)}))

    def read_image(self, index: int) -> Pixels:
        """Decode image `index`."""
        return read_image(self._files[index])


def _annotation(item: Mapping[str, Any], where: str) -> Annotation:
    """The annotation of a line; tuples where JSON has lists."""
    values = {k: item[k] for k in COLUMNS if k in item and k not in ("image", "image_size", "pixels_sha256")}
    try:
        return from_mapping(Annotation, values, where)
    except ConfigError as error:
        raise InputError(error.what, error.problem, _HINT) from error
