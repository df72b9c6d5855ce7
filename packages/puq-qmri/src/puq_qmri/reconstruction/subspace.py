r"""All contrasts at once: few components of the signal model, real after the phase is taken out, jointly sparse in wavelets.

Images are ``x_p = exp(i phi) sum_k B_pk a_k`` with a temporal basis ``B`` and a phase ``phi`` that the contrasts share. The
coefficient images ``a`` minimise

.. math:: \tfrac12 \| D^{1/2} (A x(a) - y) \|^2 + \sum_{j, r} p_\lambda(s_j, \| (W a)_{j, r} \|_2)

with the density compensation ``D``, undecimated Haar wavelets ``W``, and one norm over the components of each coefficient, by the
splitting of :mod:`puq_qmri.reconstruction.splitting`. The penalty ``p`` is that of the shrinkage chosen; instead of the wavelets
the singular values of small blocks can be made small (:mod:`puq_qmri.reconstruction.regularisers`).

With the garrote the strength ``lambda`` is a multiple of the noise of a sample, or a part of the size of the image if that is larger:
aliasing is as large as the image is, and what is large is left as it is. The phase is refined in between, since images held to be real
take up its errors (:mod:`puq_qmri.reconstruction.phase`). With the soft threshold it follows from the data: the
residual may grow, beside that of the fit without regularisation, by a stated part of the energy that a fit of pure noise absorbs.
Taking the growth instead of the residual itself keeps the rule working where coil maps or the model do not fit the data to the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Complex64, Float
from torch import Tensor

from puq_qmri.operators import LinearOperator
from puq_qmri.reconstruction.phase import NARROW, WIDE, common_phase, refined_phase
from puq_qmri.reconstruction.regularisers import regulariser_for
from puq_qmri.reconstruction.settings import ReconstructionSettings
from puq_qmri.reconstruction.splitting import Regulariser, Split, iterate, joint_conjugate_gradients, start

_SOFT_INNER, _SOFT_OUTER, _SOFT_LAST = 4, 12, 24
_MAX_TRIALS = 6
_FIRST_GUESS = 8.0
"""Strength tried first, in units of the noise of a sample: near the end result on simulated data of all kinds."""
_CLOSE = 1.25
"""The growth of the residual is right within this factor."""
_ROUNDS = (20, 20, 30)
"""Steps of the splitting with the garrote; the phase is refined before each round."""
_AGAIN = 16
"""Steps from one result to that of samples that differ by noise: deviations were within 5 % of those of whole solutions (8: 14 %)."""
_BRIGHT, _PART, _NOISE = 0.99, 0.04, 14.0
"""Strength of the garrote: so many times the noise of a sample, at least this part of this quantile of the image's size, where aliasing
decides. Chosen on simulated brains and abdomens (acceleration 2 to 6, ratios of signal to noise from 15 up, and none)."""


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
            self.phase = common_phase(self.expand(first), NARROW if self.settings.shrinkage == "garrote" else WIDE)
            first = self._least_squares(self._turned(back))
        if self.settings.discrepancy > 0 and self.settings.shrinkage == "garrote":
            first = self._sparse(back, first, level)
        elif self.settings.discrepancy > 0 and level > 0:
            first = self._by_discrepancy(samples, self._turned(back), first, level, noise)
        return self.expand(first)

    def again(self, samples: Complex64[Tensor, "..."], iterations: int = _AGAIN) -> Tensor:
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
        return self._turned(torch.einsum("pk,pzyx->kzyx", self.basis.to(images.dtype), images))

    def _turned(self, coefficients: Tensor) -> Tensor:
        """Complex coefficients without the phase; real where one is known."""
        return coefficients if self.phase is None else (self.phase.conj() * coefficients).real

    def _counted(self, coefficients: Tensor) -> Tensor:
        self.n_normals += 1
        return self.normal(coefficients)

    def _back(self, samples: Tensor) -> Tensor:
        return self._collect(self.operator.adjoint(self.density * samples))

    def _normal_of(self, coefficients: Tensor) -> Tensor:
        return self._turned(self._counted(coefficients if self.phase is None else self.phase * coefficients))

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

    def _sparse(self, back: Tensor, first: Tensor, level: float) -> Tensor:
        """Strength from noise and image; the phase follows the images as they become better."""
        size = float(torch.quantile(first.abs().square().sum(dim=0).sqrt().flatten(), _BRIGHT))
        self.strength = max(_PART * size, _NOISE * level)
        regulariser = self._regulariser(first)
        state = start(regulariser, first)
        for iterations in _ROUNDS:
            if self.phase is not None:
                self.phase = refined_phase(self.phase, state.coefficients, self._counted, back, self.settings.regularisation)
            state = iterate(self._normal_of, self._turned(back), state, regulariser, self.strength, iterations)
        self._state = state
        return state.coefficients

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
