"""The command line as a user meets it: every test starts a process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]


def refused(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Exit code, one line on stderr, nothing on stdout, no traceback."""
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr


def test_init_then_plan(run_cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    written = run_cli("init", "-o", path)
    assert written.returncode == 0, written.stderr
    assert f"vrft-aug plan {path}" in written.stdout
    planned = run_cli("plan", path, "--json", "--set", "stages.0.data.train=64", "--set", "stages.0.grpo.max_steps=3")
    assert planned.returncode == 0, planned.stderr
    facts = json.loads(planned.stdout)
    assert facts["stages"][0]["train_images"] == 64
    assert facts["stages"][0]["completions"] == 3 * 128
    shown = run_cli("plan", path)
    assert "7680 completions" in shown.stdout
    assert "+1 accuracy, +1 format" in shown.stdout


def test_init_overwrites_only_when_told(run_cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("mine")
    refused(run_cli("init", "-o", path), 3, "exists already")
    assert path.read_text() == "mine"
    assert run_cli("init", "-o", path, "--dry-run", "--force").stdout.startswith("would write")
    assert path.read_text() == "mine"
    assert run_cli("init", "boxes", "-o", path, "--force", "--data", tmp_path).returncode == 0
    assert str(tmp_path) in path.read_text()


def test_bad_recipes_end_with_one_line(run_cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    run_cli("init", "pneumonia", "-o", path)
    refused(run_cli("plan", tmp_path / "none.yaml"), 2, "none.yaml", "cannot be read")
    refused(run_cli("plan", path), 2, "pneumoniamnist.npz", "does not exist")
    refused(run_cli("plan", path, "--set", "stages.0.grpo.num_generations=7"), 2, "multiple of num_generations 7")
    refused(run_cli("plan", path, "--set", "stages.0.taks=grading"), 2, "did you mean 'task'")
    refused(run_cli("init", "pneumnia", "-o", tmp_path / "x.yaml"), 2, "pneumonia")
    assert not (tmp_path / "x.yaml").exists()


def test_rewards_list(run_cli: Run) -> None:
    found = {entry["name"]: entry for entry in json.loads(run_cli("rewards", "list", "--json").stdout)["rewards"]}
    assert {"accuracy", "box_iou", "format", "multi_grade_fuzzy", "recitation"} <= set(found)
    assert found["recitation"]["options"]["similarity"] == "bleu"
    assert "kernel = geometric" in run_cli("rewards", "list").stdout


def test_rewards_score(run_cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    rows: list[dict[str, Any]] = [
        {"completion": "<answer>2</answer>", "grade": 2, "num_grades": 5},
        {"completion": "<answer>4</answer>", "grade": 2, "num_grades": 5},
        {"completion": "<answer>4</answer>"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = "multi_grade_fuzzy:kernel=table,table=[0.5,0.1]"
    result = run_cli("rewards", "score", file, "--reward", spec, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["scores"] == [1.0, 0.1, None]
    shown = run_cli("rewards", "score", file, "--reward", spec).stdout.splitlines()
    assert shown == ["1\t1", "2\t0.1", "3\t-", "multi_grade_fuzzy: mean 0.55 of 2 judged, 1 not judged"]
    refused(run_cli("rewards", "score", file, "--reward", "multi_grade_fuzy"), 2, "did you mean 'multi_grade_fuzzy'")
    refused(run_cli("rewards", "score", file, "--reward", "multi_grade_fuzzy:bace=0.5"), 2, "did you mean 'base'")
    refused(run_cli("rewards", "score", tmp_path / "no.jsonl", "--reward", "format"), 2, "no.jsonl")
    file.write_text('{"completion": "x"}\n{"nothing": 1}\n')
    refused(run_cli("rewards", "score", file, "--reward", "format"), 2, "line 2")


def test_rewards_score_with_several_rewards(run_cli: Run, tmp_path: Path) -> None:
    file, table = tmp_path / "x.jsonl", tmp_path / "x.csv"
    file.write_text(
        '{"completion": "<think>t</think><answer>b</answer>", "label": "b", "classes": ["a", "b"]}\n{"completion": "b"}\n'
    )
    asked = ("rewards", "score", file, "--reward", "accuracy", "--reward", "format", "-o", table)
    assert run_cli(*asked, "--dry-run").stdout == f"would judge {file} by accuracy, format and write {table}\n"
    assert not table.exists()
    shown = run_cli(*asked)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[:3] == ["1\t1\t1", "2\t-\t0", "accuracy: mean 1 of 1 judged, 1 not judged"]
    assert table.read_text() == "line,sample_id,accuracy,format\n1,,1.0,1.0\n2,,,0.0\n"
    refused(run_cli(*asked), 3, "exists already")
    assert run_cli(*asked, "--force").returncode == 0
    file.write_text('{"completion": "x", "grade": NaN}\n')
    refused(run_cli("rewards", "score", file, "--reward", "format"), 2, "line 1", "NaN")


def test_rescore_needs_a_run(run_cli: Run, tmp_path: Path) -> None:
    refused(run_cli("rescore", tmp_path), 2, "is not the folder of a run")
    refused(run_cli("rescore", tmp_path, "--weights", "format"), 2, "name=number")
    refused(run_cli("rescore", tmp_path, "-o", tmp_path), 3, "exists already")
    assert run_cli("rescore", tmp_path, "--dry-run").stdout == f"would judge the completions of {tmp_path} again\n"


def test_preflight_says_what_it_would_do(run_cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    assert run_cli("init", "-o", path).returncode == 0
    shown = run_cli("preflight", path, "-n", 4, "--dry-run", "-o", tmp_path / "x.json")
    assert shown.stdout.startswith("would sample 8 completions of 4 images for ")
    assert not (tmp_path / "x.json").exists()
    refused(run_cli("preflight", path, "--policy", tmp_path / "none"), 2, "is not a folder")
    refused(run_cli("preflight", path, "-k", 1), 2, "--samples")


def test_help_loads_no_heavy_library() -> None:
    import sys

    code = (
        "import sys\nfrom vrft_aug.cli import main\nsys.argv = ['vrft-aug', 'plan', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'pandas', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr


def test_init_with_a_preset_writes_what_the_recipe_needs(run_cli: Run, tmp_path: Path) -> None:
    path, beside = tmp_path / "real.yaml", tmp_path / "real.knowledge.yaml"
    tried = run_cli("init", "scans", "--preset", "vrft-aug", "-o", path, "--dry-run")
    assert (tried.returncode, list(tmp_path.iterdir())) == (0, [])
    written = run_cli("init", "scans", "--preset", "vrft-aug", "-o", path, "--json")
    assert json.loads(written.stdout)["files"] == [str(path), str(beside)]
    planned = run_cli("plan", path, "--set", "stages.0.data.train=32", "--set", "stages.1.data.train=32")
    assert planned.returncode == 0, planned.stderr
    for part in ("perception: localisation", "-0.2 recitation", "32 a step", "telemetry off"):
        assert part in planned.stdout, part
    assert "weights 5.59 GiB, gradients 5.59 GiB, optimizer 11.2 GiB" in planned.stdout
    path.unlink()
    beside.write_text("mine")
    refused(run_cli("init", "scans", "--preset", "vrft-aug", "-o", path), 3, "exists already")
    assert not path.exists()
    assert beside.read_text() == "mine"
    refused(run_cli("init", "scans", "--preset", "vrft-agu", "-o", path), 2, "vrft-aug")
