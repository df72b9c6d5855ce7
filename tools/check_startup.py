"""Check what the command lines cost before they do anything: ``--help`` is quick, and no heavy library in ``import medcore``.

Quick is under 0.6 s, or under three times what an empty application takes, on a machine so slow that this is longer.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from pathlib import Path

LIMIT, OVER_EMPTY = 0.6, 3.0
EMPTY = "import typer; app = typer.Typer(); app.command()(lambda: None); app()"
RUNS = 5
HEAVY = ("torch", "transformers", "trl", "sigpy", "matplotlib", "pandas")
COMMANDS = {
    "medcore": ["info", "validate", "metrics", "datasets", "doctor"],
    "puq-qmri": ["demo", "simulate", "recon", "fit", "run", "bids", "evaluate", "models", "doctor"],
    "vrft-aug": ["demo", "init", "plan", "train", "evaluate", "rewards", "doctor"],
}


def best_time(command: list[str], enough: float) -> float:
    """The shortest of several runs; other work on the machine only ever adds."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
        if times[-1] < enough:
            break
    return min(times)


def main() -> int:
    """Print a line a command; exit status 1 if one is too slow or medcore loads something heavy."""
    scripts, failed = Path(sysconfig.get_path("scripts")), False
    empty = best_time([sys.executable, "-c", EMPTY, "--help"], 0)
    limit = max(LIMIT, OVER_EMPTY * empty)
    print(f"{'an empty application':34s} {empty:.2f} s")
    for name, commands in COMMANDS.items():
        for words in [[], *([c] for c in commands)]:
            seconds = best_time([str(scripts / name), *words, "--help"], limit)
            failed |= seconds >= limit
            print(f"{' '.join([name, *words, '--help']):34s} {seconds:.2f} s{'  TOO SLOW' if seconds >= limit else ''}")
    probe = f"import sys, medcore, medcore.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout.strip()
    print(f"heavy libraries loaded by medcore: {loaded}")
    return 1 if failed or loaded != "[]" else 0


if __name__ == "__main__":
    sys.exit(main())
