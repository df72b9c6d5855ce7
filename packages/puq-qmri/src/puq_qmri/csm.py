"""Coil sensitivity maps from the measurement itself."""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Complex64
from medcore.errors import NumericalError
from medcore.io.kspace import KSpace
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)


def espirit(
    kspace: KSpace, *, calibration_width: int = 24, kernel_width: int = 6, threshold: float = 0.02, crop: float = 0.8
) -> Complex64[np.ndarray, "coil z y x"]:
    """ESPIRiT maps (Uecker et al. 2014, doi 10.1002/mrm.24751), computed by sigpy, from the contrast with most signal.

    Parameters
    ----------
    kspace
        The measurement. The centre of k-space must be fully sampled over the calibration region; along a trajectory the region
        is gridded with density compensation first.
    calibration_width
        Edge length of the calibration region in samples.
    kernel_width
        Edge length of the kernel.
    threshold
        Singular values below this part of the largest are left out.
    crop
        Voxels whose eigenvalue is smaller have no coil signal; their maps are zero.

    Raises
    ------
    NumericalError
        If the calibration region holds no signal.
    """
    import sigpy.mri.app

    if kspace.csm is not None:
        return kspace.csm
    calibration = _calibration(kspace, calibration_width)
    if not np.any(calibration):
        raise NumericalError(kspace.source, "has no signal in the centre of k-space", "give coil sensitivity maps")
    spatial = [n for n in kspace.matrix if n > 1]
    width = min(calibration_width, *spatial)
    squeezed = calibration.reshape(len(calibration), *spatial)
    app = sigpy.mri.app.EspiritCalib(
        squeezed, calib_width=width, thresh=threshold, kernel_width=min(kernel_width, width // 2), crop=crop, show_pbar=False
    )
    maps = np.asarray(app.run())
    _LOG.info("ESPIRiT maps of %d coils, %.0f %% of the voxels have signal", len(maps), 100 * np.any(maps, axis=0).mean())
    return maps.reshape(len(maps), *kspace.matrix).astype(np.complex64)


def _calibration(kspace: KSpace, width: int) -> NDArray[np.complex64]:
    """Gridded k-space (coil, z, y, x) of the contrast with most signal at the centre."""
    if kspace.traj is None:
        centre = tuple(slice(max(n // 2 - width // 2, 0), n // 2 - width // 2 + width) for n in kspace.matrix)
        energy = [float((np.abs(c[(slice(None), *centre)]) ** 2).sum()) for c in kspace.data]
        return np.asarray(kspace.data[int(np.argmax(energy))])
    from puq_qmri.dcf import pipe_menon

    energy = [float((np.abs(c) ** 2).sum()) for c in kspace.data]
    best = int(np.argmax(energy))
    traj = kspace.traj[best : best + 1]
    weights = pipe_menon(traj, kspace.matrix)
    return _gridded(kspace.data[best] * weights, traj, kspace.matrix)


def _gridded(samples: NDArray[np.complex64], traj: NDArray[np.float32], matrix: tuple[int, int, int]) -> NDArray[np.complex64]:
    """Density-compensated adjoint by finufft, then back to the grid by FFT; coils first."""
    import finufft

    grid = matrix[-traj.shape[-1] :]
    axes = [np.ascontiguousarray(traj[0, ..., d].ravel()) for d in range(len(grid))]
    flat = np.ascontiguousarray(samples.reshape(len(samples), -1).astype(np.complex64))
    transform = finufft.nufft2d1 if len(grid) == 2 else finufft.nufft3d1
    images = transform(*axes, flat, grid, eps=1e-5, isign=1).reshape(len(samples), *matrix)
    shifted = np.fft.ifftshift(images, axes=(-3, -2, -1))
    return np.fft.fftshift(np.fft.fftn(shifted, axes=(-3, -2, -1), norm="ortho"), axes=(-3, -2, -1)).astype(np.complex64)
