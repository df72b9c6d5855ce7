"""Which library computes a non-uniform Fourier transform, and whether transforms or a convolution make its normal operator."""

from __future__ import annotations

import functools
import importlib
import math

import torch

from medcore.errors import InputError, MissingExtraError
from puq_qmri.choices import BACKENDS, Backend
from puq_qmri.operators.engines import Cufinufft, Engine, Finufft, TorchKbNufft


@functools.cache
def has_cufinufft() -> bool:
    """Whether cufinufft can be imported; without a CUDA library its import fails."""
    try:
        importlib.import_module("cufinufft")
    except (ImportError, OSError):
        return False
    return True


def choose_backend(backend: str, device: torch.device) -> Backend:
    """The library meant by `backend` for tensors of `device`.

    ``auto`` is finufft on the CPU; on a CUDA device cufinufft where it is installed, else torchkbnufft; torchkbnufft elsewhere.

    Raises
    ------
    InputError
        If there is no such back end, or cufinufft is asked for on another device than a CUDA one.
    MissingExtraError
        If cufinufft is asked for and not installed.
    """
    if backend not in BACKENDS:
        raise InputError("NUFFT back end", f"is {backend!r}", f"choose one of {', '.join(BACKENDS)}")
    if backend == "auto":
        if device.type == "cpu":
            return "finufft"
        return "cufinufft" if device.type == "cuda" and has_cufinufft() else "torchkbnufft"
    if backend == "cufinufft":
        if device.type != "cuda":
            raise InputError(
                "NUFFT back end cufinufft",
                f"got a trajectory on {device}",
                "use a CUDA device (--device cuda), or the back end finufft",
            )
        if not has_cufinufft():
            raise MissingExtraError("cufinufft", "puq-qmri[cuda]", "NUFFT back end cufinufft")
    return next(name for name in BACKENDS if name == backend)


def make_engine(backend: Backend, grid: tuple[int, ...], n_coils: int, eps: float) -> Engine:
    """The chosen library, prepared for one image grid."""
    scale = math.prod(grid) ** -0.5
    if backend == "torchkbnufft":
        return TorchKbNufft(grid, scale)
    return (Cufinufft if backend == "cufinufft" else Finufft)(grid, n_coils, scale, eps)


def convolution_pays(backend: Backend, dim: int, samples_per_voxel: float, eps: float) -> bool:
    """Whether the normal operator is faster as a convolution than as two transforms.

    Measured with finufft on one core at 192 and 256 voxels an axis in 2-D and 64 in 3-D (``benchmarks/results/toeplitz.md``): at 1e-6
    the two transforms cost 1.1 to 1.3 convolutions at 0.05 samples a voxel, 1.7 to 1.8 at a quarter of a sample, 3.7 to 4.2 at one.
    They only win in 2-D below about 0.05 samples a voxel at an accuracy of 1e-4, where the oversampled grid is smaller. A convolution
    is never less accurate. On a GPU nothing was measured; there, and with torchkbnufft, which is far slower, it is always taken.
    """
    few = samples_per_voxel < 0.05 and eps >= 1e-4 and dim == 2
    return backend != "finufft" or not few
