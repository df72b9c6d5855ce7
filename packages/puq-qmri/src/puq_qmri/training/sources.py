"""Fully sampled measurements of a user, one file at a time: coil images, coil maps, and the images they should lead to."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Complex64, Float

from medcore.errors import InputError
from medcore.io import recognise
from medcore.io.images import check_seconds
from medcore.io.kspace import KSpace
from medcore.io.npy import list_arrays, load_array
from puq_qmri.csm import espirit
from puq_qmri.inputs import MODEL_FOR, resolve_model
from puq_qmri.networks import NetworkSettings
from puq_qmri.operators.fft import centred_ifft
from puq_qmri.preparation import prepare
from puq_qmri.scans import plain_files, raw_files
from puq_qmri.slices import SlicedScan, open_slices, typical_slice
from puq_qmri.training.settings import MeasuredData

_FOREGROUND = 0.1
"""Part of the bright signal above which a voxel counts."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A fully sampled measurement.

    Attributes
    ----------
    coil_images
        complex64 (contrast, coil, z, y, x).
    csm
        complex64 (coil, z, y, x), unit root sum of squares where there is signal.
    reference
        complex64 (contrast, z, y, x): the coil images combined with the maps.
    mask
        bool (z, y, x): voxels with signal.
    slices
        Numbers of the slices with signal.
    times
        Seconds of each contrast by kind; empty where not known.
    model
        Signal model of the times, or None.
    noise
        complex64 (coil, sample), or None.
    path
        The file.
    """

    coil_images: Complex64[np.ndarray, "contrast coil z y x"]
    csm: Complex64[np.ndarray, "coil z y x"]
    reference: Complex64[np.ndarray, "contrast z y x"]
    mask: Bool[np.ndarray, "z y x"]
    slices: tuple[int, ...]
    times: dict[str, Float[np.ndarray, " contrast"]]
    model: str | None
    noise: Complex64[np.ndarray, "coil sample"] | None
    path: Path


def list_sources(folder: Path) -> list[Path]:
    """Files of a folder that may be measurements, by name; others are passed over.

    Raises
    ------
    InputError
        If it is no folder, or holds none.
    """
    if not folder.is_dir():
        raise InputError(folder, "is not a folder", "give the folder of fully sampled measurements as data.measured.folder")
    files, found = plain_files(folder), raw_files(folder)
    for path in sorted({*files} - {*found}):
        _LOG.info("%s is no raw data and is passed over", path)
    if not found:
        raise InputError(
            folder, f"holds {len(files)} files, none of them raw data", "give ISMRMRD, fastMRI, cfl, twix or .npz files"
        )
    return found


def check_source(path: Path, settings: MeasuredData, network: NetworkSettings) -> tuple[int, int]:
    """Open a file, see whether it can be trained with, and tell the edges (y, x) of its images.

    Raises
    ------
    InputError
        If it is not fully sampled, or has too few contrasts or no times.
    """
    if is_pair(path):
        image, _, times = _pair(path, settings)
        _suits(path, len(image), times, network)
        return int(image.shape[-2]), int(image.shape[-1])
    kspace = _complete(path, typical_slice(_opened(path, settings)))
    _suits(path, kspace.n_contrasts, kspace.times, network)
    if network.layout == "subspace":
        resolve_model(None, kspace)
    return kspace.matrix[1], kspace.matrix[2]


def open_source(path: Path, settings: MeasuredData) -> Source:
    """Everything of a file: for k-space, coil maps by ESPIRiT from all of it, slice by slice where it was measured so.

    Raises
    ------
    InputError, NumericalError
        See :func:`check_source` and :func:`puq_qmri.csm.espirit`.
    """
    if is_pair(path):
        image, sens, times = _pair(path, settings)
        strength = np.sqrt((np.abs(sens) ** 2).sum(axis=0))
        csm = np.divide(sens, strength, out=np.zeros_like(sens), where=strength > 0)
        return _source(path, image[:, None] * sens, csm, image * strength, times, None)
    scan = _opened(path, settings)
    slices = [_complete(path, s) for s in scan if s.measured.any()] if isinstance(scan, SlicedScan) else [_complete(path, scan)]
    if len({s.data.shape for s in slices}) > 1:
        raise InputError(path, f"has slices of shapes {sorted({s.data.shape for s in slices})}", "give slices of one protocol")
    maps = [espirit(s) for s in slices]
    seen = [centred_ifft(torch.from_numpy(s.data)).numpy() for s in slices]
    combined = [(csm.conj()[None] * images).sum(axis=1) for csm, images in zip(maps, seen, strict=True)]
    coil_images, csm, reference = (np.concatenate(parts, axis=-3) for parts in (seen, maps, combined))
    return _source(path, coil_images, csm, reference, slices[0].times, slices[0].noise)


def is_pair(path: Path) -> bool:
    """Whether it is an ``.npz`` file with ``image`` and ``sens``."""
    return recognise(path) == "npz" and {"image", "sens"} <= {name for name, _, _ in list_arrays(path)}


def _source(
    path: Path,
    coil_images: np.ndarray,
    csm: np.ndarray,
    reference: np.ndarray,
    times: dict[str, np.ndarray],
    noise: np.ndarray | None,
) -> Source:
    size = np.sqrt((np.abs(reference) ** 2).mean(axis=0))
    bright = float(np.quantile(size, 0.98))
    mask = (size > _FOREGROUND * bright) & (csm != 0).any(axis=0)
    filled = mask.reshape(len(mask), -1).mean(axis=1)
    slices = tuple(int(z) for z in np.flatnonzero(filled > 0.25 * filled.max())) if bright > 0 else ()
    if not slices:
        raise InputError(path, "holds no signal", "leave it out of the folder")
    varying = [k for k in MODEL_FOR if k in times and len(np.unique(times[k])) > 1]
    return Source(
        coil_images=coil_images.astype(np.complex64),
        csm=csm.astype(np.complex64),
        reference=reference.astype(np.complex64),
        mask=mask,
        slices=slices,
        times=dict(times),
        model=MODEL_FOR[varying[0]] if len(varying) == 1 else None,
        noise=noise,
        path=path,
    )


def _opened(path: Path, settings: MeasuredData) -> KSpace | SlicedScan:
    return open_slices(path, {k: t for k, t in (("te", settings.te), ("ti", settings.ti)) if t})


def _complete(path: Path, measured: KSpace) -> KSpace:
    """White k-space without oversampling, every point of it measured."""
    kspace = prepare(measured)
    if not kspace.is_cartesian:
        raise InputError(path, "was measured along a trajectory", "give k-space on a grid, fully sampled")
    if kspace.mask is not None and not kspace.mask.all():
        part = 100 * kspace.sampled_fraction
        raise InputError(path, f"is not fully sampled ({part:.3g} % of the grid was measured)", "give fully sampled measurements")
    return kspace


def _suits(path: Path, n_contrasts: int, times: dict[str, np.ndarray], network: NetworkSettings) -> None:
    if network.layout == "channels" and n_contrasts != network.contrasts:
        raise InputError(
            path, f"has {n_contrasts} contrasts, the network {network.contrasts}", f"set network.contrasts={n_contrasts}"
        )
    if network.layout != "subspace":
        return
    if not any(k in times for k in MODEL_FOR):
        raise InputError(path, "states no echo or inversion times", "set data.measured.te or data.measured.ti, in seconds")
    if n_contrasts < network.components:
        raise InputError(
            path,
            f"has {n_contrasts} contrasts for {network.components} temporal components",
            f"set network.components={n_contrasts}, or measure more contrasts",
        )


def _pair(path: Path, settings: MeasuredData) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Images (contrast, z, y, x), maps (coil, z, y, x) and times of an ``.npz`` file."""
    names = {name for name, _, _ in list_arrays(path)}
    arrays = {name: load_array(path, key=name) for name in ("image", "sens")}
    for name, values in arrays.items():
        if values.dtype.kind != "c" or values.ndim not in {3, 4} or 0 in values.shape:
            raise InputError(
                path, f"has {name} of type {values.dtype} and shape {values.shape}", "give complex (n, y, x) or (n, z, y, x)"
            )
        if not np.isfinite(values).all():
            raise InputError(path, f"has NaN or infinity in {name}", "repair it, or leave the file out")
        arrays[name] = values.astype(np.complex64) if values.ndim == 4 else values.astype(np.complex64)[:, None]
    image, sens = arrays["image"], arrays["sens"]
    if image.shape[1:] != sens.shape[1:]:
        raise InputError(path, f"has image of shape {image.shape} and sens of shape {sens.shape}", "give maps of the image's shape")
    times = {k: np.asarray(t, np.float64) for k, t in (("te", settings.te), ("ti", settings.ti)) if t}
    for key in () if times else ("te", "ti"):
        if f"{key}_s" in names:
            times[key] = load_array(path, key=f"{key}_s").astype(np.float64).ravel()
    check_seconds(times, path)
    for key, values in times.items():
        if len(values) != len(image):
            raise InputError(path, f"has {len(image)} images and {len(values)} {key}", "give one time for each image")
    return image, sens, times
