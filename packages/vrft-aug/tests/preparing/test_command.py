"""``vrft-aug prepare`` as a user runs it: exit codes, what is said, what is written."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import makers as m
import pytest

from medcore.errors import ConfigError
from vrft_aug.preparing.command import settings_of

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_good_data_are_written_and_a_recipe_reads_them(run_cli: Run, tmp_path: Path) -> None:
    folder = m.table(tmp_path / "d", ["cyst", "stone"] * 10)
    out = tmp_path / "prepared"
    done = run_cli("prepare", "folder", folder, "-o", out, "--split", "0.6,0.4", "--seed", 2)
    assert done.returncode == 0, done.stderr
    assert "samples of each class: cyst 10, stone 10" in done.stdout
    assert "train: 12 samples" in done.stdout
    assert json.loads((out / "run.json").read_text())["seed"] == 2
    recipe = tmp_path / "recipe.yaml"
    assert run_cli("init", "prepared", "--data", out, "-o", recipe).returncode == 0
    planned = run_cli("plan", recipe, "--json")
    assert planned.returncode == 0, planned.stderr
    stage = json.loads(planned.stdout)["stages"][0]
    assert (stage["train_images"], stage["held_out_images"]) == (12, 8)


def test_faults_give_8_and_the_whole_list(run_cli: Run, tmp_path: Path) -> None:
    folder = m.rows(m.table(tmp_path / "d"), "gone.png,cyst", "lost.png,stone", "/etc/hosts,cyst")
    done = run_cli("prepare", "folder", folder, "-o", tmp_path / "out", "--json")
    assert done.returncode == 8
    assert done.stderr.count("\n") == 1
    assert "3 faults (2 missing-image, 1 outside-path)" in done.stderr
    assert "--allow missing-image --allow outside-path" in done.stderr
    facts = json.loads(done.stdout)
    assert [f["kind"] for f in facts["faults"]] == ["missing-image", "missing-image", "outside-path"]
    assert facts["written"] is False
    assert not (tmp_path / "out").exists()
    allowed = ("--allow", "missing-image", "--allow", "outside-path")
    done = run_cli("prepare", "folder", folder, "-o", tmp_path / "out", "--json", *allowed)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["left_out"] == {"missing-image": 2, "outside-path": 1}
    assert facts["samples"] == 6
    assert (tmp_path / "out" / "card.json").is_file()


def test_a_dry_run_checks_and_writes_nothing(run_cli: Run, tmp_path: Path) -> None:
    folder = m.table(tmp_path / "d")
    done = run_cli("prepare", "folder", folder, "-o", tmp_path / "out", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "would write" in done.stdout
    assert not (tmp_path / "out").exists()
    m.rows(folder, "gone.png,cyst")
    assert run_cli("prepare", "folder", folder, "-o", tmp_path / "out", "--dry-run").returncode == 8


def test_output_that_exists_gives_3_unless_forced(run_cli: Run, tmp_path: Path) -> None:
    folder = m.table(tmp_path / "d")
    for expected, more in ((0, ()), (3, ()), (0, ("--force",))):
        assert run_cli("prepare", "folder", folder, "-o", tmp_path / "out", *more).returncode == expected


@pytest.mark.parametrize(
    ("kind", "source", "output", "words"),
    [
        ("folder", "nowhere", "out", "does not exist"),
        ("foldr", "d", "out", "foldr"),
        ("folder", "d", "d/out", "lies in the data themselves"),
    ],
)
def test_wrong_usage_gives_2_and_one_line(run_cli: Run, tmp_path: Path, kind: str, source: str, output: str, words: str) -> None:
    m.table(tmp_path / "d")
    done = run_cli("prepare", kind, tmp_path / source, "-o", tmp_path / output)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not (tmp_path / output).exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"split": "0.5"}, "two or three"),
        ({"split": "half,half"}, "numbers with commas"),
        ({"grey": "dark"}, "percentile, range"),
        ({"grey": "9,1"}, "lowest and highest"),
        ({"grey": "1,2,3"}, "give 2 numbers"),
        ({"window": "lung"}, "folder has none"),
        ({"allow": ["leek"]}, "did you mean 'leak'"),
        ({"classes": "cyst"}, "two different names"),
        ({"option": ["label_column"]}, "label_column"),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    usual: dict[str, Any] = {"classes": None, "option": None, "window": None, "split": None, "grey": "percentile"}
    with pytest.raises(ConfigError, match=words):
        settings_of("folder", tmp_path, **{**usual, "allow": None, "near": True, "seed": 0, **given})


def test_boxes_have_no_classes_to_name(tmp_path: Path) -> None:
    usual: dict[str, Any] = {"option": None, "window": None, "split": None, "grey": "percentile", "allow": None}
    with pytest.raises(ConfigError, match="coco has boxes"):
        settings_of("coco", tmp_path, classes="a,b", near=True, seed=0, **usual)


def test_options_become_settings(tmp_path: Path) -> None:
    found = settings_of(
        "dicom",
        tmp_path,
        classes="no, yes",
        option=["key_column=file", "ordered=true"],
        window="40,80",
        split="0.5,0.25,0.25",
        grey="0,4095",
        allow=["leak"],
        near=False,
        seed=7,
    )
    assert found.data.classes == ("no", "yes")
    assert found.data.options == {"key_column": "file", "ordered": True, "window": [40.0, 80.0]}
    assert (found.split, found.grey, found.allow, found.near, found.seed) == ((0.5, 0.25, 0.25), (0.0, 4095.0), ("leak",), False, 7)


def test_many_faults_are_shown_in_part(run_cli: Run, tmp_path: Path) -> None:
    folder = m.rows(m.table(tmp_path / "d"), *(f"gone{i}.png,cyst" for i in range(30)))
    done = run_cli("prepare", "folder", folder, "-o", tmp_path / "out")
    assert done.returncode == 8
    assert done.stdout.count("fault: missing-image:") == 20
    assert "10 more: missing-image; see --json" in done.stdout
