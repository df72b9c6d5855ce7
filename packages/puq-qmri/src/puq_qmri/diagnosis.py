"""What ``puq-qmri doctor`` tells."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

from medcore.provenance import versions

_LIBRARIES = (
    "puq-qmri",
    "medcore",
    "numpy",
    "scipy",
    "torch",
    "finufft",
    "torchkbnufft",
    "sigpy",
    "nibabel",
    "pydicom",
    "ismrmrd",
    "matplotlib",
)
_BACKENDS = {"finufft": "finufft", "torchkbnufft": "torchkbnufft", "cufinufft": "cufinufft"}


def diagnose() -> dict[str, Any]:
    """Versions, Fourier back ends, threads, GPU and torchvision, JSON-ready."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {
        "versions": versions(_LIBRARIES),
        "nufft": {name: _state(module) for name, module in _BACKENDS.items()},
        "threads": {
            "torch": torch.get_num_threads(),
            "cores": os.cpu_count() or 1,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        },
        "gpu": gpu,
        "torchvision": _state("torchvision", absent="not installed, not needed"),
    }


def _state(module: str, absent: str = "not installed") -> str:
    """Whether a module can be imported, and why not."""
    if importlib.util.find_spec(module) is None:
        return absent
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
        return f"broken ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'})"
    return "works"
