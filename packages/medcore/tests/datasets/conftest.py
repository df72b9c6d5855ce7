"""Small data sets on disk, from which the tests make bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

Picture = Callable[..., np.ndarray]


@pytest.fixture
def picture() -> Picture:
    """A uint8 image (y, x, 3) or (y, x) of noise that depends on the number."""

    def make(number: int = 0, height: int = 20, width: int = 30, *, colour: bool = True) -> np.ndarray:
        shape = (height, width, 3) if colour else (height, width)
        return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def save_image() -> Callable[[np.ndarray, Path], Path]:
    def save(pixels: np.ndarray, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return save


@pytest.fixture
def graded(tmp_path: Path, picture: Picture, save_image: Callable[[np.ndarray, Path], Path]) -> Path:
    """Four images a.png ... d.png with the grades 0, 2, 1, 2 of two patients."""
    for i, name in enumerate("abcd"):
        save_image(picture(i), tmp_path / "eyes" / f"{name}.png")
    text = "image,grade,patient\na,0,p1\nb,2,p1\nc.png,1,p2\nd,2,p2\n"
    (tmp_path / "eyes" / "labels.csv").write_text(text)
    return tmp_path / "eyes"


VOC = """<annotation><filename>{image}</filename><size><width>30</width><height>20</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


@pytest.fixture
def write_voc(tmp_path: Path, picture: Picture, save_image: Callable[[np.ndarray, Path], Path]) -> Callable[..., Path]:
    """Write one more annotated image into a VOC folder: boxes as (name, xmin, ymin, xmax, ymax)."""
    folder = tmp_path / "cells"

    def write(stem: str, *boxes: tuple[object, ...], image: str | None = None, text: str | None = None) -> Path:
        number = sum(stem.encode())
        save_image(picture(number), folder / "JPEGImages" / f"{stem}.png")
        (folder / "Annotations").mkdir(exist_ok=True)
        objects = "".join(OBJECT.format(*box[1:], name=box[0]) for box in boxes)
        content = VOC.format(image=image or f"{stem}.png", objects=objects) if text is None else text
        (folder / "Annotations" / f"{stem}.xml").write_text(content)
        return folder

    return write


@pytest.fixture
def write_medmnist(tmp_path: Path) -> Callable[..., Path]:
    """Write a MedMNIST file with 6 training and 4 validation images; keyword arguments replace or (None) remove arrays."""

    def write(name: str = "pneumoniamnist", **changes: np.ndarray | None) -> Path:
        rng = np.random.default_rng(3)
        arrays: dict[str, np.ndarray | None] = {
            "train_images": rng.integers(0, 256, (6, 28, 28), dtype=np.uint8),
            "train_labels": np.array([[0], [1], [1], [0], [1], [1]], dtype=np.uint8),
            "val_images": rng.integers(0, 256, (4, 28, 28), dtype=np.uint8),
            "val_labels": np.array([[1], [0], [1], [1]], dtype=np.uint8),
        }
        kept = {k: v for k, v in (arrays | changes).items() if v is not None}
        path = tmp_path / f"{name}.npz"
        np.savez(path, **kept)
        return path

    return write


@pytest.fixture
def write_coco(tmp_path: Path, picture: Picture, save_image: Callable[[np.ndarray, Path], Path]) -> Callable[..., Path]:
    """Write a COCO folder with the images 1 and 2 of 30 x 20 pixels; `change` may edit the content before it is written."""
    folder = tmp_path / "organs"

    def write(*boxes: dict[str, Any], change: Callable[[dict[str, Any]], object] | None = None, text: str | None = None) -> Path:
        images = [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in (1, 2)]
        for image in images:
            save_image(picture(image["id"]), folder / "images" / image["file_name"])
        listed = [{"id": i, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], **box} for i, box in enumerate(boxes, 1)]
        categories = [{"id": 7, "name": "liver"}, {"id": 3, "name": "kidney"}]
        content: dict[str, Any] = {"images": images, "annotations": listed, "categories": categories}
        if change is not None:
            change(content)
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / "instances.json").write_text(json.dumps(content) if text is None else text)
        return folder

    return write


@pytest.fixture
def class_tree(tmp_path: Path, picture: Picture, save_image: Callable[[np.ndarray, Path], Path]) -> Path:
    """Splits train and val of the classes cyst and stone: two and one images of each, named by patient."""
    for number, (split, count) in enumerate((("train", 2), ("val", 1))):
        for name in ("cyst", "stone"):
            for i in range(count):
                save_image(picture(10 * number + i), tmp_path / "kidneys" / split / name / f"p{i}_{name}.png")
    return tmp_path / "kidneys"


@pytest.fixture
def write_table(tmp_path: Path, picture: Picture, save_image: Callable[[np.ndarray, Path], Path]) -> Callable[[str], Path]:
    """Three images a.png, b.png, c.png and the table given."""

    def write(text: str) -> Path:
        for i, name in enumerate("abc"):
            save_image(picture(i), tmp_path / "films" / f"{name}.png")
        (tmp_path / "films" / "labels.csv").write_text(text)
        return tmp_path / "films"

    return write


@pytest.fixture
def write_vqa(tmp_path: Path, picture: Picture, save_image: Callable[[np.ndarray, Path], Path]) -> Callable[..., Path]:
    """Two images and a JSON Lines file of the objects or text lines given."""
    folder = tmp_path / "questions"

    def write(*lines: dict[str, Any] | str) -> Path:
        for i in range(2):
            save_image(picture(i), folder / "images" / f"{i}.png")
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (folder / "vqa.jsonl").write_bytes(text.encode("utf-8", "surrogatepass"))
        return folder

    return write


@pytest.fixture
def save_film(tmp_path: Path) -> Callable[..., Path]:
    """Write a chest film: a single-frame DICOM image without position; keyword arguments replace or (None) remove elements."""

    def save(name: str, pixels: np.ndarray, **changes: Any) -> Path:
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        bits = 8 * pixels.dtype.itemsize
        elements = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
            "SOPInstanceUID": generate_uid(entropy_srcs=[name]),
            "StudyInstanceUID": generate_uid(entropy_srcs=["study", name]),
            "SeriesInstanceUID": generate_uid(entropy_srcs=["series", name]),
            "Modality": "CR",
            "PatientID": f"MRN-{name[0]}",
            "PatientName": "Doe^Jane",
            "Rows": pixels.shape[-2],
            "Columns": pixels.shape[-1],
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": int(pixels.dtype.kind == "i"),
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
        }
        for keyword, value in (elements | changes).items():
            if value is not None:
                setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
        dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
        dcmwrite(path, dataset, enforce_file_format=True)
        return path

    return save
