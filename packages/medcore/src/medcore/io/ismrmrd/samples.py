"""The samples and trajectories of readouts, in blocks, each checked against what its head says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Complex, Float, Int
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.hdf5 import as_complex
from medcore.io.ismrmrd.heads import Heads

Blocks = Iterator[tuple[Int[np.ndarray, "block"], Complex[np.ndarray, "block coil sample"]]]
"""Positions in a table of heads, and the samples of those readouts."""

_BLOCK_BYTES = 2 << 20
_HINT = "get another copy of the file"


def sample_blocks(rows: h5py.Dataset, heads: Heads, path: Path, coils: Sequence[int] | None = None) -> Blocks:
    """Yield positions in `heads` and their complex64 samples; all readouts must be of one size.

    Only the rows of `heads`, and what lies between rows close to each other, are read, some megabytes at a time.

    Parameters
    ----------
    rows, heads, path
        Table of readouts, the heads of those wanted, and the name of the file.
    coils
        Which coils; all by default.

    Raises
    ------
    InputError
        If a readout holds another number of values than its head says, or one that is not finite.
    """
    channels, samples = heads.uniform("channels", path), heads.uniform("samples", path)
    whole = _value_type(rows, "data", path).kind == "c"
    for where, values in _blocks(rows, "data", heads, path, channels * samples * (1 if whole else 2)):
        numbers = values.astype(np.complex64 if whole else np.float32, copy=False)
        block = numbers.view(np.complex64).reshape(len(where), channels, samples)
        if not np.isfinite(block).all():
            bad = np.argwhere(~np.isfinite(block))[0]
            row = heads.index[where[bad[0]]]
            raise InputError(path, f"has a NaN or infinite sample in readout {row}, coil {bad[1]}, sample {bad[2]}", "leave it out")
        yield where, block if coils is None else block[:, list(coils)]


def storage_notes(rows: h5py.Dataset, path: Path) -> list[str]:
    """One sentence where samples are stored in another way than the format says: single precision, real and imaginary in turn."""
    kind = _value_type(rows, "data", path)
    if kind == np.float32:
        return []
    return [
        f"samples stored as {kind} read as complex64"
        if kind.kind == "c"
        else f"samples stored as pairs of {kind} read as complex64"
    ]


def trajectory_points(rows: h5py.Dataset, heads: Heads, path: Path) -> Float[np.ndarray, "readout sample dim"]:
    """Trajectory of every readout as stored, columns (kx, ky[, kz]), in the unit of the file."""
    samples, dims = heads.uniform("samples", path), heads.uniform("dimensions", path)
    points = np.empty((len(heads), samples, dims), dtype=np.float32)
    for where, values in _blocks(rows, "traj", heads, path, samples * dims):
        points[where] = values.reshape(len(where), samples, dims)
        if not np.isfinite(points[where]).all():
            row = heads.index[where[np.argwhere(~np.isfinite(points[where]))[0][0]]]
            raise InputError(path, f"has a NaN or infinite trajectory point in readout {row}", _HINT)
    return points


def _value_type(rows: h5py.Dataset, field: str, path: Path) -> np.dtype[Any]:
    """Type of one value of a column: real, or complex where it is stored as numbers with two parts."""
    if field not in (rows.dtype.names or ()):
        raise InputError(path, f"has no {field!r} in its table of readouts", _HINT)
    stored = rows.dtype[field]
    base = np.dtype(h5py.check_vlen_dtype(stored) or stored.base)
    if h5py.check_vlen_dtype(stored) is not None and base != base.newbyteorder("<"):  # h5py 3.16 gives such values unswapped
        raise InputError(path, f"has {field!r} in big-endian order in its table of readouts", "store it little-endian")
    kind = as_complex(np.empty(0, base)).dtype
    if kind.kind not in "fciu" or (field == "traj" and kind.kind == "c"):
        raise InputError(
            path, f"has {field!r} of type {base} in its table of readouts", "store it as real numbers in single precision"
        )
    return kind


def _runs(index: Int[np.ndarray, "readout"], rows_at_once: int) -> Iterator[tuple[int, int]]:
    """Slices of `index` whose rows lie close together and span at most `rows_at_once` rows."""
    start, gap = 0, max(1, rows_at_once // 16)
    for stop in range(1, len(index) + 1):
        if stop == len(index) or index[stop] - index[start] >= rows_at_once or index[stop] - index[stop - 1] > gap:
            yield start, stop
            start = stop


def _blocks(
    rows: h5py.Dataset, field: str, heads: Heads, path: Path, length: int
) -> Iterator[tuple[Int[np.ndarray, "block"], NDArray[Any]]]:
    _value_type(rows, field, path)
    row_bytes = rows.dtype.itemsize + int(heads.samples.max()) * (8 * int(heads.channels.max()) + 4 * int(heads.dimensions.max()))
    for start, stop in _runs(heads.index, max(1, _BLOCK_BYTES // row_bytes)):
        first, last = int(heads.index[start]), int(heads.index[stop - 1])
        # Whole rows, because h5py keeps the samples for ever where one field is read alone (its issue 2374).
        stored = rows[first : last + 1][field][heads.index[start:stop] - first]
        for row, values in zip(heads.index[start:stop], stored, strict=True):
            if len(values) != length:
                raise InputError(
                    path, f"has {len(values)} values of {field!r} in readout {row} where its head says {length}", _HINT
                )
        yield np.arange(start, stop), as_complex(np.stack(stored))
