"""Libraries that compute the non-uniform Fourier transform: finufft and torchkbnufft behind one interface.

finufft: Barnett et al. 2019, doi 10.1137/18M120885X. torchkbnufft: Muckley et al. 2020, https://github.com/mmuckley/torchkbnufft.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

_FORWARD, _ADJOINT = 2, 1
"""finufft's names of the two directions."""
_MEASURE, _ESTIMATE = 0, 64
"""FFTW's ways to plan."""


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


class Finufft(Engine):
    """finufft with one plan kept for each contrast, direction and precision, as long as the points stay the same.

    Planning by measurement makes FFTs of the grid oversampled by 2 several times faster and costs 0.3 to 1 s once for each grid
    size, as much as about 25 transforms of eight 128 x 128 images. At an oversampling of 1.25 the estimated plans are within a
    fifth of the measured ones. As many threads as torch uses.
    """

    differentiates_points: ClassVar[bool] = True

    def __init__(self, grid: tuple[int, ...], n_coils: int, scale: float, eps: float) -> None:
        self.grid, self.n_coils, self.scale, self.eps = grid, n_coils, scale, eps
        self._plans: dict[tuple[int, int, torch.dtype], Any] = {}
        self._planned: tuple[int, int] | None = None

    def forward(
        self, images: Complex[Tensor, "contrast coil *grid"], points: Float[Tensor, "contrast point dim"]
    ) -> Complex[Tensor, "contrast coil point"]:
        """Samples of images."""
        return self._execute(_FORWARD, images, points, (points.shape[1],))

    def adjoint(
        self, samples: Complex[Tensor, "contrast coil point"], points: Float[Tensor, "contrast point dim"]
    ) -> Complex[Tensor, "contrast coil *grid"]:
        """The adjoint of :meth:`forward`."""
        return self._execute(_ADJOINT, samples, points, self.grid)

    def _execute(self, direction: int, values: Tensor, points: Tensor, shape: tuple[int, ...]) -> Tensor:
        # The version counts changes in place; a view shares it with its base, an inference tensor has none.
        version = 0 if points.is_inference() else points._version  # noqa: SLF001 - torch has no public name for it
        identity = (points.data_ptr(), version)
        if identity != self._planned:
            self._plans.clear()
            self._planned = identity
        source = values.detach().resolve_conj().resolve_neg().cpu().contiguous()
        result = np.empty((*values.shape[:2], *shape), dtype=np.complex64 if values.dtype == torch.complex64 else np.complex128)
        for contrast, given in enumerate(source):
            if not given.any():
                result[contrast] = 0
                continue
            plan = self._plan(contrast, direction, values.dtype, points)
            # finufft has no batch axis for a single transform.
            single = self.n_coils == 1
            plan.execute((given[0] if single else given).numpy(), out=result[contrast, 0] if single else result[contrast])
        result *= self.scale
        return torch.from_numpy(result).to(values.device)

    def _plan(self, contrast: int, direction: int, dtype: torch.dtype, points: Tensor) -> Any:
        key = (contrast, direction, dtype)
        if key not in self._plans:
            import finufft

            single = dtype == torch.complex64
            small = self.eps >= 1e-4 and len(self.grid) == 2
            plan = finufft.Plan(
                direction,
                self.grid,
                n_trans=self.n_coils,
                # Single precision cannot reach less, and finufft would warn.
                eps=max(self.eps, 1.2e-7) if single else self.eps,
                isign=-1 if direction == _FORWARD else 1,
                dtype="complex64" if single else "complex128",
                nthreads=torch.get_num_threads(),
                upsampfac=1.25 if small else 2.0,
                fftw=_ESTIMATE if small else _MEASURE,
            )
            plan.setpts(*self._axes(points[contrast], np.float32 if single else np.float64))
            self._plans[key] = plan
        return self._plans[key]

    @staticmethod
    def _axes(points: Tensor, dtype: type[np.floating[Any]]) -> list[NDArray[Any]]:
        values = points.detach().cpu().numpy().astype(dtype)
        return [np.ascontiguousarray(values[:, d]) for d in range(values.shape[1])]


class TorchKbNufft(Engine):
    """torchkbnufft, in pure torch on the device of the tensors.

    Contrasts are transformed one after the other: given several trajectories at once, it takes its first axis for the one of
    the trajectories, which is easily mistaken where numbers of contrasts and coils agree.
    """

    differentiates_points: ClassVar[bool] = False

    def __init__(self, grid: tuple[int, ...], scale: float) -> None:
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
