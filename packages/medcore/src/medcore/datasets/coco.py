"""Detection data in COCO's JSON (Lin et al. 2014, doi 10.1007/978-3-319-10602-1_48; format: cocodataset.org/#format-data)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcore.atomic import sha256_file
from medcore.datasets.base import EDGES, AnnotatedImages, Annotation, DatasetCard, Pixels, class_names, tally
from medcore.datasets.boxes import Box, BoxFaults, box_problem, cut_box, report_box
from medcore.datasets.images import SUFFIXES, file_inside, files_in, folder_of, image_size, read_image
from medcore.datasets.origin import NOT_STATED, find_origin, one_line
from medcore.datasets.strict_json import check_number, check_text, check_whole, load_json
from medcore.datasets.tolerance import SampleError, note_box, spare
from medcore.errors import ConfigError, InputError

ANNOTATION_FOLDERS = ("annotations", "Annotations")
IMAGE_FOLDERS = ("images", "Images", "JPEGImages")
SUBJECT_KEYS = ("subject", "subject_id", "patient", "patient_id")
_PREFIXES = ("instances_", "person_keypoints_", "image_info_")
_ROUNDING = 1e-6
_LISTS = re.compile(rb'"(images|annotations|categories|bbox)"\s*:\s*\[')
_HINT = "correct the annotations"


class CocoDetection(AnnotatedImages):
    """Images with labelled boxes in one COCO JSON file.

    COCO states ``[x, y, width, height]`` from the image's upper left edge; here that becomes ``[x, y, x + width, y + height]``. Every
    image of the file is a sample, also one without boxes. Segmentations, areas and key points are not read.

    What is mended is told in ``card.faults``: a box of zero area is left out, a box that reaches beyond the image is cut at its border.
    A box with negative width or height, or outside the image altogether, is an error.

    Parameters
    ----------
    path
        The JSON file, or a folder that holds one, itself or in ``annotations/``.
    json
        Name of the JSON file where the folder holds several.
    images
        Folder that ``file_name`` counts from. By default the first of these that holds the first image: ``images/`` and the
        folder called like the file (``train2017/`` for ``instances_train2017.json``), beside the JSON file or, where that lies in
        ``annotations/``, beside that folder; then the JSON file's folder itself.
    classes
        Categories wanted, in this order; boxes of others are left out. By default all, in the order of the file.
    check_sizes
        Whether every image's header is compared with the stated size when the data set is opened. If not, each image is compared
        when it is decoded.
    licence, source
        For the card; by default as the file's ``licenses`` and ``info`` state them.

    Raises
    ------
    InputError
        If the file is damaged, larger than 512 MB, repeats a key, holds NaN, lacks a part, repeats an identifier, a category or a file
        name, has a box that cannot be or that belongs to an unknown image or category, names a file outside the folder, or states
        another size than an image has.
    """

    def __init__(
        self,
        path: str | Path,
        json: str | None = None,
        images: str | Path | None = None,
        classes: Sequence[str] | None = None,
        check_sizes: bool = True,
        licence: str | None = None,
        source: str | None = None,
    ) -> None:
        file = _find_json(Path(path), json)
        content = _Content(load_json(file), str(file))
        named = content.categories()
        known = _chosen(classes, tuple(named.values()), file)
        listed = content.images()
        self._entries, self._files = _files(listed, file, images)
        self._sizes_checked = check_sizes
        if check_sizes:
            for i, entry in enumerate(self._entries):
                with spare(entry.name, "damaged-image"):
                    self._check_size(i, image_size(self._files[i]))
        faults = BoxFaults()
        place = {entry.number: i for i, entry in enumerate(listed)}
        every = content.boxes(listed, named, known, faults)
        boxes = [every[place[entry.number]] for entry in self._entries]
        annotations = [
            Annotation(
                sample_id=entry.name,
                boxes=tuple(b.corners for b in found),
                box_labels=tuple(b.label for b in found),
                box_crowd=tuple(b.crowd for b in found) if any(b.crowd for b in found) else (),
                subject=entry.subject,
            )
            for entry, found in zip(self._entries, boxes, strict=True)
        ]
        origin = find_origin(file.parent, licence, source)
        card = DatasetCard(
            name=file.parent.parent.name if file.parent.name in ANNOTATION_FOLDERS else file.parent.name,
            task="detection",
            classes=known,
            ordered=False,
            n_samples=len(annotations),
            class_counts=tally(annotations, "detection", known),
            licence=content.licence() if origin.licence == NOT_STATED else origin.licence,
            source=content.source() if origin.source == NOT_STATED else origin.source,
            sha256={file.name: sha256_file(file)},
            box_convention=EDGES,
            faults=faults.sentences(),
            notes=_notes(annotations),
        )
        super().__init__(annotations, card)

    def read_image(self, index: int) -> Pixels:
        """Decode image `index`."""
        pixels = read_image(self._files[index])
        if not self._sizes_checked:
            self._check_size(index, pixels.shape[:2])
        return pixels

    def _check_size(self, index: int, size: tuple[int, ...]) -> None:
        entry = self._entries[index]
        if size != (entry.height, entry.width):
            shown = f"is stated with {entry.width} x {entry.height} pixels and has {size[1]} x {size[0]}"
            raise SampleError(self._files[index], shown, _HINT, "wrong-size")


@dataclass(frozen=True)
class _Entry:
    """One image of the file."""

    number: Any
    name: str
    height: int
    width: int
    subject: str | None


@dataclass(frozen=True)
class _Labelled:
    """One box of an image."""

    corners: Box
    label: str
    crowd: bool


class _Content:
    """The parts of a COCO file, checked as they are asked for."""

    def __init__(self, content: Mapping[str, Any], what: str) -> None:
        self._content, self._what = content, what

    def _objects(self, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
        listed = self._content.get(key)
        if not isinstance(listed, list):
            raise InputError(self._what, f"has no list {key!r}", "give detection annotations in COCO's format")
        for i, item in enumerate(listed):
            where = f"{self._what}, {key}[{i}]"
            if not isinstance(item, dict):
                raise InputError(where, f"is {type(item).__name__}, not an object", _HINT)
            yield where, item

    def categories(self) -> dict[Any, str]:
        """Names by identifier."""
        found: dict[Any, str] = {}
        names: set[str] = set()
        for where, item in self._objects("categories"):
            number, name = _identifier(item, "id", where), check_text(item.get("name"), "name", where)
            if number in found or name in names:
                raise InputError(where, f"repeats the category {name!r} or its id {number!r}", _HINT)
            found[number] = name
            names.add(name)
        if not found:
            raise InputError(self._what, "has no categories", "give detection annotations in COCO's format")
        return found

    def images(self) -> list[_Entry]:
        """All images, in the order of the file."""
        found: list[_Entry] = []
        numbers: set[Any] = set()
        names: set[str] = set()
        for where, item in self._objects("images"):
            with spare(where):
                entry = _entry(item, where)
                if entry.number in numbers or entry.name in names:
                    twice = f"repeats the image {entry.name!r} or its id {entry.number!r}"
                    raise SampleError(where, twice, _HINT, "repeated")
                numbers.add(entry.number)
                names.add(entry.name)
                found.append(entry)
        if not found:
            raise InputError(self._what, "has no images", "give detection annotations in COCO's format")
        return found

    def boxes(
        self, entries: Sequence[_Entry], named: Mapping[Any, str], known: Sequence[str], faults: BoxFaults
    ) -> list[list[_Labelled]]:
        """Boxes of every image."""
        place = {entry.number: i for i, entry in enumerate(entries)}
        found: list[list[_Labelled]] = [[] for _ in entries]
        wanted = set(known)
        numbers: set[Any] = set()
        for where, item in self._objects("annotations"):
            owner = place.get(image) if isinstance(image := item.get("image_id"), (int, str)) else None
            with spare(where if owner is None else entries[owner].name):
                number = _identifier(item, "id", where)
                if number in numbers:
                    raise SampleError(where, f"repeats the id {number!r}", _HINT, "repeated")
                numbers.add(number)
                image, category = _identifier(item, "image_id", where), _identifier(item, "category_id", where)
                if image not in place:
                    raise InputError(where, f"belongs to the image {image!r}, which is not listed", _HINT)
                if category not in named:
                    raise SampleError(where, f"is of the category {category!r}, which is not listed", _HINT, "unknown-label")
                crowd = item.get("iscrowd", 0)
                if crowd not in (0, 1):
                    raise InputError(where, f"has iscrowd = {ascii(crowd)[:40]}", "give 0 or 1")
                entry, label = entries[place[image]], named[category]
                corners = _corners(item.get("bbox"), where, entry, f"annotation {number} ({label}) of {entry.name}", faults)
                if corners is not None and label in wanted:
                    found[place[image]].append(_Labelled(corners, label, crowd == 1))
        return found

    def licence(self) -> str:
        """Names of the licences that images refer to, else all that are listed."""
        listed = self._content.get("licenses")
        items = [x for x in listed if isinstance(x, dict)] if isinstance(listed, list) else []
        used = {str(x.get("license")) for x in self._content["images"] if "license" in x}
        chosen = [x for x in items if str(x.get("id")) in used] or items
        names = [one_line(str(x.get("name") or x.get("url") or "")) for x in chosen]
        return "; ".join(dict.fromkeys(n for n in names if n)) or NOT_STATED

    def source(self) -> str:
        """What ``info`` says."""
        info = self._content.get("info")
        if not isinstance(info, dict):
            return NOT_STATED
        told = [one_line(str(info[k])) for k in ("description", "version", "url") if isinstance(info.get(k), (str, int, float))]
        return ", ".join(t for t in told if t) or NOT_STATED


def is_coco(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object has the three lists of COCO's detection format."""
    return all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories"))


def looks_like_coco(file: Path) -> bool:
    """Whether a file seems to be COCO's JSON, from pieces of its text; nothing is parsed."""
    try:
        with file.open("rb") as stream:
            head = stream.read(1 << 16)
            stream.seek(max(0, file.stat().st_size - (1 << 16)))
            text = head + stream.read()
    except OSError:
        return False
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and len(set(_LISTS.findall(text))) > 1


def _find_json(path: Path, name: str | None) -> Path:
    if path.is_file():
        return path
    folder = folder_of(path)
    places = [folder, *(folder / n for n in ANNOTATION_FOLDERS if (folder / n).is_dir())]
    found = list(dict.fromkeys(f for place in places for f in files_in(place, (".json",)) if looks_like_coco(f)))
    if name is not None:
        found = [f for f in found if f.name == name]
    if len(found) != 1:
        names = ", ".join(f.name for f in found[:10]) or f"no COCO JSON{f' called {name}' if name else ''}"
        raise InputError(folder, f"holds {names}", "choose one with json=" if found else "give the JSON file")
    return found[0]


def _identifier(item: Mapping[str, Any], key: str, where: str) -> Any:
    value = item.get(key)
    return check_text(value, key, where) if isinstance(value, str) else check_whole(value, key, where)


def _entry(item: Mapping[str, Any], where: str) -> _Entry:
    height, width = (check_whole(item.get(k), k, where) for k in ("height", "width"))
    if height < 1 or width < 1:
        raise InputError(where, f"states {width} x {height} pixels", _HINT)
    subject = next((item[k] for k in SUBJECT_KEYS if item.get(k) not in (None, "")), None)
    if isinstance(subject, int) and not isinstance(subject, bool):
        subject = str(subject)
    return _Entry(
        number=_identifier(item, "id", where),
        name=check_text(item.get("file_name"), "file_name", where),
        height=height,
        width=width,
        subject=None if subject is None else check_text(subject, "subject", where),
    )


def _files(entries: Sequence[_Entry], file: Path, images: str | Path | None) -> tuple[list[_Entry], list[Path]]:
    """The entries whose images are there, and the images."""
    if images is not None:
        folder = folder_of(images)
    else:
        base = file.parent.parent if file.parent.name in ANNOTATION_FOLDERS else file.parent
        stem = next((file.stem.removeprefix(p) for p in _PREFIXES if file.stem.startswith(p)), file.stem)
        places = [*(base / n for n in (*IMAGE_FOLDERS, stem)), file.parent, base]
        folder = next((p for p in places if _holds(p, entries[0].name)), base)
    kept, files = [], []
    for i, entry in enumerate(entries):
        where = f"{file}, images[{i}]"
        with spare(entry.name):
            found = file_inside(folder, entry.name, where)
            if found.suffix.lower() not in SUFFIXES:
                raise InputError(where, f"names {entry.name[:80]!r}, no image file", f"give {', '.join(SUFFIXES)}")
            kept.append(entry)
            files.append(found)
    return kept, files


def _holds(folder: Path, name: str) -> bool:
    """Whether there is anything of this name; whether it may be read is decided later."""
    try:
        return os.path.lexists(folder / name)
    except (OSError, ValueError):
        return False


def _corners(bbox: Any, where: str, entry: _Entry, shown: str, faults: BoxFaults) -> Box | None:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise InputError(where, f"has bbox = {ascii(bbox)[:60]}", "give [x, y, width, height]")
    x, y, width, height = (check_number(v, "bbox", where) for v in bbox)
    note_box(entry.name, (x, y, width, height), entry.height, entry.width)
    if width < 0 or height < 0:
        raise SampleError(where, f"has a bbox of {width:g} x {height:g} pixels", "give [x, y, width, height]", "bad-box")
    shown = f"{shown}: the box ({x:g}, {y:g}, {width:g}, {height:g})"
    box = (x, y, x + width, y + height)
    problem = box_problem(box, entry.height, entry.width)
    if problem == "zero area":
        if report_box(entry.name, where, f"has {shown} of zero area", "zero-box"):
            return None
        faults.add("boxes of zero area", f"{shown} has zero area and is left out")
        return None
    if problem is None:
        return box
    inner = cut_box(box, entry.height, entry.width)
    if inner is None:
        outside = f"has {shown} outside its image of {entry.width} x {entry.height} pixels"
        raise SampleError(where, outside, _HINT, "box-outside")
    if max(abs(a - b) for a, b in zip(box, inner, strict=True)) > _ROUNDING * max(entry.width, entry.height):
        beyond = f"{shown} reaches beyond the image of {entry.width} x {entry.height} pixels and is cut at its border"
        if report_box(entry.name, where, f"has {shown} reaching beyond its image of {entry.width} x {entry.height}", "box-outside"):
            return inner
        faults.add("boxes that reach beyond their image", beyond)
    return inner


def _chosen(classes: Sequence[str] | None, named: tuple[str, ...], file: Path) -> tuple[str, ...]:
    if classes is None:
        return named
    chosen = class_names(classes)
    wrong = next((c for c in chosen if c not in named), None)
    if wrong is not None:
        raise ConfigError("classes", f"name {wrong!r}, {file.name} has {', '.join(named)}", "choose from these")
    return chosen


def _notes(annotations: Sequence[Annotation]) -> tuple[str, ...]:
    empty = sum(not a.boxes for a in annotations)
    crowds = sum(sum(a.box_crowd) for a in annotations)
    told = (f"{empty} images have no box" * bool(empty), f"{crowds} boxes hold a crowd (iscrowd)" * bool(crowds))
    return tuple(t for t in told if t)
