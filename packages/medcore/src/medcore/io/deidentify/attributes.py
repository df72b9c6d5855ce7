"""Which attributes may stay, and what happens to each: a list of what is allowed, everything else goes.

Whatever is not named here is removed, so attributes that a vendor or a later edition of the standard adds are removed too. Kept are
numbers and coded words of the groups that describe acquisition, geometry and pixels (0018, 0020, 0028, 0054, 5200), and named attributes
of other groups. Table E.1-1 of PS3.15 demands the removal of three of those, which are named in `_NOT`. No free text is kept.
"""

from __future__ import annotations

from enum import Enum

from medcore.io.deidentify.options import DeidentifyOptions


class Action(Enum):
    """What happens to an attribute."""

    REMOVE = "removed"
    NUMBER = "number"
    WORD = "word"
    UID = "uid"
    SEQUENCE = "sequence"
    EMPTY = "emptied"
    DATE = "date"
    TEXT = "text"
    PATTERN = "pattern"
    LABEL = "label"
    DUMMY = "dummy"
    DESCRIPTION = "description"
    AGE = "age"
    BYTES = "bytes"
    SUBJECT = "subject"


_GROUPS = frozenset({0x0018, 0x0020, 0x0028, 0x0054, 0x5200})
_NUMBERS = frozenset({"AT", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_NOT = frozenset({"UDISequence", "TransducerIdentificationSequence", "ModifyingDeviceID"})
_UIDS = frozenset(
    {
        *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "ConcatenationUID"),
        *("ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "DimensionOrganizationUID", "SynchronizationFrameOfReferenceUID"),
        *("ReferencedFrameOfReferenceUID", "AcquisitionUID", "SOPInstanceUIDOfConcatenationSource", "IrradiationEventUID"),
    }
)
_WORDS = frozenset(
    {
        *("ImageType", "Modality", "FrameType", "PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique"),
        *("ComplexImageComponent", "AcquisitionContrast", "ConversionType", "PresentationIntentType", "PresentationLUTShape"),
        *("ContentLabel", "ValueType"),
    }
)
_PLAIN_NUMBERS = frozenset(
    {
        *("SimpleFrameList", "ReferencedFrameNumber", "RealWorldValueIntercept", "RealWorldValueSlope", "StartTrim", "StopTrim"),
        *("RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped", "RealWorldValueLUTData", "ReferencedSegmentNumber"),
        *("DoubleFloatRealWorldValueFirstValueMapped", "DoubleFloatRealWorldValueLastValueMapped", "RecommendedDisplayFrameRate"),
        *("FailureReason", "StageNumber", "NumberOfStages", "ViewNumber", "NumberOfViewsInStage"),
    }
)
_SEQUENCES = frozenset(
    {
        *("ReferencedImageSequence", "SourceImageSequence", "ReferencedSeriesSequence", "ReferencedInstanceSequence"),
        *("DerivationImageSequence", "ReferencedImageEvidenceSequence", "ReferencedSOPSequence", "RealWorldValueMappingSequence"),
        *("QuantityDefinitionSequence", "ParametricMapFrameTypeSequence", "StudiesContainingOtherReferencedInstancesSequence"),
        *("AnatomicRegionSequence", "AnatomicRegionModifierSequence", "DerivationCodeSequence", "PurposeOfReferenceCodeSequence"),
        *("MeasurementUnitsCodeSequence", "ConceptNameCodeSequence", "ConceptCodeSequence", "PrimaryAnatomicStructureSequence"),
    }
)
# Type 2: they must be there, possibly empty. Always written.
ALWAYS_EMPTY = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "PatientSex", "StudyID"),
    "Manufacturer",
)
_EMPTY = frozenset(
    {*ALWAYS_EMPTY, "PositionReferenceIndicator", "AcquisitionContextSequence", "ContentDescription", "ContentCreatorName"}
)
TEMPORAL = frozenset(
    {
        *("StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime"),
        *("AcquisitionDateTime", "InstanceCreationDate", "InstanceCreationTime", "FrameAcquisitionDateTime"),
        *("FrameReferenceDateTime", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
        *("RadiopharmaceuticalStartTime", "RadiopharmaceuticalStopTime", "DecayCorrectionDateTime"),
        *("RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStopDateTime", "ContrastBolusStartTime"),
    }
)
# Type 1 in images of several frames: something must stand there.
_REQUIRED_TIMES = frozenset(
    {"ContentDate", "ContentTime", "AcquisitionDateTime", "FrameAcquisitionDateTime", "FrameReferenceDateTime"}
)
_DEVICE = frozenset(
    {
        *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "StationName", "SequenceName"),
        *("PulseSequenceName", "ReceiveCoilName", "TransmitCoilName", "MultiCoilElementName", "ReceiveCoilManufacturerName"),
        *("TransmitCoilManufacturerName", "GantryID", "DetectorID", "MultiCoilConfiguration"),
    }
)
_REQUIRED_DEVICE = _DEVICE - {"StationName", "GantryID", "DetectorID", "SequenceName", "MultiCoilConfiguration"}
_DESCRIPTIONS = frozenset({"SeriesDescription", "StudyDescription", "ProtocolName"})
_PATIENT = {"PatientSex": Action.WORD, "PatientAge": Action.AGE, "PatientSize": Action.NUMBER, "PatientWeight": Action.NUMBER}
_BYTES = frozenset(
    {
        *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
        *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    }
)
_PATTERNS = frozenset({"ImagedNucleus", "RescaleType"})
_LABELS = frozenset({"StackID", "LUTLabel"})


def action_for(keyword: str, group: int, kind: str, options: DeidentifyOptions, *, multi_frame: bool) -> Action:
    """What happens to an attribute.

    Parameters
    ----------
    keyword, group, kind
        Keyword (empty if the dictionary has none), group and value representation by the dictionary of the standard.
    options
        What may be kept.
    multi_frame
        Whether the file is an image of several frames, where some attributes are obligatory.
    """
    if not keyword or keyword in _NOT:
        return Action.REMOVE
    optional = _optional(keyword, options, multi_frame)
    if optional is not None:
        return optional
    for names, action in (
        (_EMPTY, Action.EMPTY),
        (_UIDS, Action.UID),
        (_SEQUENCES, Action.SEQUENCE),
        (_WORDS, Action.WORD),
        (_PLAIN_NUMBERS, Action.NUMBER),
        (_BYTES, Action.BYTES),
        (_PATTERNS, Action.PATTERN),
        (_LABELS, Action.LABEL),
        ({"LUTExplanation"}, Action.DUMMY),
        ({"PatientID", "PatientName"}, Action.SUBJECT),
    ):
        if keyword in names:
            return action
    if group in _GROUPS:
        if kind in _NUMBERS or kind in ("US or SS", "US or OW", "US or SS or OW"):
            return Action.NUMBER
        return {"CS": Action.WORD, "SQ": Action.SEQUENCE}.get(kind, Action.REMOVE)
    return Action.REMOVE


def _optional(keyword: str, options: DeidentifyOptions, multi_frame: bool) -> Action | None:
    """The action for attributes that depend on the options."""
    if keyword in _PATIENT and options.keep_patient:
        return _PATIENT[keyword]
    if keyword in _DEVICE:
        if options.keep_device:
            return Action.TEXT
        return (
            Action.DUMMY
            if multi_frame and keyword in _REQUIRED_DEVICE
            else Action.EMPTY
            if keyword == "Manufacturer"
            else Action.REMOVE
        )
    if keyword in _DESCRIPTIONS:
        return Action.DESCRIPTION if options.clean_descriptions else Action.REMOVE
    if keyword in TEMPORAL and (options.dates == "shift" or (multi_frame and keyword in _REQUIRED_TIMES)):
        return Action.DATE
    return None
