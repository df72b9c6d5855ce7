"""Plain arrays: nothing is unpickled, no header is believed, what is read can be written to."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medcore.errors import ConfigError, InputError
from medcore.io import KSpace, read_npy, read_npy_kspace
from medcore.io.npy import load_array

TYPES = st.sampled_from(["?", "u1", "<i2", ">i4", "<u8", "<f2", ">f4", "<f8", "<c8", ">c16"])


def npy(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + size + header + data


@given(array=TYPES.flatmap(lambda t: hnp.arrays(t, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4))), fortran=st.booleans())
def test_every_array_of_numbers_comes_back_writable(array, fortran, tmp_path):
    array = np.asfortranarray(array) if fortran and array.ndim else array
    np.save(tmp_path / "a.npy", array)
    found = load_array(tmp_path / "a.npy")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_an_archive_are_chosen_by_name(save, tmp_path):
    save(tmp_path / "a.npz", x=np.arange(3), y=np.ones((2, 2)))
    assert load_array(tmp_path / "a.npz", key="y").tolist() == [[1, 1], [1, 1]]
    for key in (None, "z"):
        with pytest.raises(InputError, match="holds x, y; choose one"):
            load_array(tmp_path / "a.npz", key=key)
    save(tmp_path / "one.npz", x=np.arange(3))
    assert load_array(tmp_path / "one.npz").tolist() == [0, 1, 2]


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    "save", [lambda p, a: np.save(p.open("wb"), a, allow_pickle=True), lambda p, a: np.savez(p.open("wb"), a=a)]
)
def test_objects_are_refused_and_never_unpickled(save, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        save(tmp_path / "a.npy", np.array([Trap(tmp_path / "sprung")], dtype=object))
    with pytest.raises(InputError, match="values of type object"):
        load_array(tmp_path / "a.npy")
    assert not (tmp_path / "sprung").exists()


def good() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(12, dtype="<f4").reshape(3, 4))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "is empty"),
        (b"hello", "neither .npy nor .npz"),
        (good()[:5], "neither"),
        (good()[:9], "damaged .npy|is cut"),
        (good()[:40], "damaged .npy"),
        (good()[:-1], "is cut: it has 47 of 48 bytes"),
        (good() + b"x", "goes on after its data"),
        (b"\x93NUMPY\x09\x00" + good()[8:], r"version \(9, 0\)|damaged"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }\n"), "claims 399999999996 bytes"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }\n"), "claims"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }\n"), "claims the shape"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4), }\n"), "claims the shape"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,), }\n"), "damaged .npy"),
        (npy(b"__import__('os').system('true')\n"), "damaged .npy"),
        (npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"), "object"),
        (npy(b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }\n", b"\0" * 4), "values of type"),
        (npy(b"{'descr': '<U4', 'fortran_order': False, 'shape': (1,), }\n", b"\0" * 16), "values of type <U4"),
        (npy(b"(" * 9000), "damaged .npy"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{", "header of 2147483648 bytes"),
        (b"PK\x03\x04 no archive", "damaged .npz"),
    ],
)
def test_damaged_files_are_one_error_each(content, word, tmp_path):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=word):
        load_array(tmp_path / "a.npy")


@given(data=st.data())
def test_any_change_of_bytes_is_an_array_or_one_error(data, tmp_path):
    content = bytearray(good())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.npy").write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        found = load_array(tmp_path / "a.npy")
    except InputError:
        return
    assert found.dtype.kind in "biufc"


@pytest.mark.parametrize(
    "header",
    [
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 300_000_000),
        npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (300000000,), }\n"),
    ],
)
def test_a_bomb_is_defused_before_it_takes_memory(header, tmp_path):
    """300 MB of zeros in 0.3 MB, as a header or as data."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w", force_zip64=True) as member:
        member.write(header)
        for _ in range(300):
            member.write(bytes(1_000_000))
    tracemalloc.start()
    with pytest.raises(InputError, match="claims"):
        load_array(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_images_get_their_axes_and_say_what_is_assumed(tmp_path):
    values = np.arange(24.0).reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", values)
    images = read_npy(tmp_path / "a.npy", times={"te": [0.01, 0.02, 0.03, 0.04]})
    assert np.array_equal(images.data[:, 0], np.moveaxis(values, -1, 0))
    assert images.data.dtype == np.float32
    assert images.voxel_size == pytest.approx((1e-3,) * 3)
    assert any("voxels of 1 mm assumed" in r for r in images.repairs)
    assert np.array_equal(read_npy(tmp_path / "a.npy", contrast_axis=0).data[:, 0], values)
    with pytest.raises(InputError, match="no axis 3"):
        read_npy(tmp_path / "a.npy", contrast_axis=3)


@pytest.mark.parametrize(("shape", "expected"), [((2, 3), (1, 1, 2, 3)), ((2, 3, 4), (4, 1, 2, 3)), ((5, 2, 3, 4), (5, 2, 3, 4))])
def test_axes_by_default(shape, expected, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    assert read_npy(tmp_path / "a.npy").data.shape == expected


@pytest.mark.parametrize(
    ("values", "options", "word"),
    [
        (np.zeros(3), {}, "two to four axes"),
        (np.full((2, 2), 1e300), {}, "beyond the range"),
        (np.full((2, 2), np.inf), {}, "infinite"),
        (np.zeros((2, 2, 3)), {"times": {"te": [10.0, 20.0, 30.0]}}, "looks like milliseconds.*perhaps 0.03"),
        (np.zeros((2, 2, 3)), {"times": {"te": [0.01, 0.02]}}, "2 echo times for 3 contrasts"),
        (np.zeros((2, 2, 3)), {"times": {"echo": [1]}}, "'echo'"),
    ],
)
def test_what_is_no_image_is_refused(values, options, word, tmp_path):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=word):
        read_npy(tmp_path / "a.npy", **options)


def test_nan_voxels_are_data(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[np.nan, 1.0]]))
    assert np.isnan(read_npy(tmp_path / "a.npy").data[0, 0, 0, 0])


def test_kspace_knows_which_points_were_not_measured(tmp_path, rng):
    values = (rng.standard_normal((3, 6, 4)) + 1j).astype(np.complex64)
    values[:, 2] = 0
    values[0, 3, 3] = 0  # zero in one coil only: measured
    np.save(tmp_path / "k.npy", values)
    kspace = read_npy_kspace(tmp_path / "k.npy", fov=(0.005, 0.2, 0.2))
    assert np.array_equal(kspace.data[0, :, 0], values)
    assert kspace.mask[0, 0].sum() == 20
    assert not kspace.mask[0, 0, 2].any()
    assert kspace.fov == (0.005, 0.2, 0.2)
    np.save(tmp_path / "r.npy", values.real)
    with pytest.raises(InputError, match="give complex"):
        read_npy_kspace(tmp_path / "r.npy")


@pytest.mark.integration
def test_the_measured_brain(data_root):
    path = data_root / "sigpy-brain-kspace" / "cartesian_ksp.npy"
    kspace = read_npy_kspace(path)
    assert isinstance(kspace, KSpace)
    assert kspace.data.shape == (1, 8, 1, 230, 180)
    stored = np.load(path)
    assert np.array_equal(kspace.data[0, :, 0], stored)
    assert kspace.sampled_fraction == pytest.approx(np.any(stored != 0, axis=0).mean())


@pytest.mark.integration
def test_the_inversion_recovery_series(data_root):
    path = data_root / "fsantini-t1t2" / "t1dataset.npy"
    images = read_npy(path, times={"ti": [0.05, 0.1, 0.2, 0.5, 2, 4]})
    assert images.data.shape == (6, 1, 256, 192)
    assert np.array_equal(images.data[3, 0], np.load(path)[..., 3])


def test_the_limit_of_memory_can_be_set_and_must_be_a_number(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.ones((4, 5)))
    monkeypatch.setenv("MEDCORE_MAX_BYTES", "159")
    with pytest.raises(InputError, match="needs 160 bytes of memory; the limit is 159"):
        load_array(tmp_path / "a.npy")
    monkeypatch.setenv("MEDCORE_MAX_BYTES", "160")
    assert load_array(tmp_path / "a.npy").shape == (4, 5)
    for bad in ("", "0", "-1", "1e9", "64 GB", "\u0663", "9" * 30):
        monkeypatch.setenv("MEDCORE_MAX_BYTES", bad)
        with pytest.raises(ConfigError, match="set it to a number of bytes"):
            load_array(tmp_path / "a.npy")
