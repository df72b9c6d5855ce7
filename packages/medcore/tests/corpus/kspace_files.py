"""Small raw-data files, made by code, some of them wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medcore.io import KSpace, write_cfl, write_fastmri, write_ismrmrd
from medcore.io.ismrmrd.layout import ACQUISITION

Change = Callable[[h5py.File], Any]
Make = Callable[[Path], Path]
N, LINES, COILS = 6, 4, 2


def noise(*shape: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def kspace(**changes: Any) -> KSpace:
    """One contrast of two coils on a grid of 4 lines and 6 columns."""
    return KSpace(**{"data": noise(1, COILS, 1, LINES, N), "matrix": (1, LINES, N), "fov": (0.005, 0.2, 0.2)} | changes)


def spokes() -> KSpace:
    """Five spokes of eight samples."""
    radius = np.linspace(-np.pi, np.pi, 8, endpoint=False)
    traj = np.zeros((1, 5, 8, 2), dtype=np.float32)
    traj[..., 1] = radius
    return KSpace(data=noise(1, COILS, 5, 8), traj=traj, matrix=(1, 8, 8), fov=(0.005, 0.2, 0.2))


def xml(*, x: object = N, y: object = LINES, encoded: bool = True, more: str = "") -> bytes:
    """A header with the sizes `x` and `y` as they are given."""
    space = f"<matrixSize><x>{x}</x><y>{y}</y><z>1</z></matrixSize><fieldOfView_mm><x>200</x><y>200</y><z>5</z></fieldOfView_mm>"
    body = f"<encodedSpace>{space}</encodedSpace>" if encoded else ""
    recon = f"<reconSpace>{space}</reconSpace>"
    return f"<ismrmrdHeader><encoding>{body}{recon}<trajectory>cartesian</trajectory>{more}</encoding></ismrmrdHeader>".encode()


def rows() -> np.ndarray[Any, Any]:
    """A table of complete readouts."""
    table = np.zeros(LINES, dtype=ACQUISITION)
    for y in range(LINES):
        head = table[y]["head"]
        head["number_of_samples"], head["active_channels"], head["center_sample"] = N, COILS, N // 2
        head["read_dir"], head["phase_dir"], head["slice_dir"] = np.eye(3)
        head["idx"]["kspace_encode_step_1"] = y
        table[y]["data"] = noise(COILS * N).view(np.float32)
        table[y]["traj"] = np.zeros(0, np.float32)
    return table


def table(change: Callable[[np.ndarray[Any, Any]], Any] | None = None, header: bytes | None = None, group: str = "dataset") -> Make:
    """An ISMRMRD file with a changed table of readouts or header."""

    def make(folder: Path) -> Path:
        content = rows()
        changed = None if change is None else change(content)
        with h5py.File(folder / "a.h5", "w") as file:
            place = file.create_group(group)
            place.create_dataset("xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = xml() if header is None else header
            place.create_dataset("data", data=content if changed is None else changed)
        return folder / "a.h5"

    return make


def put(field: str, value: object, *, row: int | slice = 1) -> Callable[[np.ndarray[Any, Any]], None]:
    """Set a field of the head of a readout."""

    def change(content: np.ndarray[Any, Any]) -> None:
        target = content["head"]
        *path, name = field.split(".")
        for step in path:
            target = target[step]
        target[name][row] = value

    return change


def ismrmrd(change: Change | None = None, item: Callable[[], KSpace] = kspace) -> Make:
    """A file of our own writer, changed afterwards."""
    return _changed(lambda path: write_ismrmrd(path, item()), change)


def fastmri(change: Change | None = None, item: Callable[[], KSpace] = kspace) -> Make:
    return _changed(lambda path: write_fastmri(path, [item()]), change)


def _changed(write: Callable[[Path], None], change: Change | None) -> Make:
    def make(folder: Path) -> Path:
        path = folder / "a.h5"
        write(path)
        if change is not None:
            with h5py.File(path, "a") as file:
                change(file)
        return path

    return make


def replaced(name: str, value: Any, **options: Any) -> Change:
    """Put another array in the place of one."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, data=value, **options)

    return change


def plain(change: Change) -> Make:
    """An HDF5 file that is nothing in particular, beside which another one lies."""

    def make(folder: Path) -> Path:
        with h5py.File(folder / "other.h5", "w") as file:
            file["values"] = np.arange(4)
        with h5py.File(folder / "a.h5", "w") as file:
            file["x"] = np.arange(4)
            change(file)
        return folder / "a.h5"

    return make


def bytes_of(make: Make, change: Callable[[bytes], bytes]) -> Make:
    """The file of `make`, its bytes changed."""

    def changed(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return changed


def cfl(change: Callable[[Path], Any] | None = None, item: Callable[[], KSpace] = kspace, given: str = "a.cfl") -> Make:
    """A pair of files a.hdr and a.cfl; `change` gets their folder."""

    def make(folder: Path) -> Path:
        write_cfl(folder / "a", item())
        if change is not None:
            change(folder)
        return folder / given

    return make
