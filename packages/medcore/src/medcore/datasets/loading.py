"""Batches for ``torch.utils.data.DataLoader``, made without torch.

A data set of this package is what that class calls map-style (``__len__`` and ``__getitem__``), can be pickled and holds no open file, so
that workers may be forked or spawned. Samples are no tensors; :class:`Collate` makes them batches of arrays, which
``torch.from_numpy`` takes without copying::

    loader = DataLoader(dataset, batch_size=16, shuffle=True, num_workers=2, collate_fn=Collate(dataset))
    for batch in loader:
        images, numbers = torch.from_numpy(batch["image"]), torch.from_numpy(batch["label"])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medcore.datasets.base import Dataset, Sample
from medcore.errors import InputError

NO_GRADE = -1
"""Stands for a missing grade or class among the numbers of a batch."""


class Collate:
    """Turns samples into one mapping of arrays and lists; knows the classes of its data set and nothing else, and can be pickled.

    Parameters
    ----------
    dataset
        Whose classes count, or their names in order.

    Notes
    -----
    A batch has the keys

    - ``sample_id``, ``subject``, ``split``, ``question``, ``answer``, ``choices``: lists;
    - ``image``: one uint8 array (n, y, x[, 3]) or (n, z, y, x) where all images have one shape, else a list of arrays;
    - ``label``: int64 (n,), numbers of the classes, -1 where a sample has none; ``labels``: float32 (n, classes) of zeros and ones, only
      where samples have several classes; ``grade``: int64 (n,), -1 where there is none;
    - ``boxes``: a list of float64 (m, 4), None where boxes are not known; ``box_labels``: a list of int64 (m,); ``box_crowd``: a list of
      bool (m,).
    """

    def __init__(self, dataset: Dataset | Sequence[str]) -> None:
        self.classes = tuple(dataset.classes if isinstance(dataset, Dataset) else dataset)
        self._number = {name: i for i, name in enumerate(self.classes)}

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
        batch["label"] = np.array([NO_GRADE if s.label is None else self._of(s.label, s) for s in samples], dtype=np.int64)
        batch["grade"] = np.array([NO_GRADE if s.grade is None else s.grade for s in samples], dtype=np.int64)
        if any(s.labels is not None for s in samples):
            batch["labels"] = self._several(samples)
        batch["boxes"] = [s.boxes for s in samples]
        batch["box_labels"] = [np.array([self._of(name, s) for name in s.box_labels], dtype=np.int64) for s in samples]
        batch["box_crowd"] = [np.array(s.box_crowd or (False,) * len(s.box_labels), dtype=bool) for s in samples]
        return batch

    def _several(self, samples: Sequence[Sample]) -> np.ndarray:
        found = np.zeros((len(samples), len(self.classes)), dtype=np.float32)
        for row, sample in zip(found, samples, strict=True):
            row[[self._of(name, sample) for name in sample.labels or ()]] = 1
        return found

    def _of(self, name: str, sample: Sample) -> int:
        if name not in self._number:
            known = ", ".join(self.classes[:20]) or "none"
            raise InputError(sample.sample_id, f"has the class {name!r}, known are {known}", "give the classes of its data set")
        return self._number[name]
