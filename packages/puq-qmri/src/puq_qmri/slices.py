"""Scans of several slices: read one after the other, reconstructed each by itself, put together as one volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from medcore.errors import InputError, NumericalError, SeveralSlicesError
from medcore.io.images import ImageSeries
from medcore.io.kspace import KSpace
from puq_qmri.inputs import open_scan, with_repetition_time
from puq_qmri.preparation import remove_oversampling
from puq_qmri.results import ReconstructedImages

_CHOOSE = "choose one with --slice"
_SAME = 0.05
"""Part of a voxel's shortest edge by which slices may lie beside their place in an even stack."""


@dataclass(frozen=True, kw_only=True)
class SlicedScan:
    """The slices of a scan; only the typical one is kept in memory.

    Attributes
    ----------
    typical
        The first slice with signal, for whatever needs contrasts, times or sampling of the scan.
    number
        Its number.
    numbers
        Of all slices, as the file counts them.
    read
        Reads the slice of a number.
    """

    typical: KSpace
    number: int
    numbers: tuple[int, ...]
    read: Callable[[int], KSpace]

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[KSpace]:
        for number in self.numbers:
            yield self.typical if number == self.number else self.read(number)


def open_slices(
    path: str | Path | Sequence[str | Path],
    times: Mapping[str, Sequence[float]] | None = None,
    *,
    tr: float | None = None,
    slice_index: int | None = None,
) -> KSpace | SlicedScan:
    """K-space of one slice or of all; see :func:`puq_qmri.inputs.open_scan`.

    Parameters
    ----------
    path
        The file, or files of some contrasts each.
    times
        Times in seconds of all contrasts, instead of those of the files.
    tr
        Repetition time in seconds of all contrasts.
    slice_index
        Only this slice; all of them if not given.

    Raises
    ------
    InputError
        As :func:`~puq_qmri.inputs.open_scan`.
    """

    def read(number: int | None) -> KSpace:
        return with_repetition_time(open_scan(path, times, slice_index=number), tr)

    try:
        return read(slice_index)
    except SeveralSlicesError as error:
        if slice_index is not None:
            raise
        numbers = error.slices
    for number in numbers:
        found = read(number)
        if found.measured.any():
            return SlicedScan(typical=found, number=number, numbers=numbers, read=read)
    raise NumericalError(found.source, f"holds no signal in any of its {len(numbers)} slices", "check the file")


def typical_slice(scan: KSpace | SlicedScan) -> KSpace:
    """The only slice, or the first one with signal."""
    return scan.typical if isinstance(scan, SlicedScan) else scan


def reconstruct_slices(
    scan: SlicedScan, make: Callable[[KSpace, tuple[str, str] | None], ReconstructedImages], *, keep_oversampling: bool = False
) -> ReconstructedImages:
    """Images of all slices as one volume, in the order of their places.

    A slice without signal stays empty, with infinite variance. Iterations, residuals and noise level are the largest of all slices;
    ``facts["slices"]`` has those of each.

    Parameters
    ----------
    scan
        The slices.
    make
        Makes the images of one; its second argument is what the first slice with signal found for method and uncertainty, so that
        all slices are reconstructed alike.
    keep_oversampling
        Whether images keep the field of view that was measured.

    Raises
    ------
    InputError
        If slices differ in size, times or direction, or do not lie in an even stack.
    """
    ways: tuple[str, str] | None = None
    parts: list[ReconstructedImages | None] = []
    places: list[Float[np.ndarray, "4 4"]] = []
    for kspace in scan:
        _check_alike(scan.typical, kspace)
        if not kspace.measured.any():
            parts.append(None)
            places.append((kspace if keep_oversampling else remove_oversampling(kspace)).affine)
            continue
        found = make(kspace, ways)
        ways = (found.facts["method"], found.facts["uncertainty"])
        parts.append(found)
        places.append(found.series.affine)
    order, affine, notes = _stack(places, scan.typical)
    return _volume([parts[i] for i in order], [scan.numbers[i] for i in order], affine, notes)


def _check_alike(typical: KSpace, kspace: KSpace) -> None:
    if kspace.matrix[0] != 1:
        raise InputError(kspace.source, f"holds several slabs of {kspace.matrix[0]} planes", _CHOOSE)
    if kspace.matrix != typical.matrix or kspace.n_contrasts != typical.n_contrasts:
        raise InputError(
            kspace.source,
            f"has slices of {typical.n_contrasts} contrasts of {typical.matrix} and of {kspace.n_contrasts} of {kspace.matrix}",
            _CHOOSE,
        )
    if typical.times.keys() != kspace.times.keys() or any(
        not np.allclose(values, kspace.times[key], equal_nan=True) for key, values in typical.times.items()
    ):
        raise InputError(kspace.source, "has slices measured at different times of the sequence", _CHOOSE)


def _stack(
    places: Sequence[Float[np.ndarray, "4 4"]], typical: KSpace
) -> tuple[list[int], Float[np.ndarray, "4 4"], tuple[str, ...]]:
    """Order of the slices along their normal, affine of the volume, and what had to be assumed."""
    first = places[0]
    edge = float(np.linalg.norm(first[:3, :3], axis=0).min())
    corners = np.array(typical.matrix[::-1])
    turned = max(float(np.abs((place[:3, :3] - first[:3, :3]) * corners).max()) for place in places)
    offsets = np.array([place[:3, 3] - first[:3, 3] for place in places])
    if turned > _SAME * edge * np.sqrt(3):
        raise InputError(typical.source, "has slices of different directions", _CHOOSE)
    affine = first.copy()
    if np.linalg.norm(offsets, axis=1).max() <= _SAME * edge:
        thickness = float(np.linalg.norm(first[:3, 2]))
        affine[:3, 3] -= first[:3, 2] * (len(places) - 1) / 2
        note = (
            f"no places of the {len(places)} slices in the file, put {1e3 * thickness:.3g} mm apart in the order of their numbers"
        )
        return list(range(len(places))), affine, (note,)
    order = np.argsort(offsets @ first[:3, 2], kind="stable").tolist()
    sorted_offsets = offsets[order]
    step = (sorted_offsets[-1] - sorted_offsets[0]) / (len(places) - 1)
    even = sorted_offsets[0] + np.arange(len(places))[:, None] * step
    beside = float(np.linalg.norm(sorted_offsets - even, axis=1).max())
    if beside > _SAME * edge or abs(float(step @ first[:3, 2])) < 1e-3 * float(np.linalg.norm(step) * np.linalg.norm(first[:3, 2])):
        raise InputError(typical.source, f"has slices up to {1e3 * beside:.2g} mm beside an even stack", _CHOOSE)
    affine[:3, 2], affine[:3, 3] = step, places[order[0]][:3, 3]
    return order, affine, ()


def _volume(
    parts: Sequence[ReconstructedImages | None],
    numbers: Sequence[int],
    affine: Float[np.ndarray, "4 4"],
    notes: tuple[str, ...],
) -> ReconstructedImages:
    found = [part for part in parts if part is not None]
    typical = found[0]
    shape = typical.series.data.shape
    empty = [number for number, part in zip(numbers, parts, strict=True) if part is None]
    if empty:
        notes = (*notes, f"no sample in slice {', '.join(map(str, empty))}: image empty, variance infinite, not fitted")
    images = [np.zeros(shape, np.complex64) if part is None else part.series.data for part in parts]
    deviations = [np.full(shape, np.inf, np.float32) if part is None else part.deviation for part in parts]
    levels = [part.noise_level for part in found if part.noise_level is not None]
    known = [d for d in deviations if d is not None]
    return ReconstructedImages(
        series=ImageSeries(
            data=np.concatenate(images, axis=1),
            affine=affine,
            times=typical.series.times,
            meta={key: value for key, value in typical.series.meta.items() if key not in {"slice", "slices"}},
            repairs=(*_repairs(parts, numbers), *notes),
            source=typical.series.source,
        ),
        deviation=np.concatenate(known, axis=1) if len(known) == len(parts) else None,
        iterations=np.max([part.iterations for part in found], axis=0).tolist(),
        residuals=np.max([part.residuals for part in found], axis=0).tolist(),
        noise_level=max(levels, default=None),
        noise_source=typical.noise_source,
        sampling=typical.sampling,
        facts={**typical.facts, "slices": [_facts(n, part) for n, part in zip(numbers, parts, strict=True)]},
    )


def _facts(number: int, part: ReconstructedImages | None) -> dict[str, object]:
    if part is None:
        return {"slice": number, "empty": True}
    summary = part.summary()
    return {"slice": number, **{key: summary[key] for key in ("iterations", "residuals", "noise_level")}}


def _repairs(parts: Sequence[ReconstructedImages | None], numbers: Sequence[int]) -> list[str]:
    """What was said of all slices once, the rest with the number of its slice."""
    found = [(number, part.series.repairs) for number, part in zip(numbers, parts, strict=True) if part is not None]
    common = [note for note in found[0][1] if all(note in notes for _, notes in found)]
    return common + [f"slice {number}: {note}" for number, notes in found for note in notes if note not in common]
