"""BIDS collections: found and read strictly; parameter maps written and read back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medcore
from medcore.errors import InputError, OutputExistsError
from medcore.io import read_nifti, write_nifti
from medcore.io.bids import (
    ParameterMap,
    bids_faults,
    check_derivative,
    describe_bids,
    describe_derivative,
    find_collections,
    is_bids,
    parse_name,
    read_collection,
    source_uris,
    write_derivative,
)
from medcore.io.bids.names import ENTITIES, Name
from medcore.opening import describe, find_faults

AFFINE = np.diag([1e-3, 1e-3, 2e-3, 1.0])
TE = (0.01, 0.02, 0.04)
RECIPES = {
    "MESE": ("echo", [{"EchoTime": t} for t in TE]),
    "MEGRE": ("echo", [{"EchoTime": t / 10} for t in TE]),
    "IRT1": ("inv", [{"InversionTime": t, "EchoTime": 0.01} for t in (0.05, 0.5, 2.5)]),
    "VFA": ("flip", [{"FlipAngle": a, "PulseSequenceType": "SPGR", "RepetitionTimeExcitation": 0.005} for a in (3, 15)]),
    "MP2RAGE": (
        "inv",
        [
            {
                "FlipAngle": a,
                "InversionTime": t,
                "RepetitionTimeExcitation": 0.007,
                "RepetitionTimePreparation": 5.0,
                "NumberShots": 176,
                "MagneticFieldStrength": 7,
            }
            for a, t in ((4, 0.8), (5, 2.7))
        ],
    ),
}


def image(seed=0, shape=(2, 3, 4)):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def tree(root, suffix="MESE", subject="01", session=None, *, prefix="", changes=None, description=True):
    """A data set with one collection; image number n has the seed n."""
    entity, sidecars = RECIPES[suffix]
    home = root / f"sub-{subject}"
    stem = f"sub-{subject}"
    if session:
        home, stem = home / f"ses-{session}", f"{stem}_ses-{session}"
    if description:
        root.mkdir(exist_ok=True)
        (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.11.1", "License": "CC0"}))
    paths = []
    for number, sidecar in enumerate(sidecars, 1):
        path = home / "anat" / f"{stem}{prefix}_{entity}-{number}_{suffix}.nii.gz"
        write_nifti(path, image(number), AFFINE, sidecar=sidecar | (changes or {}).get(number, {}))
        paths.append(path)
    return paths


@pytest.mark.parametrize("suffix", list(RECIPES))
@pytest.mark.parametrize("session", [None, "pre"])
def test_every_kind_is_found_and_read_in_si_units(suffix, session, tmp_path):
    tree(tmp_path, suffix, session=session, prefix="_acq-fast")
    (collection,) = find_collections(tmp_path)
    assert (collection.subject, collection.session, collection.suffix) == ("01", session, suffix)
    series = read_collection(collection)
    _, sidecars = RECIPES[suffix]
    assert np.array_equal(series.data, [image(n) for n in range(1, len(sidecars) + 1)])
    for key, name, scale in (("te", "EchoTime", 1), ("ti", "InversionTime", 1), ("flip_angle", "FlipAngle", np.pi / 180)):
        if name in sidecars[0]:
            np.testing.assert_allclose(series.times[key], [scale * s[name] for s in sidecars])
        else:
            assert key not in series.times
    if suffix == "MP2RAGE":
        assert (series.meta["RepetitionTimePreparation"], series.meta["NumberShots"]) == (5.0, 176)
        np.testing.assert_allclose(series.times["tr"], 0.007)
    assert series.repairs == ()


def test_inherited_sidecars_hold_and_the_nearest_wins(tmp_path):
    paths = tree(tmp_path)
    (tmp_path / "MESE.json").write_text(json.dumps({"FlipAngle": 120, "MagneticFieldStrength": 1.5}))
    (tmp_path / "acq-other_MESE.json").write_text(json.dumps({"MagneticFieldStrength": 7}))
    (tmp_path / "sub-01" / "sub-01_MESE.json").write_text(json.dumps({"FlipAngle": 150}))
    series = read_collection(find_collections(tmp_path)[0])
    np.testing.assert_allclose(series.times["flip_angle"], np.pi * 150 / 180)
    assert series.meta["field_strength"] == 1.5
    (paths[0].parent / "sub-01_MESE.json").write_text("{}")
    with pytest.raises(InputError, match="has two sidecars at one level"):
        read_collection(find_collections(tmp_path)[0])


def test_images_are_sorted_by_time_and_that_is_said(tmp_path):
    tree(tmp_path, "IRT1", changes={1: {"InversionTime": 9.0}})
    series = read_collection(find_collections(tmp_path)[0])
    assert series.times["ti"].tolist() == [0.5, 2.5, 9.0]
    assert np.array_equal(series.data[2], image(1))
    assert series.repairs == ("images sorted by ti, which their numbers were not",)


@pytest.mark.parametrize(
    ("suffix", "changes", "words"),
    [
        ("MESE", {2: {"EchoTime": 20.0}}, "echo time of 20 s, which looks like milliseconds; give seconds, here perhaps 0.02"),
        ("MESE", {2: {"EchoTime": 0.01}}, "has two images of one te"),
        ("IRT1", {2: {"InversionTime": 0}}, "image 2: has InversionTime = 0; give seconds above 0"),
        ("IRT1", {2: {"InversionTime": -0.1}}, "has InversionTime = -0.1"),
        ("MESE", {3: {"EchoTime": "0.04"}}, "has EchoTime = '0.04'"),
        ("MESE", {3: {"EchoTime": True}}, "has EchoTime = True"),
        ("VFA", {1: {"FlipAngle": 361}}, "has FlipAngle = 361; give degrees above 0 up to 360"),
    ],
)
def test_times_that_cannot_be_are_refused(suffix, changes, words, tmp_path):
    tree(tmp_path, suffix, changes=changes)
    with pytest.raises(InputError, match=words):
        read_collection(find_collections(tmp_path)[0])


@pytest.mark.parametrize(("suffix", "key"), [("MESE", "EchoTime"), ("VFA", "PulseSequenceType"), ("MP2RAGE", "NumberShots")])
def test_a_required_key_that_is_missing_is_named(suffix, key, tmp_path):
    paths = tree(tmp_path, suffix)
    sidecar = paths[1].with_name(paths[1].name.replace(".nii.gz", ".json"))
    content = json.loads(sidecar.read_text())
    del content[key]
    sidecar.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"has no {key}, which {suffix} needs"):
        read_collection(find_collections(tmp_path)[0])
    assert any(f"has no {key}" in fault for fault in bids_faults(tmp_path))


def test_what_is_no_collection_is_refused(tmp_path):
    paths = tree(tmp_path)
    paths[1].unlink()
    with pytest.raises(InputError, match="lacks echo 2 of 3; add the missing file"):
        read_collection(find_collections(tmp_path)[0])
    write_nifti(paths[1], image(2, (2, 3, 5)), AFFINE, sidecar={"EchoTime": 0.02}, force=True)
    with pytest.raises(InputError, match="has another shape or position"):
        read_collection(find_collections(tmp_path)[0])
    write_nifti(paths[1], np.stack([image(2)] * 2), AFFINE, sidecar={"EchoTime": [0.02, 0.03]}, force=True)
    with pytest.raises(InputError, match="holds 2 images"):
        read_collection(find_collections(tmp_path)[0])
    write_nifti(paths[1].with_name(paths[1].name.removesuffix(".gz")), image(2), AFFINE)
    with pytest.raises(InputError, match="is a second file of echo 2"):
        read_collection(find_collections(tmp_path)[0])


def test_complex_parts(tmp_path):
    entity, sidecars = RECIPES["MEGRE"]
    for number, sidecar in enumerate(sidecars, 1):
        for part, values, units in (("mag", image(number), "arbitrary"), ("phase", image(9 + number), "rad")):
            path = tmp_path / "sub-01" / "anat" / f"sub-01_{entity}-{number}_part-{part}_MEGRE.nii"
            write_nifti(path, values, AFFINE, sidecar=sidecar | {"Units": units})
    (collection,) = find_collections(tmp_path)
    assert np.array_equal(read_collection(collection).data[1], image(2))
    made = read_collection(collection, part="complex").data[1]
    np.testing.assert_allclose(made, image(2) * np.exp(1j * image(11)), rtol=1e-6)
    with pytest.raises(InputError, match="has no part real, only mag, phase"):
        read_collection(collection, part="real")
    sidecar = tmp_path / "sub-01" / "anat" / "sub-01_echo-2_part-phase_MEGRE.json"
    sidecar.write_text(json.dumps({"EchoTime": 0.002, "Units": "arbitrary"}))
    with pytest.raises(InputError, match="states Units 'arbitrary', a phase in radians is needed"):
        read_collection(collection, part="complex")


@pytest.mark.parametrize("label", ["../x", "..", "a/b", "", "01\0", "a-b"])
def test_labels_never_become_paths(label, tmp_path):
    tree(tmp_path)
    with pytest.raises(InputError, match="is no sub label; use letters and digits only"):
        find_collections(tmp_path, subjects=[label])
    with pytest.raises(InputError, match="is no sub label"):
        write_derivative(tmp_path / "out", [ParameterMap(suffix="T2map", data=image())], AFFINE, subject=label)
    assert not (tmp_path / "out").exists()


def test_an_unknown_participant_lists_the_known(tmp_path):
    tree(tmp_path)
    tree(tmp_path, subject="02", description=False)
    with pytest.raises(InputError, match=r"participant '03': is not in .*, which has 01, 02; choose one"):
        find_collections(tmp_path, subjects=["sub-03"])
    assert [c.subject for c in find_collections(tmp_path, subjects=["sub-02"])] == ["02"]
    with pytest.raises(InputError, match="collection 'MESSE': is unknown; choose from MESE"):
        find_collections(tmp_path, suffixes=["MESSE"])


def test_links_that_lead_out_or_nowhere_are_refused_and_cycles_do_not_matter(tmp_path):
    root = tmp_path / "data"
    paths = tree(root)
    (root / "sub-01" / "loop").symlink_to(root)
    assert len(find_collections(root)) == 1
    content = paths[2].read_bytes()
    (root / ".git").mkdir()
    (root / ".git" / "object").write_bytes(content)
    paths[2].unlink()
    paths[2].symlink_to("../../.git/object")  # as git annex does
    assert read_collection(find_collections(root)[0]).n_contrasts == 3
    (root / ".git" / "object").unlink()
    with pytest.raises(InputError, match="is a link to nothing"):
        find_collections(root)
    (tmp_path / "outside.nii.gz").write_bytes(content)
    paths[2].unlink()
    paths[2].symlink_to(tmp_path / "outside.nii.gz")
    with pytest.raises(InputError, match="is a link that leads out of the data set"):
        find_collections(root)


@given(
    entities=st.lists(st.sampled_from(ENTITIES), unique=True, min_size=1, max_size=6),
    number=st.integers(0, 99),
    suffix=st.sampled_from(["MESE", "T1map"]),
)
def test_names_are_rendered_and_parsed(entities, number, suffix):
    name = Name(entities={e: str(number) for e in entities}, suffix=suffix, extension=".nii.gz")
    again = parse_name(name.render())
    assert again.entities == {e: name.entities[e] for e in sorted(entities, key=ENTITIES.index)}
    assert (again.suffix, again.extension) == (suffix, ".nii.gz")


@pytest.mark.parametrize(
    "name",
    ["x.txt", "sub-01_MESE.nii.gz.bak", "sub-01_sub-02_MESE.nii", "sub-_MESE.nii", "foo-1_MESE.nii", "sub-01_echo-a_MESE.nii"],
)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InputError, match=r"in its name|is no BIDS file name"):
        parse_name(name)


def test_names_and_collections_are_those_of_ancpbids(tmp_path):
    ancpbids = pytest.importorskip("ancpbids")
    for suffix in RECIPES:
        tree(tmp_path, suffix, session="a", prefix="_acq-x_run-2")
    layout = ancpbids.BIDSLayout(str(tmp_path))
    for suffix in RECIPES:
        ours = sorted(str(f) for c in find_collections(tmp_path, suffixes=[suffix]) for f in c.files)
        theirs = sorted(layout.get(suffix=suffix, extension=".nii.gz", return_type="filename"))
        assert [Path(f).name for f in ours] == [Path(f).name for f in theirs]
        for artifact in layout.get(suffix=suffix, extension=".nii.gz", return_type="object"):
            name = parse_name(artifact.name)
            theirs_entities = {k: str(v) for k, v in artifact.get_entities().items()}
            assert {k: v.lstrip("0") for k, v in name.entities.items()} == {k: v.lstrip("0") for k, v in theirs_entities.items()}


@pytest.mark.integration
def test_one_subject_of_a_thousand_is_found_without_a_look_at_the_others(tmp_path):
    """What ancpbids finds with an index of the whole data set is found in a hundredth of its time for one subject."""
    ancpbids = pytest.importorskip("ancpbids")
    content = tree(tmp_path / "one")[0].read_bytes()
    root = tmp_path / "many"
    for number in range(1000):
        folder = root / f"sub-{number:04d}" / "anat"
        folder.mkdir(parents=True)
        for echo in (1, 2, 3):
            (folder / f"sub-{number:04d}_echo-{echo}_MESE.nii.gz").write_bytes(content)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.11.1"}))
    start = time.process_time()
    theirs = ancpbids.BIDSLayout(str(root)).get(suffix="MESE", extension=".nii.gz", return_type="filename")
    with_index = time.process_time() - start
    start = time.process_time()
    (collection,) = find_collections(root, subjects=["0777"])
    assert time.process_time() - start < with_index / 100
    assert [f.name for f in collection.files] == sorted(Path(f).name for f in theirs if "sub-0777" in f)
    assert sorted(f.name for c in find_collections(root) for f in c.files) == sorted(Path(f).name for f in theirs)


def maps(seed=0):
    return [
        ParameterMap(suffix="T2map", data=image(seed)),
        ParameterMap(suffix="T2map", desc="std", data=image(seed + 1)),
        ParameterMap(suffix="T2map", desc="status", data=np.zeros((2, 3, 4), np.uint8)),
        ParameterMap(suffix="M0map", data=image(seed + 2), sidecar={"EchoTime": list(TE)}),
    ]


def test_maps_are_written_and_come_back(tmp_path):
    source = tmp_path / "raw"
    tree(source)
    folder = source / "derivatives" / "maps"
    written = write_derivative(
        folder,
        maps(),
        AFFINE,
        subject="01",
        session="pre",
        entities={"acq": "fast"},
        sources=["bids:raw:sub-01/anat/sub-01_echo-1_MESE.nii.gz"],
        algorithm="variable projection",
        reference="doi 10.1002/x",
        generated_by={"Name": "puq-qmri", "Version": "1.0"},
        source_dataset=source,
    )
    assert [p.name for p in written[:2]] == [
        "sub-01_ses-pre_acq-fast_T2map.nii.gz",
        "sub-01_ses-pre_acq-fast_desc-std_T2map.nii.gz",
    ]
    assert written[0].parent == folder / "sub-01" / "ses-pre" / "anat"
    back = read_nifti(written[0])
    assert np.array_equal(back.data[0], image(0))
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-9)
    sidecar = json.loads(written[0].with_name(written[0].name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Units"] == "s"
    assert sidecar["EstimationAlgorithm"] == "variable projection"
    assert sidecar["Sources"] == ["bids:raw:sub-01/anat/sub-01_echo-1_MESE.nii.gz"]
    description = json.loads((folder / "dataset_description.json").read_text())
    assert (description["DatasetType"], description["GeneratedBy"][0]["Name"]) == ("derivative", "puq-qmri")
    assert bids_faults(folder) == []
    assert describe_bids(folder)["maps"] == {"T2map": 3, "M0map": 1}
    # A second subject joins, the first stays; existing maps need force.
    write_derivative(folder, maps(5), AFFINE, subject="02")
    with pytest.raises(OutputExistsError):
        write_derivative(folder, maps(7), AFFINE, subject="02")
    assert len(list(folder.rglob("*.nii.gz"))) == 8


def test_what_would_be_a_wrong_derivative_is_refused(tmp_path):
    source = tmp_path / "raw"
    tree(source)
    one = [ParameterMap(suffix="T2map", data=image())]
    for folder, planned, words in (
        (source, one, "lies in the source data set"),
        (source / "sub-01" / "out", one, "lies in the source data set"),
        (tmp_path / "a", [], "are none or have one name twice"),
        (tmp_path / "a", one * 2, "are none or have one name twice"),
        (tmp_path / "a", [ParameterMap(suffix="T2map", data=image(), unit="ms")], "BIDS fixes s, convert the values"),
        (tmp_path / "a", [ParameterMap(suffix="MTRmap", data=image())], "has no unit"),
        (tmp_path / "a", [ParameterMap(suffix="T2map", data=image(), desc="a_b")], "in its name"),
    ):
        with pytest.raises(InputError, match=words):
            write_derivative(folder, planned, AFFINE, subject="01", source_dataset=source)
    with pytest.raises(InputError, match="states DatasetType None"):
        write_derivative(source, one, AFFINE, subject="01")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="is not empty and no BIDS data set"):
        write_derivative(tmp_path / "full", one, AFFINE, subject="01")
    assert not (tmp_path / "a").exists()


def test_faults_of_a_data_set_are_named(tmp_path):
    paths = tree(tmp_path, description=False)
    write_nifti(paths[0].with_name("sub-01_T1map.nii"), image(), AFFINE, sidecar={"Units": "ms"})
    faults = bids_faults(tmp_path)
    assert "dataset_description.json is missing" in faults
    assert "sub-01_T1map.nii: states Units 'ms' where BIDS has s" in faults
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "Name": "y"}')
    assert "dataset_description.json: states 'Name' twice" in bids_faults(tmp_path)


def test_a_data_set_is_recognised_described_opened_and_checked(tmp_path):
    assert not is_bids(tmp_path)
    tree(tmp_path)
    assert is_bids(tmp_path)
    facts = describe(tmp_path)
    assert (facts["format"], facts["subjects"], facts["collections"]) == ("bids-folder", 1, {"MESE": 3 // 3})
    assert find_faults(tmp_path) == []
    assert medcore.open(tmp_path).times["te"].tolist() == list(TE)
    tree(tmp_path, subject="02", description=False)
    with pytest.raises(InputError, match="holds 2 collections"):
        medcore.open(tmp_path)
    assert medcore.open(tmp_path, subject="02").meta["subject"] == "02"


@pytest.mark.integration
def test_the_prostate_series_as_a_collection(data_root, tmp_path):
    original = read_nifti(data_root / "prostate-t2" / "invivo_000198.nii.gz", times={})
    times = [0.0264 + 0.0132 * k for k in range(10)]
    for k, te in enumerate(times):
        path = tmp_path / "sub-p198" / "anat" / f"sub-p198_echo-{k + 1:02d}_MESE.nii.gz"
        write_nifti(path, original.data[k], original.affine, sidecar={"EchoTime": te})
    series = read_collection(find_collections(tmp_path)[0])
    assert np.array_equal(series.data, original.data)
    np.testing.assert_allclose(series.times["te"], times)


def test_a_folder_of_derivatives_is_described_once_and_links_its_source(tmp_path: Path) -> None:
    source, folder = tmp_path / "raw", tmp_path / "maps"
    source.mkdir()
    check_derivative(folder, source)
    assert not folder.exists()
    describe_derivative(folder, name="first", generated_by={"Name": "x", "Version": "1"}, source_dataset=source)
    describe_derivative(folder, name="second", source_dataset=source)
    stored = json.loads((folder / "dataset_description.json").read_text())
    assert (stored["Name"], stored["DatasetType"], stored["DatasetLinks"]) == ("first", "derivative", {"raw": "../raw"})
    assert source_uris([source / "sub-1" / "a.nii", folder / "b.nii"], folder, source) == ["bids:raw:sub-1/a.nii", "bids::b.nii"]
    for bad, match in ((source, "lies in the source"), (source / "sub-1", "lies in the source"), (tmp_path, "is not empty")):
        with pytest.raises(InputError, match=match):
            describe_derivative(bad, source_dataset=source)
