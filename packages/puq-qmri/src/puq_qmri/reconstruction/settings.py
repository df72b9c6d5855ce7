"""How images are made from k-space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from medcore.errors import ConfigError
from medcore.plugins import unknown_name
from puq_qmri.choices import BACKENDS, DENSITIES, Backend, Density
from puq_qmri.reconstruction.basis import BASES, BasisKind
from puq_qmri.reconstruction.regularisers import REGULARISERS, SHRINKAGES, RegulariserKind, Shrinkage

Method = Literal["auto", "adjoint", "cg-sense", "subspace", "unrolled"]
METHODS: dict[str, str] = {
    "adjoint": "density-compensated adjoint, coils combined; no iteration",
    "cg-sense": "least squares by conjugate gradients with coil maps (Pruessmann et al. 2001)",
    "subspace": "all contrasts at once as few real components of the signal model, jointly sparse in wavelets; needs the model's times",
    "unrolled": "a trained network that goes on from the subspace's result, with weights of the package or your own",
}


@dataclass(frozen=True, kw_only=True)
class ReconstructionSettings:
    """How images are made from k-space.

    Attributes
    ----------
    method
        One of :data:`METHODS`, or ``auto``; ``unrolled`` and ``auto`` are done by :mod:`puq_qmri.imaging`.
    max_iterations
        Most conjugate-gradient steps.
    tolerance
        A contrast is done when its residual has fallen to this part of the start.
    regularisation
        Weight of the squared image beside the squared residual (Tikhonov); what is fully determined has weight 1 and keeps its
        amplitude. Undersampled data need some: without it later iterations fit noise. The default was within 5 % of the
        smallest error on simulated brains (eight coils, radial and Cartesian, acceleration 2 and 4, signal-to-noise ratio 50),
        where errors were 1.1 to 2.3 times the propagated noise, the rest being what regularisation leaves unresolved; 0.02 gave
        a slightly smaller error at acceleration 2, and errors of 1.3 to 3.9 times the noise.
    backend
        Non-uniform Fourier transform: one of :data:`~puq_qmri.choices.BACKENDS`, see :class:`~puq_qmri.operators.Nufft`.
    density
        Weights of the samples of a trajectory, in the reconstruction and in the estimate of coil maps:
        :func:`~puq_qmri.dcf.density_compensation`.
    components, basis
        Number of temporal components of ``subspace`` (0: as many as the model's signals need and the samples
        determine) and how they are chosen; see :func:`puq_qmri.reconstruction.basis.temporal_basis`. On simulated brains and abdomens
        (acceleration 4 and 6) errors of maps were the same with either kind, those of images smaller with ``svd``.
    regulariser, shrinkage
        What the components of ``subspace`` are expected to be, and how it is brought about: jointly sparse in wavelets, or of low
        rank in small blocks; by the non-negative garrote, which leaves large coefficients nearly as they are, or by the soft
        threshold. See :mod:`puq_qmri.reconstruction.regularisers`.
    discrepancy
        Strength of the regulariser with ``soft``: the residual may grow by this part of the energy that a fit of pure noise absorbs.
        1 is Morozov's principle. On simulated brains, knees and abdomens (acceleration 2 to 6, T1 and T2) the error was smallest
        between 0.2 and 0.6. With ``garrote`` the strength follows from the noise and the size of the image instead
        (:mod:`puq_qmri.reconstruction.subspace`). 0 switches the regulariser off in either case.
    """

    method: Method = "cg-sense"
    max_iterations: int = 40
    tolerance: float = 2e-3
    regularisation: float = 0.005
    backend: Backend = "auto"
    density: Density = "pipe-menon"
    components: int = 0
    basis: BasisKind = "svd"
    regulariser: RegulariserKind = "wavelet"
    shrinkage: Shrinkage = "garrote"
    discrepancy: float = 0.3

    def __post_init__(self) -> None:
        if self.method not in {"auto", *METHODS}:
            raise unknown_name("reconstruction method", self.method, list(METHODS))
        if self.backend not in BACKENDS:
            raise unknown_name("NUFFT back end", self.backend, list(BACKENDS))
        if self.density not in DENSITIES:
            raise unknown_name("density compensation", self.density, list(DENSITIES))
        if self.method == "unrolled" and self.density != "pipe-menon":
            raise ConfigError(
                f"--density {self.density}",
                "is not for method unrolled, which was trained with pipe-menon",
                "choose another method",
            )
        if self.max_iterations < 1 or not 0 < self.tolerance < 1 or not 0 <= self.regularisation < math.inf:
            raise ConfigError(
                "reconstruction settings",
                f"are max_iterations={self.max_iterations}, tolerance={self.tolerance}, regularisation={self.regularisation}",
                "give at least one iteration, a tolerance between 0 and 1, and a regularisation of 0 or more",
            )
        if self.basis not in BASES:
            raise unknown_name("kind of temporal basis", self.basis, list(BASES))
        if self.regulariser not in REGULARISERS:
            raise unknown_name("regulariser", self.regulariser, list(REGULARISERS))
        if self.shrinkage not in SHRINKAGES:
            raise unknown_name("shrinkage", self.shrinkage, list(SHRINKAGES))
        if self.components < 0 or not 0 <= self.discrepancy < math.inf:
            raise ConfigError(
                "subspace settings",
                f"are components={self.components}, discrepancy={self.discrepancy}",
                "give numbers of 0 or more",
            )
