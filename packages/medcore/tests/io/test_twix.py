"""Siemens raw data, made by code: every number put in comes out; twixtools reads the same files as a referee."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import pytest
import twix_files as made
import twixtools
from hypothesis import given
from hypothesis import strategies as st

import medcore
from medcore.errors import InputError
from medcore.io import KSpace
from medcore.io.twix import is_twix, read_twix
from medcore.opening import describe


@pytest.fixture
def save(tmp_path):
    return lambda content: made.save(tmp_path / "meas.dat", content)


@pytest.mark.parametrize("new", [True, False])
def test_a_complete_scan_comes_out_as_it_was_put_in(new, save):
    content = made.scan(6, 4, 2, new=new)
    path = save(made.vd_file(content) if new else content)
    kspace = read_twix(path)
    assert np.array_equal(kspace.data[:, :, 0], made.samples(2, 2, 4, 12))
    assert np.array_equal(kspace.noise, made.samples(2, 16, seed=1))
    assert kspace.mask is None
    assert kspace.matrix == (1, 4, 12)
    assert kspace.fov == pytest.approx((0.005, 0.2, 0.48))
    assert kspace.times["te"].tolist() == [0.0123, 0.0271]
    assert kspace.times["tr"].tolist() == [0.7, 0.7]
    assert kspace.times["flip_angle"] == pytest.approx([np.pi / 2] * 2)
    assert kspace.field_strength == 2.8936
    assert kspace.repairs == ("side of the in-plane axes by convention",)
    assert "Hush" not in repr((kspace.meta, kspace.repairs))
    assert describe(path)["format"] == "twix"
    assert isinstance(medcore.open(path), KSpace)


@pytest.mark.parametrize("new", [True, False])
def test_twixtools_reads_the_same_files(new, save):
    content = made.scan(6, 4, 2, new=new)
    path = save(made.vd_file(content) if new else content)
    with contextlib.redirect_stdout(io.StringIO()):
        (read,) = twixtools.read_twix(str(path), parse_pmu=False, parse_geometry=False, verbose=False)
        array = twixtools.twix_array([m for m in read["mdb"] if m.is_image_scan()], read["hdr"])
        array.flags["squeeze_singletons"] = True
        values = array[:]
    assert np.array_equal(read_twix(path).data[:, :, 0], values.swapaxes(1, 2))  # (echo, line, coil, column)
    assert read["hdr"]["MeasYaps"]["alTE"][:2] == [12300, 27100]


def test_files_of_twixtools_are_read(save, tmp_path):
    """A scan read and written again by twixtools' own writer."""
    with contextlib.redirect_stdout(io.StringIO()):
        options = {"parse_pmu": False, "parse_geometry": False, "keep_acqend": True, "verbose": False}
        scans = twixtools.read_twix(str(save(made.vd_file(made.scan()))), **options)
        twixtools.write_twix(scans, str(tmp_path / "again.dat"))
    assert np.array_equal(read_twix(tmp_path / "again.dat").data, read_twix(tmp_path / "meas.dat").data)


@given(data=st.data())
def test_lines_find_their_place(data, tmp_path_factory):
    draw = data.draw
    columns, lines, partitions = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    coils, sets, averages = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    values = made.samples(averages, sets, coils, partitions, lines, 2 * columns, seed=draw(st.integers(0, 99)))
    blocks = [
        made.readout(
            values[a, s, :, z, y, ::-1] if (y + z) % 2 else values[a, s, :, z, y],
            flags=["REFLECT"] if (y + z) % 2 else [],
            centre=((2 * columns - 1) // 2 if (y + z) % 2 else columns, lines // 2, partitions // 2),
            line=y,
            partition=z,
            set=s,
            average=a,
        )
        for a in range(averages)
        for s in range(sets)
        for z in range(partitions)
        for y in range(lines)
    ]
    times = {f"alTI[{i}]": 50_000 * (i + 1) for i in range(sets)}
    head = made.protocol(columns, lines, partitions=partitions, lContrasts=1, **times)
    order = draw(st.permutations(blocks))
    path = made.save(tmp_path_factory.mktemp("t") / "a.dat", made.vd_file(head + b"".join(order) + made.last()))
    kspace = read_twix(path)
    np.testing.assert_allclose(kspace.data, values.mean(axis=0), atol=1e-6)
    assert kspace.matrix == (partitions, lines, 2 * columns)
    assert kspace.times["ti"] == pytest.approx([0.05 * (i + 1) for i in range(sets)])


def test_an_asymmetric_echo_and_partial_lines_are_placed_by_their_centre(save):
    values = made.samples(1, 2, 3, 9)
    content = made.protocol(6, 4, lContrasts=1, **{"sKSpace.ucPhasePartialFourier": "0x4"})
    kspace = read_twix(save(made.vd_file(content + made.lines_of(values, centre=(3, 1, 0)) + made.last())))
    assert np.array_equal(kspace.data[0, :, 0, 1:, 3:], values[0])  # column 3 lies at 12 // 2, line 1 at 4 // 2
    assert kspace.mask[0, 0].sum() == 27
    assert not any("absent" in r for r in kspace.repairs)


def test_lost_lines_are_named(save):
    values = made.samples(1, 1, 4, 12)
    blocks = [made.readout(values[0, :, y], centre=(6, 2, 0), line=y) for y in (0, 1, 3)]
    kspace = read_twix(save(made.vd_file(made.protocol(6, 4, lContrasts=1) + b"".join(blocks) + made.last())))
    assert "1 readout that the header promises is absent: contrast 0 line 2" in kspace.repairs


def test_reference_lines_are_kept_apart(save):
    values = made.samples(1, 2, 4, 12)
    image = [made.readout(values[0, :, y], centre=(6, 2, 0), line=y) for y in (0, 2)]
    apart = made.readout(values[0, :, 1], centre=(6, 2, 0), line=1, flags=["PATREFSCAN"])
    both = made.readout(values[0, :, 3], centre=(6, 2, 0), line=3, flags=["PATREFSCAN", "PATREFANDIMASCAN"])
    phase = made.readout(values[0, :, 1], centre=(6, 2, 0), line=1, flags=["PHASCOR"])
    head = made.protocol(6, 4, lContrasts=1, **{"sPat.lAccelFactPE": 2})
    path = save(made.vd_file(head + b"".join([phase, apart, *image, both]) + made.last()))
    kspace = read_twix(path)
    assert kspace.mask[0, 0].any(axis=1).tolist() == [True, False, True, True]
    assert kspace.repairs[:2] == ("left out 1 phase-correction readouts", "left out 1 reference readouts")
    reference = read_twix(path, part="reference")
    assert reference.mask[0, 0].any(axis=1).tolist() == [False, True, False, True]
    assert np.array_equal(reference.data[0, :, 0, 1], values[0, :, 1])


def test_noise_comes_from_the_measurement_before(save):
    adjustment = made.protocol(6, 4) + made.readout(made.samples(2, 32, seed=5), flags=["NOISEADJSCAN"]) + made.last()
    image = made.protocol(6, 4, lContrasts=1) + made.lines_of(made.samples(1, 2, 4, 12)) + made.last()
    path = save(made.vd_file(adjustment, image))
    kspace = read_twix(path)
    assert np.array_equal(kspace.noise, made.samples(2, 32, seed=5))
    assert "noise taken from measurement 0" in kspace.repairs
    with pytest.raises(InputError, match="holds no image readout in measurement 0; choose another"):
        read_twix(path, measurement=0)
    with pytest.raises(InputError, match="holds 2 measurements, measurement is 2"):
        read_twix(path, measurement=2)


def test_slices_are_chosen_by_their_counter(save):
    values = made.samples(3, 2, 4, 12)
    blocks = [made.readout(v[:, y], centre=(6, 2, 0), line=y, slice=i) for i, v in enumerate(values) for y in range(4)]
    path = save(made.vd_file(made.protocol(6, 4, lContrasts=1) + b"".join(blocks) + made.last()))
    assert np.array_equal(read_twix(path, slice_index=2).data[0, :, 0], values[2])
    with pytest.raises(InputError, match=r"holds 3 slices \(0 to 2\), slice_index is None"):
        read_twix(path)


def test_removing_the_oversampling_keeps_the_middle_of_the_image(save):
    """Referee: the profile of the whole readout, its middle half."""
    path = save(made.vd_file(made.scan(8, 4, 2)))
    whole, cut = read_twix(path), read_twix(path, remove_oversampling=True)

    def profile(data):
        return np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(data, axes=-1), norm="ortho"), axes=-1)

    np.testing.assert_allclose(profile(cut.data), profile(whole.data)[..., 4:12], atol=1e-6)
    assert cut.matrix == (1, 4, 8)
    assert cut.fov == pytest.approx((0.005, 0.2, 0.24))
    centre = [4, 2, 0, 1]
    assert cut.affine @ centre == pytest.approx(whole.affine @ [8, 2, 0, 1])


def test_the_centre_lies_at_the_slice_position(save):
    kspace = read_twix(save(made.vd_file(made.scan(6, 4, 2))))
    assert (kspace.affine @ [6, 2, 0, 1])[:3] == pytest.approx([-0.010, 0.020, 0.030])  # LPS (10, -20, 30) mm in RAS
    assert np.linalg.norm(kspace.affine[:3, :3], axis=0) == pytest.approx([0.48 / 12, 0.05, 0.005])
    # A turn by 45 degrees about the head-foot axis: phase (1, 1, 0), read (-1, 1, 0) / sqrt 2 in LPS.
    read, phase, normal = (kspace.affine[:3, :3] / np.linalg.norm(kspace.affine[:3, :3], axis=0)).T
    assert read == pytest.approx(np.array([1, -1, 0]) / np.sqrt(2), abs=1e-6)
    assert phase == pytest.approx(np.array([-1, -1, 0]) / np.sqrt(2), abs=1e-6)
    assert normal == pytest.approx([0, 0, 1])


def test_what_is_assumed_is_said(save):
    content = made.protocol(
        6, 4, os_factor=None, lContrasts=1, **{"sKSpace.dPhaseOversamplingForDialog": 0.5, "alTI[0]": 5, "alTI[1]": 7}
    )
    values = made.samples(1, 1, 6, 12)
    kspace = read_twix(save(made.vd_file(content + made.lines_of(values, quaternion=(0, 0, 0, 0)) + made.last())))
    assert kspace.matrix == (1, 6, 12)
    assert kspace.fov[1] == pytest.approx(0.3)
    assert kspace.repairs == (
        "sKSpace.lPhaseEncodingLines 4 with an oversampling of 1.5 taken as 6 steps",
        "oversampling of the readout not stated, taken as 2",
        "2 values of ti in the protocol fit no counter of 1 contrasts, left out",
        "no orientation in the readouts, axis-aligned geometry assumed",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sKSpace.ucTrajectory": "0x2"}, "is radial and stores no trajectory; convert it to ISMRMRD"),
        ({"sKSpace.ucTrajectory": "0x4"}, "is spiral"),
        ({"sKSpace.lBaseResolution": None}, "states no sKSpace.lBaseResolution"),
        ({"sKSpace.lBaseResolution": 0}, "lBaseResolution = '0'"),
        ({"sKSpace.lBaseResolution": 5.5}, "not a whole number"),
        ({"sKSpace.lPhaseEncodingLines": "many"}, "lPhaseEncodingLines = 'many'"),
        ({"sKSpace.lPhaseEncodingLines": "1e400"}, "lPhaseEncodingLines = '1e400'"),
        ({"sKSpace.lPhaseEncodingLines": 3}, "outside the matrix of 3"),
        ({"sSliceArray.asSlice[0].dThickness": -5}, "dThickness = '-5'"),
        ({"alTE[0]": "nan"}, r"alTE\[0\] = 'nan'"),
        ({"alTE[0]": 12_300_000}, "echo time of 12.3 s"),
        ({"sKSpace.lBaseResolution": 4}, "beyond the matrix of 8"),
    ],
)
def test_a_protocol_that_cannot_be_is_refused(changes, words, save):
    with pytest.raises(InputError, match=words):
        read_twix(save(made.vd_file(made.scan(**changes))))


def block_of_no_length():
    block = bytearray(made.sync())
    struct.pack_into("<I", block, 0, 0)
    return bytes(block)


def nan_sample():
    values = made.samples(1, 2, 4, 12)
    values[0, 1, 2, 5] = np.nan
    return made.lines_of(values)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: made.vd_file(made.scan()[:-352]), "ends after 9 readouts without the mark of the last one"),
        (lambda: made.vd_file(made.scan())[:-1024], "ends at byte"),
        (lambda: made.vd_file(made.scan(), count=0), "is no Siemens raw data"),
        (lambda: bytes(10240), "lists no measurement: it was never finished"),
        (lambda: made.vd_file(made.scan(), count=2), "gives measurement 1 no length: it was never finished"),
        (lambda: made.vd_file(made.protocol(6, 4) + block_of_no_length() + made.last()), "has a block of 0 bytes"),
        (lambda: made.protocol(6, 4) + made.readout(np.zeros((0, 8)), new=False) + bytes(256), "has a block of 0 bytes"),
        (
            lambda: made.vd_file(made.protocol(6, 4) + nan_sample() + made.last()),
            "NaN or infinite sample in readout 2, coil 1, sample 5",
        ),
        (lambda: made.vd_file(made.protocol(6, 4) + made.last()), "holds no image readout"),
        (lambda: b"\0" * 5000, "is no Siemens raw data"),
        (lambda: b"text", "is no Siemens raw data"),
    ],
)
def test_damaged_and_unfinished_files_are_refused(content, words, save):
    with pytest.raises(InputError, match=words):
        read_twix(save(content()))


def test_detection_needs_no_name(save, tmp_path):
    assert is_twix(made.save(tmp_path / "odd.name", made.vd_file(made.scan())))
    assert is_twix(made.save(tmp_path / "odd.name", made.scan(new=False)))
    for other in (b"", b"text" * 5000, bytes(20_000), b"\x89HDF\r\n\x1a\n" + bytes(20_000)):
        assert not is_twix(made.save(tmp_path / "odd.name", other))
    assert not is_twix(tmp_path)
    assert not is_twix(tmp_path / "absent")


def test_without_the_extra_the_hint_names_it(save, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "twixtools", None)
    with pytest.raises(InputError, match=r"pip install 'medcore\[twix\]'"):
        read_twix(save(made.vd_file(made.scan())))
