"""Small drawn scans with findings: labelled images for demonstrations and tests, nothing to download, any number of them.

They are cartoons. A number measured on them says whether a training loop works, nothing about medicine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from medcore.datasets.base import EDGES, AnnotatedImages, Annotation, DatasetCard, count_classes
from medcore.datasets.boxes import Box, tight_box
from medcore.errors import ConfigError

Image = Float[np.ndarray, "y x"]
FINDINGS = ("normal", "nodule", "effusion", "fracture")
_SOURCE = "drawn by medcore.datasets.phantoms; made up, no patient"
_MAX_GRADES = 6


class DrawnImages(AnnotatedImages):
    """Drawn images with annotations, all in memory."""

    def __init__(self, images: UInt8[np.ndarray, "n y x"], annotations: list[Annotation], card: DatasetCard) -> None:
        super().__init__(annotations, card)
        self._images = images

    def read_image(self, index: int) -> UInt8[np.ndarray, "y x"]:
        """A copy of image `index`."""
        return np.array(self._images[index])


def drawn_scans(n: int, seed: int = 0, *, size: int = 56, noise: float = 12.0) -> DrawnImages:
    """Frontal "chest films": two lungs, ribs, a heart shadow, and one finding or none.

    Sample i depends on `seed` and i alone, so a longer set begins with the shorter one. Of every four samples in a row each class has one.

    Parameters
    ----------
    n
        Number of scans.
    seed
        Which scans.
    size
        Edge in pixels, 32 to 512.
    noise
        Standard deviation of the noise in grey levels of 255.

    Returns
    -------
    DrawnImages
        uint8 (size, size); labels ``normal``, ``nodule`` (a bright disc in a lung), ``effusion`` (fluid in the lower lung) and
        ``fracture`` (a gap and a step in the collar bone); `boxes` has the finding's box, none for normal scans.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """
    _check(n, seed, size, noise)
    images, annotations = np.empty((n, size, size), np.uint8), []
    for i in range(n):
        rng = np.random.default_rng([seed, 11, i])
        label = FINDINGS[int(np.random.default_rng([seed, 12, i // 4]).permutation(4)[i % 4])]
        image, box = _chest(rng, size, label)
        images[i] = _finish(image, noise, rng)
        name = f"scan-{seed}-{i:05d}"
        found = ((box,), (label,)) if box else ((), ())
        annotations.append(Annotation(sample_id=name, label=label, boxes=found[0], box_labels=found[1], subject=name))
    return DrawnImages(images, annotations, _card(f"drawn scans {seed}", FINDINGS, annotations, ordered=False))


def drawn_grades(
    n: int, seed: int = 0, *, size: int = 56, num_grades: int = 5, noise: float = 8.0, sign: Literal["spots", "fluid"] = "spots"
) -> DrawnImages:
    """Eye backgrounds with dark and bright spots, or chest films with fluid in one lung; the grade follows from their number or its height.

    Grade g has g (g + 1) / 2 to g (g + 1) / 2 + g spots: 0, 1-2, 3-5, 6-9, 10-14, ...; or fluid up to a level in the g-th of
    `num_grades` - 1 equal bands of the lung's height, grade 0 none. Sample i depends on `seed` and i alone; of every `num_grades`
    samples in a row each grade has one.

    Parameters
    ----------
    n, seed, size, noise
        See :func:`drawn_scans`.
    num_grades
        2 to 6.
    sign
        What is graded: ``spots`` (many small things to count) or ``fluid`` (one thing to measure, easier for a small model).

    Returns
    -------
    DrawnImages
        uint8 (size, size); `grade` 0 to num_grades - 1, `label` ``grade 0`` and so on, one box for each spot or for the fluid.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """
    _check(n, seed, size, noise)
    if not 2 <= num_grades <= _MAX_GRADES:
        raise ConfigError("drawn grades", f"num_grades is {num_grades}", f"give 2 to {_MAX_GRADES}")
    if sign not in {"spots", "fluid"}:
        raise ConfigError("drawn grades", f"sign is {sign!r}", "give spots or fluid")
    classes = tuple(f"grade {g}" for g in range(num_grades))
    images, annotations = np.empty((n, size, size), np.uint8), []
    for i in range(n):
        rng = np.random.default_rng([seed, 21, i])
        grade = int(np.random.default_rng([seed, 22, i // num_grades]).permutation(num_grades)[i % num_grades])
        image, spots = _fundus(rng, size, grade) if sign == "spots" else _flooded(rng, size, grade, num_grades)
        images[i] = _finish(image, noise, rng)
        name = f"{'eye' if sign == 'spots' else 'chest'}-{seed}-{i:05d}"
        boxes, kinds = tuple(b for b, _ in spots), tuple(k for _, k in spots)
        annotations.append(
            Annotation(sample_id=name, label=classes[grade], grade=grade, boxes=boxes, box_labels=kinds, subject=name)
        )
    return DrawnImages(images, annotations, _card(f"drawn grades {seed}", classes, annotations, ordered=True))


def _check(n: int, seed: int, size: int, noise: float) -> None:
    if n < 0 or seed < 0 or not 32 <= size <= 512 or not 0 <= noise <= 100:
        given = f"n {n}, seed {seed}, size {size}, noise {noise:g}"
        raise ConfigError("drawn scans", given, "give n and seed of at least 0, a size of 32 to 512, noise from 0 to 100")


def _card(name: str, classes: tuple[str, ...], annotations: list[Annotation], *, ordered: bool) -> DatasetCard:
    return DatasetCard(
        name=name,
        task="grading" if ordered else "classification",
        classes=classes,
        ordered=ordered,
        n_samples=len(annotations),
        class_counts=count_classes(classes, [a.label or "" for a in annotations]),
        licence="Apache-2.0",
        source=_SOURCE,
        box_convention=EDGES,
    )


def _finish(image: Image, noise: float, rng: np.random.Generator) -> UInt8[np.ndarray, "y x"]:
    gain, offset = rng.uniform(0.9, 1.1), rng.uniform(-8, 8)
    noisy = gain * image + offset + noise * rng.standard_normal(image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Frame:
    """Pixel centres x, y in [-1, 1] and the size of a pixel, for soft edges."""

    x: Image
    y: Image
    pixel: float

    @classmethod
    def of(cls, size: int) -> _Frame:
        axis = (np.arange(size) + 0.5) * 2 / size - 1
        y, x = np.meshgrid(axis, axis, indexing="ij")
        return cls(x=x, y=y, pixel=2 / size)

    def cover(self, distance: Image) -> Image:
        """How much of each pixel lies inside, from the signed distance to the edge (negative inside)."""
        return np.asarray(np.clip(0.5 - distance / self.pixel, 0, 1))

    def ellipse(self, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0) -> Image:
        u, v = self._turned(centre, angle)
        return self.cover((np.hypot(u / radii[0], v / radii[1]) - 1) * min(radii))

    def bar(self, centre: tuple[float, float], length: float, width: float, angle: float) -> Image:
        u, v = self._turned(centre, angle)
        return self.cover(np.maximum(np.abs(u) - length / 2, np.abs(v) - width / 2))

    def _turned(self, centre: tuple[float, float], angle: float) -> tuple[Image, Image]:
        x, y = self.x - centre[0], self.y - centre[1]
        cos, sin = np.cos(angle), np.sin(angle)
        return cos * x + sin * y, cos * y - sin * x


def _over(image: Image, cover: Image, value: float) -> Image:
    return image + cover * (value - image)


def _flooded(rng: np.random.Generator, size: int, grade: int, num_grades: int) -> tuple[Image, list[tuple[Box, str]]]:
    # The outer fifth of each band stays empty: nobody can grade fluid that stands on the line between two grades.
    share = 0.06 + 0.84 * (grade - 1 + rng.uniform(0.2, 0.8)) / (num_grades - 1)
    image, box = _chest(rng, size, "effusion" if grade else "normal", share)
    return image, [(box, "fluid")] if box else []


def _chest(rng: np.random.Generator, size: int, label: str, share: float | None = None) -> tuple[Image, Box | None]:
    f = _Frame.of(size)
    cx, cy, wide, tall = rng.uniform(-0.05, 0.05), rng.uniform(-0.04, 0.06), rng.uniform(0.92, 1.06), rng.uniform(0.94, 1.04)
    image = _over(np.full((size, size), 18.0), f.ellipse((cx, cy + 0.10), (0.90 * wide, 1.05 * tall)), 125.0)
    centres = [(cx + 0.40 * s * wide, cy + 0.08) for s in (-1, 1)]
    radii = (0.30 * wide, 0.58 * tall)
    lungs = [f.ellipse(c, radii, 0.12 * s) for c, s in zip(centres, (-1, 1), strict=True)]
    for lung in lungs:
        image = _over(image, lung, 48.0)
    for k in range(5):  # ribs: bows that only brighten the lungs a little
        bow = cy - 0.38 + 0.22 * k + 0.30 * (np.abs(f.x - cx) - 0.4) ** 2 + 0.12 * np.abs(f.x - cx)
        image = image + 16 * f.cover(np.abs(f.y - bow) - 0.03) * np.maximum(*lungs)
    image = _over(image, 0.8 * f.ellipse((cx + 0.12, cy + 0.30), (0.26, 0.24), 0.4), 150.0)
    bones = [((cx + 0.36 * s, cy - 0.64), 0.16 * s + rng.uniform(-0.05, 0.05)) for s in (-1, 1)]
    side = int(rng.integers(2))
    for k, (centre, angle) in enumerate(bones):
        if label != "fracture" or k != side:
            image = _over(image, f.bar(centre, 0.58, 0.085, angle), 205.0)
    draw: dict[str, Callable[[], tuple[Image, Image]]] = {
        "nodule": lambda: _nodule(f, image, rng, centres[side], radii),
        "effusion": lambda: _effusion(f, image, rng, lungs[side], centres[side], radii, share),
        "fracture": lambda: _fracture(f, image, rng, *bones[side]),
    }
    if label not in draw:
        return image, None
    image, finding = draw[label]()
    return image, tight_box(finding > 0.5)


def _nodule(
    f: _Frame, image: Image, rng: np.random.Generator, lung: tuple[float, float], radii: tuple[float, float]
) -> tuple[Image, Image]:
    radius = rng.uniform(0.085, 0.15)
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6)
    cover = f.ellipse(
        (lung[0] + far * (radii[0] - radius) * np.cos(angle), lung[1] + far * radii[1] * np.sin(angle)), (radius, radius)
    )
    return _over(image, cover, rng.uniform(165, 205)), cover


def _effusion(
    f: _Frame,
    image: Image,
    rng: np.random.Generator,
    lung: Image,
    centre: tuple[float, float],
    radii: tuple[float, float],
    share: float | None,
) -> tuple[Image, Image]:
    """Fluid that fills the given share of the lung's height, or a random one of 0.28 to 0.5."""
    height = 1 - rng.uniform(0.0, 0.45) if share is None else 2 * share
    level = centre[1] + radii[1] * (1 - height)
    meniscus = level - 0.9 * (f.x - centre[0]) * np.sign(centre[0]) * rng.uniform(0.1, 0.5)
    cover = lung * f.cover(meniscus - f.y)
    return _over(image, cover, rng.uniform(140, 170)), cover


def _fracture(f: _Frame, image: Image, rng: np.random.Generator, centre: tuple[float, float], angle: float) -> tuple[Image, Image]:
    gap, step, tilt = rng.uniform(0.10, 0.16), rng.uniform(0.09, 0.15) * rng.choice((-1, 1)), rng.uniform(0.2, 0.45)
    half = (0.58 - gap) / 2
    bone = np.zeros_like(image)
    for s in (-1, 1):
        along = s * (gap + half) / 2
        place = (centre[0] + along * np.cos(angle), centre[1] + along * np.sin(angle) + s * step / 2)
        bone = np.maximum(bone, f.bar(place, half, 0.085, angle + s * tilt * np.sign(step)))
    return _over(image, bone, 205.0), bone


def _fundus(rng: np.random.Generator, size: int, grade: int) -> tuple[Image, list[tuple[Box, str]]]:
    f = _Frame.of(size)
    retina = f.ellipse((0.0, 0.0), (0.93, 0.93))
    shade = 135 - 35 * (f.x**2 + f.y**2) + 10 * f.x * rng.uniform(-1, 1)
    image = 10 + retina * (shade - 10)
    s = rng.choice((-1, 1))
    disc = (0.50 * s + rng.uniform(-0.04, 0.04), rng.uniform(-0.08, 0.08))
    for bend in (-1, 1):
        path = disc[1] + bend * (0.16 + rng.uniform(0.30, 0.42)) * np.sqrt(np.maximum(np.abs(f.x - disc[0]), 0))
        image = _over(image, 0.7 * retina * f.cover(np.abs(f.y - path) - 0.025) * ((f.x - disc[0]) * s < 0), 80.0)
    image = _over(image, 0.5 * f.ellipse((-0.12 * s, 0.0), (0.13, 0.13)), 85.0)
    image = _over(image, f.ellipse(disc, (0.15, 0.17)), 215.0)
    count = grade * (grade + 1) // 2 + int(rng.integers(grade + 1))
    spots: list[tuple[Box, str]] = []
    for centre, radius in _spread(rng, count, disc, f.pixel):
        dark = bool(rng.random() < 0.6)
        cover = f.ellipse(centre, (radius, radius * rng.uniform(0.85, 1.2)), rng.uniform(0, 3))
        image = _over(image, cover, 35.0 if dark else 235.0)
        box = tight_box(cover > 0.5)
        if box is None:
            raise ConfigError("drawn grades", f"a spot vanished at {size} pixels", "choose a larger size")
        spots.append((box, "haemorrhage" if dark else "exudate"))
    return image, spots


def _spread(
    rng: np.random.Generator, count: int, disc: tuple[float, float], smallest: float
) -> list[tuple[tuple[float, float], float]]:
    """Centres and radii of spots that touch neither each other nor the optic disc."""
    found: list[tuple[tuple[float, float], float]] = []
    radius = 0.075
    while len(found) < count:
        far, angle = 0.80 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        centre = (float(far * np.cos(angle)), float(far * np.sin(angle)))
        size = max(radius * float(rng.uniform(0.75, 1.25)), smallest)
        clear = all(np.hypot(centre[0] - x, centre[1] - y) > size + r + 0.05 for (x, y), r in found)
        if clear and np.hypot(centre[0] - disc[0], centre[1] - disc[1]) > 0.20 + size:
            found.append((centre, size))
        radius *= 0.999  # a crowded eye gets smaller spots rather than none
    return found
