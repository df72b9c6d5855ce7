"""Conversions: what comes through, what is lost and said, what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import medcore
from medcore.convert import IMAGE_TARGETS, Options, _Losses, convert
from medcore.errors import ConfigError, InputError, OutputExistsError
from medcore.io import ImageSeries, KSpace, read_ismrmrd, read_nifti, write_ismrmrd, write_nifti

AFFINE = np.array([[0, -2e-3, 0, 0.1], [1.5e-3, 0, 0, -0.05], [0, 0, 4e-3, 0.02], [0, 0, 0, 1.0]])


@pytest.fixture
def series(tmp_path, rng):
    data = rng.standard_normal((3, 2, 5, 4)).astype(np.float32)
    write_nifti(tmp_path / "in.nii.gz", data, AFFINE, sidecar={"EchoTime": [0.01, 0.02, 0.04], "FlipAngle": 90})
    return tmp_path / "in.nii.gz"


@pytest.fixture
def scan(tmp_path, rng):
    data = (rng.standard_normal((2, 3, 1, 6, 8)) + 1j * rng.standard_normal((2, 3, 1, 6, 8))).astype(np.complex64)
    kspace = KSpace(data=data, matrix=(1, 6, 8), fov=(0.005, 0.2, 0.2), times={"te": [0.01, 0.03]}, noise=data[0, :, 0, 0])
    write_ismrmrd(tmp_path / "in.h5", kspace)
    return tmp_path / "in.h5"


def test_images_keep_values_times_and_place(series, tmp_path):
    done = convert(series, tmp_path / "out" / "b.nii")
    before, after = read_nifti(series), read_nifti(tmp_path / "out" / "b.nii")
    assert np.array_equal(before.data, after.data)
    np.testing.assert_allclose(before.affine, after.affine, atol=1e-9)
    for key in ("te", "flip_angle"):
        np.testing.assert_allclose(before.times[key], after.times[key], rtol=1e-12)
    assert (done.kind, done.content, done.lost, done.changed) == ("nifti", "images", (), ())


def test_k_space_keeps_everything(scan, tmp_path):
    convert(scan, tmp_path / "b.mrd")
    before, after = read_ismrmrd(scan), read_ismrmrd(tmp_path / "b.mrd")
    assert np.array_equal(before.data, after.data)
    assert np.array_equal(before.noise, after.noise)
    assert np.array_equal(before.times["te"], after.times["te"])


@pytest.mark.parametrize(("kind", "words"), [("series", ("position and orientation", "times (te, flip_angle)")), ("scan", None)])
def test_what_an_array_cannot_hold_is_said(kind, words, request, tmp_path):
    source = request.getfixturevalue(kind)
    done = convert(source, tmp_path / "b.npy")
    assert done.lost == (words or ("position and orientation", "times (te)", "noise scan"))
    assert np.array_equal(np.load(tmp_path / "b.npy"), medcore.open(source).data)


def test_a_dry_run_and_a_refusal_write_nothing(series, scan, tmp_path):
    before = sorted(tmp_path.iterdir())
    assert convert(series, tmp_path / "b.nii", dry_run=True).shape == (3, 2, 5, 4)
    for source, target, kind, words in (
        (series, "b.h5", ConfigError, r"no suffix that names a format for images; use one of .nii/.nii.gz \(nifti\)"),
        (scan, "b.nii", ConfigError, "no suffix that names a format for k-space"),
        (series, "in.nii.gz", ConfigError, "is the source itself"),
        (tmp_path / "absent", "b.nii", InputError, "does not exist"),
    ):
        with pytest.raises(kind, match=words):
            convert(source, tmp_path / target)
    with pytest.raises(ConfigError, match="target for images 'niftii': is not one of nifti"):
        convert(series, tmp_path / "b.nii", to="niftii")
    assert sorted(tmp_path.iterdir()) == before


def test_existing_targets_need_force(series, tmp_path):
    (tmp_path / "b.nii").write_text("precious")
    with pytest.raises(OutputExistsError):
        convert(series, tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_text() == "precious"
    convert(series, tmp_path / "b.nii", options=Options(force=True))
    assert isinstance(medcore.open(tmp_path / "b.nii"), ImageSeries)


def test_a_map_joins_a_bids_data_set(tmp_path, rng):
    values = rng.random((2, 3, 4), dtype=np.float32)
    write_nifti(tmp_path / "t2.nii", values, AFFINE)
    for subject in ("01", "02"):
        options = Options(quantity="T2map", subject=subject)
        convert(tmp_path / "t2.nii", tmp_path / "maps", to="bids", options=options)
    written = read_nifti(tmp_path / "maps" / "sub-02" / "anat" / "sub-02_T2map.nii.gz")
    assert np.array_equal(written.data[0], values)
    assert written.meta["units"] == "s"
    with pytest.raises(ConfigError, match="--to bids: needs the suffix of the map and a subject"):
        convert(tmp_path / "t2.nii", tmp_path / "maps", to="bids")
    with pytest.raises(OutputExistsError):
        convert(tmp_path / "t2.nii", tmp_path / "maps", to="bids", options=Options(quantity="T2map", subject="02"))


def test_a_series_is_no_map(series, tmp_path):
    with pytest.raises(InputError, match="has 3 images, a map is one"):
        convert(series, tmp_path / "maps", to="bids", options=Options(quantity="T2map", subject="1"))
    assert not (tmp_path / "maps").exists()


def test_a_value_changes_only_when_asked(tmp_path, rng):
    parts = rng.standard_normal((2, 1, 2, 3, 4)).astype(np.float32)
    data = (parts[0] + 1j * parts[1]).astype(np.complex64)
    write_nifti(tmp_path / "a.nii", data, AFFINE)
    given = {"quantity": "QSM", "unit": "1", "subject": "01"}
    for kind, name in (("parametric-map", "a.dcm"), ("bids", "maps")):
        options = Options(**given | ({"quantity": "M0map", "unit": None} if kind == "bids" else {}))
        with pytest.raises(InputError, match=f"would change in {kind}: complex values become magnitudes; add --lossy"):
            convert(tmp_path / "a.nii", tmp_path / name, to=kind, options=options)
        assert not (tmp_path / name).exists()
        done = convert(tmp_path / "a.nii", tmp_path / name, to=kind, options=dataclasses.replace(options, lossy=True))
        assert done.changed == ("complex values become magnitudes",)
    assert np.array_equal(medcore.open(tmp_path / "a.dcm").data, np.abs(data))


def test_what_a_sidecar_has_no_key_for_is_said(tmp_path):
    item = ImageSeries(data=np.ones((1, 1, 2, 2), np.float32), affine=AFFINE, meta={"vendor": "ACME", "body_part": "KNEE"})
    losses = _Losses()
    IMAGE_TARGETS["nifti"].check(item, Options(), losses)
    assert losses.lost == ["facts of the header (body_part)"]


def test_complex_images_as_an_array_become_k_space(tmp_path):
    write_nifti(tmp_path / "a.nii", np.ones((1, 2, 3, 4), np.complex64) * 1j, AFFINE)
    assert any("read as k-space" in fact for fact in convert(tmp_path / "a.nii", tmp_path / "a.npy").lost)


@pytest.mark.parametrize(("to", "words"), [("parametric-map", "needs quantity and unit"), ("bids", "needs the suffix")])
def test_what_a_target_needs_is_asked_for_before_anything_is_written(to, words, series, tmp_path):
    with pytest.raises(ConfigError, match=words):
        convert(series, tmp_path / "out", to=to, dry_run=True)


def test_the_input_is_never_written_to(series, scan, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    convert(series, folder / "sub-1_MESE.nii")
    with pytest.raises(ConfigError, match="lies in the source folder"):
        convert(folder, folder / "deep" / "out.nii")
    convert(scan, tmp_path / "pair.cfl")
    with pytest.raises(ConfigError, match="is the source itself"):
        convert(tmp_path / "pair.cfl", tmp_path / "pair.hdr", options=Options(force=True))
    (tmp_path / "link.nii.gz").symlink_to(series)
    with pytest.raises(ConfigError, match="is the source itself"):
        convert(tmp_path / "link.nii.gz", series, options=Options(force=True))


@pytest.mark.integration
def test_the_command_says_what_it_did(series, tmp_path, run_cli):
    done = run_cli("convert", series, tmp_path / "b.npy")
    assert done.returncode == 0, done.stderr
    assert "not kept: position and orientation" in done.stdout
    again = run_cli("convert", series, tmp_path / "b.npy")
    assert (again.returncode, again.stderr.count("\n")) == (3, 1)
    facts = json.loads(run_cli("convert", series, tmp_path / "c.nii", "--dry-run", "--json").stdout)
    assert facts["dry_run"] is True
    assert facts["kind"] == "nifti"
    assert not (tmp_path / "c.nii").exists()


@pytest.mark.integration
def test_a_radial_scan_goes_through_a_bart_pair_and_back(tmp_path, rng, run_cli):
    radius = np.linspace(-np.pi, np.pi, 8, endpoint=False)
    traj = np.stack([radius * np.sin(1.0), radius * np.cos(1.0)], axis=-1).astype(np.float32)[None, None]
    data = (rng.standard_normal((1, 2, 1, 8)) + 1j).astype(np.complex64)
    before = KSpace(data=data, traj=traj, matrix=(1, 8, 8), fov=(0.005, 0.2, 0.2))
    write_ismrmrd(tmp_path / "in.h5", before)
    assert run_cli("convert", tmp_path / "in.h5", tmp_path / "pair.cfl").returncode == 0
    done = run_cli("convert", tmp_path / "pair.cfl", tmp_path / "out.h5", "--traj", tmp_path / "pair_traj")
    assert done.returncode == 0, done.stderr
    after = read_ismrmrd(tmp_path / "out.h5")
    assert np.array_equal(after.data, data)
    np.testing.assert_allclose(after.traj, traj, atol=2e-6)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["siemens-xa-enhanced", "dicom-transfer-syntaxes/3.dcm", "philips-enhanced-mr/PARREC/T1.PAR"])
def test_real_scans_survive_conversion(name, data_root, tmp_path):
    convert(data_root / name, tmp_path / "a.nii.gz")
    before, after = medcore.open(data_root / name), read_nifti(tmp_path / "a.nii.gz")
    assert np.array_equal(before.data, after.data)
    np.testing.assert_allclose(before.affine, after.affine, atol=1e-7)
    for key in before.times:
        np.testing.assert_allclose(before.times[key], after.times[key], rtol=1e-10)
