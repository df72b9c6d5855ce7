"""What of its k-space a measurement holds, small enough for a page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from medcore.io.kspace import KSpace
from puq_qmri.uncertainty import sampled_fractions

_SAMPLES, _READOUTS = 64, 200
"""Most samples of a readout and readouts of a contrast that are kept."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampling:
    """Where each contrast was measured.

    Attributes
    ----------
    fractions
        Part of the points of the grid, by contrast; see :func:`puq_qmri.uncertainty.sampled_fractions`.
    mask
        Gridded: the plane (y, x) of most samples, by contrast.
    readouts
        Along a trajectory: samples of the readouts in radians per voxel, last axis (y, x), thinned out.
    """

    fractions: tuple[float, ...]
    mask: Bool[np.ndarray, "contrast y x"] | None = None
    readouts: Float[np.ndarray, "contrast readout sample 2"] | None = None

    @classmethod
    def of(cls, kspace: KSpace) -> Sampling:
        """That of a measurement."""
        fractions = tuple(float(f) for f in sampled_fractions(kspace))
        if kspace.traj is not None:
            _, readouts, samples, _ = kspace.traj.shape
            thinned = kspace.traj[:, :: -(-readouts // _READOUTS), :: -(-samples // _SAMPLES), -2:]
            return cls(fractions=fractions, readouts=np.ascontiguousarray(thinned))
        mask = np.ones((kspace.n_contrasts, *kspace.matrix), bool) if kspace.mask is None else kspace.mask
        plane = int(mask.sum(axis=(0, 2, 3)).argmax())
        return cls(fractions=fractions, mask=mask[:, plane].copy())

    def shown(self, index: int) -> Bool[np.ndarray, "y x"] | Float[np.ndarray, "readout sample 2"]:
        """One contrast, as :func:`medcore.report.figures.sampling_figure` takes it."""
        found = self.mask if self.readouts is None else self.readouts
        assert found is not None  # noqa: S101 - for the type checker: one of both is there
        return np.asarray(found[index])
