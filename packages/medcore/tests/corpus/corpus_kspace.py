"""Bad input: raw data, after the numbers of the catalogue; cfl and Siemens raw data follow the numbers of what they resemble."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import twix_files as twix
from corpus_case import Case
from kspace_files import (
    COILS,
    LINES,
    Make,
    N,
    bytes_of,
    cfl,
    fastmri,
    ismrmrd,
    kspace,
    noise,
    plain,
    put,
    replaced,
    spokes,
    table,
    xml,
)

from medcore.io.ismrmrd.layout import NOISE

CONVERT = ("convert", "{path}", "{out}")
BOMB = (
    b"<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>"
    + b"".join(b"<!ENTITY %c '%s'>" % (98 + i, (b"&%c;" % (97 + i)) * 10) for i in range(8))
    + b"]><ismrmrdHeader>&i;</ismrmrdHeader>"
)
OUTSIDE = b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]><ismrmrdHeader>&a;</ismrmrdHeader>'


def case(name: str, make: Make, words: str, **options: Any) -> Case:
    """A case of a command that writes an ISMRMRD file if it is not refused."""
    return Case(name=name, make=make, words=words, **{"out": "out.h5"} | options)


def raw(content: Callable[[], bytes], name: str = "a.h5") -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content())
        return folder / name

    return make


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


def broken_heap(content: bytes) -> bytes:
    place = content.index(b"GCOL")
    return content[: place + 8] + b"\xff" * 24 + content[place + 32 :]


def nan(content: np.ndarray[Any, Any]) -> None:
    content[2]["data"][3] = np.nan


def fewer_promised(content: np.ndarray[Any, Any]) -> None:
    content["head"]["number_of_samples"], content["head"]["center_sample"] = N - 1, 2


def shorter(content: np.ndarray[Any, Any]) -> None:
    content[1]["head"]["number_of_samples"] = N - 2
    content[1]["data"] = content[1]["data"][: 2 * COILS * (N - 2)]


def one_coil_less(content: np.ndarray[Any, Any]) -> None:
    content[1]["head"]["active_channels"] = 1
    content[1]["data"] = content[1]["data"][: 2 * N]


def repeated(content: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.concatenate([content, content[:1]])


def lost(file: h5py.File) -> None:
    left = file["dataset/data"][:][[0, 1, 3]]
    replaced("dataset/data", left)(file)


def no_xml(file: h5py.File) -> None:
    del file["dataset/xml"]


def trajectory(change: Callable[[np.ndarray[Any, Any]], Any]) -> Callable[[h5py.File], None]:
    def apply(file: h5py.File) -> None:
        content = file["dataset/data"][:]
        changed = change(content[2]["traj"].copy())
        content[2]["traj"] = changed
        replaced("dataset/data", content)(file)

    return apply


def external_link(file: h5py.File) -> None:
    file["leak"] = h5py.ExternalLink("other.h5", "/values")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("leak", (16,), "u1", external=[("other.h5", 0, 16)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="i8")
    layout[:] = h5py.VirtualSource("other.h5", "values", shape=(4,))
    file.create_virtual_dataset("leak", layout)


def soft_loop(file: h5py.File) -> None:
    file["dataset/again"] = h5py.SoftLink("/dataset/more")
    file["dataset/more"] = h5py.SoftLink("/dataset/again")
    file["loop"] = h5py.SoftLink("/loop")


def read_only(folder: Path) -> Path:
    path = ismrmrd()(folder)
    path.chmod(0o444)
    return path


def user_block(folder: Path) -> Path:
    path = table()(folder)
    with h5py.File(path) as old, h5py.File(folder / "b.h5", "w", userblock_size=2048) as new:
        old.copy("dataset", new)
    path.unlink()
    return folder / "b.h5"


def huge(name: str, shape: tuple[int, ...], kind: str = "c8") -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name], file["medcore"]
        file.create_dataset(name, shape, kind, chunks=tuple(min(n, 64) for n in shape))

    return change


def gzip_bomb(file: h5py.File) -> None:
    del file["kspace"]
    file.create_dataset("kspace", (1, 2, 16384, 16384), "c8", chunks=(1, 1, 2048, 2048), compression="gzip")
    file["kspace"][0, 0, :2048, :2048] = 1


def header(text: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / "a.hdr").write_bytes(text)


def truncated(folder: Path) -> None:
    os.truncate(folder / "a.cfl", 100)


def cfl_nan(folder: Path) -> None:
    values = np.fromfile(folder / "a.cfl", "<c8")
    values[7] = np.nan
    values.tofile(folder / "a.cfl")


def endless() -> bytes:
    block = bytearray(twix.sync())
    block[:4] = bytes(4)
    return twix.vd_file(twix.protocol(N, LINES) + bytes(block) + twix.last())


HDF5 = [
    case("K1 empty", raw(bytes), "is empty"),
    case("K2 text", raw(lambda: b"no HDF5 at all\n" * 50), "is of no kind that can be read", command=CONVERT),
    *(
        case(f"K3 cut after {share:.0%}", bytes_of(table(), cut(share)), "damaged HDF5", command=CONVERT)
        for share in (0.3, 0.6, 0.95)
    ),
    case("K4 heap of the samples broken", bytes_of(table(), broken_heap), "not in the heap|damaged", command=CONVERT),
    case("K5 another group", table(group="scan"), "has no 'dataset' in '/', only scan"),
    case("K6 no header", ismrmrd(no_xml), "is of no kind that can be read", command=CONVERT),
    case("K7 header cut", table(header=xml()[:200]), "XML header that cannot be read"),
    case("K8 entities that grow", table(header=BOMB), "XML header that cannot be read"),
    case("K9 an entity outside", table(header=OUTSIDE), "XML header that cannot be read"),
    *(
        case(f"K10 matrix size {size}", table(header=xml(x=size)), "matrixSize/x = .*, not a whole number", command=CONVERT)
        for size in (0, -8, "abc", 1 << 40)
    ),
    case("K10 matrix of 60000 x 60000", table(header=xml(x=60000, y=60000)), r"claims \d+ bytes"),
    case("K11 no encoded space", table(header=xml(encoded=False)), "encodedSpace/matrixSize/z = None"),
    case(
        "K12 another number of samples promised", table(fewer_promised), "24 values of 'data' in readout 0 where its head says 20"
    ),
    case("K13 no coil", table(put("active_channels", 0, row=slice(None))), "coils|channels|values of 'data'"),
    case("K14 another number of coils", table(one_coil_less), r"different active_channels: 1 .1 readouts., 2 .3 readouts."),
    case("K15 another length of a readout", table(shorter), r"different number_of_samples: 4 .1 readouts., 6 .3 readouts."),
    case("K16 a sample is NaN", table(nan), "NaN or infinite sample in readout 2, coil 0, sample 1", command=CONVERT),
    case("K17 all samples zero", ismrmrd(item=lambda: kspace(data=noise(1, 2, 1, 4, 6) * 0)), "zero everywhere", expect="reported"),
    case("K18 a line beyond the matrix", table(put("idx.kspace_encode_step_1", 99)), "outside the matrix of 4"),
    case("K19 a line twice", table(repeated), "stores 1 lines twice"),
    case(
        "K20 a line is missing", ismrmrd(lost), "1 readout that the header promises is absent: contrast 0 line 2", expect="reported"
    ),
    case("K21 only noise", table(put("flags", NOISE, row=slice(None))), "no readout of an image"),
    case("K22 double precision", fastmri(replaced("kspace", noise(1, 2, 4, 6).astype("c16"))), "as complex128", expect="reported"),
    case("K22 real numbers", fastmri(replaced("kspace", np.ones((1, 2, 4, 6), "f4"))), "kspace of type float32", command=CONVERT),
    case(
        "K23 axes in another order",
        fastmri(replaced("kspace", noise(1, 320, 6, 4))),
        r"order its axes \(slice, coil, height, width\)",
    ),
    case("K24 coil maps of another shape", fastmri(replaced("sensitivity_maps", noise(1, 3, 4, 6))), "sensitivity_maps of shape"),
    case("K24 coil maps of another number", ismrmrd(replaced("dataset/csm", noise(1, 1, 1, 4, 6))), "csm"),
    case("K25 trajectory too short", ismrmrd(trajectory(lambda t: t[:-2]), spokes), "values of 'traj' in readout 2"),
    case("K25 trajectory with NaN", ismrmrd(trajectory(lambda t: t * np.nan), spokes), "NaN or infinite trajectory point"),
    case("K25 trajectory out of range", ismrmrd(trajectory(lambda t: t * 99), spokes), "trajectory points up to"),
    case("K26 external link", plain(external_link), "links /+leak to another file"),
    case("K27 external raw storage", plain(external_storage), "stores /leak in another file"),
    case("K27 virtual data set", plain(virtual), "stores /leak in another file"),
    case("K28 loop of soft links", ismrmrd(soft_loop), "", expect="read"),
    case("K28 user block", user_block, "", expect="read"),
    case("K28 read-only file", read_only, "", expect="read"),
    case("K28 2^31 slices", fastmri(huge("kspace", (1 << 31, 2, 4, 6))), r"claims \d+ bytes"),
    case("K28 a plane of 2^40 samples", fastmri(huge("kspace", (1, 2, 1 << 20, 1 << 20))), r"claims \d+ bytes"),
    case("K28 gzip bomb", fastmri(gzip_bomb), r"claims \d+ bytes", command=CONVERT),
    case("K28 no such file", lambda folder: folder / "absent.h5", "does not exist", command=CONVERT),
    case("K28 mask of zeros", fastmri(replaced("mask", np.zeros(6, "u1"))), "keeps nothing"),
    case("K28 mask of another shape", fastmri(replaced("mask", np.ones(5, "u1"))), "a mask of shape"),
]

CFL = [
    case("K3 cfl cut", cfl(truncated), "has 100 bytes where its header says 384"),
    case("K7 cfl header without dimensions", cfl(header(b"# Dimensions\n")), "no line of positive dimensions"),
    case("K10 cfl dimension 0", cfl(header(b"# Dimensions\n6 0 1 2\n")), "no line of positive dimensions"),
    case("K12 cfl header lies", cfl(header(b"# Dimensions\n6 40 1 2\n")), "where its header says 3840"),
    case("K16 cfl sample NaN", cfl(cfl_nan), "NaN or infinite sample"),
    case("K23 cfl axis without meaning", cfl(header(b"# Dimensions\n6 4 1 1 2\n")), "which have no meaning here"),
    case("K28 cfl dimensions 2^31", cfl(header(b"# Dimensions\n2147483648 1 1 2\n")), "no line of positive dimensions"),
    case("K28 cfl without header", cfl(lambda folder: (folder / "a.hdr").unlink()), "of no kind|does not exist", command=CONVERT),
    case(
        "K28 header without cfl",
        cfl(lambda folder: (folder / "a.cfl").unlink(), given="a.hdr"),
        "of no kind|not exist",
        command=CONVERT,
    ),
]

TWIX = [
    case("K1 twix begun and never finished", raw(lambda: bytes(10240), "meas.dat"), "lists no measurement: it was never finished"),
    case("K3 twix cut", raw(lambda: twix.vd_file(twix.scan())[:-1500], "meas.dat"), "ends at byte", command=CONVERT),
    case(
        "K4 twix without its last block", raw(lambda: twix.vd_file(twix.scan()[:-352]), "meas.dat"), "without the mark of the last"
    ),
    case("K12 twix block of no length", raw(endless, "meas.dat"), "has a block of 0 bytes"),
    case(
        "K16 twix sample NaN",
        raw(lambda: twix.vd_file(twix.protocol(N, LINES) + twix.lines_of(noise(1, 2, 4, 12) * np.nan) + twix.last())),
        "NaN or infinite sample in readout 0",
    ),
    case(
        "K18 twix line beyond the matrix",
        raw(lambda: twix.vd_file(twix.scan(**{"sKSpace.lPhaseEncodingLines": 2}))),
        "outside the matrix of 2",
    ),
    case(
        "K25 twix radial",
        raw(lambda: twix.vd_file(twix.scan(**{"sKSpace.ucTrajectory": "0x2"}))),
        "is radial and stores no trajectory",
    ),
]

CASES: list[Case] = [*HDF5, *CFL, *TWIX]
