"""Boxes from masks, good and bad."""

from __future__ import annotations

import numpy as np
import pytest

from medcore.datasets import Dataset, MaskFolder
from medcore.errors import ConfigError, InputError


@pytest.fixture
def folder(tmp_path, picture, save_image):
    """Two images; the first has the masks OD (grey) and EX (red), the second OD."""
    for i, name in enumerate(("eye_1", "eye_2")):
        save_image(picture(i), tmp_path / f"{name}.jpg")
        mask = np.zeros((20, 30), np.uint8)
        mask[4:9, 10 + i : 17] = 255
        save_image(mask, tmp_path / f"{name}_OD.png")
    red = np.zeros((20, 30, 3), np.uint8)
    red[0, 0, 0], red[19, 29, 0] = 76, 1
    save_image(red, tmp_path / "eye_1_EX.tif")
    return tmp_path


def test_boxes_lie_tight_around_the_masks(folder):
    found = MaskFolder(folder, "OD")
    assert isinstance(found, Dataset)
    assert np.array_equal(found[0].boxes, [[10, 4, 17, 9]])
    assert np.array_equal(found[1].boxes, [[11, 4, 17, 9]])
    assert found[0].box_labels == ("OD",)
    assert found.card.faults == ()


def test_all_structures_by_default_and_colour_counts(folder):
    found = MaskFolder(folder)
    assert found.classes == ("EX", "OD")
    assert found.card.class_counts == {"EX": 1, "OD": 2}
    assert dict(zip(found[0].box_labels, found[0].boxes.tolist(), strict=True))["EX"] == [0, 0, 30, 20]


def test_images_without_the_mask_are_left_out_and_told(folder):
    found = MaskFolder(folder, ["EX"])
    assert [a.sample_id for a in found.annotations] == ["eye_1"]
    assert found.card.faults == ("1 of 2 images have no mask of EX and are left out",)


def test_an_empty_mask_is_told(folder, save_image):
    save_image(np.zeros((20, 30), np.uint8), folder / "eye_2_OD.png")
    found = MaskFolder(folder, "OD")
    assert found[1].boxes.shape == (0, 4)
    assert found.card.faults == ("eye_2_OD.png: the mask is empty, so eye_2 has no box of OD",)


def test_masks_of_another_size_are_refused(folder, save_image):
    save_image(np.ones((30, 20), np.uint8), folder / "eye_2_OD.png")
    with pytest.raises(InputError, match=r"eye_2_OD\.png: has 20 x 30 pixels, eye_2\.jpg has 30 x 20"):
        MaskFolder(folder, "OD")


def test_two_masks_of_one_structure_are_refused(folder, save_image):
    save_image(np.ones((20, 30), np.uint8), folder / "eye_2_OD.bmp")
    with pytest.raises(InputError, match="is the second mask of OD beside"):
        MaskFolder(folder)


def test_unknown_structures_list_the_known(folder):
    with pytest.raises(ConfigError, match="structure 'od': is not one of EX, OD"):
        MaskFolder(folder, "od")


def test_a_folder_without_masks(tmp_path, picture, save_image):
    save_image(picture(), tmp_path / "a.png")
    with pytest.raises(InputError, match="holds no masks"):
        MaskFolder(tmp_path)


def test_a_damaged_mask_is_named(folder):
    (folder / "eye_1_OD.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"eye_1_OD\.png: is no image"):
        MaskFolder(folder, "OD")
