"""fastMRI files: lossless round trips, the published layout, and what contradicts it."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medcore
from medcore.errors import InputError, MedcoreError
from medcore.io import KSpace, read_fastmri, write_fastmri
from medcore.opening import describe, find_faults


def make(seed, height=6, width=5, coils=2, *, masked=False, extras=False, n_slices=1):
    rng = np.random.default_rng(seed)

    def noise(*shape):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)

    mask = None
    if masked:
        columns = np.arange(width) % 2 == 0
        mask = np.broadcast_to(columns, (1, 1, height, width)).copy()
    slices = []
    for i in range(n_slices):
        affine = np.array([[0, 1e-3, 0, 0.01 * i], [2e-3, 0, 0, 0], [0, 0, -3e-3, 0], [0, 0, 0, 1.0]])
        data = noise(1, coils, 1, height, width)
        slices.append(
            KSpace(
                data=data if mask is None else (data * mask[:, None]).astype(np.complex64),
                matrix=(1, height, width),
                fov=(0.003, 0.32, 0.2),
                mask=mask,
                times={"te": [0.0123], "flip_angle": [1.1]},
                csm=noise(coils, 1, height, width) if extras else None,
                noise=noise(coils, 9) if extras else None,
                affine=affine,
                field_strength=2.89,
                meta={"sequence": "tse"},
            )
        )
    return slices


@given(
    seed=st.integers(0, 2**31),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    coils=st.integers(1, 3),
    masked=st.booleans(),
    extras=st.booleans(),
    n_slices=st.integers(1, 3),
)
def test_round_trips_lose_nothing(seed, height, width, coils, masked, extras, n_slices, tmp_path_factory):
    coils = min(coils, max(height, width))
    slices = make(seed, height, width, coils, masked=masked, extras=extras, n_slices=n_slices)
    path = tmp_path_factory.mktemp("fastmri") / "scan.h5"
    write_fastmri(path, slices)
    for index, before in enumerate(slices):
        after = read_fastmri(path, slice_index=index)
        assert np.array_equal(before.data, after.data)
        assert after.fov == before.fov
        np.testing.assert_array_equal(before.affine, after.affine)
        for name in ("mask", "csm", "noise"):
            a, b = getattr(before, name), getattr(after, name)
            assert (a is None) == (b is None)
            assert a is None or np.array_equal(a, b)
        assert after.times["te"] == before.times["te"]
        np.testing.assert_allclose(after.times["flip_angle"], before.times["flip_angle"], rtol=1e-15)
        assert after.field_strength == before.field_strength
        assert after.meta == {"sequence": "tse", "slice": index, "slices": n_slices}
        assert after.repairs == ()


def test_the_layout_is_the_published_one(tmp_path):
    write_fastmri(tmp_path / "a.h5", make(0, 6, 5, 2, n_slices=3), acquisition="AXT2")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["kspace"].shape == (3, 2, 6, 5)
        assert file["kspace"].dtype == np.complex64
        rss = file["reconstruction_rss"][()]
        assert rss.shape == (3, 6, 5)
        assert file.attrs["max"] == pytest.approx(rss.max())
        assert file.attrs["norm"] == pytest.approx(np.linalg.norm(rss))
        assert file.attrs["acquisition"] == "AXT2"
        assert "patient_id" not in file.attrs
        # The energy of an orthonormal transform is that of its samples.
        assert np.linalg.norm(rss) == pytest.approx(np.linalg.norm(file["kspace"][()]), rel=1e-5)
        import ismrmrd

        header = ismrmrd.xsd.CreateFromDocument(file["ismrmrd_header"][()])
        assert (header.encoding[0].encodedSpace.matrixSize.x, header.encoding[0].encodedSpace.matrixSize.y) == (6, 5)
    write_fastmri(tmp_path / "b.h5", make(0, 6, 5, 1))
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["kspace"].shape == (1, 6, 5)
        assert "reconstruction_esc" in file


def test_is_opened_described_and_checked_by_content(tmp_path):
    write_fastmri(tmp_path / "odd.name", make(1, n_slices=2, masked=True))
    assert medcore.open(tmp_path / "odd.name", slice_index=1).meta["slice"] == 1
    facts = describe(tmp_path / "odd.name")
    assert (facts["format"], facts["axes"], facts["masked"]) == ("fastmri", {"slice": 2, "coil": 2, "y": 6, "x": 5}, True)
    assert find_faults(tmp_path / "odd.name") == []
    with pytest.raises(InputError, match=r"holds 2 slices \(0 to 1\), slice_index is None; choose one"):
        medcore.open(tmp_path / "odd.name")


def test_files_of_others_with_oversampled_readout_and_double_precision(tmp_path):
    write_fastmri(tmp_path / "a.h5", make(2, 6, 5, 2))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["medcore"]
        data = file["kspace"][()].astype(np.complex128)
        del file["kspace"]
        file["kspace"] = data
        file["mask"] = np.array([1, 0, 1, 1, 0], np.float32)
    read = read_fastmri(tmp_path / "a.h5")
    assert read.repairs == ("samples stored as complex128, read as complex64", "samples outside the mask set to zero")
    assert read.fov == pytest.approx((0.003, 0.32, 0.2))
    assert not read.data[..., 1].any()


def test_the_field_of_view_to_be_reconstructed_is_told_in_the_order_of_the_samples(tmp_path):
    write_fastmri(tmp_path / "a.h5", make(2, 6, 5, 2))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        before, tail = file["ismrmrd_header"][()].split(b"<reconSpace>")
        recon = b"<reconSpace><matrixSize><x>3</x><y>5</y><z>1</z></matrixSize>"
        recon += b"<fieldOfView_mm><x>160</x><y>200</y><z>3</z></fieldOfView_mm>"
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = before + recon + tail[tail.index(b"</reconSpace>") :]
    read = read_fastmri(tmp_path / "a.h5")
    assert read.meta["recon_matrix"] == [1, 3, 5]
    assert read.meta["recon_fov"] == pytest.approx([0.003, 0.16, 0.2])
    assert "recon_fov" not in make(2)[0].meta


def test_samples_as_pairs_of_real_numbers_are_read(tmp_path):
    write_fastmri(tmp_path / "a.h5", make(2, 6, 5, 2))
    before = read_fastmri(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        data = file["kspace"][()].view(np.float32).reshape(1, 2, 6, 5, 2)
        del file["kspace"]
        pairs = np.empty(data.shape[:-1], dtype=[("real", "<f4"), ("imag", "<f4")])
        pairs["real"], pairs["imag"] = data[..., 0], data[..., 1]
        file["kspace"] = pairs
    assert np.array_equal(read_fastmri(tmp_path / "a.h5").data, before.data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kspace": np.ones((2, 2), np.complex64)}, r"kspace of type complex64 and shape \(2, 2\)"),
        ({"kspace": np.ones((1, 2, 6, 5), np.float32)}, "kspace of type float32"),
        ({"kspace": np.ones((1, 640, 6, 5), np.complex64)}, r"order its axes \(slice, coil, height, width\)"),
        ({"kspace": np.full((1, 2, 6, 5), np.nan, np.complex64)}, "NaN or infinite sample at"),
        ({"mask": np.ones(6, np.uint8)}, r"a mask of shape \(6,\) for a width of 5"),
        ({"mask": np.zeros(5, np.uint8)}, "keeps nothing"),
        ({"mask": np.full(5, 2, np.uint8)}, "not of 0 and 1"),
        ({"sensitivity_maps": np.ones((1, 3, 6, 5), np.complex64)}, "sensitivity_maps of shape"),
        ({"ismrmrd_header": b"<a>"}, "XML header"),
        ({"ismrmrd_header": np.ones(3)}, "has no readable XML header"),
    ],
)
def test_what_contradicts_the_layout_is_refused(change, words, tmp_path):
    write_fastmri(tmp_path / "a.h5", make(3, 6, 5, 2))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        for name, value in change.items():
            if name in file:
                del file[name]
            file[name] = value
    with pytest.raises(InputError, match=words):
        read_fastmri(tmp_path / "a.h5")


@pytest.mark.parametrize("index", [-1, 1, 7])
def test_a_slice_that_is_not_there(index, tmp_path):
    write_fastmri(tmp_path / "a.h5", make(3))
    with pytest.raises(InputError, match=f"slice_index is {index}"):
        read_fastmri(tmp_path / "a.h5", slice_index=index)


def test_what_the_layout_has_no_place_for_is_refused(tmp_path, radial):
    (one,) = make(4)
    two = replace(one, data=np.concatenate([one.data] * 2), times={})
    for slices, words in (
        ([], "slices: are none"),
        ([two], "2 contrasts"),
        ([radial], "along a trajectory"),
        ([one, make(4, 7)[0]], "differs from the first slice"),
        ([one, replace(one, times={"te": [0.5]})], "differs from the first slice"),
    ):
        with pytest.raises(InputError, match=words):
            write_fastmri(tmp_path / "a.h5", slices)
    assert not (tmp_path / "a.h5").exists()


@given(data=st.data())
def test_any_cut_or_change_is_one_error(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "a.h5"
    write_fastmri(path, make(5, masked=True))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert isinstance(read_fastmri(path), KSpace)
    except MedcoreError as error:
        assert "\n" not in str(error)  # noqa: PT017
