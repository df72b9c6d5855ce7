"""Derivatives: parameter maps written as a BIDS data set of their own, and what is wrong with one.

Source: BIDS 1.11.1, "BIDS Derivatives" and the appendix "Quantitative MRI": relaxation times have the unit s, rates 1/s; maps made
after the scan belong into a derivative data set; maps state ``EstimationReference``, ``EstimationAlgorithm`` and ``Units``. The
standard has no suffix for uncertainty; it is written as ``desc-std``, ``desc-low95`` and ``desc-high95`` of the map.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcore.atomic import atomic_files, check_writable, json_bytes, write_json
from medcore.errors import InputError, MedcoreError, OutputExistsError
from medcore.io.bids.collections import KINDS, MAPS, Collection, find_collections, subjects_of
from medcore.io.bids.names import Name, check_label, parse_name
from medcore.io.bids.paths import images_below
from medcore.io.bids.sidecars import Sidecars
from medcore.io.nifti import encode_nifti
from medcore.io.sidecar import read_json, sidecar_path

VERSION = "1.11.1"
DESCRIPTION = "dataset_description.json"
UNITS = {
    "T1map": "s", "T2map": "s", "T2starmap": "s", "T1rho": "s", "R1map": "1/s", "R2map": "1/s", "R2starmap": "1/s",
    "M0map": "arbitrary", "PDmap": "arbitrary",
}  # fmt: skip
"""Units that the standard fixes."""
_DESCRIBED = ("Name", "BIDSVersion", "DatasetType", "GeneratedBy")
_PLAIN_DESCS = ("status", "chi2")
"""Descriptions of values without the unit of their map."""


@dataclass(frozen=True, kw_only=True)
class ParameterMap:
    """One map to write.

    Attributes
    ----------
    suffix
        For example ``T1map``.
    data
        (z, y, x).
    unit
        Unit of the values; for a suffix of :data:`UNITS` the fixed one if not given.
    desc
        What it is beside the map itself, for example ``std``.
    sidecar
        Further keys.
    """

    suffix: str
    data: NDArray[Any]
    unit: str | None = None
    desc: str | None = None
    sidecar: Mapping[str, Any] = field(default_factory=dict)


def write_derivative(
    folder: str | Path,
    maps: Sequence[ParameterMap],
    affine: NDArray[np.floating],
    *,
    subject: str,
    session: str | None = None,
    entities: Mapping[str, str] | None = None,
    sources: Sequence[str] = (),
    algorithm: str | None = None,
    reference: str | None = None,
    generated_by: Mapping[str, str] | None = None,
    source_dataset: str | Path | None = None,
    name: str = "Parameter maps",
    force: bool = False,
) -> list[Path]:
    """Write maps of one subject into a derivative data set, which is made if it does not exist.

    All maps appear together with their sidecars, or none does; existing files of other subjects are left alone.

    Parameters
    ----------
    folder
        The data set to write to.
    maps
        See :class:`ParameterMap`.
    affine
        (4, 4), voxel index (x, y, z, 1) to RAS+ metres.
    subject, session
        Labels.
    entities
        Further entities of the names, for example ``{"acq": "fast"}``.
    sources
        BIDS URIs or paths of the images the maps were made from.
    algorithm, reference
        ``EstimationAlgorithm`` and ``EstimationReference``.
    generated_by
        Name and version of the program.
    source_dataset
        The data set the images come from; the output must not lie in it, except below its ``derivatives``.
    name
        Of the data set.
    force
        Whether existing files may be replaced.

    Returns
    -------
    list of Path
        The images.

    Raises
    ------
    InputError
        If a label or unit cannot be right, `folder` is a data set of another kind, or lies in the source.
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_files`.
    """
    folder = Path(folder)
    _refuse_inside(folder, source_dataset)
    base = {"sub": check_label("sub", subject)} | ({} if session is None else {"ses": check_label("ses", session)})
    home = folder.joinpath(*(f"{k}-{v}" for k, v in base.items()), "anat")
    planned = [(home / _name(m, base | dict(entities or {})), m) for m in maps]
    if len({p for p, _ in planned}) < len(planned) or not planned:
        raise InputError("maps", "are none or have one name twice", "give every map its own suffix or desc")
    common: dict[str, Any] = {"Sources": list(sources)} if sources else {}
    common |= {k: v for k, v in (("EstimationAlgorithm", algorithm), ("EstimationReference", reference)) if v is not None}
    sidecars = [dict(common) | dict(m.sidecar) | {"Units": _unit(m)} for _, m in planned]
    images = [path for path, _ in planned]
    targets = [*images, *(sidecar_path(path) for path in images)]
    for path in targets:
        check_writable(path, force=force)
    contents = [encode_nifti(path, m.data, affine) for path, m in planned]
    contents += [json_bytes(path, sidecar) for path, sidecar in zip(images, sidecars, strict=True)]
    with _described(folder, name, generated_by, source_dataset), atomic_files(targets, force=force) as temporary:
        for path, content in zip(temporary, contents, strict=True):
            path.write_bytes(content)
    return images


def _refuse_inside(folder: Path, source: str | Path | None) -> None:
    if source is None:
        return
    inner, outer = folder.resolve(), Path(source).resolve()
    if inner == outer or (inner.is_relative_to(outer) and inner.relative_to(outer).parts[0] != "derivatives"):
        raise InputError(folder, f"lies in the source data set {source}", f"write to {Path(source) / 'derivatives'} or elsewhere")


def _name(m: ParameterMap, entities: Mapping[str, str]) -> str:
    given = dict(entities) | ({} if m.desc is None else {"desc": m.desc})
    name = Name(entities=given, suffix=m.suffix, extension=".nii.gz").render()
    parse_name(name)  # refuses what is no name
    return name


def _unit(m: ParameterMap) -> str:
    fixed = UNITS.get(m.suffix)
    if m.desc in _PLAIN_DESCS:
        return m.unit or "arbitrary"
    if fixed is not None and m.unit not in (None, fixed):
        raise InputError(m.suffix, f"has the unit {m.unit!r}", f"BIDS fixes {fixed}, convert the values")
    if fixed is None and m.unit is None:
        raise InputError(m.suffix, "has no unit", "state one")
    return str(m.unit or fixed)


@contextlib.contextmanager
def _described(folder: Path, *facts: Any) -> Iterator[None]:
    """Describe a new data set before its first files are written; if that fails, nothing of it stays."""
    _check_description(folder)
    new = [p for p in (folder, *folder.parents) if not p.exists()]
    made = _describe(folder, *facts)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if made and [p.name for p in folder.iterdir()] == [DESCRIPTION]:
                (folder / DESCRIPTION).unlink()
            for path in new:
                path.rmdir()
        raise
    _describe(folder, *facts)  # again: another writer that failed may have taken its own away


def _check_description(folder: Path) -> None:
    path = folder / DESCRIPTION
    if path.exists():
        kind = read_json(path).get("DatasetType")
        if kind != "derivative":
            raise InputError(path, f"states DatasetType {kind!r}", "write to a data set of derivatives, or a new folder")
    elif folder.exists() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise InputError(folder, "is not empty and no BIDS data set", "choose a new folder")


def _describe(folder: Path, name: str, generated_by: Mapping[str, str] | None, source: str | Path | None) -> bool:
    """Write the description of a data set that has none; whether it was written."""
    content: dict[str, Any] = {
        "Name": name,
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [dict(generated_by or {"Name": "medcore"})],
    }
    if source is not None:
        content["SourceDatasets"] = [{"URL": Path(source).resolve().as_uri()}]
    if (folder / DESCRIPTION).exists():
        return False
    try:
        write_json(folder / DESCRIPTION, content, force=False)
    except OutputExistsError:  # another writer was faster
        return False
    return True


def bids_faults(folder: str | Path) -> list[str]:
    """What is wrong with a data set: its description, the keys of its collections, the units of its maps. No image is read.

    Raises
    ------
    InputError
        If the folder cannot be read.
    """
    folder = Path(folder)
    faults = _description_faults(folder / DESCRIPTION)
    sidecars = Sidecars(folder)
    for subject in subjects_of(folder):
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
    return faults


def _description_faults(path: Path) -> list[str]:
    if not path.is_file():
        return [f"{DESCRIPTION} is missing"]
    try:
        content = read_json(path)
    except InputError as error:
        return [f"{DESCRIPTION}: {error.problem}"]
    needed = _DESCRIBED if content.get("DatasetType") == "derivative" else _DESCRIBED[:2]
    return [f"{DESCRIPTION} has no {key}" for key in needed if not content.get(key)]


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
    if name.entities.get("desc") in _PLAIN_DESCS or (units is not None and fixed in (None, units)):
        return []
    return [f"{path.name}: states Units {units!r} where BIDS has {fixed or 'a unit'}"]


def describe_bids(folder: str | Path) -> dict[str, Any]:
    """JSON-ready facts: subjects, collections and maps, description. Labels of subjects are codes of the study and are shown.

    Raises
    ------
    InputError
        If the folder or its description cannot be read.
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
    description = folder / DESCRIPTION
    stated = read_json(description) if description.is_file() else {}
    return {
        "type": "BIDS data set",
        "subjects": len(subjects),
        "labels": subjects[:20],
        "sessions": len({(c.subject, c.session) for c in collections if c.session}),
        "collections": {k: counts[k] for k in KINDS if counts[k]},
        "maps": {k: maps[k] for k in MAPS if maps[k]},
        "dataset_type": stated.get("DatasetType", "raw"),
        "bids_version": stated.get("BIDSVersion"),
        "licence": stated.get("License", "not stated"),
        "faults": faults[:20],
    }
