"""A collection of quantitative MRI as one series: times in SI units, images in the order of the time that differs."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.bids.collections import KINDS, Collection, find_collections
from medcore.io.bids.names import parse_name
from medcore.io.bids.sidecars import Sidecars
from medcore.io.geometry import same_place
from medcore.io.images import ImageSeries, check_seconds
from medcore.io.nifti import read_nifti
from medcore.io.sidecar import sidecar_meta
from medcore.units import deg_to_rad

_VARYING = {"MESE": "te", "MEGRE": "te", "IRT1": "ti", "VFA": "flip_angle", "MP2RAGE": "ti"}
_NUMBERS = {
    "te": ("EchoTime",),
    "ti": ("InversionTime",),
    "tr": ("RepetitionTimeExcitation", "RepetitionTime"),
    "flip_angle": ("FlipAngle",),
}
_LONGEST = {"EchoTime": 1e9, "InversionTime": 1e9, "RepetitionTimeExcitation": 1e9, "RepetitionTime": 1e9, "FlipAngle": 360.0}
_POSITIVE = {"RepetitionTimePreparation": 60.0, "MagneticFieldStrength": 100.0, "InversionEfficiency": 1.0}
"""Single numbers above 0 that come into ``meta``, with the largest that is believed."""
_KEPT = ("RepetitionTimePreparation", "NumberShots", "PulseSequenceType", "InversionEfficiency")
_PARTS = ("mag", "phase", "real", "imag")
Part = Literal["auto", "mag", "phase", "real", "imag", "complex"]
_Numbered = dict[int, dict[str, Path]]


def read_collection(collection: Collection, *, part: Part = "auto") -> ImageSeries:
    """Read a collection as images (contrast, z, y, x), sorted by the time or angle that differs.

    Parameters
    ----------
    collection
        From :func:`find_collections`.
    part
        Which part of complex images: ``mag``, ``phase``, ``real``, ``imag``, or ``complex`` made of magnitude and phase in radians or
        of real and imaginary part. ``auto`` takes images without a part or magnitudes, else complex ones.

    Returns
    -------
    ImageSeries
        With ``te``, ``ti``, ``tr`` in seconds and ``flip_angle`` in radians as far as the sidecars state one for every image; what an
        MP2RAGE needs beyond is in ``meta`` under its BIDS name, times in seconds.

    Raises
    ------
    InputError
        If a number in the series, a required key or a part is missing, a time looks like milliseconds or occurs twice, what holds for
        the whole series is stated differently, or images differ in shape or position.
    """
    sidecars = Sidecars(collection.root)
    chosen = _choose_part(_by_index(collection), part, collection.name)
    stated = [sidecars.of(files[0], parse_name(files[0])) for files in chosen]
    for files, facts in zip(chosen, stated, strict=True):
        _check_facts(files[0], facts, collection.suffix)
    images = [_combined(files, sidecars) for files in chosen]
    times, notes = _times(collection, stated)
    notes += _differences(collection, stated)
    first = images[0]
    for image in images:
        if image.shape != first.shape or not same_place(image.affine, first.affine, first.shape):
            raise InputError(image.source, f"has another shape or position than {first.source}", "register the images first")
    order = np.argsort(times[_VARYING[collection.suffix]], kind="stable")
    return dataclasses.replace(
        first,
        data=np.concatenate([images[i].data for i in order]),
        times={k: v[order] for k, v in times.items()},
        meta=sidecar_meta(stated[0])
        | {k: stated[0][k] for k in _KEPT if stated[0].get(k) is not None}
        | {"collection": collection.suffix, "subject": collection.subject},
        repairs=tuple(dict.fromkeys([note for image in images for note in image.repairs] + notes)),
        source=str(collection.root / collection.name),
    )


def read_bids(root: str | Path, *, subject: str | None = None, suffix: str | None = None, part: Part = "auto") -> ImageSeries:
    """Read the one collection of a data set that fits; see :func:`read_collection`.

    Raises
    ------
    InputError
        If none or several fit (they are listed), or the collection cannot be read.
    """
    found = find_collections(root, subjects=None if subject is None else [subject], suffixes=None if suffix is None else [suffix])
    if len(found) != 1:
        names = ", ".join(c.name for c in found[:10]) or "none"
        raise InputError(root, f"holds {len(found)} collections ({names})", "choose one with subject= and suffix=")
    return read_collection(found[0], part=part)


def _by_index(collection: Collection) -> _Numbered:
    """For each number of the collection its images by part, in the order of the numbers."""
    entity = KINDS[collection.suffix].entity
    found: _Numbered = defaultdict(dict)
    for path in collection.files:
        entities = parse_name(path).entities
        if entity not in entities:
            raise InputError(path, f"has no {entity}- in its name", "number the images of a collection")
        which = entities.get("part", "")
        if which not in ("", *_PARTS):
            raise InputError(path, f"is the part {which!r}", f"use one of {', '.join(_PARTS)}")
        if which in found[int(entities[entity])]:
            raise InputError(path, f"is a second file of {entity} {entities[entity]}", "keep one format of each image")
        found[int(entities[entity])][which] = path
    numbers = sorted(found)
    if numbers != list(range(1, len(numbers) + 1)):
        lost = next(n for n in range(1, max(numbers) + 2) if n not in found)
        raise InputError(collection.name, f"lacks {entity} {lost} of {max(numbers)}", "add the missing file, or number from 1")
    return {n: found[n] for n in numbers}


def _choose_part(numbered: _Numbered, part: Part, what: str) -> list[tuple[Path, ...]]:
    """For every number the image of the part asked for, or the two that make a complex one; one choice for all."""
    choices: list[tuple[str, ...]] = [("mag", "phase"), ("real", "imag")]
    if part == "auto":
        choices = [("",), ("mag",), *choices]
    elif part != "complex":
        choices = [(part,)]
    for parts in choices:
        if all(set(parts) <= files.keys() for files in numbered.values()):
            return [tuple(files[p] for p in parts) for files in numbered.values()]
    images = {n: ", ".join(p or "one without a name" for p in sorted(files)) for n, files in numbered.items()}
    present = next(iter(images.values()))
    if len(set(images.values())) > 1:
        present = "; ".join(f"{parts} in image {n}" for n, parts in images.items())
    wanted = " or ".join(" and ".join(p for p in parts if p) for parts in choices if parts != ("",))
    raise InputError(
        what, f"has no part {wanted or 'without a name'}, only {present}", "choose another with part=, or add the files"
    )


def _check_facts(image: Path, facts: dict[str, Any], suffix: str) -> None:
    """Required keys are there, and what comes into ``meta`` can be."""
    for key in KINDS[suffix].required:
        if facts.get(key) is None:
            raise InputError(image, f"has no {key}, which {suffix} needs", "add it to the sidecar")
    for key, largest in _POSITIVE.items():
        value = facts.get(key)
        if value is not None and not _is_number(value, largest):
            looks = key.startswith("Repetition") and _is_number(value, 1e3 * largest)
            problem = f"has {key} = {value!r}{', which looks like milliseconds' if looks else ''}"
            raise InputError(image, problem, f"give a number above 0 up to {largest:g}{', in seconds' if looks else ''}")
    shots = facts.get("NumberShots")
    values: list[Any] = shots if isinstance(shots, list) else [shots]
    if shots is not None and not (values and all(_is_number(v, 1e6) and v == int(v) for v in values)):
        raise InputError(image, f"has NumberShots = {shots!r}", "give a whole number above 0, or those before and after the centre")
    if not isinstance(facts.get("PulseSequenceType", ""), str):
        raise InputError(image, f"has PulseSequenceType = {facts['PulseSequenceType']!r}", "give a text")


def _is_number(value: Any, largest: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= largest


def _times(collection: Collection, stated: list[dict[str, Any]]) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Times in seconds and radians by number, and what was left out or out of order."""
    times: dict[str, NDArray[np.float64]] = {}
    notes: list[str] = []
    required = KINDS[collection.suffix].required
    for key, names in _NUMBERS.items():
        name = next((n for n in names if all(facts.get(n) is not None for facts in stated)), None)
        if name is None:
            continue
        if name not in required and any(isinstance(facts[name], list) for facts in stated):
            notes.append(f"{name} has several values for one image and is left out")
            continue
        for index, facts in enumerate(stated, 1):
            if not _is_number(facts[name], _LONGEST[name]):
                hint = "give degrees above 0 up to 360" if key == "flip_angle" else "give seconds above 0"
                raise InputError(f"{collection.name}, image {index}", f"has {name} = {facts[name]!r}", hint)
        scale = deg_to_rad(1.0) if key == "flip_angle" else 1.0
        times[key] = scale * np.array([facts[name] for facts in stated], dtype=np.float64)
    check_seconds(times, collection.name)
    key = _VARYING[collection.suffix]
    values = times[key]
    if len(np.unique(values)) < len(values):
        raise InputError(collection.name, f"has two images of one {key}: {values.tolist()}", "correct the sidecars")
    if (np.diff(values) < 0).any():
        notes.append(f"images sorted by {key}, which their numbers were not")
    return times, notes


def _differences(collection: Collection, stated: list[dict[str, Any]]) -> list[str]:
    """Refuse required facts that differ where the whole series has one; a note for others that do."""
    notes = []
    required = KINDS[collection.suffix].required
    for key in (*_KEPT, "MagneticFieldStrength"):
        values = [facts.get(key) for facts in stated]
        if all(value == values[0] for value in values):
            continue
        if key in required:
            raise InputError(collection.name, f"states {key} differently: {values}", "correct the sidecars")
        notes.append(f"{key} differs between the images, that of the first is kept")
    return notes


def _combined(files: tuple[Path, ...], sidecars: Sidecars) -> ImageSeries:
    """One real image, or a complex one of its two parts."""
    loaded = [read_nifti(f, times={}) for f in files]
    for image in loaded:
        if image.n_contrasts != 1:
            raise InputError(image.source, f"holds {image.n_contrasts} images", "give one 3-D image for each number")
    if len(files) == 1:
        return loaded[0]
    a, b = (image.data for image in loaded)
    if a.shape != b.shape or not same_place(loaded[0].affine, loaded[1].affine, loaded[0].shape):
        raise InputError(files[1], f"has another shape or position than {files[0].name}", "give parts of one image")
    if parse_name(files[0]).entities["part"] == "real":
        return dataclasses.replace(loaded[0], data=(a + 1j * b).astype(np.complex64))
    units = sidecars.of(files[1], parse_name(files[1])).get("Units")
    if units != "rad":
        raise InputError(files[1], f"states Units {units!r}, a phase in radians is needed", "write rad, or read part='mag'")
    largest = float(np.nanmax(np.abs(b), initial=0.0))
    if largest > 4 * math.pi:
        raise InputError(files[1], f"states rad and reaches {largest:g}", "scale the phase to radians, or read part='mag'")
    return dataclasses.replace(loaded[0], data=(a * np.exp(1j * b)).astype(np.complex64))
