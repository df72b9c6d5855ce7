"""A network that trains in seconds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcore.config import from_mapping
from medcore.io import write_ismrmrd
from puq_qmri.simulation import SimulationSettings, birdcage, simulate
from puq_qmri.training import TrainingSettings, train

TIMES = (0.01, 0.05, 0.1)


MICRO: dict[str, Any] = {
    "network": {"layout": "contrast", "steps": 1, "unrolls": 1, "widths": [4, 6], "dropout": 0.2},
    "head": {"channels": 4, "dilations": [1]},
    "data": {
        "simulated": {
            "anatomies": ["shapes"],
            "trajectories": ["cartesian"],
            "contrasts": [3, 4],
            "sizes": [16, 20],
            "n_coils": [3, 3],
            "acceleration": [2.0, 2.5],
            "objects": 8,
        },
        "examples": 6,
        "variance_examples": 4,
        "validation": 1,
    },
    "loss": "images",
    "mean": {"steps": 8, "batch": 2, "warmup": 1, "ema": 0.9},
    "variance": {"steps": 4, "batch": 2, "warmup": 1},
    "log_every": 2,
    "validate_every": 4,
    "checkpoint_every": 2,
}


@pytest.fixture
def micro() -> dict[str, Any]:
    """A recipe as YAML gives it, to be changed."""
    return copy.deepcopy(MICRO)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training of this recipe, from beginning to end at once."""
    folder = tmp_path_factory.mktemp("train") / "whole"
    train(from_mapping(TrainingSettings, MICRO), folder)
    return folder


@pytest.fixture
def recipe() -> Callable[[dict], TrainingSettings]:
    return lambda mapping: from_mapping(TrainingSettings, mapping)


@pytest.fixture(scope="session")
def measured_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three fully sampled measurements: two of k-space, one of images and maps; and a text."""
    folder = tmp_path_factory.mktemp("measured")
    for seed in (1, 2):
        settings = SimulationSettings(size=32, times=TIMES, acceleration=1.0, n_coils=4, snr=60.0, coils="loops", seed=seed)
        write_ismrmrd(folder / f"scan{seed}.h5", simulate(settings)[0])
    images = simulate(SimulationSettings(size=24, times=TIMES, acceleration=1.0, seed=3))[1].images[:, 0]
    np.savez(folder / "slice.npz", image=images, sens=2 * birdcage(4, 24)[:, 0], te_s=np.array(TIMES))
    (folder / "notes.txt").write_text("about these scans")
    return folder
