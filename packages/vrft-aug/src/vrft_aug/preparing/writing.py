"""Write a prepared data set: complete or absent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medcore.atomic import atomic_directory, write_json
from medcore.datasets import Annotation, Dataset
from medcore.datasets.deep_images import GreyMapping
from medcore.errors import InputError
from medcore.provenance import RunRecord
from vrft_aug.data.prepared import CARD, COLUMNS, IMAGES, SAMPLES
from vrft_aug.preparing.pictures import Picture, Watch, pixels_of


def write_prepared(
    output: Path,
    dataset: Dataset,
    kept: Sequence[Picture],
    splits: Sequence[str | None],
    facts: dict[str, Any],
    record: RunRecord,
    *,
    grey: GreyMapping,
    force: bool,
    watch: Watch,
) -> None:
    """Write images, samples, card and record; see :mod:`vrft_aug.data.prepared`.

    Parameters
    ----------
    output
        The folder.
    dataset, kept
        Where the samples come from, and those that are written.
    splits
        Part of each of `kept`.
    facts
        Content of the card.
    record
        What made the data.
    grey
        How more than 8 bits become 8.
    force
        Replace an earlier result.
    watch
        For a progress bar.

    Raises
    ------
    InputError
        If an image is no longer what it was when it was checked.
    OutputExistsError, OutputError, DiskFullError
        If it cannot be written.
    """
    from PIL import Image

    with atomic_directory(output, force=force) as folder:
        (folder / IMAGES).mkdir()
        written: dict[str, str] = {}
        with (folder / SAMPLES).open("w", encoding="utf-8", newline="\n") as file:
            for i in watch(range(len(kept))):
                picture = kept[i]
                pixels = _unchanged(dataset, picture, grey)
                if picture.sha256 not in written:
                    written[picture.sha256] = f"{IMAGES}/{len(written) + 1:06d}.png"
                    Image.fromarray(pixels).save(folder / written[picture.sha256])
                line = sample_line(picture, splits[i], written[picture.sha256], pixels)
                file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        write_json(folder / CARD, facts)
        record.write(folder)


def sample_line(picture: Picture, split: str | None, image: str, pixels: np.ndarray) -> dict[str, Any]:
    """One line of ``samples.jsonl``; what a sample does not have is left out."""
    values = {
        **asdict(picture.note),
        "image": image,
        "image_size": [pixels.shape[1], pixels.shape[0]],
        "pixels_sha256": picture.sha256,
        "split": split,
    }
    empty: Any = asdict(Annotation(sample_id=""))
    return {k: values[k] for k in COLUMNS if k not in empty or values[k] != empty[k]}


def _unchanged(dataset: Dataset, picture: Picture, grey: GreyMapping) -> np.ndarray:
    from medcore.datasets import pixel_hash

    pixels, _ = pixels_of(dataset, picture.index, grey)
    if pixel_hash(pixels) != picture.sha256:
        raise InputError(picture.note.sample_id, "changed while it was prepared", "prepare the data when nobody writes to it")
    return pixels
