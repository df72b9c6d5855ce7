r"""Non-uniform Fourier transform of images along a trajectory of their own for each contrast.

.. math:: y_{pcj} = (\prod n)^{-1/2} \sum_r x_{pcr} \exp(-i\, k_{pj} \cdot (r - \lfloor n/2 \rfloor))

with ``p`` the contrast, ``c`` the coil and ``k`` in radians per sample. The factor makes a trajectory on the grid's own points
the orthonormal FFT. Back ends: ``finufft`` (Barnett et al. 2019, doi 10.1137/18M120885X) with plans that are kept, and
``torchkbnufft`` (Muckley et al. 2020) in pure torch. Measured planning of the FFTs inside finufft is several times faster
than its default; it costs about a second once for each image size.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Complex, Float
from medcore.errors import InputError
from torch import Tensor

from puq_qmri.operators.base import LinearOperator

Backend = Literal["auto", "finufft", "torchkbnufft"]
BACKENDS = ("auto", "finufft", "torchkbnufft")
_FFTW_MEASURE = 0


def check_trajectory(traj: Float[Tensor, "..."]) -> None:
    """Refuse trajectories that are not finite radians per sample within [-pi, pi].

    Raises
    ------
    InputError
        With the offending extreme.
    """
    if traj.ndim != 4 or traj.shape[-1] not in (2, 3):
        raise InputError("trajectory", f"has shape {tuple(traj.shape)}", "give (contrast, spoke, sample, 2 or 3)")
    extreme = float(traj.detach().abs().max())
    if not np.isfinite(extreme) or extreme > np.pi * (1 + 1e-5):
        raise InputError("trajectory", f"has values up to {extreme:g}", "give radians per sample in [-pi, pi)")


class Nufft(LinearOperator):
    """The transform above from (contrast, coil, z, y, x) to (contrast, coil, spoke, sample).

    Parameters
    ----------
    traj
        (contrast, spoke, sample, dim) in radians per sample, last axis ordered like the spatial axes: (y, x) or (z, y, x).
        If it requires a gradient, so does the result (back end finufft only).
    matrix
        Image matrix (z, y, x); z = 1 for two dimensions.
    n_coils
        Size of the coil axis.
    eps
        Relative accuracy asked of finufft.
    backend
        ``auto`` is finufft.
    """

    def __init__(
        self,
        traj: Float[Tensor, "contrast spoke sample dim"],
        matrix: Sequence[int],
        n_coils: int,
        *,
        eps: float = 1e-6,
        backend: Backend = "auto",
    ) -> None:
        check_trajectory(traj)
        if backend not in BACKENDS:
            raise InputError("NUFFT back end", f"is {backend!r}", f"choose one of {', '.join(BACKENDS)}")
        if backend == "torchkbnufft" and traj.requires_grad:
            raise InputError("NUFFT back end torchkbnufft", "gives no gradient of the trajectory", "use backend='finufft'")
        contrasts, spokes, samples, dim = traj.shape
        if dim == 2 and matrix[0] != 1:
            raise InputError("trajectory", f"is 2-D and the matrix has {matrix[0]} planes", "give kz or a matrix with one plane")
        super().__init__((contrasts, n_coils, *matrix), (contrasts, n_coils, spokes, samples))
        self.traj, self.matrix, self.eps = traj, tuple(matrix), eps
        self.grid = self.matrix[-dim:]
        self.scale = float(np.prod(self.matrix)) ** -0.5
        self.engine: _Engine = _Kaiser(self) if backend == "torchkbnufft" else _Finufft(self)

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        flat = x.reshape(*x.shape[:2], *self.grid)
        points = self.traj.reshape(len(self.traj), -1, len(self.grid))
        result: Tensor = _Forward.apply(flat, points, self.engine) if self.engine.own_gradient else self.engine.forward(flat)
        return result.reshape(self.codomain)

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        flat = y.reshape(*y.shape[:2], -1)
        points = self.traj.reshape(len(self.traj), -1, len(self.grid))
        result: Tensor = _Adjoint.apply(flat, points, self.engine) if self.engine.own_gradient else self.engine.adjoint(flat)
        return result.reshape(self.domain)


class _Engine:
    """One back end: both directions for (contrast, coil, grid) and (contrast, coil, point)."""

    own_gradient = False

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def adjoint(self, y: Tensor) -> Tensor:
        raise NotImplementedError


class _Finufft(_Engine):
    """finufft with one plan kept for each contrast, direction and precision."""

    own_gradient = True

    def __init__(self, operator: Nufft) -> None:
        self.grid, self.eps, self.scale, self.coils = operator.grid, operator.eps, operator.scale, operator.domain[1]
        self.points = operator.traj.detach().reshape(len(operator.traj), -1, len(self.grid)).to("cpu", torch.float64).numpy()
        self._plans: dict[tuple[int, int, torch.dtype], Any] = {}

    def _plan(self, contrast: int, kind: int, dtype: torch.dtype) -> Any:
        key = (contrast, kind, dtype)
        if key not in self._plans:
            import finufft

            name = "complex64" if dtype == torch.complex64 else "complex128"
            threads = int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads())
            # finufft's own check of eps: single precision cannot give more than about 1e-7.
            eps = max(self.eps, 1.2e-7) if dtype == torch.complex64 else self.eps
            plan = finufft.Plan(
                kind, self.grid, n_trans=self.coils, eps=eps, isign=-1 if kind == 2 else 1, dtype=name, nthreads=threads, fftw=_FFTW_MEASURE
            )
            real = np.float32 if dtype == torch.complex64 else np.float64
            # finufft folds coordinates into one period; rounding to float32 may step outside by one unit in the last place.
            axes = [np.ascontiguousarray(self.points[contrast, :, d].astype(real)) for d in range(len(self.grid))]
            plan.setpts(*axes)
            self._plans[key] = plan
        return self._plans[key]

    def _apply(self, kind: int, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        source = values.detach().cpu().contiguous()
        result = np.empty((*values.shape[:2], *shape), dtype=np.complex64 if values.dtype == torch.complex64 else np.complex128)
        for contrast in range(len(source)):
            plan = self._plan(contrast, kind, values.dtype)
            single = self.coils == 1
            given = source[contrast, 0] if single else source[contrast]
            out = result[contrast, 0] if single else result[contrast]
            plan.execute(given.numpy(), out=out)
        result *= self.scale
        return torch.from_numpy(result).to(values.device)

    def forward(self, x: Tensor) -> Tensor:
        return self._apply(2, x, (self.points.shape[1],))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._apply(1, y, self.grid)


class _Kaiser(_Engine):
    """torchkbnufft, differentiable by itself with respect to images and samples."""

    def __init__(self, operator: Nufft) -> None:
        import torchkbnufft

        self.operator = operator
        self.omega = operator.traj.reshape(len(operator.traj), -1, len(operator.grid)).transpose(1, 2)
        self.there = torchkbnufft.KbNufft(im_size=operator.grid)
        self.back = torchkbnufft.KbNufftAdjoint(im_size=operator.grid)

    def forward(self, x: Tensor) -> Tensor:
        omega = self.omega.to(x.real.dtype)
        return torch.stack([self.there.to(x.dtype)(x[p][None], omega[p])[0] for p in range(len(x))]) * self.operator.scale

    def adjoint(self, y: Tensor) -> Tensor:
        omega = self.omega.to(y.real.dtype)
        return torch.stack([self.back.to(y.dtype)(y[p][None], omega[p])[0] for p in range(len(y))]) * self.operator.scale


def _positions(grid: Sequence[int], like: Tensor) -> list[Tensor]:
    """``r - n // 2`` along each axis, shaped to broadcast over the grid."""
    axes = [torch.arange(n, device=like.device, dtype=like.real.dtype) - n // 2 for n in grid]
    return [a.reshape([-1 if i == d else 1 for i in range(len(grid))]) for d, a in enumerate(axes)]


def _point_gradient(engine: _Engine, image: Tensor, samples: Tensor, sign: float) -> Tensor:
    """Gradient with respect to the points: each axis is one more forward transform of ``r_d x_r``."""
    columns = [
        (samples.conj() * (-1j * engine.forward(image * position))).real.sum(dim=1)
        for position in _positions(image.shape[2:], image)
    ]
    return sign * torch.stack(columns, dim=-1)


class _Forward(torch.autograd.Function):
    """Forward transform; backward is the adjoint, and one transform an axis for the points."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, points: Tensor, engine: _Engine) -> Tensor:
        ctx.engine = engine
        ctx.save_for_backward(image, points)
        return engine.forward(image)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        image, points = ctx.saved_tensors
        gradient = gradients[0]
        to_image = _Adjoint.apply(gradient, points, ctx.engine) if ctx.needs_input_grad[0] else None
        to_points = _point_gradient(ctx.engine, image, gradient, 1.0).to(points.dtype) if ctx.needs_input_grad[1] else None
        return to_image, to_points, None


class _Adjoint(torch.autograd.Function):
    """Adjoint transform; backward is the forward one."""

    @staticmethod
    def forward(ctx: Any, samples: Tensor, points: Tensor, engine: _Engine) -> Tensor:
        ctx.engine = engine
        ctx.save_for_backward(samples, points)
        return engine.adjoint(samples)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        samples, points = ctx.saved_tensors
        gradient = gradients[0]
        to_samples = _Forward.apply(gradient, points, ctx.engine) if ctx.needs_input_grad[0] else None
        to_points = _point_gradient(ctx.engine, gradient, samples, 1.0).to(points.dtype) if ctx.needs_input_grad[1] else None
        return to_samples, to_points, None
