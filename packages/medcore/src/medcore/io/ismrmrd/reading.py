"""Read ISMRMRD files, also those of writers that lay out heads differently or leave header fields out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.geometry import affine_from_vectors, centred_affine
from medcore.io.hdf5 import member, open_hdf5, read_array
from medcore.io.images import TIME_KEYS, check_seconds
from medcore.io.ismrmrd.gridding import grid_lines
from medcore.io.ismrmrd.header import MAX_XML_BYTES, Header, parse_header
from medcore.io.ismrmrd.heads import Heads, image_rows, noise_rows, read_heads
from medcore.io.ismrmrd.samples import sample_blocks, trajectory_points
from medcore.io.ismrmrd.trajectories import in_radians
from medcore.io.kspace import KSpace
from medcore.io.limits import check_size

_CONTRAST_COUNTERS = ("set", "repetition", "phase", "contrast")
_PREFERRED = {"te": "contrast", "ti": "set", "tr": "repetition", "flip_angle": "set"}


def read_ismrmrd(
    path: str | Path, *, dataset: str = "dataset", slice_index: int | None = None, trajectory_unit: str | None = None
) -> KSpace:
    """Read an ISMRMRD file; it is opened read-only and never changed or created.

    Every distinct combination of the counters set, repetition, phase and contrast becomes one contrast, sorted in that order.
    A list of times in the header is matched to the contrasts by its length: one value for all, one per contrast, or one per
    step of a counter. Readouts that are no image data are left out and counted in `repairs`.

    Parameters
    ----------
    path
        The file.
    dataset
        HDF5 group that holds ``xml`` and ``data``.
    slice_index
        Which slice of a multi-slice 2-D measurement.
    trajectory_unit
        ``"rad/sample"``, ``"cycles/sample"`` or ``"1/fov"``, where the file does not declare it and it cannot be told.

    Raises
    ------
    InputError
        If the file is missing, damaged, reaches into other files, or contradicts itself.
    """
    path = Path(path)
    with open_hdf5(path) as file:
        group = member(file, dataset, path)
        if not isinstance(group, h5py.Group):
            raise InputError(path, f"has no group {dataset!r}", "name the group that holds xml and data")
        header = parse_header(_xml(group, path), path)
        rows = member(group, "data", path)
        heads = read_heads(rows, path)
        wanted, notes = image_rows(heads)
        noise = _noise(rows, heads.take(noise_rows(heads)), path)
        if not wanted.any():
            raise InputError(path, "holds no readout of an image", "give the measurement, not only its noise scan")
        image = _one_slice(heads.take(wanted), slice_index, path)
        contrast, keys = _contrasts(image)
        samples = _samples(rows, image, header, contrast, trajectory_unit, path)
        notes += samples.pop("notes")
        affine, geometry_notes = _affine(group, image, header, path)
        if "mask" in group and samples.get("traj") is None:
            samples["mask"] = _named_array(group, "mask", path).astype(bool)
        csm = _named_array(group, "csm", path).astype(np.complex64) if "csm" in group else None
    times = _times(header, keys, path)
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


def _xml(group: h5py.Group, path: Path) -> bytes:
    node = member(group, "xml", path)
    if not isinstance(node, h5py.Dataset) or node.size != 1 or node.dtype.itemsize > MAX_XML_BYTES:
        raise InputError(path, "has no readable XML header", "get another copy of the file")
    value = np.asarray(node[()]).ravel()[0]
    return value.encode() if isinstance(value, str) else bytes(value)


def _noise(rows: h5py.Dataset, heads: Heads, path: Path) -> NDArray[np.complex64] | None:
    """All noise readouts one after the other, (coil, sample); they may differ in length."""
    parts = []
    for length in np.unique(heads.samples):
        same = heads.take(heads.samples == length)
        check_size(path, (len(same), same.uniform("channels", path), int(length)), 8, path.stat().st_size)
        parts += [(same.index[w], s) for where, block in sample_blocks(rows, same, path) for w, s in zip(where, block, strict=True)]
    ordered = [samples for _, samples in sorted(parts, key=lambda part: int(part[0]))]
    return np.concatenate(ordered, axis=-1) if ordered else None


def _one_slice(heads: Heads, index: int | None, path: Path) -> Heads:
    slices = np.unique(heads.counters["slice"])
    if len(slices) == 1 and index in (None, int(slices[0])):
        return heads
    if index is None or index not in slices:
        present = f"{slices[0]} to {slices[-1]}"
        raise InputError(path, f"holds {len(slices)} slices ({present}), slice_index is {index}", "choose one with slice_index")
    return heads.take(heads.counters["slice"] == index)


def _contrasts(heads: Heads) -> tuple[Int[np.ndarray, "readout"], Int[np.ndarray, "contrast counter"]]:
    """Contrast number of every readout, and the counter values of every contrast."""
    counters = np.stack([heads.counters[name] for name in _CONTRAST_COUNTERS], axis=1)
    keys, inverse = np.unique(counters, axis=0, return_inverse=True)
    return inverse.ravel(), keys


def _times(header: Header, keys: Int[np.ndarray, "contrast counter"], path: Path) -> dict[str, NDArray[np.float64]]:
    times = {}
    for key in TIME_KEYS:
        values = np.array(header.times.get(key, ()), dtype=np.float64)
        n = len(keys)
        if len(values) == 0:
            continue
        by_counter = _counter_for(key, len(values), keys)
        if len(values) == n:
            times[key] = values
        elif len(values) == 1:
            times[key] = np.repeat(values, n)
        elif by_counter is not None:
            times[key] = values[keys[:, by_counter]]
        else:
            raise InputError(
                path, f"states {len(values)} values of {key} for {n} contrasts", "correct sequenceParameters in its XML header"
            )
    return times


def _counter_for(key: str, length: int, keys: Int[np.ndarray, "contrast counter"]) -> int | None:
    """The counter whose steps a list of times describes: the usual one first, then any with that many steps."""
    order = sorted(range(len(_CONTRAST_COUNTERS)), key=lambda i: _CONTRAST_COUNTERS[i] != _PREFERRED[key])
    return next((i for i in order if int(keys[:, i].max()) + 1 == length), None)


def _samples(
    rows: h5py.Dataset, heads: Heads, header: Header, contrast: Int[np.ndarray, "readout"], unit: str | None, path: Path
) -> dict[str, Any]:
    dims = heads.uniform("dimensions", path)
    if header.trajectory == "cartesian" or (header.trajectory == "epi" and dims == 0):
        data, mask, notes = grid_lines(rows, heads, header, contrast, path)
        if mask is not None and header.acceleration == (1, 1):
            notes.append(f"{int((~mask.any(axis=-1)).sum())} lines are absent though the header states no acceleration")
        return {"data": data, "mask": mask, "notes": notes}
    if dims == 0:
        raise InputError(path, f"is {header.trajectory} and stores no trajectory", "store the trajectory with every readout")
    return _spokes(rows, heads, header, contrast, unit, path)


def _spokes(
    rows: h5py.Dataset, heads: Heads, header: Header, contrast: Int[np.ndarray, "readout"], unit: str | None, path: Path
) -> dict[str, Any]:
    counts = np.bincount(contrast)
    if len(set(counts.tolist())) > 1:
        raise InputError(path, f"has {counts.tolist()} readouts in its contrasts", "leave out the incomplete contrast")
    coils, samples = heads.uniform("channels", path), heads.uniform("samples", path)
    check_size(path, (len(heads), coils, samples), 8, path.stat().st_size)
    readouts = np.empty((len(heads), coils, samples), dtype=np.complex64)
    for where, block in sample_blocks(rows, heads, path):
        readouts[where] = block
    traj, notes = in_radians(trajectory_points(rows, heads, path), header.matrix, unit or header.trajectory_unit, path)
    order = np.argsort(contrast, kind="stable").reshape(len(counts), counts[0])
    return {"data": readouts[order].swapaxes(1, 2).copy(), "traj": traj[order], "notes": notes}


def _affine(group: h5py.Group, heads: Heads, header: Header, path: Path) -> tuple[Float[np.ndarray, "4 4"], list[str]]:
    """The stored affine if this project wrote the file, else that of the first image readout's head."""
    if "affine" in group:
        return _named_array(group, "affine", path).astype(np.float64), []
    axes = heads.directions[0].T
    if not (np.isfinite(axes).all() and np.allclose(axes.T @ axes, np.eye(3), atol=1e-3)):
        return centred_affine(header.matrix, header.fov), ["no orientation in the readouts, axis-aligned geometry assumed"]
    sizes = np.array(header.matrix[::-1])
    voxel = np.array(header.fov[::-1]) / sizes
    centre = np.nan_to_num(heads.position[0]) * 1e-3
    return affine_from_vectors(axes, voxel, centre - axes @ (voxel * (sizes // 2))), []


def _named_array(group: h5py.Group, name: str, path: Path) -> NDArray[Any]:
    """The first of the arrays called `name`."""
    node = member(group, name, path)
    if not isinstance(node, h5py.Dataset) or node.ndim < 2 or node.shape[0] != 1 or node.dtype.hasobject:
        raise InputError(path, f"has {name!r} that is not one stored array", "remove it or write it again")
    return np.asarray(read_array(node, path)[0])
