"""Fixtures shared by puq-qmri's tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

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


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261123)


@pytest.fixture
def puq(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., SimpleNamespace]]:
    """Call the command line in this process: exit code, standard output, standard error."""
    from medcore import commandline
    from puq_qmri.cli import app

    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: object) -> SimpleNamespace:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["puq-qmri", *map(str, arguments)])
        with pytest.raises(SystemExit) as left, warnings.catch_warnings():
            commandline.main(app)
        out, err = capsys.readouterr()
        return SimpleNamespace(code=left.value.code, out=out, err=err)

    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``puq-qmri`` in a process of its own, as a user would."""

    def run(*arguments: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", "from puq_qmri.cli import main; main()", *map(str, arguments)]
        return subprocess.run(program, capture_output=True, text=True, timeout=timeout, check=False)

    return run
