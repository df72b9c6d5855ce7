"""De-identification: the standard's own table as the referee, planted secrets, real files that must still read the same."""

from __future__ import annotations

import copy
import hashlib
import importlib
import io
import json
import resource
import signal
import string
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag

from medcore.atomic import verify_directory
from medcore.errors import ConfigError, DiskFullError, InputError, OutputExistsError
from medcore.io import list_series, read_dicom
from medcore.io.deidentify import REPORT, DeidentifyOptions, deidentify
from medcore.io.deidentify.codestreams import blank_comments
from medcore.io.parametric_map import read_parametric_map, write_parametric_map

KEY = b"0123456789abcdef"
PLANTED = "geheim Zq47"
SAMPLES: dict[str, Any] = {
    "AE": "GEHEIMAE", "AS": "045Y", "CS": "GEHEIM4711", "DA": "19670812", "DT": "19670812112233", "TM": "112233.44",
    "PN": "Geheim^Zq47", "UI": "1.2.276.99.4711.1", "DS": "77123", "IS": "77123", "OB": b"geheim Zq47!", "OW": b"geheim Zq47!",
    "UN": b"geheim Zq47!", "US": 47111, "UL": 4711147, "SL": 4711147, "SS": 4711, "FD": 47.11, "FL": 47.11, "OF": b"geheim Zq47!",
}  # fmt: skip

# Attributes with an action X, Z, D or U in Table E.1-1 of PS3.15; those met most often.
_KNOWN_TEXT = """
AccessionNumber AcquisitionComments AcquisitionDate AcquisitionDateTime AcquisitionTime AdditionalPatientHistory AdmissionID
AdmittingDate AdmittingDiagnosesDescription AdmittingTime Allergies BranchOfService CassetteID CommentsOnThePerformedProcedureStep
ContentCreatorName ContentDate ContentTime ContrastBolusAgent ContributionDescription CountryOfResidence CurrentPatientLocation
DateOfSecondaryCapture DerivationDescription DetectorID DeviceSerialNumber DeviceUID EthnicGroup FrameComments FrameOfReferenceUID
GantryID GeneratorID IdentifyingComments ImageComments InstanceCreatorUID InstitutionAddress InstitutionName InstitutionalDepartmentName
IssuerOfPatientID LastMenstrualDate MedicalAlerts MedicalRecordLocator MilitaryRank NameOfPhysiciansReadingStudy Occupation
OperatorsName OtherPatientIDs OtherPatientNames PatientAddress PatientAge PatientBirthDate PatientBirthName PatientBirthTime
PatientComments PatientID PatientInstitutionResidence PatientMotherBirthName PatientName PatientReligiousPreference PatientSex
PatientSize PatientState PatientTelephoneNumbers PatientWeight PerformedProcedureStepDescription PerformedProcedureStepEndDate
PerformedProcedureStepID PerformedProcedureStepStartDate PerformedProcedureStepStartTime PerformedStationName PerformingPhysicianName
PhysiciansOfRecord PlateID PregnancyStatus ProtocolName ReasonForStudy ReferringPhysicianAddress ReferringPhysicianName
ReferringPhysicianTelephoneNumbers RegionOfResidence RequestedProcedureDescription RequestingPhysician RequestingService SOPInstanceUID
ScheduledPerformingPhysicianName ScheduledStationName SeriesDate SeriesDescription SeriesInstanceUID SeriesTime SmokingStatus
SpecialNeeds StationName StudyComments StudyDate StudyDescription StudyID StudyIDIssuer StudyInstanceUID StudyTime TimezoneOffsetFromUTC
VisitComments
"""
KNOWN = _KNOWN_TEXT.split()


def _run(dataset: Dataset, folder: Path, **options: Any) -> tuple[Dataset, bytes]:
    """De-identify one data set; returns the result and the bytes of its file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder.mkdir(parents=True, exist_ok=True)
        dataset.save_as(folder / "in.dcm", enforce_file_format=True)
    before = (folder / "in.dcm").read_bytes()
    report = deidentify(folder / "in.dcm", folder / "out", DeidentifyOptions(key=KEY, **options))
    assert (folder / "in.dcm").read_bytes() == before
    (name,) = report.files
    content = (folder / "out" / name).read_bytes()
    return pydicom.dcmread(io.BytesIO(content)), content


def _sample(kind: str) -> Any:
    if kind == "SQ":
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning, item.PatientComments = "X", "99HOME", PLANTED, PLANTED
        return [item]
    return SAMPLES.get(kind.partition(" ")[0], PLANTED)


def _everything(base: FileDataset, tags: list[Any]) -> FileDataset:
    """`base` with all attributes that it lacks, on top and inside a sequence that is kept."""
    inner = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag in tags:
            kind = DicomDictionary[int(tag)][0]
            element = DataElement(tag, kind.partition(" ")[0], _sample(kind))
            for place in (base, inner):
                if place is inner or tag not in base or tag.group == 0x10:
                    place.add(copy.deepcopy(element))  # sequences of one element must not be shared
    base.ReferencedImageSequence = [inner]
    return base


def _table_of_the_standard() -> list[Any]:
    """Tags of Table E.1-1 (2026c) as another project typed them, without groups of repeating elements."""
    database = pytest.importorskip("dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c")
    assert importlib.import_module("dicomanonymizer")
    tags = [Tag(t) for t in database.ALL_TAGS if len(t) == 2]
    assert len(tags) > 600
    return [t for t in tags if int(t) in DicomDictionary and t.group > 2]


def _same(old: Any, new: Any) -> bool:
    return new is not None and str(new) not in ("", "[]") and str(old) == str(new)


@pytest.mark.parametrize("dates", ["remove", "shift"])
@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("whole_table", [False, True])
def test_no_attribute_of_the_standards_table_keeps_its_value(
    whole_table: bool,
    enhanced: bool,
    dates: str,
    tmp_path: Path,
    classic_dicom: Callable[..., Any],
    enhanced_dicom: Callable[..., Any],
) -> None:
    tags = _table_of_the_standard() if whole_table else [Tag(k) for k in KNOWN]
    source = _everything(enhanced_dicom() if enhanced else classic_dicom(), tags)
    clean, content = _run(source, tmp_path, dates=dates)
    # Clock times stay where dates are shifted; sequences are looked into instead.
    checked = [
        t for t in tags if DicomDictionary[int(t)][0] != "SQ" and not (dates == "shift" and DicomDictionary[int(t)][0] == "TM")
    ]
    for place, was in ((clean, source), (clean.ReferencedImageSequence[0], source.ReferencedImageSequence[0])):
        kept = [DicomDictionary[int(t)][4] for t in checked if t in was and t in place and _same(was[t].value, place[t].value)]
        assert kept == []
    assert PLANTED.encode() not in content
    assert b"eheim" not in content
    assert b"GEHEIM" not in content.replace(b"GEHEIM4711", b"") or enhanced


# Text in DS or IS is no number, and such a file is refused.
_texts = ("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT", "OB", "UN")
_standard = [t for t, entry in DicomDictionary.items() if entry[0] in _texts and t >> 16 not in (0x0000, 0x0002, 0x7FE0, 0xFFFE)]


@st.composite
def _hostile(draw: st.DrawFn, depth: int = 2) -> Dataset:
    """A data set with the secret in attributes of every text-like representation, private blocks and nested sequences."""
    dataset = Dataset()
    for tag in draw(st.lists(st.sampled_from(_standard), max_size=25)):
        kind = DicomDictionary[tag][0]
        value: Any = PLANTED.encode() + b"!" if kind in ("OB", "UN") else PLANTED
        dataset.add(DataElement(tag, kind, value, validation_mode=0))
    if draw(st.booleans()):
        block = dataset.private_block(draw(st.sampled_from([0x0009, 0x0029, 0x2005])), "GEHEIM Zq47 INC", create=True)
        for element in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(["LO", "UT", "UN"]))
            block.add_new(element, kind, PLANTED.encode() + b"!" if kind == "UN" else PLANTED)
    if depth:
        for keyword in draw(
            st.lists(st.sampled_from(["ReferencedImageSequence", "MRModifierSequence", "AnatomicRegionSequence"]), max_size=2)
        ):
            setattr(dataset, keyword, [draw(_hostile(depth - 1))])
    return dataset


@settings(max_examples=60)
@given(hostile=_hostile(), enhanced=st.booleans(), option=st.sampled_from(["plain", "shift", "descriptions"]))
def test_a_planted_secret_is_nowhere_in_the_output(
    hostile: Dataset,
    enhanced: bool,
    option: str,
    tmp_path_factory: pytest.TempPathFactory,
    classic_dicom: Callable[..., Any],
    enhanced_dicom: Callable[..., Any],
) -> None:
    dataset = enhanced_dicom() if enhanced else classic_dicom()
    needed = {e.tag for e in dataset}
    for element in hostile:
        if element.tag not in needed or element.tag.group in (0x0010, 0x0020):
            dataset.add(element)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        dataset[keyword].value = "1.2.3.4"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    options = {"plain": {}, "shift": {"dates": "shift"}, "descriptions": {"clean_descriptions": True}}[option]
    _, content = _run(dataset, tmp_path_factory.mktemp("hostile"), **options)
    for form in (PLANTED, PLANTED.upper(), PLANTED.lower(), "Zq47", "ZQ47"):
        assert form.encode() not in content


def test_names_repeated_in_code_strings_go_too(tmp_path: Path, classic_dicom: Callable[..., Any]) -> None:
    dataset = classic_dicom(PatientName="Zimmermann^Klara", BodyPartExamined="KLARA", ScanOptions=["PFP", "ZIMMERMANN"])
    clean, content = _run(dataset, tmp_path)
    assert b"ZIMMERMANN" not in content.upper()
    assert b"KLARA" not in content.upper()
    assert list(clean.ScanOptions) == ["PFP", "REMOVED"]
    assert list(clean.ImageType) == ["ORIGINAL", "PRIMARY", "M", "ND"]


def test_the_file_says_how_it_was_made(tmp_path: Path, classic_dicom: Callable[..., Any]) -> None:
    dataset = classic_dicom()
    dataset.preamble = b"MZ" + b"x" * 126
    dataset.file_meta.SourceApplicationEntityTitle = "RADIOLOGY7"
    clean, content = _run(dataset, tmp_path, dates="shift", keep_patient=True, keep_device=True, clean_descriptions=True)
    assert content[:128] == b"\0" * 128
    assert "SourceApplicationEntityTitle" not in clean.file_meta
    assert clean.file_meta.MediaStorageSOPInstanceUID == clean.SOPInstanceUID
    assert (clean.PatientIdentityRemoved, clean.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    codes = [item.CodeValue for item in clean.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113105", "113107", "113108", "113109"]
    assert clean.PatientID.startswith("anon-")
    assert (clean.StudyDate, clean.PatientBirthDate, clean.AccessionNumber) == ("", "", "")


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


@pytest.mark.parametrize(
    ("age", "kept"), [("045Y", "045Y"), ("089Y", "089Y"), ("090Y", "090Y"), ("101Y", "090Y"), ("003W", "003W"), ("old", None)]
)
def test_patient_characteristics_are_kept_on_request_and_high_ages_merged(
    age: str, kept: str | None, tmp_path: Path, classic_dicom: Callable[..., Any]
) -> None:
    dataset = classic_dicom(PatientAge=age, PatientSex="F", PatientWeight="71.5", PatientSize="1.7", PatientComments="twin")
    clean, _ = _run(dataset, tmp_path, keep_patient=True)
    assert clean.get("PatientAge") == kept
    assert (clean.PatientSex, clean.PatientWeight, clean.PatientSize) == ("F", 71.5, 1.7)
    assert "PatientComments" not in clean
    plain, _ = _run(dataset, tmp_path / "plain")
    assert [plain.get(k) for k in ("PatientAge", "PatientSex", "PatientWeight")] == [None, "", None]


def test_device_and_technical_words_are_kept_on_request(tmp_path: Path, classic_dicom: Callable[..., Any]) -> None:
    dataset = classic_dicom(
        SeriesDescription="T2*_tse tra Dr. Meier 3.5.1967",
        ManufacturerModelName="Scanner 3",
        DeviceSerialNumber="4711",
        ProtocolName="Meier",
    )
    clean, _ = _run(dataset, tmp_path, keep_device=True, clean_descriptions=True)
    assert clean.SeriesDescription == "T2STAR TSE TRA"
    assert "ProtocolName" not in clean
    assert (clean.Manufacturer, clean.ManufacturerModelName, clean.DeviceSerialNumber) == ("ACME", "Scanner 3", "4711")
    plain, _ = _run(dataset, tmp_path / "plain")
    assert not any(k in plain for k in ("SeriesDescription", "ManufacturerModelName", "DeviceSerialNumber"))


def test_only_known_codes_stay_with_the_meaning_of_the_dictionary(tmp_path: Path, classic_dicom: Callable[..., Any]) -> None:
    brain, home = Dataset(), Dataset()
    brain.CodeValue, brain.CodingSchemeDesignator, brain.CodeMeaning = "12738006", "SCT", "the brain of Mr Meier"
    home.CodeValue, home.CodingSchemeDesignator, home.CodeMeaning = "MEIER", "99HOME", "Meier"
    dataset = classic_dicom(AnatomicRegionSequence=[brain, home], RadionuclideCodeSequence=[copy.deepcopy(home)])
    dataset.PatientOrientationCodeSequence = [copy.deepcopy(brain)]
    clean, content = _run(dataset, tmp_path)
    for sequence in (clean.AnatomicRegionSequence, clean.PatientOrientationCodeSequence):
        assert [i.CodeMeaning for i in sequence] == ["Brain"]
    assert "RadionuclideCodeSequence" not in clean
    assert b"eier" not in content


def test_overlays_and_curves_go_and_unused_bits_are_cleared(tmp_path: Path, classic_dicom: Callable[..., Any]) -> None:
    dataset = classic_dicom()
    clean_pixels = np.frombuffer(dataset.PixelData, "<u2")
    dataset.PixelData = (clean_pixels | 0x8000).tobytes()
    for element, kind, value in (
        (0x10, "US", 4),
        (0x100, "US", 16),
        (0x102, "US", 15),
        (0x3000, "OW", b"GEHEIM"),
        (0x4000, "LT", PLANTED),
    ):
        dataset.add_new((0x6000, element), kind, value)
    dataset.add_new((0x5000, 0x3000), "OW", b"GEHEIM")
    clean, content = _run(dataset, tmp_path)
    assert not any(e.tag.group in (0x5000, 0x6000) for e in clean)
    np.testing.assert_array_equal(np.frombuffer(clean.PixelData, "<u2"), clean_pixels)
    assert b"GEHEIM" not in content


def test_text_inside_compressed_pictures_is_overwritten() -> None:
    text = b"Zimmermann, Klara"
    comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
    exif = b"\xff\xe1" + (len(text) + 2).to_bytes(2, "big") + text
    jpeg = b"\xff\xd8\xff\xe0\x00\x06JFIF" + comment + exif + b"\xff\xda\x00\x02" + text
    j2k = b"\xff\x4f\xff\x51\x00\x04\0\0\xff\x64" + (len(text) + 4).to_bytes(2, "big") + b"\0\1" + text + b"\xff\x90" + text
    value = encapsulate([jpeg, j2k])
    clean, count = blank_comments(value)
    assert count == 3
    assert len(clean) == len(value)
    assert clean.count(text) == 2  # what follows the start of the picture is the picture
    assert b"JFIF" in clean
    for end in range(len(value)):
        blank_comments(value[:end])


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
