"""HDF5 files from strangers: every door to another file is found before anything is read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from medcore.errors import InputError
from medcore.io.hdf5 import children, describe_hdf5, is_hdf5, member, open_hdf5, read_array


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"very secret" * 100)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["values"] = np.arange(4)
    return path


def external_link(file, tmp_path):
    file.create_group("a/b")["c"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/values")


def external_storage(file, tmp_path):
    file.create_group("a").create_dataset("b", (100,), "u1", external=[(str(tmp_path / "secret"), 0, 100)])


def virtual(file, tmp_path):
    layout = h5py.VirtualLayout(shape=(4,), dtype="i8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "values", shape=(4,))
    file.create_virtual_dataset("b", layout)


@pytest.mark.parametrize(
    ("door", "word"), [(external_link, "links /a/b/c"), (external_storage, "stores /a/b"), (virtual, "stores /b")]
)
def test_doors_to_other_files_are_refused(door, word, secret, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        door(file, tmp_path)
    with pytest.raises(InputError, match=f"{word} .*another file; copy the data into one file"), open_hdf5(tmp_path / "a.h5"):
        pytest.fail("the file was opened")


def test_loops_end_and_soft_links_are_not_followed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("a")
        group["loop"] = file["/"]
        group["soft"] = h5py.SoftLink("/values")
        file["values"] = np.arange(4)
    with open_hdf5(tmp_path / "a.h5") as file:
        assert member(file, "values", tmp_path)[:].tolist() == [0, 1, 2, 3]
        with pytest.raises(InputError, match="has no 'soft' in '/a', only loop, soft"):
            member(file["a"], "soft", tmp_path)
        with pytest.raises(InputError, match="has no 'absent' in '/'"):
            member(file, "absent", tmp_path)


def test_pairs_become_complex_and_claims_are_checked(tmp_path):
    pairs = np.zeros(3, dtype=[("real", "<f4"), ("imag", "<f4")])
    pairs["real"], pairs["imag"] = [1, 2, 3], [0, -1, 1]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pairs"] = pairs
        file.create_dataset("huge", (1 << 40,), "u1", chunks=(1 << 20,))
    with open_hdf5(tmp_path / "a.h5") as file:
        assert read_array(file["pairs"], tmp_path / "a.h5").tolist() == [1, 2 - 1j, 3 + 1j]
        with pytest.raises(InputError, match="claims 1099511627776 bytes"):
            read_array(file["huge"], tmp_path / "a.h5")


def test_a_signature_after_a_user_block_counts(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024) as file:
        file["x"] = 1
    assert is_hdf5(tmp_path / "a.h5")
    (tmp_path / "b").write_bytes(bytes(5000))
    assert not is_hdf5(tmp_path / "b")


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.1])
def test_a_cut_file_is_one_error(keep, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(10_000)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(InputError, match=r"damaged HDF5|not an HDF5"), open_hdf5(path) as file:
        file["x"][:]


def test_any_file_is_described_without_its_values(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/values"] = np.arange(6, dtype="<i4").reshape(2, 3)
        file["text"] = "Hush^Hush"
        file["again"] = h5py.SoftLink("/group/values")
        file.attrs["patient_id"] = "HUSH-17"
        for i in range(60):
            file[f"many/{i:02d}"] = np.zeros(1)
    facts = describe_hdf5(tmp_path / "a.h5")
    assert (facts["groups"], facts["n_arrays"], len(facts["arrays"])) == (2, 62, 50)
    assert {"name": "group/values", "shape": [2, 3], "dtype": "int32"} in facts["arrays"]
    assert "ush" not in repr(facts)


def test_children_are_those_without_soft_links(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
        file["round"] = h5py.SoftLink("/round")
    with open_hdf5(tmp_path / "a.h5") as file:
        assert [name for name, _ in children(file)] == ["x"]


def test_values_of_variable_length_are_not_left_to_the_library(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["text"] = "text"
    with open_hdf5(tmp_path / "a.h5") as file, pytest.raises(InputError, match="stores /text as values of variable length"):
        read_array(file["text"], tmp_path / "a.h5")
