"""De-identification of one data set: the standard's own table as the referee, planted secrets, what options keep."""

from __future__ import annotations

import copy
import importlib
import io
import warnings
from collections.abc import Callable
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

from medcore.io.deidentify import DeidentifyOptions, deidentify
from medcore.io.deidentify.codestreams import blank_comments

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
