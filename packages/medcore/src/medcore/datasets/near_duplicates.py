"""Samples that show one picture although their pixels differ: re-encoded, scaled, brightened, a little cut or shifted copies.

Perceptual hashes propose pairs (:mod:`medcore.datasets.fingerprints`, found without comparing all pairs by
:mod:`medcore.datasets.hash_search`), and pixels decide (:mod:`medcore.datasets.alignment`): two thumbnails are aligned, and the details
that remain when brightness and coarse shape are divided out must correlate. Images of one kind have hashes that are alike; their details
(vessels of a retina, ribs and vessels of a chest) are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from medcore.datasets.alignment import match
from medcore.datasets.base import Dataset
from medcore.datasets.fingerprints import VIEWS, Fingerprint, fingerprint, hashes
from medcore.datasets.groups import Groups
from medcore.datasets.hash_search import near_pairs
from medcore.errors import ConfigError

LONG_RADIUS = 52
"""Bits of 256 in which the long hashes of a pair may differ to be compared pixel by pixel."""
LEAST_CORRELATION = 0.8
"""Correlation of details from which on two images are near duplicates."""
LEAST_CORRELATION_SMALL = 0.9
"""The same for images with a side below :data:`SMALL_SIDE` pixels, which hold few details: all chest X-rays of 28 x 28 look alike."""
SMALL_SIDE = 64
_BATCH = 64
_TURNS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda x: x,
    lambda x: np.rot90(x, 1),
    lambda x: np.rot90(x, 2),
    lambda x: np.rot90(x, 3),
    np.fliplr,
    np.flipud,
    np.transpose,
    lambda x: np.rot90(x, 2).T,
)
TURNS = (
    "as it is",
    "turned by 90 degrees",
    "turned by 180 degrees",
    "turned by 270 degrees",
    "mirrored left to right",
    "mirrored top to bottom",
    "transposed",
    "transposed the other way",
)
"""What was done to the first image of a pair, counter-clockwise."""


class Link(NamedTuple):
    """Two images, by their numbers, that show one picture."""

    first: int
    second: int
    correlation: float
    difference: float
    turn: int = 0


@dataclass(frozen=True, kw_only=True)
class NearDuplicate:
    """Two samples that show one picture.

    Attributes
    ----------
    first, second
        Identifiers; the second is in the other data set where there is one.
    correlation
        Of the details of the aligned images, at most 1.
    difference
        Mean absolute difference of the aligned images, brightness and contrast matched, in standard deviations.
    turned
        What was done to the first, see :data:`TURNS`.
    """

    first: str
    second: str
    correlation: float
    difference: float
    turned: str = TURNS[0]


def find_near_duplicates(dataset: Dataset, other: Dataset | None = None, *, turns: bool = False) -> list[NearDuplicate]:
    """Find samples that show one picture.

    Copies are found after compression as JPEG, scaling to half or double size, changed brightness and contrast, after a tenth of height
    and width was cut away, or after a shift by 2 per cent; of images with a side below 64 pixels only after milder changes. What is found
    of 18 kinds of copies is measured in the repository's ``benchmarks/results/duplicates.md``. Exact copies are found too. Images whose
    pixels are all equal are not compared.

    Parameters
    ----------
    dataset
        Where to look; all images are decoded once, of each 7 kB stay in memory.
    other
        If given, pairs of one sample of each are looked for, else pairs within `dataset`.
    turns
        Whether mirrored copies and copies turned by multiples of 90 degrees are looked for too; takes eight times as long.

    Returns
    -------
    list of NearDuplicate
        The closest first. Of three and more copies of one picture each is named in a pair, not every pair is.
    """
    items = [(d, i) for d in ([dataset] if other is None else [dataset, other]) for i in range(len(d))]
    prints = [fingerprint(d[i].image, volumetric=d.card.volumetric) for d, i in items]
    side = None if other is None else np.array([d is not dataset for d, _ in items])
    names = [d.annotations[i].sample_id for d, i in items]
    return [
        NearDuplicate(
            first=names[k.first],
            second=names[k.second],
            correlation=k.correlation,
            difference=k.difference,
            turned=TURNS[k.turn],
        )
        for k in link(prints, turns=turns, side=side)
    ]


def link(
    prints: Sequence[Fingerprint | None],
    *,
    turns: bool = False,
    side: np.ndarray | None = None,
    least: float | None = None,
) -> list[Link]:
    """Join fingerprints of one picture; within a group that is joined already no further pair is looked at.

    Parameters
    ----------
    prints
        None stands for an image that is not compared.
    turns
        See :func:`find_near_duplicates`.
    side
        If given, only images of different value are compared.
    least
        Correlation to ask for instead of :data:`LEAST_CORRELATION` and :data:`LEAST_CORRELATION_SMALL`.

    Returns
    -------
    list of Link
        The highest correlation first.

    Raises
    ------
    ConfigError
        If `least` is not between 0 and 1.
    """
    if least is not None and not 0 < least <= 1:
        raise ConfigError("least", f"is {least}", "give a correlation above 0 and at most 1")
    known = [i for i, p in enumerate(prints) if p is not None]
    kept = [p for p in prints if p is not None]
    if len(kept) < 2:
        return []
    groups = Groups(len(kept))
    sides = None if side is None else np.asarray(side)[known]
    needed = np.array([_needed(p, least) for p in kept])
    found: list[Link] = []
    for turn in range(len(_TURNS) if turns else 1):
        for batch in _batches(candidates(kept, turn, sides), groups):
            a, b, view = batch
            first = np.stack([_turned(kept[i].thumbnail, turn) for i in a])
            agreed = match(first, np.stack([kept[i].thumbnail for i in b]), np.array(VIEWS)[view])
            good = agreed.correlation >= np.maximum(needed[a], needed[b])
            for k in np.flatnonzero(good):
                if groups.join(int(a[k]), int(b[k])) or sides is not None:
                    pair = known[a[k]], known[b[k]]
                    pair = pair if turn or pair[0] < pair[1] else pair[::-1]
                    found.append(Link(*pair, float(agreed.correlation[k]), float(agreed.difference[k]), turn))
    return sorted(found, key=lambda k: (-round(k.correlation, 6), k.first, k.second))


def candidates(prints: Sequence[Fingerprint], turn: int, sides: np.ndarray | None) -> Int64[np.ndarray, "n 3"]:
    """Pairs that the hashes propose, the closest first: number of the first and the second image, and view of the first.

    A pair is proposed once, with the view and the order of images whose long hashes differ least.
    """
    if turn == 0:
        short, long = np.stack([p.short for p in prints]), np.stack([p.long for p in prints])
    else:
        both = [hashes(_turned(p.thumbnail, turn)) for p in prints]
        short, long = np.stack([b[0] for b in both]), np.stack([b[1] for b in both])
    whole, target = np.stack([p.short[0] for p in prints]), np.stack([p.long[0] for p in prints])
    found = []
    for view in range(len(VIEWS)):
        for near_q, near_c in near_pairs(short[:, view], whole):
            other = near_q != near_c if sides is None else sides[near_q] != sides[near_c]
            q, c = near_q[other], near_c[other]
            bits = np.bitwise_count(long[q, view] ^ target[c]).sum(axis=1, dtype=np.int64)
            near = bits <= LONG_RADIUS
            found.append(np.stack([q, c, np.full(len(q), view), bits], axis=1)[near])
    table = np.concatenate(found) if found else np.empty((0, 4), dtype=np.int64)
    low, high = table[:, :2].min(axis=1), table[:, :2].max(axis=1)
    table = table[np.lexsort((table[:, 2], table[:, 0], table[:, 3], high, low))]
    low, high = table[:, :2].min(axis=1), table[:, :2].max(axis=1)
    new = np.ones(len(table), dtype=bool)
    new[1:] = (np.diff(low) != 0) | (np.diff(high) != 0)
    table = table[new]
    return np.asarray(table[np.lexsort((table[:, 1], table[:, 0], table[:, 3]))][:, :3])


def _batches(pairs: np.ndarray, groups: Groups) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs that are not in one group yet when their turn comes, some at a time."""
    rows: list[np.ndarray] = []
    for row in pairs:
        if groups.root(int(row[0])) != groups.root(int(row[1])):
            rows.append(row)
        if len(rows) == _BATCH:
            yield _columns(rows)
            rows = []
    if rows:
        yield _columns(rows)


def _columns(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second, view = np.array(rows).T
    return first, second, view


def _needed(item: Fingerprint, least: float | None) -> float:
    if least is not None:
        return least
    return LEAST_CORRELATION_SMALL if min(item.sides) < SMALL_SIDE else LEAST_CORRELATION


def _turned(thumbnail: np.ndarray, turn: int) -> np.ndarray:
    return np.ascontiguousarray(_TURNS[turn](thumbnail))
