"""``medcore.open``: images, k-space and datasets by content; and what ``medcore info`` and ``medcore validate`` say of them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcore.atomic import sha256_file
from medcore.config import to_mapping
from medcore.contents import content_faults, describe_content, recognise_content
from medcore.datasets.dicom_grey import grey_image
from medcore.errors import InputError, MissingExtraError
from medcore.io import ImageSeries, KSpace, list_series, read_dicom, read_fastmri
from medcore.io.bids import bids_faults, describe_bids, find_collections, read_collection, subjects_of
from medcore.io.dicom.files import open_dicom
from medcore.io.dicom.listing import SeriesInfo
from medcore.io.dicom.parsing import pydicom_errors
from medcore.io.fastmri import describe_fastmri
from medcore.io.npy import list_arrays
from medcore.io.opener import open_path, recognise
from medcore.units import m_to_mm, rad_to_deg, s_to_ms

_MAX_FILES = 100_000
PROJECTIONS = frozenset({"CR", "DX", "IO", "MG", "OP", "PX", "RF", "US", "XA", "XC"})
"""Modalities whose pictures have no place in space."""


def open(path: str | Path, **options: Any) -> Any:  # noqa: A001 - medcore.open is the public name
    """Open whatever `path` holds: images, k-space, or a dataset of labelled images.

    Parameters
    ----------
    path
        File or folder.
    options
        Passed to the reader, see :func:`medcore.io.open` and :func:`medcore.datasets.open_dataset`.

    Returns
    -------
    ImageSeries, KSpace or Dataset
        By content, not by name.

    Raises
    ------
    InputError
        If it is of no known kind or the reader refuses it.
    """
    kind = recognise(path)
    if kind == "medmnist" or (kind is None and (Path(path).is_dir() or _states_labels(path))):
        from medcore.datasets import open_dataset

        return open_dataset(path, **options)
    return open_path(path, **options)


def describe(path: str | Path, **options: Any) -> dict[str, Any]:
    """JSON-ready facts about `path` that name no patient: kind, axes, times, geometry, repairs, hash.

    A DICOM folder with several series is described as the list of them, unless one is chosen; a folder that is neither one series
    nor one data set by the kinds of its files. Files that are no images of a scanner are described as far as their format says
    what they are.

    Raises
    ------
    InputError
        See :func:`open`.
    """
    kind = recognise(path)
    facts: dict[str, Any] = {"path": str(path), "format": kind or "dataset"}
    if Path(path).is_file():
        plain = None if options else _plain_kind(path, kind)
        facts |= {"format": plain or facts["format"], "bytes": Path(path).stat().st_size, "sha256": sha256_file(path)}
        if plain is not None:
            return facts | describe_content(path, plain)
    if kind == "dicom-folder" and not options.get("series"):
        series = list_series(path)
        if len(series) > 1:
            listed = [{"uid": s.uid, "number": s.number, "files": s.n_files, "frames": s.n_frames} for s in series]
            return facts | {"type": "several series", "series": listed}
    if kind == "bids-folder" and not options:
        return facts | describe_bids(path)
    if kind == "fastmri" and "slice_index" not in options:
        return facts | {"type": "k-space of several slices", **describe_fastmri(path)}
    if kind == "dicom" and (film := _film(path)) is not None:
        height, width = film.shape
        return facts | {"type": "projection image", "axes": {"y": height, "x": width}}
    item, why = (open(path, **options), "") if options or Path(path).is_file() else _one_thing(path, kind)
    if item is None:
        return facts | {"format": "folder", "type": "folder of several things", "not_one": why, **_contents(Path(path))}
    if isinstance(item, ImageSeries):
        return facts | _describe_images(item)
    if isinstance(item, KSpace):
        return facts | _describe_kspace(item)
    return facts | {"type": "dataset", "samples": len(item), "card": to_mapping(item.card)}


def _one_thing(path: str | Path, kind: str | None) -> tuple[Any, str]:
    """The series or data set that a folder is; or None, and why it is neither. A DICOM folder is a series or an error."""
    from medcore.datasets.opener import recognise_dataset

    if kind == "dicom-folder":
        return open(path), ""
    try:
        if kind is None:
            found = recognise_dataset(path)
            if len(found) != 1:
                return None, f"it may be {' and '.join(found)}" if found else "no data set of a known kind"
        return open(path), ""
    except MissingExtraError:
        raise
    except InputError as error:
        return None, f"{Path(error.what).name}: {error.problem}"


def _files_below(folder: Path) -> list[Path]:
    """Visible regular files below a folder, by name; symbolic links are not followed.

    Raises
    ------
    InputError
        If there are more than 100,000.
    """
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        found += [p for n in sorted(names) if not n.startswith(".") and (p := Path(root, n)).is_file() and not p.is_symlink()]
        if len(found) > _MAX_FILES:
            raise InputError(folder, f"holds more than {_MAX_FILES} files", "name a smaller folder")
    return found


def _kind_of_file(path: Path) -> str:
    try:
        kind = recognise(path)
        return _plain_kind(path, kind) or kind or "unknown"
    except InputError:
        return "unreadable"


def _contents(folder: Path) -> dict[str, Any]:
    files = _files_below(folder)
    counts = Counter(_kind_of_file(p) for p in files)
    return {"files": len(files), "kinds": dict(sorted(counts.items()))}


def _plain_kind(path: str | Path, kind: str | None) -> str | None:
    """The kind of a file that is no image series, k-space or data set."""
    if kind == "hdf5" or (kind in {"npy", "npz"} and not _is_one_image(path)):
        return kind
    return recognise_content(path) if kind is None and not _states_labels(path) else None


def _is_one_image(path: str | Path) -> bool:
    """Whether an array file holds one array that can be images or k-space."""
    arrays = list_arrays(path)
    return len(arrays) == 1 and len(arrays[0][1]) in range(2, 6) and arrays[0][2].kind in "biufc"


def _states_labels(path: str | Path) -> bool:
    """Whether a file of no kind of its own holds the annotations of a data set: COCO's JSON, or questions in JSON Lines."""
    from medcore.datasets.opener import recognise_dataset

    file = Path(path)
    return file.is_file() and file.suffix.lower() != ".csv" and recognise_dataset(file) in (["coco"], ["vqa"])


def _times(times: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, values in times.items():
        name, convert = ("flip_angle_deg", rad_to_deg) if key == "flip_angle" else (f"{key}_ms", s_to_ms)
        found[name] = [float(f"{v:.9g}") for v in convert(values)]
    return found


def _describe_images(item: ImageSeries) -> dict[str, Any]:
    finite = np.abs(item.data[np.isfinite(item.data)]) if np.iscomplexobj(item.data) else item.data[np.isfinite(item.data)]
    return {
        "type": "images",
        "axes": dict(zip(("contrast", "z", "y", "x"), item.data.shape, strict=True)),
        "dtype": str(item.data.dtype),
        "range": [float(finite.min()), float(finite.max())] if finite.size else None,
        "not_finite": int(item.data.size - finite.size),
        "times": _times(item.times),
        "voxel_mm": [round(m_to_mm(v), 6) for v in item.voxel_size],
        "affine_m": item.affine.tolist(),
        "repairs": list(item.repairs),
        "meta": item.meta,
    }


def _describe_kspace(item: KSpace) -> dict[str, Any]:
    axes = ("contrast", "coil", "z", "y", "x") if item.is_cartesian else ("contrast", "coil", "spoke", "sample")
    return {
        "type": "k-space",
        "axes": dict(zip(axes, item.data.shape, strict=True)),
        "dtype": str(item.data.dtype),
        "sampling": "Cartesian" if item.is_cartesian else "along a trajectory",
        "sampled_fraction": round(item.sampled_fraction, 6),
        "times": _times(item.times),
        "matrix": list(item.matrix),
        "fov_mm": [round(m_to_mm(v), 6) for v in item.fov],
        "field_strength_t": item.field_strength,
        "noise_samples": 0 if item.noise is None else int(item.noise.shape[1]),
        "coil_maps": item.csm is not None,
        "affine_m": item.affine.tolist(),
        "repairs": list(item.repairs),
        "meta": item.meta,
    }


def find_faults(path: str | Path) -> list[str]:
    """What is wrong with a file or folder that can be read: repairs, values that are no numbers, empty images, faults of data sets.

    Every series of a DICOM folder is checked; one that is refused counts as a fault. So is every image of a data set, and every
    file of a folder that is neither.

    Raises
    ------
    InputError
        If nothing can be read.
    """
    kind = recognise(path)
    plain = _plain_kind(path, kind) if Path(path).is_file() else None
    if plain is not None:
        return content_faults(path, plain)
    if kind == "dicom-folder":
        faults = []
        for info in list_series(path):
            try:
                faults += [f"series {info.number}: {fault}" for fault in _faults_of_series(info)]
            except InputError as error:
                faults.append(f"series {info.number}: {error.problem}")
        return faults
    if kind == "dicom" and (film := _film(path)) is not None:
        return ["all pixels have one value"] if film.min() == film.max() else []
    if kind == "bids-folder":
        return _faults_of_bids(path)
    if kind == "fastmri":
        slices = describe_fastmri(path)["axes"]["slice"]
        return list(dict.fromkeys(fault for i in range(slices) for fault in _faults(read_fastmri(path, slice_index=i))))
    item = _one_thing(path, kind)[0] if Path(path).is_dir() else open(path)
    return _faults_of_files(Path(path)) if item is None else _faults(item)


def _faults_of_series(info: SeriesInfo) -> list[str]:
    if info.modality in PROJECTIONS:
        for path in info.paths:
            grey_image(path, "file")
        return []
    return _faults(read_dicom(info.paths))


def _film(path: str | Path) -> NDArray[np.uint8] | None:
    """The picture of a DICOM file that is a projection, which has no place in space; None for others."""
    path = Path(path)
    dataset = open_dicom(path)
    with pydicom_errors(path):
        modality = dataset.get("Modality")
    return grey_image(path, "file") if modality in PROJECTIONS else None


def _faults_of_bids(path: str | Path) -> list[str]:
    """Faults of a data set's files, and of every collection as a whole."""
    faults = bids_faults(path)

    def add(error: InputError) -> None:
        fault = f"{Path(error.what).name}: {error.problem}"
        faults.extend([fault] if fault not in faults else [])

    for subject in subjects_of(path):
        try:
            found = find_collections(path, subjects=[subject])
        except InputError as error:
            add(error)
            continue
        for collection in found:
            try:
                faults += [f"{collection.name}: {fault}" for fault in _faults(read_collection(collection))]
            except InputError as error:
                add(error)
    return faults


def _faults_of_files(folder: Path) -> list[str]:
    """Faults of every file below a folder, with its name; one that cannot be read is a fault."""
    files = _files_below(folder)
    if not files:
        raise InputError(folder, "holds no files", "check the path")
    faults = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            faults += [f"{name}: {fault}" for fault in find_faults(path)]
        except MissingExtraError:
            raise
        except InputError as error:
            faults.append(f"{name}: {error.problem}")
    return faults


def _faults(item: Any) -> list[str]:
    if not isinstance(item, (ImageSeries, KSpace)):
        return [*item.card.faults, *_undecodable(item)]
    faults = list(item.repairs)
    bad = ~np.isfinite(item.data)
    if n_bad := int(bad.sum()):
        faults.append(f"{n_bad} values are no numbers, the first at index {tuple(np.argwhere(bad)[0].tolist())}")
    with np.errstate(invalid="ignore"):  # a signalling NaN
        empty = [i for i in range(item.n_contrasts) if not np.any(item.data[i])]
    if empty:
        faults.append(f"contrasts {empty} are zero everywhere")
    return faults


def _undecodable(dataset: Any) -> list[str]:
    """What keeps images of a data set from being decoded."""
    faults = []
    for i in range(len(dataset)):
        try:
            dataset[i]
        except MissingExtraError:
            raise
        except InputError as error:
            faults.append(f"{error.what}: {error.problem}")
    return faults


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts of :func:`describe` as aligned lines for people."""
    card = {key: value for key, value in facts.get("card", {}).items() if value is not None}
    shown = {key: value for key, value in facts.items() if key != "card"} | card
    width = max(len(key) for key in shown) + 2
    return [f"{key.replace('_', ' '):<{width}}{_in_words(value)}" for key, value in shown.items()]


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{k} {_in_words(v)}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(v, (list, dict)) for v in value)
        return (" | " if nested else ", ").join(map(_in_words, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not stated"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
