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
