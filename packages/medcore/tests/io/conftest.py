"""Builders of small good files, from which the tests make bad ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medcore.io import KSpace

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


def _new(sop_class: str, syntax: str) -> FileDataset:
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


@pytest.fixture(scope="session")
def save_dicom() -> Callable[[Dataset, Path], Path]:
    """Write a data set as it is, however wrong."""

    def save(dataset: Dataset, path: Path) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.save_as(path, enforce_file_format=True)
        return path

    return save


@pytest.fixture(scope="session")
def classic_dicom() -> Callable[..., FileDataset]:
    """One slice of a classic MR series: 4 x 6 pixels whose values tell echo time, slice and position."""

    def make(z: float = 0.0, te: Any = 10.0, syntax: str = ExplicitVRLittleEndian, **changes: Any) -> FileDataset:
        dataset = _new(MR, syntax)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.Rows, dataset.Columns, dataset.PixelSpacing, dataset.SliceThickness = 4, 6, [2.0, 1.5], 5.0
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-10.0, -20.0, z]
        dataset.EchoTime, dataset.RepetitionTime, dataset.FlipAngle = te, 500.0, 90.0
        offset = int(z) + (int(te) if isinstance(te, float) else 0)
        dataset.PixelData = (np.arange(24, dtype="<u2") + 30 * abs(offset)).tobytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for keyword, value in changes.items():
                if value is None:
                    delattr(dataset, keyword)
                else:
                    setattr(dataset, keyword, value)
        return dataset

    return make


@pytest.fixture(scope="session")
def enhanced_dicom() -> Callable[..., FileDataset]:
    """An enhanced multi-frame file of two echoes in three slices, frames shuffled, every frame with its own rescale."""

    def make(order: tuple[int, ...] = (4, 1, 5, 0, 2, 3)) -> FileDataset:
        dataset = _new(ENHANCED_MR, ExplicitVRLittleEndian)
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

    return make


def _noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.fixture
def cartesian(rng: np.random.Generator) -> KSpace:
    """Two contrasts, three coils, (1, 8, 6), with different lines missing in each contrast."""
    mask = np.ones((2, 1, 8, 6), dtype=bool)
    mask[0, :, 1::2] = False
    mask[1, :, 2::3] = False
    data = _noise(rng, 2, 3, 1, 8, 6) * mask[:, None]
    return KSpace(
        data=data.astype(np.complex64),
        mask=mask,
        matrix=(1, 8, 6),
        fov=(0.005, 0.21, 0.2),
        times={"te": [0.0123, 0.0271], "tr": [0.7, 0.7]},
        noise=_noise(rng, 3, 50),
        csm=_noise(rng, 3, 1, 8, 6),
        field_strength=2.89,
        meta={"sequence": "tse", "numbers": [1, {"a": None}]},
        repairs=("something was mended",),
    )


@pytest.fixture
def radial(rng: np.random.Generator) -> KSpace:
    """Two contrasts of five spokes in the plane, each contrast at its own angles."""
    angle = rng.uniform(0, np.pi, (2, 5, 1))
    radius = np.linspace(-np.pi, np.pi, 12, endpoint=False)
    traj = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1).astype(np.float32)
    return KSpace(data=_noise(rng, 2, 3, 5, 12), traj=traj, matrix=(1, 12, 12), fov=(0.005, 0.2, 0.2), times={"ti": [0.05, 2.1]})
