r"""What is done to a measurement before it is reconstructed: whitening, less field of view, fewer coils, fewer samples.

None of these steps invents a sample. Partial Fourier and asymmetric echoes stay as they were measured, a mask that is not symmetric:
the reconstructions solve for the image from what there is. ``cg-sense`` then assumes nothing about the phase, and has less resolution
along that axis; ``subspace`` estimates the phase that the contrasts share from the centre of k-space, and fills the missing side as
far as that phase is smooth.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
from jaxtyping import Bool, Complex64, Complex128, Int
from numpy.typing import NDArray

from medcore.errors import ConfigError, InputError, NumericalError
from medcore.io.kspace import KSpace
from puq_qmri.trajectory import cartesian_mask
from puq_qmri.uncertainty import whiten

_LOG = logging.getLogger(__name__)
_SAME_LENGTH = 1e-3
"""Fields of view that differ by less than this part are the same."""


def prepare(
    kspace: KSpace,
    *,
    csm: Complex64[np.ndarray, "coil z y x"] | None = None,
    n_coils: int | None = None,
    keep_oversampling: bool = False,
) -> KSpace:
    """The measurement as reconstructions take it: white noise, the field of view that was asked for, and few enough coils.

    Parameters
    ----------
    kspace
        As it was read.
    csm
        Coil maps of the whitened coils on the grid of the measurement; they take part in every step.
    n_coils
        Compress to so many virtual coils; None or 0 keeps the coils.
    keep_oversampling
        Whether to keep what the file states as oversampling along axes of a grid.

    Raises
    ------
    InputError, NumericalError
        As :func:`~puq_qmri.uncertainty.whiten`, :func:`remove_oversampling` and :func:`compress_coils`.
    """
    prepared = whiten(kspace)
    if csm is not None:
        prepared = dataclasses.replace(prepared, csm=csm)
    if not keep_oversampling:
        prepared = remove_oversampling(prepared)
    return compress_coils(prepared, n_coils) if n_coils else prepared


def compress_coils(kspace: KSpace, n_coils: int | None = None, *, energy: float | None = None) -> KSpace:
    """Virtual coils: the combinations of coils that hold most of the signal.

    The principal components of the coil axis over all samples of all contrasts (Buehrer et al. 2007, doi 10.1002/mrm.21237; Huang et
    al. 2008, doi 10.1016/j.mri.2007.04.010), after whitening, without which a coil with much noise would count as signal. Their rows
    are orthonormal, so that noise stays white and keeps its level; noise scan and coil maps are transformed alike. ``meta`` says how
    many coils there were and which part of the energy is kept. Compression of its own for each place along the readout, which needs
    still fewer coils, is not done.

    Parameters
    ----------
    kspace
        The measurement.
    n_coils
        Number of virtual coils.
    energy
        Instead of a number: as few as hold this part of the energy of the samples, noise included.

    Raises
    ------
    ConfigError
        If neither or both are given, there are fewer coils than asked for, or the part is none.
    NumericalError
        If there is no signal, or whitening fails.
    """
    if (n_coils is None) == (energy is None):
        raise ConfigError("coil compression", f"has n_coils={n_coils} and energy={energy}", "give one of them")
    if n_coils is not None and not 1 <= n_coils <= kspace.n_coils:
        raise ConfigError(
            "coil compression", f"is to give {n_coils} virtual coils of {kspace.n_coils} coils", f"choose 1 to {kspace.n_coils}"
        )
    if energy is not None and not 0 < energy <= 1:
        raise ConfigError("coil compression", f"is to keep {energy:g} of the energy", "give a part above 0 and at most 1")
    white = whiten(kspace)
    values, vectors = np.linalg.eigh(_coil_covariance(white))
    if not values[-1] > 0:
        raise NumericalError(kspace.source, "has no signal to choose virtual coils by", "leave coil compression out")
    parts = np.cumsum(values[::-1].clip(min=0)) / values.clip(min=0).sum()
    wanted = n_coils or min(int(np.searchsorted(parts, (energy or 1) - 1e-12)) + 1, kspace.n_coils)
    rows = vectors[:, ::-1][:, :wanted].conj().T
    _LOG.info("%d virtual coils of %d hold %.2f %% of the energy", wanted, kspace.n_coils, 100 * parts[wanted - 1])
    return dataclasses.replace(
        white,
        data=_combine(rows, white.data, 1),
        noise=None if white.noise is None else _combine(rows, white.noise, 0),
        csm=None if white.csm is None else _combine(rows, white.csm, 0),
        meta={**white.meta, "coils_measured": kspace.n_coils, "energy_kept": float(parts[wanted - 1])},
    )


def _coil_covariance(kspace: KSpace) -> Complex128[np.ndarray, "coil coil"]:
    """Sum over all samples, in units of the largest one so that squares of any scanner's scale stay within range."""
    covariance = np.zeros((kspace.n_coils, kspace.n_coils), np.complex128)
    unit = float(np.abs(kspace.data).max()) or 1.0
    for contrast in kspace.data:
        flat = contrast.reshape(kspace.n_coils, -1).astype(np.complex128) / unit
        covariance += flat @ flat.conj().T
    return covariance


def _combine(rows: NDArray[np.complex128], array: NDArray[Any], axis: int) -> NDArray[np.complex64]:
    combined = np.moveaxis(np.tensordot(rows.astype(np.complex64), array, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(combined, dtype=np.complex64)


def remove_oversampling(kspace: KSpace, matrix: tuple[int, int, int] | None = None) -> KSpace:
    """A smaller field of view with the same voxels, cut out around its centre.

    On a grid the samples along an axis are transformed, cut and transformed back, which is exact where the axis was sampled fully:
    readouts always are, unless the echo is asymmetric. Noise stays white and keeps its level. Along a trajectory there is nothing to
    transform: samples and trajectory stay as they are and only the matrix changes, with a factor on samples and noise that keeps the
    values of the images. What lies outside the smaller matrix must then be empty, or it will disturb the rest.

    Readers leave oversampling in place unless they are told otherwise: ISMRMRD and fastMRI state the field of view to be
    reconstructed, twix the oversampling of the readout; one that was removed on reading is not removed again.

    Parameters
    ----------
    kspace
        The measurement.
    matrix
        The matrix (z, y, x) to be left. By default what the file states, along the fully sampled axes of a grid; trajectories are left
        alone then.

    Raises
    ------
    InputError
        If `matrix` is larger than that of the measurement, or smaller along an axis of a grid that was not sampled fully.
    """
    full = _complete_axes(kspace)
    if matrix is None:
        wanted = _stated_matrix(kspace)
        matrix = _triple([w if complete else n for w, n, complete in zip(wanted, kspace.matrix, full, strict=True)])
    if np.shape(matrix) != (3,) or any(not 1 <= w <= n for w, n in zip(matrix, kspace.matrix, strict=True)):
        raise InputError(kspace.source, f"has the matrix {kspace.matrix}, {matrix} is wanted", "give (z, y, x), none larger")
    changed = [axis for axis in range(3) if matrix[axis] < kspace.matrix[axis]]
    if kspace.is_cartesian and any(not full[axis] for axis in changed):
        raise InputError(
            kspace.source,
            f"was not sampled fully along {'zyx'[next(a for a in changed if not full[a])]}, of which {matrix} of {kspace.matrix} are "
            "wanted",
            "keep that axis as it is",
        )
    if not changed:
        return kspace
    start = [n // 2 - w // 2 for n, w in zip(kspace.matrix, matrix, strict=True)]
    place = tuple(slice(s, s + w) for s, w in zip(start, matrix, strict=True))
    affine = kspace.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start[::-1]
    fields: dict[str, Any] = {
        "matrix": _triple(matrix),
        "fov": tuple(length * w / n for length, w, n in zip(kspace.fov, matrix, kspace.matrix, strict=True)),
        "affine": affine,
        "csm": None if kspace.csm is None else np.ascontiguousarray(kspace.csm[:, *place]),
        "meta": _without_oversampling(kspace, matrix),
    }
    if kspace.is_cartesian:
        fields |= _cut(kspace, changed, place)
    else:
        factor = np.float32(np.sqrt(np.prod(kspace.matrix) / np.prod(matrix)))
        fields |= {"data": kspace.data * factor, "noise": None if kspace.noise is None else kspace.noise * factor}
    return dataclasses.replace(kspace, **fields)


def _complete_axes(kspace: KSpace) -> list[bool]:
    """Whether each axis (z, y, x) of a grid was sampled wholly or not at all everywhere; never along a trajectory."""
    if not kspace.is_cartesian:
        return [False, False, False]
    mask = kspace.mask
    return [mask is None or bool((mask.all(axis=a + 1) == mask.any(axis=a + 1)).all()) for a in range(3)]


def _stated_matrix(kspace: KSpace) -> tuple[int, int, int]:
    """The matrix that the file asks for, with the voxels that were measured."""
    try:
        lengths = np.asarray(kspace.meta.get("recon_fov", kspace.fov), np.float64)
        factor = float(kspace.meta.get("readout_oversampling", 1.0))
    except (TypeError, ValueError):
        return kspace.matrix
    if lengths.shape != (3,) or not (np.isfinite(lengths).all() and np.isfinite(factor)) or lengths.min() <= 0:
        return kspace.matrix
    ratios = np.clip(lengths / kspace.fov, 0, 1)
    if factor > 1:
        ratios[2] = min(ratios[2], 1 / factor)
    sizes = [max(1, round(n * r)) if r < 1 - _SAME_LENGTH else n for n, r in zip(kspace.matrix, ratios, strict=True)]
    return _triple(sizes)


def _without_oversampling(kspace: KSpace, matrix: tuple[int, int, int]) -> dict[str, Any]:
    meta = dict(kspace.meta)
    if isinstance(meta.get("readout_oversampling"), int | float):
        meta["readout_oversampling"] *= matrix[2] / kspace.matrix[2]
    return meta


def _cut(kspace: KSpace, axes: list[int], place: tuple[slice, ...]) -> dict[str, Any]:
    """Samples and mask on the grid of the smaller field of view; one coil of one contrast at a time, to save memory."""
    sizes = [s.stop - s.start for s in place]
    data = np.empty((*kspace.data.shape[:2], *sizes), np.complex64)
    for index in np.ndindex(data.shape[:2]):
        values = kspace.data[index]
        for axis in axes:
            profile = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(values, axis), axis=axis, norm="ortho"), axis)
            kept = profile[(slice(None),) * axis + (place[axis],)]
            values = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(kept, axis), axis=axis, norm="ortho"), axis)
        data[index] = values
    if kspace.mask is None:
        return {"data": data}
    # Along the axes that were cut the mask is the same everywhere.
    mask = np.ascontiguousarray(kspace.mask[:, *(slice(0, size) for size in sizes)])
    return {"data": data * mask[:, None], "mask": mask}


def _triple(values: Any) -> tuple[int, int, int]:
    depth, height, width = (int(v) for v in values)
    return depth, height, width


def undersample(kspace: KSpace, acceleration: float, *, seed: int = 0, centre_fraction: float = 0.08) -> KSpace:
    """A retrospective experiment: the measurement with fewer lines or spokes, others in each contrast.

    On a grid, random lines along x as :func:`~puq_qmri.trajectory.cartesian_mask` draws them, of those that were measured. Along a
    trajectory, one spoke of each of equally wide ranges of angle (of equally long stretches of the order measured, in three
    dimensions).

    Parameters
    ----------
    kspace
        The measurement.
    acceleration
        Lines of the grid over lines kept; or spokes measured over spokes kept.
    seed
        Of the random choice.
    centre_fraction
        Part of the lines around the centre that is always kept; without meaning along a trajectory.

    Raises
    ------
    InputError
        If the acceleration is below 1 or leaves too little, or a contrast would be left without a sample.
    """
    if kspace.is_cartesian:
        mask = cartesian_mask(kspace.n_contrasts, kspace.matrix, acceleration, centre_fraction=centre_fraction, seed=seed)
        if kspace.mask is not None:
            mask &= kspace.mask
        if not mask.reshape(len(mask), -1).any(axis=1).all():
            raise InputError(
                kspace.source, f"has a contrast without samples after an acceleration of {acceleration:g}", "choose a smaller one"
            )
        return dataclasses.replace(kspace, data=kspace.data * mask[:, None], mask=mask)
    assert kspace.traj is not None  # noqa: S101 - for the type checker
    spokes = kspace.data.shape[2]
    kept = round(spokes / acceleration) if acceleration >= 1 else 0
    if kept < 1:
        raise InputError("acceleration", f"is {acceleration:g}, which leaves {kept} of {spokes} spokes", "choose one of at least 1")
    generator = np.random.default_rng(seed)
    chosen = [np.sort([generator.choice(part) for part in np.array_split(_order(t), kept)]) for t in kspace.traj]
    data = np.stack([samples[:, which] for samples, which in zip(kspace.data, chosen, strict=True)])
    return dataclasses.replace(
        kspace, data=data, traj=np.stack([points[which] for points, which in zip(kspace.traj, chosen, strict=True)])
    )


def _order(traj: NDArray[np.float32]) -> Int[np.ndarray, " spoke"]:
    """Spokes by their angle in the plane; in three dimensions as they were measured."""
    if traj.shape[-1] == 3:
        return np.arange(len(traj))
    radius = np.linalg.norm(traj, axis=-1)
    outermost = np.take_along_axis(traj, radius.argmax(axis=1)[:, None, None], axis=1)[:, 0]
    angle = np.arctan2(outermost[:, 0], outermost[:, 1])
    through_centre: Bool[np.ndarray, " spoke"] = np.minimum(radius[:, 0], radius[:, -1]) > 0.5 * radius.max()
    return np.asarray(np.argsort(np.where(through_centre, angle % np.pi, angle % (2 * np.pi)), kind="stable"))
