from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.coordinates import check_coordinates, convert, frame

SIDE = st.integers(1, 4000)
MODES = st.sampled_from(["pixel", "norm1", "norm16", "norm100", "norm1000", "resized"])


def test_frames() -> None:
    assert frame("pixel", (640, 480)) == (640, 480)
    assert frame("norm1", (640, 480)) == (1, 1)
    assert frame("norm16", (640, 480)) == (16, 16)


@pytest.mark.parametrize("name", ["", "norm", "norm0", "norm-1", "norm1.5", "norm123456", "Pixel", "relative"])
def test_unknown_units_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"coordinates: .* is unknown"):
        check_coordinates(name)


@given(MODES, MODES, SIDE, SIDE, st.lists(st.tuples(*[st.floats(0, 4000)] * 4), max_size=3))
def test_conversion_there_and_back(first: str, second: str, width: int, height: int, boxes: list[tuple[float, ...]]) -> None:
    a, b = frame(first, (width, height)), frame(second, (width, height))
    back = convert(convert(boxes, a, b), b, a)
    assert all(x == pytest.approx(y) for old, new in zip(boxes, back, strict=True) for x, y in zip(old, new, strict=True))


@given(st.integers(28, 3000), st.integers(28, 3000))
def test_the_resized_frame_is_that_of_the_real_image_processor(width: int, height: int) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    low, high = 56 * 56, 28 * 28 * 1280
    if max(width, height) / min(width, height) < 200:
        expected = smart_resize(height, width, factor=28, min_pixels=low, max_pixels=high)
        assert frame("resized", (width, height)) == expected[::-1]


@given(st.integers(28, 3000), st.integers(28, 3000))
def test_limits_of_the_resize(width: int, height: int) -> None:
    w, h = frame("resized", (width, height), min_pixels=100_000, max_pixels=200_000)
    assert w % 28 == h % 28 == 0
    assert w * h <= 200_000 or min(w, h) == 28
    if max(width, height) < 3 * min(width, height):
        assert w * h >= 100_000 * 0.9
        assert math.isclose(w / h, width / height, rel_tol=0.35)
