"""The published files: counts, boxes and known faults."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest

from medcore.config import to_mapping
from medcore.datasets import find_datasets, find_duplicates, open_dataset, split_dataset
from medcore.datasets.tables import read_table
from medcore.errors import InputError

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


def test_pneumoniamnist_says_what_is_missing_from_it(data_root):
    card = open_dataset(data_root / "pneumoniamnist").card
    assert card.notes == ("train has 3882 samples, published are 4708", "test is not in the file, published are 624 samples")
    assert card.faults == ()
    assert (card.licence, card.splits) == ("CC BY 4.0", {"train": 3882, "val": 524})
    assert card.class_shares == {"normal": round(388 / 3882, 6), "pneumonia": round(3494 / 3882, 6)}
    with pytest.raises(InputError, match="is called like no published file"):
        open_dataset(data_root / "pneumoniamnist", verify=True)


def test_blood_cells_are_the_same_in_coco(data_root, tmp_path):
    """The VOC boxes of the real images, written as COCO, come back equal; the box of zero area is told by both."""
    voc = open_dataset(data_root / "bccd-boxes")
    zero = {"id": 10**6, "bbox": [504, 337, 0, 0], "category_id": voc.classes.index("RBC")}
    images, listed = [], []
    for number, note in enumerate(voc.annotations):
        images.append({"id": number, "file_name": f"{note.sample_id}.jpg", "width": 640, "height": 480})
        for (x0, y0, x1, y1), label in zip(note.boxes, note.box_labels, strict=True):
            box = {"image_id": number, "category_id": voc.classes.index(label), "bbox": [x0, y0, x1 - x0, y1 - y0]}
            listed.append(box | {"id": len(listed)})
        if note.sample_id == "BloodImage_00338":
            listed.append(zero | {"image_id": number})
    categories = [{"id": i, "name": name} for i, name in enumerate(voc.classes)]
    file = tmp_path / "cells.json"
    file.write_text(json.dumps({"images": images, "annotations": listed, "categories": categories}))
    coco = open_dataset(file, images=next((data_root / "bccd-boxes").rglob("*.jpg")).parent)
    assert coco.card.class_counts == voc.card.class_counts
    for one, two in zip(voc.annotations, coco.annotations, strict=True):
        assert (one.boxes, one.box_labels) == (two.boxes, two.box_labels)
    assert np.array_equal(coco[7].image, voc[7].image)
    (fault,) = coco.card.faults
    assert fault == "annotation 1000000 (RBC) of BloodImage_00338.jpg: the box (504, 337, 0, 0) has zero area and is left out"


def test_idrid_as_classes_and_as_questions(data_root, tmp_path):
    """The table of grades read as two other kinds of data set shows the same images and grades."""
    folder = data_root / "idrid-fundus" / "grading"
    grades = open_dataset(folder)
    column = next(c for c in read_table(folder / "labels.csv").columns if "grade" in c)
    classes = open_dataset(folder, kind="class-table", label_column=column)
    assert [int(a.label) for a in classes.annotations] == [a.grade for a in grades.annotations]
    assert np.array_equal(classes[5].image, grades[5].image)
    images = next(f for f in folder.rglob("*.jpg")).parent
    lines = [{"image": f"{a.sample_id}.jpg", "question": "Which grade?", "answer": a.label} for a in grades.annotations]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    questions = open_dataset(tmp_path / "questions.jsonl", images=images)
    assert questions.card.class_counts == grades.card.class_counts
    assert np.array_equal(questions[5].image, grades[5].image)


def test_every_data_set_of_the_folder_is_found(data_root):
    found = {p.relative_to(data_root).as_posix(): kind for p, kind in find_datasets(data_root)}
    assert found == {
        "bccd-boxes": "voc",
        "dicom-transfer-syntaxes": "dicom-images",
        "idrid-fundus/grading": "graded",
        "idrid-fundus/segmentation": "masks",
        "philips-enhanced-mr": "dicom-images",
        "pneumoniamnist/pneumoniamnist_train_val.npz": "medmnist",
        "siemens-mese-dicom": "dicom-images",
        "siemens-xa-enhanced": "dicom-images",
    }


def test_nine_compressions_are_one_picture(data_root):
    """Every transfer syntax of the same mosaic gives the same grey values, of one patient, and nothing names it."""
    found = open_dataset(data_root / "dicom-transfer-syntaxes")
    assert len(found) == 9
    first = found[0].image
    assert all(np.array_equal(s.image, first) for s in found)
    assert len({a.subject for a in found.annotations}) == 1
    dataset = pydicom.dcmread(next((data_root / "dicom-transfer-syntaxes").rglob("*.dcm")), stop_before_pixels=True)
    for keyword in ("PatientID", "PatientName"):
        name = str(dataset.get(keyword) or "")
        assert not name or name not in json.dumps([to_mapping(found.card), [to_mapping(a) for a in found.annotations]])


def test_enhanced_files_are_volumes(data_root):
    found = open_dataset(data_root / "philips-enhanced-mr", unit="series")
    assert found.card.volumetric
    good, refused = [], []
    for i in range(len(found)):
        try:
            good.append(found[i].image)
        except InputError as error:
            refused.append(str(error))
    assert [(image.shape, image.min(), image.max()) for image in good] == [((10, 80, 80), 0, 255)] * 4
    (error,) = refused  # two echoes or two time points are no single volume
    assert "T2_.dcm: is of a series with 2 contrasts; give series of one contrast" in error
