"""K-space from every kind of file that medcore reads, one contrast after the other where each has a file of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcore.errors import InputError, SeveralSlicesError
from medcore.io import ImageSeries, KSpace, recognise
from medcore.io import open as open_any
from medcore.io.bart import base_of, is_cfl, read_cfl
from medcore.io.geometry import same_place
from medcore.io.limits import check_size
from medcore.io.npy import VOXEL, list_arrays, load_array, read_npy_kspace
from puq_qmri.operators.fft import centred_fft

KSPACE, IMAGE, SENS = "kspace", "image", "sens"
RAW_KINDS = {"ismrmrd", "fastmri", "cfl", "twix", "npz", "npy"}
"""Kinds of files that may hold k-space."""
_SLICED = ("ismrmrd", "fastmri", "twix")
_NPZ_TIMES = {"te_s": "te", "ti_s": "ti", "te": "te", "ti": "ti"}


def raw_files(folder: Path) -> list[Path]:
    """Files of a folder that may hold k-space, by name; what lies beside the data of a cfl belongs to it."""
    return [p for p in plain_files(folder) if recognise(p) in RAW_KINDS]


def plain_files(folder: Path) -> list[Path]:
    """Files of a folder by name, without hidden ones and headers of cfl files."""
    return [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".") and p.suffix != ".hdr"]


def read_scan(path: str | Path, *, slice_index: int | None = None) -> KSpace | ImageSeries:
    """K-space of one file, told by its content; images where it holds nothing else.

    ISMRMRD, fastMRI and Siemens twix as their readers give them. A BART pair is taken as k-space; pairs called like it with ``_traj`` and
    ``_csm`` are its trajectory and its coil maps. Of an ``.npz`` file the array ``kspace``, or the only one; or, where it holds ``image``
    (contrast, y, x) and ``sens`` (coil, y, x), the k-space that these coils would have measured of these images, without noise. Its times
    are ``te_s`` or ``ti_s`` in seconds.

    Parameters
    ----------
    path
        The file.
    slice_index
        Which slice, where there are several.

    Raises
    ------
    SeveralSlicesError
        If it holds several slices and none was chosen, or one that is not there.
    InputError
        If it cannot be read.
    """
    kind = recognise(path)
    try:
        if kind == "cfl":
            base = base_of(path)
            beside = {name: f"{base}_{name}" for name in ("traj", "csm") if is_cfl(f"{base}_{name}")}
            return read_cfl(path, kind="kspace", slice_index=slice_index, **beside)  # type: ignore[arg-type]
        if kind in _SLICED:
            return open_any(path, slice_index=slice_index)
    except SeveralSlicesError as error:
        problem = error.problem.replace("slice_index is None", "none was chosen").replace("slice_index is", "chosen was")
        raise SeveralSlicesError(error.what, problem, "choose one with --slice", error.slices) from error
    if slice_index not in (None, 0):
        raise InputError(path, f"holds one slice (0), chosen was {slice_index}", "leave --slice out")
    return _read_npz(path) if kind == "npz" else open_any(path)


def _read_npz(path: str | Path) -> KSpace | ImageSeries:
    names = {name: shape for name, shape, _ in list_arrays(path)}
    if {IMAGE, SENS} <= set(names):
        found = _measured_by(path, names)
    elif KSPACE in names:
        found = read_npy_kspace(path, key=KSPACE)
    else:
        return open_any(path)
    times = {key: load_array(path, key=name) for name, key in _NPZ_TIMES.items() if name in names}
    return dataclasses.replace(found, times=times)


def _measured_by(path: str | Path, shapes: dict[str, tuple[int, ...]]) -> KSpace:
    """Fully sampled, noise-free samples of ``image`` seen by ``sens``."""
    image, sens = shapes[IMAGE], shapes[SENS]
    if len(image) != 3 or len(sens) != 3 or image[1:] != sens[1:] or 0 in image or 0 in sens:
        raise InputError(path, f"has image of shape {image} and sens of shape {sens}", "give (contrast, y, x) and (coil, y, x)")
    shape = (image[0], sens[0], 1, *image[1:])
    check_size(path, shape, 8, Path(path).stat().st_size)
    images, maps = (load_array(path, key=key).astype(np.complex64)[:, None] for key in (IMAGE, SENS))
    data = np.empty(shape, np.complex64)
    for samples, one in zip(data, images, strict=True):
        samples[...] = centred_fft(torch.from_numpy(maps * one)).numpy()
    _, height, width = image
    notes = (
        "k-space computed of image and sens, fully sampled and without noise",
        "no field of view in the file, 1 mm voxels assumed",
    )
    return KSpace(
        data=data, csm=maps, matrix=(1, height, width), fov=(VOXEL, height * VOXEL, width * VOXEL), repairs=notes, source=str(path)
    )


def merge_contrasts(scans: Sequence[KSpace]) -> KSpace:
    """One measurement of the contrasts of several files, in their order.

    Noise scans are put one after the other; coil maps are those of the first file that has some. Times are kept where all files state
    them.

    Parameters
    ----------
    scans
        Measurements of one place with the same coils, matrix and kind of sampling.

    Raises
    ------
    InputError
        If they differ in more than their contrasts.
    """
    first, *others = scans
    if not others:
        return first
    for other in others:
        _check_same(first, other)
    keys = [key for key in first.times if all(key in other.times for other in others)]
    noise = [k.noise for k in scans if k.noise is not None]
    masks = [np.ones(k.data[:, 0].shape, bool) if k.mask is None else k.mask for k in scans]
    sampled = first.is_cartesian and any(k.mask is not None for k in scans)
    return KSpace(
        data=np.concatenate([k.data for k in scans]),
        matrix=first.matrix,
        fov=first.fov,
        mask=np.concatenate(masks) if sampled else None,
        traj=None if first.is_cartesian else np.concatenate([_points(k) for k in scans]),
        times={key: np.concatenate([k.times[key] for k in scans]) for key in keys},
        noise=np.concatenate(noise, axis=1) if noise else None,
        csm=next((k.csm for k in scans if k.csm is not None), None),
        affine=first.affine,
        field_strength=first.field_strength,
        meta=first.meta,
        repairs=tuple(dict.fromkeys(note for k in scans for note in k.repairs)),
        source=f"{first.source} and {len(others)} more",
    )


def _points(kspace: KSpace) -> NDArray[Any]:
    assert kspace.traj is not None  # noqa: S101 - for the type checker
    return kspace.traj


def _check_same(first: KSpace, other: KSpace) -> None:
    facts = [
        {
            "coils": k.n_coils,
            "matrix": k.matrix,
            "sampling": "a grid" if k.is_cartesian else f"a trajectory of {k.data.shape[2:]} samples",
        }
        for k in (first, other)
    ]
    differing = [key for key in facts[0] if facts[0][key] != facts[1][key]]
    if differing:
        key = differing[0]
        raise InputError(
            other.source, f"has {key} {facts[1][key]}, {first.source} has {facts[0][key]}", "give files of one protocol"
        )
    if not (np.allclose(first.fov, other.fov, rtol=1e-3) and same_place(first.affine, other.affine, first.matrix)):
        raise InputError(other.source, f"lies elsewhere in space than {first.source}", "give files of one slice or slab")
