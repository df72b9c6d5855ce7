"""Small stand-ins for the data sets that a reader of the guides would bring, one of each kind."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medcore.datasets.phantoms import drawn_scans

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
SCANS = drawn_scans(24, seed=5)


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _medmnist(path: Path) -> None:
    """A file with the arrays of BloodMNIST and other content."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 32), ("val", 16), ("test", 16)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, 28, 28, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 8).astype(np.uint8)[:, None]
    np.savez_compressed(path, **arrays)


def _coco(folder: Path) -> None:
    """Drawn scans with the boxes of their findings."""
    names = list(SCANS.classes[1:])
    images, found = [], []
    for i, sample in enumerate(SCANS):
        _save(sample.image, folder / "images" / f"{sample.sample_id}.png")
        height, width = sample.image.shape
        images.append({"id": i, "file_name": f"{sample.sample_id}.png", "height": height, "width": width})
        for (x0, y0, x1, y1), label in zip(sample.boxes.tolist(), sample.box_labels, strict=True):
            box = {"id": len(found) + 1, "image_id": i, "category_id": names.index(label) + 1}
            found.append(box | {"bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0})
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    content = {"images": images, "annotations": found, "categories": categories}
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances.json").write_text(json.dumps(content))


def _classes(folder: Path) -> None:
    """A folder for each class, below one for each split."""
    for i, sample in enumerate(SCANS):
        _save(sample.image, folder / ("train" if i < 16 else "val") / str(sample.label) / f"p{i // 2:02d}_{i}.png")


def _several(folder: Path) -> None:
    """Images beside a table of several findings each."""
    rows = []
    for i, sample in enumerate(SCANS):
        _save(sample.image, folder / "images" / f"{sample.sample_id}.png")
        present = [str(sample.label)] if sample.label != "normal" else []
        rows.append((f"{sample.sample_id}.png", "|".join([*present, *(["implant"] * (i % 3 == 0))]) or "none", f"p{i // 2:02d}"))
    with (folder / "findings.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "findings", "patient"), *rows])


def _questions(folder: Path) -> None:
    """Questions about the drawn scans."""
    lines = []
    for i, sample in enumerate(SCANS):
        _save(sample.image, folder / "images" / f"{sample.sample_id}.png")
        line = {"image": f"images/{sample.sample_id}.png", "question": "What is found?", "answer": sample.label}
        lines.append(json.dumps(line | {"choices": list(SCANS.classes), "subject": f"p{i // 2:02d}"}))
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")


def _films(folder: Path) -> None:
    """Drawn scans as computed radiographs without position, and a table of labels."""
    folder.mkdir()
    for i, sample in enumerate(SCANS):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = COMPUTED_RADIOGRAPHY
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        dataset.PatientID, dataset.PatientName, dataset.Modality = f"{i // 2}", "x", "CR"
        dataset.Rows, dataset.Columns = sample.image.shape
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.PixelData = sample.image.tobytes()
        dataset["PixelData"].VR = "OB"
        pydicom.dcmwrite(folder / f"{sample.sample_id}.dcm", dataset, enforce_file_format=True)
    rows = [(f"{s.sample_id}.dcm", s.label) for s in SCANS]
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *rows])


DATASETS: dict[str, Callable[[Path], None]] = {
    "bloodmnist.npz": _medmnist,
    "chest-boxes": _coco,
    "chest-classes": _classes,
    "chest-findings": _several,
    "chest-questions": _questions,
    "chest-films": _films,
}
