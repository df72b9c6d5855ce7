"""Image files: what is decoded to what, and what is refused."""

from __future__ import annotations

import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from medcore.datasets import pixel_hash, read_image, tight_box
from medcore.datasets.images import ImageFolder, digest, image_size
from medcore.errors import InputError, MissingExtraError


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
@pytest.mark.parametrize("colour", [True, False])
def test_pixels_come_back_as_saved(tmp_path, picture, save_image, suffix, colour):
    pixels = picture(1, colour=colour)
    found = read_image(save_image(pixels, tmp_path / f"a.{suffix}"))
    assert found.dtype == np.uint8
    assert np.array_equal(found, pixels)
    assert image_size(tmp_path / f"a.{suffix}") == (20, 30)


def test_a_wrong_suffix_does_not_matter(tmp_path, picture, save_image):
    path = save_image(picture(), tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(read_image(path), picture())


@pytest.mark.parametrize(("mode", "axes"), [("1", 2), ("L", 2), ("LA", 2), ("P", 3), ("RGBA", 3), ("CMYK", 3)])
def test_modes_become_grey_or_rgb(tmp_path, mode, axes):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (5, 4)).save(path)
    assert read_image(path).shape == (4, 5, 3)[:axes]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"not an image at all", "is no image of the kinds PNG, JPEG, BMP, TIFF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image of the kinds"),
        (b"GIF89a" + bytes(20), "is no image of the kinds"),
    ],
)
def test_no_images(tmp_path, content, message):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_image(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.png: does not exist"):
        read_image(tmp_path / "none.png")


def test_without_pillow_the_extra_is_named(tmp_path, picture, save_image, monkeypatch):
    path = save_image(picture(), tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"'PIL' is not installed; run: pip install 'medcore\[viz\]'"):
        read_image(path)


def test_a_cut_image_is_refused(tmp_path, picture, save_image):
    path = save_image(picture(height=200, width=200), tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"a\.png: is a damaged image"):
        read_image(path)


def test_16_bit_and_frames_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match="more than 8 bits"):
        read_image(tmp_path / "deep.png")
    Image.new("L", (4, 4)).save(tmp_path / "two.tif", save_all=True, append_images=[Image.new("L", (4, 4))])
    with pytest.raises(InputError, match="holds 2 frames"):
        read_image(tmp_path / "two.tif")


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (13_000, 13_000)])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, width, height):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))
    with pytest.raises(InputError, match="pixels"):
        read_image(path)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "sub/a.png", "..", "", "C:\\a.png", "a.png\0"])
def test_names_never_lead_out_of_the_folder(tmp_path, picture, save_image, name):
    save_image(picture(), tmp_path / "in" / "a.png")
    save_image(picture(), tmp_path / "a.png")
    with pytest.raises(InputError, match=r"table\.csv: names the image .*plain file names"):
        ImageFolder(tmp_path / "in").find(name, "table.csv")


def test_a_stem_that_fits_two_files_is_refused(tmp_path, picture, save_image):
    for suffix in ("png", "bmp"):
        save_image(picture(), tmp_path / f"a.{suffix}")
    with pytest.raises(InputError, match=r"names 'a', which fits a\.bmp, a\.png"):
        ImageFolder(tmp_path).find("a", "table.csv")
    assert ImageFolder(tmp_path).find("a.bmp", "table.csv").name == "a.bmp"


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_the_tight_box_holds_every_pixel_and_no_smaller_box_does(mask):
    box = tight_box(mask)
    if not mask.any():
        assert box is None
        return
    x0, y0, x1, y1 = map(int, box)
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    assert mask[y0, :].any()
    assert mask[y1 - 1, :].any()
    assert mask[:, x0].any()
    assert mask[:, x1 - 1].any()


def test_one_pixel_has_a_box_of_one_pixel():
    mask = np.zeros((5, 7), bool)
    mask[2, 4] = True
    assert tight_box(mask) == (4.0, 2.0, 5.0, 3.0)


def test_the_digest_is_that_of_sha256sum(tmp_path):
    """The value of ``sha256sum a b | sha256sum`` for files holding "x" and "y" followed by a newline."""
    (tmp_path / "a").write_text("x\n")
    (tmp_path / "b").write_text("y\n")
    assert digest([tmp_path / "b", tmp_path / "a"]) == "51e881f45698623288e6d82250e5c43acdb157a84a1b4db944804a61624a5106"


def test_pixel_hashes_tell_shapes_apart():
    zeros = np.zeros((2, 6), np.uint8)
    assert pixel_hash(zeros) != pixel_hash(zeros.reshape(3, 4))
    assert pixel_hash(zeros) == pixel_hash(np.zeros((6, 2), np.uint8).T)
