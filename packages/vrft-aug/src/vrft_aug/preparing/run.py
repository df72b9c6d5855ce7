"""Read, check, split and write a user's own data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medcore.config import to_mapping
from medcore.errors import CheckFailedError, ConfigError, InputError
from medcore.provenance import RunRecord
from vrft_aug.data import DRAWN, DataSettings, open_whole
from vrft_aug.data.prepared import FORMAT, VERSION
from vrft_aug.preparing.boxes import STATED, check_convention
from vrft_aug.preparing.faults import Fault, check_allowed, from_reader
from vrft_aug.preparing.labels import balance, check_labels
from vrft_aug.preparing.pictures import Picture, Watch, check_copies, check_subjects, copies, look, mapping_words, near_pairs
from vrft_aug.preparing.writing import write_prepared

if TYPE_CHECKING:
    from medcore.datasets import Annotation, Collected, Dataset, DatasetCard

PART_NAMES = {2: ("train", "val"), 3: ("train", "val", "test")}


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What is prepared, and how."""

    data: DataSettings
    """Reader, file or folder, classes, options of the reader."""
    split: tuple[float, ...] | None = None
    """Shares of train and val, or of train, val and test, by subject; copies of one picture stay together. By default the parts that the
    source states, or none."""
    seed: int = 0
    """Seed of the split."""
    allow: tuple[str, ...] = ()
    """Faults, see :data:`vrft_aug.preparing.faults.FAULTS`, whose samples are left out and counted instead of refusing the data."""
    grey: Literal["percentile", "range"] | tuple[float, float] = "percentile"
    """How images of more than 8 bits become 8: percentiles or range of each image, or lowest and highest value."""
    near: bool = True
    """Whether near duplicates are looked for."""

    def __post_init__(self) -> None:
        check_allowed(self.allow)
        if self.data.kind in (*DRAWN, "prepared"):
            raise ConfigError("kind", f"is {self.data.kind}, which needs no preparation", "name it in the recipe")
        if self.split is not None:
            shares = self.split
            if len(shares) not in PART_NAMES or not all(s > 0 for s in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
                shown = ",".join(f"{s:g}" for s in shares)
                raise ConfigError("split", f"is {shown}", "give two or three positive shares of sum 1, such as 0.7,0.15,0.15")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the checks found.

    Attributes
    ----------
    faults
        All of them.
    notes
        What is good to know.
    facts
        JSON-ready: counts, parts, faults, notes, card.
    """

    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    facts: dict[str, Any]

    def refused(self, allow: Sequence[str]) -> list[Fault]:
        """Faults that are not allowed."""
        return [f for f in self.faults if f.kind not in allow]


def _watch(items: Any) -> Any:
    return items


def prepare(
    settings: PrepareSettings, output: Path | None, *, force: bool = False, record: RunRecord | None = None, watch: Watch = _watch
) -> Checked:
    """Check data and, if they have no fault that is not allowed, write them.

    Parameters
    ----------
    settings
        What and how.
    output
        Folder to write; None only checks.
    force
        Replace an earlier result.
    record
        Provenance to store beside the data.
    watch
        Wraps the loops over samples, for a progress bar.

    Returns
    -------
    Checked
        Findings; the caller refuses by :func:`refuse`.

    Raises
    ------
    InputError
        If the source cannot be read at all, or nothing is left of it.
    OutputError
        If the result cannot be written.
    """
    from medcore.datasets import collect_faults

    with collect_faults() as found:
        try:
            dataset = open_whole(settings.data)
        except ConfigError:
            raise
        except InputError as error:
            faults = from_reader(found.faults)
            if all(f.kind in settings.allow for f in faults):
                raise  # also where there are none
            notes = (f"nothing is left without these faults ({error.problem})",)
            return Checked(faults=tuple(faults), notes=notes, facts=_facts(settings, None, [], [], faults, notes))
        if dataset.card.volumetric:
            raise InputError(str(settings.data.path), "holds volumes", "give a set of images")
        if dataset.card.task == "multi-label":
            problem = "has several classes for each image, which no stage trains on"
            raise InputError(str(settings.data.path), problem, "choose one column with the option label_column")
        return _prepare(settings, dataset, found, output, force=force, record=record, watch=watch)


def _prepare(
    settings: PrepareSettings,
    dataset: Dataset,
    found: Collected,
    output: Path | None,
    *,
    force: bool,
    record: RunRecord | None,
    watch: Watch,
) -> Checked:
    seen, broken = look(dataset, settings.grey, near=settings.near, watch=watch)
    if settings.split is not None:
        seen = [replace(p, note=replace(p.note, split=None)) for p in seen]
    pairs = near_pairs(seen) if settings.near else []
    faults = _reader_faults(found, settings.data.kind) + broken
    faults += check_labels([p.note for p in seen], dataset.card, declared=settings.data.classes is not None)
    copied, near = check_copies(seen, pairs)
    faults += [*copied, *check_subjects(seen)]
    left = {s for f in faults if f.kind in settings.allow for s in f.leave}
    kept = [p for p in seen if p.note.sample_id not in left]
    notes = [*dataset.card.faults, *dataset.card.notes, *near, *_remarks(found, seen, settings)]
    splits: list[str | None] = [p.note.split for p in kept]
    refused = any(f.kind not in settings.allow for f in faults)
    if not refused:
        if not kept:
            raise InputError(str(settings.data.path), "has no sample left without a fault", "mend the faults")
        if settings.split is not None:
            splits = _split(settings, dataset, kept, seen, pairs)
    notes += balance([p.note for p in kept], dataset.card)
    facts = _facts(settings, dataset.card, kept, splits, faults, notes)
    if output is not None and not refused:
        write_prepared(
            output,
            dataset,
            kept,
            splits,
            facts,
            record or RunRecord(command="vrft-aug prepare", settings=settings, seed=settings.seed),
            grey=settings.grey,
            force=force,
            watch=watch,
        )
    return Checked(faults=tuple(faults), notes=tuple(notes), facts=facts)


def refuse(checked: Checked, settings: PrepareSettings) -> None:
    """Raise if a fault is not allowed.

    Raises
    ------
    CheckFailedError
        With the number of faults of each kind.
    """
    refused = checked.refused(settings.allow)
    if refused:
        counts = Counter(f.kind for f in refused)
        told = ", ".join(f"{n} {kind}" for kind, n in counts.items())
        hint = f"mend them, or leave the samples out with {' '.join(f'--allow {kind}' for kind in counts)}"
        raise CheckFailedError(str(settings.data.path), f"has {len(refused)} fault{'s' * (len(refused) > 1)} ({told})", hint)


def _reader_faults(found: Collected, kind: str) -> list[Fault]:
    """What the reader met; boxes that do not fit are told once where all fit another convention."""
    convention = check_convention(found.boxes, kind)
    single = from_reader(found.faults)
    if convention and kind in STATED:
        single = [f for f in single if f.kind not in ("box-outside", "bad-box")]
    return single + convention


def _remarks(found: Collected, seen: Sequence[Picture], settings: PrepareSettings) -> list[str]:
    told = [f"{n} images: {problem}" for problem, n in Counter(r.problem for r in found.remarks).items()]
    deep = sum(p.deep for p in seen)
    return [*told, f"{deep} images have more than 8 bits: {mapping_words(settings.grey)}"] if deep else told


def _split(
    settings: PrepareSettings, dataset: Dataset, kept: Sequence[Picture], seen: Sequence[Picture], pairs: Sequence[tuple[int, int]]
) -> list[str | None]:
    """The part of each of `kept`: by subject, copies of one picture together."""
    from medcore.datasets import Subset, split_dataset

    shares = settings.split or ()
    place = {p.index: i for i, p in enumerate(kept)}
    groups = [*copies(seen), *map(list, pairs)]
    together = [[place[seen[i].index] for i in group if seen[i].index in place] for group in groups]
    subset = Subset(dataset, [p.index for p in kept])
    parts = split_dataset(subset, shares, settings.seed, together=[g for g in together if len(g) > 1])
    names: list[str | None] = [None] * len(kept)
    for name, part in zip(PART_NAMES[len(shares)], parts, strict=True):
        for i in part.indices:
            names[i] = name
    return names


def _facts(
    settings: PrepareSettings,
    card: DatasetCard | None,
    kept: Sequence[Picture],
    splits: Sequence[str | None],
    faults: Sequence[Fault],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Content of ``card.json``."""
    allowed = [f for f in faults if f.kind in settings.allow]
    facts: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "kind": settings.data.kind,
        "samples": len(kept),
        "parts": {},
        "left_out": {kind: len({s for f in allowed if f.kind == kind for s in f.leave}) for kind in {f.kind for f in allowed}},
        "faults": [f.as_dict(settings.allow) for f in faults],
        "notes": list(notes),
        "card": None,
    }
    if card is not None:
        notes_of = [p.note for p in kept]
        facts["parts"] = _parts(notes_of, splits, card)
        left = [f"{n} samples are left out: {kind}" for kind, n in facts["left_out"].items()]
        facts["card"] = to_mapping(_card(card, notes_of, splits, left))
    return facts


def _parts(notes: Sequence[Annotation], splits: Sequence[str | None], card: DatasetCard) -> dict[str, Any]:
    from medcore.datasets.base import tally

    found = {}
    usual = PART_NAMES[3]
    for name in sorted(dict.fromkeys(splits), key=lambda s: usual.index(s) if s in usual else len(usual)):
        own = [n for n, s in zip(notes, splits, strict=True) if s == name]
        found[name or "all"] = {"samples": len(own), "class_counts": tally(own, card.task, card.classes)}
    return found


def _card(card: DatasetCard, notes: Sequence[Annotation], splits: Sequence[str | None], left: Sequence[str]) -> DatasetCard:
    from medcore.datasets.base import tally

    counts = Counter(s for s in splits if s is not None)
    return replace(
        card,
        n_samples=len(notes),
        class_counts=tally(notes, card.task, card.classes),
        splits=dict(counts),
        faults=(*card.faults, *left),
    )
