"""The bytes of a NIfTI image: one file or a .hdr/.img pair, plain or compressed, complete and with a good checksum."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from medcore.io.guard import foreign_errors
from medcore.io.limits import check_size, existing_file
from medcore.io.nifti_header import HEADER_BYTES, NiftiHeader, parse_header

GZIP_MAGIC = b"\x1f\x8b"
_HINT = "get another copy of the file"
_HEADERS, _VOXELS = (".hdr", ".hdr.gz"), (".img", ".img.gz")


def header_file(path: Path) -> Path:
    """The file with the header: for the voxels of a pair the ``.hdr`` beside them if there is one, else `path` itself."""
    if not path.name.endswith(_VOXELS):
        return path
    return next((p for p in _partners(path, _HEADERS) if p.is_file()), path)


def read_content(path: Path) -> tuple[bytes, NiftiHeader]:
    """The uncompressed image as one file, and its header.

    Parameters
    ----------
    path
        A single file, or either half of a pair; a pair is returned as the single file it could be, without header extensions.

    Raises
    ------
    InputError
        If a file or half is missing, cut, fails its checksum, goes on after its data, or has a header that contradicts it.
    """
    path = header_file(existing_file(path))
    if path.name.endswith(_VOXELS):
        raise InputError(path, "is one half of a .hdr/.img pair", f"put {_partners(path, _HEADERS)[0].name} beside it")
    if path.name.endswith(_HEADERS):
        return _read_pair(path)
    file_bytes = path.stat().st_size
    with path.open("rb") as raw, foreign_errors(path, "cannot be decompressed"), _unzipped(raw) as stream:
        head = stream.read(HEADER_BYTES)
        header = parse_header(head, path)
        check_size(path, header.shape, header.itemsize, file_bytes)
        content = head + stream.read(max(0, header.bytes - len(head)))
        _check_complete(content, header.bytes, stream, path)
    return content, header


def _read_pair(path: Path) -> tuple[bytes, NiftiHeader]:
    with path.open("rb") as raw, foreign_errors(path, "cannot be decompressed"), _unzipped(raw) as stream:
        head = stream.read(HEADER_BYTES)
    header = parse_header(head, path, paired=True)
    voxels = next((p for p in _partners(path, _VOXELS) if p.exists()), None)
    if voxels is None:
        raise InputError(path, "is one half of a .hdr/.img pair", f"put {_partners(path, _VOXELS)[0].name} beside it")
    file_bytes = existing_file(voxels).stat().st_size
    check_size(voxels, header.shape, header.itemsize, file_bytes)
    with voxels.open("rb") as raw, foreign_errors(voxels, "cannot be decompressed"), _unzipped(raw) as stream:
        data = stream.read(header.bytes)
        _check_complete(data, header.bytes, stream, voxels)
    return _joined(head, data[header.offset :]), header


def _joined(head: bytes, data: bytes) -> bytes:
    """The single file that holds the same as a pair."""
    second = head[4:8] == b"ni2\0"
    size = 540 if second else 348
    little = struct.unpack_from("<i", head)[0] == size
    single = bytearray(head[:size])
    if second:
        single[4:8] = b"n+2\0"
        struct.pack_into("<q" if little else ">q", single, 168, size + 4)
    else:
        single[344:348] = b"n+1\0"
        struct.pack_into("<f" if little else ">f", single, 108, size + 4)
    return bytes(single) + bytes(4) + data


def _partners(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    stem = path.name.removesuffix(".gz").removesuffix(".hdr").removesuffix(".img")
    return [path.with_name(stem + suffix) for suffix in suffixes]


def _unzipped(raw: Any) -> Any:
    compressed = raw.read(2) == GZIP_MAGIC
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if compressed else raw


def _check_complete(content: bytes, needed: int, stream: Any, path: Path) -> None:
    """Refuse too few bytes, and more than 1 MB further ones; at the end of the stream gzip verifies its checksum."""
    if len(content) < needed:
        raise InputError(path, f"is cut: it has {len(content)} of {needed} bytes", _HINT)
    if len(stream.read(1 << 20)) == 1 << 20:
        raise InputError(path, "goes on for more than 1 MB after its data", _HINT)
