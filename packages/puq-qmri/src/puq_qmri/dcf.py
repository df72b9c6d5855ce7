r"""Density compensation: a weight for each sample of a trajectory, scaled so that they sum to the number of image points.

With that scale the density-compensated adjoint has the amplitude of the image, whatever the number of samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray


def pipe_menon(traj: NDArray[np.float32], matrix: Sequence[int], *, iterations: int = 30) -> Float32[np.ndarray, "contrast spoke sample"]:
    """Iterative weights of Pipe and Menon 1999 (doi 10.1002/(SICI)1522-2594(199901)41:1<179::AID-MRM25>3.0.CO;2-V), by sigpy.

    Parameters
    ----------
    traj
        (contrast, spoke, sample, dim) in radians per sample.
    matrix
        Image matrix (z, y, x).
    iterations
        Number of iterations.
    """
    import sigpy.mri

    grid = tuple(matrix)[-traj.shape[-1] :]
    coordinates = traj / (2 * np.pi) * np.asarray(grid, np.float32)
    weights = [sigpy.mri.pipe_menon_dcf(c, img_shape=grid, max_iter=iterations, show_pbar=False) for c in coordinates]
    return _scaled(np.abs(np.stack(weights)), matrix)


def radial_ramp(traj: NDArray[np.float32], matrix: Sequence[int]) -> Float32[np.ndarray, "contrast spoke sample"]:
    """The analytic weights of evenly spread straight spokes, ``|k|``; the centre is shared by all spokes."""
    radius = np.linalg.norm(traj, axis=-1)
    spacing = np.linalg.norm(np.diff(traj[:, :, :2], axis=2), axis=-1).mean()
    return _scaled(np.maximum(radius, spacing / (2 * traj.shape[1])), matrix)


def _scaled(weights: NDArray[np.floating], matrix: Sequence[int]) -> Float32[np.ndarray, "contrast spoke sample"]:
    total = weights.sum(axis=(1, 2), keepdims=True)
    return (weights * (float(np.prod(matrix)) / total)).astype(np.float32)
