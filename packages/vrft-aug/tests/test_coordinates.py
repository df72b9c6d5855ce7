from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError, InputError
from vrft_aug.coordinates import Resize, check_coordinates, convert, frame

SIDE = st.integers(20, 4000)
MODES = st.sampled_from(["pixel", "norm1", "norm16", "norm100", "norm1000", "resized"])


def test_frames() -> None:
    assert frame("pixel", (640, 480)) == (640, 480)
    assert frame("norm1", (640, 480)) == (1, 1)
    assert frame("norm16", (640, 480)) == (16, 16)


@pytest.mark.parametrize("name", ["", "norm", "norm0", "norm-1", "norm1.5", "norm123456", "rel0", "rel", "Pixel", "relative"])
def test_unknown_units_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"coordinates: .* is unknown"):
        check_coordinates(name)


@given(MODES, MODES, SIDE, SIDE, st.lists(st.tuples(*[st.floats(0, 4000)] * 4), max_size=3))
def test_conversion_there_and_back(first: str, second: str, width: int, height: int, boxes: list[tuple[float, ...]]) -> None:
    a, b = frame(first, (width, height)), frame(second, (width, height))
    back = convert(convert(boxes, a, b), b, a)
    assert all(x == pytest.approx(y) for old, new in zip(boxes, back, strict=True) for x, y in zip(old, new, strict=True))


@pytest.mark.parametrize(
    ("other", "name"),
    [("rel1000", "norm1000"), ("rel1", "norm1"), ("rel16", "norm16"), ("original", "pixel"), ("resized", "resized")],
)
def test_the_names_that_users_know_are_the_same_units(other: str, name: str) -> None:
    assert check_coordinates(other) == check_coordinates(name) == name
    assert frame(other, (640, 480)) == frame(name, (640, 480))


# (width, height), frame at patch 14, merge 2, 56 x 56 to 28 x 28 x 1280 pixels, and why it is in the table.
RESIZED = [
    ((640, 480), (644, 476), "nearest multiples of 28"),
    ((42, 56), (56, 56), "1.5 is a tie and goes to 2"),
    ((70, 70), (56, 56), "2.5 is a tie and goes to 2, too"),
    ((98, 126), (112, 112), "3.5 goes to 4, and 4.5 as well"),
    ((28, 28), (56, 56), "enlarged to the smallest area"),
    ((1, 1), (56, 56), "one pixel"),
    ((5, 1000), (28, 812), "a side that rounds to 0 makes the area 0, so it is enlarged, although the other side is long"),
    ((14, 1400), (28, 560), "half a multiple rounds to 0"),
    ((15, 1400), (28, 1400), "a little more than half does not"),
    ((4000, 3000), (1148, 840), "made smaller to the largest area"),
    ((20000, 100), (14140, 56), "made smaller, ratio 200"),
]


@pytest.mark.parametrize(("size", "expected", "why"), RESIZED, ids=[r[2] for r in RESIZED])
def test_resized_frames_by_hand(size: tuple[int, int], expected: tuple[int, int], why: str) -> None:
    assert frame("resized", size) == expected
    assert frame("resized", size[::-1]) == expected[::-1]


SETTINGS = st.builds(
    lambda patch, merge, low, more: Resize(patch_size=patch, merge_size=merge, min_pixels=low, max_pixels=low * more),
    st.sampled_from([8, 14, 16]),
    st.integers(1, 3),
    st.integers(16 * 16, 400 * 400),
    st.integers(1, 200),
)


@given(st.integers(1, 9000), st.integers(1, 9000), SETTINGS)
def test_the_resized_frame_is_that_of_transformers_and_refuses_what_it_refuses(width: int, height: int, resize: Resize) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    limits = {"min_pixels": resize.min_pixels, "max_pixels": resize.max_pixels}
    try:
        expected = smart_resize(height, width, factor=resize.patch_size * resize.merge_size, **limits)
    except ValueError:
        with pytest.raises(
            InputError, match="cannot be resized by the processor; give images with sides in a ratio of at most 200"
        ):
            frame("resized", (width, height), resize=resize)
    else:
        assert frame("resized", (width, height), resize=resize) == expected[::-1]


@given(st.integers(1, 400), st.integers(1, 400), SETTINGS)
def test_ties_and_small_images_agree_with_transformers(columns: int, rows: int, resize: Resize) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    half = resize.patch_size * resize.merge_size / 2
    width, height = columns * half, rows * half
    if max(columns, rows) <= 200 * min(columns, rows):
        limits = {"min_pixels": resize.min_pixels, "max_pixels": resize.max_pixels}
        expected = smart_resize(height, width, factor=round(2 * half), **limits)
        assert frame("resized", (width, height), resize=resize) == expected[::-1]


@given(st.integers(28, 3000), st.integers(28, 3000))
def test_limits_of_the_resize(width: int, height: int) -> None:
    w, h = frame("resized", (width, height), resize=Resize(min_pixels=100_000, max_pixels=200_000))
    assert w % 28 == h % 28 == 0
    assert w * h <= 200_000 or min(w, h) == 28
    if max(width, height) < 3 * min(width, height):
        assert w * h >= 100_000 * 0.9
        assert math.isclose(w / h, width / height, rel_tol=0.35)


@pytest.mark.parametrize("size", [(0, 10), (-5, 10), (math.nan, 10), (math.inf, 10), (10, 2001)])
def test_sizes_that_no_image_has_are_refused(size: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="cannot be resized by the processor"):
        frame("resized", size)


@pytest.mark.parametrize("settings", [{"patch_size": 0}, {"merge_size": 0}, {"min_pixels": 0}, {"min_pixels": 10, "max_pixels": 9}])
def test_resizes_that_no_processor_has_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="give positive sizes and min_pixels <= max_pixels"):
        Resize(**settings)


def test_processor_files_of_all_forms_are_read(tmp_path: Path) -> None:
    expected = Resize(patch_size=16, merge_size=2, min_pixels=1000, max_pixels=2000)
    old = {"patch_size": 16, "merge_size": 2, "min_pixels": 1000, "max_pixels": 2000}
    new = {"patch_size": 16, "merge_size": 2, "size": {"shortest_edge": 1000, "longest_edge": 2000}}
    assert Resize.from_processor(old) == Resize.from_processor(new) == Resize.from_processor({"image_processor": new}) == expected
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    assert Resize.from_processor(tmp_path) == expected
    (tmp_path / "processor_config.json").write_text('{"processor_class": "X"}')
    assert Resize.from_processor(tmp_path) == expected
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": new | {"patch_size": 14}}))
    assert Resize.from_processor(tmp_path).patch_size == 14


def test_processors_that_do_not_say_how_they_resize_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has neither processor_config\.json nor preprocessor_config\.json"):
        Resize.from_processor(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text('{"size": {"height": 224, "width": 224}, "patch_size": 16, "merge_size": 2}')
    with pytest.raises(InputError, match=r"does not say how images are resized .*use norm1000 or give the limits"):
        Resize.from_processor(tmp_path)
    file.write_text("{")
    with pytest.raises(InputError, match=r"preprocessor_config\.json: cannot be read"):
        Resize.from_processor(tmp_path)


PHOTOGRAPHS = [
    (640, 480),
    (28, 28),
    (6, 7),
    (42, 70),
    (98, 126),
    (1000, 1003),
    (5, 1000),
    (14, 700),
    (15, 700),
    (700, 14),
    (1800, 1300),
]


@pytest.mark.integration
@pytest.mark.parametrize("largest", [None, 401408])
def test_the_frame_is_what_the_published_processor_makes_of_an_image(data_root: Path, largest: int | None) -> None:
    """The published settings have a largest area twelve times that of transformers' class: a wrong limit misplaces every box."""
    from PIL import Image
    from transformers import AutoImageProcessor

    folder = data_root / "qwen2.5-vl-processor"
    changed = {} if largest is None else {"max_pixels": largest}
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True, **changed)
    resize = Resize.from_processor(folder)
    assert (resize.patch_size, resize.merge_size, resize.min_pixels, resize.max_pixels) == (14, 2, 3136, 12845056)
    resize = replace(resize, **changed)
    assert (processor.size["shortest_edge"], processor.size["longest_edge"]) == (resize.min_pixels, resize.max_pixels)
    for size in PHOTOGRAPHS:
        made = processor(Image.new("RGB", size), return_tensors="np")
        _, rows, columns = made["image_grid_thw"][0] * resize.patch_size
        assert frame("resized", size, resize=resize) == (columns, rows), size
    assert frame("resized", (1800, 1300), resize=resize) != frame("resized", (1800, 1300))
