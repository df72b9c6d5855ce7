"""Put Cartesian readouts at their place on the grid; also those of other raw formats, whose heads have been brought to this form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Complex, Int

from medcore.errors import InputError
from medcore.io.ismrmrd.header import Header
from medcore.io.ismrmrd.heads import Heads
from medcore.io.ismrmrd.layout import REVERSE
from medcore.io.ismrmrd.lost import Lost, lost_lines
from medcore.io.ismrmrd.samples import Blocks
from medcore.io.limits import check_size

_MOST_LINES = 1 << 26


def grid_lines(
    blocks: Blocks, heads: Heads, header: Header, contrast: Int[np.ndarray, "readout"], coils: int, path: Path
) -> tuple[Complex[np.ndarray, "contrast coil z y x"], Bool[np.ndarray, "contrast z y x"] | None, list[str]]:
    """Samples on the grid, which points were measured (None where all), and what was repaired.

    Lines measured in several averages become their mean.

    Parameters
    ----------
    blocks
        The samples of all readouts of `heads`.
    heads, header, contrast
        One head and contrast number for each readout; matrix and encoding limits.
    coils
        Number of coils of the samples.
    path
        Names the file in errors.

    Raises
    ------
    InputError
        If a line lies outside the matrix, is longer than it, or was stored twice.
    """
    n_contrasts = int(contrast.max()) + 1
    shape = (n_contrasts, coils, *header.matrix)
    check_size(path, shape, 8, path.stat().st_size)
    y, y_notes = _positions(heads, header, 1, path)
    z, z_notes = _positions(heads, header, 2, path)
    start, keep, x_notes = _extent(heads, header.matrix[2], path)
    _refuse_duplicates(heads, (contrast, z, y), path)

    data = np.zeros(shape, dtype=np.complex64)
    mask = np.zeros((n_contrasts, *header.matrix), dtype=bool)
    for where, block in blocks:
        for row, samples in zip(where, block, strict=True):
            line = slice(start[row], start[row] + keep[row])
            kept = samples[:, heads.discard_pre[row] :][:, : keep[row]]
            data[contrast[row], :, z[row], y[row], line] += kept[:, ::-1] if heads.flags[row] & REVERSE else kept
            mask[contrast[row], z[row], y[row], line] = True
    notes = [*y_notes, *z_notes, *x_notes]
    counts = np.zeros((n_contrasts, *header.matrix[:2]), dtype=np.float32)
    np.add.at(counts, (contrast, z, y), 1)
    if counts.max() > 1:
        data /= np.maximum(counts, 1)[:, None, :, :, None]
        notes.append(f"took the mean of up to {int(counts.max())} averages of a line")
    return data, None if mask.all() else mask, notes


def lost_readouts(heads: Heads, header: Header, contrast: Int[np.ndarray, "readout"]) -> Lost:
    """Lines that the header promises and no readout holds, by the counters of the file."""
    y, z = heads.counters["kspace_encode_step_1"], heads.counters["kspace_encode_step_2"]
    sizes = [max(n, int(counter.max()) + 1) for n, counter in zip(header.matrix, (z, y), strict=False)]
    shape = (int(contrast.max()) + 1, *sizes)
    if np.prod(shape, dtype=np.float64) > _MOST_LINES:  # counters far from the matrix: nothing sensible is promised
        return Lost()
    measured = np.zeros(shape, dtype=bool)
    measured[contrast, z, y] = True
    return lost_lines(measured, header.limits, header.acceleration)


def _positions(heads: Heads, header: Header, step: int, path: Path) -> tuple[Int[np.ndarray, "readout"], list[str]]:
    """Grid index along y (step 1) or z (step 2), with the stated centre moved to ``n // 2``."""
    name, n = f"kspace_encoding_step_{step}", header.matrix[2 - step]
    counter = heads.counters[f"kspace_encode_step_{step}"]
    limit = header.limits.get(name)
    center = n // 2 if limit is None else limit.center
    shifted = counter - center + n // 2
    if shifted.min() >= 0 and shifted.max() < n:
        return shifted, []
    if center == 0 and counter.max() < n:
        return counter, [f"centre of {name} stated as 0, taken as {n // 2}"]
    raise InputError(
        path,
        f"has {name} from {counter.min()} to {counter.max()} round the centre {center}, outside the matrix of {n}",
        "correct the encoding limits in its header",
    )


def _extent(heads: Heads, n: int, path: Path) -> tuple[Int[np.ndarray, "readout"], Int[np.ndarray, "readout"], list[str]]:
    """First grid index along x and number of kept samples of every readout."""
    keep = heads.samples - heads.discard_pre - heads.discard_post
    center = heads.center - heads.discard_pre
    center = np.where(heads.flags & REVERSE, keep - 1 - center, center)
    start = n // 2 - center
    beyond = (start < 0) | (start + keep > n)
    notes = []
    if beyond.any():
        if keep.max() > n or keep.min() < n:
            row = int(np.flatnonzero(beyond)[0])
            raise InputError(
                path,
                f"has {keep[row]} samples with centre {center[row]} in readout {heads.index[row]}, beyond the matrix of {n}",
                "correct the encoded matrix size in its header",
            )
        start = np.where(beyond, 0, start)
        if not np.all(heads.flags[beyond] & REVERSE):
            notes.append(f"centre sample of {int(beyond.sum())} full readouts taken as {n // 2}")
    return start, keep, notes


def _refuse_duplicates(heads: Heads, place: tuple[Int[np.ndarray, "readout"], ...], path: Path) -> None:
    keys = np.stack([*place, heads.counters["average"]], axis=1)
    _, first, counts = np.unique(keys, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        row = heads.index[first[counts > 1][0]]
        raise InputError(
            path,
            f"stores {int((counts - 1).sum())} lines twice, the first is that of readout {row}",
            "number repeated lines as averages or repetitions",
        )
