"""What was prepared is what was there: pixel for pixel, label for label, in the parts that were asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import makers as m
import numpy as np
import pytest
from PIL import Image

from medcore.datasets import Dataset
from medcore.errors import CheckFailedError, InputError, OutputError, OutputExistsError
from vrft_aug.data import DataSettings, PreparedFolder, load_parts, open_whole
from vrft_aug.data.prepared import COLUMNS
from vrft_aug.preparing import PrepareSettings, prepare, refuse
from vrft_aug.recipe import RewardSettings, StageSettings

WINDOWED: dict[str, Any] = {"options": {"window": [0.0, 2000.0]}}
GOOD: dict[str, tuple[str, Callable[[Path], Any], dict[str, Any]]] = {
    "table": ("folder", m.table, {}),
    "class folders": ("folder", m.tree, {}),
    "grades": ("grades", lambda f: m.graded(f, [0, 1, 2] * 3), {}),
    "named grades": ("grades", lambda f: m.graded(f, [0, 1, 2] * 3), {"classes": ("none", "mild", "severe")}),
    "voc": ("voc", lambda f: m.voc(f, [(4.5, 5, 60, 40)] * 4), {}),
    "coco": ("coco", lambda f: m.coco(f, [[4, 5, 8.25, 9]] * 3), {}),
    "masks": ("masks", m.masks, {}),
    "questions": ("vqa", lambda f: m.vqa(f, *(m.asked(i, "No" if i % 2 else "yes", choices=None) for i in range(6))), {}),
    "choices": ("vqa", lambda f: m.vqa(f, *(m.asked(i, "left", choices=["left", "right"], subject=f"p{i}") for i in range(6))), {}),
    "films": ("dicom", m.films, WINDOWED),
}


def same(first: Dataset, second: Dataset, split: bool = True) -> None:
    """Every sample of one is in the other, identical."""
    assert len(first) == len(second)
    assert first.classes == second.classes
    for i, (a, b) in enumerate(zip(first.annotations, second.annotations, strict=True)):
        assert (a if split else replace(a, split=None)) == (b if split else replace(b, split=None))
        np.testing.assert_array_equal(first[i].image, second[i].image)
        assert first[i].image.dtype == second[i].image.dtype == np.uint8


@pytest.mark.parametrize("name", GOOD)
def test_prepared_data_are_the_source(tmp_path: Path, name: str) -> None:
    kind, make, data = GOOD[name]
    make(tmp_path / "d")
    settings = PrepareSettings(data=DataSettings(kind=kind, path=tmp_path / "d", **data))
    checked = prepare(settings, tmp_path / "out")
    assert checked.faults == ()
    source, again = open_whole(settings.data), PreparedFolder(tmp_path / "out")
    same(source, again)
    assert again.card.task == source.card.task
    assert again.card.ordered == source.card.ordered
    assert again.card.class_counts == source.card.class_counts
    assert again.card.sha256.items() >= source.card.sha256.items()


@pytest.mark.parametrize("name", ["grades", "voc"])
def test_the_rows_of_a_recipe_are_the_same(tmp_path: Path, name: str) -> None:
    kind, make, _ = GOOD[name]
    make(tmp_path / "d")
    prepare(PrepareSettings(data=DataSettings(kind=kind, path=tmp_path / "d")), tmp_path / "out")
    task = "localisation" if kind == "voc" else "grading"
    found = []
    for data in (DataSettings(kind=kind, path=tmp_path / "d"), DataSettings(kind="prepared", path=tmp_path / "out")):
        parts = load_parts(StageSettings(name="one", task=task, data=data, rewards=(RewardSettings(name="format"),)))
        found.append(
            [{**row, "image": np.asarray(row["image"]).tobytes()} for rows in (parts.train, parts.held_out) for row in rows]
        )
    assert found[0] == found[1]


def test_a_split_keeps_subjects_and_copies_together_and_is_read_back(tmp_path: Path) -> None:
    lines = ["image,label,patient"]
    for i in range(24):
        m.save(m.picture(i), tmp_path / "d" / "images" / f"a{i:02d}.png")
        lines.append(f"a{i:02d}.png,{('cyst', 'stone')[i % 2]},p{i // 3}")
    (tmp_path / "d" / "labels.csv").write_text("\n".join(lines) + "\n")
    data = DataSettings(kind="folder", path=tmp_path / "d")
    checked = prepare(PrepareSettings(data=data, split=(0.5, 0.25, 0.25), seed=3), tmp_path / "out")
    again = PreparedFolder(tmp_path / "out")
    assert again.card.splits == {name: part["samples"] for name, part in checked.facts["parts"].items()}
    assert sum(again.card.splits.values()) == 24
    assert list(checked.facts["parts"]) == ["train", "val", "test"]
    by_subject: dict[str, set[str]] = {}
    for note in again.annotations:
        by_subject.setdefault(str(note.subject), set()).add(str(note.split))
    assert all(len(parts) == 1 for parts in by_subject.values())
    same(open_whole(data), again, split=False)
    stage = StageSettings(
        name="one",
        task="classification",
        data=DataSettings(kind="prepared", path=tmp_path / "out", held_out_split="test"),
        rewards=(RewardSettings(name="format"),),
    )
    parts = load_parts(stage)
    assert set(parts.held_out["sample_id"]) == {n.sample_id for n in again.annotations if n.split == "test"}
    assert set(parts.train["sample_id"]) == {n.sample_id for n in again.annotations if n.split == "train"}
    other = prepare(PrepareSettings(data=data, split=(0.5, 0.25, 0.25), seed=4), tmp_path / "other")
    assert other.facts["parts"].keys() == checked.facts["parts"].keys()
    assert [n.split for n in PreparedFolder(tmp_path / "other").annotations] != [n.split for n in again.annotations]


def test_copies_are_in_one_part_after_a_split(tmp_path: Path) -> None:
    folder = m.tree(tmp_path / "d", each=8)
    m.save(np.asarray(Image.open(folder / "cyst" / "p0_cyst.png")), folder / "cyst" / "copy.png")
    smooth = np.asarray(Image.fromarray(m.picture(5, 24, 24, colour=False)).resize((192, 192), Image.Resampling.BICUBIC))
    m.save(smooth, folder / "stone" / "s.png")
    m.save(smooth, folder / "stone" / "s.jpg", quality=70)
    for seed in range(8):
        settings = PrepareSettings(data=DataSettings(kind="folder", path=folder), split=(0.5, 0.5), seed=seed, allow=("duplicate",))
        checked = prepare(settings, tmp_path / "out", force=True)
        assert checked.facts["left_out"] == {"duplicate": 1}
        parts = {n.sample_id: n.split for n in PreparedFolder(tmp_path / "out").annotations}
        assert parts["stone/s.png"] == parts["stone/s.jpg"]
        assert any("1 pairs of near copies" in note for note in checked.notes)


def test_several_questions_about_one_image_share_its_file(tmp_path: Path) -> None:
    m.vqa(tmp_path / "d", m.asked(0), m.asked(0, "no", "Is it large?"), m.asked(1, "no"))
    checked = prepare(PrepareSettings(data=DataSettings(kind="vqa", path=tmp_path / "d")), tmp_path / "out")
    assert checked.faults == ()
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2


@pytest.mark.parametrize("value", ["percentile", "range", (0.0, 65535.0)])
def test_sixteen_bits_are_mapped_and_said(tmp_path: Path, value: Any) -> None:
    folder = m.table(tmp_path / "d")
    deep = np.linspace(100, 60000, 24 * 32).reshape(24, 32).astype(np.uint16)
    Image.fromarray(deep).save(folder / "images" / "a0.png")
    checked = prepare(PrepareSettings(data=DataSettings(kind="folder", path=folder), grey=value), tmp_path / "out")
    assert checked.faults == ()
    assert sum("1 images have more than 8 bits" in note for note in checked.notes) == 1
    found = PreparedFolder(tmp_path / "out")[0].image.astype(float)
    low, high = {"percentile": np.percentile(deep, (0.5, 99.5)), "range": (100, 60000)}.get(str(value), (0, 65535))
    np.testing.assert_allclose(found, 255 * np.clip((deep - low) / (high - low), 0, 1), atol=0.5)


def test_cmyk_becomes_rgb_and_is_said(tmp_path: Path) -> None:
    folder = m.table(tmp_path / "d")
    Image.fromarray(m.picture(1)).convert("CMYK").save(folder / "images" / "c.jpg")
    m.rows(folder, "c.jpg,cyst")
    checked = prepare(PrepareSettings(data=DataSettings(kind="folder", path=folder)), tmp_path / "out")
    assert any("CMYK" in note for note in checked.notes)
    assert PreparedFolder(tmp_path / "out")[6].image.shape == (24, 32, 3)


def test_imbalance_is_told_in_numbers(tmp_path: Path) -> None:
    folder = m.table(tmp_path / "d", ["normal"] * 40 + ["tumour"] * 2)
    notes = prepare(PrepareSettings(data=DataSettings(kind="folder", path=folder)), None).notes
    assert "samples of each class: normal 40, tumour 2" in notes
    assert any("normal is 20 times as frequent as tumour" in n and "95.2%" in n for n in notes)


def test_a_window_by_name(tmp_path: Path) -> None:
    from medcore.datasets import WINDOW_PRESETS
    from medcore.datasets.dicom_grey import apply_window

    m.films(tmp_path / "d", modality="CT")
    settings = PrepareSettings(data=DataSettings(kind="dicom", path=tmp_path / "d", options={"window": "lung"}))
    prepare(settings, tmp_path / "out")
    values = np.random.default_rng(0).integers(-1000, 1000, (24, 32)).astype(float)
    np.testing.assert_array_equal(PreparedFolder(tmp_path / "out")[0].image, apply_window(values, *WINDOW_PRESETS["lung"]))
    text = (tmp_path / "out" / "card.json").read_text() + (tmp_path / "out" / "samples.jsonl").read_text()
    assert "MRN" not in text
    assert "Doe" not in text


def test_the_lines_have_the_documented_columns(tmp_path: Path) -> None:
    m.coco(tmp_path / "d", [[1, 2, 3, 4]])
    prepare(PrepareSettings(data=DataSettings(kind="coco", path=tmp_path / "d")), tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert lines[0]["boxes"] == [[1, 2, 4, 6]]
    assert lines[0]["image_size"] == [64, 48]
    assert set(lines[0]) <= set(COLUMNS)
    assert "label" not in lines[0]
    assert not any(Path(line["image"]).is_absolute() for line in lines)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    m.table(tmp_path / "d")
    prepare(PrepareSettings(data=DataSettings(kind="folder", path=tmp_path / "d")), tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["samples.jsonl", "images/000001.png", "card.json"])
def test_a_changed_byte_is_refused(out: Path, name: str) -> None:
    content = bytearray((out / name).read_bytes())
    content[len(content) // 2] ^= 1
    (out / name).write_bytes(content)
    with pytest.raises(InputError, match="differs from its manifest"):
        PreparedFolder(out)


def test_a_missing_image_is_refused(out: Path) -> None:
    (out / "images" / "000002.png").unlink()
    with pytest.raises(InputError, match="missing"):
        PreparedFolder(out)


def test_a_result_is_replaced_only_when_asked_and_only_if_it_is_one(out: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(data=DataSettings(kind="folder", path=tmp_path / "d"))
    with pytest.raises(OutputExistsError):
        prepare(settings, out)
    prepare(settings, out, force=True)
    with pytest.raises(OutputError, match="not written by this program"):
        prepare(settings, tmp_path / "d", force=True)
    assert (tmp_path / "d" / "labels.csv").is_file()


def test_nothing_stays_of_a_failure_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    m.table(tmp_path / "d")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match="disk is full"):
        prepare(PrepareSettings(data=DataSettings(kind="folder", path=tmp_path / "d")), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("kind", "path", "faults", "allow"),
    [
        ("medmnist", "pneumoniamnist/pneumoniamnist_train_val.npz", {"duplicate": 17, "leak": 8}, ("duplicate", "leak")),
        ("grades", "idrid-fundus/grading", {"duplicate": 1}, ("duplicate",)),
        ("masks", "idrid-fundus/segmentation", {}, ()),
        ("voc", "bccd-boxes", {"zero-box": 1}, ("zero-box",)),
        ("dicom", "siemens-mese-dicom", {"no-label": 1}, ("no-label",)),
    ],
)
def test_real_data(data_root: Path, tmp_path: Path, kind: str, path: str, faults: dict[str, int], allow: tuple[str, ...]) -> None:
    settings = PrepareSettings(data=DataSettings(kind=kind, path=data_root / path), near=kind != "medmnist")
    checked = prepare(settings, tmp_path / "out")
    found = [f.kind for f in checked.faults]
    assert {k: found.count(k) for k in found} == faults
    if faults:
        with pytest.raises(CheckFailedError):
            refuse(checked, settings)
        assert not (tmp_path / "out").exists()
        prepare(replace(settings, allow=allow), tmp_path / "out")
    source, again = open_whole(settings.data), PreparedFolder(tmp_path / "out")
    left = {s for f in checked.faults for s in f.leave}
    number = {a.sample_id: i for i, a in enumerate(source.annotations)}
    assert set(number) - {a.sample_id for a in again.annotations} == left
    for i, note in enumerate(again.annotations):
        assert note == source.annotations[number[note.sample_id]]
        np.testing.assert_array_equal(again[i].image, source[number[note.sample_id]].image)
