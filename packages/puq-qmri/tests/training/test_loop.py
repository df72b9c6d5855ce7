from __future__ import annotations

import json
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medcore.atomic import lock, verify_directory
from medcore.errors import ConfigError, LockedError, NumericalError, OutputError, OutputExistsError
from puq_qmri.networks.weights import load_weights
from puq_qmri.training import checkpoints, train
from puq_qmri.training.loop import open_examples
from puq_qmri.training.objectives import MeanObjective, VarianceObjective


def weights(folder):
    return load_file(folder / "weights" / "weights.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def whole(undisturbed, tmp_path):
    """The training that nobody disturbed."""
    shutil.copytree(undisturbed, tmp_path / "whole")
    return tmp_path / "whole"


def interrupted(settings, folder, where, number=signal.SIGINT):
    """Train until a line is said that begins with `where`, and ask to stop there."""

    def say(line):
        if line.startswith(where):
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        train(settings, folder, resume=True, say=say)


def test_interrupted_in_both_stages_it_ends_with_the_same_weights(micro, recipe, tmp_path, whole):
    out = tmp_path / "out"
    settings = recipe(micro)
    interrupted(settings, out, "mean 4/8")
    assert checkpoints.latest(out).step == 5  # what is said after step 4 is heard after the next one
    assert json.loads((out / "training.json").read_text())["state"] == "running"
    assert not (out / "weights").exists()
    interrupted(settings, out, "variance 4/4")
    assert (checkpoints.latest(out).stage, checkpoints.latest(out).step) == ("variance", 4)
    result = train(settings, out, resume=True)
    assert same(weights(out), weights(whole))
    known = {row["number"]: row for row in log(whole)}
    found = {row["number"]: row for row in log(out)}
    assert set(found) - set(known) == {5}
    assert all(found[n]["rate"] == row["rate"] and found[n]["gradient"] == row["gradient"] for n, row in known.items())
    assert all(found[n].get("nrmse") == row.get("nrmse") for n, row in known.items())
    assert result.validation == json.loads((whole / "training.json").read_text())["facts"]
    assert not (out / "checkpoints").exists()
    # Handlers are as they were.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_checkpoint_behind_the_last_step_is_gone_on_from(micro, recipe, tmp_path, whole):
    """As after a kill: work since the checkpoint is lost and done again."""
    out = tmp_path / "out"
    settings = recipe(micro | {"checkpoint_every": 3})
    interrupted(settings, out, "mean 4/8")
    newest = max((out / "checkpoints").iterdir())
    (newest / "state.safetensors").write_bytes(b"torn")
    assert checkpoints.latest(out).step == 3
    train(settings, out, resume=True)
    assert same(weights(out), weights(whole))


def test_what_a_training_leaves(micro, recipe, tmp_path, whole):
    settings = recipe(micro)
    assert sorted(p.name for p in whole.iterdir() if p.name != ".lock") == [
        "log.jsonl",
        "report.html",
        "run.json",
        "training.json",
        "weights",
    ]
    verify_directory(whole / "weights")
    found = load_weights(whole / "weights")
    sets = open_examples(settings, "cpu")
    judged = [sets["validation"][0]]
    facts = json.loads((whole / "run.json").read_text())["validation"]
    assert MeanObjective(found.network, "images").validate(judged) == pytest.approx(facts["mean"])
    variance = VarianceObjective(found.network, found.head, 0.5)
    assert variance.validate([variance.prepare(e) for e in judged]) == pytest.approx(facts["variance"])
    assert found.recipe["settings"]["mean"]["steps"] == 8
    assert found.recipe["validation"] == facts
    rows = log(whole)
    assert [(r["stage"], r["step"]) for r in rows] == [("mean", s) for s in (2, 4, 6, 8)] + [("variance", 2), ("variance", 4)]
    assert [r["number"] for r in rows] == [2, 4, 6, 8, 10, 12]
    assert ["nrmse" in r for r in rows] == [False, True, False, True, False, False]
    assert all(np.isfinite([r["loss"], r["rate"], r["gradient"]]).all() for r in rows)
    page = (whole / "report.html").read_text()
    assert page.count("<figure>") == 2 + 2 * 2
    assert f"{facts['mean']['nrmse']:.4f}" in page
    card = (whole / "weights" / "MODEL_CARD.md").read_text()
    assert "simulated scans only" in card


def test_random_numbers_and_threads_are_left_alone(micro, recipe, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    train(recipe(micro | {"head": None, "mean": {"steps": 1, "batch": 1}}), tmp_path / "out")
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_the_seed_decides_and_workers_do_not(micro, recipe, tmp_path, whole):
    train(recipe(micro | {"workers": 2}), tmp_path / "workers")
    assert same(weights(tmp_path / "workers"), weights(whole))
    train(recipe(micro | {"seed": 1}), tmp_path / "seed")
    assert not same(weights(tmp_path / "seed"), weights(whole))


def test_bf16_trains_much_the_same(micro, recipe, tmp_path):
    for precision in ("float32", "bf16"):
        train(recipe(micro | {"precision": precision, "head": None}), tmp_path / precision)
    first, second = (log(tmp_path / p) for p in ("float32", "bf16"))
    assert [r["loss"] for r in second] == pytest.approx([r["loss"] for r in first], rel=0.03)
    assert [r["loss"] for r in second] != [r["loss"] for r in first]
    assert all(v.dtype != torch.bfloat16 for v in weights(tmp_path / "bf16").values())


def test_a_finished_run_is_not_done_again(micro, recipe, whole):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file() and p.name != ".lock"}
    said = []
    result = train(recipe(micro), whole, resume=True, say=said.append)
    assert said == ["done before"]
    assert set(result.validation) == {"mean", "variance"}
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file() and p.name != ".lock"} == before


def test_an_earlier_run_is_replaced_only_when_asked(micro, recipe, tmp_path, whole):
    with pytest.raises(OutputExistsError, match="exists already"):
        train(recipe(micro), whole)
    train(recipe(micro | {"seed": 2}), whole, force=True)
    assert json.loads((whole / "run.json").read_text())["seed"] == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    for options in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(OutputError, match="exists and is no training"):
            train(recipe(micro), tmp_path / "other", **options)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


def test_resuming_with_other_settings_names_them(micro, recipe, tmp_path):
    out = tmp_path / "out"
    interrupted(recipe(micro), out, "mean 4/8")
    changed = micro | {"mean": micro["mean"] | {"learning_rate": 0.5}, "log_every": 1}
    with pytest.raises(ConfigError, match=r"recipe: differs from that of the run in .*: mean.learning_rate: 0.001 -> 0.5; resume"):
        train(recipe(changed), out, resume=True)
    train(recipe(micro | {"log_every": 1, "checkpoint_every": 3}), out, resume=True)


def test_measured_files_that_changed_are_named(micro, recipe, tmp_path, measured_folder):
    folder, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(measured_folder, folder)
    micro["data"] = {
        "measured": {"folder": str(folder), "acceleration": [2.0, 3.0], "centre_fraction": 0.15},
        "examples": 4,
        "validation": 1,
    }
    interrupted(recipe(micro), out, "mean 4/8")
    kept = np.load(folder / "slice.npz")
    np.savez(folder / "slice.npz", **{k: kept[k] * (2 if k == "image" else 1) for k in kept.files})
    with pytest.raises(ConfigError, match=r"slice.npz: \"[0-9a-f]{64}\" -> "):
        train(recipe(micro), out, resume=True)


def test_it_trains_with_measured_data(micro, recipe, tmp_path, measured_folder):
    micro["data"] = {
        "measured": {"folder": str(measured_folder), "acceleration": [2.0, 3.0], "centre_fraction": 0.15},
        "examples": 4,
        "variance_examples": 2,
        "validation": 1,
    }
    train(recipe(micro), tmp_path / "out")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert len(record["inputs"]) == 3
    assert "fully sampled measurements" in (tmp_path / "out" / "weights" / "MODEL_CARD.md").read_text()


def test_a_loss_that_is_no_number_ends_it_and_keeps_the_checkpoint(micro, recipe, tmp_path):
    micro["mean"] |= {"learning_rate": 1e30, "clip": 0.0, "schedule": "constant", "warmup": 0}
    out = tmp_path / "out"
    with pytest.raises(NumericalError, match=r"stage mean, step 2: has the loss .*; lower the learning rate"):
        train(recipe(micro | {"checkpoint_every": 1}), out)
    assert checkpoints.latest(out).step == 1
    assert not (out / "weights").exists()


def test_a_second_run_in_the_folder_is_refused(micro, recipe, tmp_path):
    with lock(tmp_path / "out"), pytest.raises(LockedError, match="in use by process") as caught:
        train(recipe(micro), tmp_path / "out")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("device", ["tpu", "cuda:99"])
def test_a_device_that_is_not_there(micro, recipe, tmp_path, device):
    with pytest.raises(ConfigError, match=f"device: '{device}' cannot be used"):
        train(recipe(micro | {"device": device}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_that_cannot_be_used_leave_no_folder(micro, recipe, tmp_path):
    micro["data"] = {"measured": {"folder": str(tmp_path / "missing")}}
    with pytest.raises(Exception, match="is not a folder"):
        train(recipe(micro), tmp_path / "out")
    assert not (tmp_path / "out").exists()
