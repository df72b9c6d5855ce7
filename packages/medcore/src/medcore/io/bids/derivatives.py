"""Derivatives: parameter maps written as a BIDS data set of their own, and what is wrong with one.

Source: BIDS 1.11.1, "BIDS Derivatives" and the appendix "Quantitative MRI": relaxation times have the unit s, rates 1/s; maps made
after the scan belong into a derivative data set; maps state ``EstimationReference``, ``EstimationAlgorithm`` and ``Units``. The
standard has no suffix for uncertainty; it is written as ``desc-std``, ``desc-low95`` and ``desc-high95`` of the map.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcore.atomic import atomic_files, check_writable, json_bytes, write_json
from medcore.errors import InputError, OutputExistsError
from medcore.io.bids.names import Name, check_label, parse_name
from medcore.io.nifti import encode_nifti
from medcore.io.sidecar import read_json, sidecar_path

VERSION = "1.11.1"
DESCRIPTION = "dataset_description.json"
UNITS = {
    "T1map": "s", "T2map": "s", "T2starmap": "s", "T1rho": "s", "R1map": "1/s", "R2map": "1/s", "R2starmap": "1/s",
    "M0map": "arbitrary", "PDmap": "arbitrary",
}  # fmt: skip
"""Units that the standard fixes."""
SOURCE = "raw"
"""Name of the data set that the images come from in the URIs of ``Sources``."""
PLAIN_DESCS = ("status", "chi2")
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
    sources: Sequence[str | Path] = (),
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
        BIDS URIs or paths of the images the maps were made from; paths in `source_dataset` or `folder` become URIs.
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
    common: dict[str, Any] = {"Sources": source_uris(sources, folder, source_dataset)} if sources else {}
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


def describe_derivative(
    folder: str | Path,
    *,
    name: str = "Parameter maps",
    generated_by: Mapping[str, str] | None = None,
    source_dataset: str | Path | None = None,
) -> None:
    """Make `folder` a data set of derivatives, for writers that put their files into it themselves; one that is there stays as it is.

    Parameters
    ----------
    folder, name, generated_by, source_dataset
        As in :func:`write_derivative`.

    Raises
    ------
    InputError
        If `folder` is a data set of another kind, holds something else, or lies in the source.
    OutputError, DiskFullError
        If it cannot be written.
    """
    check_derivative(folder, source_dataset)
    _describe(Path(folder), name, generated_by, source_dataset)


def check_derivative(folder: str | Path, source_dataset: str | Path | None = None) -> None:
    """Refuse a folder that :func:`describe_derivative` would; nothing is written."""
    _refuse_inside(Path(folder), source_dataset)
    _check_description(Path(folder))


def _refuse_inside(folder: Path, source: str | Path | None) -> None:
    if source is None:
        return
    inner, outer = folder.resolve(), Path(source).resolve()
    if inner == outer or (inner.is_relative_to(outer) and inner.relative_to(outer).parts[0] != "derivatives"):
        raise InputError(folder, f"lies in the source data set {source}", f"write to {Path(source) / 'derivatives'} or elsewhere")


def source_uris(sources: Sequence[str | Path], folder: Path, source: str | Path | None) -> list[str]:
    """``bids:raw:...`` for paths in the data set `source` where `folder` describes a link to it, ``bids::...`` for those in `folder`."""
    roots = [("", folder.resolve())]
    description = folder / DESCRIPTION
    if source is not None and (not description.exists() or SOURCE in read_json(description).get("DatasetLinks", {})):
        roots.append((SOURCE, Path(source).resolve()))
    uris = []
    for text in map(str, sources):
        path = Path(text).resolve()
        root = None if text.startswith("bids:") else next((r for r in roots if path.is_relative_to(r[1])), None)
        uris.append(text if root is None else f"bids:{root[0]}:{path.relative_to(root[1]).as_posix()}")
    return uris


def _name(m: ParameterMap, entities: Mapping[str, str]) -> str:
    given = dict(entities) | ({} if m.desc is None else {"desc": m.desc})
    name = Name(entities=given, suffix=m.suffix, extension=".nii.gz").render()
    parse_name(name)  # refuses what is no name
    return name


def _unit(m: ParameterMap) -> str:
    fixed = UNITS.get(m.suffix)
    if m.desc in PLAIN_DESCS:
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
    others = folder.exists() and any(not p.name.startswith(".") for p in folder.iterdir())
    if path.exists():  # looked for after the others, before which every writer puts it there
        kind = read_json(path).get("DatasetType")
        if kind != "derivative":
            raise InputError(path, f"states DatasetType {kind!r}", "write to a data set of derivatives, or a new folder")
    elif others:
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
        content["DatasetLinks"] = {SOURCE: Path(os.path.relpath(Path(source).resolve(), folder.resolve())).as_posix()}
    if (folder / DESCRIPTION).exists():
        return False
    try:
        write_json(folder / DESCRIPTION, content, force=False)
    except OutputExistsError:  # another writer was faster
        return False
    return True
