"""De-identification of files and folders: identifiers, what is refused, faults, real images that must still read the same."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset

from medcore.atomic import verify_directory
from medcore.errors import ConfigError, DiskFullError, InputError, OutputExistsError
from medcore.io import list_series, read_dicom
from medcore.io.deidentify import REPORT, DeidentifyOptions, deidentify
from medcore.io.parametric_map import read_parametric_map, write_parametric_map

KEY = b"0123456789abcdef"


def _folder(folder: Path, save: Callable[..., Path], datasets: list[FileDataset]) -> Path:
    folder.mkdir()
    for number, dataset in enumerate(datasets):
        save(dataset, folder / f"Secret_Person_{number}.dcm")
    return folder


def _outputs(folder: Path) -> Iterator[Dataset]:
    for path in sorted(folder.rglob("*.dcm")):
        yield pydicom.dcmread(path)


def test_identifiers_are_consistent_in_a_run_and_across_runs_with_one_key(
    tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    slices = [classic_dicom(z=5.0 * z) for z in range(3)]
    slices[0].ReferencedImageSequence = [Dataset()]
    slices[0].ReferencedImageSequence[0].ReferencedSOPClassUID = slices[1].SOPClassUID
    slices[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = slices[1].SOPInstanceUID
    other = classic_dicom(PatientID="someone-else", StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1")
    source = _folder(tmp_path / "in", save_dicom, [*slices, other])
    keyed = DeidentifyOptions(key=KEY)
    report = deidentify(source, tmp_path / "a", keyed)
    assert (len(report.files), report.subjects, report.studies, report.series) == (4, 2, 2, 2)
    again = deidentify(source, tmp_path / "b", keyed)
    assert again.files == report.files
    assert [p.read_bytes() for p in sorted((tmp_path / "a").rglob("*.dcm"))] == [
        p.read_bytes() for p in sorted((tmp_path / "b").rglob("*.dcm"))
    ]
    fresh = deidentify(source, tmp_path / "c")
    assert not set(fresh.files) & set(report.files)
    found = list(_outputs(tmp_path / "a"))
    named = [d.ReferencedImageSequence[0].ReferencedSOPInstanceUID for d in found if "ReferencedImageSequence" in d]
    assert len(named) == 1
    assert named[0] in {d.SOPInstanceUID for d in found}
    assert all(d.SOPClassUID == slices[0].SOPClassUID and d.SOPInstanceUID.startswith("2.25.") for d in found)
    assert not any("Secret" in str(p) for p in (tmp_path / "a").rglob("*"))
    verify_directory(tmp_path / "a")


def test_shifted_dates_keep_intervals_and_differ_between_subjects(
    tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    visits = [
        classic_dicom(StudyDate=d, AcquisitionDateTime=f"{d}101500.5+0100", PatientBirthDate="19670812")
        for d in ("20200228", "20200301")
    ]
    visits.append(classic_dicom(StudyDate="20200228", PatientID="someone-else"))
    deidentify(_folder(tmp_path / "in", save_dicom, visits), tmp_path / "out", DeidentifyOptions(key=KEY, dates="shift"))
    days: dict[str, list[np.datetime64]] = {}
    for dataset in _outputs(tmp_path / "out"):
        day = dataset.StudyDate
        days.setdefault(dataset.PatientID, []).append(np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}"))
        assert dataset.PatientBirthDate == ""
        if "AcquisitionDateTime" in dataset:
            assert dataset.AcquisitionDateTime == f"{day}101500.5"
    two = next(d for d in days.values() if len(d) == 2)
    one = next(d for d in days.values() if len(d) == 1)
    assert max(two) - min(two) == np.timedelta64(2, "D")
    assert min(two) < np.datetime64("2019-03-01")
    assert min(two) != one[0]


def test_burned_in_text_is_refused_or_flagged(
    tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    source = save_dicom(classic_dicom(BurnedInAnnotation="YES", BodyPartExamined="HEAD"), tmp_path / "in.dcm")
    with pytest.raises(InputError, match=r"text is burned into its pixels.*--accept-burned-in-text"):
        deidentify(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = deidentify(source, tmp_path / "out", DeidentifyOptions(accept_burned_in=True))
    assert any("burned into the pixels" in flag for flag in report.flags)
    assert any("face" in flag for flag in report.flags)
    capture = save_dicom(classic_dicom(ConversionType="WSD"), tmp_path / "capture.dcm")
    assert any("does not say that it has none" in flag for flag in deidentify(capture, tmp_path / "second").flags)
    assert deidentify(save_dicom(classic_dicom(), tmp_path / "mr.dcm"), tmp_path / "third").flags == {}


def _report_object(base: FileDataset) -> FileDataset:
    del base.PixelData
    base.SOPClassUID = base.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    return base


def test_what_is_no_image_is_not_copied_and_counted(
    tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    source = _folder(tmp_path / "in", save_dicom, [classic_dicom(), _report_object(classic_dicom())])
    (source / "notes.txt").write_text("Secret Person, born 1967")
    outside = save_dicom(classic_dicom(z=5.0), tmp_path / "outside.dcm")
    (source / "link.dcm").symlink_to(outside)
    (source / "loop").symlink_to(source)
    report = deidentify(source, tmp_path / "out")
    assert (len(report.files), report.other_files, report.links) == (1, 1, 2)
    assert report.not_taken == {"Basic Text SR Storage": 1}
    assert sorted(p.name for p in (tmp_path / "out").iterdir())[-2:] == [REPORT, "manifest.json"]
    with pytest.raises(InputError, match="is Basic Text SR Storage, which holds text"):
        deidentify(source / "Secret_Person_1.dcm", tmp_path / "single")
    (source / "Secret_Person_0.dcm").unlink()
    with pytest.raises(InputError, match="no DICOM image but 1 Basic Text SR Storage"):
        deidentify(source, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_report_has_counts_and_no_values(
    tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    dataset = classic_dicom(InstitutionName="Geheim Hospital")
    dataset.private_block(0x29, "GEHEIM INC", create=True).add_new(0x10, "LO", "Geheim")
    report = deidentify(_folder(tmp_path / "in", save_dicom, [dataset]), tmp_path / "out")
    text = (tmp_path / "out" / REPORT).read_text()
    assert json.loads(text) == report.as_dict()
    for value in ("eheim", "GEHEIM", "secret", "Secret", "1.2.3", str(tmp_path)):
        assert value not in text
    assert report.attributes["InstitutionName (0008,0080)"] == {"removed": 1}
    assert report.attributes["private (0029,1010)"] == {"removed": 1}
    assert report.attributes["EchoTime (0018,0081)"] == {"kept": 1}
    assert report.attributes["PatientID (0010,0020)"] == {"replaced": 1}


def test_duplicates_are_left_out_and_contradictions_refused(
    tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    dataset = classic_dicom()
    source = _folder(tmp_path / "in", save_dicom, [dataset, dataset])
    assert deidentify(source, tmp_path / "out").duplicates == 1
    dataset.EchoTime = 99.0
    save_dicom(dataset, source / "third.dcm")
    with pytest.raises(InputError, match="SOPInstanceUID of another file that differs"):
        deidentify(source, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_one_damaged_file_stops_everything(
    tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    source = _folder(tmp_path / "in", save_dicom, [classic_dicom(), classic_dicom(z=5.0)])
    whole = (source / "Secret_Person_1.dcm").read_bytes()
    refused = 0
    for end in range(160, len(whole), 16):
        (source / "Secret_Person_1.dcm").write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"Secret_Person_1\.dcm") as caught:
            deidentify(source, tmp_path / "out")
        assert "secret-17" not in str(caught.value)
        refused += 1
    assert refused > 30
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PixelData": b"\0" * 60}, "60 bytes of pixels where its header says 48"),
        ({"PixelData": None}, "0 kinds of pixel data"),
        ({"SOPInstanceUID": None}, "lacks SOPInstanceUID|damaged|cannot be read"),
        ({"SOPClassUID": "1.2.3"}, "an object of an unknown class"),
    ],
)
def test_files_that_are_not_whole_images_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    source = save_dicom(classic_dicom(**change), tmp_path / "in.dcm")
    with pytest.raises(InputError, match=message):
        deidentify(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_deep_sequences_are_refused(tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]) -> None:
    item = Dataset()
    for _ in range(40):
        outer = Dataset()
        outer.ReferencedImageSequence = [item]
        item = outer
    source = save_dicom(classic_dicom(ReferencedImageSequence=[item]), tmp_path / "in.dcm")
    with pytest.raises(InputError, match="nests sequences too deeply"):
        deidentify(source, tmp_path / "out")


def test_mutated_files_are_refused_or_cleaned(
    tmp_path: Path, enhanced_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    content = save_dicom(enhanced_dicom(), tmp_path / "good.dcm").read_bytes()
    target, rng, done = tmp_path / "bad.dcm", np.random.default_rng(3), 0
    for number in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(0, 256)
        target.write_bytes(damaged)
        try:
            deidentify(target, tmp_path / f"out{number}", dry_run=True)
            done += 1
        except InputError:
            continue
        finally:
            assert target.read_bytes() == damaged
    assert 0 < done < 200
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.dcm", "good.dcm"]


def test_outputs_are_never_mixed_with_others(
    tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    source = _folder(tmp_path / "in", save_dicom, [classic_dicom()])
    for inside in (source / "out", source, tmp_path):
        with pytest.raises(ConfigError, match="lies within"):
            deidentify(source, inside)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(OutputExistsError):
        deidentify(source, tmp_path / "taken")
    first = deidentify(source, tmp_path / "out")
    with pytest.raises(OutputExistsError):
        deidentify(source, tmp_path / "out")
    second = deidentify(source, tmp_path / "out", force=True)
    assert first.files != second.files
    assert [p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.dcm")] == list(second.files)


def test_a_full_disk_leaves_nothing(tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]) -> None:
    source = _folder(tmp_path / "in", save_dicom, [classic_dicom(), classic_dicom(z=5.0)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(DiskFullError):
            deidentify(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_dry_run_reports_the_same_and_writes_nothing(
    tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path]
) -> None:
    source = _folder(tmp_path / "in", save_dicom, [classic_dicom(), classic_dicom(z=5.0)])
    would = deidentify(source, tmp_path / "out", DeidentifyOptions(key=KEY), dry_run=True).as_dict()
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    did = deidentify(source, tmp_path / "out", DeidentifyOptions(key=KEY)).as_dict()
    assert would | {"dry_run": False} == did


@pytest.mark.parametrize(("options", "message"), [({"key": b"short"}, "5 bytes, which can be guessed")])
def test_weak_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DeidentifyOptions(**options)


def test_a_parametric_map_reads_the_same_afterwards(tmp_path: Path, rng: np.random.Generator) -> None:
    from medcore.io import ImageSeries

    data = rng.uniform(0.1, 2, (2, 3, 4, 5)).astype(np.float32)
    series = ImageSeries(data=data, affine=np.diag([1e-3, 2e-3, 3e-3, 1]))
    write_parametric_map(tmp_path / "map.dcm", series, quantity=["T1", "T2"], unit="s")
    report = deidentify(tmp_path / "map.dcm", tmp_path / "out")
    before, after = read_parametric_map(tmp_path / "map.dcm"), read_parametric_map(tmp_path / "out" / report.files[0])
    np.testing.assert_array_equal(after.data, before.data)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.meta == before.meta


REAL = ("siemens-mese-dicom", "siemens-xa-enhanced", "philips-enhanced-mr/DICOM", "dicom-transfer-syntaxes")


@pytest.mark.integration
@pytest.mark.parametrize("name", REAL)
def test_real_images_read_the_same_afterwards(name: str, data_root: Path, tmp_path: Path) -> None:
    source = data_root / name
    hashes = {p: hashlib.sha256(p.read_bytes()).digest() for p in source.rglob("*.dcm")}
    report = deidentify(source, tmp_path / "out", DeidentifyOptions(key=KEY))
    assert len(report.files) == len(hashes) - report.duplicates
    assert {p: hashlib.sha256(p.read_bytes()).digest() for p in hashes} == hashes
    pairs = 0
    new = {str(d.SOPInstanceUID): d for d in _outputs(tmp_path / "out")}
    from medcore.io.deidentify.identity import Pseudonyms

    for path in hashes:
        old = pydicom.dcmread(path)
        clean = new[Pseudonyms(KEY).uid(str(old.SOPInstanceUID))]
        np.testing.assert_array_equal(old.pixel_array, clean.pixel_array)
        for text in (str(old.PatientName), str(old.PatientID), str(old.StudyInstanceUID), str(old.get("InstitutionName") or "")):
            assert len(text) < 4 or text.encode() not in Path(clean.filename).read_bytes()
        if "MOSAIC" in old.ImageType:
            continue
        before, after = read_dicom(path), read_dicom(clean.filename)
        np.testing.assert_array_equal(after.data, before.data)
        np.testing.assert_array_equal(after.affine, before.affine)
        assert {k: v.tolist() for k, v in after.times.items()} == {k: v.tolist() for k, v in before.times.items()}
        pairs += 1
    assert pairs or name == "dicom-transfer-syntaxes"


@pytest.mark.integration
def test_a_real_series_reads_the_same_afterwards(data_root: Path, tmp_path: Path) -> None:
    source = data_root / "siemens-mese-dicom"
    deidentify(source, tmp_path / "out")
    before = max(list_series(source), key=lambda s: s.n_files)
    after = max(list_series(tmp_path / "out"), key=lambda s: s.n_files)
    old, new = (read_dicom(s.paths, incomplete="drop") for s in (before, after))
    np.testing.assert_array_equal(new.data, old.data)
    np.testing.assert_array_equal(new.affine, old.affine)
    assert new.times["te"].tolist() == old.times["te"].tolist()


@pytest.mark.integration
def test_command_line(
    tmp_path: Path, classic_dicom: Callable[..., Any], save_dicom: Callable[..., Path], run_cli: Callable[..., Any]
) -> None:
    source = _folder(tmp_path / "in", save_dicom, [classic_dicom(), classic_dicom(z=5.0)])
    dry = run_cli("deidentify", source, tmp_path / "out", "--dry-run")
    assert (dry.returncode, "would write 2 files" in dry.stdout, (tmp_path / "out").exists()) == (0, True, False)
    (tmp_path / "key").write_bytes(KEY)
    done = run_cli("deidentify", source, tmp_path / "out", "--json", "--key-file", tmp_path / "key", "--dates", "shift")
    facts = json.loads(done.stdout)
    assert (done.returncode, len(facts["files"]), facts["subjects"]) == (0, 2, 1)
    assert all(set(Path(f).stem) <= set(string.digits + ".") for f in facts["files"])
    again = run_cli("deidentify", source, tmp_path / "out")
    assert (again.returncode, again.stderr.count("\n")) == (3, 1)
    absent = run_cli("deidentify", tmp_path / "absent", tmp_path / "other")
    assert (absent.returncode, absent.stderr.count("\n")) == (2, 1)
    assert "does not exist" in absent.stderr
