"""Check one installed package in an otherwise clean environment: ``python tools/check_wheel.py puq-qmri``."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import subprocess
import sys
import sysconfig
from pathlib import Path

IMPORTS = {"medcore": "medcore", "puq-qmri": "puq_qmri", "vrft-aug": "vrft_aug"}
# Modules that need an optional extra say so when they are imported or used; they are not part of a bare installation.
SMOKE = {
    "medcore": [["doctor"], ["metrics", "--help"]],
    "puq-qmri": [
        ["models"],
        ["simulate", "-o", "scan.h5", "--model", "t2", "--size", "24", "--coils", "2"],
        ["run", "scan.h5", "-o", "maps"],
    ],
    "vrft-aug": [["rewards", "list"], ["init", "-o", "recipe.yaml"]],
}


def main(package: str) -> int:
    """Import every module, refuse the presence of the other product, run a small job."""
    others = [o for o in IMPORTS.values() if o not in {"medcore", IMPORTS[package]} and importlib.util.find_spec(o)]
    if others:
        print(f"error: {others} installed beside {package}; this check needs a clean environment", file=sys.stderr)
        return 1
    root = importlib.import_module(IMPORTS[package])
    modules = [m.name for m in pkgutil.walk_packages(root.__path__, root.__name__ + ".")]
    for name in modules:
        importlib.import_module(name)
    if package == "medcore" and "torch" in sys.modules:
        print("error: medcore imported torch", file=sys.stderr)
        return 1
    print(f"{package} {importlib.metadata.version(package)}: {len(modules)} modules import")
    folder = Path.cwd() / ".nox" / f"wheel-{package}-work"
    folder.mkdir(parents=True, exist_ok=True)
    for old in ("scan.h5", "recipe.yaml"):
        (folder / old).unlink(missing_ok=True)
    script = Path(sysconfig.get_path("scripts")) / package
    for words in [["--version"], *SMOKE[package]]:
        force = ["--force"] if words[0] in {"simulate", "run", "init"} else []
        subprocess.run([str(script), *words, *force], check=True, cwd=folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
