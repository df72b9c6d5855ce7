"""HDF5 files from strangers: opened read-only, and refused where they reach into other files.

A crafted HDF5 file can show the content of any file the reader may read, through external links, external raw storage and
virtual datasets. All three are found and refused before any value is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.guard import foreign_errors
from medcore.io.limits import check_size, existing_file

MAGIC = b"\x89HDF\r\n\x1a\n"
_MAX_OBJECTS = 100_000
_MAX_LISTED = 50
_HINT = "get another copy of the file"


def is_hdf5(path: Path) -> bool:
    """Whether `path` starts with the HDF5 signature, possibly after a user block."""
    with path.open("rb") as file:
        size = path.stat().st_size
        offset = 0
        while offset + len(MAGIC) <= size:
            file.seek(offset)
            if file.read(len(MAGIC)) == MAGIC:
                return True
            offset = max(512, offset * 2)
    return False


@contextlib.contextmanager
def open_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """Open a file for reading only, after checking that it holds no door to other files.

    Every error of the HDF5 library inside the block becomes an :class:`InputError`.

    Raises
    ------
    InputError
        If it is missing, not HDF5, damaged, or refers to other files.
    """
    path = existing_file(path)
    if not is_hdf5(path):
        raise InputError(path, "is not an HDF5 file", "give an HDF5 file")
    with foreign_errors(path, "is damaged HDF5"), h5py.File(path, "r", locking="best-effort") as file:
        _refuse_doors(path, file)
        yield file


def _refuse_doors(path: Path, file: h5py.File) -> None:
    """Walk all groups without following links; refuse links, storage and virtual data in other files, and soft links."""
    pending: list[h5py.Group] = [file]
    seen: set[Any] = set()
    while pending:
        group = pending.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > _MAX_OBJECTS:
            raise InputError(path, f"holds more than {_MAX_OBJECTS} groups", _HINT)
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise InputError(path, f"links {group.name}/{name} to another file", "copy the data into one file first")
            if isinstance(link, h5py.SoftLink):
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                pending.append(item)
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                raise InputError(path, f"stores {item.name} in another file", "copy the data into one file first")


def member(group: h5py.Group, name: str, path: Path) -> Any:
    """The object `name` of `group`, not through a soft link.

    Raises
    ------
    InputError
        If it is absent (the present names are listed) or a soft link.
    """
    if name not in group or isinstance(group.get(name, getlink=True), h5py.SoftLink):
        present = ", ".join(sorted(group)[:10]) or "nothing"
        raise InputError(path, f"has no {name!r} in {group.name!r}, only {present}", "give an ISMRMRD file or name the group")
    return group[name]


def children(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """Names and objects of a group, without what lies behind soft links, which may lead nowhere or round in circles."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield name, group[name]


def read_array(dataset: h5py.Dataset, path: Path) -> NDArray[Any]:
    """All values of a plain dataset, within the budgets of :mod:`medcore.io.limits`; (real, imag) pairs become complex."""
    if dataset.dtype.hasobject:  # the library trusts the lengths that such values state
        raise InputError(path, f"stores {dataset.name} as values of variable length", "store it as plain numbers")
    check_size(path, dataset.shape or (1,), dataset.dtype.itemsize, path.stat().st_size)
    return as_complex(np.asarray(dataset[()]))


def as_complex(values: NDArray[Any]) -> NDArray[Any]:
    """`values` with (real, imag) pairs turned into complex numbers of the same precision; anything else as it is."""
    names = values.dtype.names
    if names is None or len(names) != 2 or values.dtype[0] != values.dtype[1] or values.dtype[0].kind != "f":
        return values
    pairs = np.empty(values.shape, dtype=np.result_type(values.dtype[0], np.complex64))
    pairs.real, pairs.imag = values[names[0]], values[names[1]]
    return pairs


def describe_hdf5(path: str | Path) -> dict[str, Any]:
    """Names, shapes and types of the arrays in any HDF5 file, without reading a value; JSON-ready.

    Parameters
    ----------
    path
        The file. Values and attributes are not shown: they may name a patient.

    Returns
    -------
    dict
        ``type``, ``groups`` and ``n_arrays`` (numbers), ``arrays`` (name, shape and dtype of the first 50).

    Raises
    ------
    InputError
        See :func:`open_hdf5`.
    """
    arrays: list[dict[str, Any]] = []
    counts = {"groups": 0, "n_arrays": 0}

    def note(name: str, item: Any) -> None:
        counts["groups"] += isinstance(item, h5py.Group)
        if isinstance(item, h5py.Dataset):
            counts["n_arrays"] += 1
            if len(arrays) < _MAX_LISTED:
                arrays.append({"name": name[:200], "shape": [int(n) for n in item.shape or ()], "dtype": str(item.dtype)[:80]})

    with open_hdf5(path) as file:
        file.visititems(note)
    return {"type": "HDF5 of no known layout", **counts, "arrays": arrays}
