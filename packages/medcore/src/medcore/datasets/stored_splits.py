"""Splits on disk: who is in which part, made once, checked whenever it is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medcore.atomic import write_json
from medcore.config import from_mapping, to_mapping
from medcore.datasets.base import Dataset
from medcore.datasets.groups import Groups
from medcore.datasets.near_duplicates import link
from medcore.datasets.seen import Part, Watch, look
from medcore.datasets.splits import Subset
from medcore.datasets.strict_json import load_json
from medcore.errors import ConfigError, InputError

VERSION = 1
"""Version of the file's layout."""
_FORMAT = "medcore split"


@dataclass(frozen=True, kw_only=True)
class StoredSplit:
    """Content of a split's file.

    Attributes
    ----------
    format, version
        Mark and version of the layout.
    dataset
        Name of the data set, for people.
    annotations_sha256
        Of identifiers, labels, boxes and subjects of all samples, see :func:`annotations_hash`.
    n_samples
        Samples in all parts.
    fractions, seed
        What was asked for; a cross-validation has equal fractions.
    folds
        Whether the parts are folds.
    duplicates_together
        Whether samples that show one picture were kept in one part.
    kind, options
        How the data set was opened.
    parts
        Identifiers of the samples of each part.
    subjects
        Subjects of each part, sorted; samples without subject are not among them.
    """

    dataset: str
    annotations_sha256: str
    n_samples: int
    fractions: tuple[float, ...]
    seed: int
    parts: dict[str, tuple[str, ...]]
    subjects: dict[str, tuple[str, ...]] = field(default_factory=dict)
    folds: bool = False
    duplicates_together: bool = False
    kind: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    format: str = _FORMAT
    version: int = VERSION


def annotations_hash(dataset: Dataset) -> str:
    """SHA-256 of everything that is known about the samples but their pixels; their order does not matter."""
    items = sorted(dataset.annotations, key=lambda a: a.sample_id)
    state = hashlib.sha256()
    for item in items:
        # Sorted keys and no blanks: the one form of these values. default=str for what a foreign data set may hold, such as paths.
        state.update(json.dumps(asdict(item), sort_keys=True, separators=(",", ":"), default=str).encode() + b"\n")
    return state.hexdigest()


def duplicate_groups(dataset: Dataset, *, near: bool = True, watch: Watch | None = None) -> list[list[int]]:
    """Numbers of samples that show one picture, exactly or nearly; all images are decoded once.

    Raises
    ------
    InputError
        If an image cannot be read.
    """
    seen = look([Part(dataset=dataset, name=dataset.card.name)], near=near, watch=watch)
    broken = next((s for s in seen if s.problem is not None), None)
    if broken is not None:
        raise InputError(broken.name, f"cannot be read, {broken.problem}", "remove it from the data set")
    groups = Groups(len(seen))
    first: dict[str | None, int] = {}
    for i, item in enumerate(seen):
        groups.join(first.setdefault(item.sha256, i), i)
    if near:
        chosen = sorted(first.values())
        for k in link([seen[i].print for i in chosen]):
            groups.join(chosen[k.first], chosen[k.second])
    return groups.members()


def save_split(
    path: str | Path,
    parts: Mapping[str, Subset],
    *,
    fractions: Sequence[float],
    seed: int,
    folds: bool = False,
    duplicates_together: bool = False,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    force: bool = False,
) -> StoredSplit:
    """Write a split as JSON, atomically.

    Parameters
    ----------
    path
        The file.
    parts
        Parts by name; they are of one data set and hold each of its samples once.
    fractions, seed, folds, duplicates_together
        How they were made, see :class:`StoredSplit`.
    kind, options
        How the data set was opened, so that a check can open it again.
    force
        Replace an existing file.

    Raises
    ------
    InputError
        If the parts do not hold every sample of one data set once.
    OutputExistsError, OutputError, DiskFullError
        If it cannot be written.
    """
    whole = {id(p.dataset): p.dataset for p in parts.values()}
    taken = sorted(i for p in parts.values() for i in p.indices)
    if len(whole) != 1 or taken != list(range(len(next(iter(whole.values()))))):
        raise InputError("split", "does not hold every sample of one data set once", "store what split_dataset returned")
    dataset = next(iter(whole.values()))
    stored = StoredSplit(
        dataset=dataset.card.name,
        annotations_sha256=annotations_hash(dataset),
        n_samples=len(dataset),
        fractions=tuple(float(f) for f in fractions),
        seed=seed,
        parts={name: tuple(a.sample_id for a in p.annotations) for name, p in parts.items()},
        subjects={n: tuple(sorted({a.subject for a in p.annotations if a.subject is not None})) for n, p in parts.items()},
        folds=folds,
        duplicates_together=duplicates_together,
        kind=kind,
        options=dict(options or {}),
    )
    write_json(path, to_mapping(stored), force=force)
    return stored


def read_split(path: str | Path) -> StoredSplit:
    """Read a split's file without its data set.

    Raises
    ------
    InputError
        If it is missing, damaged, no split, or of another version.
    """
    content = load_json(path)
    if content.get("format") != _FORMAT:
        raise InputError(path, "is not a stored split", "make one with 'medcore datasets split'")
    if content.get("version") != VERSION:
        raise InputError(path, f"has the version {content.get('version')!r}, this program reads {VERSION}", "make the split anew")
    stored = from_mapping(StoredSplit, content, str(path))
    ids = [i for part in stored.parts.values() for i in part]
    if len(set(ids)) != len(ids) or len(ids) != stored.n_samples or not stored.parts:
        raise InputError(path, "does not hold each of its samples once", "make the split anew")
    return stored


def load_split(dataset: Dataset, path: str | Path) -> dict[str, Subset]:
    """The parts of a stored split.

    Parameters
    ----------
    dataset
        What was split, opened in the same way.
    path
        The file.

    Returns
    -------
    dict of str to Subset
        By name of the part; samples in the order of `dataset`.

    Raises
    ------
    InputError
        See :func:`read_split`; also if identifiers, labels, boxes or subjects of the data set are not what they were when it was split.
    """
    stored = read_split(path)
    numbers = {a.sample_id: i for i, a in enumerate(dataset.annotations)}
    gone = [i for part in stored.parts.values() for i in part if i not in numbers]
    if gone or len(numbers) != stored.n_samples:
        what = f"the sample {gone[0]!r} is gone" if gone else f"it has {len(numbers)} samples, not {stored.n_samples}"
        raise InputError(path, f"does not fit the data set {dataset.card.name}, {what}", "open what was split, or split it anew")
    if annotations_hash(dataset) != stored.annotations_sha256:
        raise InputError(
            path,
            f"does not fit the data set {dataset.card.name}, whose labels, boxes or subjects have changed",
            "open it with the same options, or split it anew",
        )
    return {name: Subset(dataset, sorted(numbers[i] for i in part), name=name) for name, part in stored.parts.items()}


def part_names(count: int, *, folds: bool) -> tuple[str, ...]:
    """Usual names: train and test; train, val and test; else part 1, part 2 ... or fold 1, fold 2 ...

    Raises
    ------
    ConfigError
        If there are fewer than two parts.
    """
    if count < 2:
        raise ConfigError("folds" if folds else "fractions", f"make {count} part", "ask for at least two")
    if folds:
        return tuple(f"fold {i + 1}" for i in range(count))
    usual = {2: ("train", "test"), 3: ("train", "val", "test")}
    return usual.get(count) or tuple(f"part {i + 1}" for i in range(count))
