"""MedMNIST files: ``.npz`` with ``train_images``, ``train_labels`` and so on (Yang et al. 2023, doi 10.1038/s41597-022-01721-8)."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from medcore.atomic import sha256_file
from medcore.datasets.base import AnnotatedImages, Annotation, DatasetCard, class_names, count_classes
from medcore.errors import InputError
from medcore.io.guard import foreign_errors
from medcore.io.limits import check_size, existing_file
from medcore.io.npy import load_array

SPLITS = ("train", "val", "test")
_SOURCE = "MedMNIST v2, doi 10.1038/s41597-022-01721-8"
_LICENCE = "CC BY 4.0"
_ORGANS = "bladder|femur-left|femur-right|heart|kidney-left|kidney-right|liver|lung-left|lung-right|pancreas|spleen"
# Names as published by MedMNIST, in the order of the labels.
_CLASSES = {
    "pathmnist": "adipose|background|debris|lymphocytes|mucus|smooth muscle|normal colon mucosa|cancer-associated stroma|"
    "colorectal adenocarcinoma epithelium",
    "dermamnist": "actinic keratoses and intraepithelial carcinoma|basal cell carcinoma|benign keratosis-like lesions|dermatofibroma|"
    "melanoma|melanocytic nevi|vascular lesions",
    "octmnist": "choroidal neovascularization|diabetic macular edema|drusen|normal",
    "pneumoniamnist": "normal|pneumonia",
    "retinamnist": "grade 0|grade 1|grade 2|grade 3|grade 4",
    "breastmnist": "malignant|normal, benign",
    "bloodmnist": "basophil|eosinophil|erythroblast|immature granulocytes (myelocytes, metamyelocytes and promyelocytes)|lymphocyte|"
    "monocyte|neutrophil|platelet",
    "tissuemnist": "collecting duct, connecting tubule|distal convoluted tubule|glomerular endothelial cells|"
    "interstitial endothelial cells|leukocytes|podocytes|proximal tubule segments|thick ascending limb",
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
}
_ORDERED = {"retinamnist"}
_LICENCES = {"dermamnist": "CC BY-NC 4.0"}


class MedMnist(AnnotatedImages):
    """One split of a MedMNIST file.

    Labels are read at once, pixels when the first image is asked for.

    Parameters
    ----------
    path
        The ``.npz`` file. The set is known by the beginning of its name (``pneumoniamnist.npz``, ``pneumoniamnist_64.npz``).
    split
        ``train``, ``val``, ``test`` or another for which the file holds ``<split>_images`` and ``<split>_labels``.
    classes
        Class names in the order of the labels; needed for numbers to become names where the set is not a known one (else ``class 0`` ...).
    ordered
        Whether the classes are grades, the mildest first; by default as published (RetinaMNIST: yes).

    Raises
    ------
    InputError
        If the file is damaged, holds pickled objects, lacks the split, holds no 8-bit images (y, x) or (y, x, 3), several labels for
        an image, or a label without class.
    """

    def __init__(
        self, path: str | Path, split: str = "train", classes: Sequence[str] | None = None, ordered: bool | None = None
    ) -> None:
        self._path, self._split = existing_file(path), split
        name = self._path.stem.split("_")[0].lower()
        shapes = self._shapes()
        if split not in shapes:
            raise InputError(self._path, f"has no split {split!r}, it holds {', '.join(shapes) or 'none'}", "choose one of these")
        self._shape = shapes[split]
        labels = self._labels()
        names = self._class_names(name, classes, labels)
        graded = name in _ORDERED if ordered is None else ordered
        annotations = [
            Annotation(sample_id=f"{split}-{i:06d}", label=names[label], grade=label if graded else None)
            for i, label in enumerate(labels)
        ]
        card = DatasetCard(
            name=f"{self._path.stem} {split}",
            task="grading" if graded else "classification",
            classes=names,
            ordered=graded,
            n_samples=len(annotations),
            class_counts=count_classes(names, [names[label] for label in labels]),
            licence=_LICENCES.get(name, _LICENCE) if name in _CLASSES else "not stated",
            source=_SOURCE if name in _CLASSES else "not stated",
            sha256={self._path.name: sha256_file(self._path)},
            splits={s: shape[0] for s, shape in shapes.items()},
        )
        super().__init__(annotations, card)

    def read_image(self, index: int) -> UInt8[np.ndarray, "y x"] | UInt8[np.ndarray, "y x 3"]:
        """A copy of image `index`."""
        return np.array(self._images[index])

    @cached_property
    def _images(self) -> np.ndarray:
        return load_array(self._path, key=f"{self._split}_images")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of the images of each split, from the headers alone."""
        found: dict[str, tuple[int, ...]] = {}
        with foreign_errors(self._path, "is a damaged .npz file"), zipfile.ZipFile(self._path) as archive:
            members = archive.namelist()
            for member in members:
                split = member.removesuffix("_images.npy")
                if split == member or f"{split}_labels.npy" not in members:
                    continue
                with archive.open(member) as file:
                    shape, dtype = _header(file)
                self._check_images(split, shape, dtype)
                found[split] = shape
        return found

    def _check_images(self, split: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if dtype != np.uint8 or not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
            raise InputError(
                self._path, f"has {split}_images of {dtype} {shape}", "give uint8 (n, y, x) or (n, y, x, 3); volumes are not read"
            )
        check_size(self._path, shape, 1, self._path.stat().st_size)

    def _labels(self) -> list[int]:
        values = load_array(self._path, key=f"{self._split}_labels")
        n = self._shape[0]
        if values.ndim == 2 and values.shape[0] == n and values.shape[1] > 1:
            raise InputError(self._path, f"holds {values.shape[1]} labels for each image", "give a set with one label an image")
        if values.dtype.kind not in "iu" or values.shape not in {(n,), (n, 1)}:
            raise InputError(
                self._path,
                f"has {self._split}_labels of {values.dtype} {values.shape} for {n} images",
                "give one whole number an image",
            )
        return [int(v) for v in values.ravel()]

    def _class_names(self, name: str, given: Sequence[str] | None, labels: Sequence[int]) -> tuple[str, ...]:
        if given is not None:
            names = class_names(given)
        elif name in _CLASSES:
            names = tuple(_CLASSES[name].split("|"))
        else:
            names = tuple(f"class {i}" for i in range(max(labels) + 1))
        wrong = next((v for v in labels if not 0 <= v < len(names)), None)
        if wrong is not None:
            raise InputError(
                self._path, f"has the label {wrong} and classes 0 to {len(names) - 1}", "correct the labels or give all classes"
            )
        return names


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
