"""One look at every picture: what cannot be read, what is there twice, what is in two parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medcore.datasets import Annotation, Dataset, SampleError, pixel_hash, read_deep_image
from medcore.datasets.base import Pixels
from medcore.datasets.deep_images import PERCENTILES, GreyMapping
from medcore.datasets.fingerprints import Fingerprint, fingerprint
from medcore.datasets.near_duplicates import link
from medcore.errors import InputError, MissingExtraError
from vrft_aug.preparing.faults import FAULTS, Fault

Watch = Callable[[Iterable[int]], Iterable[int]]
_HELD = ("test", "testing", "val", "valid", "validation")
_SHOWN = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """What is kept of a sample after its pixels are gone again.

    Attributes
    ----------
    index
        Number in the data set.
    note
        Its annotation.
    sha256
        Of shape and pixels.
    deep
        Whether it was mapped from more than 8 bits.
    print
        For the search of near duplicates.
    """

    index: int
    note: Annotation
    sha256: str
    deep: bool
    print: Fingerprint | None


def pixels_of(dataset: Dataset, index: int, grey: GreyMapping) -> tuple[Pixels, bool]:
    """8-bit pixels of a sample, and whether they were mapped from more bits."""
    try:
        return dataset[index].image, False
    except SampleError as error:
        if error.kind != "deep-image":
            raise
        return read_deep_image(Path(error.what), grey), True


def look(dataset: Dataset, grey: GreyMapping, *, near: bool, watch: Watch) -> tuple[list[Picture], list[Fault]]:
    """Decode every image once."""
    seen, faults = [], []
    for i in watch(range(len(dataset))):
        note = dataset.annotations[i]
        if not _is_text(note):
            told = f"the sample {ascii(note.sample_id)[:200]} has a name or label that is no Unicode text; rename it"
            faults.append(Fault(kind="bad-entry", sentence=told, leave=(note.sample_id,)))
            continue
        try:
            pixels, deep = pixels_of(dataset, i, grey)
        except MissingExtraError:
            raise
        except InputError as error:
            kind = error.kind if isinstance(error, SampleError) and error.kind in FAULTS else "damaged-image"
            faults.append(Fault(kind=kind, sentence=str(error), leave=(note.sample_id,)))
            continue
        trace = fingerprint(pixels) if near else None
        seen.append(Picture(index=i, note=note, sha256=pixel_hash(pixels), deep=deep, print=trace))
    return seen, faults


def _is_text(note: Annotation) -> bool:
    """Whether everything known about a sample can be written; file names may hold bytes of another encoding."""
    try:
        json.dumps(asdict(note), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def mapping_words(grey: GreyMapping) -> str:
    """How more than 8 bits become 8, for the card."""
    if isinstance(grey, tuple):
        return f"values from {grey[0]:g} to {grey[1]:g} become 0 to 255"
    if grey == "range":
        return "the range of each image becomes 0 to 255"
    return f"percentiles {PERCENTILES[0]:g} to {PERCENTILES[1]:g} of each image become 0 to 255"


def near_pairs(seen: Sequence[Picture]) -> list[tuple[int, int]]:
    """Pairs of numbers in `seen` of different pixels that show one picture."""
    first: dict[str, int] = {}
    for i, item in enumerate(seen):
        if item.print is not None:
            first.setdefault(item.sha256, i)
    chosen = sorted(first.values())
    return [(chosen[k.first], chosen[k.second]) for k in link([seen[i].print for i in chosen])]


def copies(seen: Sequence[Picture]) -> list[list[int]]:
    """Groups of numbers in `seen` with the same pixels."""
    groups: dict[str, list[int]] = {}
    for i, item in enumerate(seen):
        groups.setdefault(item.sha256, []).append(i)
    return [members for members in groups.values() if len(members) > 1]


def check_copies(seen: Sequence[Picture], pairs: Sequence[tuple[int, int]]) -> tuple[list[Fault], list[str]]:
    """Faults of pictures that are there twice, and notes on near copies within a part."""
    faults = [f for members in copies(seen) for f in _copies([seen[i].note for i in members])]
    within = []
    for a, b in pairs:
        first, second = seen[a].note, seen[b].note
        if first.split == second.split:
            within.append(f"{first.sample_id} and {second.sample_id}")
            continue
        told = f"{first.sample_id} ({first.split}) and {second.sample_id} ({second.split}) show one picture"
        faults.append(
            Fault(
                kind="near-leak", sentence=f"{told}; keep one of them, or split anew with --split", leave=_trained([first, second])
            )
        )
    notes = [f"{len(within)} pairs of near copies in one part: {_listed(within)}"] if within else []
    return faults, notes


def check_subjects(seen: Sequence[Picture]) -> list[Fault]:
    """Subjects in two parts. They are not named: they may be names of patients, and the samples say enough."""
    found: dict[str, list[Annotation]] = {}
    for item in seen:
        if item.note.subject is not None and item.note.split is not None:
            found.setdefault(item.note.subject, []).append(item.note)
    faults = []
    for same in found.values():
        parts = sorted({str(n.split) for n in same})
        if len(parts) > 1:
            told = f"one subject is in {' and '.join(parts)}: {_listed(n.sample_id for n in same)}"
            faults.append(
                Fault(kind="patient-leak", sentence=f"{told}; move its samples into one part, or split anew", leave=_trained(same))
            )
    return faults


def _copies(same: Sequence[Annotation]) -> list[Fault]:
    """Faults of samples with the same pixels; several questions about one image are no copies."""
    faults = []
    named = _listed(n.sample_id for n in same)
    by_question: dict[str | None, list[Annotation]] = {}
    for note in same:
        by_question.setdefault(note.question, []).append(note)
    for asked in by_question.values():
        if len({_truth(n) for n in asked}) > 1:
            told = f"{_listed(n.sample_id for n in asked)} have the same pixels and different labels"
            faults.append(
                Fault(
                    kind="label-conflict",
                    sentence=f"{told}; correct the labels or remove all of them",
                    leave=tuple(n.sample_id for n in asked),
                )
            )
    parts = sorted({str(n.split) for n in same})
    if len(parts) > 1:
        told = f"{named} have the same pixels, in {' and '.join(parts)}"
        faults.append(Fault(kind="leak", sentence=f"{told}; keep them in one part, or split anew", leave=_trained(same)))
    for asked in by_question.values():
        inside: dict[str | None, list[Annotation]] = {}
        for note in asked:
            inside.setdefault(note.split, []).append(note)
        for own in inside.values():
            if len(own) > 1:
                told = f"{_listed(n.sample_id for n in own)} have the same pixels"
                leave = tuple(n.sample_id for n in own[1:])
                faults.append(Fault(kind="duplicate", sentence=f"{told}; keep one of them", leave=leave))
    return faults


def _truth(note: Annotation) -> tuple[object, ...]:
    return note.label, note.grade, note.labels, note.boxes, note.answer


def _trained(same: Sequence[Annotation]) -> tuple[str, ...]:
    """Those that are left out so that what is judged on stays: all but the samples of the part held out most strictly."""
    strict = min((_HELD.index(s) if (s := str(n.split).lower()) in _HELD else len(_HELD), str(n.split)) for n in same)
    return tuple(n.sample_id for n in same if str(n.split) != strict[1])


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
