"""Findings about samples that show one picture, or belong to one subject, where they should not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medcore.datasets.check_report import Finding, listed
from medcore.datasets.groups import Groups
from medcore.datasets.near_duplicates import TURNS, Link
from medcore.datasets.seen import Seen


class Pictures(NamedTuple):
    """Findings, and the groups of samples (by number) that show one picture."""

    findings: list[Finding]
    groups: list[list[int]]


def same_picture(seen: Sequence[Seen], links: Sequence[Link]) -> Pictures:
    """Exact copies (one finding for all samples of equal pixels) and near copies (one for each link).

    Several questions about one image are no duplicates; the same question twice is one, and one image in two parts always is a leak.
    """
    groups = Groups(len(seen))
    findings: list[Finding] = []
    by_pixels: dict[str, list[int]] = {}
    for i, item in enumerate(seen):
        if item.sha256 is not None:
            by_pixels.setdefault(item.sha256, []).append(i)
    for members in by_pixels.values():
        for other in members[1:]:
            groups.join(members[0], other)
        kind = _kind([seen[i] for i in members])
        if len(members) > 1 and (kind != "duplicate" or _asked_twice([seen[i] for i in members])):
            findings.append(_exact(kind, [seen[i] for i in members]))
    for k in links:
        groups.join(k.first, k.second)
        a, b = seen[k.first], seen[k.second]
        turned = f", the first {TURNS[k.turn]}" if k.turn else ""
        findings.append(
            Finding(
                kind=f"near {_kind([a, b])}",
                severity="fault",
                samples=(a.name, b.name),
                sentence=f"{a.name} and {b.name} show one picture{turned} (details correlate to {k.correlation:.3f}){_where([a, b])}",
            )
        )
    return Pictures(findings, groups.members())


def check_conflicts(seen: Sequence[Seen], groups: Sequence[Sequence[int]]) -> list[Finding]:
    """Samples of one picture whose labels differ; only those of equal task and classes are compared."""
    findings = []
    for members in groups:
        by_kind: dict[object, list[Seen]] = {}
        for i in members:
            by_kind.setdefault((seen[i].comparable, seen[i].annotation.question), []).append(seen[i])
        for same in by_kind.values():
            labels = [_label(s) for s in same]
            if len({*labels} - {None}) > 1:
                told = listed(f"{s.name} is {label}" for s, label in zip(same, labels, strict=True) if label is not None)
                names = tuple(s.name for s in same)
                sentence = f"one picture has different labels: {told}"
                findings.append(Finding(kind="label conflict", severity="fault", samples=names, sentence=sentence))
    return findings


def check_subjects(seen: Sequence[Seen]) -> list[Finding]:
    """Subjects that occur in two parts of a data set."""
    found: dict[tuple[str, str], list[Seen]] = {}
    for item in seen:
        if item.annotation.subject is not None and item.split is not None:
            found.setdefault((item.dataset, item.annotation.subject), []).append(item)
    findings = []
    for same in found.values():
        parts = list(dict.fromkeys(str(s.split) for s in same))
        if len(parts) > 1:
            names = tuple(s.name for s in same)
            # Subjects are not named: they may be names of patients, and the samples say enough.
            sentence = f"one subject is in {listed(parts)}: {listed(names)}"
            findings.append(Finding(kind="subject leak", severity="fault", samples=names, sentence=sentence))
    return findings


def _kind(same: Sequence[Seen]) -> str:
    parts: dict[str, set[str | None]] = {}
    for item in same:
        parts.setdefault(item.dataset, set()).add(item.split)
    if any(len(p) > 1 for p in parts.values()):
        return "leak"
    return "shared" if len(parts) > 1 else "duplicate"


def _asked_twice(same: Sequence[Seen]) -> bool:
    questions = [s.annotation.question for s in same]
    return None in questions or len(set(questions)) < len(questions)


def _exact(kind: str, same: Sequence[Seen]) -> Finding:
    names = tuple(s.name for s in same)
    sentence = f"{listed(names)} have the same pixels{_where(same)}"
    return Finding(kind=kind, severity="fault", samples=names, sentence=sentence)


def _where(same: Sequence[Seen]) -> str:
    parts = list(dict.fromkeys(s.split for s in same))
    if len(parts) > 1:
        return f", in {listed('no part' if p is None else p for p in parts)}"
    return ""


def _label(item: Seen) -> str | None:
    a = item.annotation
    if a.answer is not None:
        return repr(a.answer)
    if a.labels is not None:
        return listed(sorted(a.labels)) or "of no class"
    return a.label if a.label is not None else None if a.grade is None else f"grade {a.grade}"
