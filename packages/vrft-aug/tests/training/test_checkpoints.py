"""Checkpoints: complete or absent, damaged ones passed over."""

from __future__ import annotations

import json
import logging

import pytest

from medcore.atomic import verify_directory
from vrft_aug.checkpoints import checkpoints, latest, publish


def staged(tmp_path, step, text="weights"):
    folder = tmp_path / "trainer" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name, content in {"model.safetensors": text * step, "trainer_state.json": "{}", "training_args.bin": "pickle"}.items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def three(tmp_path):
    for step in (2, 4, 10):
        publish(staged(tmp_path, step), tmp_path / "out", step, keep=3)
    return tmp_path / "out"


def test_publishing_moves_verifies_and_drops_the_pickle(tmp_path):
    source = staged(tmp_path, 2)
    made = publish(source, tmp_path / "out", 2)
    assert made.name == "step-00000002"
    assert not source.exists()
    assert {p.name for p in made.iterdir()} == {"manifest.json", "model.safetensors", "trainer_state.json"}
    verify_directory(made)
    assert latest(tmp_path / "out") == made


def test_only_the_newest_stay(tmp_path):
    for step in (2, 4, 10):
        publish(staged(tmp_path, step), tmp_path / "out", step, keep=2)
    assert [p.name for p in checkpoints(tmp_path / "out")] == ["step-00000004", "step-00000010"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: (c / "manifest.json").unlink(),
        lambda c: (c / "manifest.json").write_text("{"),
        lambda c: (c / "model.safetensors").unlink(),
        lambda c: (c / "model.safetensors").write_text("x"),
        lambda c: (c / "model.safetensors").write_text("WEIGHTS" * 10),
        lambda c: (c / "trainer_state.json").write_text(""),
    ],
    ids=["no manifest", "torn manifest", "file missing", "file short", "same size, other content", "state emptied"],
)
def test_a_damaged_checkpoint_is_passed_over_and_kept(three, damage, caplog):
    damage(three / "step-00000010")
    with caplog.at_level(logging.WARNING):
        found = latest(three)
    assert found is not None
    assert found.name == "step-00000004"
    assert "passed over" in caplog.text
    assert (three / "step-00000010").exists()


def test_a_checkpoint_without_a_trainer_state_is_passed_over(three):
    last = three / "step-00000010"
    (last / "trainer_state.json").unlink()
    manifest = json.loads((last / "manifest.json").read_text())
    del manifest["files"]["trainer_state.json"]
    (last / "manifest.json").write_text(json.dumps(manifest))
    found = latest(three)
    assert found is not None
    assert found.name == "step-00000004"


def test_no_checkpoint_at_all(tmp_path):
    assert latest(tmp_path / "nothing") is None
    (tmp_path / "some").mkdir()
    assert latest(tmp_path / "some") is None
