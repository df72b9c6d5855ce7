"""Whole studies with real processes: killed, stopped, too slow, resumed; on this machine and on a Dask cluster."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from medcore.atomic import verify_directory
from medcore.config import to_mapping
from medcore.io.bids import bids_faults
from puq_qmri.results import read_maps
from puq_qmri.studies.plan import StudySettings, plan_study
from puq_qmri.studies.status import Status, read_status, write_status
from puq_qmri.studies.supervision import Task, run_task

PROGRAM = [sys.executable, "-c", "from puq_qmri.cli import main; main()"]


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([*PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def pid_of(output: Path, name: str) -> int:
    """The process of a subject; it waits for its task until its status is written, so it is there."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        status = read_status(output, name)
        if status is not None and status.state == "running" and status.pid is not None:
            return status.pid
        time.sleep(0.005)
    raise AssertionError(f"{name} was never started")


def prints(output: Path, names: list[str]) -> dict[str, tuple[int, str]]:
    """Time and content of every file of the subjects, their status files among them."""
    folders = [folder / name for name in names for folder in (output, output / "status")]
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(p): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files}


def hidden(output: Path) -> list[str]:
    """Leftovers of writers."""
    return [p.name for p in output.rglob(".*") if p.name not in {".lock", ".bidsignore"}]


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_of_eight_subjects_one_damaged_and_one_killed_six_are_done_and_two_resumed(made, tmp_path: Path, puq) -> None:
    for i in range(1, 9):
        made.add(f"{i:02d}", 0.06 + 0.004 * i)
    image = made.root / "sub-04" / "anat" / "sub-04_echo-2_MESE.nii.gz"
    whole = image.read_bytes()
    image.write_bytes(whole[:60])
    output = tmp_path / "maps"
    process = start("bids", made.root, output, "participant", "--jobs", 2)
    os.kill(pid_of(output, "sub-06"), signal.SIGKILL)
    out, err = process.communicate(timeout=250)
    assert process.returncode == 7, err
    assert "sub-06: failed: killed by SIGKILL" in out
    assert "sub-04: failed: " in out
    assert "sub-04_echo-2_MESE.nii.gz" in out
    assert err.startswith(f"error: {output}: 2 of 8 subjects failed (sub-04, sub-06)")
    assert err.count("\n") == 1
    good = [f"sub-{i:02d}" for i in (1, 2, 3, 5, 7, 8)]
    assert sorted(p.name for p in output.glob("sub-*")) == good
    for name in good:
        verify_directory(output / name)
        values = read_maps(output / name / "anat").maps["T2map"]
        assert np.nanmedian(values) == pytest.approx(0.06 + 0.004 * int(name[-2:]), rel=1e-3)
    assert bids_faults(output) == []
    assert hidden(output) == []

    before = prints(output, good)
    image.write_bytes(whole)
    again = start("bids", made.root, output, "participant", "--jobs", 2, "--json")
    out, err = again.communicate(timeout=250)
    assert again.returncode == 0, err
    facts = json.loads(out)
    assert (facts["done"], facts["kept"], facts["failed"]) == (["sub-04", "sub-06"], good, {})
    assert prints(output, good) == before

    page = json.loads(puq("bids", made.root, output, "group", "--json").out)
    assert page["states"] == {"done": 8}
    assert page["maps"]["MESE t2"]["median"] == pytest.approx(0.078, rel=1e-3)


@pytest.mark.integration
def test_asked_to_stop_it_stops_its_processes_and_leaves_nothing(made, tmp_path: Path) -> None:
    made.add("1")
    made.add("2")
    output = tmp_path / "maps"
    process = start("bids", made.root, output, "participant", "--jobs", 1)
    child = pid_of(output, "sub-1")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    status = read_status(output, "sub-1")
    assert status is not None
    assert status.state == "interrupted"
    assert read_status(output, "sub-2") is None
    assert list(output.glob("sub-*")) == []
    assert hidden(output) == []


@pytest.mark.integration
def test_a_process_ends_with_whoever_started_it(made, tmp_path: Path) -> None:
    made.add("1")
    command = [sys.executable, "-m", "puq_qmri.studies.worker"]
    order = {"root": str(made.root), "output": str(tmp_path / "maps"), "subject": "1", "session": None}
    order["settings"] = to_mapping(StudySettings())
    # Standard input is at its end after the task, as if whoever holds the other side had died.
    done = subprocess.run(command, input=json.dumps(order) + "\n", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in {143, -signal.SIGTERM}, done.stderr
    assert not (tmp_path / "maps" / "sub-1").exists()


def task(made, output: Path, **options) -> Task:
    (unit,) = plan_study(made.root)
    return Task(unit=unit, output=output, settings=StudySettings(), **options)


def test_a_subject_that_takes_too_long_is_stopped(made, tmp_path: Path) -> None:
    made.add("1")
    start = time.monotonic()
    found = run_task(task(made, tmp_path / "maps", timeout=0.2), poll=0.05)
    assert time.monotonic() - start < 60
    assert found.status.state == "failed"
    assert found.status.reason == "took longer than 0.2 s and was stopped"
    kept = run_task(task(made, tmp_path / "maps", retry_failed=False))
    assert kept.kept
    assert kept.status == found.status
    sidecar = made.root / "sub-1" / "anat" / "sub-1_echo-1_MESE.json"
    sidecar.write_text(sidecar.read_text() + " ")
    assert not run_task(task(made, tmp_path / "maps", timeout=0.1, retry_failed=False), poll=0.05).kept


def test_a_subject_that_somebody_else_works_on_is_left_alone(made, tmp_path: Path) -> None:
    from medcore.atomic import lock

    made.add("1")
    with lock(tmp_path / "maps" / "status" / "sub-1"):
        found = run_task(task(made, tmp_path / "maps"))
    assert found.status.state == "failed"
    assert f"is in use by process {os.getpid()}" in str(found.status.reason)
    assert read_status(tmp_path / "maps", "sub-1") is None


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_a_dask_cluster_does_the_same(made, tmp_path: Path) -> None:
    if find_spec("distributed") is None:  # imported, it would change what importlib.metadata gives to other tests
        pytest.skip("distributed is not installed")
    for i in (1, 2):
        made.add(f"{i}")
    output = tmp_path / "maps"
    process = start("bids", made.root, output, "participant", "--engine", "dask", "--jobs", 1)
    os.kill(pid_of(output, "sub-1"), signal.SIGKILL)
    out, err = process.communicate(timeout=250)
    assert process.returncode == 7, err
    assert "sub-1: failed: killed by SIGKILL" in out
    assert "1 of 2 subjects failed (sub-1)" in err
    verify_directory(output / "sub-2")
    before = prints(output, ["sub-2"])
    again = start("bids", made.root, output, "participant", "--engine", "dask", "--jobs", 1, "--json")
    out, err = again.communicate(timeout=250)
    assert again.returncode == 0, err
    facts = json.loads(out)
    assert (facts["done"], facts["kept"]) == (["sub-1"], ["sub-2"])
    assert prints(output, ["sub-2"]) == before


def test_without_dask_the_extra_is_named(made, tmp_path: Path, puq, monkeypatch: pytest.MonkeyPatch) -> None:
    made.add("1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = puq("bids", made.root, tmp_path / "maps", "participant", "--engine", "dask")
    assert done.code == 2
    assert "run: pip install 'puq-qmri[dask]'" in done.err
    assert not (tmp_path / "maps").exists()


def test_bad_words_are_one_error(made, tmp_path: Path, puq) -> None:
    made.add("1")
    inside = made.root / "sub-1" / "maps"
    cases = [
        (("bids", tmp_path / "none", tmp_path / "maps", "participant"), "none: does not exist"),
        (("bids", made.root, inside, "participant"), "lies in the source data set"),
        (("bids", made.root, made.root, "participant"), "lies in the source data set"),
        (("bids", made.root, tmp_path / "maps", "participant", "--engine", "cluster"), "--engine"),
        (("bids", made.root, tmp_path / "maps", "participant", "--scheduler", "tcp://x:1"), "give --engine dask"),
        (("bids", made.root, tmp_path / "maps", "everybody"), "everybody"),
        (("bids", made.root, tmp_path / "maps", "group"), "participant first"),
    ]
    for words, text in cases:
        done = puq(*words)
        assert (done.code, done.err.count("\n")) == (2, 1), words
        assert text in done.err
    assert not inside.exists()
    assert not (tmp_path / "maps").exists()


def test_other_settings_are_refused_and_a_plan_writes_nothing(made, tmp_path: Path, puq) -> None:
    made.add("1")
    output = tmp_path / "maps"
    plan = puq("bids", made.root, output, "participant", "--dry-run")
    assert plan.code == 0, plan.err
    assert "sub-1: sub-1_MESE (new)" in plan.out
    assert not output.exists()
    (tmp_path / "maps").mkdir()
    (output / "dataset_description.json").write_text(json.dumps({"Name": "x", "DatasetType": "derivative"}))
    write_status(output, Status(subject="1", state="done", settings=to_mapping(StudySettings(model="t2star"))))
    done = puq("bids", made.root, output, "participant")
    assert done.code == 3
    assert "was made with other settings (model 't2star', now None); choose another output, or add --force" in done.err
    forced = puq("bids", made.root, output, "participant", "--force", "--timeout", "0.2", "--json")
    assert forced.code == 7
    assert json.loads(forced.out)["failed"] == {"sub-1": "took longer than 0.2 s and was stopped"}
