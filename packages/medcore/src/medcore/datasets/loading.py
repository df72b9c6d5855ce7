"""Batches for ``torch.utils.data.DataLoader``, made without torch.

A data set of this package is what that class calls map-style (``__len__`` and ``__getitem__``), can be pickled and holds no open file, so
that workers may be forked or spawned. Samples are no tensors; :class:`Collate` makes them batches of arrays, which
``torch.from_numpy`` takes without copying::

    loader = DataLoader(dataset, batch_size=16, shuffle=True, num_workers=2, collate_fn=Collate(dataset))
    for batch in loader:
        images, numbers = torch.from_numpy(batch["image"]), torch.from_numpy(batch["label"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medcore.datasets.base import Dataset, Sample, box_names
from medcore.errors import InputError

NO_GRADE = -1
"""Stands for a missing grade or class among the numbers of a batch."""


class Collate:
    """Turns samples into one mapping of arrays and lists; knows the classes of its data set and nothing else, and can be pickled.

    Parameters
    ----------
    dataset
        Whose classes count, or their names in order.

    Attributes
    ----------
    classes, box_classes
        Names by number: of samples, and of what is in boxes (the same, unless boxes hold something else).

    Notes
    -----
    A batch has the keys

    - ``sample_id``, ``subject``, ``split``, ``question``, ``answer``, ``choices``: lists;
    - ``image``: one uint8 array (n, y, x[, 3]) or (n, z, y, x) where all images have one shape, else a list of arrays;
    - ``label``: int64 (n,), numbers of the classes, -1 where a sample has none; ``labels``: float32 (n, classes) of zeros and ones, only
      where samples have several classes; ``grade``: int64 (n,), -1 where there is none;
    - ``boxes``: a list of float64 (m, 4), None where boxes are not known; ``box_labels``: a list of int64 (m,), numbers of
      `box_classes`; ``box_crowd``: a list of bool (m,).
    """

    def __init__(self, dataset: Dataset | Sequence[str]) -> None:
        self.classes = tuple(dataset.classes if isinstance(dataset, Dataset) else dataset)
        self.box_classes = box_names(dataset) if isinstance(dataset, Dataset) else self.classes
        self._number = {name: i for i, name in enumerate(self.classes)}
        self._box_number = {name: i for i, name in enumerate(self.box_classes)}

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """The batch of `samples`.

        Raises
        ------
        InputError
            If a sample has a class that the data set does not know.
        """
        batch: dict[str, Any] = {
            key: [getattr(s, key) for s in samples] for key in ("sample_id", "subject", "split", "question", "answer", "choices")
        }
        images = [s.image for s in samples]
        batch["image"] = np.stack(images) if len({i.shape for i in images}) == 1 else images
        batch["label"] = np.array(
            [NO_GRADE if s.label is None else _number_of(self._number, s.label, s) for s in samples], dtype=np.int64
        )
        batch["grade"] = np.array([NO_GRADE if s.grade is None else s.grade for s in samples], dtype=np.int64)
        if any(s.labels is not None for s in samples):
            batch["labels"] = self._several(samples)
        batch["boxes"] = [s.boxes for s in samples]
        batch["box_labels"] = [
            np.array([_number_of(self._box_number, name, s) for name in s.box_labels], dtype=np.int64) for s in samples
        ]
        batch["box_crowd"] = [np.array(s.box_crowd or (False,) * len(s.box_labels), dtype=bool) for s in samples]
        return batch

    def _several(self, samples: Sequence[Sample]) -> np.ndarray:
        found = np.zeros((len(samples), len(self.classes)), dtype=np.float32)
        for row, sample in zip(found, samples, strict=True):
            row[[_number_of(self._number, name, sample) for name in sample.labels or ()]] = 1
        return found


def _number_of(numbers: Mapping[str, int], name: str, sample: Sample) -> int:
    if name not in numbers:
        known = ", ".join(list(numbers)[:20]) or "none"
        raise InputError(sample.sample_id, f"has the class {name!r}, known are {known}", "give the classes of its data set")
    return numbers[name]
