"""Near duplicates: which changed copies are found, which different images are taken for copies, and how long it takes."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _results import publish
from PIL import Image

from medcore.datasets import open_dataset, pixel_hash
from medcore.datasets.alignment import match
from medcore.datasets.fingerprints import VIEWS, Fingerprint, fingerprint
from medcore.datasets.near_duplicates import LEAST_CORRELATION, LEAST_CORRELATION_SMALL, candidates, link

SEED = 0
SIZES = (1_000, 10_000, 50_000)
Change = Callable[[np.ndarray], np.ndarray]


def compressed(quality: int) -> Change:
    """JPEG and back."""

    def change(image: np.ndarray) -> np.ndarray:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream))

    return change


def scaled(factor: float) -> Change:
    """Another size, by cubic interpolation."""

    def change(image: np.ndarray) -> np.ndarray:
        size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))

    return change


def levels(contrast: float, brightness: float) -> Change:
    """Grey values scaled about 128 and raised, then clipped."""
    return lambda image: np.clip((image - 128.0) * contrast + 128 + brightness, 0, 255).astype(np.uint8)


def gamma(power: float) -> Change:
    """A tone curve."""
    return lambda image: (255 * (image / 255.0) ** power).round().astype(np.uint8)


def cropped(share: float, down: float, right: float) -> Change:
    """Without a share of height and width, at least one pixel, at a border or divided between two."""

    def change(image: np.ndarray) -> np.ndarray:
        rows, columns = (max(1, round(n * share)) for n in image.shape[:2])
        y, x = round(rows * down), round(columns * right)
        return image[y : image.shape[0] - rows + y, x : image.shape[1] - columns + x]

    return change


def shifted(share: float) -> Change:
    """Moved down and right over black, by at least one pixel."""

    def change(image: np.ndarray) -> np.ndarray:
        rows, columns = (max(1, round(n * share)) for n in image.shape[:2])
        moved = np.zeros_like(image)
        moved[rows:, columns:] = image[:-rows, :-columns]
        return moved

    return change


def together(*changes: Change) -> Change:
    """One after the other."""

    def change(image: np.ndarray) -> np.ndarray:
        for one in changes:
            image = one(image)
        return image

    return change


CHANGES: dict[str, Change] = {
    "JPEG, quality 95": compressed(95),
    "JPEG, quality 60": compressed(60),
    "JPEG, quality 30": compressed(30),
    "half size": scaled(0.5),
    "three quarters": scaled(0.75),
    "double size": scaled(2),
    "brightness +30": levels(1, 30),
    "brightness -30": levels(1, -30),
    "contrast x 0.7": levels(0.7, 0),
    "contrast x 1.3": levels(1.3, 0),
    "gamma 0.7": gamma(0.7),
    "cut by 2 %, corner": cropped(0.02, 0, 1),
    "cut by 5 %": cropped(0.05, 0.2, 0.7),
    "cut by 10 %, corner": cropped(0.1, 0, 0),
    "shifted by 1 %": shifted(0.01),
    "shifted by 2 %": shifted(0.02),
    "shifted by 4 %": shifted(0.04),
    "cut, smaller, brighter, JPEG 60": together(cropped(0.04, 0.3, 0.6), scaled(0.6), levels(1.1, 15), compressed(60)),
}


def load(root: Path) -> dict[str, list[np.ndarray]]:
    """The fundus images and the X-rays, each picture once."""
    eyes = [open_dataset(root / "idrid-fundus" / name) for name in ("grading", "segmentation")]
    file = root / "pneumoniamnist" / "pneumoniamnist_train_val.npz"
    chests = [open_dataset(file, split=split) for split in ("train", "val")]
    found = {}
    for name, sets in (("fundus", eyes), ("X-ray", chests)):
        images = [dataset[i].image for dataset in sets for i in range(len(dataset))]
        found[name] = list({pixel_hash(image): image for image in images}.values())
    return found


def closest(prints: list[Fingerprint | None]) -> float:
    """Highest correlation of two different images that the hashes propose."""
    links = link(prints, least=0.01)
    return max((k.correlation for k in links), default=0.0)


def closest_of_all(prints: list[Fingerprint | None]) -> float:
    """Highest correlation of two different images, whatever their hashes."""
    thumbnails = np.stack([p.thumbnail for p in prints if p is not None])
    first, second = np.triu_indices(len(thumbnails), 1)
    blocks = [slice(i, i + 200) for i in range(0, len(first), 200)]
    views = np.tile(np.array(VIEWS[:1]), (200, 1))
    return max(float(match(thumbnails[first[b]], thumbnails[second[b]], views[: len(first[b])]).correlation.max()) for b in blocks)


def recall(images: list[np.ndarray], change: Change) -> tuple[float, float]:
    """Share of images whose changed copy is found among the others and their copies, and the lowest correlation of those found."""
    prints = [fingerprint(image) for image in images] + [fingerprint(change(image)) for image in images]
    side = np.repeat([0, 1], len(images))
    own = [k for k in link(prints, side=side) if k.second - k.first == len(images)]
    return len(own) / len(images), min((k.correlation for k in own), default=float("nan"))


def alike(images: list[np.ndarray], count: int) -> list[Fingerprint | None]:
    """Many images that are as alike as can be: means of two X-rays, with noise."""
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(count):
        first, second = (images[i].astype(np.float32) for i in rng.integers(0, len(images), 2))
        weight = rng.uniform(0.3, 0.7)
        mixed = weight * first + (1 - weight) * second + rng.normal(0, 3, first.shape)
        found.append(fingerprint(np.clip(mixed, 0, 255).astype(np.uint8)))
    return found


def timing(images: dict[str, list[np.ndarray]]) -> list[str]:
    """Sentences about time."""
    lines = []
    for name, own in images.items():
        some = own[:500]
        begin = time.perf_counter()
        prints = [fingerprint(image) for image in some]
        seconds = (time.perf_counter() - begin) / len(some) * 1000
        height, width = some[0].shape[:2]
        lines.append(f"Fingerprints of 1,000 {name} images of {width} x {height} take {seconds:.1f} s, decoding not counted.")
        del prints
    many = alike(images["X-ray"], SIZES[-1])
    for size in SIZES:
        begin = time.perf_counter()
        proposed = len(candidates(many[:size], 0, None))
        seconds = time.perf_counter() - begin
        pairs = size * (size - 1) // 2
        lines.append(
            f"Search among {size:,} drawn images that are very alike (means of two X-rays): {seconds:.1f} s; of {pairs:,} pairs "
            f"{proposed:,} are left for the pixels."
        )
    begin = time.perf_counter()
    link(many[: SIZES[1]])
    seconds = time.perf_counter() - begin
    lines.append(f"Search and comparison of pixels among {SIZES[1]:,} of them: {seconds:.1f} s.")
    return lines


def main() -> None:
    """Measure recall, false pairs and time."""
    images = load(Path(os.environ["MEDCORE_TEST_DATA"]))
    least = {"fundus": LEAST_CORRELATION, "X-ray": LEAST_CORRELATION_SMALL}
    sentences = []
    for name, own in images.items():
        halves = [closest([fingerprint(i) for i in own[start::2]]) for start in (0, 1)]
        everything = [fingerprint(image) for image in own]
        some = everything[:150]
        proposed, all_pairs, false = closest(everything), closest_of_all(some), len(link(everything))
        sentences.append(
            f"{name}: {len(own):,} different images, the threshold is {least[name]}. Highest correlation of two different images that "
            f"the hashes propose: {halves[0]:.3f} in the even half, {halves[1]:.3f} in the odd half, {proposed:.3f} among all; of all "
            f"pairs of {len(some)}, proposed or not, {all_pairs:.3f}. "
            f"Pairs taken for copies: {false} of {len(own) * (len(own) - 1) // 2:,}."
        )
    rows = []
    for title, change in CHANGES.items():
        row: list[object] = [title]
        for own in images.values():
            found, lowest = recall(own[1::2][:100], change)
            row += [f"{100 * found:.0f} %", "" if np.isnan(lowest) else f"{lowest:.3f}"]
        rows.append(row)
    columns = ["copy", *(text for name in images for text in (f"{name}: found", "lowest correlation"))]
    note = (
        "Copies of 39 fundus photographs (IDRiD, 640 x 425) and 100 chest X-rays (PneumoniaMNIST, 28 x 28), from the odd half of each "
        "set. A copy is found if it is joined with its original. Radii and thresholds were chosen with all of these images in sight: the "
        "figures say how well they fit, not what to expect of other images, for which see duplicates_held_out.md.\n\n"
        + "\n\n".join([*sentences, *timing(images)])
    )
    publish("duplicates", "Near duplicates", columns, rows, seed=SEED, note=note)


def held_out() -> None:
    """Recall and false pairs on photographs of another kind, which no radius or threshold was chosen on."""
    smears = open_dataset(Path(os.environ["MEDCORE_TEST_DATA"]) / "bccd-boxes")
    images = list({pixel_hash(sample.image): sample.image for sample in (smears[i] for i in range(len(smears)))}.values())
    links = link([fingerprint(image) for image in images])
    rows = []
    for title, change in CHANGES.items():
        found, lowest = recall(images, change)
        rows.append([title, f"{100 * found:.0f} %", "" if np.isnan(lowest) else f"{lowest:.3f}"])
    note = (
        f"Copies of {len(images)} blood smears (BCCD, 640 x 480); radii and thresholds were fixed on fundus photographs and X-rays before. "
        f"Pairs of different files taken for copies: {len(links)} of {len(images) * (len(images) - 1) // 2:,}."
    )
    publish("duplicates_held_out", "Near duplicates, held out", ["copy", "found", "lowest correlation"], rows, seed=SEED, note=note)


if __name__ == "__main__":
    main()
    held_out()
