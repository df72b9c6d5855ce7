"""Whatever bytes of a data set's files are changed: it opens, or the error names the file. No other exception, no other outcome."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from medcore.datasets import GradedFolder, MedMnist, VocFolder, read_image
from medcore.errors import ConfigError, InputError

CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


def _damaged(content: bytes, changes: list[tuple[float, int]], keep: float) -> bytes:
    changed = bytearray(content)
    for place, value in changes:
        changed[int(place * len(changed))] = value
    return bytes(changed[: max(1, int(keep * len(changed)))])


def _use(path, original, changes, keep, read):
    try:
        path.write_bytes(_damaged(original, changes, keep))
        with contextlib.suppress(InputError, ConfigError):
            read()
    finally:
        path.write_bytes(original)


KEEP = st.one_of(st.just(1.0), st.floats(0, 1))


@settings(max_examples=150)
@given(CHANGES, KEEP)
def test_medmnist(write_medmnist, changes, keep):
    path = write_medmnist()
    _use(path, path.read_bytes(), changes, keep, lambda: list(MedMnist(path)))


@settings(max_examples=150)
@given(CHANGES, KEEP)
def test_tables(graded, changes, keep):
    path = graded / "labels.csv"
    _use(path, path.read_bytes(), changes, keep, lambda: GradedFolder(graded))


@settings(max_examples=150)
@given(CHANGES, KEEP)
def test_annotations(write_voc, changes, keep):
    folder = write_voc("one", ("cell", 1, 2, 5, 9), ("dirt", 0, 0, 30, 20))
    path = folder / "Annotations" / "one.xml"
    _use(path, path.read_bytes(), changes, keep, lambda: VocFolder(folder))


@settings(max_examples=150)
@given(CHANGES, KEEP, st.sampled_from(["png", "jpg", "tif", "bmp"]))
def test_images(tmp_path, picture, save_image, changes, keep, suffix):
    path = save_image(picture(height=40, width=40), tmp_path / f"a.{suffix}")
    _use(path, path.read_bytes(), changes, keep, lambda: read_image(path))
