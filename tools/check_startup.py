"""Check what the command lines cost before they do anything: ``--help`` under 0.6 s, and no heavy library in ``import medcore``."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from pathlib import Path

LIMIT = 0.6
RUNS = 5
HEAVY = ("torch", "transformers", "trl", "sigpy", "matplotlib", "pandas")
COMMANDS = {
    "medcore": ["info", "validate", "metrics", "datasets", "doctor"],
    "puq-qmri": ["demo", "simulate", "recon", "fit", "run", "bids", "evaluate", "models", "doctor"],
    "vrft-aug": ["demo", "init", "plan", "train", "evaluate", "rewards", "doctor"],
}


def best_time(command: list[str]) -> float:
    """The shortest of several runs; other work on the machine only ever adds."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
        if times[-1] < LIMIT:
            break
    return min(times)


def main() -> int:
    """Print a line a command; exit status 1 if one is too slow or medcore loads something heavy."""
    scripts, failed = Path(sysconfig.get_path("scripts")), False
    for name, commands in COMMANDS.items():
        for words in [[], *([c] for c in commands)]:
            seconds = best_time([str(scripts / name), *words, "--help"])
            failed |= seconds >= LIMIT
            print(f"{' '.join([name, *words, '--help']):34s} {seconds:.2f} s{'  TOO SLOW' if seconds >= LIMIT else ''}")
    probe = f"import sys, medcore, medcore.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout.strip()
    print(f"heavy libraries loaded by medcore: {loaded}")
    return 1 if failed or loaded != "[]" else 0


if __name__ == "__main__":
    sys.exit(main())
