"""ISMRMRD files that lie, break or come from odd writers: each is one error that names the trouble, or a named repair."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError
from medcore.io import read_ismrmrd, write_ismrmrd
from medcore.io.ismrmrd.layout import ACQUISITION, CALIBRATION, NOISE, REVERSE

N, LINES, COILS = 6, 4, 2


def xml(*, matrix=(N, LINES, 1), trajectory="cartesian", fov=200, extra="", encoding="", more=""):
    x, y, z = matrix
    space = (
        f"<matrixSize><x>{x}</x><y>{y}</y><z>{z}</z></matrixSize><fieldOfView_mm><x>{fov}</x><y>{fov}</y><z>5</z></fieldOfView_mm>"
    )
    return (
        f'<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">{extra}<encoding><encodedSpace>{space}</encodedSpace>'
        f"<reconSpace>{space}</reconSpace>{encoding}<trajectory>{trajectory}</trajectory></encoding>{more}</ismrmrdHeader>"
    )


@pytest.fixture
def rows(rng):
    """A complete small scan as the rows of its table."""
    table = np.zeros(LINES, dtype=ACQUISITION)
    for y in range(LINES):
        head = table[y]["head"]
        head["number_of_samples"], head["active_channels"], head["center_sample"] = N, COILS, N // 2
        head["read_dir"], head["phase_dir"], head["slice_dir"] = np.eye(3)
        head["idx"]["kspace_encode_step_1"] = y
        table[y]["data"] = rng.standard_normal(2 * COILS * N).astype(np.float32)
        table[y]["traj"] = np.zeros(0, np.float32)
    return table


@pytest.fixture
def save(tmp_path):
    def write(rows, header=None):
        path = tmp_path / "scan.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("dataset")
            group.create_dataset("xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = xml() if header is None else header
            if rows is not None:
                group.create_dataset("data", data=rows)
        return path

    return write


def stored(rows, y):
    return rows[y]["data"].view(np.complex64).reshape(COILS, N)


def test_the_builder_makes_a_good_file(save, rows):
    kspace = read_ismrmrd(save(rows))
    for y in range(LINES):
        assert np.array_equal(kspace.data[0, :, 0, y], stored(rows, y))
    assert kspace.repairs == ()


ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><ismrmrdHeader>&b;</ismrmrdHeader>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><ismrmrdHeader>&a;</ismrmrdHeader>'


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ("", "XML header that cannot be read"),
        ("<ismrmrdHeader>", "cannot be read"),
        (ENTITIES, "cannot be read"),
        (OUTSIDE, "cannot be read"),
        ("<ismrmrdHeader/>", "without an encoding"),
        (xml(matrix=(0, 4, 1)), "encodedSpace/matrixSize/x = '0'"),
        (xml(matrix=("many", 4, 1)), "not a whole number from 1"),
        (xml(matrix=(70000, 4, 1)), "not a whole number"),
        (xml(matrix=(60000, 60000, 60)), "claims .* bytes"),
        (xml(fov="-3"), "fieldOfView_mm/y = -3"),
        (xml(fov="nan"), "fieldOfView_mm/y"),
        (xml(fov="wide"), "'wide' in its header, not a number"),
        (xml(matrix=(N, 2, 1)), "outside the matrix of 2"),
        (xml(matrix=(4, LINES, 1)), "6 samples with centre 3 in readout 0, beyond the matrix of 4"),
        (xml(trajectory="radial"), "is radial and stores no trajectory"),
        (xml(more="<sequenceParameters><TE>10</TE><TE>20</TE></sequenceParameters>"), "2 values of te for 1 contrasts"),
        (xml(more="<sequenceParameters><TE>soon</TE></sequenceParameters>"), "not a number"),
        (xml(more="<sequenceParameters><TE>2000</TE></sequenceParameters>"), "looks like milliseconds"),
        (xml(more="<sequenceParameters><TE>-5</TE></sequenceParameters>"), "impossible echo time"),
        (xml(extra="x" * (5 << 20)), "XML header of"),
    ],
)
def test_a_wrong_header_is_named(save, rows, header, word):
    with pytest.raises(InputError, match=word) as caught:
        read_ismrmrd(save(rows, header))
    assert "root:" not in str(caught.value)


def put(field, value, row=1):
    def change(rows):
        target = rows[row]["head"]
        *path, last = field.split(".")
        for name in path:
            target = target[name]
        target[last] = value
        return rows

    return change


def samples(values, row=1):
    def change(rows):
        rows[row]["data"] = np.asarray(values, np.float32)
        return rows

    return change


def nan_sample(rows):
    rows[2]["data"][3] = np.nan
    return rows


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (put("number_of_samples", 5), r"different number_of_samples|24 values of 'data' in readout 1"),
        (put("active_channels", 3), "different active_channels: 2 .3 readouts., 3 .1 readouts."),
        (samples(np.zeros(22)), "22 values of 'data' in readout 1 where its head says 24"),
        (samples([]), "0 values of 'data' in readout 1"),
        (nan_sample, "NaN or infinite sample in readout 2, coil 0, sample 1"),
        (put("idx.kspace_encode_step_1", 9), "outside the matrix of 4"),
        (put("idx.kspace_encode_step_1", 0), "stores 1 lines twice, the first is that of readout 0"),
        (put("idx.slice", 1), "holds 2 slices"),
        (put("center_sample", 1), "beyond the matrix|taken as"),
        (lambda rows: rows[:0], "no table of readouts"),
        (lambda rows: rows["data"].copy(), "no table of readouts"),
        (lambda rows: np.arange(5), "no table of readouts"),
        (lambda _: None, "has no 'data' in '/dataset', only xml"),
    ],
)
def test_a_wrong_readout_is_named(save, rows, change, word):
    changed = change(rows)
    if changed is not None and changed.dtype == object:
        changed = np.arange(5)
    path = save(changed)
    if "taken as" in word:
        assert any("taken as" in r for r in read_ismrmrd(path).repairs)
        return
    with pytest.raises(InputError, match=word):
        read_ismrmrd(path)


def test_only_noise_is_no_measurement(save, rows):
    for row in rows:
        row["head"]["flags"] = NOISE
    with pytest.raises(InputError, match="no readout of an image"):
        read_ismrmrd(save(rows))


def test_noise_and_calibration_lines_are_kept_apart(save, rows):
    extra = np.concatenate([rows, rows[:2]])
    extra[4]["head"]["flags"], extra[5]["head"]["flags"] = NOISE, CALIBRATION
    kspace = read_ismrmrd(save(extra))
    assert np.array_equal(kspace.noise, stored(rows, 0))
    assert kspace.repairs == ("left out 1 calibration-only readouts",)
    assert np.array_equal(kspace.data[0, :, 0, 1], stored(rows, 1))


def test_lines_read_backwards_are_turned(save, rows):
    rows[1]["head"]["flags"] = REVERSE
    rows[1]["head"]["center_sample"] = N - 1 - N // 2
    kspace = read_ismrmrd(save(rows))
    assert np.array_equal(kspace.data[0, :, 0, 1], stored(rows, 1)[:, ::-1])
    assert np.array_equal(kspace.data[0, :, 0, 0], stored(rows, 0))


def test_discarded_samples_are_left_out(save, rows):
    for row in rows:
        row["head"]["discard_pre"], row["head"]["discard_post"] = 1, 1
    kspace = read_ismrmrd(save(rows))
    for y in range(LINES):
        assert np.array_equal(kspace.data[0, :, 0, y, 1:5], stored(rows, y)[:, 1:5])
    assert kspace.mask[0, 0, :, [0, 5]].sum() == 0


def test_missing_lines_are_marked_and_named(save, rows):
    kspace = read_ismrmrd(save(rows[[0, 1, 3]]))
    assert kspace.mask[0, 0].any(axis=1).tolist() == [True, True, False, True]
    assert kspace.repairs == ()  # nothing is stated about acceleration
    stated = "<parallelImaging><accelerationFactor><kspace_encoding_step_1>{}</kspace_encoding_step_1><kspace_encoding_step_2>1"
    stated += "</kspace_encoding_step_2></accelerationFactor></parallelImaging>"
    assert read_ismrmrd(save(rows[[0, 1, 3]], xml(encoding=stated.format(2)))).repairs == ()
    repairs = read_ismrmrd(save(rows[[0, 1, 3]], xml(encoding=stated.format(1)))).repairs
    assert repairs == ("1 readout that the header promises is absent: contrast 0 line 2",)


def test_a_table_with_other_fields_is_read_by_their_names(save, rows):
    """As some writers do: heads with a few fields only, in another order and with padding."""
    idx = np.dtype([("kspace_encode_step_1", "<u2"), ("contrast", "<u2")], align=True)
    head = np.dtype([("center_sample", "<u2"), ("idx", idx), ("active_channels", "<u2"), ("number_of_samples", "<u2")], align=True)
    table = np.zeros(LINES, dtype=[("data", h5py.vlen_dtype(np.float32)), ("head", head)])
    for y in range(LINES):
        table[y]["data"] = rows[y]["data"]
        for name in ("center_sample", "active_channels", "number_of_samples"):
            table[y]["head"][name] = rows[y]["head"][name]
        table[y]["head"]["idx"]["kspace_encode_step_1"] = y
    kspace = read_ismrmrd(save(table))
    assert np.array_equal(kspace.data[0, :, 0, 2], stored(rows, 2))
    assert kspace.repairs == ("no orientation in the readouts, axis-aligned geometry assumed",)


def test_a_head_without_a_number_of_samples_is_refused(save):
    table = np.zeros(2, dtype=[("data", h5py.vlen_dtype(np.float32)), ("head", [("active_channels", "<u2")])])
    for row in table:
        row["data"] = np.zeros(4, np.float32)
    with pytest.raises(InputError, match="heads without number_of_samples"):
        read_ismrmrd(save(table))


def radial(rows, values, dims=2):
    for row in rows:
        row["head"]["trajectory_dimensions"] = dims
        row["traj"] = np.resize(np.asarray(values, np.float32), N * dims)
    return rows


@pytest.mark.parametrize(
    ("values", "dims", "options", "word"),
    [
        ([0.1, np.nan], 2, {}, "NaN or infinite trajectory point"),
        ([2.0, 1.0], 2, {}, "points up to 2 in no declared unit"),
        ([99.0, 1.0], 2, {}, "no declared unit"),
        ([0.1], 1, {}, "1-D trajectory for a 2-D matrix"),
        ([0.1, 0.2], 2, {"trajectory_unit": "1/cm"}, "trajectory in '1/cm'"),
    ],
)
def test_a_wrong_trajectory_is_named(save, rows, values, dims, options, word):
    with pytest.raises(InputError, match=word):
        read_ismrmrd(save(radial(rows, values, dims), xml(trajectory="radial", matrix=(N, N, 1))), **options)


def test_the_unit_of_a_trajectory_can_be_said(save, rows):
    path = save(radial(rows, [2.0, -1.0]), xml(trajectory="radial", matrix=(N, N, 1)))
    assert read_ismrmrd(path, trajectory_unit="rad/sample").traj[0, 0, 0].tolist() == [-1.0, 2.0]
    assert read_ismrmrd(path, trajectory_unit="1/fov").traj[0, 0, 0] == pytest.approx([-2 * np.pi / N, 4 * np.pi / N])


def test_no_identifier_leaves_the_header(save, rows):
    subject = "<subjectInformation><patientName>Hush^Hush</patientName><patientID>HUSH-17</patientID></subjectInformation>"
    system = "<systemVendor>ACME</systemVendor><institutionName>HUSH</institutionName>"
    system = f"<acquisitionSystemInformation>{system}</acquisitionSystemInformation>"
    kspace = read_ismrmrd(save(rows, xml(extra=subject + system)))
    assert kspace.meta == {"vendor": "ACME"}
    assert "hush" not in repr((kspace.meta, kspace.repairs, kspace.source)).lower()


@pytest.mark.parametrize("group", ["absent", "dataset/xml"])
def test_another_group_must_exist(save, rows, group):
    with pytest.raises(InputError, match=r"absent|has no"):
        read_ismrmrd(save(rows), dataset=group)


@pytest.mark.parametrize("name", ["affine", "csm", "mask"])
@pytest.mark.parametrize(
    "values", [np.arange(3), np.zeros((2, 4, 4)), np.full((1, 4, 4), np.nan), np.zeros((1, 9, 9), np.complex64)]
)
def test_arrays_that_cannot_be_are_refused(cartesian, tmp_path, name, values):
    path = tmp_path / "scan.h5"
    write_ismrmrd(path, cartesian)
    with h5py.File(path, "a") as file:
        if name in file["dataset"]:
            del file["dataset"][name]
        file["dataset"][name] = values
    with pytest.raises(InputError):
        read_ismrmrd(path)


@given(data=st.data())
def test_any_cut_or_change_is_a_measurement_or_one_error(data, tmp_path_factory, request):
    path = tmp_path_factory.mktemp("any") / "scan.h5"
    good = getattr(test_any_cut_or_change_is_a_measurement_or_one_error, "good", None)
    if good is None:
        write_ismrmrd(path, request.getfixturevalue("cartesian"))
        good = path.read_bytes()
        test_any_cut_or_change_is_a_measurement_or_one_error.good = good
    content = bytearray(good)
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        kspace = read_ismrmrd(path)
    except InputError:
        return
    assert np.isfinite(kspace.data).all()


WRITING = """
import resource, sys
import numpy as np
from medcore.errors import MedcoreError
from medcore.io import KSpace, write_ismrmrd
data = np.ones((1, 4, 1, 128, 128), np.complex64)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_ismrmrd(sys.argv[1], KSpace(data=data, matrix=(1, 128, 128), fov=(0.005, 0.2, 0.2)), force=True)
except MedcoreError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_disk_that_fills_while_writing_keeps_the_old_file(cartesian, tmp_path):
    path = tmp_path / "scan.h5"
    write_ismrmrd(path, cartesian)
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", WRITING, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "the disk is full" in done.stdout
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scan.h5"]
