"""The fixed header of a NIfTI-1 or NIfTI-2 file, checked field by field before anything is allocated.

Source: nifti1.h and nifti2.h of the NIfTI Data Format Working Group.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

from medcore.errors import InputError

HEADER_BYTES = 544
_TYPES = {2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8, 1792: 16}
COMPLEX_TYPES = {32, 1792}
_TIME_UNITS = {8: 1.0, 16: 1e-3, 24: 1e-6}
_LENGTH_UNITS = {0: 1e-3, 1: 1.0, 2: 1e-3, 3: 1e-6}
_MAX_OFFSET = 64 << 20
"""Extensions of a header that take more than this are not believed."""
_HINT = "get another copy of the file"


@dataclass(frozen=True, kw_only=True)
class NiftiHeader:
    """What of the header decides whether the file can be trusted.

    Attributes
    ----------
    shape
        (x, y, z, t), missing axes are 1.
    offset
        Where the data begin, in the file or in the second half of a pair.
    bytes
        Length of the whole uncompressed file that header and data need; of a pair, of the half with the data.
    metres
        Metres per unit of length.
    time_step
        Seconds from image to image; None where there is one image, no unit or no step.
    """

    shape: tuple[int, int, int, int]
    itemsize: int
    offset: int
    bytes: int
    metres: float
    time_step: float | None
    is_complex: bool
    repairs: tuple[str, ...]


def is_nifti(head: bytes) -> bool:
    """Whether the first bytes of an uncompressed file are those of NIfTI, single-file or paired."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def parse_header(head: bytes, path: Path, *, paired: bool = False) -> NiftiHeader:
    """Check the first :data:`HEADER_BYTES` bytes of a file, or of the ``.hdr`` half of a pair.

    Raises
    ------
    InputError
        Naming the field that cannot be.
    """
    if not is_nifti(head):
        raise InputError(path, "is not a NIfTI file", "give a .nii or .nii.gz file")
    second = head[4:8] in (b"n+2\0", b"ni2\0")
    half = head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0"
    if half != paired:
        problem, name = ("one half of a .hdr/.img pair", ".hdr") if half else ("a single NIfTI file", ".nii")
        raise InputError(path, f"is {problem}", f"let its name end in {name}")
    size = 540 if second else 348
    order = next((o for o in "<>" if struct.unpack_from(f"{o}i", head)[0] == size), None)
    if order is None or len(head) < size:
        raise InputError(path, "has a damaged NIfTI header", _HINT)
    if second:
        datatype, *dim = struct.unpack_from(f"{order}h2x8q", head, 12)
        pixdim = struct.unpack_from(f"{order}8d", head, 104)
        offset, slope, inter = struct.unpack_from(f"{order}q2d", head, 168)
        qform, sform = struct.unpack_from(f"{order}2i", head, 344)
        units = struct.unpack_from(f"{order}i", head, 500)[0]
    else:
        dim = list(struct.unpack_from(f"{order}8h", head, 40))
        datatype = struct.unpack_from(f"{order}h", head, 70)[0]
        pixdim = struct.unpack_from(f"{order}8f", head, 76)
        offset, slope, inter = struct.unpack_from(f"{order}3f", head, 108)
        qform, sform = struct.unpack_from(f"{order}2h", head, 252)
        units = head[123]
    first = 0 if paired else size
    return _checked(path, dim, datatype, pixdim, (float(offset), slope, inter), (qform, sform), units, first)


def _checked(
    path: Path,
    dim: list[int],
    datatype: int,
    pixdim: tuple[float, ...],
    scaling: tuple[float, float, float],
    codes: tuple[int, int],
    units: int,
    first: int,
) -> NiftiHeader:
    offset, slope, inter = scaling
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]):
        raise InputError(path, f"has dimensions {dim}", _HINT)
    sizes = [*dim[1 : dim[0] + 1], 1, 1, 1][: max(4, dim[0])]
    if math.prod(sizes[4:]) != 1:
        raise InputError(path, f"has {dim[0]} dimensions {dim[1 : dim[0] + 1]}", "give a 3-D or 4-D image")
    if datatype not in _TYPES:
        raise InputError(path, f"has data type {datatype}", "convert it to a real or complex number type")
    steps = pixdim[1 : 1 + min(3, dim[0])]
    if not all(math.isfinite(step) and step > 0 for step in steps):
        raise InputError(path, f"has voxel sizes {[round(s, 6) for s in steps]}", "correct pixdim in its header")
    if not (math.isfinite(offset) and first <= offset <= _MAX_OFFSET):
        raise InputError(path, f"has its data at byte {offset:g}", _HINT)
    # Zero means "not scaled"; NaN is written by some programs for the same, but then in both fields.
    if not (math.isfinite(slope) and math.isfinite(inter)) and not (math.isnan(slope) and math.isnan(inter)):
        raise InputError(path, f"has scaling {slope} and {inter}", "correct scl_slope and scl_inter in its header")
    repairs = []
    if codes == (0, 0):
        repairs.append("no orientation stated, axis-aligned geometry assumed")
    if units & 7 not in _LENGTH_UNITS:
        raise InputError(path, f"has length unit {units & 7}", "correct xyzt_units in its header")
    if units & 7 == 0:
        repairs.append("no unit of length stated, millimetres assumed")
    x, y, z, t = sizes[:4]
    itemsize = _TYPES[datatype]
    return NiftiHeader(
        shape=(x, y, z, t),
        itemsize=itemsize,
        offset=int(offset),
        bytes=int(offset) + x * y * z * t * itemsize,
        metres=_LENGTH_UNITS[units & 7],
        time_step=_time_step(pixdim[4], units, t),
        is_complex=datatype in COMPLEX_TYPES,
        repairs=tuple(repairs),
    )


def _time_step(step: float, units: int, n_images: int) -> float | None:
    unit = _TIME_UNITS.get(units & 0x38)
    if n_images == 1 or unit is None or not (math.isfinite(step) and step > 0):
        return None
    return step * unit
