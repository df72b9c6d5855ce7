"""DICOM images as a data set: grey values to 8 bits in a stated way, labels from a table, patients under names that tell nothing."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medcore.atomic import sha256_file
from medcore.datasets.base import AnnotatedImages, Annotation, DatasetCard, Pixels, tally, unique_ids
from medcore.datasets.dicom_grey import WindowChoice, check_hounsfield, check_window, grey_image, grey_volume, window_of
from medcore.datasets.images import digest, files_in, folder_of
from medcore.datasets.labels import Labels, read_labels
from medcore.datasets.origin import find_origin
from medcore.datasets.tables import Table, find_table
from medcore.datasets.tolerance import SampleError, report, spare
from medcore.errors import ConfigError, InputError
from medcore.io.dicom.files import n_frames, open_dicom
from medcore.io.dicom.series import find_files

KEY_NAMES = ("path in the folder", "file name", "file name without suffix", "SOPInstanceUID", "SeriesInstanceUID")
_UIDS = {"SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"}


class DicomImages(AnnotatedImages):
    """Grey DICOM images of a folder, such as chest films: each image a sample, or each series a volume.

    Every file below the folder is parsed and checked when the data set is opened, and hashed; pixels are decoded when asked for.
    Images need no position (CR, DX, scanned films); volumes do. Pixels become 8 bits by slope and intercept, then a window::

        PS3.3 C.11.2.1.2:  0 below centre - 0.5 - (width - 1) / 2, 255 above centre - 0.5 + (width - 1) / 2, linear between

    and where the file says MONOCHROME1 (low values bright) they are inverted, so that bright is always high. ``card.notes`` tells
    which window how many images were shown with.

    Parameters
    ----------
    path
        The folder.
    csv
        Table of labels, a plain file name; by default the one CSV file of the folder. Without a table there are no labels.
    key_column
        Column that names the images; by default the first one whose cells all are paths in the folder, file names (with or without
        suffix), SOPInstanceUIDs or SeriesInstanceUIDs.
    label_column, label_columns, separator, no_label, classes, ordered
        Where the labels are, see :func:`medcore.datasets.labels.read_labels`.
    unlabelled
        What to do with images that have no row: ``"refuse"``, or ``"skip"``, which ``card.notes`` tells.
    unit
        ``"image"``: each file is a sample and has one frame. ``"series"``: each series is one, a volume (z, y, x), or an image where it
        has one.
    window
        (centre, width) in the units of the file after slope and intercept; for CT a name of :data:`WINDOW_PRESETS`, such as
        ``"lung"``; ``"file"``: the first window or the table of grey values that the file holds, where it holds none the range of its
        values; ``"range"``: always the range of its values.
    salt
        A secret that makes the names of patients the same in all data sets opened with it. Without it they depend on the identifiers
        of the images in this folder, and change when an image is added.
    licence, source
        For the card, which else takes the licence from a LICENSE file, see :func:`medcore.datasets.origin.find_origin`.

    Raises
    ------
    InputError
        If a file is damaged, in colour, or has several frames (``unit="image"``); an image has no row or a row no image; a row occurs
        twice; or images and volumes are mixed.
    ConfigError
        For options that contradict each other.
    MissingExtraError
        If no decoder is installed for the compression used (when an image is asked for).

    Notes
    -----
    PatientID never leaves this class: a subject is ``patient-`` and the first 16 digits of the HMAC-SHA-256 of the ID under the salt.
    Images without PatientID are grouped by examination.
    """

    def __init__(
        self,
        path: str | Path,
        csv: str | None = None,
        key_column: str | None = None,
        label_column: str | None = None,
        label_columns: Sequence[str] | None = None,
        separator: str | None = None,
        no_label: str | None = None,
        classes: Sequence[str] | None = None,
        ordered: bool = False,
        unlabelled: str = "refuse",
        unit: str = "image",
        window: WindowChoice = "file",
        salt: str | None = None,
        licence: str | None = None,
        source: str | None = None,
    ) -> None:
        folder = folder_of(path)
        if unlabelled not in ("refuse", "skip") or unit not in ("image", "series"):
            wrong = ("unlabelled", unlabelled) if unlabelled not in ("refuse", "skip") else ("unit", unit)
            raise ConfigError(
                wrong[0], f"is {wrong[1]!r}", "use 'refuse' or 'skip'" if wrong[0] == "unlabelled" else "'image' or 'series'"
            )
        self._window = check_window(window)
        units, notes = _units(folder, unit, salt, window)
        table = find_table(folder, csv)[1] if csv is not None or files_in(folder, (".csv",)) else None
        labels: Labels | None = None
        rows: dict[int, int] = {}
        if table is not None:
            column, rows = _match(table, units, key_column)
            labels = read_labels(
                table,
                label_column=label_column,
                label_columns=label_columns,
                separator=separator,
                no_label=no_label,
                classes=classes,
                ordered=ordered,
                others=(column,),
            )
            rows = {sample: row for sample, row in rows.items() if row not in labels.refused}
            notes += _unlabelled(units, rows, unlabelled)
            units = [u for i, u in enumerate(units) if i in rows]
            rows = {new: rows[old] for new, old in enumerate(sorted(rows))}
        self._units = units
        annotations = [_annotation(unit, labels, rows.get(i)) for i, unit in enumerate(units)]
        unique_ids([a.sample_id for a in annotations], str(folder))
        task = labels.task if labels is not None else "classification"
        known = labels.classes if labels is not None else ()
        origin = find_origin(folder, licence, source)
        hashes = {"all images": digest({f.relative_to(folder).as_posix(): f for u in units for f in u.files})}
        counts = tally(annotations, task, known)
        card = DatasetCard(
            name=folder.name,
            task=task,
            classes=known,
            ordered=labels is not None and labels.ordered,
            n_samples=len(annotations),
            class_counts=counts,
            licence=origin.licence,
            source=origin.source,
            sha256=hashes if table is None else {table.path.name: sha256_file(table.path), **hashes},
            faults=tuple(f"{name} has no image" for name, count in counts.items() if not count),
            notes=(*notes, *(("no table of labels",) if table is None else ())),
            volumetric=bool(units) and units[0].is_volume,
        )
        super().__init__(annotations, card)

    def read_image(self, index: int) -> Pixels:
        """Decode image or volume `index` to 8 bits."""
        unit = self._units[index]
        return grey_volume(unit.files, self._window) if unit.is_volume else grey_image(unit.files[0], self._window)


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """One sample: an image or a series. The keys are those of :data:`KEY_NAMES`."""

    name: str
    files: tuple[Path, ...]
    subject: str
    is_volume: bool
    keys: tuple[frozenset[str], ...]


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What is kept of a file."""

    file: Path
    frames: int
    uids: Mapping[str, str]
    patient: str
    window: str


def _headers(folder: Path, window: WindowChoice) -> list[_Header]:
    found = []
    used = check_window(window)
    for file in find_files(folder):
        with spare(file.relative_to(folder).as_posix(), "damaged-image"):
            dataset = open_dicom(file)
            check_hounsfield(dataset, window, file)
            uids = {keyword: str(dataset.get(keyword) or "") for keyword in _UIDS}
            patient = str(dataset.get("PatientID") or "").strip()
            found.append(
                _Header(file=file, frames=n_frames(dataset), uids=uids, patient=patient, window=window_of(dataset, used, file))
            )
    if not found:
        raise InputError(folder, "holds no DICOM files", "give a folder of DICOM images")
    return found


def _units(folder: Path, unit: str, salt: str | None, window: WindowChoice) -> tuple[list[_Unit], list[str]]:
    headers = _headers(folder, window)
    secret = "\n".join(sorted(h.uids["SOPInstanceUID"] for h in headers)) if salt is None else salt
    if not secret.strip():
        raise ConfigError("salt", "is empty", "give a secret text")
    subjects = [_subject(h, secret) for h in headers]
    notes = [f"{n} images are shown with {how}" for how, n in sorted(Counter(h.window for h in headers).items())]
    if nameless := sum(not h.patient for h in headers):
        notes.append(f"{nameless} images have no PatientID and are grouped by examination")
    groups: dict[str, list[int]] = {}
    for i, header in enumerate(headers):
        groups.setdefault(str(i) if unit == "image" else header.uids["SeriesInstanceUID"], []).append(i)
    units = []
    for members in groups.values():
        own = [headers[i] for i in members]
        frames = sum(h.frames for h in own)
        with spare(own[0].file.relative_to(folder).as_posix()):
            if unit == "image" and frames > 1:
                several = f"has {frames} frames"
                raise SampleError(own[0].file, several, "open the folder with unit='series'", "several-frames")
            if len({subjects[i] for i in members}) > 1:
                raise InputError(own[0].file, "is of a series that mixes patients", "separate them")
            units.append(_unit(folder, own, subjects[members[0]], unit, frames > 1))
    shapes = {u.is_volume for u in units}
    if len(shapes) > 1:
        raise InputError(folder, "mixes series of one image with volumes", "open them as two data sets")
    return units, notes


def _unit(folder: Path, own: Sequence[_Header], subject: str, unit: str, is_volume: bool) -> _Unit:
    series = own[0].uids["SeriesInstanceUID"]
    paths = [h.file.relative_to(folder).as_posix() for h in own]
    name = paths[0] if unit == "image" else f"series-{hashlib.sha256(series.encode()).hexdigest()[:16]}"
    keys = (paths, [h.file.name for h in own], [h.file.stem for h in own], [h.uids["SOPInstanceUID"] for h in own], [series])
    return _Unit(
        name=name,
        files=tuple(h.file for h in own),
        subject=subject,
        is_volume=is_volume,
        keys=tuple(frozenset(k for k in kind if k) for kind in keys),
    )


def _subject(header: _Header, secret: str) -> str:
    """A name for the patient that depends on the secret; the kind of identifier keeps an ID from meeting an equal UID."""
    kind = "PatientID" if header.patient else "StudyInstanceUID" if header.uids["StudyInstanceUID"] else "SeriesInstanceUID"
    value = header.patient or header.uids[kind]
    return f"patient-{hmac.new(secret.encode(), f'{kind} {value}'.encode(), hashlib.sha256).hexdigest()[:16]}"


def _match(table: Table, units: Sequence[_Unit], key_column: str | None) -> tuple[str, dict[int, int]]:
    """The column that names samples, and the row of each sample that has one."""
    places = [_places(units, kind) for kind in range(len(KEY_NAMES))]
    columns = [key_column] if key_column is not None else [c for c in table.columns if c]
    column, place = max(((c, p) for c in columns for p in places), key=lambda pair: _hits(table, *pair))
    cells = table.column(column)
    if not _hits(table, column, place):
        raise _unknown_key(table, column, 0)
    known = []
    for row, cell in enumerate(cells):
        with spare(f"line {table.lines[row]}"):
            if cell not in place:
                raise _unknown_key(table, column, row)
            known.append(row)
    return column, _rows(table, column, {row: place[cells[row]] for row in known}, units)


def _hits(table: Table, column: str, place: Mapping[str, int]) -> int:
    return sum(cell in place for cell in table.column(column))


def _places(units: Sequence[_Unit], kind: int) -> dict[str, int]:
    """Which sample a key of one kind names; keys that name several are left out."""
    found: dict[str, int] = {}
    twice: set[str] = set()
    for i, unit in enumerate(units):
        for key in unit.keys[kind]:
            if key in found:
                twice.add(key)
            found[key] = i
    return {key: i for key, i in found.items() if key not in twice}


def _rows(table: Table, column: str, samples: Mapping[int, int], units: Sequence[_Unit]) -> dict[int, int]:
    rows: dict[int, int] = {}
    for row, sample in samples.items():
        with spare(units[sample].name):
            if sample in rows:
                twice = f"has two rows for one sample, the second in line {table.lines[row]} ({column})"
                raise SampleError(table.path, twice, "keep one of them", "repeated")
            rows[sample] = row
    return rows


def _unknown_key(table: Table, column: str, row: int) -> SampleError:
    """The error of a row that names no image."""
    line = table.lines[row]
    return SampleError(
        table.path,
        f"names in line {line} no image of the folder, or several ({column}; tried as {', '.join(KEY_NAMES)})",
        "correct the row, or choose the column with key_column=",
        "missing-image",
    )


def _unlabelled(units: Sequence[_Unit], rows: Mapping[int, int], unlabelled: str) -> list[str]:
    left = [i for i in range(len(units)) if i not in rows]
    if left and unlabelled == "refuse":
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        hint = "add a row to the table, or open with unlabelled='skip'"
        noted = [report(units[i].name, SampleError(units[i].files[0], "has no label", hint, "no-label")) for i in left]
        if not all(noted):
            raise InputError(units[left[0]].files[0], f"has no label{more}", hint)
        return []
    return [f"{len(left)} images have no row and are left out"] if left else []


def _annotation(unit: _Unit, labels: Labels | None, row: int | None) -> Annotation:
    if labels is None or row is None:
        return Annotation(sample_id=unit.name, subject=unit.subject)
    return Annotation(
        sample_id=unit.name, label=labels.label[row], labels=labels.labels[row], grade=labels.grade[row], subject=unit.subject
    )
