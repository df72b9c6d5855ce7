"""K-space made from a fully sampled case: exact coil maps, no noise, other random lines in each contrast."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray

from medcore.errors import ConfigError, InputError
from medcore.io.kspace import KSpace
from puq_qmri.operators.fft import centred_fft
from puq_qmri.protocols.case import PaperCase

CENTRE_FRACTION = 0.08
_SEED_RANGE = 0xFFFFFF
_VOXEL = 1e-3
"""Metres: a case does not state its field of view."""


def line_masks(
    n_contrasts: int,
    n_coils: int,
    columns: int,
    acceleration: float,
    *,
    seed: int,
    centre_fraction: float = CENTRE_FRACTION,
) -> Bool[np.ndarray, "contrast column"]:
    """Which columns of k-space each contrast measures, drawn as in the published experiment.

    A centre of ``round(centre_fraction n)`` columns is always measured; of the others, as many as make ``floor(n / acceleration)``
    in all are drawn without replacement, each set of them as likely as any other. Every contrast has a seed of its own, drawn from
    `seed` in a list of as many as there are contrasts times coils, which the authors' program does too: the same seed gives the
    same lines (repository Haozhoong/PUQ, MIT licence).

    Raises
    ------
    ConfigError
        If the acceleration is below 1 or leaves less than the centre.
    """
    centre = round(columns * centre_fraction)
    wanted = int(columns / acceleration) if acceleration >= 1 else 0
    if wanted < max(1, centre):
        raise ConfigError(
            "--acceleration",
            f"is {acceleration:g}, which leaves {wanted} of {columns} lines with {centre} central ones",
            "choose a smaller one, at least 1",
        )
    first = (columns - centre + 1) // 2
    masks = np.zeros((n_contrasts, columns), bool)
    masks[:, first : first + centre] = True
    others = np.flatnonzero(~masks[0])
    seeds = np.random.default_rng(seed).choice(_SEED_RANGE, n_contrasts * n_coils)
    for mask, own in zip(masks, seeds, strict=False):
        mask[np.random.default_rng(own).choice(others, size=wanted - centre, replace=False)] = True
    return masks


def measure(case: PaperCase, *, acceleration: float = 6.0, seed: int | None = None) -> KSpace:
    """The measurement that the protocol makes of a case.

    Lines are chosen along the last axis. Samples are those of the case's images times its coil maps, which stay in the measurement.

    Parameters
    ----------
    case
        Fully sampled images.
    acceleration
        Columns of k-space over columns measured.
    seed
        Of the lines; by default the case's own.

    Raises
    ------
    ConfigError
        See :func:`line_masks`.
    InputError
        If a contrast is zero everywhere.
    """
    contrasts, height, width = case.image.shape
    if not case.image.reshape(contrasts, -1).any(axis=1).all():
        raise InputError(case.source, "has a contrast that is zero everywhere", "leave it out of image and te_s")
    chosen = case.seed if seed is None else seed
    masks = line_masks(contrasts, len(case.sens), width, acceleration, seed=chosen)
    mask = np.broadcast_to(masks[:, None, None, :], (contrasts, 1, height, width))
    data: NDArray[np.complex64] = np.empty((contrasts, len(case.sens), 1, height, width), np.complex64)
    for samples, image, kept in zip(data, case.image, mask, strict=True):
        samples[:] = (centred_fft(torch.from_numpy((case.sens * image)[:, None])) * torch.tensor(kept)).numpy()
    return KSpace(
        data=data,
        matrix=(1, height, width),
        fov=(_VOXEL, height * _VOXEL, width * _VOXEL),
        mask=np.ascontiguousarray(mask),
        times={"te": case.te},
        csm=np.ascontiguousarray(case.sens[:, None]),
        source=case.source,
    )
