"""Data sets of this package as ``datasets.Dataset`` of Hugging Face (extra ``hf``)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from medcore.datasets.base import Annotation, Dataset, Sample, box_names
from medcore.errors import InputError, MissingExtraError

_BATCH = 64


def to_huggingface(dataset: Dataset, *, images: bool = True) -> Any:
    """Copy a data set into a ``datasets.Dataset``.

    Every image is decoded once and kept as PNG, which loses nothing; volumes become arrays. The table is held in memory, and nothing
    is written: neither to the cache of ``datasets`` nor anywhere else. Nothing is downloaded.

    Parameters
    ----------
    dataset
        Any data set of this package, also a part of one.
    images
        Whether to take the images along. Without them the table is small, and ``sample_id`` leads back to the data set.

    Returns
    -------
    datasets.Dataset
        With the columns ``sample_id`` (text) and, where any sample has them, ``image`` (Image; volumes Array3D of uint8), ``label``
        (ClassLabel), ``labels`` (list of ClassLabel), ``grade`` (int64), ``boxes`` (list of four float64, the convention of
        :data:`medcore.datasets.EDGES`), ``box_labels`` (list of ClassLabel), ``box_crowd`` (list of bool), ``question``, ``answer``,
        ``choices`` (list of text), ``split``, ``subject``. Its ``info`` holds licence, source and notes of the card.

    Raises
    ------
    InputError
        If the data set is empty, volumes differ in shape, or an image cannot be decoded.
    MissingExtraError
        Without the extra ``hf``.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError("datasets", "medcore[hf]", "to_huggingface") from error
    if not len(dataset):
        raise InputError(dataset.card.name, "has no samples", "give a data set that is not empty")
    notes = dataset.annotations
    columns = _columns(notes)
    features: dict[str, Any] = {
        name: _feature(name, box_names(dataset) if name == "box_labels" else dataset.classes) for name in columns
    }
    pieces = []
    shape = dataset[0].image.shape if images and dataset.card.volumetric else None
    if images:
        features["image"] = datasets.Image() if shape is None else datasets.Array3D(shape=shape, dtype="uint8")
    table = datasets.Features(features)
    for start in range(0, len(dataset), _BATCH):
        chosen = range(start, min(start + _BATCH, len(dataset)))
        rows: dict[str, list[Any]] = {name: [_value(notes[i], name) for i in chosen] for name in columns}
        if images:
            rows["image"] = [_image(dataset[i], shape) for i in chosen]
        pieces.append(datasets.Dataset.from_dict(rows, features=table, info=_info(dataset, table)))
    return pieces[0] if len(pieces) == 1 else datasets.concatenate_datasets(pieces, info=_info(dataset, table))


def _columns(notes: Any) -> list[str]:
    """The fields that any sample has."""
    optional = ("label", "labels", "grade", "boxes", "box_labels", "box_crowd", "question", "answer", "choices", "split", "subject")
    return [
        "sample_id",
        *(name for name in optional if any(getattr(a, name) not in (None, ()) for a in notes) or _has_boxes(notes, name)),
    ]


def _has_boxes(notes: Any, name: str) -> bool:
    """Whether `name` is kept though empty everywhere: boxes that are known to be none, classes that are known to be none."""
    if name == "box_labels":
        return any(a.boxes is not None for a in notes)
    return name in ("boxes", "labels") and any(getattr(a, name) is not None for a in notes)


def _feature(name: str, classes: tuple[str, ...]) -> Any:
    from datasets import ClassLabel, List, Value

    label = ClassLabel(names=list(classes)) if classes else Value("string")
    special = {
        "label": label,
        "labels": List(label),
        "grade": Value("int64"),
        "boxes": List(List(Value("float64"), length=4)),
        "box_labels": List(label),
        "box_crowd": List(Value("bool")),
        "choices": List(Value("string")),
    }
    return special.get(name, Value("string"))


def _value(note: Annotation, name: str) -> Any:
    value = getattr(note, name)
    if name == "box_crowd" and not value:
        return [False] * len(note.box_labels)
    return [list(v) if isinstance(v, tuple) else v for v in value] if isinstance(value, tuple) else value


def _image(sample: Sample, shape: tuple[int, ...] | None) -> Any:
    if shape is not None:
        if sample.image.shape != shape:
            raise InputError(sample.sample_id, f"has the shape {sample.image.shape}, others {shape}", "give volumes of one shape")
        return sample.image
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("PIL", "medcore[viz]", "to_huggingface") from error
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(sample.image)).save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}


def _info(dataset: Dataset, features: Any) -> Any:
    from datasets import DatasetInfo

    card = dataset.card
    told = (f"source: {card.source}", *(f"fault: {f}" for f in card.faults), *card.notes)
    return DatasetInfo(description="\n".join((card.name, *told)), license=card.licence, features=features)
