"""BART pairs: lossless round trips, strict headers, torn pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medcore
from medcore.errors import InputError, MedcoreError
from medcore.io import ImageSeries, KSpace, read_cfl, write_cfl
from medcore.io.bart import is_cfl, read_dimensions
from medcore.opening import describe, find_faults


def save(base, values):
    """A pair as BART writes it."""
    dims = " ".join(map(str, (*values.shape, *(1,) * (16 - values.ndim))))
    base.with_suffix(".hdr").write_text(f"# Dimensions\n{dims} \n# Command\nfft 7 a b \n# Creator\nBART v0.9.00\n")
    values.astype("<c8").ravel(order="F").tofile(base.with_suffix(".cfl"))
    return base


def noise(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@given(seed=st.integers(0, 2**31), contrasts=st.integers(1, 3), coils=st.integers(2, 4), size=st.tuples(*[st.integers(1, 6)] * 3))
def test_gridded_samples_come_back(seed, contrasts, coils, size, tmp_path_factory):
    rng = np.random.default_rng(seed)
    data = noise(rng, contrasts, coils, *size)
    mask = rng.random((contrasts, *size)) < 0.7
    mask[0, 0, 0, 0] = True
    before = KSpace(
        data=data * mask[:, None],
        matrix=size,
        fov=(0.1, 0.2, 0.3),
        mask=None if mask.all() else mask,
        csm=noise(rng, coils, *size),
        times={"te": np.arange(1, contrasts + 1) * 0.01},
    )
    base = tmp_path_factory.mktemp("cfl") / "scan"
    write_cfl(base, before)
    after = read_cfl(base, csm=f"{base}_csm", times=before.times, fov=before.fov)
    assert np.array_equal(before.data, after.data)
    assert np.array_equal(before.csm, after.csm)
    assert (before.mask is None) == (after.mask is None)
    assert before.mask is None or np.array_equal(before.mask, after.mask)
    assert after.matrix == size
    np.testing.assert_allclose(after.affine, before.affine)


@given(seed=st.integers(0, 2**31), contrasts=st.integers(1, 3), coils=st.integers(1, 3), three=st.booleans())
def test_trajectories_come_back(seed, contrasts, coils, three, tmp_path_factory):
    rng = np.random.default_rng(seed)
    matrix = (4, 8, 10) if three else (1, 8, 10)
    traj = rng.uniform(-np.pi, np.pi, (contrasts, 5, 7, 3 if three else 2)).astype(np.float32)
    before = KSpace(
        data=noise(rng, contrasts, coils, 5, 7), matrix=matrix, fov=(0.1, 0.2, 0.3), traj=traj, csm=noise(rng, coils, *matrix)
    )
    base = tmp_path_factory.mktemp("cfl") / "scan"
    write_cfl(base, before)
    assert read_dimensions(f"{base}_traj")[:3] == (3, 7, 5)
    after = read_cfl(base, traj=f"{base}_traj", csm=f"{base}_csm", fov=before.fov)
    assert np.array_equal(before.data, after.data)
    assert after.matrix == matrix
    np.testing.assert_allclose(after.traj, before.traj, atol=1e-6)


def test_images_come_back_and_are_told_from_k_space(rng, tmp_path):
    data = noise(rng, 3, 2, 4, 5)
    write_cfl(tmp_path / "images", ImageSeries(data=data, affine=np.eye(4)))
    after = medcore.open(tmp_path / "images.cfl", times={"te": [0.01, 0.02, 0.03]})
    assert isinstance(after, ImageSeries)
    assert np.array_equal(after.data, data)
    assert after.times["te"].tolist() == [0.01, 0.02, 0.03]
    assert isinstance(read_cfl(tmp_path / "images", kind="kspace"), KSpace)
    for name in ("images", "images.hdr", "images.cfl"):
        assert describe(tmp_path / name)["axes"] == {"contrast": 3, "z": 2, "y": 4, "x": 5}
    assert "taken as images (contrast, z, y, x)" in find_faults(tmp_path / "images.cfl")


def test_axes_are_bart_s(tmp_path):
    """Element (x, y, z, coil, ..., te) of the file is element (te, coil, z, y, x) here."""
    values = np.arange(2 * 3 * 4 * 5 * 1 * 6).reshape(2, 3, 4, 5, 1, 6, order="F") + 1
    read = read_cfl(save(tmp_path / "a", values))
    assert read.data.shape == (6, 5, 4, 3, 2)
    assert read.data[4, 3, 2, 1, 0].real == values[0, 1, 2, 3, 0, 4]
    # Contrasts may lie along TIME, slices along 13.
    many = values.reshape(2, 3, 4, 5, 1, 1, 1, 1, 1, 1, 6)
    assert np.array_equal(read_cfl(save(tmp_path / "b", many)).data, read.data)
    sliced = np.ones((4, 4, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3)) * np.arange(1, 4)
    assert read_cfl(save(tmp_path / "c", sliced), slice_index=2).data[0, 0, 0, 0, 0] == 3
    with pytest.raises(InputError, match=r"holds 3 slices \(0 to 2\), slice_index is None"):
        read_cfl(tmp_path / "c")


def test_a_trajectory_without_a_matrix_gives_one(rng, tmp_path):
    radius = np.linspace(-8, 8, 16, endpoint=False)
    points = np.zeros((3, 16, 4))
    angle = np.arange(4) * 0.7
    points[0], points[1] = radius[:, None] * np.cos(angle), radius[:, None] * np.sin(angle)
    save(tmp_path / "t", points)
    save(tmp_path / "k", noise(rng, 1, 16, 4, 3))
    read = read_cfl(tmp_path / "k", traj=tmp_path / "t")
    assert read.matrix == (1, 16, 16)
    assert any("matrix (1, 16, 16) taken from the extent" in note for note in read.repairs)
    # kx is BART's first coordinate and the last one here; the edge -8 of 16 is -pi.
    assert read.traj[0, 0, 0] == pytest.approx([0.0, -np.pi], abs=1e-6)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"", "is empty"),
        (b"Dimensions\n2 2\n", "has no line of positive dimensions"),
        (b"# Dimensions\n", "has no line of positive dimensions"),
        (b"# Dimensions\n2 -2 1\n", "has no line of positive dimensions"),
        (b"# Dimensions\n2 0 1\n", "has no line of positive dimensions"),
        (b"# Dimensions\n2 2.5\n", "has no line of positive dimensions"),
        (b"# Dimensions\n" + b"1 " * 17 + b"\n", "has no line of positive dimensions"),
        (b"# Dimensions\n4294967296 1\n", "has no line of positive dimensions"),
        (b"# Dimensions\n2147483647 2147483647 2147483647\n", r"has 32 bytes where its header says \d+"),
        (b"# Dimensions\n3 2\n", "has 32 bytes where its header says 48"),
    ],
)
def test_headers_that_lie_are_refused(header, words, tmp_path):
    (tmp_path / "a.hdr").write_bytes(header)
    (tmp_path / "a.cfl").write_bytes(bytes(32))
    with pytest.raises(InputError, match=words):
        read_cfl(tmp_path / "a")


def test_what_has_no_meaning_is_refused(rng, tmp_path):
    save(tmp_path / "maps", noise(rng, 4, 4, 1, 3, 2))
    save(tmp_path / "k", noise(rng, 4, 4, 1, 3))
    save(tmp_path / "t", np.ones((3, 5, 2)))
    save(tmp_path / "complex", np.ones((3, 4, 1)) * 1j)
    save(tmp_path / "s", noise(rng, 1, 4, 1, 2))
    nan = noise(rng, 4, 4, 1, 3)
    nan[1, 2] = np.nan
    save(tmp_path / "nan", nan)
    for words, call in (
        ("has the dimensions 4 (length 2), which have no meaning here", lambda: read_cfl(tmp_path / "maps")),
        ("give one set of maps", lambda: read_cfl(tmp_path / "k", csm=tmp_path / "maps")),
        ("does not fit its trajectory", lambda: read_cfl(tmp_path / "k", traj=tmp_path / "t")),
        ("is not finite and real", lambda: read_cfl(tmp_path / "s", traj=tmp_path / "complex")),
        ("has 3 coils, so it is no series of images", lambda: read_cfl(tmp_path / "k", kind="images")),
        ("kind: is 'image'", lambda: read_cfl(tmp_path / "k", kind="image")),
        ("NaN or infinite sample", lambda: read_cfl(tmp_path / "nan")),
        ("2 echo times for 1 contrasts", lambda: read_cfl(tmp_path / "k", times={"te": [0.1, 0.2]})),
        ("looks like milliseconds", lambda: read_cfl(tmp_path / "k", times={"te": [20.0]})),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert words in str(caught.value)


def test_one_file_of_a_pair_is_no_pair(rng, tmp_path):
    save(tmp_path / "a", noise(rng, 2, 2))
    assert is_cfl(tmp_path / "a")
    (tmp_path / "a.hdr").unlink()
    assert not is_cfl(tmp_path / "a.cfl")
    with pytest.raises(InputError, match=r"a\.hdr: does not exist"):
        read_cfl(tmp_path / "a")


def test_a_large_file_is_not_read_for_one_slice(rng, tmp_path):
    import tracemalloc

    values = np.ones((64, 64, 1, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 50), "<c8")
    save(tmp_path / "big", values)
    part = 64 * 64 * 4 * 8
    del values
    tracemalloc.start()
    read = read_cfl(tmp_path / "big", slice_index=7)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read.data.nbytes == part
    assert peak < 1.5 * part  # the samples, the mask and its test; the file holds fifty times the part


@given(data=st.data())
def test_any_cut_or_change_is_one_error(data, tmp_path_factory):
    base = save(tmp_path_factory.mktemp("damaged") / "a", noise(np.random.default_rng(0), 3, 4, 1, 2))
    target = base.with_suffix(data.draw(st.sampled_from([".hdr", ".cfl"])))
    content = bytearray(target.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    target.write_bytes(content)
    try:
        assert isinstance(read_cfl(base), (KSpace, ImageSeries))
    except MedcoreError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_a_changed_measurement_replaces_all_its_pairs(radial, tmp_path):
    write_cfl(tmp_path / "k", radial)
    with pytest.raises(MedcoreError, match="exists already"):
        write_cfl(tmp_path / "k", radial)
    other = replace(radial, data=radial.data * 2)
    write_cfl(tmp_path / "k", other, force=True)
    again = read_cfl(tmp_path / "k", traj=tmp_path / "k_traj")
    assert np.array_equal(again.data, other.data)


def test_maps_that_are_not_written_now_stay(cartesian, tmp_path):
    """They may be the only copy of somebody's work."""
    (tmp_path / "k_csm.hdr").write_text("dear to me")
    write_cfl(tmp_path / "k", replace(cartesian, csm=None))
    write_cfl(tmp_path / "k", replace(cartesian, csm=None), force=True)
    assert (tmp_path / "k_csm.hdr").read_text() == "dear to me"
    (tmp_path / "k.hdr").unlink()
    (tmp_path / "k.cfl").unlink()
    with pytest.raises(MedcoreError, match=r"k_csm.hdr: exists already"):
        write_cfl(tmp_path / "k", cartesian)
