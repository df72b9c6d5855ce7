"""Read Siemens raw data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.geometry import centred_affine
from medcore.io.images import check_seconds
from medcore.io.ismrmrd.contrasts import match_times, number_contrasts, one_slice
from medcore.io.ismrmrd.gridding import grid_lines, lost_readouts
from medcore.io.ismrmrd.header import Header, Limit
from medcore.io.ismrmrd.heads import Heads
from medcore.io.ismrmrd.layout import REVERSE
from medcore.io.ismrmrd.reading import affine_of
from medcore.io.ismrmrd.samples import Blocks as SampleBlocks
from medcore.io.kspace import KSpace
from medcore.io.twix.protocol import Protocol, parse_protocol
from medcore.io.twix.structure import Blocks, Measurement, find_measurements, read_blocks, read_protocol, read_samples

NOISE, REFLECT, REFERENCE, REFERENCE_AND_IMAGE = 1 << 25, 1 << 24, 1 << 22, 1 << 23
_AUXILIARY = {
    "phase-correction": 1 << 21,
    "feedback (RT)": 1 << 1,
    "feedback (HP)": 1 << 2,
    "phase-stabilisation": 1 << 14 | 1 << 15,
    "dummy": 1 << 51,
    "navigator": 1 << 60,
}
_COUNTERS = {
    "kspace_encode_step_1": "Lin",
    "kspace_encode_step_2": "Par",
    "average": "Ave",
    "slice": "Sli",
    "contrast": "Eco",
    "phase": "Phs",
    "repetition": "Rep",
    "set": "Set",
}


def read_twix(
    path: str | Path,
    *,
    measurement: int = -1,
    slice_index: int | None = None,
    part: Literal["image", "reference"] = "image",
    remove_oversampling: bool = False,
) -> KSpace:
    """Read one slice of one measurement on a Cartesian grid; only its samples are loaded.

    Every distinct combination of the counters set, repetition, phase and echo becomes one contrast, sorted in that order; averages
    become their mean. Lines read backwards are turned; asymmetric echoes are placed by their centre column. Times come from the
    protocol. Noise is taken from the measurement, or from another one of the file. Measurements along other trajectories are
    refused: the file does not hold them.

    The reader was tested on files made by code after the layout that twixtools documents, not on files of a scanner. Position and
    axes come from the first readout's slice position and quaternion (columns phase, read and slice direction); to which side the
    in-plane axes point is a convention that was not checked against images of a scanner, which `repairs` says.

    Parameters
    ----------
    path
        The file.
    measurement
        Which measurement, counted as in a list; by default the last, which is the scan itself.
    slice_index
        Which slice, by its counter, where there are several.
    part
        ``image``, or the ``reference`` lines of parallel imaging that were measured apart or along with it.
    remove_oversampling
        Whether the readout is cut to the field of view. Needs complete readouts.

    Raises
    ------
    InputError
        If the file is damaged or was never finished, is not Cartesian, or contradicts its protocol.
    MissingExtraError
        If twixtools is not installed.
    """
    path = Path(path)
    found = find_measurements(path)
    if not -len(found) <= measurement < len(found):
        raise InputError(path, f"holds {len(found)} measurements, measurement is {measurement}", "choose one with measurement")
    if part not in ("image", "reference"):
        raise InputError("part", f"is {part!r}", "use 'image' or 'reference'")
    with path.open("rb") as file:
        buffers, start = read_protocol(file, found[measurement], path)
        protocol = parse_protocol(buffers, path)
        blocks = read_blocks(file, found[measurement], start, path)
        wanted, notes = _wanted(blocks, part)
        if not wanted.any():
            raise InputError(path, f"holds no {part} readout in measurement {measurement}", "choose another with measurement")
        heads = one_slice(_heads(blocks).take(wanted), slice_index, path)
        header, assumed = _header(protocol, blocks.heads[heads.index], path)
        contrast, keys = number_contrasts(heads)
        coils = heads.uniform("channels", path)
        data, mask, gridded = grid_lines(_samples(file, blocks, heads, path), heads, header, contrast, coils, path)
        noise, noted = _noise(file, found, measurement % len(found), blocks, coils, path)
    times, unmatched = match_times(header.times, keys)
    check_seconds(times, path)
    notes += [*protocol.notes, *assumed, *gridded, *noted]
    notes += [
        f"{n} values of {key} in the protocol fit no counter of {len(keys)} contrasts, left out" for key, n in unmatched.items()
    ]
    lost = lost_readouts(heads, header, contrast)
    notes += [lost.sentence()] if lost and part == "image" else []
    affine = affine_of(heads, header)
    known = affine is not None
    notes.append(
        "side of the in-plane axes by convention" if known else "no orientation in the readouts, axis-aligned geometry assumed"
    )
    fields: dict[str, Any] = {"matrix": header.matrix, "fov": header.fov, "data": data, "mask": mask}
    factor = header.matrix[2] / protocol.columns
    if remove_oversampling and factor > 1:
        fields = _without_oversampling(fields, protocol, path)
    return KSpace(
        **fields,
        times=times,
        noise=noise,
        affine=_same_centre(affine, header, fields) if affine is not None else centred_affine(fields["matrix"], fields["fov"]),
        field_strength=protocol.field_strength,
        meta=protocol.meta
        | {"readout_oversampling": fields["matrix"][2] / protocol.columns, "measurement": measurement % len(found)},
        repairs=tuple(notes),
        source=str(path),
    )


def _wanted(blocks: Blocks, part: str) -> tuple[NDArray[np.bool_], list[str]]:
    """Which readouts belong to `part`, and how many of each other kind were left out (noise apart)."""
    flags = blocks.heads["EvalInfoMask"].astype(np.int64)
    chosen, notes = flags & NOISE == 0, []
    for name, flag in _AUXILIARY.items():
        if count := int((chosen & (flags & flag != 0)).sum()):
            notes.append(f"left out {count} {name} readouts")
            chosen &= flags & flag == 0
    apart = (flags & REFERENCE != 0) & (flags & REFERENCE_AND_IMAGE == 0)
    if part == "reference":
        return chosen & (flags & (REFERENCE | REFERENCE_AND_IMAGE) != 0), notes
    if count := int((chosen & apart).sum()):
        notes.append(f"left out {count} reference readouts")
    return chosen & ~apart, notes


def _heads(blocks: Blocks) -> Heads:
    """The heads in the form that gridding takes."""
    heads = blocks.heads
    n = len(heads)
    quaternion = np.asarray(heads["SliceData"]["Quaternion"], dtype=np.float64)
    position = np.stack([heads["SliceData"]["SlicePos"][axis] for axis in ("Sag", "Cor", "Tra")], axis=-1).astype(np.float64)
    zeros = np.zeros(n, dtype=np.int64)
    return Heads(
        index=np.arange(n),
        flags=np.where(heads["EvalInfoMask"] & np.uint64(REFLECT) != 0, REVERSE, 0).astype(np.int64),
        samples=heads["SamplesInScan"].astype(np.int64),
        channels=heads["UsedChannels"].astype(np.int64),
        discard_pre=heads["CutOff"]["Pre"].astype(np.int64),
        discard_post=heads["CutOff"]["Post"].astype(np.int64),
        center=heads["CenterCol"].astype(np.int64),
        encoding=zeros,
        dimensions=zeros,
        counters={name: heads["Counter"][field].astype(np.int64) for name, field in _COUNTERS.items()},
        directions=_directions(quaternion),
        position=position,
    )


def _directions(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (readout, axis read phase slice, component) of quaternions, the scalar first."""
    w, x, y, z = quaternion.T
    phase = np.stack([1 - 2 * (y**2 + z**2), 2 * (x * y + z * w), 2 * (x * z - y * w)], axis=-1)
    read = np.stack([2 * (x * y - z * w), 1 - 2 * (x**2 + z**2), 2 * (y * z + x * w)], axis=-1)
    normal = np.stack([2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x**2 + y**2)], axis=-1)
    known = np.abs(np.linalg.norm(quaternion, axis=-1) - 1) < 1e-3
    return np.where(known[:, None, None], np.stack([read, phase, normal], axis=1), 0.0)


def _header(protocol: Protocol, heads: NDArray[Any], path: Path) -> tuple[Header, list[str]]:
    """Matrix, field of view and centres for gridding, and what was assumed."""
    longest, notes = int((heads["SamplesInScan"].astype(int) - heads["CutOff"]["Pre"] - heads["CutOff"]["Post"]).max()), []
    factor = protocol.oversampling
    if factor is None:
        factor = 2.0 if longest > protocol.columns else 1.0
        notes.append(f"oversampling of the readout not stated, taken as {factor:g}")
    columns = round(protocol.columns * factor)
    z, y, x = protocol.fov
    matrix, fov = (protocol.partitions, protocol.lines, columns), (z, y, x * columns / protocol.columns)
    limits = {}
    for step, (field, n) in enumerate((("CenterLin", protocol.lines), ("CenterPar", protocol.partitions)), start=1):
        centres = np.unique(heads[field])
        if len(centres) > 1:
            raise InputError(path, f"has several centres {field}: {centres[:5].tolist()}", "split the measurement")
        centre = int(centres[0])
        limits[f"kspace_encoding_step_{step}"] = Limit(
            minimum=max(0, centre - n // 2), maximum=n - 1 + centre - n // 2, center=centre
        )
    header = Header(
        matrix=matrix,
        fov=fov,
        recon_matrix=matrix,
        recon_fov=fov,
        limits=limits,
        times=protocol.times,
        acceleration=protocol.acceleration,
    )
    return header, notes


def _samples(file: BinaryIO, blocks: Blocks, heads: Heads, path: Path) -> SampleBlocks:
    heads.uniform("samples", path)
    for place, row in enumerate(heads.index):
        samples = read_samples(file, blocks, int(row))
        if not np.isfinite(samples).all():
            coil, sample = np.argwhere(~np.isfinite(samples))[0]
            raise InputError(path, f"has a NaN or infinite sample in readout {row}, coil {coil}, sample {sample}", "leave it out")
        yield np.array([place]), samples[None]


def _noise(
    file: BinaryIO, found: list[Measurement], chosen: int, blocks: Blocks, coils: int, path: Path
) -> tuple[NDArray[np.complex64] | None, list[str]]:
    """Noise (coil, sample) of the chosen measurement, or of the nearest one before or after it that has noise of as many coils."""
    others = sorted((i for i in range(len(found)) if i != chosen), key=lambda i: (abs(i - chosen), i))
    for i, source in ((chosen, blocks), *_other_blocks(file, found, others, path)):
        rows = np.flatnonzero(source.heads["EvalInfoMask"].astype(np.int64) & NOISE)
        if len(rows) and set(source.heads["UsedChannels"][rows].tolist()) == {coils}:
            noise = np.concatenate([read_samples(file, source, int(row)) for row in rows], axis=-1)
            if not np.isfinite(noise).all():
                raise InputError(path, f"has a NaN or infinite sample in the noise of measurement {i}", "leave it out")
            return noise, [] if i == chosen else [f"noise taken from measurement {i}"]
    return None, []


def _other_blocks(file: BinaryIO, found: list[Measurement], others: list[int], path: Path) -> Iterator[tuple[int, Blocks]]:
    for i in others:
        _, start = read_protocol(file, found[i], path)
        yield i, read_blocks(file, found[i], start, path)


def _without_oversampling(fields: dict[str, Any], protocol: Protocol, path: Path) -> dict[str, Any]:
    """The central part of the readout direction, by a centred orthonormal transform there and back."""
    data, mask, (z, y, x), n = fields["data"], fields["mask"], fields["matrix"], protocol.columns
    if mask is not None and not (mask.all(axis=-1) == mask.any(axis=-1)).all():
        raise InputError(path, "has incomplete readouts, of which the oversampling cannot be removed", "keep it")
    start = x // 2 - n // 2
    result = np.empty((*data.shape[:-1], n), dtype=np.complex64)
    for place in np.ndindex(data.shape[:2]):
        profile = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(data[place], axes=-1), norm="ortho"), axes=-1)[
            ..., start : start + n
        ]
        result[place] = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(profile, axes=-1), norm="ortho"), axes=-1)
    depth, height, width = fields["fov"]
    if mask is not None:
        mask = np.ascontiguousarray(np.broadcast_to(mask[..., :1], result[:, 0].shape))
        result *= mask[:, None]
    return {"data": result, "mask": mask, "matrix": (z, y, n), "fov": (depth, height, width * n / x)}


def _same_centre(affine: NDArray[np.float64], header: Header, fields: dict[str, Any]) -> NDArray[np.float64]:
    """`affine` for a grid with another number of columns and the same centre."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, 0] * (header.matrix[2] // 2 - fields["matrix"][2] // 2)
    return moved
