r"""All contrasts at once: few components of the signal model, real after the phase is taken out, jointly sparse in wavelets.

Images are ``x_p = exp(i phi) sum_k B_pk a_k`` with a temporal basis ``B`` and a phase ``phi`` that the contrasts share. The
coefficient images ``a`` minimise

.. math:: \tfrac12 \| D^{1/2} (A x(a) - y) \|^2 + \sum_{j, r} p_\lambda(s_j, \| (W a)_{j, r} \|_2)

with the density compensation ``D``, undecimated Haar wavelets ``W``, and one norm over the components of each coefficient, by the
splitting of :mod:`puq_qmri.reconstruction.splitting`. The penalty ``p`` is that of the shrinkage chosen; instead of the wavelets
the singular values of small blocks can be made small (:mod:`puq_qmri.reconstruction.regularisers`).

With the garrote the strength ``lambda`` is a part of the size of the image, or a multiple of the noise of a sample if that is larger:
aliasing is as large as the image is, and what is large is left as it is. With the soft threshold it follows from the data: the
residual may grow, beside that of the fit without regularisation, by a stated part of the energy that a fit of pure noise absorbs.
Taking the growth instead of the residual itself keeps the rule working where coil maps or the model do not fit the data to the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Complex64, Float
from torch import Tensor

from puq_qmri.operators import LinearOperator
from puq_qmri.reconstruction.regularisers import regulariser_for
from puq_qmri.reconstruction.settings import ReconstructionSettings
from puq_qmri.reconstruction.splitting import Regulariser, Split, iterate, joint_conjugate_gradients, start

_SOFT_INNER, _SOFT_OUTER, _SOFT_LAST = 4, 12, 24
_MAX_TRIALS = 6
_FIRST_GUESS = 8.0
"""Strength tried first, in units of the noise of a sample: near the end result on simulated data of all kinds."""
_CLOSE = 1.25
"""The growth of the residual is right within this factor."""
_PHASE_WIDTH = 8
"""The phase is taken from this part (one n-th to each side) of k-space."""
_ITERATIONS = 60
"""Steps of the splitting with the garrote."""
_BRIGHT, _PART, _NOISE = 0.99, 0.1, 6.0
"""Strength of the garrote: this part of this quantile of the image's size, where aliasing decides, or so many times the noise."""


@dataclass
class SubspaceSolver:
    """The problem above for one sampling.

    Parameters
    ----------
    operator
        From images (contrast, z, y, x) to samples.
    normal
        Normal operator of the coefficients (component, z, y, x) with the density, as ``operator.subspace_gram`` gives it.
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
    _state: Split | None = field(default=None, init=False)

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
        back = self._collect(self.operator.adjoint(self.density * samples))
        first = self._least_squares(back)
        if self.real:
            self.phase = common_phase(self.expand(first))
            back = (self.phase.conj() * back).real
            first = self._least_squares(back)
        if self.settings.discrepancy > 0:
            first = self._regularised(samples, back, first, level, noise)
        return self.expand(first)

    def again(self, samples: Complex64[Tensor, "..."], iterations: int = 8) -> Tensor:
        """Images of samples that differ little from those solved before: same phase and strength, started from that result."""
        back = self._back(samples)
        if self._state is None:
            return self.expand(self._least_squares(back))
        regulariser = self._regulariser(back)
        return self.expand(iterate(self._normal_of, back, self._state, regulariser, self.strength, iterations).coefficients)

    def expand(self, coefficients: Tensor) -> Complex64[Tensor, "contrast z y x"]:
        """Images of coefficients."""
        images = torch.einsum("pk,kzyx->pzyx", self.basis.to(coefficients.dtype), coefficients)
        return images if self.phase is None else self.phase * images

    def _collect(self, images: Complex64[Tensor, "contrast z y x"]) -> Tensor:
        """The adjoint of :meth:`expand`; without imaginary part where coefficients are real."""
        found = torch.einsum("pk,pzyx->kzyx", self.basis.to(images.dtype), images)
        return found if self.phase is None else (self.phase.conj() * found).real

    def _back(self, samples: Tensor) -> Tensor:
        return self._collect(self.operator.adjoint(self.density * samples))

    def _normal_of(self, coefficients: Tensor) -> Tensor:
        self.n_normals += 1
        if self.phase is None:
            return self.normal(coefficients)
        return (self.phase.conj() * self.normal(self.phase * coefficients)).real

    def _least_squares(self, right: Tensor) -> Tensor:
        shift = self.settings.regularisation

        def map_(x: Tensor) -> Tensor:
            return self._normal_of(x) + shift * x

        return joint_conjugate_gradients(map_, right, self.settings.max_iterations, self.settings.tolerance)

    def _misfit(self, coefficients: Tensor, samples: Tensor) -> float:
        difference = self.operator(self.expand(coefficients).to(torch.complex64)) - samples
        return float((self.density * difference.abs().double() ** 2).sum())

    def _regulariser(self, coefficients: Tensor) -> Regulariser:
        return regulariser_for(self.settings.regulariser, self.settings.shrinkage, tuple(coefficients.shape))

    def _regularised(self, samples: Tensor, right: Tensor, first: Tensor, level: float, noise: Tensor) -> Tensor:
        if self.settings.shrinkage == "soft":
            return self._by_discrepancy(samples, right, first, level, noise) if level > 0 else first
        size = float(torch.quantile(first.abs().square().sum(dim=0).sqrt().flatten(), _BRIGHT))
        self.strength = max(_PART * size, _NOISE * level)
        regulariser = self._regulariser(first)
        self._state = iterate(self._normal_of, right, start(regulariser, first), regulariser, self.strength, _ITERATIONS)
        return self._state.coefficients

    def _by_discrepancy(self, samples: Tensor, right: Tensor, first: Tensor, level: float, noise: Tensor) -> Tensor:
        """Find the strength that the discrepancy asks for, then iterate on."""
        absorbed = float((self.density * noise.abs().double() ** 2).sum()) - self._misfit(
            self._least_squares(self._back(noise)), noise
        )
        target, base = self.settings.discrepancy * absorbed, self._misfit(first, samples)
        regulariser = self._regulariser(first)
        state, strength = start(regulariser, first), _FIRST_GUESS * level
        for _ in range(_MAX_TRIALS):
            state = iterate(self._normal_of, right, state, regulariser, strength, _SOFT_OUTER, inner=_SOFT_INNER)
            growth = (self._misfit(state.coefficients, samples) - base) / target
            if 1 / _CLOSE < growth < _CLOSE:
                break
            strength *= min(max(growth, 1 / 16), 16.0) ** -0.75
        self.strength = strength
        self._state = iterate(self._normal_of, right, state, regulariser, strength, _SOFT_LAST, inner=_SOFT_INNER)
        return self._state.coefficients


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
