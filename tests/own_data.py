"""Small stand-ins for the files a reader of the READMEs would bring: images, raw data, data sets."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from own_datasets import DATASETS
from own_signals import SIGNALS
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medcore.datasets.phantoms import drawn_grades, relaxation_phantom
from medcore.io import write_ismrmrd, write_nifti
from puq_qmri.simulation import SimulationSettings, simulate

ECHO_TIMES = (0.010, 0.025, 0.050, 0.090, 0.150, 0.250)
AFFINE = np.diag([2e-3, 2e-3, 5e-3, 1.0])
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def provide(text: str, folder: Path) -> None:
    """Make every stand-in whose name occurs in `text`."""
    for name, make in STAND_INS.items():
        if name in text:
            make(folder / name)


def _echo_images(seed: int = 0) -> np.ndarray:
    """Noisy magnitudes (contrast, z, y, x) of a small brain phantom."""
    phantom = relaxation_phantom("brain", shape=(1, 48, 48), seed=seed)
    signals = phantom.m0[:, None] * np.exp(-np.asarray(ECHO_TIMES) / phantom.t2[:, None])
    clean = 1000 * phantom.mix(signals)
    parts = np.random.default_rng(seed).normal(0, 8, (2, *clean.shape))
    return np.abs(clean + parts[0] + 1j * parts[1]).astype(np.float32)


def _echoes(path: Path) -> None:
    write_nifti(path, _echo_images(), AFFINE, sidecar={"EchoTime": list(ECHO_TIMES)})


def _map(scale: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write_nifti(path, scale * _echo_images()[0], AFFINE)

    return make


def _raw_data(path: Path) -> None:
    kspace, _ = simulate(SimulationSettings(model="t2", size=48, n_coils=4, acceleration=2.0))
    write_ismrmrd(path, kspace)


def _fully_sampled(folder: Path) -> None:
    """Three people, measured without undersampling."""
    folder.mkdir()
    for seed in range(3):
        settings = SimulationSettings(model="t2", times=ECHO_TIMES, size=48, n_coils=4, acceleration=1.0, seed=seed)
        write_ismrmrd(folder / f"subject-{seed}.h5", simulate(settings)[0])


def _dicom(folder: Path) -> None:
    """Two echoes of three slices."""
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for echo, te in enumerate((20.0, 40.0)):
        for z in range(3):
            meta = FileMetaDataset()
            meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MR_IMAGE
            meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset = Dataset()
            dataset.file_meta = meta
            dataset.SOPClassUID, dataset.SOPInstanceUID = MR_IMAGE, meta.MediaStorageSOPInstanceUID
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
            dataset.PatientID, dataset.PatientName, dataset.Modality, dataset.SeriesNumber = "x", "x", "MR", 1
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
            dataset.Rows, dataset.Columns, dataset.PixelSpacing, dataset.SliceThickness = 8, 8, [2.0, 2.0], 5.0
            dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0.0, 0.0, 5.0 * z]
            dataset.EchoTime, dataset.RepetitionTime, dataset.FlipAngle = te, 3000.0, 90.0
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
            dataset.PixelData = np.full((8, 8), 1000 // (echo + 1) + z, "<u2").tobytes()
            pydicom.dcmwrite(folder / f"{echo}-{z}.dcm", dataset, enforce_file_format=True)


def _bids(root: Path) -> None:
    """A multi-echo series of two subjects."""
    images = _echo_images()
    for subject in ("01", "02"):
        for number, (image, te) in enumerate(zip(images, ECHO_TIMES, strict=True), 1):
            path = root / f"sub-{subject}" / "anat" / f"sub-{subject}_echo-{number}_MESE.nii.gz"
            write_nifti(path, image, AFFINE, sidecar={"EchoTime": te})
    description = {"Name": "echoes", "BIDSVersion": "1.11.1", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(description))


def _graded(folder: Path) -> None:
    """Sixty drawn images and their grades."""
    folder.mkdir()
    drawn = drawn_grades(60, seed=3)
    rows = []
    for i in range(len(drawn)):
        sample = drawn[i]
        Image.fromarray(sample.image).save(folder / f"{sample.sample_id}.png")
        rows.append({"image": sample.sample_id, "grade": sample.grade})
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "grade"])
        writer.writeheader()
        writer.writerows(rows)


STAND_INS: dict[str, Callable[[Path], None]] = {
    "echoes.nii.gz": _echoes,
    "reference.nii.gz": _map(1.0),
    "estimate.nii.gz": _map(1.02),
    "raw-data.h5": _raw_data,
    "fully-sampled-scans": _fully_sampled,
    "dicom": _dicom,
    "bids": _bids,
    "fundus": _graded,
    **DATASETS,
    **SIGNALS,
}
