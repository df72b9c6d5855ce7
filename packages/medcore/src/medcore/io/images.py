"""A series of images of one volume under different contrasts, with its times and its place in the scanner."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError

TIME_KEYS = ("te", "ti", "tr", "flip_angle", "b_value")
"""Keys of ``times``: echo, inversion and repetition time in seconds, flip angle in radians, b-value in s/m^2."""

_LONGEST = {"te": 1.0, "ti": 30.0, "tr": 60.0}
_WORDS = {"te": "echo time", "ti": "inversion time", "tr": "repetition time", "flip_angle": "flip angle", "b_value": "b-value"}


def checked_times(times: Mapping[str, Any], n_contrasts: int, what: str | Path) -> dict[str, NDArray[np.float64]]:
    """Times as float64 vectors of length `n_contrasts`.

    Raises
    ------
    InputError
        If a key is none of :data:`TIME_KEYS`, a length differs from `n_contrasts`, or a value is negative or not finite.
    """
    checked = {}
    for key, values in times.items():
        if key not in TIME_KEYS:
            raise InputError(what, f"has times called {key!r}", f"use {', '.join(TIME_KEYS)}")
        try:
            vector = np.atleast_1d(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise InputError(what, f"has {_WORDS[key]}s that are not numbers ({values!r})", "give numbers") from error
        if vector.shape != (n_contrasts,):
            raise InputError(
                what, f"has {vector.size} {_WORDS[key]}s for {n_contrasts} contrasts", f"give one {_WORDS[key]} for each contrast"
            )
        if not (np.isfinite(vector).all() and (vector >= 0).all()):
            raise InputError(
                what, f"has an impossible {_WORDS[key]} in {vector.tolist()}", "give finite values that are not negative"
            )
        checked[key] = vector
    return checked


def check_seconds(times: Mapping[str, Any], what: str | Path) -> None:
    """Refuse times that look like milliseconds: an echo time above 1 s, inversion above 30 s, repetition above 60 s.

    Raises
    ------
    InputError
        With the value, and the value divided by 1000 as the hint.
    """
    for key, limit in _LONGEST.items():
        longest = float(np.max(times[key])) if key in times and np.size(times[key]) else 0.0
        if longest > limit:
            raise InputError(
                what,
                f"has {'an' if key in ('te', 'ti') else 'a'} {_WORDS[key]} of {longest:g} s, which looks like milliseconds",
                f"give seconds, here perhaps {longest / 1000:g}",
            )


def checked_affine(affine: Any, what: str | Path) -> NDArray[np.float64]:
    """`affine` as a finite, invertible float64 matrix of shape (4, 4).

    Raises
    ------
    InputError
        If it is not that.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError(what, "has an affine that is not a finite 4 x 4 matrix", "correct the orientation fields of the file")
    with np.errstate(over="ignore"):  # absurd entries give infinite lengths
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    usable = np.isfinite(lengths).all() and (lengths > 0).all()
    if not usable or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-3 or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise InputError(
            what, "has a singular affine, so voxels have no place in space", "correct the orientation fields of the file"
        )
    return matrix


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSeries:
    """Images of one volume under `n_contrasts` contrasts.

    Parameters
    ----------
    data
        Shape (contrast, z, y, x), float32 or complex64; NaN voxels are allowed.
    affine
        Shape (4, 4), maps the voxel index (x, y, z, 1) to RAS+ scanner coordinates in metres.
    times
        Any of ``te``, ``ti``, ``tr`` in seconds, ``flip_angle`` in radians and ``b_value`` in s/m^2, each of shape (contrast,).
    meta
        Further facts about the measurement; never patient identifiers.
    repairs
        One sentence for everything that was not as it should be and was mended.
    source
        Where the images came from.

    Raises
    ------
    InputError
        If axes, lengths, affine or times contradict each other.
    """

    data: NDArray[Any]
    affine: NDArray[Any]
    times: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    source: str = "memory"

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or 0 in self.data.shape:
            raise InputError(self.source, f"has shape {self.data.shape}", "give four non-empty axes (contrast, z, y, x)")
        if self.data.dtype not in (np.float32, np.complex64):
            raise InputError(self.source, f"has data of type {self.data.dtype}", "convert to float32 or complex64")
        object.__setattr__(self, "affine", checked_affine(self.affine, self.source))
        object.__setattr__(self, "times", checked_times(self.times, self.n_contrasts, self.source))

    @property
    def n_contrasts(self) -> int:
        """Number of contrasts."""
        return int(self.data.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Spatial shape (z, y, x)."""
        z, y, x = self.data.shape[1:]
        return z, y, x

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Edge lengths (z, y, x) of a voxel in metres."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return z, y, x

    def select(self, indices: Sequence[int]) -> ImageSeries:
        """The series with only the contrasts at `indices`, in that order."""
        chosen = checked_indices(indices, self.n_contrasts, self.source)
        return dataclasses.replace(self, data=self.data[chosen], times={k: v[chosen] for k, v in self.times.items()})


def checked_indices(indices: Sequence[int], n_contrasts: int, what: str | Path) -> list[int]:
    """`indices` as a list, each in ``range(n_contrasts)``; raises InputError otherwise."""
    chosen = [int(i) for i in indices]
    if not chosen or any(not 0 <= i < n_contrasts for i in chosen):
        raise InputError(what, f"has no contrasts {chosen}", f"choose from 0 to {n_contrasts - 1}")
    return chosen
