"""What a check of data sets found, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from medcore.config import to_mapping

Severity = Literal["fault", "note"]
PAIR_KINDS = (
    "leak",
    "near leak",
    "shared",
    "near shared",
    "duplicate",
    "near duplicate",
)
"""Findings about two or more samples that show one picture: in two parts, in two data sets, or in one part."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    kind
        What, in a few words that never change: one of :data:`PAIR_KINDS`, ``subject leak``, ``label conflict``, ``unreadable``,
        ``constant``, ``box``, ``card``, ``empty class``, ``imbalance``, ``no label``, ``size``, ``mode``, ``licence``.
    severity
        A fault spoils results or hides an error; a note is good to know.
    samples
        Names of the samples concerned, see :attr:`CheckReport.datasets`.
    sentence
        The same for people.
    """

    kind: str
    severity: Severity
    samples: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """What one part of the data that were checked holds.

    Attributes
    ----------
    name
        Data set, and its part if it has any.
    samples, unreadable
        Counts.
    class_counts
        As in the card; of this part.
    sizes, modes
        How many images have each size (``"640 x 425"``, width first) and mode (``grey``, ``colour``, ``volume``).
    """

    name: str
    samples: int
    unreadable: int
    class_counts: dict[str, int]
    sizes: dict[str, int]
    modes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Result of :func:`medcore.datasets.check.check_dataset`.

    Attributes
    ----------
    datasets
        Names of what was checked together. Where these are several, samples are named ``<data set>/<identifier>``.
    parts
        What they hold.
    near
        Whether near duplicates were looked for.
    findings
        Faults first, each kind together.
    """

    datasets: tuple[str, ...]
    parts: tuple[PartSummary, ...]
    near: bool
    findings: tuple[Finding, ...] = field(default=())

    @property
    def faults(self) -> tuple[Finding, ...]:
        """Findings that are faults."""
        return tuple(f for f in self.findings if f.severity == "fault")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """Findings that are notes."""
        return tuple(f for f in self.findings if f.severity == "note")

    def of_kind(self, *kinds: str) -> tuple[Finding, ...]:
        """Findings of these kinds."""
        return tuple(f for f in self.findings if f.kind in kinds)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        plain: dict[str, Any] = to_mapping(self)
        return plain | {"n_faults": len(self.faults), "n_notes": len(self.notes)}


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names in a sentence; of many the first few and how many more."""
    names = list(names)
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
