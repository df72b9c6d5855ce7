"""Names that settings take and the command line offers, in one place that loads no library: ``--help`` stays fast."""

from __future__ import annotations

from typing import Literal, get_args

Backend = Literal["auto", "finufft", "cufinufft", "torchkbnufft"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
"""Libraries of the non-uniform Fourier transform, and ``auto``: :func:`puq_qmri.operators.choice.choose_backend`."""

Density = Literal["pipe-menon", "voronoi", "radial"]
DENSITIES: tuple[Density, ...] = get_args(Density)
"""Kinds of density compensation: :func:`puq_qmri.dcf.density_compensation`."""

Sampling = Literal["cartesian", "jittered", "radial", "spiral"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)
"""Ways to sample k-space in a simulation."""

CoilGeometry = Literal["birdcage", "random-birdcage", "loops"]
COIL_GEOMETRIES: tuple[CoilGeometry, ...] = get_args(CoilGeometry)
"""Places of simulated receive coils: :func:`puq_qmri.simulation.coil_maps`."""

Fitter = Literal["auto", "variable-projection", "levenberg-marquardt", "mlp"]
FITTERS: tuple[Fitter, ...] = get_args(Fitter)
"""How the misfit is made least, :func:`puq_qmri.fitting.fit`; or a network in its place, :mod:`puq_qmri.fitting.mlp_fit`."""

Weighting = Literal["auto", "none", "given", "misfit-aware", "correlated"]
WEIGHTINGS: tuple[Weighting, ...] = get_args(Weighting)
"""Weights of the contrasts in a fit: :class:`puq_qmri.fitting.guided.Guidance`."""

Robust = Literal["none", "huber", "tukey"]
ROBUST: tuple[Robust, ...] = get_args(Robust)
"""What a contrast far from the others counts: :func:`puq_qmri.fitting.robust.solve_robustly`."""

Noise = Literal["gaussian", "rician", "non-central-chi"]
NOISES: tuple[Noise, ...] = get_args(Noise)
"""Distribution of the images' noise: :mod:`puq_qmri.fitting.likelihood`."""

Intervals = Literal["auto", "normal", "profile"]
INTERVALS: tuple[Intervals, ...] = get_args(Intervals)
"""How 95 % intervals of the estimates are found: :mod:`puq_qmri.fitting.profile`."""
