"""What is installed, what the missing parts would add, and how to mend what is wrong."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
from dataclasses import asdict, dataclass
from typing import Any

from medcore.errors import ConfigError
from medcore.io.limits import MAX_BYTES, max_bytes
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
    "detect": "the implementation that metrics of boxes are compared with",
    "hf": "data sets handed to the Hugging Face libraries",
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


def decoders() -> list[dict[str, Any]]:
    """What decodes the pixels of each DICOM transfer syntax that compresses them; takes a moment, it imports the decoders."""
    from pydicom import uid
    from pydicom.pixels import get_decoder

    compressed = uid.RLETransferSyntaxes + uid.JPEGTransferSyntaxes + uid.JPEGLSTransferSyntaxes + uid.JPEG2000TransferSyntaxes
    found: list[dict[str, Any]] = []
    for syntax in compressed:
        with contextlib.suppress(NotImplementedError):  # pydicom knows no decoder at all, for example for JPEG 2000 part 2
            found.append({"uid": str(syntax), "name": syntax.name, "by": sorted(get_decoder(syntax).available_plugins)})
    return found


def problems(facts: dict[str, Any]) -> list[str]:
    """One line for each thing in the result of :func:`examine` that keeps something from working, with how to mend it."""
    found = [f"{name} is needed and not installed; run: pip install {name}" for name in facts["missing"]]
    found += [f"{d['name']} cannot be read; run: pip install '{DISTRIBUTION}[dicom]'" for d in facts["decoders"] if not d["by"]]
    for extra in facts["extras"]:
        if extra["installed"] and extra["missing"]:
            found.append(f"the extra {extra['name']} lacks {', '.join(extra['missing'])}; run: {extra['install']}")
    try:
        max_bytes()
    except ConfigError as error:
        found.append(str(error))
    return found


def examine() -> dict[str, Any]:
    """JSON-ready facts: platform, versions of what is needed, the HDF5 library, decoders, optional parts, and what is wrong."""
    needed = [
        re.split(r"[^A-Za-z0-9._-]", line.strip())[0] for line in importlib.metadata.requires(DISTRIBUTION) or [] if ";" not in line
    ]
    parts = [asdict(e) | {"complete": e.complete, "install": e.install} for e in extras()]
    found = versions([DISTRIBUTION, *needed])
    facts: dict[str, Any] = {
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": found,
        "hdf5": _hdf5(),
        "max_bytes": os.environ.get("MEDCORE_MAX_BYTES", str(MAX_BYTES)),
        "missing": [n for n in needed if n not in found],
        "decoders": decoders(),
        "extras": parts,
    }
    return facts | {"problems": problems(facts)}


def _hdf5() -> str:
    import h5py

    return str(h5py.version.hdf5_version)
