"""Samples with exactly the same pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from medcore.datasets.base import Dataset, Pixels


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """Samples that show one image.

    Attributes
    ----------
    sha256
        Of the pixels, see :func:`pixel_hash`.
    members
        Identifiers in the first data set, in its order.
    others
        Identifiers in the other data set.
    """

    sha256: str
    members: tuple[str, ...]
    others: tuple[str, ...] = ()


def pixel_hash(image: Pixels) -> str:
    """SHA-256 of shape and pixels; the same image in another file format without loss has the same hash."""
    state = hashlib.sha256(f"{image.shape}".encode())
    state.update(np.ascontiguousarray(image).tobytes())
    return state.hexdigest()


def find_duplicates(dataset: Dataset, other: Dataset | None = None) -> list[DuplicateGroup]:
    """Find samples with exactly the same pixels.

    A re-encoded, scaled or shifted copy is not found, see :func:`medcore.datasets.near_duplicates.find_near_duplicates`.

    Parameters
    ----------
    dataset
        Where to look; all images are decoded once.
    other
        If given, what is looked for are samples of `dataset` that also occur in `other` (a leak between two splits), else samples that
        occur twice within `dataset`.

    Returns
    -------
    list of DuplicateGroup
        In the order of their first member. Without `other` every group has two members or more; with it one or more of each side.
    """
    own = _by_hash(dataset)
    if other is None:
        return [DuplicateGroup(sha256=key, members=tuple(ids)) for key, ids in own.items() if len(ids) > 1]
    theirs = _by_hash(other)
    return [DuplicateGroup(sha256=k, members=tuple(ids), others=tuple(theirs[k])) for k, ids in own.items() if k in theirs]


def _by_hash(dataset: Dataset) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for i in range(len(dataset)):
        sample = dataset[i]
        found.setdefault(pixel_hash(sample.image), []).append(sample.sample_id)
    return found
