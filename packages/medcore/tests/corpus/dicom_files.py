"""Builders of small good DICOM files, from which fixtures and the corpus make bad ones."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


def new(sop_class: str, syntax: str) -> FileDataset:
    """What every image has, without place, times and pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, sop_class
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.Manufacturer, dataset.MagneticFieldStrength = "MR", "ACME", 3.0
    dataset.PatientID, dataset.PatientName = "secret-17", "Secret^Person"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.5"
    dataset.SeriesNumber, dataset.SeriesDescription = 7, "spin echo"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """Write a data set as it is, however wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path, enforce_file_format=True)
    return path


def classic(z: float = 0.0, te: Any = 10.0, syntax: str = ExplicitVRLittleEndian, **changes: Any) -> FileDataset:
    """One slice of a classic MR series: 4 x 6 pixels whose values tell echo time, slice and position."""
    dataset = new(MR, syntax)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.Rows, dataset.Columns, dataset.PixelSpacing, dataset.SliceThickness = 4, 6, [2.0, 1.5], 5.0
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-10.0, -20.0, z]
    dataset.EchoTime, dataset.RepetitionTime, dataset.FlipAngle = te, 500.0, 90.0
    offset = int(z) + (int(te) if isinstance(te, float) else 0)
    dataset.PixelData = (np.arange(24, dtype="<u2") + 30 * abs(offset)).tobytes()
    return change(dataset, **changes)


def change(dataset: Dataset, **changes: Any) -> Any:
    """Set elements, or remove those that are None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, value in changes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
    return dataset


def enhanced(order: tuple[int, ...] = (4, 1, 5, 0, 2, 3)) -> FileDataset:
    """An enhanced multi-frame file of two echoes in three slices, frames shuffled, every frame with its own rescale."""
    dataset = new(ENHANCED_MR, ExplicitVRLittleEndian)
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 4, 6, 6
    shared = Dataset()
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [2.0, 1.5]
    shared.PixelMeasuresSequence[0].SliceThickness = 5.0
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups, pixels = [], []
    for number in order:
        echo, z = divmod(number, 3)
        group = Dataset()
        group.PlanePositionSequence, group.MREchoSequence = [Dataset()], [Dataset()]
        group.PixelValueTransformationSequence, group.MRImageFrameTypeSequence = [Dataset()], [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [-10.0, -20.0, 4.0 * z]
        group.MREchoSequence[0].EffectiveEchoTime = 10.0 * (echo + 1)
        group.PixelValueTransformationSequence[0].RescaleSlope = 0.5 + number
        group.PixelValueTransformationSequence[0].RescaleIntercept = -3.0 * number
        group.MRImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
        group.MRImageFrameTypeSequence[0].ComplexImageComponent = "MAGNITUDE"
        groups.append(group)
        pixels.append(np.full((4, 6), 100 + number, dtype="<u2"))
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.PixelData = np.stack(pixels).tobytes()
    return dataset


def csa_header(elements: dict[str, list[str]], *, second_layout: bool = True) -> bytes:
    """A private header of Siemens in either layout, every item padded to four bytes."""
    out = [b"SV10\4\3\2\1"] if second_layout else []
    out.append(struct.pack("<2I", len(elements), 77))
    less = len(next(iter(elements.values()), []))
    for name, items in elements.items():
        out.append(struct.pack("<64si4s3i", name.encode(), len(items), b"DS", 1, len(items), 77))
        for item in items:
            text = item.encode() + b"\0"
            first = len(text) if second_layout else len(text) + less
            out.append(struct.pack("<4i", first, len(text), 77, len(text)) + text + bytes(-len(text) % 4))
    return b"".join(out)


def mosaic(dataset: Dataset, n: int | None = None, csa: bytes | None = None, **changes: Any) -> Any:
    """Make a picture of 4 x 6 pixels a mosaic of 2 x 2 slices of 2 x 3 pixels, `n` of them slices."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    dataset.SpacingBetweenSlices = 4.0
    if n is not None:
        dataset.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", n)
    if csa is not None:
        dataset.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa)
    return change(dataset, **changes)
