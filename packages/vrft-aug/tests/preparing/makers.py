"""Small data sets on disk, good ones, from which the tests make bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(number: int = 0, height: int = 24, width: int = 32, *, colour: bool = True) -> np.ndarray:
    """Noise that depends on the number: no two pictures look alike."""
    shape = (height, width, 3) if colour else (height, width)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def save(pixels: np.ndarray, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def table(folder: Path, labels: list[str] | None = None, header: str = "image,label") -> Path:
    """Images a0.png ... with a CSV table of classes; by default three of cyst and three of stone."""
    labels = labels or ["cyst", "stone"] * 3
    lines = [header]
    for i, label in enumerate(labels):
        save(picture(i), folder / "images" / f"a{i}.png")
        lines.append(f"a{i}.png,{label}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def rows(folder: Path, *more: str) -> Path:
    """More rows for the table of `folder`."""
    with (folder / "labels.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{row}\n" for row in more)
    return folder


def tree(folder: Path, classes: tuple[str, ...] = ("cyst", "stone"), each: int = 3) -> Path:
    """A folder for each class."""
    for c, name in enumerate(classes):
        for i in range(each):
            save(picture(100 * c + i), folder / name / f"p{i}_{name}.png")
    return folder


def graded(folder: Path, grades: list[int]) -> Path:
    """A CSV of grades."""
    table(folder, [str(g) for g in grades], header="image,grade")
    return folder


def coco(folder: Path, boxes: list[list[float]], size: tuple[int, int] = (64, 48), **changes: Any) -> Path:
    """One box on each of as many images as there are boxes, and at least two images."""
    width, height = size
    count = max(2, len(boxes))
    for i in range(count):
        save(picture(i, height, width), folder / "images" / f"{i}.png")
    content: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": width, "height": height} for i in range(count)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": box} for i, box in enumerate(boxes)],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content | changes))
    return folder


def voc(folder: Path, boxes: list[tuple[float, float, float, float]], size: tuple[int, int] = (64, 48)) -> Path:
    """One box on each image."""
    width, height = size
    (folder / "Annotations").mkdir(parents=True)
    for i, box in enumerate(boxes):
        save(picture(i, height, width), folder / "JPEGImages" / f"{i}.png")
        corners = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        (folder / "Annotations" / f"{i}.xml").write_text(
            f"<annotation><filename>{i}.png</filename><size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
            f"<object><name>cell</name><bndbox>{corners}</bndbox></object></annotation>"
        )
    return folder


def masks(folder: Path, empty: int = 0, count: int = 4) -> Path:
    """Images with a mask OD, of which the first `empty` are black."""
    for i in range(count):
        save(picture(i), folder / f"eye{i}.png")
        mask = np.zeros((24, 32), np.uint8)
        if i >= empty:
            mask[4 + i : 10 + i, 5:15] = 255
        save(mask, folder / f"eye{i}_OD.png")
    return folder


def vqa(folder: Path, *lines: dict[str, Any] | str) -> Path:
    """Images 0.png to 5.png and the lines given."""
    for i in range(6):
        save(picture(i), folder / "images" / f"{i}.png")
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "questions.jsonl").write_text("\n".join(text) + "\n", encoding="utf-8")
    return folder


def asked(number: int, answer: str = "yes", question: str = "Is there fluid?", **more: Any) -> dict[str, Any]:
    """One line about image `number`."""
    return {"image": f"images/{number}.png", "question": question, "answer": answer, **more}


def film(path: Path, pixels: np.ndarray, *, patient: str = "MRN-7", modality: str = "CR", **changes: Any) -> Path:
    """A single-frame DICOM image of 16 bits."""
    from pydicom import Dataset, dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    elements = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "SOPInstanceUID": generate_uid(entropy_srcs=[path.name]),
        "StudyInstanceUID": generate_uid(entropy_srcs=["study", patient]),
        "SeriesInstanceUID": generate_uid(entropy_srcs=["series", path.name]),
        "Modality": modality,
        "PatientID": patient,
        "PatientName": "Doe^Jane",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
    }
    for keyword, value in (elements | changes).items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PixelData = pixels.astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def films(folder: Path, count: int = 6, modality: str = "CR", **changes: Any) -> Path:
    """Films of three patients with a table of labels."""
    lines = ["file,label"]
    for i in range(count):
        values = np.random.default_rng(i).integers(-1000, 1000, (24, 32))
        film(folder / f"f{i}.dcm", values, patient=f"MRN-{i // 2}", modality=modality, **changes)
        lines.append(f"f{i}.dcm,{('normal', 'nodule')[i % 2]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder
