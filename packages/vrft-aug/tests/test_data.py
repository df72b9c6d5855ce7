from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcore.errors import ConfigError, InputError
from vrft_aug.data import DataSettings, load_parts, load_rows, load_stages
from vrft_aug.knowledge import KnowledgeSettings
from vrft_aug.prompts import PromptSettings
from vrft_aug.recipe import RewardSettings, StageSettings

COLUMNS = [
    "sample_id",
    "subject",
    "prompt",
    "image",
    "task",
    "label",
    "classes",
    "grade",
    "num_grades",
    "boxes",
    "image_size",
    "box_frame",
    "knowledge",
]


def stage(
    task: str, knowledge: KnowledgeSettings | None = None, prompts: PromptSettings | None = None, **data: Any
) -> StageSettings:
    settings = DataSettings(**({"kind": "drawn-scans", "train": 24, "held_out": 12} | data))
    return StageSettings(
        name="one",
        task=task,
        data=settings,
        rewards=(RewardSettings(name="format"),),
        knowledge=knowledge,
        prompts=prompts or PromptSettings(),
    )


def write_graded(folder: Path, grades: list[int], rng: np.random.Generator, subjects: list[str] | None = None) -> Path:
    (folder / "images").mkdir(parents=True)
    lines = ["image,grade,subject"]
    for i, grade in enumerate(grades):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(folder / "images" / f"eye{i:03d}.png")
        lines.append(f"eye{i:03d},{grade},{subjects[i] if subjects else f's{i}'}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_columns_are_those_of_the_public_table() -> None:
    rows = load_rows(stage("classification"), part="train")
    assert rows.column_names == COLUMNS
    row = rows[0]
    assert row["prompt"][-1]["role"] == "user"
    assert isinstance(row["prompt"][-1]["content"], str)
    assert row["image"].size == tuple(row["image_size"]) == (56, 56)
    assert row["label"] in row["classes"]
    assert row["grade"] is None
    assert row["num_grades"] is None


def test_pixels_come_back_unchanged() -> None:
    from medcore.datasets import drawn_scans

    rows = load_rows(stage("classification", seed=3), part="train")
    source = drawn_scans(24, seed=6)
    for i in range(4):
        np.testing.assert_array_equal(np.asarray(rows[i]["image"]), source[i].image)
        assert rows[i]["label"] == source[i].label


@pytest.mark.parametrize("task", ["classification", "localisation"])
def test_training_and_held_out_scans_differ(task: str) -> None:
    parts = load_parts(stage(task))
    train, held_out = ({np.asarray(image).tobytes() for image in rows["image"]} for rows in (parts.train, parts.held_out))
    assert len(train) == len(parts.train)
    assert not train & held_out
    assert not set(parts.train["sample_id"]) & set(parts.held_out["sample_id"])


def test_seeds_of_drawn_data_never_share_a_part() -> None:
    parts = [load_parts(stage("classification", seed=seed)) for seed in (0, 1)]
    images = [{np.asarray(image).tobytes() for image in rows["image"]} for p in parts for rows in (p.train, p.held_out)]
    assert len(set().union(*images)) == sum(map(len, images))


def test_localisation_keeps_only_images_with_boxes_unless_asked() -> None:
    without, with_empty = (load_rows(stage("localisation", keep_empty=k), part="train") for k in (False, True))
    assert all(row["boxes"] for row in without)
    assert len(with_empty) == 24
    assert any(row["boxes"] == [] for row in with_empty)


def test_grades_of_drawn_eyes_are_ordinal_rows() -> None:
    rows = load_rows(stage("grading", kind="drawn-grades"), part="train")
    assert set(rows["num_grades"]) == {5}
    assert all(row["label"] == row["classes"][row["grade"]] for row in rows)


def test_own_class_names_replace_those_of_the_source() -> None:
    rows = load_rows(stage("grading", kind="drawn-grades", classes=("none", "mild", "moderate", "severe", "worst")), part="train")
    assert all(row["label"] == ["none", "mild", "moderate", "severe", "worst"][row["grade"]] for row in rows)
    assert "grade 0" not in rows[0]["prompt"][-1]["content"]
    with pytest.raises(ConfigError, match="are 2, but the data has 5"):
        load_rows(stage("grading", kind="drawn-grades", classes=("no", "yes")), part="train")


def test_box_class_picks_boxes_and_names_them_in_the_question() -> None:
    rows = load_rows(stage("localisation", kind="drawn-grades", box_class="exudate"), part="train")
    everything = load_rows(stage("localisation", kind="drawn-grades"), part="train")
    assert "exudate" in rows[0]["prompt"][-1]["content"]
    count = {row["sample_id"]: len(row["boxes"]) for row in everything}
    assert all(len(row["boxes"]) <= count[row["sample_id"]] for row in rows)
    assert sum(map(len, rows["boxes"])) < sum(map(len, everything["boxes"]))


def test_the_question_is_the_same_for_every_sample() -> None:
    for task in ("classification", "localisation"):
        rows = load_rows(stage(task), part="train")
        assert len({row["prompt"][-1]["content"] for row in rows}) == 1


def test_limits_thin_both_parts_and_keep_order(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = write_graded(tmp_path / "g", [0, 1, 2] * 8, rng)
    whole = load_parts(stage("grading", kind="grades", path=folder, train=None, held_out=None))
    thin = load_parts(stage("grading", kind="grades", path=folder, train=5, held_out=3))
    assert (len(thin.train), len(thin.held_out)) == (5, 3)
    order = whole.train["sample_id"]
    assert [s for s in order if s in set(thin.train["sample_id"])] == list(thin.train["sample_id"])
    assert list(load_parts(stage("grading", kind="grades", path=folder, train=5, held_out=3)).train["sample_id"]) == list(
        thin.train["sample_id"]
    )


def test_subjects_stay_whole(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = write_graded(tmp_path / "g", [i % 3 for i in range(24)], rng, [f"p{i // 2}" for i in range(24)])
    parts = load_parts(stage("grading", kind="grades", path=folder, train=None, held_out=None))
    assert not set(parts.train["subject"]) & set(parts.held_out["subject"])
    assert len(parts.train) + len(parts.held_out) == 24


def test_a_training_image_that_is_held_out_too_is_removed_and_counted(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = write_graded(tmp_path / "g", [0, 1] * 8, rng)
    settings = stage("grading", kind="grades", path=folder, train=None, held_out=None)
    before = load_parts(settings)
    assert before.removed == 0
    copy, original = before.train["sample_id"][0], before.held_out["sample_id"][0]
    (folder / "images" / f"{copy}.png").write_bytes((folder / "images" / f"{original}.png").read_bytes())
    after = load_parts(settings)
    assert after.removed == 1
    assert copy not in after.train["sample_id"]
    assert list(after.held_out["sample_id"]) == list(before.held_out["sample_id"])


def test_no_stage_trains_on_what_another_holds_out(tmp_path: Path, rng: np.random.Generator) -> None:
    first = write_graded(tmp_path / "a", [0, 1] * 8, rng)
    second = write_graded(tmp_path / "b", [0, 1] * 8, rng)
    stages = [stage("grading", kind="grades", path=p, train=None, held_out=None) for p in (first, second)]
    held, trained = load_parts(stages[0]).held_out["sample_id"][0], load_parts(stages[1]).train["sample_id"][0]
    (second / "images" / f"{trained}.png").write_bytes((first / "images" / f"{held}.png").read_bytes())
    parts = load_stages(stages)
    assert [p.removed for p in parts] == [0, 1]
    assert trained not in parts[1].train["sample_id"]
    assert held in parts[0].held_out["sample_id"]


@pytest.mark.parametrize(("apply_at", "train", "held_out"), [("both", True, True), ("train", True, False), ("eval", False, True)])
@pytest.mark.parametrize("placement", ["before", "after", "system"])
def test_knowledge_stands_where_and_when_it_should(
    knowledge_file: Path, apply_at: str, train: bool, held_out: bool, placement: str
) -> None:
    settings = KnowledgeSettings(file=knowledge_file, apply_at=apply_at, placement=placement)
    parts = load_parts(stage("classification", settings))
    for rows, injected in ((parts.train, train), (parts.held_out, held_out)):
        row = rows[0]
        assert (row["knowledge"] is not None) == injected
        assert len({r["knowledge"] for r in rows}) == 1
        text = "\n".join(f"{m['role']}: {m['content']}" for m in row["prompt"])
        assert ("a bright disc" in text) == injected
        if injected:
            place = {"before": text.index("a bright disc") < text.index("What does"), "after": text.index("a bright disc") > 60}
            assert place.get(placement, text.startswith("system: "))


@pytest.fixture
def knowledge_file(tmp_path: Path) -> Path:
    path = tmp_path / "knowledge.yaml"
    path.write_text(
        "task: Chest films.\nclasses:\n  normal: clear lungs\n  nodule: a bright disc\n  effusion: fluid below\n"
        "  fracture: a gap in a bone\nprovenance: {author: A, model: none, date: 2026-01-31, licence: CC0-1.0}\n"
    )
    return path


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"kind": "drawn-scans", "path": "x"}, "reads no file"),
        ({"kind": "grades"}, "is missing for kind grades"),
        ({"kind": "drawn-scans", "train": 0}, "data.train: is 0"),
        ({"kind": "drawn-scans", "held_out": -1}, "data.held_out: is -1"),
        ({"kind": "grades", "path": "x", "fraction": 1.0}, "fraction: is 1.0"),
        ({"kind": "drawn-scans", "seed": -1}, "seed: is -1"),
        ({"kind": "drawn-scans", "classes": ("a", "a")}, "two different names"),
        ({"kind": "medmnist", "path": "x", "box_class": "OD"}, "has no boxes"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], match: str) -> None:
    if "path" in settings:
        settings = settings | {"path": Path(settings["path"])}
    with pytest.raises(ConfigError, match=match):
        DataSettings(**settings)


def test_an_unknown_reader_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"options: do not fit drawn-scans .*nois"):
        load_rows(stage("classification", options={"nois": 3.0}), part="train")


def test_options_reach_the_reader() -> None:
    rows = load_rows(stage("classification", options={"size": 40}), part="train")
    assert rows[0]["image_size"] == [40, 40]


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_rows(stage("grading", kind="grades", path=tmp_path / "nowhere"), part="train")


def test_volumes_are_no_images(tmp_path: Path) -> None:
    arrays = {
        f"{s}_{what}": value
        for s in ("train", "val")
        for what, value in (("images", np.zeros((2, 4, 4, 4), np.uint8)), ("labels", np.arange(2)))
    }
    np.savez(tmp_path / "nodulemnist3d.npz", **arrays)
    with pytest.raises(InputError, match="holds volumes; give a set of images"):
        load_rows(stage("classification", kind="medmnist", path=tmp_path / "nodulemnist3d.npz"), part="train")


def test_unordered_classes_cannot_be_graded(tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = {
        f"{s}_{k}": v
        for s in ("train", "val")
        for k, v in (("images", rng.integers(0, 256, (12, 28, 28), dtype=np.uint8)), ("labels", np.arange(12)[:, None] % 2))
    }
    path = tmp_path / "pneumoniamnist.npz"
    np.savez(path, **arrays)
    task = SimpleNamespace(data=DataSettings(kind="medmnist", path=path), task="grading", knowledge=None, prompts=PromptSettings())
    with pytest.raises(ConfigError, match="without an order"):
        load_parts(task)
    rows = load_rows(stage("classification", kind="medmnist", path=path, train=None, held_out=None), part="held_out")
    assert rows["label"] == ["normal", "pneumonia"] * 6
    assert all(s.startswith("val-") for s in rows["sample_id"])


@pytest.mark.integration
def test_pneumonia_files_with_their_real_duplicates(data_root: Path) -> None:
    path = data_root / "pneumoniamnist" / "pneumoniamnist_train_val.npz"
    parts = load_parts(stage("classification", kind="medmnist", path=path, train=None, held_out=None))
    assert len(parts.held_out) == 524
    assert len(parts.train) + parts.removed == 3882
    with np.load(path, allow_pickle=False) as file:
        train, val = file["train_images"], {image.tobytes() for image in file["val_images"]}
    assert parts.removed == sum(image.tobytes() in val for image in train) > 0
    assert sorted(set(parts.train["label"])) == ["normal", "pneumonia"]


@pytest.mark.integration
def test_the_eye_that_is_in_both_folders_is_trained_on_in_neither_if_held_out(data_root: Path) -> None:
    folder = data_root / "idrid-fundus"
    segmentation = stage("localisation", kind="masks", path=folder / "segmentation", box_class="OD", train=None, held_out=None)
    grading = stage("grading", kind="grades", path=folder / "grading", train=None, held_out=None)
    found = []
    for seed in range(6):
        stages = [stage_with_seed(s, seed) for s in (segmentation, grading)]
        boxes, grades = load_stages(stages)
        if "IDRiD_102" in grades.held_out["sample_id"]:
            assert "IDRiD_01" not in boxes.train["sample_id"]
            found.append("IDRiD_01" not in boxes.held_out["sample_id"])
        if "IDRiD_01" in boxes.held_out["sample_id"]:
            assert "IDRiD_102" not in grades.train["sample_id"]
    assert any(found), "no seed had the case that this test is for"


def stage_with_seed(settings: StageSettings, seed: int) -> StageSettings:
    from dataclasses import replace

    return replace(settings, data=replace(settings.data, seed=seed))


@pytest.mark.integration
def test_optic_disc_boxes_lie_on_the_bright_disc(data_root: Path) -> None:
    rows = load_rows(
        stage(
            "localisation",
            kind="masks",
            path=data_root / "idrid-fundus" / "segmentation",
            box_class="OD",
            box_name="optic disc",
            train=None,
            held_out=None,
        ),
        part="train",
    )
    assert "optic disc" in rows[0]["prompt"][-1]["content"]
    for row in rows:
        (x0, y0, x1, y1) = (round(v) for v in row["boxes"][0])
        grey = np.asarray(row["image"]).mean(axis=2)
        assert grey[y0:y1, x0:x1].mean() > 1.3 * grey.mean()


@pytest.mark.integration
def test_blood_cells_by_class(data_root: Path) -> None:
    cells = {
        name: stage("localisation", kind="voc", path=data_root / "bccd-boxes", box_class=name, train=None, held_out=None)
        for name in ("WBC", "RBC")
    }
    parts = {name: load_parts(settings) for name, settings in cells.items()}
    assert sum(len(b) for rows in (parts["WBC"].train, parts["WBC"].held_out) for b in rows["boxes"]) == 122
    assert any("zero area" in fault for fault in parts["RBC"].card["faults"])
