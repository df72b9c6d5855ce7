"""The published files: counts, boxes and known faults."""

from __future__ import annotations

import numpy as np
import pytest

from medcore.datasets import find_duplicates, open_dataset, split_dataset

pytestmark = pytest.mark.integration


def test_pneumoniamnist_counts(data_root):
    path = data_root / "pneumoniamnist" / "pneumoniamnist_train_val.npz"
    train, val = open_dataset(path), open_dataset(path, split="val")
    assert train.card.class_counts == {"normal": 388, "pneumonia": 3494}
    assert val.card.class_counts == {"normal": 135, "pneumonia": 389}
    assert train[0].image.shape == (28, 28)
    with np.load(path) as arrays:
        assert np.array_equal(val[523].image, arrays["val_images"][523])
        assert [a.label == "pneumonia" for a in val.annotations] == arrays["val_labels"].ravel().astype(bool).tolist()


def test_pneumoniamnist_leaks_8_validation_images(data_root):
    path = data_root / "pneumoniamnist" / "pneumoniamnist_train_val.npz"
    train, val = open_dataset(path), open_dataset(path, split="val")
    leaks = find_duplicates(val, train)
    assert sum(len(g.members) for g in leaks) == 8
    repeats = sum(len(g.members) - 1 for d in (train, val) for g in find_duplicates(d))
    assert repeats + 8 == 25


def test_idrid_grades_and_their_duplicates(data_root):
    found = open_dataset(data_root / "idrid-fundus" / "grading")
    assert found.card.class_counts == {f"grade {g}": 12 for g in range(5)}
    assert found[0].image.shape == (425, 640, 3)
    assert [g.members for g in find_duplicates(found)] == [("IDRiD_079", "IDRiD_279")]
    discs = open_dataset(data_root / "idrid-fundus" / "segmentation", structure="OD")
    assert [(g.members, g.others) for g in find_duplicates(found, discs)] == [(("IDRiD_102",), ("IDRiD_01",))]
    risk = open_dataset(data_root / "idrid-fundus" / "grading", grade_column="macular_edema_risk")
    assert len(risk.classes) == 3


def test_idrid_discs_are_bright_discs(data_root):
    found = open_dataset(data_root / "idrid-fundus" / "segmentation", structure="OD")
    assert len(found) == 20
    for sample in found:
        ((x0, y0, x1, y1),) = sample.boxes.astype(int)
        assert 0.7 < (x1 - x0) / (y1 - y0) < 1.4
        assert sample.image[y0:y1, x0:x1, 1].mean() > 1.3 * sample.image[:, :, 1].mean()
    everything = open_dataset(data_root / "idrid-fundus" / "segmentation")
    assert everything.card.class_counts == {"EX": 20, "HE": 20, "MA": 20, "OD": 20, "SE": 7}


def test_blood_cells_and_the_box_of_zero_area(data_root):
    found = open_dataset(data_root / "bccd-boxes")
    assert len(found) == 120
    assert found.card.class_counts == {"Platelets": 143, "RBC": 1382 - 1, "WBC": 122}
    assert found.card.faults == ("BloodImage_00338.xml: the box RBC (504, 337, 504, 337) has zero area and is left out",)
    for sample in found:
        x0, y0, x1, y1 = sample.boxes.T
        assert sample.image.shape == (480, 640, 3)
        assert ((x0 >= 0) & (y0 >= 0) & (x1 <= 640) & (y1 <= 480) & (x1 > x0) & (y1 > y0)).all()


def test_white_cells_are_the_dark_ones(data_root):
    """The boxes belong to the images: stained nuclei are darker in green than the rest of their image."""
    found = open_dataset(data_root / "bccd-boxes")
    darker = []
    for sample in found:
        for box, label in zip(sample.boxes.astype(int), sample.box_labels, strict=True):
            if label == "WBC":
                inside = sample.image[box[1] : box[3], box[0] : box[2], 1]
                darker.append(inside.mean() < sample.image[:, :, 1].mean())
    assert np.mean(darker) > 0.95


def test_real_splits_are_stratified(data_root):
    found = open_dataset(data_root / "idrid-fundus" / "grading")
    train, test = split_dataset(found, (0.75, 0.25), seed=1)
    assert train.card.class_counts == {f"grade {g}": 9 for g in range(5)}
    assert test.card.class_counts == {f"grade {g}": 3 for g in range(5)}
