"""The demonstration as a user runs it: two measurements, honest numbers, pages that exist."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from medcore.atomic import verify_directory
from puq_qmri.demo import parts
from puq_qmri.simulation import SimulationSettings
from puq_qmri.training.ranges import HELD_OUT_SEED


def test_the_demonstration_changes_nothing_but_matrix_and_sampling_and_shows_objects_that_nothing_was_trained_on() -> None:
    made = parts(7)
    assert made["t2"] == SimulationSettings(model="t2", trajectory="cartesian", size=96, seed=HELD_OUT_SEED + 7)
    assert made["t1"] == SimulationSettings(model="t1", trajectory="radial", size=96, seed=HELD_OUT_SEED + 7)


@pytest.mark.integration
def test_the_demonstration_reports_what_the_files_say(
    run_cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    output = tmp_path / "demo"
    done = run_cli("demo", "-o", output, "--json", timeout=280)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    for name in ("t2", "t1"):
        verify_directory(output / name / "maps")
        again = run_cli("evaluate", output / name / "maps", output / name / "scan_truth", "--json")
        said = facts["results"][name]
        assert json.loads(again.stdout)["results"][f"{name.upper()}map"] == said
        assert 0 < said["pure"]["median_relative_error"] < 0.5
        beside = facts["results"][f"{name}-cg-sense"]
        assert said["pure"]["median_relative_error"] < beside["pure"]["median_relative_error"]
        assert said["pure"]["coverage"] > beside["pure"]["coverage"]
    verify_directory(output)
    for page in facts["reports"]:
        text = Path(page).read_text()
        assert "<img " in text or page == str(output / "report.html")
        assert str(tmp_path) not in text, "a page names a folder of this machine"
    for row in facts["weights"]:
        assert row["oracle"] < row["shuffled"], row
        if row["method"] == "cg-sense":
            assert row["guided"] < 0.9 * row["equal"], row
            assert row["oracle"] < row["guided"], row
        else:
            assert row["guided"] < 1.1 * row["equal"], row
    assert f"{100 * facts['results']['t2']['pure']['coverage']:.1f} %" in (output / "report.html").read_text()
