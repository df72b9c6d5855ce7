"""Tables with columns of variable length in HDF5 files, read without the library's own conversion of them.

The library trusts the lengths that such a table states: one changed byte crashes the process or takes all memory, and h5py keeps the
values of other columns for ever when one is read (its issue 2374). Here the rows are taken as bytes, and every value is looked up in the
heap of the file, whose own sizes must agree. Only what is asked for is read. Layout: HDF5 File Format Specification 3.0, sections III.E
(global heap) and IV.A.2.d (datatypes of variable length).
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.limits import check_size

_REFERENCE = struct.Struct("<IQI")  # number of values, place of their collection, number in the collection
_COLLECTION, _OBJECT = struct.Struct("<4sB3xQ"), struct.Struct("<HHIQ")
_SIGNATURE = b"GCOL"
_HINT = "get another copy of the file"


class Table:
    """A dataset of one axis, or of none, whose values hold columns of variable length.

    Parameters
    ----------
    dataset
        An open compound dataset, or one of variable-length values without columns.
    file
        The same file, open for reading bytes.
    path
        Names the file in errors.

    Raises
    ------
    InputError
        If it is stored in a way that is not understood, or claims more than its file can hold.
    """

    def __init__(self, dataset: h5py.Dataset, file: BinaryIO, path: Path) -> None:
        self.path, self._file = path, file
        self._base = int(dataset.file.userblock_size)
        self._objects: dict[tuple[int, int], tuple[int, int]] = {}
        self._seen: set[int] = set()
        kind = dataset.id.get_type()
        text = kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()  # the library gives the size of a pointer for it
        self.itemsize = _REFERENCE.size if text else int(kind.get_size())
        check_size(path, dataset.shape or (1,), self.itemsize, path.stat().st_size)
        self._fields = _fields(kind, dataset.dtype, path)
        self._rows = _raw_rows(dataset, self.itemsize, file, path)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns; one empty name where there are none."""
        return tuple(self._fields)

    def type_of(self, name: str) -> np.dtype[Any]:
        """Type of one value of a column."""
        return self._fields[name][1]

    def column(self, name: str) -> NDArray[Any]:
        """All values of a column of fixed size."""
        offset, kind, _ = self._fields[name]
        return np.ndarray(len(self._rows), dtype=kind, buffer=self._rows.data, offset=offset, strides=(self.itemsize,))

    def values(self, name: str, row: int) -> NDArray[Any]:
        """The values of one row of a column, as a vector."""
        offset, kind, variable = self._fields[name]
        if not variable:
            return np.atleast_1d(self.column(name)[row])
        count, place, number = _REFERENCE.unpack_from(self._rows[row], offset)
        if count == 0:
            return np.empty(0, dtype=kind)
        where, size = self._locate(place + self._base, number, row)
        if size != count * kind.itemsize:
            raise InputError(self.path, f"has {count} values in row {row} where its heap holds {size} bytes", _HINT)
        return np.frombuffer(os.pread(self._file.fileno(), size, where), dtype=kind)

    def _locate(self, place: int, number: int, row: int) -> tuple[int, int]:
        """Where an object of the heap lies, and its size."""
        if place not in self._seen:
            self._seen.add(place)
            self._read_collection(place, row)
        if (place, number) not in self._objects:
            raise InputError(self.path, f"has row {row} whose values are not in the heap", _HINT)
        return self._objects[place, number]

    def _read_collection(self, place: int, row: int) -> None:
        total = os.fstat(self._file.fileno()).st_size
        head = os.pread(self._file.fileno(), _COLLECTION.size, place) if place < total else b""
        signature, _, size = _COLLECTION.unpack(head) if len(head) == _COLLECTION.size else (b"", 0, 0)
        end = place + size
        if signature != _SIGNATURE or end > total:
            raise InputError(self.path, f"has row {row} whose values are not in the heap", _HINT)
        at = place + _COLLECTION.size
        while at + _OBJECT.size <= end:
            number, _, _, length = _OBJECT.unpack(os.pread(self._file.fileno(), _OBJECT.size, at))
            if number == 0:  # the free space at the end
                return
            if at + _OBJECT.size + length > end:
                raise InputError(self.path, f"has a damaged heap at byte {at}", _HINT)
            self._objects[place, number] = (at + _OBJECT.size, length)
            at += _OBJECT.size + (length + 7) // 8 * 8


def _fields(kind: h5py.h5t.TypeID, dtype: np.dtype[Any], path: Path) -> dict[str, tuple[int, np.dtype[Any], bool]]:
    """Offset in a row, type of a value, and whether the number of values varies, for every column."""
    if kind.get_class() == h5py.h5t.STRING and kind.is_variable_str():
        return {"": (0, np.dtype("S1"), True)}
    if kind.get_class() != h5py.h5t.COMPOUND:
        return {"": (0, *_value_type(kind, dtype, path))}
    fields = {}
    for i in range(kind.get_nmembers()):
        name = kind.get_member_name(i).decode("utf-8", errors="replace")
        offset, size = int(kind.get_member_offset(i)), int(kind.get_member_type(i).get_size())
        value, variable = _value_type(kind.get_member_type(i), dtype[name], path)
        if offset + size > kind.get_size() or (not variable and value.itemsize != size):
            raise InputError(path, f"has a column {name[:40]!r} that lies outside its rows", _HINT)
        fields[name] = (offset, value, variable)
    return fields


def _value_type(kind: h5py.h5t.TypeID, dtype: np.dtype[Any], path: Path) -> tuple[np.dtype[Any], bool]:
    if kind.get_class() == h5py.h5t.VLEN:
        base = np.dtype(h5py.check_vlen_dtype(dtype))
        if base.hasobject or base.itemsize != kind.get_super().get_size() or kind.get_size() != _REFERENCE.size:
            raise InputError(path, f"has values of type {base} in a table", "store plain numbers")
        return base, True
    if dtype.hasobject:
        raise InputError(path, f"has values of type {dtype} in a table", "store plain numbers")
    return dtype, False


def _raw_rows(dataset: h5py.Dataset, itemsize: int, file: BinaryIO, path: Path) -> NDArray[np.uint8]:
    """The rows as bytes (row, byte)."""
    n = math.prod(dataset.shape)
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        content = b"" if offset is None else os.pread(file.fileno(), n * itemsize, offset)
        if len(content) != n * itemsize:
            raise InputError(path, "has a table that is not stored in one piece or in chunks", "write it again")
        return np.frombuffer(content, dtype=np.uint8).reshape(n, itemsize)
    if dataset.ndim != 1:
        raise InputError(path, f"has a table of {dataset.ndim} axes", "store one row after the other")
    rows, (step,) = np.zeros((n, itemsize), dtype=np.uint8), dataset.chunks
    check_size(path, (step,), itemsize, path.stat().st_size)
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    for start in range(0, n, step):
        skipped, content = dataset.id.read_direct_chunk((start,))
        plain = _unfiltered(bytes(content), filters, skipped, step * itemsize, itemsize, path)
        rows[start : start + step] = np.frombuffer(plain, dtype=np.uint8).reshape(step, itemsize)[: n - start]
    return rows


def _unfiltered(content: bytes, filters: list[int], skipped: int, size: int, itemsize: int, path: Path) -> bytes:
    """A chunk without its filters: checksum, compression by deflate, and shuffled bytes."""
    for i, name in reversed(list(enumerate(filters))):
        if skipped >> i & 1:
            continue
        if name == h5py.h5z.FILTER_DEFLATE:
            content = zlib.decompressobj().decompress(content, size + 1)
        elif name == h5py.h5z.FILTER_SHUFFLE and len(content) == size:
            content = np.frombuffer(content, dtype=np.uint8).reshape(itemsize, -1).T.tobytes()
        elif name == h5py.h5z.FILTER_FLETCHER32:
            content = content[:-4]
        else:
            raise InputError(path, f"has a table stored with the filter {name}", "store it without, or with gzip")
    if len(content) != size:
        raise InputError(path, f"has a chunk of {len(content)} bytes where {size} belong", _HINT)
    return content
