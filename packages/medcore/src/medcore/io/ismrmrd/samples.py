"""The samples and trajectories of readouts, in blocks, each checked against what its head says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Complex, Float, Int

from medcore.errors import InputError
from medcore.io.ismrmrd.heads import Heads

_BLOCK = 1024
_HINT = "get another copy of the file"


def sample_blocks(
    rows: h5py.Dataset, heads: Heads, path: Path
) -> Iterator[tuple[Int[np.ndarray, "block"], Complex[np.ndarray, "block coil sample"]]]:
    """Yield positions in `heads` and their complex64 samples; all readouts must be of one size.

    Raises
    ------
    InputError
        If a readout holds another number of values than its head says, or one that is not finite.
    """
    coils, samples = heads.uniform("channels", path), heads.uniform("samples", path)
    for where, values in _blocks(rows, "data", heads, path, 2 * coils * samples):
        block = values.view(np.complex64).reshape(len(where), coils, samples)
        if not np.isfinite(values).all():
            bad = np.argwhere(~np.isfinite(block))[0]
            row = heads.index[where[bad[0]]]
            raise InputError(path, f"has a NaN or infinite sample in readout {row}, coil {bad[1]}, sample {bad[2]}", "leave it out")
        yield where, block


def trajectory_points(rows: h5py.Dataset, heads: Heads, path: Path) -> Float[np.ndarray, "readout sample dim"]:
    """Trajectory of every readout as stored, columns (kx, ky[, kz]), in the unit of the file."""
    samples, dims = heads.uniform("samples", path), heads.uniform("dimensions", path)
    points = np.empty((len(heads), samples, dims), dtype=np.float32)
    for where, values in _blocks(rows, "traj", heads, path, samples * dims):
        points[where] = values.reshape(len(where), samples, dims)
    if not np.isfinite(points).all():
        row = heads.index[np.argwhere(~np.isfinite(points))[0][0]]
        raise InputError(path, f"has a NaN or infinite trajectory point in readout {row}", _HINT)
    return points


def _blocks(
    rows: h5py.Dataset, field: str, heads: Heads, path: Path, length: int
) -> Iterator[tuple[Int[np.ndarray, "block"], Float[np.ndarray, "block value"]]]:
    if field not in (rows.dtype.names or ()):
        raise InputError(path, f"has no {field!r} in its table of readouts", _HINT)
    column = rows.fields(field)
    for start in range(0, rows.shape[0], _BLOCK):
        where = np.flatnonzero((heads.index >= start) & (heads.index < start + _BLOCK))
        if len(where) == 0:
            continue
        stored = column[start : start + _BLOCK][heads.index[where] - start]
        for row, values in zip(heads.index[where], stored, strict=True):
            if len(values) != length:
                raise InputError(
                    path, f"has {len(values)} values of {field!r} in readout {row} where its head says {length}", _HINT
                )
        yield where, np.stack(stored).astype(np.float32, copy=False)
