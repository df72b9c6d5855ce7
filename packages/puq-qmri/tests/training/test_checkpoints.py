from __future__ import annotations

import pytest
import torch

from puq_qmri.training import checkpoints
from puq_qmri.training.checkpoints import Checkpoint


def checkpoint(step, stage="mean"):
    tensors = {"network.a.b": torch.arange(4.0) + step, "optimiser.0.step": torch.tensor(float(step))}
    return Checkpoint(stage=stage, step=step, tensors=tensors, facts={"mean": {"nrmse": 0.5}})


def test_what_is_saved_comes_back(tmp_path):
    checkpoints.save(tmp_path, checkpoint(3), 3, keep=2)
    found = checkpoints.latest(tmp_path)
    assert found is not None
    assert (found.stage, found.step, found.facts) == ("mean", 3, {"mean": {"nrmse": 0.5}})
    assert torch.equal(found.part("network")["a.b"], torch.arange(4.0) + 3)
    assert list(found.part("optimiser")) == ["0.step"]


def test_the_newest_ones_stay(tmp_path):
    for step in (2, 4, 6, 8):
        checkpoints.save(tmp_path, checkpoint(step), step, keep=2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000006", "step-00000008"]
    assert checkpoints.latest(tmp_path).step == 8
    checkpoints.remove(tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    assert checkpoints.latest(tmp_path) is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing", "manifest", "state"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog, damage):
    for step in (2, 4):
        checkpoints.save(tmp_path, checkpoint(step), step, keep=2)
    folder = tmp_path / "checkpoints" / "step-00000004"
    tensors = folder / "state.safetensors"
    content = tensors.read_bytes()
    if damage == "cut":
        tensors.write_bytes(content[:-3])
    elif damage == "flipped":
        tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "missing":
        tensors.unlink()
    elif damage == "manifest":
        (folder / "manifest.json").unlink()
    else:
        (folder / "state.json").write_text("{")
    found = checkpoints.latest(tmp_path)
    assert found.step == 2
    assert "checkpoint passed over" in caplog.text
    assert "step-00000004" in caplog.text


def test_a_writer_that_died_leaves_nothing_that_counts(tmp_path):
    checkpoints.save(tmp_path, checkpoint(2), 2, keep=2)
    torn = tmp_path / "checkpoints" / ".step-00000004.tmp-1-0123abcd"
    torn.mkdir()
    (torn / "state.json").write_text("{}")
    assert checkpoints.latest(tmp_path).step == 2
    assert not torn.exists()
