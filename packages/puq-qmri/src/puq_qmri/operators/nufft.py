r"""Non-uniform Fourier transform of images along a trajectory of their own for each contrast.

.. math:: y_{pcj} = (\prod n)^{-1/2} \sum_r x_{pcr} \exp(-i\, k_{pj} \cdot (r - \lfloor n/2 \rfloor))

with ``p`` the contrast, ``c`` the coil and ``k`` in radians per sample. The factor makes a trajectory on the grid's own points
the orthonormal FFT. The derivative with respect to a point is a transform itself, ``dy_j/dk_jd = -i F(r_d x)_j``, and so exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.choices import BACKENDS, Backend
from puq_qmri.operators.base import Expansion, LinearOperator, Mask
from puq_qmri.operators.choice import choose_backend, convolution_pays, make_engine
from puq_qmri.operators.engines import Engine
from puq_qmri.operators.toeplitz import SubspaceToeplitz, Toeplitz, kernel_spectrum, subspace_spectrum

DEFAULT_EPS = 1e-6
__all__ = ["BACKENDS", "DEFAULT_EPS", "Backend", "Nufft", "check_trajectory"]


def check_trajectory(traj: Tensor) -> None:
    """Refuse trajectories that are not finite radians per sample within [-pi, pi].

    Raises
    ------
    InputError
        With the offending shape, type or value and where it stands.
    """
    if traj.ndim != 4 or traj.shape[-1] not in {2, 3} or 0 in traj.shape:
        raise InputError("trajectory", f"has shape {tuple(traj.shape)}", "give (contrast, spoke, sample, 2 or 3)")
    if traj.dtype not in {torch.float32, torch.float64}:
        raise InputError("trajectory", f"has values of type {traj.dtype}", "give float32 or float64")
    size = traj.detach().abs()
    extreme = float(size.max())
    # NaN compares as False; pi rounded to float32 lies outside by 3e-8.
    if not extreme <= math.pi * (1 + 1e-5):
        place = tuple(int(i) for i in torch.unravel_index(size.argmax(), size.shape))
        raise InputError("trajectory", f"has the value {float(traj[place]):g} at {place}", "give radians per sample in [-pi, pi)")


class Nufft(LinearOperator):
    """The transform above from (contrast, coil, z, y, x) to (contrast, coil, spoke, sample).

    Differentiable with respect to images and samples and, with finufft, to the trajectory. A contiguous trajectory
    may be changed in place between calls, as an optimiser does.

    Parameters
    ----------
    traj
        (contrast, spoke, sample, dim) in radians per sample, last axis ordered like the spatial axes: (y, x) or (z, y, x).
    matrix
        Image matrix (z, y, x); z = 1 for two dimensions.
    n_coils
        Size of the coil axis.
    eps
        Relative accuracy asked of finufft, between 1e-14 and 0.1. At 1e-4 and above two-dimensional transforms use a grid
        oversampled by 1.25 instead of 2, which is several times faster.
    backend
        ``finufft`` (on the CPU; tensors of another device are copied there and back), ``cufinufft`` (on a CUDA device, needs the
        extra ``cuda``) or ``torchkbnufft`` (on any device, relative accuracy about 1e-3). ``auto`` is finufft for trajectories on
        the CPU, cufinufft for those on a CUDA device where it is installed, torchkbnufft otherwise.

    Raises
    ------
    InputError
        If the trajectory, the matrix, the accuracy or the back end cannot be used.
    MissingExtraError
        If cufinufft is asked for and not installed.
    """

    def __init__(
        self,
        traj: Tensor,
        matrix: Sequence[int],
        n_coils: int,
        *,
        eps: float = DEFAULT_EPS,
        backend: str = "auto",
    ) -> None:
        check_trajectory(traj)
        self.backend = choose_backend(backend, traj.device)
        if not 1e-14 <= eps <= 0.1:
            raise InputError("NUFFT accuracy", f"is {eps:g}", "give an eps between 1e-14 and 0.1")
        contrasts, spokes, samples, dim = traj.shape
        if len(matrix) != 3 or min(matrix) < 1 or n_coils < 1:
            raise InputError("NUFFT", f"has matrix {tuple(matrix)} and {n_coils} coils", "give (z, y, x) and at least one of each")
        if dim == 2 and matrix[0] != 1:
            raise InputError("trajectory", f"is 2-D and the matrix has {matrix[0]} planes", "give kz or a matrix with one plane")
        super().__init__((contrasts, n_coils, *matrix), (contrasts, n_coils, spokes, samples))
        # Contiguous, so that the list of points is a view and follows changes in place.
        self.traj, self.matrix = traj.contiguous(), tuple(matrix)
        self.grid = self.matrix[-dim:]
        self.device, self.eps = traj.device, eps
        self.engine: Engine = make_engine(self.backend, self.grid, n_coils, eps)
        self._points()

    def _points(self) -> Float[Tensor, "contrast point dim"]:
        """The trajectory as a list of points for each contrast."""
        if self.traj.requires_grad and not self.engine.differentiates_points:
            raise InputError("NUFFT back end torchkbnufft", "gives no gradient of the trajectory", "use backend='finufft'")
        return self.traj.reshape(len(self.traj), -1, len(self.grid))

    @property
    def gram(self) -> LinearOperator:
        """The normal operator, by Toeplitz embedding where that pays; see :meth:`weighted_gram`."""
        return self.weighted_gram(torch.ones((), device=self.traj.device))

    def weighted_gram(self, weights: Tensor) -> LinearOperator:
        """``A.H W A``: by :class:`puq_qmri.operators.toeplitz.Toeplitz`, or one transform after the other where that is faster.

        The choice is that of :func:`puq_qmri.operators.choice.convolution_pays`. A convolution is made anew at each call, for the
        trajectory as it is then. Where its gradient is wanted, or weights differ between coils, the two transforms are kept.
        """
        ratio = math.prod(self.codomain[2:]) / math.prod(self.grid)
        if not convolution_pays(self.backend, len(self.grid), ratio, self.eps):
            return super().weighted_gram(weights)
        flat = self._point_weights(weights)
        if flat is None:
            return super().weighted_gram(weights)
        return Toeplitz(kernel_spectrum(self._points(), self.matrix, flat, self._precision), self.matrix, self.domain[1])

    def subspace_gram(self, basis: Tensor, weights: Tensor | None = None) -> LinearOperator:
        """One convolution between every two components; see :class:`puq_qmri.operators.toeplitz.SubspaceToeplitz`."""
        flat = self._point_weights(torch.ones((), device=self.traj.device) if weights is None else weights)
        if flat is None:
            return super().subspace_gram(basis, weights)
        basis = Expansion(basis, self.domain).basis
        spectrum = subspace_spectrum(self._points(), self.matrix, basis, flat, self._precision)
        return SubspaceToeplitz(spectrum, basis.shape[1], self.matrix, self.domain[1])

    @property
    def _precision(self) -> torch.dtype:
        return torch.float64 if self.traj.dtype == torch.float64 else torch.float32

    def _point_weights(self, weights: Tensor) -> Float[Tensor, "contrast point"] | None:
        """Weights of the points; None where they differ between coils, or the trajectory is learned: no convolution then."""
        contrasts, coils, *samples = self.codomain
        shaped = Mask(weights, self.codomain).mask
        shaped = shaped.reshape((1,) * (4 - shaped.ndim) + tuple(shaped.shape))
        if self.traj.requires_grad or (coils > 1 and shaped.shape[1] > 1):
            return None
        return shaped[:, 0].expand(contrasts, *samples).reshape(contrasts, -1)

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        images = x.reshape(*x.shape[:2], *self.grid)
        return _forward(images, self._points(), self.engine).reshape(self.codomain)

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        samples = y.reshape(*y.shape[:2], -1)
        return _adjoint(samples, self._points(), self.engine).reshape(self.domain)


def _forward(images: Tensor, points: Tensor, engine: Engine) -> Tensor:
    result: Tensor = _Forward.apply(images, points, engine)  # type: ignore[no-untyped-call]
    return result


def _adjoint(samples: Tensor, points: Tensor, engine: Engine) -> Tensor:
    result: Tensor = _Adjoint.apply(samples, points, engine)  # type: ignore[no-untyped-call]
    return result


class _Forward(torch.autograd.Function):
    """Forward transform; backward is the adjoint, and one more transform for each axis of the points."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, points: Tensor, engine: Engine) -> Tensor:
        ctx.engine = engine
        ctx.save_for_backward(images, points)
        return engine.forward(images, points)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, points = ctx.saved_tensors
        to_images = _adjoint(gradients[0], points, ctx.engine) if ctx.needs_input_grad[0] else None
        to_points = _point_gradient(images, gradients[0], points, ctx.engine) if ctx.needs_input_grad[1] else None
        return to_images, to_points, None


class _Adjoint(torch.autograd.Function):
    """Adjoint transform; backward is the forward one. The gradient of the points is the same bilinear form."""

    @staticmethod
    def forward(ctx: Any, samples: Tensor, points: Tensor, engine: Engine) -> Tensor:
        ctx.engine = engine
        ctx.save_for_backward(samples, points)
        return engine.adjoint(samples, points)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        samples, points = ctx.saved_tensors
        to_samples = _forward(gradients[0], points, ctx.engine) if ctx.needs_input_grad[0] else None
        to_points = _point_gradient(gradients[0], samples, points, ctx.engine) if ctx.needs_input_grad[1] else None
        return to_samples, to_points, None


def _point_gradient(images: Tensor, samples: Tensor, points: Tensor, engine: Engine) -> Tensor:
    """Gradient of ``Re <F images, samples>`` with respect to the points; differentiable itself."""
    grid = images.shape[2:]
    columns = []
    for axis, n in enumerate(grid):
        position = torch.arange(n, device=images.device, dtype=images.real.dtype) - n // 2
        moved = images * position.reshape([-1 if a == axis else 1 for a in range(len(grid))])
        columns.append((samples.conj() * -1j * _forward(moved, points, engine)).real.sum(dim=1))
    return torch.stack(columns, dim=-1).to(points.dtype)
