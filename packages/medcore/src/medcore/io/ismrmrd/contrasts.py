"""Which readouts belong to which contrast, and which times belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from medcore.errors import InputError, SeveralSlicesError
from medcore.io.images import TIME_KEYS, checked_indices
from medcore.io.ismrmrd.heads import Heads

COUNTERS = ("set", "repetition", "phase", "contrast")
_PREFERRED = {"te": "contrast", "ti": "set", "tr": "repetition", "flip_angle": "set"}


def one_slice(heads: Heads, index: int | None, path: Path) -> Heads:
    """The readouts of slice `index`, or all where there is one slice.

    Raises
    ------
    InputError
        If there are several and `index` names none of them.
    """
    slices = np.unique(heads.counters["slice"])
    if len(slices) == 1 and index in (None, int(slices[0])):
        return heads
    if index is None or index not in slices:
        raise SeveralSlicesError.choosing(path, slices.tolist(), index)
    return heads.take(heads.counters["slice"] == index)


def number_contrasts(heads: Heads) -> tuple[Int[np.ndarray, "readout"], Int[np.ndarray, "contrast counter"]]:
    """Contrast number of every readout, and the counter values of every contrast."""
    counters = np.stack([heads.counters[name] for name in COUNTERS], axis=1)
    keys, inverse = np.unique(counters, axis=0, return_inverse=True)
    return inverse.ravel(), keys


def choose(
    heads: Heads, contrast: Int[np.ndarray, "readout"], wanted: Sequence[int] | None, n: int, path: Path
) -> tuple[Heads, Int[np.ndarray, "kept"], list[int]]:
    """The readouts of the contrasts `wanted`, their new contrast numbers, and the contrasts in order.

    Raises
    ------
    InputError
        If a contrast is not there, or is asked for twice.
    """
    if wanted is None:
        return heads, contrast, list(range(n))
    chosen = distinct(checked_indices(wanted, n, path), "contrasts")
    numbers = np.full(n, -1)
    numbers[chosen] = np.arange(len(chosen))
    keep = numbers[contrast] >= 0
    return heads.take(keep), numbers[contrast[keep]], chosen


def distinct(indices: list[int], what: str) -> list[int]:
    """`indices`, refused where one comes twice."""
    if len(set(indices)) < len(indices):
        raise InputError(what, f"are {indices}, some twice", "name each once")
    return indices


def match_times(
    stated: Mapping[str, Sequence[float]], keys: Int[np.ndarray, "contrast counter"]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, int]]:
    """Times of every contrast: one value for all, one for each, or one for each step of a counter.

    Returns
    -------
    times, unmatched
        The second names the lists whose length fits nothing, with that length.
    """
    times, unmatched = {}, {}
    for key in TIME_KEYS:
        values = np.array(stated.get(key, ()), dtype=np.float64)
        if len(values) == 0:
            continue
        by_counter = _counter_for(key, len(values), keys)
        if len(values) == len(keys):
            times[key] = values
        elif len(values) == 1:
            times[key] = np.repeat(values, len(keys))
        elif by_counter is not None:
            times[key] = values[keys[:, by_counter]]
        else:
            unmatched[key] = len(values)
    return times, unmatched


def _counter_for(key: str, length: int, keys: Int[np.ndarray, "contrast counter"]) -> int | None:
    """The counter whose steps a list of times describes: the usual one first, then any with that many steps."""
    order = sorted(range(len(COUNTERS)), key=lambda i: COUNTERS[i] != _PREFERRED[key])
    return next((i for i in order if int(keys[:, i].max()) + 1 == length), None)
