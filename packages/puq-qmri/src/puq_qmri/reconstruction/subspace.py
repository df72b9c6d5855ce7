r"""All contrasts at once: few components of the signal model, real after the phase is taken out, jointly sparse in wavelets.

Images are ``x_p = exp(i phi) sum_k B_pk a_k`` with a temporal basis ``B`` and a phase ``phi`` that the contrasts share. The
coefficient images ``a`` minimise

.. math:: \tfrac12 \| D^{1/2} (A x(a) - y) \|^2 + \lambda \sum_{j, r} s_j \| (W a)_{j, r} \|_2

with the density compensation ``D``, undecimated Haar wavelets ``W``, and one norm over the components of each coefficient, by the
alternating direction method of multipliers (Boyd et al. 2011, doi 10.1561/2200000016). Because ``W`` is a tight frame, its inner
least-squares problem needs nothing beyond the normal operator.

The strength ``lambda`` follows from the data: the residual may grow, beside that of the fit without wavelets, by a stated part of the
energy that a fit of pure noise absorbs. Taking the growth instead of the residual itself keeps the rule working where coil maps or the
model do not fit the data to the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Complex64, Float
from torch import Tensor

from puq_qmri.operators import LinearOperator
from puq_qmri.reconstruction.settings import ReconstructionSettings
from puq_qmri.reconstruction.wavelets import HaarFrame, shrink_jointly

LEVELS = 3
_COUPLING = 0.05
"""Penalty of the splitting, beside a normal operator that is 1 where everything was measured."""
_INNER, _OUTER, _LAST = 4, 12, 24
_MAX_TRIALS = 6
_FIRST_GUESS = 8.0
"""Strength tried first, in units of the noise of a sample: near the end result on simulated data of all kinds."""
_CLOSE = 1.25
"""The growth of the residual is right within this factor."""
_PHASE_WIDTH = 8
"""The phase is taken from this part (one n-th to each side) of k-space."""


@dataclass
class _Split:
    """State of the splitting: coefficients, their wavelets after shrinking, and the multipliers."""

    coefficients: Tensor
    shrunk: list[Tensor]
    coarse: Tensor
    multipliers: list[Tensor]


@dataclass
class SubspaceSolver:
    """The problem above for one sampling.

    Parameters
    ----------
    operator
        From images (contrast, z, y, x) to samples.
    normal
        Its normal operator with the density.
    density
        Weights of the samples, broadcastable to them, zero where nothing was measured.
    basis
        Orthonormal temporal components (contrast, component).
    settings
        See :class:`~puq_qmri.reconstruction.ReconstructionSettings`.
    real
        Whether all contrasts share one phase, so that the coefficients are real.
    strength
        Threshold of the finest-level wavelets of an orthonormal transform, found by :meth:`solve`.
    n_normals
        How often the normal operator was applied.
    phase
        Found by :meth:`solve`.
    """

    operator: LinearOperator
    normal: LinearOperator
    density: Tensor
    basis: Float[Tensor, "contrast component"]
    settings: ReconstructionSettings
    real: bool = True
    strength: float = 0.0
    n_normals: int = 0
    phase: Complex64[Tensor, "z y x"] | None = field(default=None, init=False)
    _state: _Split | None = field(default=None, init=False)

    def solve(self, samples: Complex64[Tensor, "..."], level: float, noise: Complex64[Tensor, "..."]) -> Tensor:
        """Images of `samples`; keeps phase, strength and state for :meth:`again`.

        Parameters
        ----------
        samples
            What was measured.
        level
            Standard deviation of one component of the noise of a sample.
        noise
            Samples of pure noise of that level.
        """
        self.phase = None
        first = self._least_squares(self._back(samples))
        if self.real:
            self.phase = common_phase(self.expand(first))
            first = self._least_squares(self._back(samples))
        if self.settings.discrepancy > 0 and level > 0:
            first = self._regularised(samples, first, level, noise)
        return self.expand(first)

    def again(self, samples: Complex64[Tensor, "..."], iterations: int = 8) -> Tensor:
        """Images of samples that differ little from those solved before: same phase and strength, started from that result."""
        back = self._back(samples)
        if self._state is None:
            return self.expand(self._least_squares(back))
        return self.expand(self._iterate(back, self._state, self.strength, iterations).coefficients)

    def expand(self, coefficients: Tensor) -> Complex64[Tensor, "contrast z y x"]:
        """Images of coefficients."""
        images = torch.einsum("pk,kzyx->pzyx", self.basis.to(coefficients.dtype), coefficients)
        return images if self.phase is None else self.phase * images

    def _collect(self, images: Complex64[Tensor, "contrast z y x"]) -> Tensor:
        """The adjoint of :meth:`expand`; without imaginary part where coefficients are real."""
        turned = images if self.phase is None else self.phase.conj() * images
        found = torch.einsum("pk,pzyx->kzyx", self.basis.to(images.dtype), turned)
        return found if self.phase is None else found.real

    def _back(self, samples: Tensor) -> Tensor:
        return self._collect(self.operator.adjoint(self.density * samples))

    def _normal_of(self, coefficients: Tensor) -> Tensor:
        self.n_normals += 1
        return self._collect(self.normal(self.expand(coefficients).to(torch.complex64)))

    def _least_squares(self, right: Tensor) -> Tensor:
        shift = self.settings.regularisation

        def map_(x: Tensor) -> Tensor:
            return self._normal_of(x) + shift * x

        return _conjugate_gradients(map_, right, self.settings.max_iterations, self.settings.tolerance)

    def _misfit(self, coefficients: Tensor, samples: Tensor) -> float:
        difference = self.operator(self.expand(coefficients).to(torch.complex64)) - samples
        return float((self.density * difference.abs().double() ** 2).sum())

    def _regularised(self, samples: Tensor, first: Tensor, level: float, noise: Tensor) -> Tensor:
        """Find the strength that the discrepancy asks for, then iterate on."""
        absorbed = float((self.density * noise.abs().double() ** 2).sum()) - self._misfit(
            self._least_squares(self._back(noise)), noise
        )
        target, base = self.settings.discrepancy * absorbed, self._misfit(first, samples)
        right, state = self._back(samples), self._start(first)
        strength = _FIRST_GUESS * level
        for _ in range(_MAX_TRIALS):
            state = self._iterate(right, state, strength, _OUTER)
            growth = (self._misfit(state.coefficients, samples) - base) / target
            if 1 / _CLOSE < growth < _CLOSE:
                break
            strength *= min(max(growth, 1 / 16), 16.0) ** -0.75
        self.strength = strength
        self._state = self._iterate(right, state, strength, _LAST)
        return self._state.coefficients

    def _frame(self, shape: tuple[int, ...]) -> HaarFrame:
        return HaarFrame(axes=tuple(axis for axis in (-1, -2, -3) if shape[axis] > 1), levels=LEVELS)

    def _start(self, coefficients: Tensor) -> _Split:
        details, coarse = self._frame(tuple(coefficients.shape)).analysis(coefficients)
        return _Split(coefficients, details, coarse, [torch.zeros_like(d) for d in details])

    def _iterate(self, right: Tensor, state: _Split, strength: float, iterations: int) -> _Split:
        frame = self._frame(tuple(right.shape))
        x, shrunk, coarse, multipliers = state.coefficients, state.shrunk, state.coarse, state.multipliers

        def map_(v: Tensor) -> Tensor:
            return self._normal_of(v) + _COUPLING * v

        for _ in range(iterations):
            wanted = frame.synthesis([s - m for s, m in zip(shrunk, multipliers, strict=True)], coarse)
            remaining = right + _COUPLING * wanted - map_(x)
            x = x + _conjugate_gradients(map_, remaining, _INNER, 0.0)
            details, coarse = frame.analysis(x)
            raised = [d + m for d, m in zip(details, multipliers, strict=True)]
            shrunk = [shrink_jointly(r, strength * frame.scale(band)) for band, r in enumerate(raised)]
            multipliers = [r - s for r, s in zip(raised, shrunk, strict=True)]
        return _Split(x, shrunk, coarse, multipliers)


def _conjugate_gradients(map_: Callable[[Tensor], Tensor], right: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Solve ``map_(x) = right`` for all components together."""
    x, residual = torch.zeros_like(right), right
    direction, norm = residual, _inner(residual, residual)
    start = norm
    for _ in range(iterations):
        if not norm > start * tolerance**2:
            break
        mapped = map_(direction)
        step = norm / _inner(direction, mapped)
        x, residual = x + step * direction, residual - step * mapped
        fresh = _inner(residual, residual)
        direction, norm = residual + fresh / norm * direction, fresh
    return x


def _inner(a: Tensor, b: Tensor) -> float:
    return float((a.conj() * b).real.double().sum())


def common_phase(images: Complex64[Tensor, "contrast z y x"]) -> Complex64[Tensor, "z y x"]:
    """The smooth phase that the contrasts share up to their sign, as unit complex numbers.

    Where a voxel's contrasts are real multiples of one another, half the phase of the sum of their squares is theirs up to a sign,
    which the strongest contrast decides. The result is smoothed in k-space, which leaves ambiguous voxels to their neighbours.
    """
    half = 0.5 * torch.angle((images**2).sum(dim=0))
    strongest = images[images.abs().square().sum(dim=(1, 2, 3)).argmax()]
    sign = torch.where((torch.exp(-1j * half) * strongest).real < 0, -1.0, 1.0)
    rough = sign * torch.exp(1j * half) * strongest.abs()
    axes = [axis for axis in range(3) if rough.shape[axis] > 1]
    spectrum = torch.fft.fftn(rough, dim=axes)
    for axis in axes:
        n = rough.shape[axis]
        position = torch.fft.fftfreq(n, device=rough.device).abs() * n
        width = max(4.0, n / _PHASE_WIDTH)
        window = torch.cos(math.pi / 2 * (position / width).clamp_max(1.0)) ** 2
        spectrum = spectrum * window.reshape([-1 if a == axis else 1 for a in range(3)])
    result: Tensor = torch.exp(1j * torch.angle(torch.fft.ifftn(spectrum, dim=axes)))
    return result.to(images.dtype)
