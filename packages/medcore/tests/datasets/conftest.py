"""Small data sets on disk, from which the tests make bad ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
