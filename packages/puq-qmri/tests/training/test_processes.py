"""Real processes: killed, asked to stop, started twice, out of disk; several at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from medcore.io import write_ismrmrd
from puq_qmri.simulation import SimulationSettings, simulate

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PROGRAM = [sys.executable, "-c", "from puq_qmri.cli import main; main()"]
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def recipe_file(micro, tmp_path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(micro))
    return path


def start(*arguments):
    return subprocess.Popen(
        [*PROGRAM, "train", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ALONE
    )


def wait_for(path: Path, process, seconds: float = 300) -> None:
    """Wait until `path` exists; the process must still run then."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        if time.monotonic() > end:
            process.kill()
            pytest.fail(f"{path} did not appear: {process.communicate()}")
        time.sleep(0.02)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights" / "weights.safetensors")


def test_the_tiny_recipe_learns_is_killed_resumed_and_used(tmp_path, run_cli):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    done = run_cli("train", "tiny", "-o", whole, "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["validation"]["mean"]["nrmse"] < 0.95 * facts["validation"]["mean"]["nrmse_start"]
    assert 0.5 < facts["validation"]["variance"]["error_over_variance"] < 2
    for landmark in ("step-00000060", "step-00000220"):  # one in each stage
        process = start("tiny", "-o", out, "--resume")
        wait_for(out / "checkpoints" / landmark, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (out / "weights").exists()
    done = run_cli("train", "tiny", "-o", out, "--resume", timeout=600)
    assert done.returncode == 0, done.stderr
    assert "resuming in stage variance after step" in done.stdout
    first, second = weights(whole), weights(out)
    assert first.keys() == second.keys()
    assert all(torch.equal(v, second[k]) for k, v in first.items())

    kspace, _ = simulate(
        SimulationSettings(size=32, times=(0.01, 0.04, 0.08, 0.15), acceleration=3.0, n_coils=4, anatomy="shapes", seed=4)
    )
    write_ismrmrd(tmp_path / "scan.h5", kspace)
    used = run_cli(
        "run", tmp_path / "scan.h5", "-o", tmp_path / "maps", "--method", "unrolled", "--weights", out / "weights",
        "--uncertainty", "learned", "--json",
    )  # fmt: skip
    assert used.returncode == 0, used.stderr
    assert json.loads(used.stdout)["status"]["ok"] > 100


def test_asked_to_stop_it_saves_and_a_second_one_is_refused(recipe_file, tmp_path, run_cli):
    out = tmp_path / "out"
    process = start(recipe_file, "-o", out, "--set", "mean.steps=100000")
    wait_for(out / "checkpoints" / "step-00000004", process)
    second = run_cli("train", recipe_file, "-o", out, "--resume", "--set", "mean.steps=100000")
    assert second.returncode == 3
    assert second.stderr.startswith(f"error: {out}: is in use by process {process.pid}")
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert "stopped after step" in said
    assert errors.startswith("error: interrupted")
    step = int(said.split("stopped after step ")[1].split()[0])
    newest = max((out / "checkpoints").iterdir())
    assert newest.name == f"step-{step:08d}"
    process = start(recipe_file, "-o", out, "--resume", "--set", "mean.steps=100000")
    wait_for(out / "checkpoints" / f"step-{step + 6 - step % 2:08d}", process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130


def test_a_full_disk_is_said_and_nothing_partial_stays(recipe_file, tmp_path):
    """A limit on the size of files stands for the disk: tensors do not fit."""
    out = tmp_path / "out"
    command = ["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", *PROGRAM, "train", str(recipe_file), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=ALONE)
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "disk is full" in done.stderr
    assert not list(out.rglob("step-*"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("tny",), 2, "recipe 'tny': is not one of puq-paper, shipped, tiny; did you mean 'tiny'?"),
        (("tiny", "--set", "mean.stps=1"), 2, "tiny.mean.stps: is unknown"),
        (
            (
                "tiny",
                "--set",
                "mean.learning_rate=1e30",
                "--set",
                "mean.clip=0",
                "--set",
                "mean.schedule=constant",
                "--set",
                "mean.warmup=0",
            ),
            5,
            "has the loss",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, run_cli, arguments, code, message):
    done = run_cli("train", *arguments, "-o", tmp_path / "out")
    assert done.returncode == code, done.stderr
    assert message in next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "Traceback" not in done.stderr


def test_dry_run_tells_what_and_writes_nothing(tmp_path, run_cli):
    done = run_cli("train", "shipped", "-o", tmp_path / "out", "--dry-run", "--json", "--seed", "3")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["seed"] == 3
    assert [s["name"] for s in facts["stages"]] == ["mean", "variance"]
    assert facts["network_parameters"] > 100_000 > facts["head_parameters"] > 1000
    assert not (tmp_path / "out").exists()


def torchrun(count, *arguments):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(count),
        "--no-python",
        *PROGRAM,
    ]
    return subprocess.run(
        [*command, "train", *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False, env=ALONE
    )


def test_two_processes_do_what_one_does(micro, tmp_path, run_cli):
    micro["network"]["dropout"] = 0.0
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(micro))
    assert run_cli("train", path, "-o", tmp_path / "one").returncode == 0
    done = torchrun(2, path, "-o", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-5)
    assert done.stdout.count("mean 8/8") == 1


def test_a_batch_that_cannot_be_shared_is_refused(recipe_file, tmp_path):
    done = torchrun(3, recipe_file, "-o", tmp_path / "out")
    assert done.returncode != 0
    assert "mean.batch: is 2 for 3 processes; give a multiple of 3" in done.stderr
    assert not (tmp_path / "out").exists()


def test_compiled_it_trains_much_the_same(micro, recipe_file, tmp_path, run_cli):
    common = ("--set", "head=null", "--set", "data.simulated.sizes=[16]")
    losses = []
    for compiled in ("false", "true"):
        out = tmp_path / compiled
        done = run_cli(
            "train", recipe_file, "-o", out, "--set", f"compile={compiled}", "--set", "network.dropout=0", *common, timeout=600
        )
        assert done.returncode == 0, done.stderr
        losses.append([json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
