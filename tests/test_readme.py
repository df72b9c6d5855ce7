"""Every command and every Python block of the READMEs and guides runs, in order, in a folder with stand-ins for the user's data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from own_data import provide

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    p for p in [ROOT / "README.md", *ROOT.glob("packages/*/README.md"), *ROOT.glob("docs/*/*.md")] if "```sh" in p.read_text()
)
BLOCK = re.compile(
    r"(?P<skip><!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<kind>sh|python)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(m["kind"], m["body"]) for m in BLOCK.finditer(page.read_text()) if not m["skip"]]


def run_block(kind: str, body: str, folder: Path) -> subprocess.CompletedProcess[str]:
    scripts = sysconfig.get_path("scripts")
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = ["bash", "-euo", "pipefail", "-c", body] if kind == "sh" else [sys.executable, "-c", body]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.integration
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_runs(page: Path, tmp_path: Path) -> None:
    provide(page.read_text(), tmp_path)
    for kind, body in blocks(page):
        done = run_block(kind, body, tmp_path)
        assert done.returncode == 0, f"{body}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.integration
def test_the_test_command_of_the_readme_is_what_ci_runs() -> None:
    assert "python3 tools/run.py test" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("python3 tools/run.py test")


def test_every_benchmark_has_a_row_and_every_row_a_benchmark() -> None:
    rows = re.findall(r"^\| `([a-z_]+\.py)` \|", (ROOT / "benchmarks" / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(p.name for p in (ROOT / "benchmarks").glob("[!_]*.py"))
