"""Run a check or the demonstration from a fresh clone: ``python3 tools/run.py demo`` or ``python3 tools/run.py test``.

Makes one small virtual environment (``.venv``) with nox in it, needs nothing but Python's standard library, and hands over to
nox. ``demo`` is the nox session of that name, ``test`` are nox's default sessions; any other argument goes to nox unchanged.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
SHORT = {"demo": ["--session", "demo"], "test": []}


def main(arguments: list[str]) -> int:
    """Prepare nox if necessary and run it."""
    if sys.version_info < (3, 11):
        print(f"error: Python {sys.version.split()[0]} is too old; use Python 3.11 or newer", file=sys.stderr)
        return 2
    if len(arguments) == 0:
        print(__doc__, file=sys.stderr)
        return 2
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PYTHON.parent.parent)], check=True)
    requirements = ["nox", "virtualenv", "--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements], check=True)
    nox = SHORT.get(arguments[0], [arguments[0]]) + arguments[1:]
    return subprocess.run([str(PYTHON), "-m", "nox", *nox], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
