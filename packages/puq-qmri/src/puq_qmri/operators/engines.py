"""Libraries that compute the non-uniform Fourier transform: finufft, cufinufft and torchkbnufft behind one interface.

finufft: Barnett et al. 2019, doi 10.1137/18M120885X. cufinufft: Shih et al. 2021, doi 10.1109/IPDPSW52791.2021.00105. torchkbnufft:
Muckley et al. 2020, https://github.com/mmuckley/torchkbnufft.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from medcore.errors import InputError

_FORWARD, _ADJOINT = 2, 1
"""finufft's names of the two directions."""
_MEASURE, _ESTIMATE = 0, 64
"""FFTW's ways to plan."""
_SINGLE_LIMIT = 1.2e-7
"""Single precision cannot reach less, and finufft would warn."""
_LEAST_FOR_KB = 3
"""Voxels along an axis so that the doubled grid holds the six neighbours between which torchkbnufft interpolates."""
_GPU_BATCH = 1 << 28
"""Bytes of oversampled grids that one plan may hold on a GPU."""
_GPU_PLANS = 1 << 32
"""Bytes of oversampled grids that all plans of an operator may hold on a GPU; beyond, contrasts take turns."""


class Engine(ABC):
    """Both directions of the transform of :mod:`puq_qmri.operators.nufft`, for one image grid."""

    differentiates_points: ClassVar[bool]
    """Whether the gradient with respect to the points is as exact as the transform."""

    @abstractmethod
    def forward(
        self, images: Complex[Tensor, "contrast coil *grid"], points: Float[Tensor, "contrast point dim"]
    ) -> Complex[Tensor, "contrast coil point"]:
        """Samples of images."""

    @abstractmethod
    def adjoint(
        self, samples: Complex[Tensor, "contrast coil point"], points: Float[Tensor, "contrast point dim"]
    ) -> Complex[Tensor, "contrast coil *grid"]:
        """The adjoint of :meth:`forward`."""


class PlannedEngine(Engine):
    """A library of the finufft family: one plan kept for each contrast, direction and precision, as long as the points stay the same.

    Parameters
    ----------
    grid
        Shape of an image.
    n_coils
        Images of a contrast, transformed by one call.
    scale
        Factor of both directions.
    eps
        Relative accuracy asked for.
    """

    differentiates_points: ClassVar[bool] = True

    def __init__(self, grid: tuple[int, ...], n_coils: int, scale: float, eps: float) -> None:
        self.grid, self.n_coils, self.scale, self.eps = grid, n_coils, scale, eps
        self._plans: dict[tuple[Any, ...], Any] = {}
        self._planned: tuple[int, int] | None = None

    def forward(
        self, images: Complex[Tensor, "contrast coil *grid"], points: Float[Tensor, "contrast point dim"]
    ) -> Complex[Tensor, "contrast coil point"]:
        """Samples of images."""
        self._forget_other_points(points)
        return self._execute(_FORWARD, images.detach().resolve_conj().resolve_neg(), points.detach(), (points.shape[1],))

    def adjoint(
        self, samples: Complex[Tensor, "contrast coil point"], points: Float[Tensor, "contrast point dim"]
    ) -> Complex[Tensor, "contrast coil *grid"]:
        """The adjoint of :meth:`forward`."""
        self._forget_other_points(points)
        return self._execute(_ADJOINT, samples.detach().resolve_conj().resolve_neg(), points.detach(), self.grid)

    def _forget_other_points(self, points: Tensor) -> None:
        # The version counts changes in place; a view shares it with its base, an inference tensor has none.
        version = 0 if points.is_inference() else points._version  # noqa: SLF001 - torch has no public name for it
        identity = (points.data_ptr(), version)
        if identity != self._planned:
            self._plans.clear()
            self._planned = identity

    @abstractmethod
    def _execute(self, direction: int, values: Tensor, points: Tensor, shape: tuple[int, ...]) -> Tensor: ...

    def _options(self, direction: int, dtype: torch.dtype) -> dict[str, Any]:
        """What all plans share."""
        single = dtype == torch.complex64
        return {
            "n_trans": self.n_coils,
            "eps": max(self.eps, _SINGLE_LIMIT) if single else self.eps,
            "isign": -1 if direction == _FORWARD else 1,
            "dtype": "complex64" if single else "complex128",
        }

    def _axes(self, points: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """Coordinates of one contrast's points, each axis on its own."""
        return list(points.to(torch.float32 if dtype == torch.complex64 else torch.float64).T.contiguous())


class Finufft(PlannedEngine):
    """finufft on the CPU; tensors of another device are copied there and back.

    Planning by measurement makes FFTs of the grid oversampled by 2 several times faster and costs 0.3 to 1 s once for each grid
    size, as much as about 25 transforms of eight 128 x 128 images. At an oversampling of 1.25 the estimated plans are within a
    fifth of the measured ones. As many threads as torch uses.
    """

    def _execute(self, direction: int, values: Tensor, points: Tensor, shape: tuple[int, ...]) -> Tensor:
        source = values.cpu().contiguous().numpy()
        result = np.empty((*values.shape[:2], *shape), dtype=source.dtype)
        for contrast, (given, out) in enumerate(zip(source, result, strict=True)):
            plan = self._plan(contrast, direction, values.dtype, points)
            # finufft has no batch axis for a single transform.
            single = self.n_coils == 1
            plan.execute(given[0] if single else given, out=out[0] if single else out)
            # As real numbers, and while the cache still holds them: several times faster than the complex product at the end.
            flat = out.view(out.real.dtype)
            flat *= self.scale
        return torch.from_numpy(result).to(values.device)

    def _plan(self, contrast: int, direction: int, dtype: torch.dtype, points: Tensor) -> Any:
        key = (contrast, direction, dtype)
        if key not in self._plans:
            import finufft

            small = self.eps >= 1e-4 and len(self.grid) == 2
            plan = finufft.Plan(
                direction,
                self.grid,
                **self._options(direction, dtype),
                nthreads=torch.get_num_threads(),
                # Torch decides about threads; finufft would write to standard error that two threads of one core are many.
                showwarn=0,
                upsampfac=1.25 if small else 2.0,
                fftw=_ESTIMATE if small else _MEASURE,
            )
            plan.setpts(*(axis.numpy() for axis in self._axes(points[contrast].cpu(), dtype)))
            self._plans[key] = plan
        return self._plans[key]


class Cufinufft(PlannedEngine):
    """cufinufft on the CUDA device of the tensors, in the stream that is current: nothing is copied to the host."""

    def _execute(self, direction: int, values: Tensor, points: Tensor, shape: tuple[int, ...]) -> Tensor:
        source = values.contiguous()
        result = torch.empty((*values.shape[:2], *shape), dtype=values.dtype, device=values.device)
        stream = torch.cuda.current_stream(values.device).cuda_stream
        for contrast, (given, out) in enumerate(zip(source, result, strict=True)):
            self._plan(contrast, direction, values.dtype, points, stream).execute(given, out=out)
        result *= self.scale
        return result

    def _plan(self, contrast: int, direction: int, dtype: torch.dtype, points: Tensor, stream: int) -> Any:
        key = (contrast, direction, dtype, stream)
        if key not in self._plans:
            import cufinufft

            oversampled = math.prod(2 * n for n in self.grid) * dtype.itemsize
            batch = max(1, min(self.n_coils, _GPU_BATCH // oversampled))
            if (len(self._plans) + 1) * batch * oversampled > _GPU_PLANS:
                self._plans.clear()
            plan = cufinufft.Plan(
                direction,
                self.grid,
                **self._options(direction, dtype),
                upsampfac=2.0,
                gpu_maxbatchsize=batch,
                gpu_device_id=points.device.index,
                gpu_stream=stream,
            )
            plan.setpts(*self._axes(points[contrast], dtype))
            self._plans[key] = plan
        return self._plans[key]


class TorchKbNufft(Engine):
    """torchkbnufft, in pure torch on the device of the tensors.

    Contrasts are transformed one after the other: given several trajectories at once, it takes its first axis for the one of
    the trajectories, which is easily mistaken where numbers of contrasts and coils agree.
    """

    differentiates_points: ClassVar[bool] = False

    def __init__(self, grid: tuple[int, ...], scale: float) -> None:
        if min(grid) < _LEAST_FOR_KB:
            problem = f"cannot interpolate a grid of {'x'.join(map(str, grid))}"
            raise InputError("NUFFT back end torchkbnufft", problem, f"give {_LEAST_FOR_KB} voxels or more an axis, or use finufft")
        with warnings.catch_warnings():
            # torchkbnufft 1.5.2 still uses torch.jit.script, about which torch warns.
            warnings.simplefilter("ignore", DeprecationWarning)
            import torchkbnufft
        self.scale = scale
        self._forward = torchkbnufft.KbNufft(im_size=grid)
        self._adjoint = torchkbnufft.KbNufftAdjoint(im_size=grid)

    def forward(
        self, images: Complex[Tensor, "contrast coil *grid"], points: Float[Tensor, "contrast point dim"]
    ) -> Complex[Tensor, "contrast coil point"]:
        """Samples of images."""
        return self._each(self._forward, images, points)

    def adjoint(
        self, samples: Complex[Tensor, "contrast coil point"], points: Float[Tensor, "contrast point dim"]
    ) -> Complex[Tensor, "contrast coil *grid"]:
        """The adjoint of :meth:`forward`."""
        return self._each(self._adjoint, samples, points)

    def _each(self, transform: Any, values: Tensor, points: Tensor) -> Tensor:
        module = transform.to(device=values.device, dtype=values.dtype)
        omega = points.detach().to(values.device, values.real.dtype).transpose(1, 2)
        results = [module(one[None], along)[0] for one, along in zip(values.resolve_conj(), omega, strict=True)]
        return torch.stack(results) * self.scale
