"""ISMRMRD: lossless round trips, the format's own library as referee in both directions, files of other writers."""

from __future__ import annotations

import dataclasses
import warnings

import h5py
import ismrmrd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.atomic import sha256_file
from medcore.errors import InputError, OutputExistsError
from medcore.io import KSpace, read_ismrmrd, write_ismrmrd


def same(first, second):
    for name in ("data", "mask", "traj", "noise", "csm", "affine"):
        a, b = getattr(first, name), getattr(second, name)
        assert (a is None) == (b is None), name
        assert a is None or (a.dtype == b.dtype and np.array_equal(a, b)), name
    for name in ("matrix", "fov", "field_strength", "meta", "repairs"):
        assert getattr(first, name) == getattr(second, name), name
    assert first.times.keys() == second.times.keys()
    for key, values in first.times.items():
        assert second.times[key] == pytest.approx(values, rel=0 if key != "flip_angle" else 1e-15, abs=0), key


@pytest.mark.parametrize("name", ["cartesian", "radial"])
def test_round_trip_is_lossless(name, request, tmp_path):
    kspace = request.getfixturevalue(name)
    write_ismrmrd(tmp_path / "scan.h5", kspace)
    same(kspace, read_ismrmrd(tmp_path / "scan.h5"))


@given(data=st.data())
def test_round_trip_of_any_measurement(data, tmp_path_factory):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    z, y, x = draw(st.tuples(*[st.integers(1, 4)] * 3))
    contrasts, coils = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    milli = st.floats(0, 0.9)
    times = {
        key: draw(st.lists(milli, min_size=contrasts, max_size=contrasts))
        for key in draw(st.sets(st.sampled_from(["te", "ti", "tr"])))
    }
    times["flip_angle"] = draw(st.lists(st.floats(0, 6), min_size=contrasts, max_size=contrasts))
    fov = draw(st.tuples(*[st.floats(1e-3, 0.9)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.standard_normal((3, 3)))[0] * rng.uniform(0.5e-3, 5e-3, 3)
    affine[:3, 3] = rng.standard_normal(3)
    samples = lambda *shape: (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)  # noqa: E731
    if draw(st.booleans()):
        mask = rng.random((contrasts, z, y, x)) < 0.6
        mask[:, 0, 0, 0] = True
        values = samples(contrasts, coils, z, y, x) * mask[:, None]
        kspace = KSpace(data=values, mask=None if mask.all() else mask, matrix=(z, y, x), fov=fov, times=times, affine=affine)
    else:
        spokes, length = draw(st.integers(1, 4)), draw(st.integers(1, 5))
        traj = rng.uniform(-np.pi, np.pi, (contrasts, spokes, length, 3 if z > 1 else 2)).astype(np.float32)
        kspace = KSpace(
            data=samples(contrasts, coils, spokes, length), traj=traj, matrix=(z, y, x), fov=fov, times=times, affine=affine
        )
    path = tmp_path_factory.mktemp("any") / "scan.h5"
    write_ismrmrd(path, kspace)
    same(kspace, read_ismrmrd(path))


def test_the_format_s_own_library_reads_what_is_written(cartesian, tmp_path):
    path = tmp_path / "scan.h5"
    write_ismrmrd(path, cartesian)
    with ismrmrd.Dataset(path, mode="r") as dataset:
        header = ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
        first = dataset.read_acquisition(1)
        noise = dataset.read_acquisition(0)
        n = dataset.number_of_acquisitions()
        assert np.array_equal(dataset.read_array("csm", 0), cartesian.csm)
    assert n == 1 + int(cartesian.mask.any(axis=-1).sum())
    assert list(header.sequenceParameters.TE) == pytest.approx([12.3, 27.1])
    assert header.acquisitionSystemInformation.systemFieldStrength_T == 2.89
    space = header.encoding[0].encodedSpace
    assert (space.matrixSize.x, space.matrixSize.y, space.matrixSize.z) == (6, 8, 1)
    assert space.fieldOfView_mm.x == pytest.approx(200)
    assert header.encoding[0].encodingLimits.kspace_encoding_step_1.center == 4
    assert noise.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    assert np.array_equal(noise.data, cartesian.noise)
    assert np.array_equal(first.data, cartesian.data[0, :, 0, 0])
    assert (first.center_sample, first.idx.kspace_encode_step_1, first.idx.contrast) == (3, 0, 0)


def header(matrix, *, trajectory="cartesian", extra="", te="", limits=""):
    x, y, z = matrix
    size = f"<matrixSize><x>{x}</x><y>{y}</y><z>{z}</z></matrixSize><fieldOfView_mm><x>200</x><y>200</y><z>5</z></fieldOfView_mm>"
    return (
        '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions><H1resonanceFrequency_Hz>127728000'
        f"</H1resonanceFrequency_Hz></experimentalConditions><encoding><encodedSpace>{size}</encodedSpace><reconSpace>{size}</reconSpace>"
        f"<encodingLimits>{limits}</encodingLimits><trajectory>{trajectory}</trajectory></encoding>"
        f"<sequenceParameters>{te}</sequenceParameters>{extra}</ismrmrdHeader>"
    )


@pytest.fixture
def foreign(tmp_path):
    """Write a file with the format's own library."""

    def write(xml, acquisitions):
        path = tmp_path / "foreign.h5"
        with ismrmrd.Dataset(path, mode="w") as dataset:
            dataset.write_xml_header(xml.encode())
            for changes in acquisitions:
                acquisition = ismrmrd.Acquisition.from_array(
                    changes.pop("data"), changes.pop("traj", None), **changes.pop("head", {})
                )
                for name, value in changes.items():
                    setattr(acquisition.idx, name, value)
                dataset.append_acquisition(acquisition)
        return path

    return write


def lines(rng, n, coils=2, length=6):
    return (rng.standard_normal((n, coils, length)) + 1j * rng.standard_normal((n, coils, length))).astype(np.complex64)


def test_a_file_written_by_the_format_s_own_library_is_read(foreign, rng):
    values = lines(rng, 8).reshape(2, 4, 2, 6)
    rows = [
        {"data": values[c, y], "kspace_encode_step_1": y, "set": c, "head": {"center_sample": 3}}
        for y in range(4)
        for c in range(2)
    ]
    limits = "<kspace_encoding_step_1><minimum>0</minimum><maximum>3</maximum><center>2</center></kspace_encoding_step_1>"
    path = foreign(header((6, 4, 1), te="<TE>5</TE><TI>50</TI><TI>900</TI>", limits=limits), rows)
    kspace = read_ismrmrd(path)
    assert np.array_equal(kspace.data[:, :, 0], values.transpose(0, 2, 1, 3))
    assert kspace.mask is None
    assert kspace.times["ti"].tolist() == [0.05, 0.9]
    assert kspace.times["te"].tolist() == [0.005, 0.005]
    assert kspace.field_strength == pytest.approx(3.0, abs=1e-3)


def test_asymmetric_echoes_partial_fourier_and_averages_find_their_place(foreign, rng):
    values = lines(rng, 3, length=5)
    rows = [
        {"data": values[0], "kspace_encode_step_1": 1, "head": {"center_sample": 2}},
        {"data": values[1], "kspace_encode_step_1": 2, "head": {"center_sample": 2}},
        {"data": values[2], "kspace_encode_step_1": 2, "average": 1, "head": {"center_sample": 2}},
    ]
    limits = "<kspace_encoding_step_1><minimum>0</minimum><maximum>2</maximum><center>1</center></kspace_encoding_step_1>"
    kspace = read_ismrmrd(foreign(header((6, 4, 1), limits=limits), rows))
    assert np.array_equal(kspace.data[0, :, 0, 2, 1:], values[0])  # centre line at 4 // 2, centre sample at 6 // 2
    assert np.allclose(kspace.data[0, :, 0, 3, 1:], (values[1] + values[2]) / 2)
    assert kspace.mask[0, 0].sum() == 10
    assert any("mean of up to 2 averages" in r for r in kspace.repairs)


def test_readouts_that_are_no_image_are_left_out_and_counted(foreign, rng):
    values = lines(rng, 4)
    rows = [{"data": v, "kspace_encode_step_1": y, "head": {"center_sample": 3}} for y, v in enumerate(values)]
    rows[3]["head"]["flags"] = 1 << (ismrmrd.ACQ_IS_PHASECORR_DATA - 1)
    kspace = read_ismrmrd(foreign(header((6, 4, 1)), rows))
    assert "left out 1 phase-correction readouts" in kspace.repairs
    assert not kspace.mask[0, 0, 3].any()


@pytest.mark.parametrize(("scale", "unit"), [(0.5, "cycles/sample"), (8.0, "1/fov")])
def test_trajectories_without_a_unit_are_told_by_their_range(foreign, rng, scale, unit):
    k = np.linspace(-1, 1, 16, endpoint=False, dtype=np.float32)
    traj = np.stack([scale * k, np.zeros_like(k)], axis=1)
    rows = [{"data": v, "traj": traj, "kspace_encode_step_1": i} for i, v in enumerate(lines(rng, 3, length=16))]
    kspace = read_ismrmrd(foreign(header((16, 16, 1), trajectory="radial"), rows))
    assert kspace.traj[0, 0, :, 1] == pytest.approx(k * np.pi, abs=1e-6)
    assert np.all(kspace.traj[..., 0] == 0)
    assert any(unit in repair for repair in kspace.repairs)


def test_slices_must_be_chosen(foreign, rng):
    rows = [
        {"data": v, "kspace_encode_step_1": i % 4, "slice": i // 4, "head": {"center_sample": 3}}
        for i, v in enumerate(lines(rng, 8))
    ]
    path = foreign(header((6, 4, 1)), rows)
    with pytest.raises(InputError, match="2 slices"):
        read_ismrmrd(path)
    assert np.array_equal(read_ismrmrd(path, slice_index=1).data[0, :, 0, 2], rows_data(path, 6))


def rows_data(path, row):
    with h5py.File(path) as file:
        return file["dataset/data"][row]["data"].view(np.complex64).reshape(2, 6)


@pytest.mark.integration
def test_a_file_of_another_library_with_another_layout(data_root):
    path = data_root / "koma-phantom-mrd" / "Koma_signal.mrd"
    before = sha256_file(path), path.stat().st_mtime_ns
    kspace = read_ismrmrd(path)
    assert kspace.data.shape == (1, 1, 101, 101)
    assert kspace.fov == pytest.approx((0.001, 0.2323, 0.2323))
    assert np.ptp(kspace.traj) == pytest.approx(2 * np.pi * 100 / 101, rel=1e-3)  # 101 samples, one step of 1/101 apart
    with h5py.File(path) as file:
        stored = file["dataset/data"][7]["data"].view(np.complex64)
    assert np.array_equal(kspace.data[0, 0, 7], stored)
    assert any("metres" in r for r in kspace.repairs)
    assert (sha256_file(path), path.stat().st_mtime_ns) == before


def test_reading_never_creates_or_changes_a_file(cartesian, tmp_path):
    path = tmp_path / "scan.h5"
    with pytest.raises(InputError, match="does not exist"):
        read_ismrmrd(path)
    assert list(tmp_path.iterdir()) == []
    write_ismrmrd(path, cartesian)
    path.chmod(0o444)
    before = sha256_file(path), path.stat().st_mtime_ns
    read_ismrmrd(path)
    assert (sha256_file(path), path.stat().st_mtime_ns) == before


def test_an_existing_file_is_kept_unless_asked(cartesian, radial, tmp_path):
    path = tmp_path / "scan.h5"
    write_ismrmrd(path, cartesian)
    with pytest.raises(OutputExistsError):
        write_ismrmrd(path, radial)
    same(cartesian, read_ismrmrd(path))
    write_ismrmrd(path, radial, force=True)
    same(radial, read_ismrmrd(path))


def test_meta_that_is_not_json_is_refused_before_writing(cartesian, tmp_path):
    for bad in (np.arange(3), float("nan")):
        with pytest.raises(InputError, match="JSON"):
            write_ismrmrd(tmp_path / "scan.h5", dataclasses.replace(cartesian, meta={"x": bad}))
    assert list(tmp_path.iterdir()) == []


def test_a_contrast_without_samples_has_no_place_in_the_format(cartesian, tmp_path):
    mask = np.ones(cartesian.data[:, 0].shape, bool)
    mask[1] = False
    empty = dataclasses.replace(cartesian, data=cartesian.data * mask[:, None], mask=mask)
    with pytest.raises(InputError, match=r"has no sample of contrast 1 of \d+; leave it out with select"):
        write_ismrmrd(tmp_path / "scan.h5", empty)
    assert list(tmp_path.iterdir()) == []


def test_the_original_library_cannot_be_made_to_warn(cartesian, tmp_path):
    write_ismrmrd(tmp_path / "scan.h5", cartesian)
    with warnings.catch_warnings(), ismrmrd.Dataset(tmp_path / "scan.h5", mode="r") as dataset:
        warnings.simplefilter("error")
        ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
