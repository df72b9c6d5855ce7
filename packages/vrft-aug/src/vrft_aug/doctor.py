"""What of this machine matters to training, and what is wrong with it."""

from __future__ import annotations

import importlib.metadata
import os
from typing import Any

from vrft_aug.models import environment

LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "peft",
    "datasets",
    "deepspeed",
    "tokenizers",
    "safetensors",
    "numpy",
    "medcore",
)
TESTED = {
    "torch": "2.13",
    "transformers": "5.23",
    "trl": "1.16",
    "accelerate": "1.15",
    "peft": "0.21",
    "datasets": "5.2",
    "deepspeed": "0.19",
}
"""Releases that the tests run with; others may work."""


def examine() -> dict[str, Any]:
    """Facts and faults of this machine.

    Returns
    -------
    dict
        ``versions``, ``gpu``, ``threads``, ``torchvision``, ``deepspeed``, ``telemetry_off``, ``notes`` (untested versions and the like)
        and ``faults`` (what stops training).
    """
    environment.prepare()
    import torch

    versions = {name: _version(name) for name in LIBRARIES}
    faults = [
        f"{name} is not installed; run: pip install vrft-aug"
        for name, found in versions.items()
        if found is None and name != "deepspeed"
    ]
    notes = [
        f"{name} {found} is not the tested release {TESTED[name]}"
        for name, found in versions.items()
        if found is not None and name in TESTED and not f"{found}.".startswith(f"{TESTED[name]}.")
    ]
    vision = environment.torchvision_state()
    if vision.startswith("broken"):
        faults.append(
            f"torchvision is {vision}; transformers tries to use it: run pip uninstall torchvision, or install the build for your torch"
        )
    elif vision == "absent":
        notes.append("torchvision is absent: images go through PIL, videos are not read")
    shards = _deepspeed()
    if shards != "works":
        notes.append(f"deepspeed is {shards}: training on several GPUs is not sharded")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    if gpu is None and threads > 1:
        notes.append(
            f"torch uses {threads} threads; small models are faster with one (OMP_NUM_THREADS=1), which vrft-aug sets for them"
        )
    return {
        "versions": versions,
        "gpu": gpu,
        "threads": threads,
        "cores": cores,
        "torchvision": vision,
        "deepspeed": shards,
        "telemetry_off": environment.telemetry_off(),
        "notes": notes,
        "faults": faults,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _deepspeed() -> str:
    if _version("deepspeed") is None:
        return "absent"
    try:
        import deepspeed  # noqa: F401
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises
        return f"broken ({type(error).__name__})"
    return "works"
