"""Fixtures shared by vrft-aug's tests."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

_RELAXED = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
settings.register_profile("quick", max_examples=25, **_RELAXED)
settings.register_profile("thorough", max_examples=500, **_RELAXED)
settings.load_profile("quick")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real files, named by MEDCORE_TEST_DATA."""
    name = os.environ.get("MEDCORE_TEST_DATA")
    if name is None:
        pytest.skip("MEDCORE_TEST_DATA is not set")
    if not Path(name).is_dir():
        pytest.fail(f"MEDCORE_TEST_DATA={name} is not a folder")
    return Path(name)


@pytest.fixture(autouse=True)
def usual_log_level() -> None:
    """Commands called in the process of the tests, and trl, change the level of all loggers and leave it so."""
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261124)


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``vrft-aug`` in a process of its own, as a user would."""

    def run(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", "from vrft_aug.cli import main; main()", *map(str, arguments)]
        return subprocess.run(program, capture_output=True, text=True, timeout=timeout, check=False)

    return run
