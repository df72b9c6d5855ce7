"""NIfTI images with BIDS sidecars: read strictly, written atomically."""

from __future__ import annotations

import dataclasses
import gzip
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcore.atomic import atomic_files, json_bytes
from medcore.errors import InputError
from medcore.io.geometry import apart, same_place
from medcore.io.guard import foreign_errors
from medcore.io.images import ImageSeries, check_seconds, checked_affine, checked_times
from medcore.io.nifti_file import read_content
from medcore.io.nifti_header import NiftiHeader
from medcore.io.sidecar import b_values, read_json, sidecar_meta, sidecar_path, sidecar_times

_ENTITY = re.compile(r"_(echo|inv|flip)-(\d+)(?=[_.])")


def read_nifti(path: str | Path, *, times: Mapping[str, Any] | None = None) -> ImageSeries:
    """Read a 3-D or 4-D NIfTI file; the fourth axis becomes the contrasts.

    Parameters
    ----------
    path
        ``.nii``, ``.hdr`` or ``.img`` (either half of a pair), plain or ``.gz``, NIfTI-1 or NIfTI-2 of either byte order. A JSON file
        of the same name beside it gives the times, a ``.bval`` file the b-values.
    times
        Times in seconds and flip angles in radians, instead of those of the sidecar.

    Returns
    -------
    ImageSeries
        Values times slope plus intercept of the header, as 32-bit numbers; ``meta["time_step"]`` are the seconds from image to image
        where the header states them with a unit. Two orientations that disagree and rounded integers are said in ``repairs``.

    Raises
    ------
    InputError
        If the file is missing, cut, fails its checksum, or has a header that contradicts it; if a time of the sidecar looks like
        milliseconds or the number of times is not the number of images.
    """
    path = Path(path)
    content, header = read_content(path)
    data, affine, notes = _image(content, header, path)
    sidecar = sidecar_path(path)
    stated = read_json(sidecar) if sidecar.exists() else {}
    if times is None:
        times = sidecar_times(stated, len(data), sidecar) | b_values(path, len(data))
    else:
        times = checked_times(times, len(data), path)
        check_seconds(times, path)
    return ImageSeries(
        data=data,
        affine=affine,
        times=dict(times),
        meta=({} if header.time_step is None else {"time_step": header.time_step}) | sidecar_meta(stated),
        repairs=(*header.repairs, *notes),
        source=str(path),
    )


def read_nifti_series(paths: Sequence[str | Path], *, times: Mapping[str, Any] | None = None) -> ImageSeries:
    """Read several 3-D NIfTI files of one volume as one series, sorted by the time that differs between them.

    Parameters
    ----------
    paths
        The files; each needs a sidecar with its times unless `times` is given.
    times
        One value per file, in the order of `paths`, in seconds and radians; the files then stay in that order.

    Raises
    ------
    InputError
        If shapes or positions differ, a sidecar or an echo, inversion or flip number is missing, or no time differs.
    """
    files = [Path(p) for p in paths]
    if not files:
        raise InputError("NIfTI files", "are none", "name at least one file")
    _check_entities(files)
    images = [read_nifti(f, times=None if times is None else {}) for f in files]
    first = images[0]
    for image in images:
        if image.n_contrasts != 1:
            raise InputError(image.source, f"holds {image.n_contrasts} images", "give 3-D files, or one 4-D file alone")
        if image.shape != first.shape or not same_place(image.affine, first.affine, first.shape):
            raise InputError(image.source, f"has another shape or position than {first.source}", "register the images first")
    if times is None:
        images = _sorted_by_time(images)
        keys = [k for k in images[0].times if all(k in image.times for image in images)]
        times = {k: np.concatenate([image.times[k] for image in images]) for k in keys}
    else:
        check_seconds(times, first.source)
    return dataclasses.replace(
        first,
        data=np.concatenate([image.data for image in images]),
        times=dict(times),
        repairs=tuple(dict.fromkeys(r for image in images for r in image.repairs)),
        source=", ".join(image.source for image in images),
    )


def write_nifti(
    path: str | Path,
    data: NDArray[Any],
    affine: NDArray[np.floating],
    *,
    sidecar: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write an image atomically; equal input gives equal bytes.

    Parameters
    ----------
    path
        Ends in ``.nii`` or ``.nii.gz``.
    data
        (z, y, x) or (contrast, z, y, x); any real or complex type that NIfTI knows, written unscaled. Booleans become uint8.
    affine
        (4, 4), voxel index (x, y, z, 1) to RAS+ metres; written in millimetres as sform, and as qform where it has no shear.
    sidecar
        Content of the JSON file beside it; both appear together. Where it is None, a sidecar of the image that is replaced is
        removed: its times would be taken for those of the new image.
    force
        Whether existing files may be replaced.

    Raises
    ------
    InputError
        If the suffix, the axes or the data type do not fit.
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_file`.
    """
    path = Path(path)
    content = encode_nifti(path, data, affine)
    if sidecar is None:
        with atomic_files([path], stale=[sidecar_path(path)] if path.exists() else [], force=force) as (temporary,):
            temporary.write_bytes(content)
        return
    text = json_bytes(sidecar_path(path), dict(sidecar))
    with atomic_files([path, sidecar_path(path)], force=force) as (temporary, beside):
        temporary.write_bytes(content)
        beside.write_bytes(text)


def encode_nifti(path: Path, data: NDArray[Any], affine: NDArray[np.floating]) -> bytes:
    """Content of the file that :func:`write_nifti` writes to `path`.

    Raises
    ------
    InputError
        See :func:`write_nifti`.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(path, "does not end in .nii or .nii.gz", "choose such a name")
    if data.ndim not in (3, 4) or 0 in data.shape:
        raise InputError(path, f"cannot hold an array of shape {data.shape}", "give (z, y, x) or (contrast, z, y, x)")
    content = _encode(data.T if data.ndim == 3 else data.transpose(3, 2, 1, 0), checked_affine(affine, path), path)
    return gzip.compress(content, 6, mtime=0) if path.name.endswith(".gz") else content


def _encode(array: NDArray[Any], affine: NDArray[np.float64], path: Path) -> bytes:
    import nibabel

    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    millimetres = affine.copy()
    millimetres[:3] *= 1e3
    problem = f"cannot hold data of type {array.dtype} and shape {array.shape}"
    with foreign_errors(path, problem, "convert it to float32, or cut it", also=_nibabel_errors()):
        image = nibabel.Nifti1Image(array, millimetres, dtype=array.dtype)
        image.header.set_xyzt_units("mm")
        image.set_sform(millimetres, code=1)
        directions = millimetres[:3, :3] / np.linalg.norm(millimetres[:3, :3], axis=0)
        sheared = not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4)
        image.set_qform(millimetres, code=0 if sheared else 1, strip_shears=True)
        return bytes(image.to_bytes())


def _nibabel_errors() -> tuple[type[Exception], ...]:
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError, HeaderTypeError

    return ImageFileError, HeaderDataError, HeaderTypeError


def _image(content: bytes, header: NiftiHeader, path: Path) -> tuple[NDArray[Any], NDArray[np.float64], list[str]]:
    """Scaled data (contrast, z, y, x), affine in metres, and whether the two orientations of the header disagree."""
    import nibabel

    with foreign_errors(path, "is damaged NIfTI", also=_nibabel_errors()):
        kind = nibabel.Nifti2Image if content[4:8] == b"n+2\0" else nibabel.Nifti1Image
        image = kind.from_bytes(content)
        values = np.asanyarray(image.dataobj).reshape(header.shape)
        affine = np.array(image.affine, dtype=np.float64)
        both = [form for form, code in (image.get_sform(coded=True), image.get_qform(coded=True)) if code > 0]
    notes = _disagreement(both, header) if len(both) == 2 else []
    affine = checked_affine(affine, path)
    affine[:3] *= header.metres
    with np.errstate(over="ignore"):
        data = values.transpose(3, 2, 1, 0).astype(np.complex64 if header.is_complex else np.float32)
    if (infinite := np.isinf(data)).any():
        t, z, y, x = np.argwhere(infinite)[0].tolist()
        problem = "holds infinite values or values beyond the range of 32-bit numbers"
        raise InputError(path, f"{problem}, the first at x {x}, y {y}, z {z} of image {t + 1}", "rescale the image")
    if _are_rounded(values):
        notes.append("integers above 16777216 rounded to 32-bit numbers")
    return np.ascontiguousarray(data), affine, notes


def _are_rounded(values: NDArray[Any]) -> bool:
    """Whether integers do not fit into the 24 bits that a 32-bit number has for them."""
    if values.dtype.kind not in "iu" or values.itemsize < 4:
        return False
    large = values[(values > 1 << 24) | (values < -(1 << 24))]
    return bool((large.astype(np.float32).astype(np.float64) != large).any())


def _disagreement(forms: list[NDArray[np.float64]], header: NiftiHeader) -> list[str]:
    """A note where sform and qform put a corner of the image more than half a voxel apart."""
    x, y, z, _ = header.shape
    distance = apart(forms[0], forms[1], (z, y, x))
    if distance <= 0.5 * float(np.linalg.norm(forms[0][:3, :3], axis=0).min()):
        return []
    return [f"sform and qform disagree by up to {distance * header.metres * 1e3:.3g} mm, sform used"]


def _check_entities(files: list[Path]) -> None:
    """Echo, inversion and flip numbers in BIDS names must run from 1 without a gap."""
    for entity in ("echo", "inv", "flip"):
        numbers = {int(n) for f in files for e, n in _ENTITY.findall(f.name) if e == entity}
        missing = set(range(1, max(numbers, default=0) + 1)) - numbers
        if missing:
            raise InputError(files[0].parent, f"lacks {entity} {min(missing)} of {max(numbers)}", "add the missing file")


def _sorted_by_time(images: list[ImageSeries]) -> list[ImageSeries]:
    for key in ("te", "ti", "flip_angle", "tr"):
        values = [float(image.times[key][0]) if key in image.times else math.nan for image in images]
        if any(map(math.isnan, values)):
            if not all(map(math.isnan, values)):
                source = images[[math.isnan(v) for v in values].index(True)].source
                raise InputError(source, "has no sidecar with the time the other images state", "add it")
            continue
        if len(set(values)) == len(values):
            return [images[i] for i in np.argsort(values)]
    if len(images) == 1:
        return images
    raise InputError(images[0].source, "differs from the other images in no time", "add sidecars, or give the times")
