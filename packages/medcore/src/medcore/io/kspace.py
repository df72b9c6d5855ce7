"""Measured k-space: the one form in which every raw-data reader hands its samples on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.geometry import centred_affine
from medcore.io.images import checked_affine, checked_indices, checked_times


@dataclass(frozen=True, kw_only=True, eq=False)
class KSpace:
    """Samples of k-space, gridded (Cartesian) or along a trajectory.

    The centre of k-space lies at index ``n // 2`` of each gridded axis; Fourier transforms are orthonormal and centred. Along a
    trajectory, ``s_j = prod(matrix) ** -0.5 * sum_r x_r exp(-i k_j . (r - n // 2))`` with k in radians per sample.

    Parameters
    ----------
    data
        complex64, (contrast, coil, z, y, x) where gridded, (contrast, coil, spoke, sample) along a trajectory.
    matrix
        Image matrix (z, y, x); equals the last three axes of gridded data.
    fov
        Field of view (z, y, x) in metres.
    mask
        bool (contrast, z, y, x): which grid points were measured; None means all. The others hold zero. A contrast may have none,
        see :attr:`measured`, but not all of them.
    traj
        float32 (contrast, spoke, sample, dim) in radians per sample within [-pi, pi]; the last axis is ordered like the spatial
        axes, (y, x) for two dimensions and (z, y, x) for three. None where gridded.
    times
        Any of ``te``, ``ti``, ``tr`` (seconds), ``flip_angle`` (radians), each (contrast,).
    noise
        complex64 (coil, sample), a scan without signal.
    csm
        complex64 (coil, z, y, x), coil sensitivity maps.
    affine
        (4, 4), voxel index (x, y, z, 1) of the image to RAS+ metres; by default axis-aligned with the centre at the origin.
    field_strength
        Of the magnet, in tesla.
    meta, repairs, source
        As in :class:`medcore.io.images.ImageSeries`.

    Raises
    ------
    InputError
        If shapes, types or values contradict each other.
    """

    data: NDArray[Any]
    matrix: tuple[int, int, int]
    fov: tuple[float, float, float]
    mask: NDArray[Any] | None = None
    traj: NDArray[Any] | None = None
    times: dict[str, Any] = field(default_factory=dict)
    noise: NDArray[Any] | None = None
    csm: NDArray[Any] | None = None
    affine: NDArray[Any] = field(default=cast(Any, None))
    field_strength: float | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    source: str = "memory"

    def __post_init__(self) -> None:
        self._check_geometry()
        self._check_data()
        self._check_extras()
        object.__setattr__(self, "times", checked_times(self.times, self.n_contrasts, self.source))

    def _check_geometry(self) -> None:
        if np.shape(self.matrix) != (3,) or min(self.matrix) < 1:
            raise InputError(self.source, f"has matrix {self.matrix}", "give three sizes (z, y, x) of at least 1")
        if np.shape(self.fov) != (3,) or not np.isfinite(self.fov).all() or min(self.fov) <= 0:
            raise InputError(self.source, f"has field of view {self.fov}", "give three positive lengths (z, y, x) in metres")
        given: Any = self.affine
        affine = centred_affine(self.matrix, self.fov) if given is None else given
        object.__setattr__(self, "affine", checked_affine(affine, self.source))
        strength = self.field_strength
        if strength is not None and not (np.isfinite(strength) and strength > 0):
            raise InputError(self.source, f"has field strength {strength}", "give tesla above zero, or None")

    def _check_data(self) -> None:
        axes = "contrast, coil, z, y, x" if self.is_cartesian else "contrast, coil, spoke, sample"
        if self.data.dtype != np.complex64:
            raise InputError(self.source, f"has samples of type {self.data.dtype}", "convert to complex64")
        if self.data.ndim != len(axes.split(",")) or 0 in self.data.shape:
            raise InputError(self.source, f"has samples of shape {self.data.shape}", f"give non-empty axes ({axes})")
        for place in np.ndindex(self.data.shape[:2]):  # one coil at a time: no temporary as large as the data
            if not np.isfinite(self.data[place]).all():
                where = (*place, *(int(i) for i in np.argwhere(~np.isfinite(self.data[place]))[0]))
                raise InputError(self.source, f"has a NaN or infinite sample at {where}", "repair or leave out that readout")
        if self.is_cartesian:
            self._check_mask()
        else:
            self._check_trajectory()

    def _check_mask(self) -> None:
        if self.data.shape[2:] != tuple(self.matrix):
            raise InputError(self.source, f"has grid {self.data.shape[2:]} and matrix {self.matrix}", "make them equal")
        if self.mask is None:
            return
        expected = (self.n_contrasts, *self.matrix)
        if self.mask.dtype != np.bool_ or self.mask.shape != expected:
            raise InputError(
                self.source,
                f"has a mask of type {self.mask.dtype} and shape {self.mask.shape}",
                f"give booleans of shape {expected}",
            )
        if not self.mask.any():
            raise InputError(self.source, "has a mask that keeps no sample of any contrast", "give True where a point was measured")
        if any(np.any(self.data[contrast, coil][~self.mask[contrast]]) for contrast, coil in np.ndindex(self.data.shape[:2])):
            raise InputError(self.source, "has samples other than zero outside the mask", "multiply the data by the mask")

    def _check_trajectory(self) -> None:
        if self.mask is not None:
            raise InputError(self.source, "has both a trajectory and a mask", "drop the mask and leave out missing readouts")
        traj = self.traj
        assert traj is not None  # noqa: S101 - for the type checker: only called along a trajectory
        contrasts, _, spokes, samples = self.data.shape
        dims = traj.shape[-1] if traj.ndim == 4 else 0
        if traj.shape[:3] != (contrasts, spokes, samples) or dims not in (2, 3) or traj.dtype != np.float32:
            expected = f"float32 of shape ({contrasts}, {spokes}, {samples}, 2 or 3)"
            raise InputError(self.source, f"has a trajectory of type {traj.dtype} and shape {traj.shape}", f"give {expected}")
        if dims == 2 and self.matrix[0] != 1:
            raise InputError(
                self.source, f"has a 2-D trajectory and {self.matrix[0]} planes", "give kz, or a matrix with one plane"
            )
        if not np.isfinite(traj).all() or np.abs(traj).max() > np.pi * (1 + 1e-5):
            raise InputError(
                self.source, f"has trajectory points up to {np.abs(traj).max():g}", "give radians per sample within [-pi, pi]"
            )

    def _check_extras(self) -> None:
        coils = self.n_coils
        if self.noise is not None and (self.noise.dtype != np.complex64 or self.noise.ndim != 2 or self.noise.shape[0] != coils):
            raise InputError(
                self.source,
                f"has noise of type {self.noise.dtype} and shape {self.noise.shape}",
                f"give complex64 ({coils}, samples)",
            )
        expected = (coils, *self.matrix)
        if self.csm is not None and (self.csm.dtype != np.complex64 or self.csm.shape != expected):
            raise InputError(
                self.source, f"has coil maps of type {self.csm.dtype} and shape {self.csm.shape}", f"give complex64 {expected}"
            )

    @property
    def n_contrasts(self) -> int:
        """Number of contrasts."""
        return int(self.data.shape[0])

    @property
    def n_coils(self) -> int:
        """Number of receive coils."""
        return int(self.data.shape[1])

    @property
    def is_cartesian(self) -> bool:
        """Whether the samples lie on the grid."""
        return self.traj is None

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Of each contrast, whether it has a sample other than zero. Of the others nothing is known, whatever the mask says."""
        return np.array([bool(np.any(contrast)) for contrast in self.data])

    @property
    def sampled_fraction(self) -> float:
        """Measured samples of one coil over grid points, averaged over contrasts; above 1 where a trajectory oversamples."""
        if self.mask is not None:
            return float(self.mask.mean())
        return float(np.prod(self.data.shape[2:]) / np.prod(self.matrix))

    def select(self, indices: Sequence[int]) -> KSpace:
        """The measurement with only the contrasts at `indices`, in that order."""
        chosen = checked_indices(indices, self.n_contrasts, self.source)
        return dataclasses.replace(
            self,
            data=self.data[chosen],
            mask=None if self.mask is None else self.mask[chosen],
            traj=None if self.traj is None else self.traj[chosen],
            times={k: v[chosen] for k, v in self.times.items()},
        )
