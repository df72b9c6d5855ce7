"""PAR/REC files of Philips scanners, read by nibabel and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.guard import foreign_errors
from medcore.io.images import ImageSeries
from medcore.io.limits import check_size, existing_file
from medcore.units import deg_to_rad, mm_to_m, ms_to_s

_MARK = b"DATA DESCRIPTION FILE"
_MAGNITUDE = 0
_HINT = "get another copy of both files"


def is_par(head: bytes) -> bool:
    """Whether the first bytes are those of a PAR file."""
    return _MARK in head[:400]


def par_of(path: Path) -> Path | None:
    """The PAR file that belongs to a REC file, if `path` is one."""
    if path.suffix.lower() != ".rec":
        return None
    return next((p for p in (path.with_suffix(s) for s in (".PAR", ".par")) if p.is_file()), None)


def read_par(path: str | Path) -> ImageSeries:
    """Read a PAR file and the REC file beside it as images (contrast, z, y, x), in the scanner's displayed values.

    Volumes of several image types (magnitude, phase, field map) are not mixed: the magnitudes are read if there are any, else the
    first type, and `repairs` counts what is left out.

    Raises
    ------
    InputError
        If a file is missing, damaged or cut, or the volumes are incomplete.
    """
    path = existing_file(path)
    rec = next((p for p in (path.with_suffix(s) for s in (".REC", ".rec")) if p.is_file()), None)
    if rec is None:
        raise InputError(path, "has no REC file beside it", "put the REC file into the same folder")
    from nibabel.parrec import PARRECError, PARRECHeader, PARRECImage

    with foreign_errors(path, "is a damaged PAR file", _HINT, quote=False, also=(PARRECError,)):
        with path.open(encoding="utf-8", errors="replace") as file:
            header = PARRECHeader.from_fileobj(file, permit_truncated=False, strict_sort=True)
        shape = header.get_data_shape()
        itemsize = header.get_data_dtype().itemsize
        volumes = _of_each_volume(header, shape)
        affine = np.array(header.get_affine(), dtype=np.float64)
    check_size(rec, shape, max(itemsize, 8), rec.stat().st_size)
    stored = int(np.prod(shape)) * itemsize
    if rec.stat().st_size != stored:
        raise InputError(rec, f"has {rec.stat().st_size} bytes where its PAR file says {stored}", _HINT)
    with foreign_errors(path, "cannot be read", _HINT, quote=False, also=(PARRECError,)), rec.open("rb") as file:
        proxy = PARRECImage.ImageArrayProxy(file, header, scaling="dv")
        values = np.asarray(proxy).reshape(*shape[:3], -1)
    kinds = volumes["image_type_mr"]
    chosen = kinds == (_MAGNITUDE if _MAGNITUDE in kinds else kinds[0])
    left = int(np.count_nonzero(~chosen))
    affine[:3] *= mm_to_m(1.0)
    return ImageSeries(
        data=np.ascontiguousarray(values.transpose(3, 2, 1, 0)[chosen], dtype=np.float32),
        affine=affine,
        times=_times(volumes, chosen),
        meta={"vendor": "Philips"},
        repairs=(f"left out {left} volumes of another image type",) if left else (),
        source=str(path),
    )


def _of_each_volume(header: Any, shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """Columns of the PAR file, one value for each volume in the order of the data."""
    rows = header.image_defs[header.get_sorted_slice_indices()]
    return {name: np.atleast_1d(rows[name][:: shape[2]]) for name in ("image_type_mr", "echo_time", "image_flip_angle")}


def _times(volumes: dict[str, NDArray[Any]], chosen: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    echo = np.asarray(volumes["echo_time"][chosen], dtype=np.float64)
    flip = np.asarray(volumes["image_flip_angle"][chosen], dtype=np.float64)
    return {
        key: convert(values)
        for key, values, convert in (("te", echo, ms_to_s), ("flip_angle", flip, deg_to_rad))
        if (values > 0).all()
    }
