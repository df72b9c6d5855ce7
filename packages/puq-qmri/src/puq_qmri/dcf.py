"""Density compensation: a weight for each sample of a trajectory, the area of k-space that the sample stands for.

The unit is the cell of the image's grid, so that on the grid's own points all weights are 1. ``A^H D A`` is then close to the
identity for smooth images: the density-compensated adjoint has the amplitude of the image, also where the trajectory leaves out
the corners of k-space or is undersampled outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from medcore.errors import InputError

_ESTIMATE = 64
"""FFTW's quick way to plan."""


def pipe_menon(
    traj: NDArray[np.float32], matrix: Sequence[int], *, iterations: int = 30
) -> Float32[np.ndarray, "contrast spoke sample"]:
    r"""Iterative weights of Pipe and Menon 1999 (doi 10.1002/(SICI)1522-2594(199901)41:1<179::AID-MRM25>3.0.CO;2-V).

    ``w <- w / (C * w)`` at the samples. The kernel ``C`` is the transform of a triangle of twice the field of view, the
    autocorrelation of the field of view, as Johnson and Pipe 2009 (doi 10.1002/mrm.21840) advise; it is positive, and the
    convolution is one adjoint and one forward transform by finufft. A sample without neighbours weighs 1, however large the
    gap around it.

    Parameters
    ----------
    traj
        (contrast, spoke, sample, dim) in radians per sample.
    matrix
        Image matrix (z, y, x).
    iterations
        Number of iterations.

    Raises
    ------
    InputError
        If there is no iteration.
    """
    if iterations < 1:
        raise InputError("iterations of density compensation", f"are {iterations}", "give at least 1")
    grid = tuple(matrix)[-traj.shape[-1] :]
    weights = np.ones(traj.shape[:3])
    for contrast, points in zip(weights, traj, strict=True):
        convolve = _Convolution(points.reshape(-1, len(grid)), grid)
        flat = contrast.reshape(-1)
        for _ in range(iterations):
            flat /= convolve(flat)
    return weights.astype(np.float32)


class _Convolution:
    """Convolution of weights with the kernel, from the points of one contrast to themselves; ``C(0) = 1``."""

    def __init__(self, points: NDArray[np.float32], grid: tuple[int, ...]) -> None:
        import finufft

        double = tuple(2 * n for n in grid)
        # Beyond its accuracy the result would not be positive; 1e-6 is far below any weight of interest.
        self._adjoint, self._forward = (
            finufft.Plan(kind, double, isign=sign, eps=1e-6, dtype="complex128", fftw=_ESTIMATE, nthreads=1)
            for kind, sign in ((1, 1), (2, -1))
        )
        axes = [np.ascontiguousarray(points[:, d].astype(np.float64)) for d in range(len(grid))]
        self._adjoint.setpts(*axes)
        self._forward.setpts(*axes)
        self._window = np.ones(double)
        for d, n in enumerate(grid):
            triangle = 1 - np.abs(np.arange(2 * n) - n) / n
            self._window *= (triangle / triangle.sum()).reshape([-1 if a == d else 1 for a in range(len(grid))])

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        image = self._adjoint.execute(weights.astype(np.complex128))
        result: NDArray[np.float64] = np.abs(self._forward.execute(image * self._window))
        return result


def radial_ramp(traj: NDArray[np.float32], matrix: Sequence[int]) -> Float32[np.ndarray, "contrast spoke sample"]:
    """The analytic weights of straight spokes through the centre, evenly spread over all angles.

    ``n`` spokes share the ring at radius ``|k|`` and width ``D``, the spacing of the samples, and cross it twice: the area is
    ``pi |k| D / n``. The centre counts as ``|k| = 2 D / pi^2``: the ramp filter sampled at ``D`` has that value at zero when its
    kernel ends at the edge of the field of view (Kak and Slaney 1988, section 3.3), so that the mean of the image is right.

    Raises
    ------
    InputError
        If the trajectory is not two-dimensional, or has spokes of one sample.
    """
    if traj.shape[-1] != 2 or traj.shape[2] < 2:
        raise InputError("radial trajectory", f"has shape {traj.shape}", "give (contrast, spoke, 2 or more samples, 2)")
    points = traj.astype(np.float64)
    spacing = np.linalg.norm(np.diff(points, axis=2), axis=-1).mean(axis=(1, 2))[:, None, None]
    area = np.pi * spacing * np.maximum(np.linalg.norm(points, axis=-1), 2 / np.pi**2 * spacing) / traj.shape[1]
    cell = (2 * np.pi) ** 2 / float(np.prod(matrix))
    weights: NDArray[np.float32] = (area / cell).astype(np.float32)
    return weights
