"""What is installed and what the missing parts would add; imports nothing of it."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from dataclasses import asdict, dataclass
from typing import Any

from medcore.provenance import versions

DISTRIBUTION = "medcore"
PURPOSES = {
    "kspace": "ISMRMRD files written by other programs and their schema",
    "dicom": "DICOM parametric maps, and pixels in JPEG, JPEG-LS, JPEG 2000 and RLE",
    "twix": "raw data of Siemens scanners",
    "bids": "queries of BIDS data sets",
    "eval": "the reference implementations of metrics",
    "text": "fast text similarity, BLEU and chrF",
    "viz": "figures in reports, and reading PNG, JPEG, BMP and TIFF images",
    "detect": "mean average precision of boxes",
}
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+).*;\s*extra\s*==\s*['\"]([A-Za-z0-9._-]+)['\"]")


@dataclass(frozen=True, kw_only=True)
class Extra:
    """An optional part.

    Attributes
    ----------
    name, purpose
        Its name, and what it adds.
    installed
        Versions of its distributions that are there.
    missing
        Names of those that are not.
    """

    name: str
    purpose: str
    installed: dict[str, str]
    missing: list[str]

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        return not self.missing

    @property
    def install(self) -> str:
        """The command that adds it."""
        return f"pip install '{DISTRIBUTION}[{self.name}]'"


def extras() -> list[Extra]:
    """The optional parts that the installed package offers, in the order of its metadata."""
    wanted: dict[str, list[str]] = {}
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        if match := _REQUIREMENT.match(line):
            wanted.setdefault(match[2], []).append(match[1])
    return [_extra(name, found) for name, found in wanted.items()]


def _extra(name: str, distributions: list[str]) -> Extra:
    present = versions(distributions)
    del present["python"]
    missing = [d for d in distributions if d not in present]
    return Extra(name=name, purpose=PURPOSES.get(name, "not described"), installed=present, missing=missing)


def examine() -> dict[str, Any]:
    """JSON-ready facts: Python, platform, versions of what is needed, optional parts."""
    needed = [
        re.split(r"[^A-Za-z0-9._-]", line.strip())[0] for line in importlib.metadata.requires(DISTRIBUTION) or [] if ";" not in line
    ]
    parts = [asdict(e) | {"complete": e.complete, "install": e.install} for e in extras()]
    found = versions([DISTRIBUTION, *needed])
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": found,
        "missing": [n for n in needed if n not in found],
        "extras": parts,
    }
