"""Labels: misspelt ones, lone ones, gaps between grades, balance."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from medcore.datasets import Annotation, DatasetCard
from medcore.datasets.base import counted_labels
from medcore.datasets.check_samples import IMBALANCE
from vrft_aug.preparing.faults import Fault

RARE = 0.1
"""A label is suspected of a slip of the pen if it is at most so many times as frequent as the one that it is written like."""
_LONG = 5
_WORD = re.compile(r"[^\W\d_]+|\d+")


def check_labels(annotations: Sequence[Annotation], card: DatasetCard, *, declared: bool) -> list[Fault]:
    """Faults of labels of one class each, of grades, and of answers.

    Parameters
    ----------
    annotations
        The samples.
    card
        Of their data set.
    declared
        Whether somebody named the classes; then no class is a slip of the pen.
    """
    if card.task not in ("classification", "grading"):
        return []
    samples: dict[str, list[str]] = {}
    for note in annotations:
        for name in counted_labels(note, card.task):
            samples.setdefault(name, []).append(note.sample_id)
    if annotations and not samples:
        return [Fault(kind="no-label", sentence=f"no sample of {card.name} has a label; add a CSV table of labels")]
    counts = {name: len(ids) for name, ids in samples.items()}
    faults = []
    slips = {} if declared else typos(counts)
    for wrong, right in slips.items():
        told = f"the label {wrong!r} ({_samples(counts[wrong])}) is nearly {right!r} ({_samples(counts[right])})"
        hint = "correct it, or name all classes in classes if it is one"
        faults.append(Fault(kind="label-typo", sentence=f"{told}; {hint}", leave=tuple(samples[wrong])))
    for name, count in counts.items():
        if count == 1 and name not in slips:
            told = f"the class {name!r} has one sample, {samples[name][0]}, so it cannot be both learnt and judged"
            faults.append(Fault(kind="lone-label", sentence=f"{told}; add samples or join classes", leave=tuple(samples[name])))
    return faults + _gaps(card, counts)


def _gaps(card: DatasetCard, counts: Mapping[str, int]) -> list[Fault]:
    """Grades without samples below the highest that has some."""
    if not card.ordered:
        return []
    filled = [i for i, name in enumerate(card.classes) if counts.get(name)]
    gaps = [name for i, name in enumerate(card.classes) if not counts.get(name) and filled and i < filled[-1]]
    if not gaps:
        return []
    told = f"no sample has {', '.join(gaps)}, while the grades reach up to {card.classes[filled[-1]]}"
    return [Fault(kind="grade-gap", sentence=f"{told}; add samples, or renumber the grades")]


def balance(annotations: Sequence[Annotation], card: DatasetCard) -> list[str]:
    """How frequent the classes are, in sentences."""
    counts = dict.fromkeys(card.classes, 0)
    counts.update(Counter(name for note in annotations for name in counted_labels(note, card.task)))
    if not counts or len(counts) > 100:
        return []
    what = "boxes" if card.task == "detection" else "samples"
    told = [f"{what} of each class: " + ", ".join(f"{name} {n}" for name, n in counts.items())]
    filled = {name: n for name, n in counts.items() if n}
    if filled and max(filled.values()) >= IMBALANCE * min(filled.values()):
        low, high = min(filled, key=filled.__getitem__), max(filled, key=filled.__getitem__)
        told.append(
            f"imbalance: {high} is {filled[high] / filled[low]:.3g} times as frequent as {low}; judge by balanced accuracy, and "
            f"always answering {high} is right in {filled[high] / sum(filled.values()):.1%}"
        )
    return told


def typos(counts: Mapping[str, int]) -> dict[str, str]:
    """Labels that are probably slips of the pen, and what each was meant to be.

    Two labels are one if they differ only in case, blanks, dashes or underscores; the rarer is the slip. A label that is a tenth as
    frequent as another, or less, is a slip of it too if they have the same words but for one of five letters or more, in which one
    letter is missing, added, wrong or swapped with its neighbour. Numbers and short words (``grade 1``, ``type b``) are never slips.
    """
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    found: dict[str, str] = {}
    for i, name in enumerate(ordered):
        for other in ordered[:i]:
            if other in found:
                continue
            if _plain(name) == _plain(other) or (counts[name] <= RARE * counts[other] and _one_slip(name, other)):
                found[name] = other
                break
    return found


def _plain(name: str) -> str:
    return "".join(_WORD.findall(name.casefold())) or name


def _one_slip(first: str, second: str) -> bool:
    a, b = _WORD.findall(first.casefold()), _WORD.findall(second.casefold())
    if len(a) != len(b):
        return False
    different = [(x, y) for x, y in zip(a, b, strict=True) if x != y]
    return len(different) == 1 and min(map(len, different[0])) >= _LONG and _is_near(*different[0])


def _is_near(first: str, second: str) -> bool:
    """Whether one letter missing, added, wrong or swapped makes one word of the other."""
    if first.isdigit() or second.isdigit() or abs(len(first) - len(second)) > 1:
        return False
    start = next((i for i, (x, y) in enumerate(zip(first, second, strict=False)) if x != y), min(len(first), len(second)))
    a, b = first[start:], second[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"
