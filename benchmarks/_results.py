"""The table of one benchmark: printed, and written to ``results/NAME.md`` with what it was measured on."""

from __future__ import annotations

import datetime as dt
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from medcore.atomic import write_text
from medcore.provenance import versions

FOLDER = Path(__file__).parent / "results"


def best_time(function: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of several runs in seconds, after one that is not counted: other work on the machine only ever adds."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def publish(name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, seed: int, note: str = "") -> None:
    """Print the table and write it beside the scripts."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [columns, ["---"] * len(columns), *rows]]
    shown = ", ".join(f"{k} {v}" for k, v in versions().items())
    machine = (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {os.environ.get('OMP_NUM_THREADS', 'all')} thread(s)"
    )
    parts = [f"# {title}", note, "\n".join(lines), f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}; {machine}; seed {seed}; {shown}."]
    text = "\n\n".join(p for p in parts if p) + "\n"
    print(text)
    FOLDER.mkdir(exist_ok=True)
    write_text(FOLDER / f"{name}.md", text)
