"""Check data sets for what spoils training and evaluation: leaks, duplicates, conflicting labels, broken images, odd ones out."""

from __future__ import annotations

from collections.abc import Sequence

from medcore.datasets.base import Dataset, tally
from medcore.datasets.check_report import PAIR_KINDS, CheckReport, Finding, PartSummary
from medcore.datasets.check_samples import check_annotations, check_images
from medcore.datasets.near_duplicates import Link, link
from medcore.datasets.same_picture import check_conflicts, check_subjects, same_picture
from medcore.datasets.seen import Part, Seen, Watch, look
from medcore.errors import ConfigError


def check_dataset(*datasets: Dataset | Part, near: bool = True, turns: bool = False, watch: Watch | None = None) -> CheckReport:
    """Look at every sample of one or several data sets; all images are decoded once.

    Parameters
    ----------
    datasets
        Data sets, or parts of them (:class:`Part`). Duplicates are looked for among all of them together: within a part, between parts of
        a data set (a leak: what is tested on was trained on), and between data sets.
    near
        Whether near duplicates are looked for, see :func:`medcore.datasets.near_duplicates.find_near_duplicates`.
    turns
        Also mirrored and turned ones.
    watch
        Wraps the iteration over the samples, for a progress bar.

    Returns
    -------
    CheckReport
        Findings are data; nothing that is wrong with a sample is raised.

    Raises
    ------
    ConfigError
        If nothing is given, or two parts have the same name.
    MissingExtraError
        Without a library that decodes the images.
    """
    parts = [d if isinstance(d, Part) else Part(dataset=d, name=d.card.name) for d in datasets]
    keys = [(p.name, p.split) for p in parts]
    if not parts or len(set(keys)) != len(keys):
        twice = next((k for k in keys if keys.count(k) > 1), None)
        raise ConfigError("datasets", f"names {twice[0]!r} twice" if twice else "is empty", "give different data sets")
    seen = look(parts, near=near, watch=watch)
    findings: list[Finding] = []
    pictures = same_picture(seen, _near_links(seen, turns) if near else [])
    findings += pictures.findings + check_conflicts(seen, pictures.groups) + check_subjects(seen)
    findings += check_images(seen)
    for part in parts:
        findings += check_annotations(part.dataset, [s for s in seen if s.dataset == part.name], part.shown)
    names = tuple(dict.fromkeys(p.name for p in parts))
    order = {kind: i for i, kind in enumerate(PAIR_KINDS)}
    unique = list(dict.fromkeys(findings))
    unique.sort(key=lambda f: (f.severity != "fault", order.get(f.kind, len(order))))
    return CheckReport(datasets=names, parts=_summaries(parts, seen), near=near, findings=tuple(unique))


def _near_links(seen: Sequence[Seen], turns: bool) -> list[Link]:
    """Links between samples of different pixels; of exact copies the first stands for all."""
    first: dict[str, int] = {}
    for i, item in enumerate(seen):
        if item.sha256 is not None and item.print is not None:
            first.setdefault(item.sha256, i)
    chosen = sorted(first.values())
    links = link([seen[i].print for i in chosen], turns=turns)
    return [k._replace(first=chosen[k.first], second=chosen[k.second]) for k in links]


def _summaries(parts: Sequence[Part], seen: Sequence[Seen]) -> tuple[PartSummary, ...]:
    found = []
    start = 0
    for part in parts:
        own = seen[start : start + len(part.dataset)]
        start += len(part.dataset)
        sizes: dict[str, int] = {}
        modes: dict[str, int] = {}
        for item in (s for s in own if s.shape):
            for table, key in ((sizes, item.size), (modes, item.mode)):
                table[key] = table.get(key, 0) + 1
        found.append(
            PartSummary(
                name=part.shown,
                samples=len(own),
                unreadable=sum(s.problem is not None for s in own),
                class_counts=tally([s.annotation for s in own], part.dataset.card.task, part.dataset.card.classes),
                sizes=sizes,
                modes=modes,
            )
        )
    return tuple(found)
