r"""Coil sensitivity maps from the measurement itself: ESPIRiT.

Patches of the fully sampled centre of k-space, all coils together, lie in a space of low dimension. In the image domain the
projection onto it is a matrix ``G_r`` between coils for each voxel, and the sensitivities are its eigenvector with eigenvalue 1
(Uecker et al. 2014, doi 10.1002/mrm.24751). Patches of all contrasts span the same space, so they are pooled: a measurement
with few central lines in each contrast still gives many patches.
"""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Bool, Complex64, Complex128, Float32
from numpy.typing import NDArray

from medcore.errors import InputError, NumericalError
from medcore.io.kspace import KSpace
from puq_qmri.dcf import pipe_menon

_LOG = logging.getLogger(__name__)


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
        If less than four samples around the centre are fully sampled along an axis, or a width is less than the smallest usable.
    NumericalError
        If the calibration region holds no signal.
    """
    if kspace.csm is not None:
        return np.asarray(kspace.csm)
    if calibration_width < 6 or kernel_width < 2:
        raise InputError("ESPIRiT", f"has calibration width {calibration_width}, kernel {kernel_width}", "give at least 6 and 2")
    region = _region(kspace, calibration_width)
    calibration = _calibration(kspace, region, dcf)
    if not np.any(calibration):
        raise NumericalError(kspace.source, "has no signal in the centre of k-space", "give coil sensitivity maps")
    kernel = tuple(min(kernel_width, (n + 1) // 2) for n in region)
    correlation = _kernel_correlation(_signal_space(calibration, kernel, threshold))
    maps, values = _leading_vectors(correlation, kspace.matrix)
    reference = np.tensordot(_virtual_coil(calibration).conj(), maps, axes=1)
    maps *= np.exp(-1j * np.angle(reference))
    maps[:, values < crop] = 0
    _LOG.info(
        "ESPIRiT maps of %d coils from %s samples, %.0f %% of the voxels have signal",
        len(maps),
        region,
        100 * np.mean(values >= crop),
    )
    return maps.astype(np.complex64)


def _region(kspace: KSpace, width: int) -> tuple[int, int, int]:
    """Edge lengths of the largest block around the centre that every contrast has measured, at most `width`."""
    smallest = [min(4, n) for n in kspace.matrix]
    sizes = [min(width, n) for n in kspace.matrix]
    if kspace.mask is not None:
        measured = np.asarray(kspace.mask.all(axis=0))
        if not measured[_centre(kspace.matrix, smallest)].all():
            raise InputError(
                kspace.source,
                f"has a centre of k-space of less than {'x'.join(map(str, smallest))} fully sampled points (z, y, x)",
                "measure four central lines or more, or give coil sensitivity maps",
            )
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
    kspace: KSpace, region: tuple[int, int, int], dcf: NDArray[np.float32] | None
) -> Complex128[np.ndarray, "contrast coil z y x"]:
    """The central block of every contrast, gridded where necessary."""
    block = _centre(kspace.matrix, region)
    if kspace.traj is None:
        return np.asarray(kspace.data[:, :, *block], np.complex128)
    weights = pipe_menon(kspace.traj, kspace.matrix) if dcf is None else dcf
    each = [_gridded(s * w, t, kspace.matrix)[:, *block] for s, w, t in zip(kspace.data, weights, kspace.traj, strict=True)]
    return np.stack(each).astype(np.complex128)


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
    calibration: Complex128[np.ndarray, "contrast coil z y x"], kernel: tuple[int, ...], threshold: float
) -> Complex128[np.ndarray, "coil kz ky kx coil kz ky kx"]:
    """Projection onto the space of the patches."""
    coils, size = calibration.shape[1], calibration.shape[1] * int(np.prod(kernel))
    covariance = np.zeros((size, size), np.complex128)
    for contrast in calibration:
        windows = np.lib.stride_tricks.sliding_window_view(contrast, kernel, axis=(1, 2, 3))
        patches = np.moveaxis(windows, (0, 4, 5, 6), (0, 1, 2, 3)).reshape(size, -1)
        covariance += patches @ patches.conj().T
    values, vectors = np.linalg.eigh(covariance)
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


def _virtual_coil(calibration: Complex128[np.ndarray, "contrast coil z y x"]) -> Complex128[np.ndarray, " coil"]:
    """The combination of coils with most signal."""
    flat = np.moveaxis(calibration, 1, 0).reshape(calibration.shape[1], -1)
    leading: NDArray[np.complex128] = np.linalg.eigh(flat @ flat.conj().T)[1][:, -1]
    return leading
