"""Raw-data files cut at every 16th byte and with bytes changed anywhere: a measurement, or one error; never a crash, never a hang."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import kspace_files as made
import pytest
import twix_files
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import MedcoreError
from medcore.io import ImageSeries, KSpace, read_cfl, read_fastmri, read_ismrmrd, read_twix
from medcore.io.hdf5 import describe_hdf5


class Format(NamedTuple):
    """How a good file is made and read, and which of its files is damaged."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    damaged: str = "a.h5"


def scan(folder: Path) -> Path:
    return twix_files.save(folder / "a.dat", twix_files.vd_file(twix_files.scan()))


def old_scan(folder: Path) -> Path:
    return twix_files.save(folder / "a.dat", twix_files.scan(new=False))


FORMATS = {
    "ISMRMRD": Format(made.ismrmrd(), read_ismrmrd),
    "ISMRMRD in one piece": Format(made.table(), read_ismrmrd),
    "ISMRMRD radial": Format(made.ismrmrd(item=made.spokes), read_ismrmrd),
    "fastMRI": Format(made.fastmri(), read_fastmri),
    "HDF5": Format(made.fastmri(), describe_hdf5),
    "cfl": Format(made.cfl(), read_cfl, "a.cfl"),
    "cfl header": Format(made.cfl(), read_cfl, "a.hdr"),
    "twix VD": Format(scan, read_twix, "a.dat"),
    "twix VB": Format(old_scan, read_twix, "a.dat"),
}
EVERY = pytest.mark.parametrize("name", list(FORMATS))


def outcome(kind: Format, path: Path) -> Any:
    """What reading gave; None where it was refused in one line."""
    try:
        return kind.read(path)
    except MedcoreError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return None


@EVERY
def test_cut_at_every_16th_byte(name: str, tmp_path: Path) -> None:
    kind = FORMATS[name]
    path = kind.make(tmp_path)
    content = (tmp_path / kind.damaged).read_bytes()
    assert outcome(kind, path) is not None
    for length in range(0, len(content) - 1, 16):
        (tmp_path / kind.damaged).write_bytes(content[:length])
        got = outcome(kind, path)
        # What is cut may lie behind the last value that counts: blocks that HDF5 has set aside, or the block that ends a scan.
        assert got is None or length > len(content) - 4096, f"a file cut to {length} of {len(content)} bytes was read"


@EVERY
@given(data=st.data())
def test_changed_bytes(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    kind = FORMATS[name]
    folder = tmp_path_factory.mktemp("changed")
    path = kind.make(folder)
    content = bytearray((folder / kind.damaged).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / kind.damaged).write_bytes(content)
    got = outcome(kind, path)
    assert got is None or isinstance(got, (KSpace, ImageSeries, dict))


@pytest.mark.property
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["ISMRMRD", "fastMRI", "twix VD"])
def test_every_byte_changed_in_turn(name: str, tmp_path: Path) -> None:
    """The HDF5 library crashed on such files as long as it was asked for values of variable length."""
    kind = FORMATS[name]
    path = kind.make(tmp_path)
    content = path.read_bytes()
    for place in range(0, len(content), 1 if len(content) < 10_000 else 3):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        outcome(kind, path)
