"""Check that each package states one version everywhere and that the packages' ranges for each other hold."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"medcore": "medcore", "puq-qmri": "puq_qmri", "vrft-aug": "vrft_aug"}


def version(package: str) -> str:
    """The version in a package's ``__about__.py``."""
    text = (ROOT / "packages" / package / "src" / PACKAGES[package] / "__about__.py").read_text()
    found = re.fullmatch(r'__version__ = "(\d+\.\d+\.\d+(?:\.dev\d+)?)"\n', text)
    if not found:
        sys.exit(f'error: {package}: __about__.py must hold one line __version__ = "x.y.z"')
    return found[1]


def problems(package: str) -> list[str]:
    """What disagrees in one package."""
    folder, stated, found = ROOT / "packages" / package, version(package), []
    citation = re.search(r"^version: (\S+)$", (folder / "CITATION.cff").read_text(), re.MULTILINE)
    if not citation or citation[1] != stated:
        found.append(f"CITATION.cff says {citation[1] if citation else 'nothing'}, __about__.py says {stated}")
    releases = re.findall(r"^## (\d\S*)", (folder / "CHANGELOG.md").read_text(), re.MULTILINE)
    fragments = [p for p in (folder / "changelog.d").iterdir() if p.suffix == ".md"]
    if releases and releases[0] != stated and not fragments:
        found.append(f"CHANGELOG.md ends at {releases[0]}, __about__.py says {stated}, and changelog.d is empty")
    if (folder / "LICENSE").read_bytes() != (ROOT / "LICENSE").read_bytes():
        found.append("LICENSE differs from the repository's")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] + [r for extra in project.get("optional-dependencies", {}).values() for r in extra]
    for requirement in requirements:
        match = re.match(r"medcore(\[[^]]*\])?>=(\d+)\.(\d+),<(\d+)\.(\d+)$", requirement)
        if requirement.startswith("medcore") and not match:
            found.append(f"{requirement!r} must be of the form medcore>=x.y,<x.z")
        elif match:
            have = tuple(map(int, version("medcore").split(".")[:2]))
            low, high = tuple(map(int, match.groups()[1:3])), tuple(map(int, match.groups()[3:5]))
            if not low <= have < high:
                found.append(f"{requirement!r} does not admit medcore {version('medcore')}")
    return found


def main() -> int:
    """Print every disagreement; exit status 1 if there is one."""
    found = [f"error: {package}: {text}" for package in PACKAGES for text in problems(package)]
    print("\n".join(found) or "versions agree: " + ", ".join(f"{p} {version(p)}" for p in PACKAGES))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
