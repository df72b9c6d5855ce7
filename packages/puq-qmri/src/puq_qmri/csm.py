r"""Coil sensitivity maps from the measurement itself: ESPIRiT.

Patches of the fully sampled centre of k-space, all coils together, lie in a space of low dimension. In the image domain the
projection onto it is a matrix ``G_r`` between coils for each voxel, and the sensitivities are its eigenvector with eigenvalue 1
(Uecker et al. 2014, doi 10.1002/mrm.24751). Patches of all contrasts span the same space, so they are pooled: a measurement
with few central lines in each contrast still gives many patches. Every contrast gives what it has; one without a centre gives nothing.
"""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Bool, Complex64, Complex128, Float32
from numpy.typing import NDArray
from scipy.linalg import eigh

from medcore.errors import InputError, NumericalError
from medcore.io.kspace import KSpace
from puq_qmri.dcf import pipe_menon

_LOG = logging.getLogger(__name__)
_POWER_STEPS = 8


def espirit(
    kspace: KSpace,
    *,
    dcf: NDArray[np.float32] | None = None,
    calibration_width: int = 24,
    kernel_width: int = 6,
    threshold: float = 0.02,
    crop: float = 0.8,
) -> Complex64[np.ndarray, "coil z y x"]:
    """ESPIRiT maps, their coils' root sum of squares 1, or 0 in voxels without signal; maps that the measurement brings win.

    The phase is relative to the combination of coils with most signal, which varies slowly.

    Parameters
    ----------
    kspace
        The measurement. Along a trajectory the centre is gridded with density compensation first.
    dcf
        Density compensation (contrast, spoke, sample) of a trajectory; :func:`~puq_qmri.dcf.pipe_menon` if not given.
    calibration_width
        Largest edge length of the calibration region in samples; less where less of the centre is fully sampled.
    kernel_width
        Largest edge length of a patch; at most half of the region.
    threshold
        Singular values below this part of the largest are left out.
    crop
        Voxels whose eigenvalue is smaller have no coil signal; their maps are zero.

    Raises
    ------
    InputError
        If no contrast has four fully sampled points around the centre along each axis, or a width is less than the smallest usable.
    NumericalError
        If the calibration region holds no signal.
    """
    if kspace.csm is not None:
        return np.asarray(kspace.csm)
    if calibration_width < 6 or kernel_width < 2:
        raise InputError("ESPIRiT", f"has calibration width {calibration_width}, kernel {kernel_width}", "give at least 6 and 2")
    live = kspace.measured
    if not live.any():
        raise NumericalError(kspace.source, "has no signal in the centre of k-space", "give coil sensitivity maps")
    regions = [_region(kspace, c, calibration_width) if live[c] else None for c in range(kspace.n_contrasts)]
    largest = max((r for r in regions if r), key=np.prod, default=None)
    if largest is None:
        smallest = "x".join(map(str, _smallest(kspace.matrix)))
        raise InputError(
            kspace.source,
            f"has a centre of k-space of less than {smallest} fully sampled points (z, y, x) in each contrast",
            "measure four central lines or more, or give coil sensitivity maps",
        )
    kernel = tuple(min(kernel_width, (n + 1) // 2) for n in largest)
    # Of a smaller centre than a patch nothing can be learnt.
    regions = [r if r and all(n >= k for n, k in zip(r, kernel, strict=True)) else None for r in regions]
    calibration = _calibration(kspace, regions, dcf)
    if not any(np.any(block) for block in calibration):
        raise NumericalError(kspace.source, "has no signal in the centre of k-space", "give coil sensitivity maps")
    correlation = _kernel_correlation(_signal_space(calibration, kernel, threshold))
    maps, values = _leading_vectors(correlation, kspace.matrix)
    reference = np.tensordot(_virtual_coil(calibration).conj(), maps, axes=1)
    maps *= np.exp(-1j * np.angle(reference))
    maps[:, values < crop] = 0
    _LOG.info(
        "ESPIRiT maps of %d coils from %s samples, %.0f %% of the voxels have signal",
        len(maps),
        largest,
        100 * np.mean(values >= crop),
    )
    return maps.astype(np.complex64)


def _smallest(matrix: tuple[int, int, int]) -> list[int]:
    return [min(4, n) for n in matrix]


def _region(kspace: KSpace, contrast: int, width: int) -> tuple[int, int, int] | None:
    """Edge lengths of the largest block around the centre that a contrast has measured, at most `width`; None if it is too small."""
    smallest = _smallest(kspace.matrix)
    sizes = [min(width, n) for n in kspace.matrix]
    if kspace.mask is not None:
        measured = np.asarray(kspace.mask[contrast])
        if not measured[_centre(kspace.matrix, smallest)].all():
            return None
        sizes = [_longest(measured, smallest, axis, limit) for axis, limit in enumerate(sizes)]
        while not measured[_centre(kspace.matrix, sizes)].all():
            # Only where the sampled centre is no box; the smallest block ends the loop.
            axis = int(np.argmax([n - least for n, least in zip(sizes, smallest, strict=True)]))
            sizes[axis] -= 1
    depth, height, length = sizes
    return depth, height, length


def _longest(measured: Bool[np.ndarray, "z y x"], smallest: list[int], axis: int, limit: int) -> int:
    """Edge length along one axis to which the smallest block can grow."""
    for length in range(limit, smallest[axis], -1):
        sizes = [length if a == axis else n for a, n in enumerate(smallest)]
        if measured[_centre(measured.shape, sizes)].all():
            return length
    return smallest[axis]


def _centre(matrix: tuple[int, ...], sizes: list[int] | tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(n // 2 - s // 2, n // 2 - s // 2 + s) for n, s in zip(matrix, sizes, strict=True))


def _calibration(
    kspace: KSpace, regions: list[tuple[int, int, int] | None], dcf: NDArray[np.float32] | None
) -> list[Complex128[np.ndarray, "coil _z _y _x"]]:
    """The central block of every contrast that has one, gridded where necessary."""
    places = [None if region is None else _centre(kspace.matrix, region) for region in regions]
    if kspace.traj is None:
        return [np.asarray(d[:, *p], np.complex128) for d, p in zip(kspace.data, places, strict=True) if p]
    weights = pipe_menon(kspace.traj, kspace.matrix) if dcf is None else dcf
    each = zip(kspace.data, weights, kspace.traj, places, strict=True)
    return [_gridded(s * w, t, kspace.matrix)[:, *p].astype(np.complex128) for s, w, t, p in each if p]


def _gridded(
    samples: Complex64[np.ndarray, "coil spoke sample"], traj: Float32[np.ndarray, "spoke sample dim"], matrix: tuple[int, int, int]
) -> Complex64[np.ndarray, "coil z y x"]:
    """Adjoint transform of weighted samples by finufft, then back to the grid by FFT."""
    import finufft

    grid = matrix[-traj.shape[-1] :]
    points = [np.ascontiguousarray(traj[..., d].ravel()) for d in range(len(grid))]
    flat = np.ascontiguousarray(samples.reshape(len(samples), -1), dtype=np.complex64)
    transform = finufft.nufft2d1 if len(grid) == 2 else finufft.nufft3d1
    images = transform(*points, flat, grid, eps=1e-5, isign=1, nthreads=1).reshape(len(samples), *matrix)
    axes = (-3, -2, -1)
    spectrum = np.fft.fftn(np.fft.ifftshift(images, axes=axes), axes=axes) / np.prod(matrix)
    gridded: NDArray[np.complex64] = np.fft.fftshift(spectrum, axes=axes).astype(np.complex64)
    return gridded


def _signal_space(
    calibration: list[Complex128[np.ndarray, "coil _z _y _x"]], kernel: tuple[int, ...], threshold: float
) -> Complex128[np.ndarray, "coil kz ky kx coil kz ky kx"]:
    """Projection onto the space of the patches."""
    coils = len(calibration[0])
    size = coils * int(np.prod(kernel))
    covariance = np.zeros((size, size), np.complex128)
    for contrast in calibration:
        windows = np.lib.stride_tricks.sliding_window_view(contrast, kernel, axis=(1, 2, 3))
        patches = np.moveaxis(windows, (0, 4, 5, 6), (0, 1, 2, 3)).reshape(size, -1)
        covariance += patches @ patches.conj().T
    # Only what is kept is computed, several times faster than all; a Rayleigh quotient never exceeds the largest eigenvalue.
    trial = covariance[:, int(np.argmax(covariance.diagonal().real))]
    for _ in range(_POWER_STEPS):
        trial = covariance @ (trial / np.linalg.norm(trial))
    largest = float((trial.conj() @ covariance @ trial).real / (trial.conj() @ trial).real)
    values, vectors = eigh(covariance, subset_by_value=(0.99 * threshold**2 * largest, np.inf), driver="evr")
    kept = vectors[:, values > threshold**2 * values[-1]]
    projection: NDArray[np.complex128] = kept @ kept.conj().T
    return projection.reshape(coils, *kernel, coils, *kernel)


def _kernel_correlation(
    projection: Complex128[np.ndarray, "coil kz ky kx coil kz ky kx"],
) -> Complex128[np.ndarray, "coil coil dz dy dx"]:
    """Sum of the projection over pairs of patch positions with the same difference; difference 0 in the middle."""
    coils, kernel = projection.shape[0], projection.shape[1:4]
    result = np.zeros((coils, coils, *(2 * n - 1 for n in kernel)), np.complex128)
    for place in np.ndindex(*kernel):
        shifted = tuple(slice(n - 1 - p, 2 * n - 1 - p) for n, p in zip(kernel, place, strict=True))
        result[:, :, *shifted] += np.moveaxis(projection[:, :, :, :, :, *place], -1, 1)
    result /= np.prod(kernel)
    return result


def _leading_vectors(
    correlation: Complex128[np.ndarray, "coil coil dz dy dx"], matrix: tuple[int, int, int]
) -> tuple[Complex128[np.ndarray, "coil z y x"], Float32[np.ndarray, "z y x"]]:
    """Leading eigenvector and eigenvalue of ``G_r`` for every voxel, one row of the image after the other to save memory."""
    depth, height, _ = matrix
    to_z, to_y, to_x = (_phases(n, m) for n, m in zip(matrix, correlation.shape[2:], strict=True))
    maps = np.empty((len(correlation), *matrix), np.complex128)
    values = np.empty(matrix, np.float32)
    for z in range(depth):
        plane = np.tensordot(correlation, to_z[z], axes=(2, 0))
        for y in range(height):
            row = np.tensordot(plane, to_y[y], axes=(2, 0)) @ to_x.T
            found, vectors = np.linalg.eigh(np.moveaxis(row, -1, 0).astype(np.complex64))
            values[z, y], maps[:, z, y] = found[:, -1], vectors[:, :, -1].T
    return maps, values


def _phases(n: int, width: int) -> Complex128[np.ndarray, "voxel difference"]:
    """``exp(2 pi i d (r - n // 2) / n)`` for all voxels r and differences d around 0."""
    phases: NDArray[np.complex128] = np.exp(2j * np.pi / n * np.outer(np.arange(n) - n // 2, np.arange(width) - width // 2))
    return phases


def _virtual_coil(calibration: list[Complex128[np.ndarray, "coil _z _y _x"]]) -> Complex128[np.ndarray, " coil"]:
    """The combination of coils with most signal."""
    flat = np.concatenate([block.reshape(len(block), -1) for block in calibration], axis=1)
    leading: NDArray[np.complex128] = np.linalg.eigh(flat @ flat.conj().T)[1][:, -1]
    return leading
