"""The samples and trajectories of readouts, in blocks, each checked against what its head says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Complex, Float, Int
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.hdf5 import as_complex
from medcore.io.hdf5_table import Table
from medcore.io.ismrmrd.heads import Heads

Blocks = Iterator[tuple[Int[np.ndarray, "block"], Complex[np.ndarray, "block coil sample"]]]
"""Positions in a table of heads, and the samples of those readouts."""

_BLOCK_BYTES = 2 << 20
_HINT = "get another copy of the file"


def sample_blocks(table: Table, heads: Heads, coils: Sequence[int] | None = None) -> Blocks:
    """Yield positions in `heads` and their complex64 samples; all readouts must be of one size.

    Only the rows of `heads` are read, some megabytes at a time.

    Parameters
    ----------
    table, heads
        Table of readouts, and the heads of those wanted.
    coils
        Which coils; all by default.

    Raises
    ------
    InputError
        If a readout holds another number of values than its head says, or one that is not finite.
    """
    path = table.path
    channels, samples = heads.uniform("channels", path), heads.uniform("samples", path)
    whole = _value_type(table, "data").kind == "c"
    for where, values in _blocks(table, "data", heads, channels * samples * (1 if whole else 2)):
        numbers = values.astype(np.complex64 if whole else np.float32, copy=False)
        block = numbers.view(np.complex64).reshape(len(where), channels, samples)
        if not np.isfinite(block).all():
            bad = np.argwhere(~np.isfinite(block))[0]
            row = heads.index[where[bad[0]]]
            raise InputError(path, f"has a NaN or infinite sample in readout {row}, coil {bad[1]}, sample {bad[2]}", "leave it out")
        yield where, block if coils is None else block[:, list(coils)]


def storage_notes(table: Table) -> list[str]:
    """One sentence where samples are stored in another way than the format says: single precision, real and imaginary in turn."""
    kind = _value_type(table, "data")
    if kind == np.float32:
        return []
    return [
        f"samples stored as {kind} read as complex64"
        if kind.kind == "c"
        else f"samples stored as pairs of {kind} read as complex64"
    ]


def trajectory_points(table: Table, heads: Heads) -> Float[np.ndarray, "readout sample dim"]:
    """Trajectory of every readout as stored, columns (kx, ky[, kz]), in the unit of the file."""
    path = table.path
    samples, dims = heads.uniform("samples", path), heads.uniform("dimensions", path)
    points = np.empty((len(heads), samples, dims), dtype=np.float32)
    for where, values in _blocks(table, "traj", heads, samples * dims):
        points[where] = values.reshape(len(where), samples, dims)
        if not np.isfinite(points[where]).all():
            row = heads.index[where[np.argwhere(~np.isfinite(points[where]))[0][0]]]
            raise InputError(path, f"has a NaN or infinite trajectory point in readout {row}", _HINT)
    return points


def _value_type(table: Table, field: str) -> np.dtype[Any]:
    """Type of one value of a column: real, or complex where it is stored as numbers with two parts."""
    if field not in table.names:
        raise InputError(table.path, f"has no {field!r} in its table of readouts", _HINT)
    base = table.type_of(field).base
    kind = as_complex(np.empty(0, base)).dtype
    if kind.kind not in "fciu" or (field == "traj" and kind.kind == "c"):
        raise InputError(
            table.path, f"has {field!r} of type {base} in its table of readouts", "store it as real numbers in single precision"
        )
    return kind


def _blocks(table: Table, field: str, heads: Heads, length: int) -> Iterator[tuple[Int[np.ndarray, "block"], NDArray[Any]]]:
    kind = _value_type(table, field)
    step = max(1, _BLOCK_BYTES // max(1, length * kind.itemsize))
    for start in range(0, len(heads), step):
        where = np.arange(start, min(start + step, len(heads)))
        stored = []
        for row in heads.index[where].tolist():
            values = as_complex(table.values(field, row)).ravel()
            if len(values) != length:
                raise InputError(
                    table.path, f"has {len(values)} values of {field!r} in readout {row} where its head says {length}", _HINT
                )
            stored.append(values)
        yield where, np.stack(stored)
