"""NIfTI and sidecars: lossless round trips, nibabel as referee, and headers that lie."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import struct

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medcore.atomic import sha256_file
from medcore.errors import InputError, OutputExistsError
from medcore.io import read_nifti, read_nifti_series, write_nifti
from medcore.io.nifti_header import HEADER_BYTES

AFFINE = np.array([[-0.002, 0, 0, 0.1], [0, 0.003, 0, -0.2], [0, 0, 0.004, 0.05], [0, 0, 0, 1.0]])


@st.composite
def affines(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.standard_normal((3, 3)))[0] * rng.uniform(0.5e-3, 5e-3, 3)
    if draw(st.booleans()):
        affine[:3, 1] += 0.2 * affine[:3, 0]  # sheared: only the sform can hold it
    affine[:3, 3] = rng.uniform(-0.2, 0.2, 3)
    return affine


def values(dtype):
    kinds = {"f": {"allow_infinity": False}, "c": {"allow_infinity": False, "allow_nan": False}}
    return hnp.arrays(dtype, hnp.array_shapes(min_dims=3, max_dims=4, max_side=4), elements=kinds.get(np.dtype(dtype).kind))


@given(
    data=st.sampled_from(["?", "u1", "i2", "i4", "f4", "c8"]).flatmap(values),
    affine=affines(),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
def test_what_is_written_is_read(data, affine, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    write_nifti(path, data, affine, force=True)
    found = read_nifti(path)
    expected = data if data.ndim == 4 else data[None]
    assert found.data.dtype == (np.complex64 if data.dtype.kind == "c" else np.float32)
    assert np.array_equal(found.data, expected.astype(found.data.dtype), equal_nan=True)
    assert found.affine == pytest.approx(affine, abs=2e-8)  # single precision: 6e-8 of 0.2 m and of voxels of 5 mm
    rounded = data.dtype == np.int32 and (expected != found.data).any()
    assert found.repairs == (("integers above 16777216 rounded to 32-bit numbers",) if rounded else ())


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16"])
def test_nibabel_reads_what_is_written_with_its_type_and_place(dtype, tmp_path):
    data = np.arange(48).reshape(2, 2, 3, 4).astype(dtype)
    write_nifti(tmp_path / "a.nii.gz", data, AFFINE)
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert image.header.get_data_dtype() == np.dtype(dtype)
    assert np.array_equal(np.asanyarray(image.dataobj).transpose(3, 2, 1, 0), data)
    assert image.header.get_xyzt_units()[0] == "mm"
    millimetres = AFFINE.copy()
    millimetres[:3] *= 1e3
    assert image.get_sform() == pytest.approx(millimetres, rel=1e-6)
    assert image.get_qform() == pytest.approx(millimetres, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("unit", "factor"), [("mm", 1e-3), ("meter", 1.0), ("micron", 1e-6)])
def test_what_nibabel_writes_is_read_scaled_and_in_metres(kind, order, unit, factor, tmp_path):
    raw = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    image = kind(raw, np.diag([2.0, 3.0, 4.0, 1.0]), kind.header_class(endianness=order))
    image.header.set_data_dtype(np.int16)
    image.header.set_xyzt_units(unit)
    image.header.set_slope_inter(0.5, -3.0)
    nibabel.save(image, tmp_path / "a.nii")
    found = read_nifti(tmp_path / "a.nii")
    assert found.data[0] == pytest.approx(np.asarray(nibabel.load(tmp_path / "a.nii").dataobj).transpose(2, 1, 0), rel=1e-6)
    assert found.voxel_size == pytest.approx((4 * factor, 3 * factor, 2 * factor), rel=1e-6)


def test_equal_input_gives_equal_bytes_and_existing_files_stay(tmp_path):
    data = np.ones((2, 3, 4), np.float32)
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, data, AFFINE, sidecar={"Units": "s"})
    assert sha256_file(tmp_path / "a.nii.gz") == sha256_file(tmp_path / "b.nii.gz")
    assert read_nifti(tmp_path / "a.nii.gz").meta == {"units": "s"}
    before = sha256_file(tmp_path / "a.nii.gz"), sha256_file(tmp_path / "a.json")
    with pytest.raises(OutputExistsError):
        write_nifti(tmp_path / "a.nii.gz", 2 * data, AFFINE, sidecar={"Units": "ms"})
    assert (sha256_file(tmp_path / "a.nii.gz"), sha256_file(tmp_path / "a.json")) == before
    write_nifti(tmp_path / "a.nii.gz", 2 * data, AFFINE, sidecar={"Units": "ms"}, force=True)
    assert read_nifti(tmp_path / "a.nii.gz").data.max() == 2


def test_a_first_echo_at_zero_is_a_time(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", np.ones((2, 1, 3, 4), np.float32), AFFINE, sidecar={"EchoTime": [0.0, 0.025]})
    assert read_nifti(tmp_path / "a.nii.gz").times["te"].tolist() == [0.0, 0.025]


def test_an_estimated_map_may_list_the_times_of_its_sources(tmp_path):
    times = {"EchoTime": [0.01, 0.02]}
    write_nifti(tmp_path / "map.nii.gz", np.ones((1, 3, 4), np.float32), AFFINE, sidecar=times | {"EstimationAlgorithm": "x"})
    assert read_nifti(tmp_path / "map.nii.gz").times == {}
    write_nifti(tmp_path / "image.nii.gz", np.ones((1, 3, 4), np.float32), AFFINE, sidecar=times)
    with pytest.raises(InputError, match="2 values of EchoTime for 1 images"):
        read_nifti(tmp_path / "image.nii.gz")


def test_a_replaced_image_does_not_keep_the_sidecar_of_the_old_one(tmp_path):
    data = np.ones((2, 1, 3, 4), np.float32)
    write_nifti(tmp_path / "a.nii.gz", data, AFFINE, sidecar={"EchoTime": [0.01, 0.02]})
    write_nifti(tmp_path / "a.nii.gz", data, AFFINE, force=True)
    assert read_nifti(tmp_path / "a.nii.gz").times == {}


@pytest.mark.parametrize(
    ("name", "data", "affine", "word"),
    [
        ("a.img", np.ones((1, 2, 3)), AFFINE, "does not end in .nii"),
        ("a.nii", np.ones((2, 3)), AFFINE, "array of shape"),
        ("a.nii", np.ones((0, 2, 3)), AFFINE, "array of shape"),
        ("a.nii", np.ones((1, 2, 3)), np.zeros((4, 4)), "singular"),
        ("a.nii", np.ones((1, 2, 3)), np.full((4, 4), np.nan), "finite 4 x 4"),
        ("a.nii", np.ones((1, 2, 3), np.float16), AFFINE, "type float16"),
        ("a.nii", np.full((1, 2, 3), "x"), AFFINE, "data of type <U1"),
        ("a.nii", np.ones((40_000, 1, 1), np.uint8), AFFINE, None),
    ],
)
def test_what_the_format_cannot_hold_is_refused_before_writing(name, data, affine, word, tmp_path):
    if word is None:  # more than 32,767 in one axis does not fit into NIfTI-1
        word = "cannot hold"
    with pytest.raises(InputError, match=word):
        write_nifti(tmp_path / name, data, affine)
    assert list(tmp_path.iterdir()) == []


def test_a_sidecar_with_nan_is_refused_before_the_image_is_written(tmp_path):
    with pytest.raises(InputError, match="not JSON"):
        write_nifti(tmp_path / "a.nii", np.ones((1, 2, 3)), AFFINE, sidecar={"x": math.nan})
    assert list(tmp_path.iterdir()) == []


# --- damaged files


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.nii"
    write_nifti(path, np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4), AFFINE)
    return path


def put(kind, offset, *numbers):
    def change(content):
        struct.pack_into(f"<{len(numbers)}{kind}", content, offset, *numbers)
        return content

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda c: c[:0], "is empty"),
        (lambda c: c[:100], "not a NIfTI file"),
        (lambda c: c[:348], r"is cut: it has 348 of 448 bytes"),
        (lambda c: c[:-1], "is cut: it has 447 of 448"),
        (lambda c: c + bytes(2 << 20), "goes on for more than 1 MB"),
        (lambda c: bytearray(b"x" * 500), "not a NIfTI file"),
        (lambda c: c[:344] + b"ni1\0" + c[348:], "half of a .hdr/.img pair"),
        (put("i", 0, 77), "damaged NIfTI header"),
        (put("h", 40, 0), "has dimensions"),
        (put("h", 40, 9), "has dimensions"),
        (put("h", 42, -4), "has dimensions"),
        (put("h", 40, 5, 4, 3, 2, 1, 7), "give a 3-D or 4-D image"),
        (put("h", 42, 30000, 30000, 30000), "claims .* bytes of data"),
        (put("h", 70, 128), "data type 128"),
        (put("h", 70, 3), "data type 3"),
        (put("f", 80, 0.0), "voxel sizes"),
        (put("f", 80, math.nan), "voxel sizes"),
        (put("f", 80, -2.0), "voxel sizes"),
        (put("f", 108, 0.0), "data at byte 0"),
        (put("f", 108, math.nan), "data at byte nan"),
        (put("f", 108, 1e30), "data at byte 1e"),
        (put("f", 108, 1e9), "data at byte 1e"),
        (put("f", 112, math.inf), "scaling inf"),
        (put("f", 112, 1.0, math.nan), "scaling 1.0 and nan"),
        (put("B", 123, 7), "length unit 7"),
        (put("f", 280, math.nan), "affine"),
        (put("f", 280, 0.0), "affine"),
        (put("f", 112, 1e38, 0.0), "infinite values or values beyond"),
    ],
)
def test_a_damaged_file_is_one_error(good, change, word):
    content = change(bytearray(good.read_bytes()))
    good.write_bytes(content)
    with pytest.raises(InputError, match=word) as caught:
        read_nifti(good)
    assert str(good) in str(caught.value)
    if content:
        (good.parent / "zipped.nii.gz").write_bytes(gzip.compress(content))
        with pytest.raises(InputError, match=word):
            read_nifti(good.parent / "zipped.nii.gz")


@pytest.mark.parametrize("bytes_lost", [1, 4, 8, 9, 60])
def test_a_cut_or_changed_gzip_stream_is_refused(good, bytes_lost):
    path = good.parent / "a.nii.gz"
    content = gzip.compress(good.read_bytes())
    path.write_bytes(content[:-bytes_lost])
    with pytest.raises(InputError, match=r"cannot be decompressed|is cut"):
        read_nifti(path)


def test_a_wrong_checksum_is_refused_though_nibabel_takes_it(good):
    path = good.parent / "a.nii.gz"
    content = bytearray(gzip.compress(good.read_bytes()))
    content[-8] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        read_nifti(path)


def test_slope_zero_or_nan_means_unscaled(good):
    for scaling in ((0.0, 0.0), (math.nan, math.nan)):
        good.write_bytes(put("f", 112, *scaling)(bytearray(good.read_bytes())))
        assert read_nifti(good).data.max() == 23


def test_what_is_not_stated_is_a_repair(good):
    content = put("h", 252, 0, 0)(put("B", 123, 0)(bytearray(good.read_bytes())))
    good.write_bytes(content)
    repairs = read_nifti(good).repairs
    assert len(repairs) == 2
    assert "no orientation stated" in repairs[0]
    assert "millimetres assumed" in repairs[1]


def test_two_orientations_that_disagree_are_reported_and_the_sform_holds(tmp_path):
    data = np.ones((6, 5, 4), np.float32)
    image = nibabel.Nifti1Image(data, np.diag([1, 1, 2, 1]))
    image.set_sform(np.diag([1, 1, 2, 1]), code=1)
    moved = np.diag([1.0, 1, 2, 1])
    for shift, noted in ((0.4, False), (3.0, True)):
        moved[0, 3] = shift
        image.set_qform(moved, code=1)
        nibabel.save(image, tmp_path / "a.nii")
        found = read_nifti(tmp_path / "a.nii")
        assert [r for r in found.repairs if "disagree" in r] == (["sform and qform disagree by up to 3 mm, sform used"] * noted)
        assert found.affine == pytest.approx(np.diag([1e-3, 1e-3, 2e-3, 1]))


@given(data=st.data())
def test_any_change_of_the_header_is_an_image_or_one_error(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    write_nifti(folder / "a.nii", np.ones((2, 3, 4), np.int16), AFFINE)
    content = bytearray((folder / "a.nii").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, HEADER_BYTES - 150))] = data.draw(st.integers(0, 255))
    (folder / "a.nii").write_bytes(content)
    try:
        found = read_nifti(folder / "a.nii")
    except InputError:
        return
    assert found.data.size * 2 <= len(content)
    assert not np.isinf(found.data).any()


# --- sidecars


def with_sidecar(folder, content, n=3):
    write_nifti(folder / "a.nii.gz", np.ones((n, 1, 2, 2), np.float32), AFFINE)
    (folder / "a.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "a.nii.gz"


def test_times_come_from_the_sidecar_in_seconds_and_degrees(tmp_path):
    stated = {
        "EchoTime": [0.01, 0.02, 0.03],
        "RepetitionTimeExcitation": 0.5,
        "FlipAngle": 90,
        "Manufacturer": "ACME",
        "PatientName": "Doe",
    }
    images = read_nifti(with_sidecar(tmp_path, stated))
    assert images.times["te"].tolist() == [0.01, 0.02, 0.03]
    assert images.times["tr"].tolist() == [0.5] * 3
    assert images.times["flip_angle"] == pytest.approx([math.pi / 2] * 3)
    assert images.meta == {"vendor": "ACME"}


def test_given_times_win_over_the_sidecar(tmp_path):
    path = with_sidecar(tmp_path, {"EchoTime": [0.01, 0.02, 0.03]})
    assert set(read_nifti(path, times={"ti": [1, 2, 3]}).times) == {"ti"}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"EchoTime": [10, 20, 30]}, "echo time of 30 s, which looks like milliseconds.*perhaps 0.03"),
        ({"InversionTime": 2000}, "inversion time of 2000 s"),
        ({"RepetitionTime": 3000}, "repetition time of 3000 s"),
        ({"EchoTime": [0.01, 0.02]}, "2 values of EchoTime for 3 images"),
        ({"EchoTime": []}, r"EchoTime = \[\]"),
        ({"EchoTime": ["0.01", "0.02", "0.03"]}, "positive numbers"),
        ({"EchoTime": [True, True, True]}, "positive numbers"),
        ({"EchoTime": [-0.01, 0.02, 0.03]}, "positive numbers"),
        ({"EchoTime": None}, "positive numbers"),
        ({"EchoTime": {"a": 1}}, "positive numbers"),
        ('{"EchoTime": NaN}', "holds NaN"),
        ('{"EchoTime": 0.01, "EchoTime": 0.02}', "states 'EchoTime' twice"),
        ('{"EchoTime": 0.0', "not valid JSON"),
        ("[1, 2]", "holds list, not an object"),
        ("[" * 100_000, "not valid JSON"),
        ("", "is empty"),
    ],
)
def test_a_wrong_sidecar_is_named(content, word, tmp_path):
    path = with_sidecar(tmp_path, content)
    with pytest.raises(InputError, match=word) as caught:
        read_nifti(path)
    assert caught.value.what.endswith("a.json")


def test_wrong_times_given_are_refused(tmp_path):
    path = with_sidecar(tmp_path, {})
    for times, word in (
        ({"te": [10, 20, 30]}, "milliseconds"),
        ({"te": [0.01]}, "1 echo times for 3"),
        ({"te": [0.1, 0.2, math.nan]}, "impossible"),
    ):
        with pytest.raises(InputError, match=word):
            read_nifti(path, times=times)


# --- several files


def echo(folder, number, time, *, shift=0.0, shape=(1, 2, 2), n=1, key="EchoTime"):
    affine = AFFINE.copy()
    affine[0, 3] += shift
    path = folder / f"sub-01_echo-{number}_MESE.nii.gz"
    sidecar = None if time is None else {key: time}
    write_nifti(path, np.full((n, *shape), number, np.float32), affine, sidecar=sidecar)
    return path


@given(order=st.permutations([1, 2, 3]))
def test_files_are_sorted_by_their_times_whatever_their_order(order, tmp_path_factory):
    folder = tmp_path_factory.mktemp("echoes")
    files = [echo(folder, number, 0.01 * number) for number in (1, 2, 3)]
    images = read_nifti_series([files[i - 1] for i in order])
    assert images.times["te"] == pytest.approx([0.01, 0.02, 0.03])
    assert images.data[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_given_times_keep_the_order_of_the_files(tmp_path):
    files = [echo(tmp_path, number, None) for number in (1, 2, 3)]
    images = read_nifti_series(files[::-1], times={"te": [0.1, 0.2, 0.3]})
    assert images.data[:, 0, 0, 0].tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ([(1, 0.01, {}), (3, 0.03, {})], "lacks echo 2 of 3"),
        ([(1, 0.01, {}), (2, None, {})], "no sidecar with the time"),
        ([(1, None, {}), (2, None, {})], "differs from the other images in no time"),
        ([(1, 0.01, {}), (2, 0.01, {})], "in no time"),
        ([(1, 0.01, {}), (2, 0.02, {"shift": 0.001})], "another shape or position"),
        ([(1, 0.01, {}), (2, 0.02, {"shape": (1, 2, 3)})], "another shape or position"),
        ([(1, 0.01, {}), (2, 0.02, {"n": 2})], "holds 2 images"),
        ([], "name at least one file"),
    ],
)
def test_files_that_are_no_series_are_refused(files, word, tmp_path):
    paths = [echo(tmp_path, number, time, **options) for number, time, options in files]
    with pytest.raises(InputError, match=word):
        read_nifti_series(paths)


def test_the_input_is_not_changed(tmp_path):
    path = with_sidecar(tmp_path, {"EchoTime": [0.01, 0.02, 0.03]})
    before = {p.name: (sha256_file(p), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}
    images = read_nifti(path)
    images.data[:] = 0
    assert {p.name: (sha256_file(p), p.stat().st_mtime_ns) for p in tmp_path.iterdir()} == before
    assert dataclasses.replace(images, source="x").source == "x"


@pytest.mark.integration
def test_the_prostate_series_is_what_nibabel_reads(data_root):
    path = data_root / "prostate-t2" / "invivo_000198.nii.gz"
    images = read_nifti(path, times={"te": [0.0264 + 0.0132 * k for k in range(10)]})
    assert images.data.shape == (10, 1, 128, 128)
    assert np.array_equal(images.data, np.asarray(nibabel.load(path).dataobj).transpose(3, 2, 1, 0).astype(np.float32))
    with pytest.raises(InputError, match="milliseconds"):
        read_nifti(path, times={"te": [26.4 + 13.2 * k for k in range(10)]})
    with pytest.raises(InputError, match="8 echo times for 10"):
        read_nifti(path, times={"te": [0.01] * 8})


@pytest.mark.integration
def test_a_bids_sidecar_of_a_vendor_is_read(data_root):
    images = read_nifti(data_root / "siemens-xa-enhanced" / "ref" / "Siemens_REST1_w_SMS_PF7-8_6.nii")
    assert images.data.shape == (4, 6, 64, 64)
    assert images.times["te"] == pytest.approx([0.03] * 4)
    assert images.times["flip_angle"] == pytest.approx([math.radians(52)] * 4)


def test_the_time_between_excitations_goes_before_that_between_preparations(tmp_path):
    facts = {"RepetitionTime": 5.0, "RepetitionTimeExcitation": 0.007, "RepetitionTimePreparation": 5.0, "NumberShots": [60, 80]}
    write_nifti(tmp_path / "a.nii", np.ones((2, 3, 4), np.float32), np.diag([1e-3, 1e-3, 1e-3, 1]), sidecar=facts)
    found = read_nifti(tmp_path / "a.nii")
    assert found.times["tr"].tolist() == [0.007]
    assert found.meta["RepetitionTimePreparation"] == 5.0
    assert found.meta["NumberShots"] == [60, 80]


def test_b_values_beside_an_image_are_in_si_units(tmp_path):
    affine = np.diag([1e-3, 1e-3, 1e-3, 1])
    write_nifti(tmp_path / "dwi.nii.gz", np.ones((3, 2, 3, 4), np.float32), affine)
    (tmp_path / "dwi.bval").write_text("0 500\n1000\n")
    assert read_nifti(tmp_path / "dwi.nii.gz").times["b_value"].tolist() == [0, 5e8, 1e9]
    assert "b_value" not in read_nifti(tmp_path / "dwi.nii.gz", times={}).times


@pytest.mark.parametrize("text", ["0 500", "0 500 nan", "0 -5 1000", "0 500 many", "0 500 1000\xb2", ""])
def test_b_values_that_are_not_one_number_for_each_image_are_refused(tmp_path, text):
    write_nifti(tmp_path / "dwi.nii", np.ones((3, 2, 3, 4), np.float32), np.diag([1e-3, 1e-3, 1e-3, 1]))
    (tmp_path / "dwi.bval").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"dwi\.bval: holds .*; give"):
        read_nifti(tmp_path / "dwi.nii")
