"""To whom a new DICOM object belongs: patient, examination and frame of reference of its source, or nobody."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from medcore.io.dicom.listing import check_one_patient, open_images
from medcore.io.dicom.parsing import pydicom_errors

# Everything that is taken over; PS3.3 C.7.1.1, C.7.2.1, C.7.2.2 and C.7.4.1 have more, some of it free text.
_COPIED = (
    *("SpecificCharacterSet", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator"),
)
_REQUIRED_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_MR_IMAGE, _EXPLICIT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where a new object belongs.

    Attributes
    ----------
    template
        Data set from which highdicom copies patient and examination.
    references
        SOP class and instance UID of every source image, by series UID.
    seed
        What the UIDs of the object are made from.
    what
        Name of the source in messages.
    """

    template: Any
    references: dict[str, list[tuple[str, str]]]
    seed: bytes
    what: str

    def uid(self, role: str) -> str:
        """UID of the 2.25 branch (PS3.5 B.2), the same for the same content."""
        return uid_from(self.seed, role)

    def add_references(self, dataset: Any) -> None:
        """Name the source images in `dataset`: by series, and as what every frame was derived from."""
        from pydicom.dataset import Dataset

        if not self.references:
            for group in dataset.PerFrameFunctionalGroupsSequence:
                group.pop("DerivationImageSequence", None)
            return
        series = []
        for uid, instances in self.references.items():
            item = Dataset()
            item.SeriesInstanceUID = uid
            item.ReferencedInstanceSequence = [_reference(*instance) for instance in instances]
            series.append(item)
        dataset.ReferencedSeriesSequence = series
        dataset.SourceImageSequence = [_reference(*i) for instances in self.references.values() for i in instances]


def _reference(sop_class: str, instance: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
    return item


def uid_from(seed: bytes, role: str) -> str:
    """A UID under 2.25, a number of 128 bits made from `seed` and `role`."""
    return f"2.25.{int.from_bytes(hashlib.sha256(seed + role.encode()).digest()[:16], 'big')}"


def read_context(source: str | Path | Sequence[str | Path] | None, seed: bytes) -> Context:
    """The context of a source series, or a neutral one.

    Raises
    ------
    InputError
        If a file is damaged, files are of several patients, examinations or frames of reference, or lack what identifies these.
    """
    from pydicom.dataset import Dataset, FileMetaDataset

    template = Dataset()
    references: dict[str, list[tuple[str, str]]] = defaultdict(list)
    what = "parametric map"
    if source is not None:
        images, what = open_images(source)
        check_one_patient(images, what)
        first = images.datasets[0]
        with pydicom_errors(what, "has an element that cannot be read"):
            for keyword in _COPIED:
                if keyword in first:
                    template[keyword] = first[keyword]
            for dataset in images.datasets:
                references[str(dataset.SeriesInstanceUID)].append((str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)))
        seed = hashlib.sha256(seed + repr(sorted(references.items())).encode()).digest()
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
            if not template.get(keyword):
                raise InputError(what, f"lacks {keyword}", "name a series of images with it")
    else:
        template.StudyInstanceUID, template.FrameOfReferenceUID = uid_from(seed, "study"), uid_from(seed, "frame")
    for keyword in _REQUIRED_EMPTY:
        if keyword not in template:
            setattr(template, keyword, "")
    # highdicom asks for one image with a place; geometry and references of the map are given explicitly.
    template.SOPClassUID, template.SOPInstanceUID = _MR_IMAGE, uid_from(seed, "template")
    template.SeriesInstanceUID, template.Modality, template.Rows, template.Columns = uid_from(seed, "template series"), "MR", 1, 1
    template.ImageOrientationPatient, template.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    template.PixelSpacing, template.SliceThickness = [1, 1], 1
    template.file_meta = FileMetaDataset()
    template.file_meta.TransferSyntaxUID = _EXPLICIT
    return Context(template=template, references=dict(references), seed=seed, what=what)
