"""What there is to do: the subjects and sessions of a BIDS data set, their collections, B1 maps and all files they are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medcore.atomic import sha256_file
from medcore.errors import InputError
from medcore.io.bids import KINDS, Collection, find_collections, is_bids, parse_name, subjects_of
from medcore.io.bids.names import check_label
from medcore.io.bids.paths import check_inside, listed
from medcore.io.bids.reading import Part
from medcore.io.bids.sidecars import Sidecars
from puq_qmri.choices import Fitter, Intervals, Noise, Robust, Weighting
from puq_qmri.studies.status import unit_name

B1_SUFFIX = "TB1map"


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """What decides about the maps of all subjects; those of :class:`puq_qmri.image_fit.FitSettings` that suit all of them.

    Attributes
    ----------
    suffixes
        Kinds of collections, all that are known if empty.
    part
        Which part of their images.
    model, model_settings, tr, sigma, signal, fitter, weighting, robust, noise, noise_coils, intervals, device
        As for one series.
    b1
        ``auto`` takes the map ``fmap/*_TB1map`` of the subject for models that know B1.
    """

    suffixes: tuple[str, ...] = ()
    part: Part = "auto"
    model: str | None = None
    model_settings: dict[str, Any] = field(default_factory=dict)
    tr: float | None = None
    sigma: str | None = None
    signal: str = "auto"
    b1: Literal["auto", "none"] = "auto"
    fitter: Fitter = "auto"
    weighting: Weighting = "auto"
    robust: Robust = "none"
    noise: Noise = "gaussian"
    noise_coils: int = 1
    intervals: Intervals = "auto"
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One subject, or one session of it: what one process fits.

    Attributes
    ----------
    root
        The data set.
    subject, session
        Labels.
    collections
        Of its images; none where there is nothing to fit.
    problem
        Why they could not even be listed.
    """

    root: Path
    subject: str
    session: str | None = None
    collections: tuple[Collection, ...] = ()
    problem: str | None = None

    @property
    def name(self) -> str:
        """``sub-01`` or ``sub-01_ses-1``."""
        return unit_name(self.subject, self.session)

    @property
    def home(self) -> Path:
        """Its folder, relative to that of a data set."""
        return Path(f"sub-{self.subject}", *([] if self.session is None else [f"ses-{self.session}"]))


def plan_study(
    root: Path, *, subjects: Sequence[str] = (), sessions: Sequence[str] = (), suffixes: Sequence[str] = ()
) -> list[Unit]:
    """The units of a data set; a subject that cannot be listed is a unit with a problem, one without images a unit without collections.

    Parameters
    ----------
    root
        The data set.
    subjects, sessions
        Labels with or without ``sub-`` and ``ses-``; all if not given.
    suffixes
        Kinds of collections, all if not given.

    Raises
    ------
    InputError
        If the folder is no BIDS data set, a label cannot be one or is not there, a kind is unknown, or there is nothing to fit.
    """
    if not root.is_dir():
        raise InputError(root, "is not a folder" if root.exists() else "does not exist", "give the folder of a BIDS data set")
    known = subjects_of(root)
    if not is_bids(root) or not known:
        raise InputError(
            root, "is no BIDS data set with folders sub-<label>", "give the folder that holds dataset_description.json"
        )
    wanted = sorted({check_label("sub", s) for s in subjects}) or known
    labels = sorted({check_label("ses", s) for s in sessions})
    for label in set(wanted) - set(known):
        raise InputError(f"participant {label!r}", f"is not in {root}, which has {_few(known)}", "choose one of these")
    kinds = list(dict.fromkeys(suffixes)) or list(KINDS)
    find_collections(root, subjects=[], suffixes=kinds)  # refuses an unknown kind, which is no subject's fault
    units = [unit for subject in wanted for unit in _units_of(root, subject, labels, kinds)]
    if not any(unit.collections or unit.problem for unit in units):
        among = f" in session {' or '.join(labels)}" if labels else ""
        raise InputError(root, f"holds no collection of {', '.join(kinds)}{among}", "choose other labels or kinds")
    return units


def _units_of(root: Path, subject: str, sessions: Sequence[str], kinds: Sequence[str]) -> list[Unit]:
    chosen: list[str | None] = list(sessions)
    try:
        found = find_collections(root, subjects=[subject], suffixes=kinds)
    except InputError as error:
        return [Unit(root=root, subject=subject, session=session, problem=str(error)) for session in chosen or [None]]
    groups: dict[str | None, list[Collection]] = defaultdict(list)
    for collection in found:
        groups[collection.session].append(collection)
    if None in groups and len(groups) > 1:
        problem = f"sub-{subject}: has images both inside and outside of sessions; move them into sessions"
        return [Unit(root=root, subject=subject, problem=problem)]
    chosen = chosen or sorted(groups, key=str) or [None]
    return [Unit(root=root, subject=subject, session=s, collections=tuple(groups.get(s, ()))) for s in chosen]


def find_b1(unit: Unit) -> Path | None:
    """The map of B1 of a unit, ``fmap/*_TB1map.nii[.gz]``; None if there is none.

    Raises
    ------
    InputError
        If there are several, or one is a link out of the data set.
    """
    folder = unit.root / unit.home / "fmap"
    names = (f"_{B1_SUFFIX}.nii", f"_{B1_SUFFIX}.nii.gz")
    found = [p for p in listed(folder) if p.name.endswith(names)] if folder.is_dir() else []
    if len(found) > 1:
        raise InputError(folder, f"holds {len(found)} maps of B1 ({_few([p.name for p in found])})", "keep one, or give --b1 none")
    for path in found:
        check_inside(path, unit.root)
    return found[0] if found else None


def hash_unit(unit: Unit) -> dict[str, str]:
    """SHA-256 of the images, their sidecars wherever in the data set, and the map of B1, by path in the data set.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    sidecars = Sidecars(unit.root)
    files = {path for collection in unit.collections for path in collection.files}
    files |= {sidecar for image in files for sidecar in sidecars.files_of(image, parse_name(image))}
    b1 = find_b1(unit)
    try:
        return {p.relative_to(unit.root).as_posix(): sha256_file(p) for p in sorted(files | ({b1} if b1 else set()))}
    except OSError as error:
        raise InputError(error.filename or unit.name, f"cannot be read ({error.strerror})", "check its permissions") from error


def _few(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")
