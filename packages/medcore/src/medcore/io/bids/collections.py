"""Collections of quantitative MRI (MESE, MEGRE, IRT1, VFA, MP2RAGE): found without an index, read as one series.

Only the folders asked for are looked into, so that one subject of a large data set is found at once.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.bids.names import Name, check_label, parse_name
from medcore.io.bids.sidecars import Sidecars
from medcore.io.images import ImageSeries, check_seconds
from medcore.io.nifti import read_nifti
from medcore.io.sidecar import read_json, sidecar_meta
from medcore.units import deg_to_rad


class CollectionKind(NamedTuple):
    """What makes up a collection: the entity that counts its images, and the keys that every sidecar must have."""

    entity: str
    required: tuple[str, ...]


KINDS: dict[str, CollectionKind] = {
    "MESE": CollectionKind("echo", ("EchoTime",)),
    "MEGRE": CollectionKind("echo", ("EchoTime",)),
    "IRT1": CollectionKind("inv", ("InversionTime",)),
    "VFA": CollectionKind("flip", ("FlipAngle", "PulseSequenceType", "RepetitionTimeExcitation")),
    "MP2RAGE": CollectionKind(
        "inv",
        (
            "FlipAngle",
            "InversionTime",
            "RepetitionTimeExcitation",
            "RepetitionTimePreparation",
            "NumberShots",
            "MagneticFieldStrength",
        ),
    ),
}
"""Collections by suffix; keys from the table in the appendix "Quantitative MRI"."""
MAPS = ("T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "M0map", "PDmap", "T1rho", "UNIT1")
"""Maps that may lie beside them."""
_VARYING = {"MESE": "te", "MEGRE": "te", "IRT1": "ti", "VFA": "flip_angle", "MP2RAGE": "ti"}
_NUMBERS = {
    "te": ("EchoTime",),
    "ti": ("InversionTime",),
    "tr": ("RepetitionTimeExcitation", "RepetitionTime"),
    "flip_angle": ("FlipAngle",),
}
_KEPT = ("RepetitionTimePreparation", "NumberShots", "PulseSequenceType", "InversionEfficiency")
_PARTS = ("mag", "phase", "real", "imag")
Part = Literal["auto", "mag", "phase", "real", "imag", "complex"]


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Images that belong together.

    Attributes
    ----------
    root
        The data set.
    subject, session
        Labels without ``sub-`` and ``ses-``.
    suffix
        One of :data:`KINDS`.
    entities
        What the names of all files share.
    files
        The images, by name.
    """

    root: Path
    subject: str
    session: str | None
    suffix: str
    entities: dict[str, str]
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The common part of the names."""
        return Name(entities=self.entities, suffix=self.suffix, extension="").render()


def is_bids(folder: str | Path) -> bool:
    """Whether a folder is a BIDS data set: it has a description with a BIDS version, or subjects with anatomical images."""
    folder = Path(folder)
    description = folder / "dataset_description.json"
    try:
        if description.is_file():
            return "BIDSVersion" in read_json(description)
        return any(True for _ in folder.glob("sub-*/anat")) or any(True for _ in folder.glob("sub-*/ses-*/anat"))
    except (InputError, OSError):
        return False


def subjects_of(root: str | Path) -> list[str]:
    """Labels of all subjects, sorted.

    Raises
    ------
    InputError
        If the folder cannot be read.
    """
    try:
        return sorted(p.name.removeprefix("sub-") for p in Path(root).iterdir() if p.name.startswith("sub-") and p.is_dir())
    except OSError as error:
        raise InputError(root, f"cannot be read ({error.strerror})", "give the folder of the data set") from error


def find_collections(
    root: str | Path, *, subjects: Sequence[str] | None = None, suffixes: Sequence[str] | None = None
) -> list[Collection]:
    """Find the collections of all or some subjects.

    Parameters
    ----------
    root
        The data set.
    subjects
        Labels, with or without ``sub-``; all if not given.
    suffixes
        Kinds, all of :data:`KINDS` if not given.

    Raises
    ------
    InputError
        If a label cannot be one, a subject or kind is unknown (the known are listed), a name is wrong, or a link leads out of the data
        set or nowhere.
    """
    root = Path(root)
    known = subjects_of(root)
    wanted = known if subjects is None else [check_label("sub", s) for s in subjects]
    kinds = tuple(KINDS) if suffixes is None else tuple(suffixes)
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"collection {kind!r}", "is unknown", f"choose from {', '.join(KINDS)}")
    for label in wanted:
        if label not in known:
            listed = ", ".join(known[:20]) + (" ..." if len(known) > 20 else "")
            raise InputError(f"participant {label!r}", f"is not in {root}, which has {listed or 'none'}", "choose one of these")
    groups: dict[tuple[Any, ...], list[Path]] = defaultdict(list)
    shared: dict[tuple[Any, ...], dict[str, str]] = {}
    for label in wanted:
        for path in _images(root, label, kinds):
            name = _checked_name(path, root, label)
            common = {k: v for k, v in name.entities.items() if k not in {KINDS[name.suffix].entity, "part"}}
            key = (name.suffix, *common.items())
            groups[key].append(path)
            shared[key] = common
    return [
        Collection(
            root=root,
            subject=shared[key]["sub"],
            session=shared[key].get("ses"),
            suffix=key[0],
            entities=shared[key],
            files=tuple(sorted(files)),
        )
        for key, files in sorted(groups.items())
    ]


def _images(root: Path, subject: str, kinds: Sequence[str]) -> Iterator[Path]:
    """Images of the kinds asked for; folders are not searched deeper than the standard puts them."""
    home = root / f"sub-{subject}"
    for folder in (home / "anat", *sorted(p / "anat" for p in home.glob("ses-*"))):
        if folder.is_dir():
            inside = sorted(folder.iterdir())
            yield from (p for p in inside if p.name.endswith(tuple(f"_{k}{e}" for k in kinds for e in (".nii", ".nii.gz"))))


def _checked_name(path: Path, root: Path, subject: str) -> Name:
    name = parse_name(path)
    session = path.parent.parent.name.removeprefix("ses-") if path.parent.parent.name.startswith("ses-") else None
    if name.entities.get("sub") != subject or name.entities.get("ses") != session:
        raise InputError(path, "is named for another subject or session than its folder", "rename or move it")
    if path.is_symlink():
        if not path.exists():
            raise InputError(path, "is a link to nothing", "get the content of the link, for example with git annex")
        if not path.resolve().is_relative_to(root.resolve()):
            raise InputError(path, "is a link that leads out of the data set", "copy the file into the data set")
    return name


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
        With ``te``, ``ti``, ``tr`` in seconds and ``flip_angle`` in radians as far as the sidecars state them for all images; what an
        MP2RAGE needs beyond is in ``meta`` under its BIDS name.

    Raises
    ------
    InputError
        If a number in the series, a required key or a part is missing, a time looks like milliseconds or occurs twice, or images
        differ in shape or position.
    """
    sidecars = Sidecars(collection.root)
    chosen = _by_index(collection, part)
    kind = KINDS[collection.suffix]
    images, stated = [], []
    for index, files in chosen.items():
        facts = sidecars.of(files[0], parse_name(files[0]))
        missing = [k for k in kind.required if k not in facts]
        if missing:
            raise InputError(files[0], f"has no {missing[0]}, which {collection.suffix} needs", "add it to the sidecar")
        images.append(_combined(files, sidecars))
        stated.append((index, facts))
    times = _times(collection, stated)
    key = _VARYING[collection.suffix]
    order = np.argsort(times[key], kind="stable")
    notes = list(dict.fromkeys(note for image in images for note in image.repairs))
    if (np.diff(times[key]) == 0).any() or len(np.unique(times[key])) < len(images):
        raise InputError(collection.name, f"has two images of one {key}: {times[key].tolist()}", "correct the sidecars")
    if (order != np.arange(len(order))).any():
        notes.append(f"images sorted by {key}, which their numbers were not")
    first = images[0]
    for image in images:
        if image.shape != first.shape or not np.allclose(image.affine, first.affine, atol=1e-5):
            raise InputError(image.source, f"has another shape or position than {first.source}", "register the images first")
    data = np.concatenate([images[i].data for i in order])
    meta = sidecar_meta(stated[0][1]) | {k: stated[0][1][k] for k in _KEPT if k in stated[0][1]}
    return dataclasses.replace(
        first,
        data=data,
        times={k: v[order] for k, v in times.items()},
        meta=meta | {"collection": collection.suffix, "subject": collection.subject},
        repairs=tuple(notes),
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


def _by_index(collection: Collection, part: Part) -> dict[int, tuple[Path, ...]]:
    """For each number of the collection its image, or the two parts of a complex one."""
    entity = KINDS[collection.suffix].entity
    found: dict[int, dict[str, Path]] = defaultdict(dict)
    for path in collection.files:
        entities = parse_name(path).entities
        if entity not in entities:
            raise InputError(path, f"has no {entity}- in its name", "number the images of a collection")
        which = entities.get("part", "")
        if which not in ("", *_PARTS) or which in found[int(entities[entity])]:
            raise InputError(path, f"is a second file of {entity} {entities[entity]}", "keep one format of each image")
        found[int(entities[entity])][which] = path
    numbers = sorted(found)
    if numbers != list(range(1, len(numbers) + 1)):
        lost = next(n for n in range(1, max(numbers) + 2) if n not in found)
        raise InputError(collection.name, f"lacks {entity} {lost} of {max(numbers)}", "add the missing file, or number from 1")
    return {n: _choose_part(found[n], part, collection.name) for n in numbers}


def _choose_part(files: dict[str, Path], part: Part, what: str) -> tuple[Path, ...]:
    pairs = [pair for pair in (("mag", "phase"), ("real", "imag")) if set(pair) <= files.keys()]
    if part == "auto":
        single = next((files[p] for p in ("", "mag") if p in files), None)
        if single is not None:
            return (single,)
        part = "complex"
    if part == "complex":
        if not pairs:
            raise InputError(what, f"has the parts {', '.join(files) or 'none'}", "choose one with part=")
        return files[pairs[0][0]], files[pairs[0][1]]
    if part not in files:
        raise InputError(what, f"has no part {part}, only {', '.join(p or 'one without a name' for p in files)}", "choose another")
    return (files[part],)


def _combined(files: tuple[Path, ...], sidecars: Sidecars) -> ImageSeries:
    loaded = [read_nifti(f, times={}) for f in files]
    for image in loaded:
        if image.n_contrasts != 1:
            raise InputError(image.source, f"holds {image.n_contrasts} images", "give one 3-D image for each number")
    if len(files) == 1:
        return loaded[0]
    a, b = (image.data for image in loaded)
    if a.shape != b.shape:
        raise InputError(files[1], f"has shape {b.shape}, its other part {a.shape}", "give parts of one image")
    if parse_name(files[0]).entities["part"] == "real":
        return dataclasses.replace(loaded[0], data=(a + 1j * b).astype(np.complex64))
    units = sidecars.of(files[1], parse_name(files[1])).get("Units")
    if units != "rad":
        raise InputError(files[1], f"states Units {units!r}, a phase in radians is needed", "write rad, or read part='mag'")
    return dataclasses.replace(loaded[0], data=(a * np.exp(1j * b)).astype(np.complex64))


def _times(collection: Collection, stated: list[tuple[int, dict[str, Any]]]) -> dict[str, NDArray[np.float64]]:
    times: dict[str, NDArray[np.float64]] = {}
    for key, names in _NUMBERS.items():
        values = [next((facts[n] for n in names if n in facts), None) for _, facts in stated]
        if None in values:
            continue
        for (index, _), value in zip(stated, values, strict=True):
            good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9
            if not good or (key == "flip_angle" and isinstance(value, (int, float)) and value > 360):
                hint = "give degrees above 0 up to 360" if key == "flip_angle" else "give seconds above 0"
                raise InputError(f"{collection.name}, image {index}", f"has {names[0]} = {value!r}", hint)
        scale = deg_to_rad(1.0) if key == "flip_angle" else 1.0
        times[key] = scale * np.array(values, dtype=np.float64)
    check_seconds(times, collection.name)
    return times
