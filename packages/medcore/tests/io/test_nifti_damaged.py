"""NIfTI as other programs write it, and every way of damaging it: nothing but one error of this project may come out."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medcore
from medcore.errors import InputError, MedcoreError
from medcore.io import read_nifti, write_nifti
from medcore.io.opener import recognise
from medcore.opening import find_faults

AFFINE = np.diag([1e-3, 2e-3, 3e-3, 1.0])
VALUES = np.arange(1, 121, dtype=np.int16).reshape(2, 3, 4, 5)
KINDS = {
    "pair 1": (nibabel.Nifti1Pair, "a.hdr"),
    "pair 2": (nibabel.Nifti2Pair, "a.hdr"),
    "single 1": (nibabel.Nifti1Image, "a.nii"),
    "single 2": (nibabel.Nifti2Image, "a.nii"),
}


def save(folder, kind="single 1", order="<", *, zipped=False, values=VALUES, change=lambda image: None):
    """Let nibabel write (contrast, z, y, x) `values`; returns the file to read."""
    make, name = KINDS[kind]
    image = make(values.T, np.diag([1.0, 2.0, 3.0, 1.0]), make.header_class(endianness=order))
    image.header.set_data_dtype(values.dtype)
    image.header.set_xyzt_units("mm")
    change(image)
    path = folder / name
    nibabel.save(image, path)
    if zipped:
        for file in (path, path.with_suffix(".img")):
            if file.exists():
                file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
                file.unlink()
        path = path.with_name(path.name + ".gz")
    return path


# --- as other programs write it


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_layout_gives_the_values_of_nibabel(kind, order, zipped, tmp_path):
    path = save(tmp_path, kind, order, zipped=zipped, change=lambda image: image.header.set_slope_inter(0.5, -3.0))
    (tmp_path / "a.json").write_text('{"EchoTime": [0.01, 0.02]}')
    expected = np.asarray(nibabel.load(path).dataobj).T
    halves = [path, path.with_name(path.name.replace(".hdr", ".img"))] if "pair" in kind else [path]
    for half in halves:
        assert recognise(half) == "nifti"
        series = medcore.open(half)
        assert np.array_equal(series.data, expected.astype(np.float32))
        assert series.affine == pytest.approx(AFFINE)
        assert series.times["te"].tolist() == [0.01, 0.02]
    assert not np.array_equal(expected, VALUES)


def test_a_pair_may_hold_its_data_behind_other_bytes_and_one_half_may_be_compressed(tmp_path):
    path = save(tmp_path, "pair 1")
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 108, 32.0)
    path.write_bytes(content)
    voxels = path.with_suffix(".img")
    (tmp_path / "a.img.gz").write_bytes(gzip.compress(bytes(32) + voxels.read_bytes()))
    voxels.unlink()
    assert np.array_equal(read_nifti(path).data, VALUES)


def test_extensions_of_the_header_are_stepped_over(tmp_path):
    def extend(image):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"anything " * 40))

    path = save(tmp_path, change=extend)
    assert struct.unpack_from("<f", path.read_bytes(), 108)[0] > 352
    assert np.array_equal(read_nifti(path).data, VALUES)


def test_a_stream_of_several_gzip_members_is_one_file_and_padding_is_none(tmp_path):
    content = save(tmp_path).read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(b"".join(gzip.compress(content[i : i + 100]) for i in range(0, len(content), 100)) + bytes(512))
    assert np.array_equal(read_nifti(path).data, VALUES)
    path.write_bytes(gzip.compress(content) + b"garbage")
    with pytest.raises(InputError, match="cannot be decompressed"):
        read_nifti(path)


@pytest.mark.parametrize(
    ("unit", "step", "seconds"),
    [("sec", 2.0, 2.0), ("msec", 2000.0, 2.0), ("usec", 5e5, 0.5), ("hz", 2.0, None), ("sec", 0.0, None)],
)
def test_the_step_of_time_is_in_seconds(unit, step, seconds, tmp_path):
    def state(image):
        image.header.set_xyzt_units("mm", unit)
        image.header["pixdim"][4] = step

    found = read_nifti(save(tmp_path, change=state)).meta.get("time_step")
    assert found == (seconds if seconds is None else pytest.approx(seconds))
    assert read_nifti(save(tmp_path, values=VALUES[:1], change=state)).meta == {}


@pytest.mark.parametrize(("dtype", "value", "noted"), [(np.int32, 1 << 24, False), (np.int32, (1 << 24) + 1, True),
                                                     (np.uint32, 1 << 31, False), (np.int64, -(1 << 24) - 1, True)])  # fmt: skip
def test_integers_that_do_not_fit_are_said_to_be_rounded(dtype, value, noted, tmp_path):
    path = save(tmp_path, values=np.full((1, 1, 2, 3), value, dtype))
    assert bool(read_nifti(path).repairs) == noted
    assert bool(find_faults(path)) == noted


def test_where_the_first_bad_voxel_is(tmp_path):
    values = np.ones((2, 3, 4, 5), np.float32)
    values[1, 2, 3, 4] = values[1, 0, 2, 1] = np.nan
    write_nifti(tmp_path / "nan.nii", values, AFFINE)
    assert find_faults(tmp_path / "nan.nii") == ["2 values are no numbers, the first at index (1, 0, 2, 1)"]
    values[1, 2, 3, 4] = np.inf
    write_nifti(tmp_path / "inf.nii", values, AFFINE)
    with pytest.raises(InputError, match=r"infinite values .*, the first at x 4, y 3, z 2 of image 2; rescale"):
        read_nifti(tmp_path / "inf.nii")


# --- halves of pairs


def test_halves_that_do_not_fit_are_refused(tmp_path):
    path = save(tmp_path, "pair 1")
    voxels = path.with_suffix(".img")
    content = voxels.read_bytes()
    voxels.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"a\.img: is cut: it has 239 of 240 bytes"):
        read_nifti(path)
    voxels.write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.img: is empty"):
        read_nifti(path)
    voxels.unlink()
    with pytest.raises(InputError, match=r"a\.hdr: is one half of a \.hdr/\.img pair; put a\.img beside it"):
        read_nifti(path)
    header = path.read_bytes()
    path.unlink()
    voxels.write_bytes(content)
    assert recognise(voxels) is None
    with pytest.raises(InputError, match=r"a\.img: is one half of a \.hdr/\.img pair; put a\.hdr beside it"):
        read_nifti(voxels)
    (tmp_path / "b.nii").write_bytes(header)
    with pytest.raises(InputError, match=r"half of a \.hdr/\.img pair; let its name end in \.hdr"):
        read_nifti(tmp_path / "b.nii")
    single = save(tmp_path)
    single.rename(tmp_path / "c.hdr")
    with pytest.raises(InputError, match=r"is a single NIfTI file; let its name end in \.nii"):
        read_nifti(tmp_path / "c.hdr")


def test_a_huge_claim_in_a_header_takes_no_memory(tmp_path):
    path = save(tmp_path, "pair 1")
    content = bytearray(path.read_bytes())
    struct.pack_into("<4h", content, 40, 3, 32767, 32767, 32767)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.img: claims 70362301923326 bytes"):
        read_nifti(path)


# --- cut anywhere, changed anywhere


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("zipped", [False, True])
def test_cut_at_every_sixteenth_byte_is_refused(kind, zipped, tmp_path):
    path = save(tmp_path, kind, zipped=zipped)
    files = [path]
    if "pair" in kind:
        files = [path.with_name(path.name.replace(".hdr", ".img"))]
        # What follows the 348 or 540 bytes of a header is optional, so only cuts before that are damage.
        files += [path] if zipped else []
    for file in files:
        content = file.read_bytes()
        for length in range(0, len(content), 16):
            file.write_bytes(content[:length])
            with pytest.raises(MedcoreError):
                read_nifti(path)
        file.write_bytes(content)
    assert np.array_equal(read_nifti(path).data, VALUES)


def mutate(data, content):
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["set", "flip", "delete", "insert"])):
            case "set":
                content[at] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
            case "flip":
                content[at] ^= 1 << data.draw(st.integers(0, 7))
            case "delete":
                del content[at : at + data.draw(st.integers(1, 9))]
            case _:
                content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        if not content:
            break
    return bytes(content)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("zipped", [False, True])
@given(data=st.data())
def test_any_changed_bytes_are_images_or_one_error(kind, zipped, data, tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("changed")
    path = save(folder, kind, order=data.draw(st.sampled_from("<>")))
    target = path
    if "pair" in kind and data.draw(st.booleans()):
        target = path.with_suffix(".img")
    content = target.read_bytes()
    if zipped:  # damage below the compression, so that its checksum does not find it
        target.unlink()
        target = target.with_name(target.name + ".gz")
        target.write_bytes(gzip.compress(mutate(data, content), 1))
        path = target if "pair" not in kind else next(p for p in folder.iterdir() if ".hdr" in p.name)
    else:
        target.write_bytes(mutate(data, content))
    try:
        series = read_nifti(path)
    except MedcoreError:
        return
    assert not np.isinf(series.data).any()
    assert series.data.size <= 4 * len(content)
    assert np.isfinite(series.affine).all()
    assert all(math.isfinite(v) for v in [series.meta.get("time_step", 0.0), *series.voxel_size])
