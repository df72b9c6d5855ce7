"""Scans with their true images: simulated ones with the truth beside them, and fully sampled ones, undersampled afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex64
from torch import Tensor

from medcore.errors import ConfigError, InputError
from medcore.io import read_nifti, recognise
from medcore.io.json_object import parse_object
from medcore.provenance import RUN_FILE
from puq_qmri.inputs import open_scan, resolve_model
from puq_qmri.networks.variance import local_mean
from puq_qmri.results import TRUE_IMAGES, TRUE_PHASE, read_maps, truth_folder
from puq_qmri.scans import RAW_KINDS, raw_files
from puq_qmri.training.data import Scan
from puq_qmri.training.measured import undersampled
from puq_qmri.training.settings import MeasuredData
from puq_qmri.training.sources import Source, open_source

_ALIGNED_OVER = 9
"""Voxels along each axis over which a phase that coil maps leave open is averaged."""


@dataclass(frozen=True, kw_only=True)
class HeldOutSettings:
    """How fully sampled measurements are undersampled; simulated ones are taken as they are.

    Attributes
    ----------
    acceleration
        Number of lines of the grid over lines measured, or Nyquist number of spokes over spokes.
    trajectory
        ``cartesian``, ``jittered`` or ``radial``.
    snr
        Signal-to-noise ratio of noise that is added; 0 adds none.
    slices
        Most slices of a volume that are taken, from its middle outwards.
    seed
        Of sampling and noise.
    """

    acceleration: float = 4.0
    trajectory: Literal["cartesian", "jittered", "radial"] = "cartesian"
    snr: float = 0.0
    slices: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.slices < 1 or not 0 <= self.snr < np.inf or not 1 <= self.acceleration < np.inf:
            raise ConfigError(
                "held-out scans",
                f"have acceleration {self.acceleration:g}, snr {self.snr:g}, {self.slices} slices",
                "give an acceleration of at least 1, a snr of 0 or more and at least one slice",
            )


def list_scans(paths: Sequence[Path]) -> list[Path]:
    """Files of raw data among files and folders, by name.

    Raises
    ------
    InputError
        If a path does not exist, a file is no raw data, or there is none.
    """
    found = []
    for path in paths:
        if not path.exists():
            raise InputError(path, "does not exist", "check the path")
        if path.is_file():
            if recognise(path) not in RAW_KINDS:
                raise InputError(path, "is no raw data", "give scans, or folders of scans")
            found.append(path)
            continue
        found += raw_files(path)
    if not found:
        raise InputError(paths[0] if paths else "scans", "holds no raw data", "give scans with their truth, or fully sampled scans")
    return found


def scan_seeds(paths: Sequence[Path], settings: HeldOutSettings) -> list[int]:
    """Seeds that made the scans: those of simulations, and that of the undersampling where it took place."""
    found: list[int] = []
    for path in paths:
        record = truth_folder(path) / RUN_FILE
        stated = parse_object(record.read_bytes(), str(record)).get("seed") if record.is_file() else settings.seed
        found += [stated] if isinstance(stated, int) and stated not in found else []
    return found


def held_out_scans(paths: Sequence[Path], settings: HeldOutSettings) -> Iterator[Scan]:
    """Scans with their truth, one by one.

    A scan with a folder of its truth beside it, as ``puq-qmri simulate`` writes them, is taken as it was measured. Any other must be
    fully sampled: each of its slices is undersampled, and what all samples give is its truth, noise of the measurement included.
    The coil maps of the truth are not handed on: they are estimated again, as in use.

    Raises
    ------
    InputError
        If a scan has no truth and is not fully sampled, or a truth does not fit.
    """
    for number, path in enumerate(paths):
        if truth_folder(path).is_dir():
            yield _simulated(path)
            continue
        measured = MeasuredData(
            folder=path.parent,
            trajectories=(settings.trajectory,),
            acceleration=(settings.acceleration,) * 2,
            snr=(settings.snr,) * 2 if settings.snr else (),
        )
        source = open_source(path, measured)
        middle = np.median(source.slices)
        chosen = sorted(source.slices, key=lambda z: abs(z - middle))[: settings.slices]
        for z in sorted(chosen):
            rng = np.random.default_rng([settings.seed, number, z])
            yield undersampled(_slice(source, z), measured, rng)


def _slice(source: Source, z: int) -> Source:
    one = (..., slice(z, z + 1), slice(None), slice(None))
    return dataclasses.replace(
        source, coil_images=source.coil_images[one], csm=source.csm[one], reference=source.reference[one], mask=source.mask[one]
    )


def _simulated(path: Path) -> Scan:
    folder = truth_folder(path)
    kspace = open_scan(path)
    if not (folder / TRUE_PHASE).is_file():
        raise InputError(folder, f"lacks {TRUE_PHASE}", "simulate the scan again with this version")
    magnitude, phase = (read_nifti(folder / name).data for name in (TRUE_IMAGES, TRUE_PHASE))
    wanted = (kspace.n_contrasts, *kspace.matrix)
    for name, values in ((TRUE_IMAGES, magnitude), (TRUE_PHASE, phase)):
        if values.shape != wanted:
            raise InputError(folder / name, f"has shape {values.shape}, the scan {wanted}", "keep each truth beside its scan")
    maps = read_maps(folder)
    inside = np.isfinite(maps.maps.get("M0map", next(iter(maps.maps.values()))))
    return Scan(
        kspace=kspace,
        csm=np.ones((kspace.n_coils, *kspace.matrix), np.complex64),
        truth=(magnitude * np.exp(1j * phase)).astype(np.complex64),
        mask=inside,
        model=str(resolve_model(None, kspace)),
    )


def aligned(
    truth: Complex64[Tensor, "contrast z y x"], images: Complex64[Tensor, "contrast z y x"]
) -> Complex64[Tensor, "contrast z y x"]:
    """The truth turned by the smooth phase, common to all contrasts, in which the images differ from it.

    Coil maps are known but for a phase in each voxel, and so are images. The mean product of images and truth over contrasts and a
    neighbourhood tells it; errors of single voxels and contrasts stay.
    """
    product = (images * truth.conj()).sum(dim=0, keepdim=True)
    mean = torch.complex(*(local_mean(part, _ALIGNED_OVER) for part in (product.real, product.imag)))
    return truth * torch.where(mean != 0, mean, 1).sgn()
