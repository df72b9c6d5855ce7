"""Findings about single samples and about the whole: broken and odd images, boxes, labels, balance, the card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from medcore.datasets.base import Dataset, DatasetCard, counted_labels, tally
from medcore.datasets.boxes import box_problem
from medcore.datasets.check_report import Finding, Severity, listed
from medcore.datasets.seen import Seen

USUAL = 0.9
"""Share of images that must agree in size or mode for the others to be odd ones out."""
IMBALANCE = 20.0
"""How many times larger than the smallest class the largest may be before it is noted."""


def check_images(seen: Sequence[Seen]) -> list[Finding]:
    """Images that cannot be read, are of one value, hold impossible boxes, or differ in size or mode from nearly all others."""
    findings = [_fault("unreadable", (s.name,), f"{s.name} cannot be read: {s.problem}") for s in seen if s.problem is not None]
    for item in seen:
        if item.shape and item.span[0] == item.span[1]:
            what = "is black" if item.span[0] == 0 else f"has the value {item.span[0]}"
            findings.append(_fault("constant", (item.name,), f"{item.name} {what} everywhere"))
        findings += _boxes(item)
    for name in dict.fromkeys(s.dataset for s in seen):
        own = [s for s in seen if s.dataset == name and s.shape]
        findings += _odd(own, "size", lambda s: s.size, name)
        findings += _odd(own, "mode", lambda s: s.mode, name)
    return findings


def check_annotations(dataset: Dataset, seen: Sequence[Seen], name: str) -> list[Finding]:
    """Labels that are missing, classes without samples, balance, what the card tells, and a licence that is not stated.

    `seen` are all samples of the data set, of which `dataset` may be one part.
    """
    card = dataset.card
    whole = seen[0].dataset if seen else name  # what holds for all parts is told once
    findings = [_fault("card", (), f"{whole}: {sentence}") for sentence in card.faults]
    findings += [_note("card", (), f"{whole}: {sentence}") for sentence in card.notes]
    if card.licence == "not stated":
        findings.append(_note("licence", (), f"{whole}: the licence is not stated"))
    if card.task == "relaxometry":
        return findings
    inside = {a.sample_id for a in dataset.annotations}
    own = [s for s in seen if s.annotation.sample_id in inside]
    counts = tally([s.annotation for s in own], card.task, card.classes)
    findings += _balance(counts, name)
    return findings + _bare(own, card, name)


def _bare(own: Sequence[Seen], card: DatasetCard, name: str) -> list[Finding]:
    """Samples without any label. An image without boxes is a negative example, unless no image has any."""
    task = card.task
    bare = [s.name for s in own if not counted_labels(s.annotation, task)]
    everything = len(bare) == len(own)
    if not bare or task == "vqa" or (task == "detection" and not everything):
        return []
    what = {"detection": "no box", "multi-label": "no class"}.get(task, "no label")
    # A set that states no classes is meant to have no labels.
    severity: Severity = "fault" if everything and card.classes else "note"
    sentence = f"{name}: {'all' if everything else len(bare)} of {len(own)} samples have {what}: {listed(bare)}"
    return [Finding(kind="no label", severity=severity, samples=tuple(bare), sentence=sentence)]


def _balance(counts: dict[str, int], name: str) -> list[Finding]:
    findings = []
    if empty := [c for c, n in counts.items() if n == 0]:
        findings.append(_note("empty class", (), f"{name}: no sample of {listed(empty)}"))
    filled = {c: n for c, n in counts.items() if n}
    if filled and max(filled.values()) >= IMBALANCE * min(filled.values()):
        low, high = min(filled, key=filled.__getitem__), max(filled, key=filled.__getitem__)
        ratio = filled[high] / filled[low]
        sentence = f"{name}: {high} is {ratio:.3g} times as frequent as {low} ({filled[high]} and {filled[low]})"
        findings.append(_note("imbalance", (), sentence))
    return findings


def _boxes(item: Seen) -> list[Finding]:
    findings = []
    for i, box in enumerate(item.annotation.boxes or ()):
        problem = box_problem(box, *item.shape[:2]) if item.shape and not item.volumetric else None
        if problem:
            shown = ", ".join(f"{v:g}" for v in box)
            what = item.annotation.box_labels[i] if i < len(item.annotation.box_labels) else "box"
            words = "has zero area" if problem == "zero area" else f"reaches outside its image of {item.size} pixels"
            findings.append(_fault("box", (item.name,), f"{item.name}: the box {what} ({shown}) {words}"))
    return findings


def _odd(seen: Sequence[Seen], kind: str, key: Callable[[Seen], str], name: str) -> list[Finding]:
    counts = Counter(map(key, seen))
    if len(counts) < 2:
        return []
    usual, count = counts.most_common(1)[0]
    if count < USUAL * len(seen):
        return []
    odd = [s for s in seen if key(s) != usual]
    told = listed(f"{s.name} ({key(s)})" for s in odd)
    sentence = f"{name}: {count} of {len(seen)} images are {usual}, but {told} {'is' if len(odd) == 1 else 'are'} not"
    return [_note(kind, tuple(s.name for s in odd), sentence)]


def _fault(kind: str, samples: tuple[str, ...], sentence: str) -> Finding:
    return Finding(kind=kind, severity="fault", samples=samples, sentence=sentence)


def _note(kind: str, samples: tuple[str, ...], sentence: str) -> Finding:
    return Finding(kind=kind, severity="note", samples=samples, sentence=sentence)
