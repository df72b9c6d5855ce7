"""What a BIDS data set holds, and what is wrong with it; no image is read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medcore.errors import InputError, MedcoreError
from medcore.io.bids.collections import KINDS, MAPS, Collection, find_collections, subjects_of
from medcore.io.bids.derivatives import DESCRIPTION, PLAIN_DESCS, UNITS
from medcore.io.bids.names import check_label, parse_name
from medcore.io.bids.paths import images_below
from medcore.io.bids.sidecars import Sidecars
from medcore.io.sidecar import read_json

_DESCRIBED = ("Name", "BIDSVersion", "DatasetType", "GeneratedBy")
_URI = re.compile(r"bids:([^:]*):(.+)")


def bids_faults(folder: str | Path, *, subjects: Sequence[str] | None = None) -> list[str]:
    """What is wrong with a data set: its description, the keys of its collections, units and sources of its maps. No image is read.

    Parameters
    ----------
    folder
        The data set.
    subjects
        Labels; all if not given.

    Raises
    ------
    InputError
        If the folder cannot be read.
    """
    folder = Path(folder)
    description, faults = _description(folder)
    links = description.get("DatasetLinks")
    sidecars = Sidecars(folder)
    for subject in subjects_of(folder) if subjects is None else [check_label("sub", s) for s in subjects]:
        try:
            found = find_collections(folder, subjects=[subject])
        except MedcoreError as error:
            faults.append(f"{error.what}: {error.problem}")
            continue
        for collection in found:
            for path in collection.files:
                faults += _key_faults(path, sidecars, KINDS[collection.suffix].required)
        for path in images_below(folder / f"sub-{subject}"):
            if (suffix := _suffix(path)) in MAPS and suffix != "UNIT1":
                faults += _map_faults(path, suffix, sidecars)
                faults += _source_faults(path, sidecars, links if isinstance(links, dict) else {})
    return faults


def _description(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The description of a data set and its faults; empty if there is none that can be read."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return {}, [f"{DESCRIPTION} is missing"]
    try:
        content = read_json(path)
    except InputError as error:
        return {}, [f"{DESCRIPTION}: {error.problem}"]
    return content, _description_faults(content)


def _description_faults(content: Mapping[str, Any]) -> list[str]:
    needed = _DESCRIBED if content.get("DatasetType") == "derivative" else _DESCRIBED[:2]
    faults = [f"{DESCRIPTION} has no {key}" for key in needed if not content.get(key)]
    made_by = content.get("GeneratedBy")
    if made_by and not (isinstance(made_by, list) and all(isinstance(one, dict) and one.get("Name") for one in made_by)):
        faults.append(f"{DESCRIPTION} has a GeneratedBy that is no list of programs with their Name")
    return faults


def _suffix(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii").rpartition("_")[2]


def _key_faults(path: Path, sidecars: Sidecars, required: Sequence[str]) -> list[str]:
    try:
        facts = sidecars.of(path, parse_name(path))
    except MedcoreError as error:
        return [f"{Path(error.what).name}: {error.problem}"]
    return [f"{path.name}: has no {key}" for key in required if key not in facts]


def _map_faults(path: Path, suffix: str, sidecars: Sidecars) -> list[str]:
    try:
        name = parse_name(path)
        units = sidecars.of(path, name).get("Units")
    except MedcoreError as error:
        return [f"{Path(error.what).name}: {error.problem}"]
    fixed = UNITS.get(suffix)
    if name.entities.get("desc") in PLAIN_DESCS or (units is not None and fixed in (None, units)):
        return []
    return [f"{path.name}: states Units {units!r} where BIDS has {fixed or 'a unit'}"]


def _source_faults(path: Path, sidecars: Sidecars, links: Mapping[str, Any]) -> list[str]:
    """Sources that name an unknown data set, or a file that is not there."""
    try:
        sources = sidecars.of(path, parse_name(path)).get("Sources", [])
    except MedcoreError:  # told by the check of its units
        return []
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        return [f"{path.name}: has Sources that are no list of texts"]
    faults = []
    for source in sources:
        if not (uri := _URI.fullmatch(source)):
            continue
        dataset, inner = uri.groups()
        link = links.get(dataset) if dataset else "."
        if not isinstance(link, str):
            faults.append(f"{path.name}: has the source {source}, but DatasetLinks does not name {dataset!r}")
        elif ":" not in link and not (sidecars.root / link / inner).exists():
            faults.append(f"{path.name}: has the source {source}, which does not exist")
    return faults


def describe_bids(folder: str | Path) -> dict[str, Any]:
    """JSON-ready facts: subjects, collections and maps, description. Labels of subjects are codes of the study and are shown.

    Raises
    ------
    InputError
        If the folder cannot be read.
    """
    folder = Path(folder)
    subjects = subjects_of(folder)
    collections: list[Collection] = []
    faults: list[str] = []
    for subject in subjects:
        try:
            collections += find_collections(folder, subjects=[subject])
        except MedcoreError as error:
            faults.append(f"{Path(error.what).name}: {error.problem}")
    counts = Counter(c.suffix for c in collections)
    maps = Counter(_suffix(path) for subject in subjects for path in images_below(folder / f"sub-{subject}"))
    stated, _ = _description(folder)
    return {
        "type": "BIDS data set",
        "subjects": len(subjects),
        "labels": subjects[:20],
        "sessions": len({(c.subject, c.session) for c in collections if c.session}),
        "collections": {k: counts[k] for k in KINDS if counts[k]},
        "maps": {k: maps[k] for k in MAPS if maps[k]},
        "dataset_type": stated.get("DatasetType", "raw"),
        "bids_version": stated.get("BIDSVersion"),
        "licence": _licence(stated),
        "faults": faults[:20],
    }


def licence_of(folder: str | Path) -> str:
    """The licence that the description of a data set states, else ``"not stated"``."""
    return _licence(_description(Path(folder))[0])


def _licence(description: Mapping[str, Any]) -> str:
    stated = description.get("License")
    return stated if isinstance(stated, str) and stated else "not stated"
