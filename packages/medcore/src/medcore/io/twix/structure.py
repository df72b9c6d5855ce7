"""How a Siemens raw-data file is built: measurements, their protocol, and the blocks of their readouts.

A VD/VE file starts with a table of up to 64 measurements; a VB file is one measurement. A measurement starts with its protocol, named
buffers of text, followed by blocks, one for each readout, up to one that is marked as the last. The layout of the heads is that of
twixtools (``twixtools.mdh_def``); the file is walked here, because its own reader takes a cut file for a short one and never ends on a
block of length zero.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError, MissingExtraError
from medcore.io.limits import existing_file

FLAGS = {"end": 1 << 0, "sync": 1 << 5}
CHANNEL_HEAD = 32
_TABLE_BYTES, _ENTRY_BYTES, _MAX_MEASUREMENTS = 10240, 152, 64
_MAX_PROTOCOL, _MAX_BUFFERS, _MAX_NAME = 64 << 20, 64, 48
_NAME = re.compile(rb"\w{4,}\0")
_LENGTH = (1 << 25) - 1
_HINT = "get another copy of the file from the scanner"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Where one measurement lies in the file.

    Attributes
    ----------
    start, end
        First byte, and the byte after the last.
    new
        Whether its heads are those of VD/VE.
    """

    start: int
    end: int
    new: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """The readouts of a measurement.

    Attributes
    ----------
    heads
        One record for each readout, fields named as in twixtools.
    offsets
        Where the first channel of each readout starts.
    new
        Whether they are those of VD/VE.
    """

    heads: NDArray[Any]
    offsets: NDArray[np.int64]
    new: bool


def is_twix(path: str | Path) -> bool:
    """Whether a file begins as Siemens raw data does: a table of measurements, or a protocol of named buffers."""
    path = Path(path)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_TABLE_BYTES)
            size = os.fstat(file.fileno()).st_size
            if len(head) < 32:
                return False
            if _is_protocol(head, size):
                return True
            first, count = struct.unpack_from("<II", head)
            if first >= 10_000 or count > _MAX_MEASUREMENTS or len(head) < _TABLE_BYTES:
                return False
            if count == 0:  # begun and never finished: an empty table under the usual name
                return path.suffix == ".dat" and not any(head)
            (start,) = struct.unpack_from("<Q", head, 16)
            file.seek(start if start < 1 << 24 else 0)
            return start >= 8 + _ENTRY_BYTES and (start >= size or _is_protocol(file.read(64), size - start))
    except OSError:
        return False


def _is_protocol(head: bytes, available: int) -> bool:
    """Whether `head` starts with a length, a number of buffers, and the name of the first."""
    if len(head) < 16:
        return False
    length, count = struct.unpack_from("<II", head)
    return 16 < length <= min(_MAX_PROTOCOL, available) and 0 < count <= _MAX_BUFFERS and _NAME.match(head, 8) is not None


def find_measurements(path: str | Path) -> list[Measurement]:
    """The measurements of a file, in order.

    Raises
    ------
    InputError
        If the file is none of this kind, or its table of measurements is empty or points outside it.
    """
    path = existing_file(path)
    if not is_twix(path):
        raise InputError(path, "is no Siemens raw data", "give a file meas_*.dat")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_TABLE_BYTES)
    if _is_protocol(head, size):
        return [Measurement(start=0, end=size, new=False)]
    (count,) = struct.unpack_from("<I", head, 4)
    if count == 0:
        raise InputError(path, "lists no measurement: it was never finished", "copy it again after the scan has ended")
    found = []
    for i in range(count):
        start, length = struct.unpack_from("<QQ", head, 8 + i * _ENTRY_BYTES + 8)
        if length == 0:
            raise InputError(
                path, f"gives measurement {i} no length: it was never finished", "copy it again after the scan has ended"
            )
        if start < 8 + _ENTRY_BYTES or start + length > size:
            raise InputError(path, f"ends at byte {size}, its measurement {i} at byte {start + length}", _HINT)
        found.append(Measurement(start=start, end=start + length, new=True))
    return found


def read_protocol(file: BinaryIO, measurement: Measurement, path: Path) -> tuple[dict[str, str], int]:
    """The buffers of the protocol by name, and where the blocks begin.

    Raises
    ------
    InputError
        If lengths do not fit.
    """
    file.seek(measurement.start)
    head = file.read(64)
    if not _is_protocol(head, measurement.end - measurement.start):
        raise InputError(path, "has a measurement without a protocol", _HINT)
    length, count = struct.unpack_from("<II", head)
    file.seek(measurement.start)
    content = file.read(length)
    buffers: dict[str, str] = {}
    place = 8
    for _ in range(count):
        stop = content.find(b"\0", place, place + _MAX_NAME)
        if stop < 0 or stop + 5 > length:
            raise InputError(path, f"has a protocol whose buffer {len(buffers)} has no name", _HINT)
        (size,) = struct.unpack_from("<I", content, stop + 1)
        if stop + 5 + size > length:
            raise InputError(path, f"has a protocol whose buffer {len(buffers)} claims {size} bytes of {length}", _HINT)
        buffers[content[place:stop].decode("latin-1")] = content[stop + 5 : stop + 5 + size].decode("latin-1")
        place = stop + 5 + size
    return buffers, measurement.start + length


def head_type(*, new: bool) -> np.dtype[Any]:
    """The record of one readout's head.

    Raises
    ------
    MissingExtraError
        If twixtools is not installed.
    """
    try:
        from twixtools import mdh_def
    except ImportError as error:
        raise MissingExtraError("twixtools", "medcore[twix]", "reading Siemens raw data") from error
    kind: np.dtype[Any] = np.dtype(mdh_def.Scan_header if new else mdh_def.VB17_header)
    return kind


def read_blocks(file: BinaryIO, measurement: Measurement, start: int, path: Path) -> Blocks:
    """Walk the blocks of a measurement up to the one marked as the last; samples are not read.

    Raises
    ------
    InputError
        If a block has an impossible size, or the last one is missing.
    """
    kind = head_type(new=measurement.new)
    size = kind.itemsize
    place, kept = start, bytearray()
    offsets: list[int] = []
    flags_at, samples_at, channels_at = (kind.fields[n][1] for n in ("EvalInfoMask", "SamplesInScan", "UsedChannels"))  # type: ignore[index]
    while place + size <= measurement.end:
        head = os.pread(file.fileno(), size, place)
        (flags,) = struct.unpack_from("<Q", head, flags_at)
        if flags & FLAGS["end"]:
            return Blocks(
                heads=np.frombuffer(bytes(kept), dtype=kind), offsets=np.array(offsets, dtype=np.int64), new=measurement.new
            )
        (samples,), (channels,) = (struct.unpack_from("<H", head, at) for at in (samples_at, channels_at))
        if flags & FLAGS["sync"]:
            length = struct.unpack_from("<I", head)[0] & _LENGTH
        elif measurement.new:
            length = size + channels * (CHANNEL_HEAD + 8 * samples)
        else:
            length = channels * (size + 8 * samples)
        if length < size or place + length > measurement.end:
            raise InputError(path, f"has a block of {length} bytes at byte {place}, {measurement.end - place} are left", _HINT)
        if not flags & FLAGS["sync"]:
            kept += head
            offsets.append(place + (size if measurement.new else 0))
        place += length
    raise InputError(path, f"ends after {len(offsets)} readouts without the mark of the last one", _HINT)


def read_samples(file: BinaryIO, blocks: Blocks, row: int) -> NDArray[np.complex64]:
    """Samples (coil, sample) of one readout."""
    samples, channels = int(blocks.heads["SamplesInScan"][row]), int(blocks.heads["UsedChannels"][row])
    skip = CHANNEL_HEAD if blocks.new else blocks.heads.dtype.itemsize
    content = os.pread(file.fileno(), channels * (skip + 8 * samples), int(blocks.offsets[row]))
    return np.frombuffer(content, dtype=np.uint8).reshape(channels, skip + 8 * samples)[:, skip:].copy().view("<c8")
