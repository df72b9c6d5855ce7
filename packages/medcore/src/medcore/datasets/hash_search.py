"""All pairs of 64-bit codes that differ in a few bits, without comparing all pairs.

Multi-index hashing (Norouzi, Punjani and Fleet 2012, arXiv 1307.2982): a code is four parts of 16 bits. Of two codes that differ in
at most 7 bits one part differs in at most one (the pigeonhole principle), so each code looks only into the buckets of its parts and
of the 16 values next to each. Of the pairs that differ in 8 or 9 bits, 4 and 12 per cent are missed (those with two or more in every part).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64, UInt64

PARTS, PART_BITS = 4, 16
SURE = 2 * PARTS - 1
"""Bits up to which no pair is missed."""
RADIUS = SURE + 2
"""The most bits by which codes of a pair may differ."""
_FEW = 3000  # codes on a side up to which comparing all of them is faster than buckets
_BLOCK = 1 << 22  # pairs looked at in one go, which bounds memory


def near_pairs(
    queries: UInt64[np.ndarray, " q"], codes: UInt64[np.ndarray, " n"], radius: int = RADIUS
) -> Iterator[tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]]:
    """Pairs (query, code) of a Hamming distance of at most `radius`, in blocks; a pair may come more than once.

    Up to :data:`SURE` bits none is missed; where a side has few codes all are compared and none is missed at all.
    """
    if min(len(queries), len(codes)) <= _FEW:
        yield from _all_pairs(queries, codes, radius)
        return
    for part in range(PARTS):
        shift = np.uint64(part * PART_BITS)
        keys, wanted = _part(codes, shift), _part(queries, shift)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange((1 << PART_BITS) + 1))
        for mask in _masks():
            first = starts[wanted ^ mask]
            count = starts[(wanted ^ mask) + 1] - first
            for rows in _blocks(count):
                q = np.repeat(rows, count[rows])
                step = np.arange(len(q)) - np.repeat(np.cumsum(count[rows]) - count[rows], count[rows])
                c = order[np.repeat(first[rows], count[rows]) + step]
                near = np.bitwise_count(queries[q] ^ codes[c]) <= radius
                yield q[near], c[near]


def _all_pairs(queries: np.ndarray, codes: np.ndarray, radius: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    step = max(1, _BLOCK // max(1, len(codes)))
    for start in range(0, len(queries), step):
        q, c = np.nonzero(np.bitwise_count(queries[start : start + step, None] ^ codes[None]) <= radius)
        yield q + start, c


def _part(codes: np.ndarray, shift: np.uint64) -> np.ndarray:
    return ((codes >> shift) & np.uint64((1 << PART_BITS) - 1)).astype(np.int64)


def _blocks(count: np.ndarray) -> Iterator[np.ndarray]:
    """Rows that have something to look at, in groups of bounded total."""
    rows = np.flatnonzero(count)
    if len(rows):
        yield from np.split(rows, np.flatnonzero(np.diff(np.cumsum(count[rows]) // _BLOCK)) + 1)


def _masks() -> tuple[int, ...]:
    """Zero, and the 16-bit numbers with a single one."""
    return (0, *(1 << bit for bit in range(PART_BITS)))
