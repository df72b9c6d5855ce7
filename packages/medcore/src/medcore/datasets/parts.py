"""The data sets at some paths as parts that are checked together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medcore.datasets.base import Dataset
from medcore.datasets.opener import find_datasets, open_dataset, recognise_dataset
from medcore.datasets.seen import Part
from medcore.datasets.stored_splits import load_split, read_split
from medcore.errors import ConfigError, InputError


def open_parts(
    paths: Sequence[str | Path], kind: str | None = None, options: Mapping[str, Any] | None = None, split: str | Path | None = None
) -> list[Part]:
    """Open every data set at `paths`: a file, a folder that is one, or all in a folder's subfolders.

    The published parts of a MedMNIST file come as parts of one data set, unless the option ``split`` chooses one of them. Data sets of
    one name are called by their paths.

    Parameters
    ----------
    paths
        Files and folders.
    kind, options
        For the readers, see :func:`medcore.datasets.open_dataset`.
    split
        A stored split; its parts come instead of the one data set at `paths`, which is opened as it was when it was split.

    Raises
    ------
    InputError
        If a path holds no data set, a reader refuses it, or the stored split does not fit.
    ConfigError
        If a data set is given twice, or a split and more than one path.
    """
    given = dict(options or {})
    if split is not None:
        if len(paths) != 1:
            raise ConfigError("--split", f"applies to one data set, got {len(paths)}", "give one path")
        stored = read_split(split)
        dataset = open_dataset(paths[0], kind or stored.kind, **(stored.options | given))
        return [Part(dataset=d, name=dataset.card.name, split=n) for n, d in load_split(dataset, split).items()]
    found: list[tuple[Path, str | None]] = []
    for path in map(Path, paths):
        found += _places(path, kind, given)
    twice = next((p for i, (p, _) in enumerate(found) if p.resolve() in {q.resolve() for q, _ in found[:i]}), None)
    if twice is not None:
        raise ConfigError(str(twice), "is given twice", "give every data set once")
    opened = [(path, _parts(path, kind, given)) for path, kind in found]
    names = [_name(path, parts) for path, parts in opened]
    return [
        Part(dataset=d, name=name if names.count(name) == 1 else str(path), split=s)
        for name, (path, parts) in zip(names, opened, strict=True)
        for d, s in parts
    ]


def _places(path: Path, kind: str | None, options: Mapping[str, Any]) -> list[tuple[Path, str | None]]:
    if kind is not None or path.is_file() or options:
        return [(path, kind)]
    own = recognise_dataset(path)
    if own and own != ["medmnist"]:
        return [(path, None)]  # several kinds: opening says that one has to be chosen
    found = find_datasets(path)
    if not found:
        raise InputError(path, "holds no data set of a known kind", "give a data set, or choose its kind with --kind")
    return list(found)


def _parts(path: Path, kind: str | None, options: Mapping[str, Any]) -> list[tuple[Dataset, str | None]]:
    medmnist = kind == "medmnist" or (kind is None and path.is_file() and recognise_dataset(path) == ["medmnist"])
    if not medmnist or "split" in options:
        return [(open_dataset(path, kind, **options), None)]
    published = _published(path, kind, options)
    return [(open_dataset(path, kind, **(dict(options) | {"split": s})), s) for s in published]


def _published(path: Path, kind: str | None, options: Mapping[str, Any]) -> list[str]:
    """Parts of a MedMNIST file, whichever there are."""
    problem: InputError | None = None
    for split in ("train", "val", "test"):
        try:
            return list(open_dataset(path, kind, **(dict(options) | {"split": split})).card.splits)
        except InputError as error:
            problem = problem or error
    raise problem or InputError(path, "holds no part", "give another file")


def _name(path: Path, parts: Sequence[tuple[Dataset, str | None]]) -> str:
    return parts[0][0].card.name if parts[0][1] is None else path.stem
