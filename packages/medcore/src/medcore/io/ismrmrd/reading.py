"""Read ISMRMRD files, also those of writers that lay out heads differently or leave header fields out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.geometry import affine_from_vectors, centred_affine
from medcore.io.hdf5 import as_complex, children, member, open_hdf5
from medcore.io.hdf5_table import Table
from medcore.io.images import check_seconds
from medcore.io.ismrmrd.contrasts import choose, distinct, match_times, number_contrasts, one_slice
from medcore.io.ismrmrd.gridding import grid_lines, lost_readouts
from medcore.io.ismrmrd.header import MAX_XML_BYTES, Header, parse_header
from medcore.io.ismrmrd.heads import Heads, image_rows, noise_rows, read_heads
from medcore.io.ismrmrd.lost import Lost, lost_spokes
from medcore.io.ismrmrd.samples import sample_blocks, storage_notes, trajectory_points
from medcore.io.ismrmrd.trajectories import in_radians
from medcore.io.kspace import KSpace
from medcore.io.limits import check_size


def read_ismrmrd(
    path: str | Path,
    *,
    dataset: str = "dataset",
    slice_index: int | None = None,
    contrasts: Sequence[int] | None = None,
    coils: Sequence[int] | None = None,
    trajectory_unit: str | None = None,
    strict: bool = False,
) -> KSpace:
    """Read an ISMRMRD file, or a part of it; it is opened read-only and never changed or created.

    Every distinct combination of the counters set, repetition, phase and contrast becomes one contrast, sorted in that order.
    A list of times in the header is matched to the contrasts by its length: one value for all, one per contrast, or one per
    step of a counter. Readouts that are no image data are left out and counted in `repairs`; readouts that the header's limits and
    acceleration promise and that are absent are counted and named there. Only the slice, contrasts and coils asked for are held in
    memory.

    Parameters
    ----------
    path
        The file.
    dataset
        HDF5 group that holds ``xml`` and ``data``.
    slice_index
        Which slice of a multi-slice 2-D measurement.
    contrasts, coils
        Which contrasts and coils, by number from 0, in the order wanted; all by default.
    trajectory_unit
        ``"rad/sample"``, ``"cycles/sample"`` or ``"1/fov"``, where the file does not declare it and it cannot be told.
    strict
        Whether absent readouts are an error.

    Raises
    ------
    InputError
        If the file is missing, damaged, reaches into other files, or contradicts itself; or lacks readouts, with `strict`.
    """
    path = Path(path)
    with open_hdf5(path) as file, path.open("rb") as stream:
        group = member(file, dataset, path)
        if not isinstance(group, h5py.Group):
            raise InputError(path, f"has no group {dataset!r}", "name the group that holds xml and data")
        header = parse_header(read_xml(member(group, "xml", path), stream, path), path)
        table = _table(group, stream, path)
        heads = read_heads(table)
        wanted, notes = image_rows(heads)
        if not wanted.any():
            raise InputError(path, "holds no readout of an image", "give the measurement, not only its noise scan")
        image = one_slice(heads.take(wanted), slice_index, path)
        coils = _coils(coils, image.uniform("channels", path), path)
        noise = _noise(table, heads.take(noise_rows(heads)), coils, path)
        contrast, keys = number_contrasts(image)
        image, contrast, chosen = choose(image, contrast, contrasts, len(keys), path)
        samples = _samples(table, image, header, contrast, coils, trajectory_unit, path)
        lost = samples.pop("lost")
        if lost and strict:
            raise InputError(path, lost.sentence(), "get a complete copy, or read it without strict")
        notes += storage_notes(table) + samples.pop("notes") + ([lost.sentence()] if lost else [])
        affine, geometry_notes = _affine(group, image, header, path)
        if "mask" in group and samples.get("traj") is None:
            samples["mask"] = _named_array(group, "mask", path, chosen).astype(bool)
        csm = None
        if "csm" in group:
            csm = _named_array(group, "csm", path, coils).astype(np.complex64, copy=False)
    times, unmatched = match_times(header.times, keys)
    if unmatched:
        key, length = next(iter(unmatched.items()))
        raise InputError(
            path, f"states {length} values of {key} for {len(keys)} contrasts", "correct sequenceParameters in its XML header"
        )
    times = {key: values[chosen] for key, values in times.items()}
    check_seconds(times, path)
    meta = dict(header.meta)
    if (header.recon_matrix, header.recon_fov) != (header.matrix, header.fov):
        meta |= {"recon_matrix": list(header.recon_matrix), "recon_fov": list(header.recon_fov)}
    return KSpace(
        **samples,
        matrix=header.matrix,
        fov=header.fov,
        times=times,
        noise=noise,
        csm=csm,
        affine=affine,
        field_strength=header.field_strength,
        meta=meta,
        repairs=(*header.repairs, *notes, *geometry_notes),
        source=str(path),
    )


def read_xml(node: Any, stream: BinaryIO, path: Path) -> bytes:
    """The XML header, stored as one text of any kind."""
    if not isinstance(node, h5py.Dataset) or node.size != 1 or node.dtype.itemsize > MAX_XML_BYTES:
        raise InputError(path, "has no readable XML header", "get another copy of the file")
    if node.dtype.hasobject:
        return Table(node, stream, path).values("", 0).tobytes()
    value = np.asarray(node[()]).ravel()[0]
    return value.encode() if isinstance(value, str) else bytes(value)


def _table(group: h5py.Group, stream: BinaryIO, path: Path) -> Table:
    """The table of readouts; a file of reconstructed images has none."""
    images = [name for name, item in children(group) if isinstance(item, h5py.Group) and {"data", "header"} <= set(item)]
    if "data" not in group and images:
        raise InputError(path, f"holds reconstructed images ({', '.join(images[:5])}) and no readouts", "give the raw data")
    node = member(group, "data", path)
    if not isinstance(node, h5py.Dataset) or node.ndim != 1 or node.dtype.names is None or node.shape[0] == 0:
        raise InputError(path, "has no table of readouts", "give an ISMRMRD file, or get another copy of it")
    return Table(node, stream, path)


def _coils(wanted: Sequence[int] | None, n: int, path: Path) -> list[int]:
    """The coils asked for, or all."""
    chosen = distinct(list(range(n)) if wanted is None else [int(c) for c in wanted], "coils")
    if not chosen or any(not 0 <= c < n for c in chosen):
        raise InputError(path, f"has {n} coils, coils are {chosen}", f"choose from 0 to {n - 1}")
    return chosen


def _noise(table: Table, heads: Heads, coils: list[int], path: Path) -> NDArray[np.complex64] | None:
    """All noise readouts one after the other, (coil, sample); they may differ in length."""
    parts = []
    for length in np.unique(heads.samples):
        same = heads.take(heads.samples == length)
        check_size(path, (len(same), same.uniform("channels", path), int(length)), 8, path.stat().st_size)
        blocks = sample_blocks(table, same, coils)
        parts += [(same.index[w], s) for where, block in blocks for w, s in zip(where, block, strict=True)]
    ordered = [samples for _, samples in sorted(parts, key=lambda part: int(part[0]))]
    return np.concatenate(ordered, axis=-1) if ordered else None


def _samples(
    table: Table,
    heads: Heads,
    header: Header,
    contrast: Int[np.ndarray, "readout"],
    coils: list[int],
    unit: str | None,
    path: Path,
) -> dict[str, Any]:
    dims = heads.uniform("dimensions", path)
    if header.trajectory == "cartesian" or (header.trajectory == "epi" and dims == 0):
        blocks = sample_blocks(table, heads, coils)
        data, mask, notes = grid_lines(blocks, heads, header, contrast, len(coils), path)
        return {"data": data, "mask": mask, "notes": notes, "lost": lost_readouts(heads, header, contrast)}
    if dims == 0:
        raise InputError(path, f"is {header.trajectory} and stores no trajectory", "store the trajectory with every readout")
    return _spokes(table, heads, header, contrast, coils, unit, path)


def _spokes(
    table: Table,
    heads: Heads,
    header: Header,
    contrast: Int[np.ndarray, "readout"],
    coils: list[int],
    unit: str | None,
    path: Path,
) -> dict[str, Any]:
    lost: Lost = lost_spokes(heads.counters["kspace_encode_step_1"], contrast, header.limits, header.acceleration)
    counts = np.bincount(contrast)
    if len(set(counts.tolist())) > 1:
        named = f" ({lost.sentence()})" if lost else ""
        raise InputError(path, f"has {counts.tolist()} readouts in its contrasts{named}", "leave out the incomplete contrast")
    samples = heads.uniform("samples", path)
    shape = (len(counts), len(coils), int(counts[0]), samples)
    check_size(path, shape, 8, path.stat().st_size)
    order = np.argsort(contrast, kind="stable").reshape(len(counts), -1)
    spoke = np.empty(len(heads), dtype=np.int64)
    spoke[order] = np.arange(order.shape[1])
    data = np.empty(shape, dtype=np.complex64)
    for where, block in sample_blocks(table, heads, coils):
        data[contrast[where], :, spoke[where]] = block
    traj, notes = in_radians(trajectory_points(table, heads), header.matrix, unit or header.trajectory_unit, path)
    return {"data": data, "traj": traj[order], "notes": notes, "lost": lost}


def _affine(group: h5py.Group, heads: Heads, header: Header, path: Path) -> tuple[Float[np.ndarray, "4 4"], list[str]]:
    """The stored affine if this project wrote the file, else that of the first image readout's head."""
    if "affine" in group:
        return _named_array(group, "affine", path).astype(np.float64), []
    affine = affine_of(heads, header)
    if affine is None:
        return centred_affine(header.matrix, header.fov), ["no orientation in the readouts, axis-aligned geometry assumed"]
    return affine, []


def affine_of(heads: Heads, header: Header) -> Float[np.ndarray, "4 4"] | None:
    """Voxel index to RAS+ metres by the first head; None where its directions are no directions."""
    axes = heads.directions[0].T
    if not (np.isfinite(axes).all() and np.allclose(axes.T @ axes, np.eye(3), atol=1e-3)):
        return None
    sizes = np.array(header.matrix[::-1])
    voxel = np.array(header.fov[::-1]) / sizes
    centre = np.nan_to_num(heads.position[0]) * 1e-3
    return affine_from_vectors(axes, voxel, centre - axes @ (voxel * (sizes // 2)))


def _named_array(group: h5py.Group, name: str, path: Path, chosen: list[int] | None = None) -> NDArray[Any]:
    """The first of the arrays called `name`, of its first axis only the entries `chosen`."""
    node = member(group, name, path)
    if not isinstance(node, h5py.Dataset) or node.ndim < 2 or node.shape[0] != 1 or node.dtype.hasobject:
        raise InputError(path, f"has {name!r} that is not one stored array", "remove it or write it again")
    if chosen is None:
        chosen = list(range(node.shape[1]))
    if max(chosen) >= node.shape[1]:
        raise InputError(path, f"has {name!r} of shape {node.shape[1:]} for {len(chosen)} entries", "remove it or write it again")
    check_size(path, (len(chosen), *node.shape[2:]), node.dtype.itemsize, path.stat().st_size)
    return np.stack([as_complex(np.asarray(node[0, i])) for i in chosen])
