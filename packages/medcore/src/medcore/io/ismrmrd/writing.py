"""Write a :class:`~medcore.io.kspace.KSpace` as an ISMRMRD file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Complex
from numpy.typing import NDArray

from medcore.atomic import check_writable, write_bytes
from medcore.errors import InputError
from medcore.io.geometry import LPS_TO_RAS
from medcore.io.ismrmrd.header import Header, Limit, render_header
from medcore.io.ismrmrd.layout import ACQUISITION, COMPLEX, HEAD, MAX_COUNT, NOISE
from medcore.io.ismrmrd.lost import lost_lines
from medcore.io.kspace import KSpace

RADIANS = "rad/sample"
_BLOCK = 512


def write_ismrmrd(path: str | Path, kspace: KSpace, *, force: bool = False) -> None:
    """Write `kspace` to an ISMRMRD (HDF5) file, atomically.

    The contrast axis becomes the counter ``contrast``, whichever time varies along it; echo, inversion and repetition times are
    stored per contrast in milliseconds as the format demands. Only measured lines are stored. The header declares the unit of
    the trajectory, radians per sample, in its ``trajectoryDescription``. Noise becomes readouts flagged as noise measurement; coil
    maps, the affine, and a mask that cuts lines are arrays ``csm``, ``affine``, ``mask`` beside the readouts. Reading the file
    gives back the same samples, trajectory, times and geometry bit for bit (flip angles, stored in degrees, to rounding).

    Raises
    ------
    InputError
        If the format cannot hold it: more than 65,535 samples, coils or lines, a contrast of which the mask keeps no sample, or `meta`
        that is not JSON.
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_file`.
    """
    _check_counts(kspace)
    try:
        xml = render_header(_header(kspace), contrasts=kspace.n_contrasts)
    except (TypeError, ValueError) as error:
        raise InputError(kspace.source, f"has meta that is not JSON ({error})", "keep numbers, text, lists and mappings") from error
    check_writable(path, force=force)
    write_bytes(path, _image(kspace, xml), force=force)


def _image(kspace: KSpace, xml: bytes) -> bytes:
    """The content of the file, made in memory: the HDF5 library crashes the process when a disk fills up under it."""
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        group = file.create_group("dataset")
        group.create_dataset("xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = xml
        rows = group.create_dataset("data", (0,), maxshape=(None,), chunks=(64,), dtype=ACQUISITION)
        for block in _blocks(kspace):
            rows.resize(rows.shape[0] + len(block), axis=0)
            rows[-len(block) :] = block
        _put_array(group, "affine", kspace.affine)
        if kspace.csm is not None:
            _put_array(group, "csm", kspace.csm)
        if kspace.mask is not None and not _whole_lines(kspace.mask):
            _put_array(group, "mask", kspace.mask.astype(np.uint16))
        file.flush()
        return bytes(file.id.get_file_image())


def _check_counts(kspace: KSpace) -> None:
    largest = max(*kspace.data.shape, *kspace.matrix)
    if largest > MAX_COUNT:
        raise InputError(kspace.source, f"has an axis of length {largest}", f"ISMRMRD counts to {MAX_COUNT}, split the data")
    if kspace.mask is not None and not kspace.mask.any(axis=(1, 2, 3)).all():
        empty = int(np.argmin(kspace.mask.any(axis=(1, 2, 3))))
        raise InputError(
            kspace.source,
            f"has no sample of contrast {empty} of {kspace.n_contrasts}",
            "leave it out with select: ISMRMRD has no place for it",
        )


def _whole_lines(mask: NDArray[Any]) -> bool:
    return bool((mask.all(axis=-1) == mask.any(axis=-1)).all())


def _header(kspace: KSpace) -> Header:
    z, y, _ = kspace.matrix
    if kspace.is_cartesian:
        limits = {"kspace_encoding_step_1": _limit(y), "kspace_encoding_step_2": _limit(z)}
        trajectory, unit = "cartesian", None
    else:
        limits = {"kspace_encoding_step_1": Limit(maximum=kspace.data.shape[2] - 1)}
        trajectory, unit = str(kspace.meta.get("trajectory", "other")), RADIANS
    known = ("cartesian", "epi", "radial", "goldenangle", "spiral")
    return Header(
        matrix=kspace.matrix,
        fov=kspace.fov,
        recon_matrix=tuple(kspace.meta.get("recon_matrix", kspace.matrix)),
        recon_fov=tuple(kspace.meta.get("recon_fov", kspace.fov)),
        trajectory=trajectory if trajectory in known else "other",
        trajectory_unit=unit,
        limits=limits,
        times={key: tuple(values.tolist()) for key, values in kspace.times.items()},
        field_strength=kspace.field_strength,
        acceleration=_acceleration(kspace, limits),
        meta=kspace.meta,
        repairs=kspace.repairs,
    )


def _limit(n: int) -> Limit:
    return Limit(maximum=n - 1, center=n // 2)


def _acceleration(kspace: KSpace, limits: dict[str, Limit]) -> tuple[int, int] | None:
    """Acceleration along z and y where the mask has one, so that a reader can name readouts that were lost later."""
    if not kspace.is_cartesian or kspace.mask is None:
        return 1, 1
    lines = np.asarray(kspace.mask.any(axis=-1))
    planes = max(1, int(lines[0].any(axis=1).sum()))
    factors = max(1, round(kspace.matrix[0] / planes)), max(1, round(kspace.matrix[1] * planes / int(lines[0].sum())))
    return None if lost_lines(lines, limits, factors) else factors


def _blocks(kspace: KSpace) -> Iterator[NDArray[Any]]:
    """All readouts as structured arrays of at most 512 rows: noise first, then contrast by contrast."""
    readouts = enumerate(_readouts(kspace, _template(kspace)))
    while chunk := list(itertools.islice(readouts, _BLOCK)):
        block = np.empty(len(chunk), dtype=ACQUISITION)
        for row, (counter, (head, traj, samples)) in zip(block, chunk, strict=True):
            head["scan_counter"] = counter
            row["head"] = head
            row["traj"] = np.ascontiguousarray(traj, dtype=np.float32).ravel()
            row["data"] = np.ascontiguousarray(samples).view(np.float32).ravel()
        yield block


def _template(kspace: KSpace) -> NDArray[Any]:
    """A head with everything that is the same for all readouts."""
    head = np.zeros((), dtype=HEAD)
    head["version"] = 1
    head["available_channels"] = head["active_channels"] = kspace.n_coils
    for coil in range(min(kspace.n_coils, 1024)):
        head["channel_mask"][coil // 64] |= np.uint64(1 << (coil % 64))
    axes = LPS_TO_RAS @ kspace.affine[:3, :3]  # its own inverse
    for name, column in zip(("read_dir", "phase_dir", "slice_dir"), axes.T, strict=True):
        head[name] = column / np.linalg.norm(column)
    centre = kspace.affine @ [*(n // 2 for n in kspace.matrix[::-1]), 1]
    head["position"] = 1e3 * (LPS_TO_RAS @ centre[:3])
    return head


def _readouts(kspace: KSpace, template: NDArray[Any]) -> Iterator[tuple[Any, Any, Complex[np.ndarray, "coil sample"]]]:
    empty = np.zeros(0, dtype=np.float32)
    if kspace.noise is not None:
        for start in range(0, kspace.noise.shape[1], MAX_COUNT):
            samples = kspace.noise[:, start : start + MAX_COUNT]
            head = _head(template, samples.shape[1], center=0)
            head["flags"] |= NOISE
            yield head, empty, samples
    for contrast in range(kspace.n_contrasts):
        if kspace.traj is not None:
            for spoke, points in enumerate(kspace.traj[contrast]):
                head = _head(template, len(points), center=len(points) // 2, step_1=spoke, contrast=contrast)
                head["trajectory_dimensions"] = points.shape[-1]
                yield head, points[:, ::-1], kspace.data[contrast, :, spoke]
            continue
        lines = np.ones(kspace.matrix[:2], dtype=bool) if kspace.mask is None else kspace.mask[contrast].any(axis=-1)
        for z, y in np.argwhere(lines).tolist():
            head = _head(template, kspace.matrix[2], center=kspace.matrix[2] // 2, step_1=y, step_2=z, contrast=contrast)
            yield head, empty, kspace.data[contrast, :, z, y]


def _head(
    template: NDArray[Any], samples: int, *, center: int, step_1: int = 0, step_2: int = 0, contrast: int = 0
) -> NDArray[Any]:
    head = template.copy()
    head["number_of_samples"], head["center_sample"] = samples, center
    head["idx"]["kspace_encode_step_1"], head["idx"]["kspace_encode_step_2"] = step_1, step_2
    head["idx"]["contrast"] = contrast
    return head


def _put_array(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """Store an array the way ISMRMRD stores named arrays: with a first axis that counts them."""
    stored = np.ascontiguousarray(values)[None]
    group.create_dataset(name, data=stored.view(COMPLEX) if np.iscomplexobj(stored) else stored, maxshape=(None, *values.shape))
