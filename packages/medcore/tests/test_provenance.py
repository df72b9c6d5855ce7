"""run.json says what made a result."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from medcore.errors import InputError
from medcore.provenance import RUN_FILE, RunRecord, hash_inputs, versions


@dataclass(frozen=True, kw_only=True)
class Settings:
    out: Path = Path("a/b")
    levels: tuple[float, ...] = (0.5, 0.9)


def test_versions_are_those_installed_and_nothing_else():
    found = versions(["numpy", "surely-not-installed"])
    assert found == {"python": platform.python_version(), "numpy": importlib.metadata.version("numpy")}


def test_asking_for_versions_imports_nothing_heavy():
    code = (
        "import sys; from medcore.provenance import versions; versions(); print('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_files_and_folders_are_hashed(tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "b").write_bytes(b"b")
    (tmp_path / "d" / "c").write_bytes(b"c")
    (tmp_path / "a").write_bytes(b"a")
    found = hash_inputs(p for p in [tmp_path / "a", str(tmp_path / "d")])
    assert found == {str(tmp_path / n): hashlib.sha256(n[-1].encode()).hexdigest() for n in ("a", "d/c", "d/e/b")}


def test_an_absent_input_is_not_passed_over(tmp_path):
    with pytest.raises(InputError, match="absent: does not exist"):
        RunRecord(command="x", settings={}, inputs=[tmp_path / "absent"])


def test_the_record_is_json_and_complete(tmp_path):
    (tmp_path / "in").write_bytes(b"x")
    record = RunRecord(command="puq-qmri fit", settings=Settings(), seed=3, inputs=[tmp_path / "in"], extra={"rule": "auto"})
    (tmp_path / "in").write_bytes(b"changed later")
    returned = record.write(tmp_path, "failed")
    found = json.loads((tmp_path / RUN_FILE).read_text())
    assert found == returned
    assert found["inputs"] == {str(tmp_path / "in"): hashlib.sha256(b"x").hexdigest()}
    assert found["settings"] == {"out": "a/b", "levels": [0.5, 0.9]}
    assert {k: found[k] for k in ("command", "exit_state", "seed", "device", "rule")} == {
        "command": "puq-qmri fit",
        "exit_state": "failed",
        "seed": 3,
        "device": "cpu",
        "rule": "auto",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["started"])
    assert found["wall_time_s"] >= 0
    assert "medcore" in found["versions"]


def test_an_infinite_setting_is_written_as_a_word(tmp_path):
    settings = {"snr": math.inf, "bounds": (-math.inf, 0.5), "inner": {"none": math.nan}}
    RunRecord(command="x", settings=settings).write(tmp_path)
    found = json.loads((tmp_path / RUN_FILE).read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["settings"] == {"snr": "inf", "bounds": ["-inf", 0.5], "inner": {"none": "nan"}}
