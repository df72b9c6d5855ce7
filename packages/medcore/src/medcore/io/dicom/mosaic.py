"""Siemens mosaics: all slices of a volume side by side in one picture.

The picture's position is that of its corner if it were one slice of the mosaic's size; the true slices lie round the same centre. Number of
slices and direction come from the private header of Siemens, read by nibabel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from medcore.errors import InputError
from medcore.io.guard import foreign_errors

_CREATOR, _GROUP, _IMAGE_HEADER = "SIEMENS CSA HEADER", 0x29, 0x10
_MR_CREATOR, _MR_GROUP, _N_IMAGES = "SIEMENS MR HEADER", 0x19, 0x0A
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
    return "MOSAIC" in list(dataset.get("ImageType") or [])


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
    number: Any = _private(dataset, _MR_GROUP, _MR_CREATOR, _N_IMAGES)
    normal = None
    header = _private(dataset, _GROUP, _CREATOR, _IMAGE_HEADER)
    if isinstance(header, bytes):
        from nibabel.nicom import csareader

        with foreign_errors(path, "has a private header that cannot be read", _HINT, quote=False, also=(csareader.CSAReadError,)):
            tags = csareader.read(header)["tags"]
            stated = [float(v) for v in tags.get("SliceNormalVector", {}).get("items", [])]
            listed = tags.get("NumberOfImagesInMosaic", {}).get("items", [])
            number = number if number is not None or not listed else int(listed[0])
        if stated:
            normal = np.array(stated)
            if normal.shape != (3,) or not np.isfinite(normal).all():
                raise InputError(path, "states a slice normal that is not three numbers", _HINT)
    if not isinstance(number, int) or not 1 <= number <= _MAX_IMAGES:
        raise InputError(path, "is a Siemens mosaic that does not say how many slices it holds", _HINT)
    return number, normal


def _private(dataset: Any, group: int, creator: str, element: int) -> Any:
    try:
        return dataset.private_block(group, creator)[element].value
    except KeyError:
        return None
