"""Siemens raw-data files made by code after the layout that twixtools documents; every number in them is known."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from twixtools import mdh_def

BITS = {name: 1 << i for i, name in enumerate(mdh_def.mask_id)}
COUNTERS = {"line": "Lin", "partition": "Par", "slice": "Sli", "average": "Ave", "echo": "Eco", "set": "Set", "repetition": "Rep"}
TILT = (0.9238795, 0.0, 0.0, 0.3826834)
"""Quaternion of a turn by 45 degrees about the third axis."""


def protocol(columns: int, lines: int, *, partitions: int | None = None, os_factor: float | None = 2.0, **changes: Any) -> bytes:
    """The protocol of a measurement: buffers Meas and MeasYaps. `changes` with value None leave an entry out."""
    entries: dict[str, Any] = {
        "tSequenceFileName": '"%SiemensSeq%\\\\tse"',
        "sKSpace.lBaseResolution": columns,
        "sKSpace.lPhaseEncodingLines": lines,
        "sKSpace.lPartitions": partitions or 8,
        "sKSpace.ucDimension": "0x4" if partitions else "0x2",
        "sKSpace.ucTrajectory": "0x1",
        "sSliceArray.asSlice[0].dThickness": 5.0,
        "sSliceArray.asSlice[0].dPhaseFOV": 200.0,
        "sSliceArray.asSlice[0].dReadoutFOV": 240.0,
        "sProtConsistencyInfo.flNominalB0": 2.8936,
        "sPat.lAccelFactPE": 1,
        "lContrasts": 2,
        "alTE[0]": 12300,
        "alTE[1]": 27100,
        "alTE[2]": 99000,
        "alTR[0]": 700000,
        "adFlipAngleDegree[0]": 90.0,
        "tPatientName": '"Hush^Hush"',
    }
    entries |= {name.replace("__", "."): value for name, value in changes.items()}
    text = "### ASCCONV BEGIN ###\n" + "".join(f"{k}\t = \t{v}\n" for k, v in entries.items() if v is not None)
    stored = (
        f'<ParamDouble."flReadoutOSFactor">  {{ <Precision> 16  {os_factor}  }}\n' if os_factor is not None else "<XProtocol>\n"
    )
    body = b"".join(
        name + b"\0" + struct.pack("<I", len(content)) + content
        for name, content in ((b"Meas", stored.encode() + b"\n\0"), (b"MeasYaps", text.encode() + b"### ASCCONV END ###\n\0"))
    )
    length = 8 + len(body)
    padding = 10240 - length  # readers tell VB files by a protocol of more than 10,000 bytes
    return struct.pack("<II", length + padding, 2) + body + bytes(padding)


def readout(
    samples: np.ndarray[Any, Any],
    *,
    flags: Sequence[str] = (),
    new: bool = True,
    centre: tuple[int, int, int] = (0, 0, 0),
    cut: tuple[int, int] = (0, 0),
    quaternion: Sequence[float] = TILT,
    position: Sequence[float] = (10.0, -20.0, 30.0),
    **counters: int,
) -> bytes:
    """One block: samples (coil, sample); `centre` is (column, line, partition)."""
    head = mdh_def.Scan_header() if new else mdh_def.VB17_header()
    coils, n = samples.shape
    head.SamplesInScan, head.UsedChannels = n, coils
    head.EvalInfoMask = sum(BITS[f] for f in flags)
    head.CenterCol, head.CenterLin, head.CenterPar = centre
    object.__getattribute__(head, "CutOff").Pre, object.__getattribute__(head, "CutOff").Post = cut
    for name, value in counters.items():
        setattr(object.__getattribute__(head, "Counter"), COUNTERS[name], value)
    place = object.__getattribute__(head, "SliceData")
    place.SlicePos.Sag, place.SlicePos.Cor, place.SlicePos.Tra = position
    for i, q in enumerate(quaternion):
        object.__getattribute__(place, "Quaternion")[i] = q
    values = np.ascontiguousarray(samples, dtype="<c8")
    if new:
        length = 192 + coils * (32 + 8 * n)
        head.FlagsAndDMALength = length
        return bytes(head) + b"".join(bytes(mdh_def.Channel_header(ChannelId=c)) + values[c].tobytes() for c in range(coils))
    head.FlagsAndDMALength = 128 + 8 * n
    return b"".join(bytes(head) + values[c].tobytes() for c in range(coils))


def sync(size: int = 128, *, new: bool = True) -> bytes:
    """A block that holds no readout."""
    head = mdh_def.Scan_header() if new else mdh_def.VB17_header()
    head.EvalInfoMask, head.FlagsAndDMALength = BITS["SYNCDATA"], len(bytes(head)) + size
    return bytes(head) + bytes(size)


def last(*, new: bool = True) -> bytes:
    """The block that ends a measurement."""
    head = mdh_def.Scan_header() if new else mdh_def.VB17_header()
    head.EvalInfoMask, head.FlagsAndDMALength = BITS["ACQEND"], len(bytes(head)) + 160
    return bytes(head) + bytes(160)


def vd_file(*measurements: bytes, count: int | None = None) -> bytes:
    """A VD/VE file: the table, then the measurements at multiples of 512 bytes."""
    table = bytearray(10240)
    struct.pack_into("<II", table, 0, 0, len(measurements) if count is None else count)
    body = b""
    for i, content in enumerate(measurements):
        struct.pack_into("<IIQQ64s64s", table, 8 + 152 * i, i, i, 10240 + len(body), len(content), b"Hush^Hush", b"scan")
        body += content + bytes(-len(content) % 512)
    return bytes(table) + body


def lines_of(values: np.ndarray[Any, Any], *, new: bool = True, **options: Any) -> bytes:
    """Readouts of k-space (echo, coil, line, sample), echo by echo within a line, centre in the middle."""
    echoes, _, lines, columns = values.shape
    centre = options.pop("centre", (columns // 2, lines // 2, 0))
    return b"".join(
        readout(values[e, :, y], new=new, centre=centre, line=y, echo=e, **options) for y in range(lines) for e in range(echoes)
    )


def samples(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Noise of that shape."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def scan(columns: int = 6, lines: int = 4, coils: int = 2, *, new: bool = True, **changes: Any) -> bytes:
    """A complete measurement of two echoes, with its noise in front."""
    values = samples(2, coils, lines, 2 * columns)
    noise = readout(samples(coils, 16, seed=1), flags=["NOISEADJSCAN"], new=new)
    return protocol(columns, lines, **changes) + noise + sync(new=new) + lines_of(values, new=new) + last(new=new)


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
