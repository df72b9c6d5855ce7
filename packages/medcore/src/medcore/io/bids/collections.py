"""Collections of quantitative MRI (MESE, MEGRE, IRT1, VFA, MP2RAGE), found without an index.

Only the folders asked for are looked into, so that one subject of a large data set is found at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from medcore.errors import InputError
from medcore.io.bids.names import Name, check_label, parse_name
from medcore.io.bids.paths import check_inside, listed
from medcore.io.sidecar import read_json


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
_COUNTED = {suffix: {kind.entity, "part"} | ({"flip"} if suffix == "MP2RAGE" else set()) for suffix, kind in KINDS.items()}
"""Entities that differ within a collection; the two inversions of an MP2RAGE may state their flip angle too."""


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
        if description.is_file() and "BIDSVersion" in read_json(description):
            return True
    except InputError:  # a damaged description does not make another thing of the folder
        pass
    return any(any(folder.glob(pattern)) for pattern in ("sub-*/anat", "sub-*/ses-*/anat"))


def subjects_of(root: str | Path) -> list[str]:
    """Labels of all subjects, sorted.

    Raises
    ------
    InputError
        If the folder cannot be read.
    """
    return [p.name.removeprefix("sub-") for p in listed(Path(root)) if p.name.startswith("sub-") and p.is_dir()]


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
    wanted = subjects_of(root) if subjects is None else [check_label("sub", s) for s in subjects]
    kinds = tuple(KINDS) if suffixes is None else tuple(suffixes)
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"collection {kind!r}", "is unknown", f"choose from {', '.join(KINDS)}")
    for label in wanted:
        if not (root / f"sub-{label}").is_dir():
            known = subjects_of(root)
            names = ", ".join(known[:20]) + (" ..." if len(known) > 20 else "")
            raise InputError(f"participant {label!r}", f"is not in {root}, which has {names or 'none'}", "choose one of these")
    groups: dict[tuple[Any, ...], list[Path]] = defaultdict(list)
    shared: dict[tuple[Any, ...], dict[str, str]] = {}
    for label in wanted:
        for path in _images(root, label, kinds):
            name = _checked_name(path, root, label)
            common = {k: v for k, v in name.entities.items() if k not in _COUNTED[name.suffix]}
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
    endings = tuple(f"_{kind}{extension}" for kind in kinds for extension in (".nii", ".nii.gz"))
    sessions = [path / "anat" for path in listed(home) if path.name.startswith("ses-")]
    for folder in (home / "anat", *sessions):
        if folder.is_dir():
            check_inside(folder, root)
            yield from (path for path in listed(folder) if path.name.endswith(endings))


def _checked_name(path: Path, root: Path, subject: str) -> Name:
    name = parse_name(path)
    session = path.parent.parent.name.removeprefix("ses-") if path.parent.parent.name.startswith("ses-") else None
    if name.entities.get("sub") != subject or name.entities.get("ses") != session:
        raise InputError(path, "is named for another subject or session than its folder", "rename or move it")
    if path.is_symlink():
        check_inside(path, root)
    return name
