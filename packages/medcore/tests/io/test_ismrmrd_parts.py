"""ISMRMRD in parts: slices, contrasts and coils alone, lost readouts by name, other ways to store samples, and the memory it takes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError
from medcore.io import KSpace, read_ismrmrd, write_ismrmrd
from medcore.io.ismrmrd.header import Limit
from medcore.io.ismrmrd.layout import HEAD
from medcore.io.ismrmrd.lost import STEP_1, lost_lines


def noise(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def drop(path, rows):
    """Take readouts out of a file."""
    with h5py.File(path, "a") as file:
        table = file["dataset/data"][:]
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=np.delete(table, rows))


@pytest.fixture
def full(rng):
    """Two contrasts, three coils, (2, 6, 8), all lines there."""
    return KSpace(data=noise(rng, 2, 3, 2, 6, 8), matrix=(2, 6, 8), fov=(0.01, 0.2, 0.2), times={"te": [0.01, 0.02]})


@pytest.mark.parametrize("name", ["cartesian", "radial"])
@pytest.mark.parametrize(("contrasts", "coils"), [([1], None), ([1, 0], [2, 0]), (None, [1])])
def test_a_part_equals_the_part_of_the_whole(name, contrasts, coils, request, tmp_path):
    whole = request.getfixturevalue(name)
    write_ismrmrd(tmp_path / "a.h5", whole)
    part = read_ismrmrd(tmp_path / "a.h5", contrasts=contrasts, coils=coils)
    chosen, kept = contrasts or [0, 1], coils or [0, 1, 2]
    assert np.array_equal(part.data, whole.data[chosen][:, kept])
    for key, values in whole.times.items():
        assert part.times[key].tolist() == values[chosen].tolist()
    for mine, all_of_them, wanted in (
        (part.mask, whole.mask, chosen),
        (part.traj, whole.traj, chosen),
        (part.noise, whole.noise, kept),
        (part.csm, whole.csm, kept),
    ):
        assert (mine is None) == (all_of_them is None)
        assert mine is None or np.array_equal(mine, all_of_them[wanted])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"contrasts": [2]}, "has no contrasts"),
        ({"contrasts": []}, "has no contrasts"),
        ({"contrasts": [0, 0]}, "some twice; name each once"),
        ({"coils": [3]}, "has 3 coils, coils are .3.; choose from 0 to 2"),
        ({"coils": [-1]}, "choose from 0 to 2"),
        ({"coils": []}, "choose from 0 to 2"),
        ({"coils": [1, 1]}, "some twice"),
    ],
)
def test_a_part_that_is_not_there_is_refused(full, options, words, tmp_path):
    write_ismrmrd(tmp_path / "a.h5", full)
    with pytest.raises(InputError, match=words):
        read_ismrmrd(tmp_path / "a.h5", **options)


def test_lost_readouts_are_counted_and_named(full, tmp_path):
    path = tmp_path / "a.h5"
    write_ismrmrd(path, full)
    assert read_ismrmrd(path, strict=True).repairs == ()
    drop(path, [3, 6 + 5, 12 + 2])  # contrast 0: z 0 line 3 and z 1 line 5; contrast 1: z 0 line 2
    kspace = read_ismrmrd(path)
    (repair,) = kspace.repairs
    named = "contrast 0 line 3 partition 0, contrast 0 line 5 partition 1, contrast 1 line 2 partition 0"
    assert repair == f"3 readouts that the header promises are absent: {named}"
    assert not kspace.mask[0, 0, 3].any()
    assert kspace.mask.any(axis=-1).sum() == 24 - 3
    with pytest.raises(
        InputError, match=r"3 readouts that the header promises are absent: contrast 0 line 3 .*; get a complete copy"
    ):
        read_ismrmrd(path, strict=True)
    assert read_ismrmrd(path, contrasts=[1]).repairs == (
        "1 readout that the header promises is absent: contrast 0 line 2 partition 0",
    )


def test_only_the_first_of_many_lost_readouts_are_named(rng, tmp_path):
    path = tmp_path / "a.h5"
    write_ismrmrd(path, KSpace(data=noise(rng, 1, 1, 1, 30, 4), matrix=(1, 30, 4), fov=(0.01, 0.2, 0.2)))
    drop(path, np.arange(5, 25))
    (repair,) = read_ismrmrd(path).repairs
    assert repair.startswith("20 readouts that the header promises are absent: contrast 0 line 5, ")
    assert repair.endswith("contrast 0 line 12, ...")


def test_lost_spokes_are_named(radial, tmp_path):
    path = tmp_path / "a.h5"
    write_ismrmrd(path, radial)
    drop(path, [2, 7])  # the third spoke of both contrasts
    kspace = read_ismrmrd(path)
    assert kspace.repairs == ("2 readouts that the header promises are absent: contrast 0 line 2, contrast 1 line 2",)
    assert np.array_equal(kspace.data, np.delete(radial.data, 2, axis=2))
    write_ismrmrd(path, radial, force=True)
    drop(path, [7])
    with pytest.raises(InputError, match=r"has \[5, 4\] readouts .*absent: contrast 1 line 2\); leave out the incomplete contrast"):
        read_ismrmrd(path)
    assert np.array_equal(read_ismrmrd(path, contrasts=[0]).data, radial.data[:1])


@given(
    n=st.integers(1, 40),
    step=st.integers(1, 4),
    first=st.integers(0, 3),
    calibration=st.integers(0, 6),
    lost=st.sets(st.integers(0, 39), max_size=2),
)
def test_lines_of_a_regular_pattern_are_missed_exactly(n, step, first, calibration, lost):
    first %= step
    regular = np.arange(first, n, step)
    if len(regular) < 6 * step:  # too few for the pattern to be told from calibration lines and losses
        return
    there = np.zeros(n, dtype=bool)
    there[regular] = True
    gone = sorted(lost & set(regular.tolist()))
    middle = n // 2
    there[gone] = False
    extra = [i for i in range(middle - calibration // 2, middle + calibration // 2) if i not in gone]
    there[extra] = True
    found = lost_lines(there[None, None], {STEP_1: Limit(maximum=n - 1)}, (1, step))
    assert [y for _, _, y in found.places] == gone
    assert not lost_lines(there[None, None], {STEP_1: Limit(maximum=n - 1)}, None)


def test_a_header_that_promises_less_than_the_matrix_is_believed():
    there = np.ones((1, 1, 8), dtype=bool)
    there[..., 5:] = False
    assert not lost_lines(there, {STEP_1: Limit(minimum=0, maximum=4, center=2)}, (1, 1))
    assert [y for *_, y in lost_lines(there, {STEP_1: Limit(maximum=6)}, (1, 1)).places] == [5, 6]


def test_a_plane_that_is_absent_is_lost_line_by_line():
    there = np.ones((1, 3, 4), dtype=bool)
    there[0, 1] = False
    found = lost_lines(there, {}, (1, 1))
    assert found.places == tuple((0, 1, y) for y in range(4))


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        (h5py.vlen_dtype(np.dtype([("real", "<f4"), ("imag", "<f4")])), "samples stored as complex64 read as complex64"),
        (h5py.vlen_dtype(np.dtype("<c8")), "samples stored as complex64 read as complex64"),
        (h5py.vlen_dtype(np.dtype("<c16")), "samples stored as complex128 read as complex64"),
        (h5py.vlen_dtype(np.dtype("<f8")), "samples stored as pairs of float64 read as complex64"),
        (np.dtype(("<f4", (12,))), None),
        (h5py.vlen_dtype(np.dtype(">f4")), "samples stored as pairs of >f4 read as complex64"),
        (np.dtype((">f4", (12,))), "samples stored as pairs of >f4 read as complex64"),
        (np.dtype(("<c16", (6,))), "samples stored as complex128 read as complex64"),
        (h5py.vlen_dtype(np.dtype("<i2")), "samples stored as pairs of int16 read as complex64"),
    ],
)
def test_samples_stored_in_other_ways_are_read_and_named(rng, kind, note, tmp_path):
    samples = np.round(100 * noise(rng, 4, 1, 1, 6)).astype(np.complex64)  # fit into any of the types
    kspace = KSpace(data=samples.reshape(1, 1, 1, 4, 6), matrix=(1, 4, 6), fov=(0.01, 0.2, 0.2))
    path = tmp_path / "a.h5"
    write_ismrmrd(path, kspace)
    with h5py.File(path, "a") as file:
        old = file["dataset/data"][:]
        del file["dataset/data"]
        table = np.zeros(4, dtype=[("head", HEAD), ("data", kind)])
        table["head"] = old["head"]
        base = np.dtype(h5py.check_vlen_dtype(table.dtype["data"]) or kind.base)
        for row, values in zip(table, samples[:, 0, 0], strict=True):
            if base.names:
                stored = np.array([(v.real, v.imag) for v in values], dtype=base)
            else:
                stored = values.astype(base) if base.kind == "c" else values.view(np.float32).astype(base)
            row["data"] = stored
        file["dataset"].create_dataset("data", data=table)
    read = read_ismrmrd(path)
    assert np.array_equal(read.data, kspace.data)
    assert read.repairs == (() if note is None else (note,))


def test_samples_of_no_number_are_refused(full, tmp_path):
    write_ismrmrd(tmp_path / "a.h5", full)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        heads = file["dataset/data"]["head"]
        del file["dataset/data"]
        table = np.zeros(len(heads), dtype=[("head", HEAD), ("data", "S8")])
        table["head"] = heads
        file["dataset"].create_dataset("data", data=table)
    with pytest.raises(InputError, match=r"has 'data' of type .S8 in its table of readouts"):
        read_ismrmrd(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "storage", [{}, {"chunks": (3,)}, {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (5,)}]
)
def test_tables_stored_in_any_usual_way_are_read(full, storage, tmp_path):
    path = tmp_path / "a.h5"
    write_ismrmrd(path, full)
    with h5py.File(path, "a") as file:
        table = file["dataset/data"][:]
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=table, **storage)
    assert np.array_equal(read_ismrmrd(path).data, full.data)


def test_a_filter_that_is_not_known_is_named(full, tmp_path):
    path = tmp_path / "a.h5"
    write_ismrmrd(path, full)
    with h5py.File(path, "a") as file:
        table = file["dataset/data"][:]
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=table, compression="lzf")
    with pytest.raises(InputError, match="stored with the filter 32000; store it without, or with gzip"):
        read_ismrmrd(path)


def test_a_length_that_the_heap_does_not_hold_is_refused(full, tmp_path):
    """One changed byte that makes the HDF5 library itself crash or take all memory."""
    path = tmp_path / "a.h5"
    write_ismrmrd(path, full)
    with h5py.File(path) as file:
        rows = file["dataset/data"]
        place, offset = rows.id.get_chunk_info(0).byte_offset, rows.id.get_type().get_member_offset(2)
    content = bytearray(path.read_bytes())
    length = place + offset
    assert int.from_bytes(content[length : length + 4], "little") == 2 * 3 * 8
    for byte in range(4):
        changed = bytearray(content)
        changed[length + byte] ^= 0x55
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"has \d+ values in row 0 where its heap holds 192 bytes"):
            read_ismrmrd(path)


def test_a_file_of_images_is_named_as_such(full, tmp_path):
    write_ismrmrd(tmp_path / "a.h5", full)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["dataset/data"]
        file["dataset/image_0/data"] = np.zeros((1, 1, 1, 4, 4), np.float32)
        file["dataset/image_0/header"] = np.zeros(1)
    with pytest.raises(InputError, match=r"holds reconstructed images \(image_0\) and no readouts; give the raw data"):
        read_ismrmrd(tmp_path / "a.h5")


READING = """
import sys
from medcore.io import read_cfl, read_fastmri, read_ismrmrd
kind, small, big, options = sys.argv[1], sys.argv[2], sys.argv[3], eval(sys.argv[4])
read = {"ismrmrd": read_ismrmrd, "fastmri": read_fastmri, "cfl": read_cfl}[kind]
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
read(small, **options)
open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
before = peak()
kspace = read(big, **options)
part = kspace.data.nbytes + (0 if kspace.traj is None else kspace.traj.nbytes)
print(part, peak() - before)
"""


def build(kind, path, scale, rng):
    """A file of about 12 MB (scale 1) or 120 MB (scale 10); the part asked for is half of it."""
    from medcore.io import write_cfl, write_fastmri

    if kind == "fastmri":
        one = KSpace(data=noise(rng, 1, 8, 1, 32 * scale, 256), matrix=(1, 32 * scale, 256), fov=(0.01, 0.2, 0.2))
        return write_fastmri(path, [one, one])
    if kind == "cfl":
        item = KSpace(data=noise(rng, 2, 8, 1, 32 * scale, 512), matrix=(1, 32 * scale, 512), fov=(0.01, 0.2, 0.2))
        return write_cfl(path, item)
    if kind == "radial":
        traj = rng.uniform(-3, 3, (2, 32 * scale, 512, 2)).astype(np.float32)
        return write_ismrmrd(
            path, KSpace(data=noise(rng, 2, 24, 32 * scale, 512), traj=traj, matrix=(1, 512, 512), fov=(0.01, 0.2, 0.2))
        )
    mask = np.ones((2, 4, 8 * scale, 512), dtype=bool)
    mask[:, :, 1::2] = False
    data = noise(rng, 2, 24, 4, 8 * scale, 512)
    kspace = KSpace(data=data * mask[:, None], mask=mask, matrix=mask.shape[1:], fov=(0.01, 0.2, 0.2))
    return write_ismrmrd(path, kspace)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("cartesian", {"contrasts": [1]}),
        ("cartesian", {"coils": list(range(12))}),
        ("cartesian", {}),
        ("radial", {"contrasts": [0]}),
        ("fastmri", {"slice_index": 1}),
    ],
)
def test_memory_is_that_of_the_part(kind, options, rng, tmp_path, record_property):
    paths = [tmp_path / "small.h5", tmp_path / "big.h5"]
    for path, scale in zip(paths, (1, 40 if kind in {"cartesian", "radial"} else 80), strict=True):
        build(kind, path, scale, rng)
    reader = "fastmri" if kind == "fastmri" else "ismrmrd"
    program = [sys.executable, "-c", READING, reader, *map(str, paths), repr(options)]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=300)
    part, peak = map(int, done.stdout.split())
    record_property("memory_over_part", peak / part)
    assert paths[1].stat().st_size > 80e6
    assert part > 40e6
    assert peak < 1.5 * part


def test_everything_is_kept_of_a_measurement_with_all_there_is(cartesian, tmp_path):
    kspace = dataclasses.replace(cartesian, times={**cartesian.times, "ti": [0.1, 0.1], "flip_angle": [0.2, 0.3]})
    write_ismrmrd(tmp_path / "a.h5", kspace)
    again = read_ismrmrd(tmp_path / "a.h5", strict=True)
    assert again.repairs == kspace.repairs
    assert again.times.keys() == kspace.times.keys()
