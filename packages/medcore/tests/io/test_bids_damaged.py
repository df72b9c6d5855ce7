"""BIDS data sets as they should not be: null values, links, odd folders, facts that contradict each other, parts that are missing."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError, MedcoreError
from medcore.io import read_nifti_series, write_nifti
from medcore.io.bids import ParameterMap, bids_faults, describe_bids, find_collections, is_bids, read_bids, write_derivative
from medcore.io.geometry import apart, same_place
from medcore.opening import find_faults

AFFINE = np.diag([1e-3, 1e-3, 2e-3, 1.0])
MP2RAGE = {
    "FlipAngle": 4,
    "RepetitionTimeExcitation": 0.007,
    "RepetitionTimePreparation": 5.0,
    "NumberShots": [88, 88],
    "MagneticFieldStrength": 7,
}
VFA = {"PulseSequenceType": "SPGR", "RepetitionTimeExcitation": 0.005}


def put(root, name, sidecar, value=1.0, affine=AFFINE, shape=(2, 3, 4)):
    path = root / "sub-01" / "anat" / f"sub-01_{name}.nii.gz"
    write_nifti(path, np.full(shape, value, np.float32), affine, sidecar=sidecar)
    return path, path.with_name(f"sub-01_{name}.json")


@pytest.fixture
def root(tmp_path):
    """Three echoes and a description."""
    data = tmp_path / "data"
    for echo in (1, 2, 3):
        put(data, f"echo-{echo}_MESE", {"EchoTime": 0.01 * echo}, echo)
    (data / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.11.1"}))
    return data


@pytest.fixture
def second(root):
    """Image and sidecar of the second echo."""
    folder = root / "sub-01" / "anat"
    return folder / "sub-01_echo-2_MESE.nii.gz", folder / "sub-01_echo-2_MESE.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"EchoTime": null}', "has no EchoTime, which MESE needs"),
        ('{"EchoTime": 1e400}', "holds 1e400, which is beyond the range of numbers"),
        ('{"EchoTime": 0.02, "MagneticFieldStrength": -1e999}', "holds -1e999"),
        ('{"EchoTime": [0.02]}', r"image 2: has EchoTime = \[0.02\]"),
        ('{"EchoTime": 0.02, "MagneticFieldStrength": "3T"}', "has MagneticFieldStrength = '3T'; give a number above 0"),
        ('{"EchoTime": 0.02, "NumberShots": 1.5}', "has NumberShots = 1.5; give a whole number above 0"),
        ('{"EchoTime": 0.02, "NumberShots": []}', r"has NumberShots = \[\]"),
        ('{"EchoTime": 0.02, "PulseSequenceType": 3}', "has PulseSequenceType = 3; give a text"),
    ],
)
def test_a_wrong_value_is_named(root, second, text, words):
    second[1].write_text(text)
    with pytest.raises(InputError, match=words):
        read_bids(root)


def test_flip_angles_of_a_train_are_left_out_with_a_note(root, second):
    (root / "MESE.json").write_text('{"FlipAngle": [90, 180, 180]}')
    series = read_bids(root)
    assert set(series.times) == {"te"}
    assert series.repairs == ("FlipAngle has several values for one image and is left out",)


# --- what holds for the whole series


def mp2rage(root, **changes):
    for inv, ti in ((1, 0.8), (2, 2.7)):
        put(root, f"inv-{inv}_MP2RAGE", MP2RAGE | {"InversionTime": ti} | (changes if inv == 2 else {}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"NumberShots": 100}, r"states NumberShots differently: \[\[88, 88\], 100\]; correct the sidecars"),
        ({"MagneticFieldStrength": 3}, "states MagneticFieldStrength differently"),
        ({"RepetitionTimePreparation": 5000}, "RepetitionTimePreparation = 5000, which looks like milliseconds"),
        ({"RepetitionTimePreparation": 0}, "RepetitionTimePreparation = 0; give a number above 0 up to 60"),
        ({"InversionEfficiency": 1.2}, "InversionEfficiency = 1.2; give a number above 0 up to 1"),
    ],
)
def test_an_mp2rage_states_its_sequence_once(tmp_path, changes, words):
    mp2rage(tmp_path, **changes)
    with pytest.raises(InputError, match=words):
        read_bids(tmp_path)


def test_the_inversions_of_an_mp2rage_may_be_numbered_by_flip_too_and_unit1_is_left_alone(tmp_path):
    for inv, ti in ((1, 0.8), (2, 2.7)):
        put(tmp_path, f"flip-{inv}_inv-{inv}_MP2RAGE", MP2RAGE | {"InversionTime": ti, "FlipAngle": 3 + inv}, inv)
    put(tmp_path, "UNIT1", {"Units": "arbitrary"})
    series = read_bids(tmp_path)
    assert series.times["ti"].tolist() == [0.8, 2.7]
    np.testing.assert_allclose(series.times["flip_angle"], np.deg2rad([4, 5]))
    assert series.meta["NumberShots"] == [88, 88]
    assert describe_bids(tmp_path)["maps"] == {"UNIT1": 1}


def test_what_need_not_be_stated_may_differ_with_a_note(root, second):
    second[1].write_text('{"EchoTime": 0.02, "MagneticFieldStrength": 1.5}')
    assert read_bids(root).repairs == ("MagneticFieldStrength differs between the images, that of the first is kept",)


# --- place


@given(seed=st.integers(0, 2**32 - 1))
def test_no_voxel_is_further_apart_than_the_corners(seed):
    rng = np.random.default_rng(seed)
    one, other = np.eye(4), np.eye(4)
    one[:3], other[:3] = rng.normal(size=(2, 3, 4))
    shape = tuple(int(n) for n in rng.integers(1, 5, 3))
    z, y, x = np.indices(shape).reshape(3, -1)
    everywhere = np.stack([x, y, z, np.ones_like(x)]).astype(float)
    distances = np.linalg.norm(((one - other) @ everywhere)[:3], axis=0)
    assert apart(one, other, shape) == pytest.approx(distances.max(), rel=1e-12)


def test_a_small_difference_of_voxel_size_adds_up_over_an_image(tmp_path):
    """One per cent of a voxel's edge is nothing in four voxels and two millimetres in two hundred."""
    other = AFFINE.copy()
    other[0, 0] *= 1.01
    assert same_place(AFFINE, other, (2, 3, 4))
    assert not same_place(AFFINE, other, (2, 3, 200))
    paths = [
        put(tmp_path, f"echo-{echo}_MESE", {"EchoTime": 0.01 * echo}, affine=affine, shape=(1, 1, 200))[0]
        for echo, affine in ((1, AFFINE), (2, other))
    ]
    with pytest.raises(InputError, match="another shape or position"):
        read_bids(tmp_path)
    with pytest.raises(InputError, match="another shape or position"):
        read_nifti_series(paths)


# --- links and odd folders


def test_a_folder_that_leads_out_of_the_data_set_is_refused(root, tmp_path):
    inside = root / "sub-01"
    inside.rename(tmp_path / "elsewhere")
    inside.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="sub-01/anat: is a link that leads out of the data set"):
        find_collections(root)


def test_a_sidecar_that_leads_out_of_the_data_set_is_refused(root, second, tmp_path):
    second[1].rename(tmp_path / "secret.json")
    second[1].symlink_to(tmp_path / "secret.json")
    with pytest.raises(InputError, match=r"echo-2_MESE\.json: is a link that leads out"):
        read_bids(root)
    second[1].unlink()
    second[1].symlink_to(second[1])
    with pytest.raises(InputError, match=r"echo-2_MESE\.json: is a link to nothing"):
        read_bids(root)


def test_an_image_that_is_a_link_to_itself_is_refused(root, second):
    second[0].unlink()
    second[0].symlink_to(second[0])
    with pytest.raises(InputError, match=r"echo-2_MESE.nii.gz: is a link to nothing"):
        find_collections(root)


@pytest.mark.parametrize("name", ["sub-**", "sub-[", "sub-a b", "sub-é", "sub-"])
def test_folders_that_are_no_subjects_are_faults_and_hide_nothing(root, name):
    (root / name / "anat").mkdir(parents=True)
    label = name.removeprefix("sub-")
    assert [f for f in bids_faults(root) if "is no sub label" in f] == [f"label {label!r}: is no sub label"]
    assert describe_bids(root)["collections"] == {"MESE": 1}


def test_special_files_are_refused_or_left_alone(root):
    (root / "sub-02").mkdir()
    (root / "sub-02" / "anat").write_text("no folder")
    assert read_bids(root).n_contrasts == 3
    os.mkfifo(root / "MESE.json")
    with pytest.raises(InputError, match=r"MESE\.json: is not a file"):
        read_bids(root)


def test_a_damaged_description_is_a_fault_of_a_data_set(root):
    (root / "dataset_description.json").write_text("{broken")
    assert is_bids(root)
    assert any("dataset_description.json: is not valid JSON" in fault for fault in bids_faults(root))


def test_a_wrong_name_is_told_by_info_and_hides_no_other_subject(root):
    odd = root / "sub-02" / "anat" / "sub-02_foo-1_echo-1_MESE.nii.gz"
    write_nifti(odd, np.ones((2, 3, 4), np.float32), AFFINE)
    facts = describe_bids(root)
    assert (facts["subjects"], facts["collections"]) == (2, {"MESE": 1})
    assert facts["faults"] == ["sub-02_foo-1_echo-1_MESE.nii.gz: has 'foo-1' in its name"]


def test_validate_names_the_faults_of_every_collection_and_each_once(root):
    for inv, ti in ((1, 0.5), (2, 0.5)):
        put(root, f"inv-{inv}_IRT1", {"InversionTime": ti})
    (root / "sub-01" / "anat" / "sub-01_echo-2_MESE.nii.gz").unlink()
    put(root, "flip-1_VFA", {"FlipAngle": 5})
    assert find_faults(root) == [
        "sub-01_flip-1_VFA.nii.gz: has no PulseSequenceType",
        "sub-01_flip-1_VFA.nii.gz: has no RepetitionTimeExcitation",
        "sub-01_IRT1: has two images of one ti: [0.5, 0.5]",
        "sub-01_MESE: lacks echo 2 of 3",
        "sub-01_flip-1_VFA.nii.gz: has no PulseSequenceType, which VFA needs",
    ]


# --- parts of complex images


def test_one_choice_of_parts_holds_for_the_whole_collection(tmp_path):
    for echo, parts in ((1, ("mag", "real", "imag")), (2, ("real", "imag"))):
        for number, part in enumerate(parts):
            put(tmp_path, f"echo-{echo}_part-{part}_MEGRE", {"EchoTime": 0.01 * echo}, number)
    series = read_bids(tmp_path)
    assert series.data.dtype == np.complex64
    assert series.data[:, 0, 0, 0].tolist() == [1 + 2j, 0 + 1j]
    with pytest.raises(InputError, match="has no part mag, only imag, mag, real in image 1; imag, real in image 2"):
        read_bids(tmp_path, part="mag")
    put(tmp_path, "echo-1_part-foo_MEGRE", {"EchoTime": 0.01})
    with pytest.raises(InputError, match="is the part 'foo'; use one of mag, phase, real, imag"):
        read_bids(tmp_path)


def test_a_phase_that_is_none_or_lies_elsewhere_is_refused(tmp_path):
    put(tmp_path, "echo-1_part-mag_MEGRE", {"EchoTime": 0.01})
    put(tmp_path, "echo-1_part-phase_MEGRE", {"EchoTime": 0.01, "Units": "rad"}, 4096.0)
    with pytest.raises(InputError, match="states rad and reaches 4096; scale the phase to radians"):
        read_bids(tmp_path, part="complex")
    moved = AFFINE.copy()
    moved[2, 3] = 0.01
    target = tmp_path / "sub-01" / "anat" / "sub-01_echo-1_part-phase_MEGRE.nii.gz"
    write_nifti(target, np.ones((2, 3, 4), np.float32), moved, sidecar={"EchoTime": 0.01, "Units": "rad"}, force=True)
    with pytest.raises(InputError, match="has another shape or position than sub-01_echo-1_part-mag"):
        read_bids(tmp_path, part="complex")


# --- any bytes


@given(data=st.data())
def test_any_change_of_sidecars_and_names_is_a_series_or_one_error(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("any")
    for flip in (1, 2):
        put(root, f"flip-{flip}_VFA", VFA | {"FlipAngle": 5 * flip})
    for path in sorted((root / "sub-01" / "anat").glob("*.json")):
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(0, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from(b'0-.e9"{}[]:,nN\xff\x00 '))
        path.write_bytes(content)
    new = data.draw(st.text("sub-01_flpVFA.nigz+é", min_size=1, max_size=30).filter(lambda t: t not in {".", ".."}))
    (root / "sub-01" / "anat" / f"{new}_VFA.nii.gz").write_bytes(b"x")
    bids_faults(root)
    try:
        series = read_bids(root)
    except MedcoreError:
        return
    assert np.isfinite(series.times["flip_angle"]).all()


# --- derivatives


def derivative(root, **options):
    return write_derivative(
        root / "derivatives" / "maps",
        [ParameterMap(suffix="T2map", data=np.ones((2, 3, 4), np.float32))],
        AFFINE,
        subject="01",
        force=True,
        **options,
    )


def test_sources_become_uris_that_lead_to_the_images(root, second):
    (path,) = derivative(root, sources=[second[0], "bids:raw:sub-01/anat/sub-01_echo-1_MESE.nii.gz"], source_dataset=root)
    folder = root / "derivatives" / "maps"
    stated = json.loads(path.with_name("sub-01_T2map.json").read_text())["Sources"]
    assert stated == [f"bids:raw:sub-01/anat/sub-01_echo-{echo}_MESE.nii.gz" for echo in (2, 1)]
    link = json.loads((folder / "dataset_description.json").read_text())["DatasetLinks"]["raw"]
    assert link == "../.."
    assert (folder / link / stated[0].removeprefix("bids:raw:")).samefile(second[0])
    assert bids_faults(folder) == []
    derivative(root, sources=[path])  # a map made of another of the same data set
    assert json.loads(path.with_name("sub-01_T2map.json").read_text())["Sources"] == ["bids::sub-01/anat/sub-01_T2map.nii.gz"]
    assert bids_faults(folder) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("bids:other:sub-01/x.nii", "but DatasetLinks does not name 'other'"),
        ("bids::sub-01/x.nii", "which does not exist"),
        ("bids:raw:sub-01/x.nii", "which does not exist"),
    ],
)
def test_sources_that_lead_nowhere_are_faults(root, source, fault):
    derivative(root, sources=[source], source_dataset=root)
    assert bids_faults(root / "derivatives" / "maps") == [f"sub-01_T2map.nii.gz: has the source {source}, {fault}"]


def test_a_description_that_names_no_program_is_a_fault(root):
    derivative(root)
    path = root / "derivatives" / "maps" / "dataset_description.json"
    stated = json.loads(path.read_text())
    for wrong in ("medcore", [{"Version": "1"}], ["medcore"]):
        path.write_text(json.dumps(stated | {"GeneratedBy": wrong}))
        assert bids_faults(path.parent) == [
            "dataset_description.json has a GeneratedBy that is no list of programs with their Name"
        ]
    path.write_text(json.dumps({k: v for k, v in stated.items() if k != "GeneratedBy"}))
    assert bids_faults(path.parent) == ["dataset_description.json has no GeneratedBy"]
