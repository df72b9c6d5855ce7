"""Every writer of the package under every fault: the previous good result survives, one line says what happened, nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fault_child
import pytest
from fault_writers import WRITERS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
EVERY = pytest.mark.parametrize("name", list(WRITERS))
Inject = Callable[..., dict[str, Any]]


@pytest.fixture
def inject(tmp_path: Path, record_property: Callable[[str, object], None]) -> Inject:
    """Inject a fault into a writer in another process, and note how often it was tried for the summary."""

    def run(fault: str, name: str, out: Path) -> dict[str, Any]:
        inputs = tmp_path / "inputs"
        if not inputs.exists():
            inputs.mkdir()
            if (prepare := WRITERS[name].prepare) is not None:
                prepare(inputs)
        program = [sys.executable, fault_child.__file__, fault, name, str(out), str(inputs)]
        done = subprocess.run(program, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # after what commands say
        record_property("fault", fault)
        record_property("fault_tried", found["tried"])
        record_property("fault_problems", len(found["problems"]))
        assert found["problems"] == []
        return found

    return run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, where the machine lets us make one."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False)  # noqa: S607
    if made.returncode:
        pytest.skip("no right to mount a file system")
    (place / "out").mkdir()
    yield place / "out"
    subprocess.run(["umount", place], check=True)  # noqa: S607


@EVERY
def test_sigkill_at_every_step(name: str, inject: Inject, out: Path) -> None:
    assert inject("kill", name, out)["tried"] > 100


@EVERY
def test_a_file_that_may_not_grow(name: str, inject: Inject, out: Path) -> None:
    assert inject("file_size_limit", name, out)["tried"] == 5


@EVERY
def test_a_full_disk(name: str, inject: Inject, small_disk: Path) -> None:
    assert inject("full_disk", name, small_disk)["tried"] == 3


@EVERY
def test_a_read_only_output(name: str, inject: Inject, small_disk: Path) -> None:
    inject("short_writes", name, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk.parent], check=True)  # noqa: S607
    assert inject("read_only", name, small_disk)["tried"] == 2


@EVERY
def test_a_broken_disk(name: str, inject: Inject, out: Path) -> None:
    assert inject("broken_disk", name, out)["tried"] > 8


@EVERY
def test_short_writes_another_temporary_folder_and_a_jumping_clock(name: str, inject: Inject, out: Path) -> None:
    assert os.stat("/dev/shm").st_dev != out.stat().st_dev  # noqa: PTH116, S108
    assert inject("short_writes", name, out)["tried"] == 3


@EVERY
def test_several_writers_at_once(name: str, inject: Inject, out: Path) -> None:
    assert inject("two_writers", name, out)["tried"] == 40
