"""Pascal VOC annotations: one XML file of boxes for each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcore.datasets.base import (
    EDGES,
    AnnotatedImages,
    Annotation,
    DatasetCard,
    Pixels,
    class_names,
    count_classes,
    unique_ids,
)
from medcore.datasets.boxes import Box, BoxFaults, box_problem, cut_box, report_box
from medcore.datasets.images import ImageFolder, digest, files_in, folder_of, image_size, read_image, subfolder
from medcore.datasets.origin import find_origin
from medcore.datasets.tolerance import SampleError, note_box, spare
from medcore.errors import InputError
from medcore.io.guard import reason
from medcore.io.limits import existing_file

MAX_XML_BYTES = 4 << 20
ANNOTATION_FOLDERS = ("Annotations", "annotations")
IMAGE_FOLDERS = ("JPEGImages", "images", "Images")
_HINT = "correct the annotation"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocFolder(AnnotatedImages):
    """Images with labelled boxes in Pascal VOC files.

    The XML files lie in ``Annotations/`` or ``annotations/`` or the folder itself, the images (PNG, JPEG, BMP, TIFF) in
    ``JPEGImages/`` or ``images/`` or the folder itself. Every image has an annotation and every annotation an image.

    What is mended is told in ``card.faults``: a box of zero area is left out, a box that reaches beyond the image is cut at its border.
    A box whose corners are swapped, or that lies outside the image altogether, is an error: it belongs to another image.

    Parameters
    ----------
    path
        The folder.
    one_based
        How corners are read. False: they lie on the edges of pixels, as today's annotation tools write them. True: they are the first and
        last pixel counted from 1, as in PASCAL's own files; 1 is then taken off xmin and ymin.
    classes
        Class names in the order wanted; by default those that occur, sorted.
    licence, source
        For the card, which else takes the licence from a LICENSE file, see :func:`medcore.datasets.origin.find_origin`.

    Raises
    ------
    InputError
        If a file is missing or damaged, an XML file holds entities or a document type, names a path as its image, states another
        image size than the image has, or holds a box or class that cannot be.
    """

    def __init__(
        self,
        path: str | Path,
        one_based: bool = False,
        classes: Sequence[str] | None = None,
        licence: str | None = None,
        source: str | None = None,
    ) -> None:
        folder = folder_of(path)
        origin = find_origin(folder, licence, source)
        files = files_in(subfolder(folder, ANNOTATION_FOLDERS), (".xml",))
        if not files:
            raise InputError(folder, "holds no XML annotations", "give a folder with Annotations/*.xml")
        images = ImageFolder(subfolder(folder, IMAGE_FOLDERS))
        faults = BoxFaults()
        annotations, self._files = [], []
        claimed: set[Path] = set()
        for file in files:
            with spare(file.stem):
                root = _parse(file)
                image = images.find(_text(root, "filename", file), str(file))
                if image in claimed:
                    raise SampleError(folder, f"has the identifier {image.stem!r} twice", "keep one annotation of it", "repeated")
                claimed.add(image)
                boxes, labels = _boxes(root, file, image, one_based, faults)
                self._files.append(image)
                annotations.append(Annotation(sample_id=image.stem, boxes=boxes, box_labels=labels, subject=image.stem))
        unique_ids([a.sample_id for a in annotations], str(folder))
        images.refuse_unlabelled(claimed)
        found = [label for a in annotations for label in a.box_labels]
        known = class_names(classes) if classes is not None else tuple(sorted(set(found)))
        _check_classes(annotations, known, folder)
        card = DatasetCard(
            name=folder.name,
            task="detection",
            classes=known,
            ordered=False,
            n_samples=len(annotations),
            class_counts=count_classes(known, found),
            licence=origin.licence,
            source=origin.source,
            sha256={"all annotations": digest(files)},
            box_convention=EDGES,
            faults=faults.sentences(),
        )
        super().__init__(annotations, card)

    def read_image(self, index: int) -> Pixels:
        """Decode image `index`."""
        return read_image(self._files[index])


def is_voc(file: Path) -> bool:
    """Whether an XML file looks like a Pascal VOC annotation."""
    try:
        with file.open("rb") as stream:
            return b"<annotation" in stream.read(1000)
    except OSError:
        return False


def _parse(file: Path) -> Any:
    from xml.etree.ElementTree import ParseError  # only the exception; defusedxml does the parsing

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    size = existing_file(file).stat().st_size
    if size > MAX_XML_BYTES:
        raise InputError(file, f"has {size} bytes, more than {MAX_XML_BYTES}", "give a Pascal VOC annotation")
    try:
        root = fromstring(file.read_bytes(), forbid_dtd=True)
    except DefusedXmlException as error:
        raise InputError(file, f"holds a document type or entities ({type(error).__name__})", "remove them") from error
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(file, f"is not valid XML ({reason(error)})", "get another copy of the file") from error
    if root.tag != "annotation":
        raise InputError(file, f"holds <{root.tag}>, not <annotation>", "give a Pascal VOC annotation")
    return root


def _text(parent: Any, tag: str, file: Path) -> str:
    text = (parent.findtext(tag) or "").strip()
    if not text:
        raise InputError(file, f"has no <{tag}> in <{parent.tag}>", _HINT)
    return text


def _number(parent: Any, tag: str, file: Path) -> float:
    text = _text(parent, tag, file)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(file, f"has {tag} = {text!r}, not a number", _HINT)
    return value


def _boxes(root: Any, file: Path, image: Path, one_based: bool, faults: BoxFaults) -> tuple[tuple[Box, ...], tuple[str, ...]]:
    height, width = image_size(image)
    if root.find("size") is not None:
        stated = tuple(int(_number(root.find("size"), tag, file)) for tag in ("height", "width"))
        if stated not in {(height, width), (0, 0)}:  # 0 x 0: not filled in
            other = f"states {stated[1]} x {stated[0]} pixels and {image.name} has {width} x {height}"
            raise SampleError(file, other, _HINT, "wrong-size")
    boxes, labels = [], []
    for item in root.findall("object"):
        name = _text(item, "name", file)
        corners = item.find("bndbox")
        if corners is None:
            raise InputError(file, f"has an object {name!r} without <bndbox>", _HINT)
        a, b, c, d = (_number(corners, tag, file) for tag in _CORNERS)
        stated_box = (a, b, c, d)
        note_box(image.stem, stated_box, height, width)
        x0, y0, x1, y1 = (v - 1 if one_based and i < 2 else v for i, v in enumerate(stated_box))
        shown = f"{name} ({', '.join(f'{v:g}' for v in stated_box)})"
        if x1 < x0 or y1 < y0:
            raise SampleError(file, f"has the box {shown} whose corners are swapped", _HINT, "bad-box")
        problem = box_problem((x0, y0, x1, y1), height, width)
        if problem == "outside":
            beyond = f"has the box {shown} outside its image of {width} x {height} pixels"
            if report_box(image.stem, str(file), beyond, "box-outside"):
                continue
            inner = cut_box((x0, y0, x1, y1), height, width)
            if inner is None:
                raise InputError(file, beyond, _HINT)
            x0, y0, x1, y1 = inner
            faults.add(
                "boxes that reach beyond their image",
                f"{file.name}: the box {shown} reaches beyond the image of {width} x {height} pixels and is cut at its border",
            )
        elif problem:
            if report_box(image.stem, str(file), f"has the box {shown} of zero area", "zero-box"):
                continue
            faults.add("boxes of zero area", f"{file.name}: the box {shown} has zero area and is left out")
            continue
        boxes.append((x0, y0, x1, y1))
        labels.append(name)
    return tuple(boxes), tuple(labels)


def _check_classes(annotations: Sequence[Annotation], known: tuple[str, ...], folder: Path) -> None:
    for item in annotations:
        wrong = next((label for label in item.box_labels if label not in known), None)
        if wrong is not None:
            raise InputError(
                folder, f"has a box of class {wrong!r} in {item.sample_id}, known are {', '.join(known)}", "give all classes"
            )
