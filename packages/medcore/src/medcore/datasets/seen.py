"""One look at every sample: what the checks need to know after its image is gone again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medcore.datasets.base import Annotation, Dataset
from medcore.datasets.duplicates import pixel_hash
from medcore.datasets.fingerprints import Fingerprint, fingerprint
from medcore.errors import InputError, MissingExtraError

Watch = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A data set, or one part of it, to be checked together with others.

    Attributes
    ----------
    dataset
        The samples.
    name
        Name of the data set; parts of one data set have the same.
    split
        Name of the part; None where the samples state their own or there are no parts.
    """

    dataset: Dataset
    name: str
    split: str | None = None

    @property
    def shown(self) -> str:
        """Name of data set and part."""
        return self.name if self.split is None else f"{self.name}, {self.split}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What is kept of a sample after its image was looked at.

    Attributes
    ----------
    name
        How findings call it.
    dataset, split
        Where it belongs.
    annotation
        Everything but the pixels.
    comparable
        What its labels may be compared with: samples of equal task and classes.
    problem
        Why it cannot be read; then the rest is empty.
    sha256, shape, span
        Hash of the pixels, their shape, lowest and highest value.
    print
        For the search of near duplicates.
    """

    name: str
    dataset: str
    split: str | None
    annotation: Annotation
    comparable: tuple[Any, ...]
    volumetric: bool = False
    problem: str | None = None
    sha256: str | None = None
    shape: tuple[int, ...] = ()
    span: tuple[int, int] = (0, 0)
    print: Fingerprint | None = None

    @property
    def size(self) -> str:
        """Width and height, of a volume also the number of slices."""
        sides = self.shape[::-1] if self.volumetric else self.shape[1::-1]
        return " x ".join(map(str, sides))

    @property
    def mode(self) -> str:
        """``grey``, ``colour`` or ``volume``."""
        return "grey" if len(self.shape) == 2 else "volume" if self.volumetric else "colour"


def look(parts: Sequence[Part], *, near: bool, watch: Watch | None) -> list[Seen]:
    """Decode every image once."""
    places = [(part, i) for part in parts for i in range(len(part.dataset))]
    several = len({p.name for p in parts}) > 1
    return [_seen(places[k][0], places[k][1], several=several, near=near) for k in (watch or iter)(range(len(places)))]


def _seen(part: Part, index: int, *, several: bool, near: bool) -> Seen:
    card, annotation = part.dataset.card, part.dataset.annotations[index]
    known: dict[str, Any] = {
        "name": f"{part.name}/{annotation.sample_id}" if several else annotation.sample_id,
        "dataset": part.name,
        "split": part.split if part.split is not None else annotation.split,
        "annotation": annotation,
        "comparable": (card.task, card.classes),
        "volumetric": card.volumetric,
    }
    try:
        sample = part.dataset[index]
    except MissingExtraError:
        raise
    except InputError as error:
        return Seen(**known, problem=f"{error.what}: {error.problem}")
    image = getattr(sample, "image", None)
    if image is None:  # a series of images (relaxometry): only exact copies are looked for
        data = sample.series.data  # type: ignore[attr-defined]
        return Seen(**known, sha256=pixel_hash(np.atleast_2d(np.frombuffer(data.tobytes(), dtype=np.uint8))))
    return Seen(
        **known,
        sha256=pixel_hash(image),
        shape=image.shape,
        span=(int(image.min()), int(image.max())),
        print=fingerprint(image, volumetric=card.volumetric) if near else None,
    )
