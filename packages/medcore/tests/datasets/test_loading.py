"""Batches, and a real DataLoader with workers."""

from __future__ import annotations

import pickle  # noqa: TID251 - what loaders do with the collate function
import subprocess
import sys

import numpy as np
import pytest

from medcore.datasets import ClassTable, CocoDetection, Collate, MedMnist, Sample, VqaLines, drawn_grades, open_dataset
from medcore.errors import InputError


def test_a_batch_of_classes(write_medmnist):
    dataset = MedMnist(write_medmnist())
    batch = Collate(dataset)([dataset[i] for i in (0, 1, 3)])
    assert batch["image"].shape == (3, 28, 28)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].tolist() == [0, 1, 0]
    assert batch["grade"].tolist() == [-1, -1, -1]
    assert batch["split"] == ["train"] * 3
    assert "labels" not in batch


def test_a_batch_of_several_labels(write_table):
    dataset = ClassTable(write_table("image,effusion,mass\na,0,1\nb,1,1\nc,0,0\n"))
    batch = Collate(dataset)(list(dataset))
    assert batch["labels"].tolist() == [[0, 1], [1, 1], [0, 0]]
    assert batch["labels"].dtype == np.float32
    assert batch["label"].tolist() == [-1, -1, -1]


def test_a_batch_of_boxes_and_images_of_different_sizes(write_coco, picture, save_image):
    folder = write_coco({"bbox": [1, 2, 3, 4], "category_id": 3}, change=lambda content: content["images"][1].update(width=31))
    save_image(picture(2, width=31), folder / "images" / "2.png")
    dataset = CocoDetection(folder)
    batch = Collate(dataset)(list(dataset))
    assert [i.shape for i in batch["image"]] == [(20, 30, 3), (20, 31, 3)]
    assert [b.tolist() for b in batch["boxes"]] == [[[1, 2, 4, 6]], []]
    assert [n.tolist() for n in batch["box_labels"]] == [[1], []]
    assert [c.tolist() for c in batch["box_crowd"]] == [[False], []]


def test_a_batch_of_questions(write_vqa):
    dataset = VqaLines(write_vqa({"image": "images/0.png", "question": "Is it?", "answer": "no", "choices": ["yes", "no"]}))
    batch = Collate(dataset)([dataset[0]])
    assert (batch["question"], batch["answer"], batch["choices"]) == (["Is it?"], ["no"], [("yes", "no")])


def test_grades_whose_boxes_hold_something_else():
    dataset = drawn_grades(6)
    collate = Collate(dataset)
    batch = collate(list(dataset))
    assert batch["grade"].tolist() == [a.grade for a in dataset.annotations] == batch["label"].tolist()
    for numbers, note in zip(batch["box_labels"], dataset.annotations, strict=True):
        assert [collate.box_classes[n] for n in numbers] == list(note.box_labels)


def test_unknown_classes_are_refused():
    sample = Sample(sample_id="x", image=np.zeros((2, 2), np.uint8), label="cat")
    with pytest.raises(InputError, match="x: has the class 'cat', known are dog"):
        Collate(("dog",))([sample])


def test_collate_can_be_sent_to_workers(write_medmnist):
    dataset = MedMnist(write_medmnist())
    again = pickle.loads(pickle.dumps(Collate(dataset)))  # noqa: S301 - our own
    assert again.classes == dataset.classes
    assert again([dataset[1]])["label"].tolist() == [1]


def test_pickles_hold_no_pixels(write_medmnist):
    """Workers of a loader read their own; sending the pixels to each would double them."""
    dataset = MedMnist(write_medmnist(train_images=np.zeros((6, 200, 200), np.uint8)))
    assert dataset[0].image.shape == (200, 200)
    assert len(pickle.dumps(dataset)) < 20_000


def test_batches_need_no_torch():
    code = (
        "import sys, medcore.datasets; sys.exit(any(m in sys.modules for m in ('torch', 'datasets', 'pandas', 'pyarrow', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_what_the_data_set_holds(write_medmnist, write_coco, class_tree, workers):
    data = pytest.importorskip("torch.utils.data")
    for dataset in (MedMnist(write_medmnist()), CocoDetection(write_coco({})), open_dataset(class_tree)):
        loader = data.DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=Collate(dataset))
        batches = list(loader)
        assert [i for b in batches for i in b["sample_id"]] == [a.sample_id for a in dataset.annotations]
        images = [i for b in batches for i in b["image"]]
        assert all(np.array_equal(image, dataset[i].image) for i, image in enumerate(images))


@pytest.mark.integration
def test_spawned_workers_open_the_files_themselves(data_root):
    """Workers that share nothing with this process: all of the real validation set, shuffled, each sample once."""
    torch = pytest.importorskip("torch")
    dataset = MedMnist(data_root / "pneumoniamnist", split="val")
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=64,
        shuffle=True,
        num_workers=2,
        collate_fn=Collate(dataset),
        multiprocessing_context="spawn",
        generator=torch.Generator().manual_seed(0),
    )
    seen = {}
    for batch in loader:
        images = torch.from_numpy(batch["image"])
        for i, name in enumerate(batch["sample_id"]):
            seen[name] = (int(images[i].sum()), int(batch["label"][i]))
    expected = {s.sample_id: (int(s.image.sum()), dataset.classes.index(s.label)) for s in dataset}
    assert seen == expected
