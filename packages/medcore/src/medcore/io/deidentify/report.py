"""What a de-identification did: counts by attribute, never values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

REPORT = "deidentification.json"


@dataclass(frozen=True, kw_only=True)
class DeidentifyReport:
    """What was done, or would be done.

    Attributes
    ----------
    files
        Names of the written files within the output folder.
    subjects, studies, series
        How many of each.
    attributes
        By keyword and tag: how often it was kept, emptied, replaced or removed. No values.
    flags
        What a person should look at, and how many files it concerns.
    not_taken
        DICOM objects that are no images, by kind, which were not copied.
    other_files, links
        Files that are no DICOM, and symbolic links; neither was copied.
    duplicates
        Files that repeat another one.
    comments
        Texts inside compressed pictures that were overwritten.
    profile
        Names of the profile and its options.
    dry_run
        Whether nothing was written.
    """

    files: tuple[str, ...]
    subjects: int
    studies: int
    series: int
    attributes: Mapping[str, Mapping[str, int]]
    flags: Mapping[str, int]
    not_taken: Mapping[str, int]
    other_files: int
    links: int
    duplicates: int
    comments: int
    profile: tuple[str, ...]
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"files": list(self.files), "profile": list(self.profile)}


@dataclass
class Tally:
    """Counted while files are cleaned."""

    files: dict[str, bytes] = field(default_factory=dict)
    subjects: set[str] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)
    series: set[str] = field(default_factory=set)
    flags: Counter[str] = field(default_factory=Counter)
    not_taken: Counter[str] = field(default_factory=Counter)
    other_files: int = 0
    links: int = 0
    duplicates: int = 0
    comments: int = 0

    def report(self, counts: Counter[tuple[str, str]], profile: tuple[str, ...], *, dry_run: bool) -> DeidentifyReport:
        """The finished report."""
        attributes: dict[str, dict[str, int]] = {}
        for (name, action), number in sorted(counts.items()):
            attributes.setdefault(name, {})[action] = number
        return DeidentifyReport(
            files=tuple(sorted(self.files)),
            subjects=len(self.subjects),
            studies=len(self.studies),
            series=len(self.series),
            attributes=attributes,
            flags=dict(sorted(self.flags.items())),
            not_taken=dict(sorted(self.not_taken.items())),
            other_files=self.other_files,
            links=self.links,
            duplicates=self.duplicates,
            comments=self.comments,
            profile=profile,
            dry_run=dry_run,
        )
