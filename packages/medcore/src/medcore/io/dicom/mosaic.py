"""Siemens mosaics: all slices of a volume side by side in one picture.

The picture's position is that of its corner if it were one slice of the mosaic's size; the true slices lie round the same centre. Number of
slices and direction come from private elements of Siemens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from medcore.errors import InputError
from medcore.io.dicom.csa import read_csa
from medcore.io.dicom.parsing import pydicom_errors

_CREATOR, _GROUP, _IMAGE_HEADER = "SIEMENS CSA HEADER", 0x29, 0x10
_MR_CREATOR, _MR_GROUP, _N_IMAGES = "SIEMENS MR HEADER", 0x19, 0x0A
_WANTED = frozenset({"NumberOfImagesInMosaic", "SliceNormalVector"})
_MAX_IMAGES = 4096
_HINT = "convert it with dcm2niix and read the NIfTI file"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One slice of a mosaic.

    Attributes
    ----------
    row, column
        Its first row and column in the picture.
    size
        Its rows and columns.
    position
        Of its first pixel's centre in millimetres, LPS+.
    """

    row: int
    column: int
    size: tuple[int, int]
    position: Float[np.ndarray, "3"]


def is_mosaic(dataset: Any) -> bool:
    """Whether the image type says so."""
    with pydicom_errors("DICOM file"):
        words = dataset.get("ImageType")
    return hasattr(words, "__len__") and "MOSAIC" in words


def read_tiles(
    dataset: Any,
    path: Path,
    position: Float[np.ndarray, "3"],
    orientation: Float[np.ndarray, "6"],
    spacing: tuple[float, float],
    distance: float | None,
) -> list[Tile]:
    """The slices of a mosaic in their order along the slice normal.

    Parameters
    ----------
    dataset
        The file.
    path
        Its name, for messages.
    position, orientation, spacing
        Those that the picture states, in millimetres.
    distance
        From slice to slice in millimetres.

    Raises
    ------
    InputError
        If the private header is absent or contradicts the picture.
    """
    number, normal = _private_facts(dataset, path)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    edge = math.ceil(math.sqrt(number))
    if rows % edge or columns % edge or distance is None or distance <= 0:
        raise InputError(path, f"is a mosaic of {number} slices in {rows} x {columns} pixels, {distance} mm apart", _HINT)
    size = rows // edge, columns // edge
    along_row, along_column = orientation.reshape(2, 3)
    across = np.cross(along_row, along_column)
    if normal is not None and abs(abs(float(across @ normal)) - 1) > 1e-3:
        raise InputError(path, "is a mosaic whose slice normal is not that of its orientation", _HINT)
    step = (across if normal is None else normal) * distance
    corner = position + along_row * spacing[1] * (columns - size[1]) / 2 + along_column * spacing[0] * (rows - size[0]) / 2
    return [Tile(row=k // edge * size[0], column=k % edge * size[1], size=size, position=corner + k * step) for k in range(number)]


def _private_facts(dataset: Any, path: Path) -> tuple[int, Float[np.ndarray, "3"] | None]:
    """Number of slices, and their direction where it is stated."""
    stated = _private(dataset, _MR_GROUP, _MR_CREATOR, _N_IMAGES, path)
    header = _private(dataset, _GROUP, _CREATOR, _IMAGE_HEADER, path)
    normal = None
    numbers = {stated} if isinstance(stated, int) else set()
    if isinstance(header, bytes):
        try:
            listed = read_csa(header, _WANTED)
            numbers |= {int(text) for text in listed.get("NumberOfImagesInMosaic", [])[:1]}
            direction = [float(text) for text in listed.get("SliceNormalVector", [])]
        except ValueError as error:
            raise InputError(path, "has a private header of Siemens that is damaged", _HINT) from error
        if direction:
            normal = np.array(direction)
            if normal.shape != (3,) or not np.isfinite(normal).all():
                raise InputError(path, "states a slice normal that is not three numbers", _HINT)
    if len(numbers) > 1:
        raise InputError(
            path, f"is a mosaic of {' or '.join(map(str, sorted(numbers)))} slices: its private elements differ", _HINT
        )
    number = int(next(iter(numbers), 0))
    if not 1 <= number <= _MAX_IMAGES:
        raise InputError(path, "is a Siemens mosaic that does not say how many slices it holds", _HINT)
    return number, normal


def _private(dataset: Any, group: int, creator: str, element: int, path: Path) -> Any:
    with pydicom_errors(path, "has a private element that cannot be read", _HINT):
        try:
            return dataset.private_block(group, creator)[element].value
        except KeyError:
            return None
