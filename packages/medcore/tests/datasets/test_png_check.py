"""PNG files whose rows are not all there, or not what was written."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medcore.datasets import read_image
from medcore.datasets.png_check import check_png
from medcore.errors import InputError


def chunk(kind, data, wrong=0):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


def png(path, rows, width=20, height=20, *, colour=0, interlace=0, wrong=0):
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlace)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows), wrong) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


ROW = bytes([0] + [200] * 20)


def test_whole_rows_that_are_missing_are_no_black_rows(tmp_path):
    """Pillow reads two rows of 200 and eighteen of 0 from this file without a word."""
    path = png(tmp_path / "a.png", ROW * 2)
    assert np.asarray(Image.open(path)).mean(axis=1).tolist() == [200] * 2 + [0] * 18
    with pytest.raises(InputError, match="its pixel data have 42 of 420 bytes"):
        read_image(path)


def test_a_wrong_checksum(tmp_path):
    with pytest.raises(InputError, match="a checksum of its pixel data is wrong"):
        read_image(png(tmp_path / "a.png", ROW * 20, wrong=1))


def test_more_rows_than_promised_are_no_harm(tmp_path):
    assert read_image(png(tmp_path / "a.png", ROW * 21)).shape == (20, 20)


@pytest.mark.parametrize(("colour", "interlace", "words"), [(5, 0, "colour type 5"), (0, 2, "interlace 2")])
def test_unknown_kinds(tmp_path, colour, interlace, words):
    with pytest.raises(InputError, match=words):
        check_png(png(tmp_path / "a.png", ROW * 20, colour=colour, interlace=interlace))


@settings(max_examples=60)
@given(st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]), st.integers(1, 40), st.integers(1, 40))
def test_what_pillow_writes_is_whole(tmp_path, mode, width, height):
    values = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(values[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(values).convert(mode)
    image.save(tmp_path / "a.png")
    check_png(tmp_path / "a.png")


@given(st.integers(1, 30), st.integers(1, 30))
def test_interlaced_files(tmp_path, width, height):
    """Referee: the passes as the specification draws them, counted pixel by pixel."""
    pattern = np.array(
        [
            [1, 6, 4, 6, 2, 6, 4, 6],
            [7] * 8,
            [5, 6, 5, 6, 5, 6, 5, 6],
            [7] * 8,
            [3, 6, 4, 6, 3, 6, 4, 6],
            [7] * 8,
            [5, 6, 5, 6, 5, 6, 5, 6],
            [7] * 8,
        ]
    )
    passes = np.tile(pattern, (4, 4))[:height, :width]
    size = sum(int((passes == p).sum()) + int((passes == p).any(axis=1).sum()) for p in range(1, 8))
    check_png(png(tmp_path / "a.png", bytes(size), width, height, interlace=1))
    with pytest.raises(InputError, match=f"{size - 1} of {size} bytes"):
        check_png(png(tmp_path / "a.png", bytes(size - 1), width, height, interlace=1))
