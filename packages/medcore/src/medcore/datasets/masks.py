"""Boxes from segmentation masks: ``<image>_<structure>.png`` beside ``<image>.jpg``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medcore.datasets.base import EDGES, AnnotatedImages, Annotation, DatasetCard, Pixels, count_classes, unique_ids
from medcore.datasets.boxes import Box, tight_box
from medcore.datasets.images import SUFFIXES, digest, files_in, folder_of, image_size, read_image
from medcore.datasets.origin import find_origin
from medcore.datasets.tolerance import SampleError, report, spare
from medcore.errors import InputError
from medcore.plugins import unknown_name


class MaskFolder(AnnotatedImages):
    """Images with one box for each segmented structure: the smallest that holds its mask.

    Images and masks lie in one folder. A mask is named like its image with ``_<structure>`` added to the stem (``IDRiD_01.jpg``,
    ``IDRiD_01_OD.png``) and has its size; every pixel that is not black belongs to the structure. All masks are decoded when the
    data set is made.

    Parameters
    ----------
    path
        The folder.
    structure
        Which structure, or several; by default all that occur. Images without any of their masks are left out, which ``card.faults`` says,
        as it does of masks that are black everywhere.
    licence, source
        For the card, which else takes the licence from a LICENSE file, see :func:`medcore.datasets.origin.find_origin`.

    Raises
    ------
    InputError
        If a file is damaged, a mask has no image or another size, or no image has a mask of the structure.
    """

    def __init__(
        self,
        path: str | Path,
        structure: str | Sequence[str] | None = None,
        licence: str | None = None,
        source: str | None = None,
    ) -> None:
        folder = folder_of(path)
        origin = find_origin(folder, licence, source)
        images, masks = find_masks(folder)
        present = sorted({tag for found in masks.values() for tag in found})
        if not present:
            raise InputError(folder, "holds no masks", "name them <image>_<structure>.png beside <image>.jpg")
        chosen = present if structure is None else [structure] if isinstance(structure, str) else list(structure)
        wrong = next((tag for tag in chosen if tag not in present), None)
        if wrong is not None:
            raise unknown_name("structure", wrong, present)
        faults: list[str] = []
        used: dict[str, Path] = {}
        annotations, self._files = [], []
        for image in images:
            own = {tag: masks[image.stem][tag] for tag in chosen if tag in masks.get(image.stem, {})}
            if not own:
                continue
            with spare(image.stem, "damaged-image"):
                boxes, labels = _boxes(image, own, faults)
                used |= {file.name: file for file in own.values()}
                self._files.append(image)
                annotations.append(Annotation(sample_id=image.stem, boxes=boxes, box_labels=labels, subject=image.stem))
        unique_ids([a.sample_id for a in annotations], str(folder))
        if missing := sum(not any(tag in masks.get(image.stem, {}) for tag in chosen) for image in images):
            faults.append(f"{missing} of {len(images)} images have no mask of {', '.join(chosen)} and are left out")
        card = DatasetCard(
            name=folder.name,
            task="detection",
            classes=tuple(chosen),
            ordered=False,
            n_samples=len(annotations),
            class_counts=count_classes(chosen, [label for a in annotations for label in a.box_labels]),
            licence=origin.licence,
            source=origin.source,
            sha256={"all masks": digest(used)},
            box_convention=EDGES,
            faults=tuple(faults),
        )
        super().__init__(annotations, card)

    def read_image(self, index: int) -> Pixels:
        """Decode image `index`."""
        return read_image(self._files[index])


def find_masks(folder: Path) -> tuple[list[Path], dict[str, dict[str, Path]]]:
    """The images of a folder, and for each image's stem its masks by structure.

    A file is a mask if its stem is that of another file, an underscore, and a structure without underscore.

    Raises
    ------
    InputError
        If two masks claim one structure, or the folder cannot be read.
    """
    files = files_in(folder, SUFFIXES)
    stems = {f.stem for f in files}
    images: list[Path] = []
    masks: dict[str, dict[str, Path]] = {}
    for file in files:
        stem, _, tag = file.stem.rpartition("_")
        if stem not in stems:
            images.append(file)
            continue
        own = masks.setdefault(stem, {})
        if tag in own:
            raise InputError(file, f"is the second mask of {tag} beside {own[tag].name}", "keep one of them")
        own[tag] = file
    return images, masks


def _boxes(image: Path, masks: dict[str, Path], faults: list[str]) -> tuple[tuple[Box, ...], tuple[str, ...]]:
    size = image_size(image)
    boxes, labels = [], []
    for tag, file in masks.items():
        values = read_image(file)
        if values.shape[:2] != size:
            shown = f"{values.shape[1]} x {values.shape[0]} pixels, {image.name} has {size[1]} x {size[0]}"
            raise SampleError(file, f"has {shown}", "give masks of the image's size", "wrong-size")
        box = tight_box(np.atleast_3d(values).max(axis=2) > 0)
        if box is None:
            empty = SampleError(file, "is an empty mask", "draw the structure or remove the mask", "empty-mask")
            if report(image.stem, empty):
                continue
            faults.append(f"{file.name}: the mask is empty, so {image.stem} has no box of {tag}")
            continue
        boxes.append(box)
        labels.append(tag)
    return tuple(boxes), tuple(labels)
