"""One subject, watched: skipped if it is finished, otherwise fitted in a process whose crash, end by force or delay is only its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medcore.atomic import lock, sweep, verify_directory
from medcore.commandline import as_known_error
from medcore.config import to_mapping
from medcore.errors import InputError, MedcoreError
from puq_qmri.studies.plan import StudySettings, Unit, hash_unit
from puq_qmri.studies.status import LOG_FILE, State, Status, read_status, status_folder, write_status

_GRACE = 5.0
"""Seconds for a process that was asked to stop; then it is killed."""
_POLL = 0.2


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an engine is given for one subject.

    Attributes
    ----------
    unit, output, settings
        See :func:`puq_qmri.studies.unit_fit.fit_unit`; absolute paths.
    timeout
        Seconds after which it is stopped.
    threads
        Of the process.
    retry_failed
        Whether it runs again if it failed before with the same files and settings.
    """

    unit: Unit
    output: Path
    settings: StudySettings
    timeout: float | None = None
    threads: int = 1
    retry_failed: bool = True


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a subject stands after its task, and whether that was so before (`kept`)."""

    status: Status
    kept: bool = False


def run_task(task: Task, stopped: Callable[[], bool] = lambda: False, *, poll: float = _POLL) -> Outcome:
    """Fit one subject in a process of its own unless it is finished; never raises for what is wrong with the subject.

    Parameters
    ----------
    task
        See :class:`Task`.
    stopped
        Asked every `poll` seconds whether to stop the process.
    """
    unit, settings = task.unit, to_mapping(task.settings)
    status = Status(subject=unit.subject, session=unit.session, started=_now(), settings=settings)
    if stopped():
        return Outcome(status=status.ended("interrupted", None, 0.0))  # not written: it may be finished
    try:
        with lock(status_folder(task.output, unit.name)):
            return _run_locked(task, status, stopped, poll)
    except (MedcoreError, OSError) as error:  # nothing can be noted here: another process works on it, or the disk is full
        return Outcome(status=status.ended("failed", str(as_known_error(error)), 0.0))


def _run_locked(task: Task, status: Status, stopped: Callable[[], bool], poll: float) -> Outcome:
    start = time.monotonic()
    before = read_status(task.output, task.unit.name)
    problem, inputs = task.unit.problem, {}
    if problem is None:
        try:
            inputs = hash_unit(task.unit)
        except InputError as error:
            problem = str(error)
    if problem is not None:
        return _noted(task, status.ended("failed", problem, time.monotonic() - start))
    status = dataclasses.replace(status, inputs=inputs)
    if not task.unit.collections:
        return _noted(task, status.ended("no-collection", None, 0.0))
    if before is not None and (before.inputs, before.settings) == (status.inputs, status.settings):
        finished = before.state == "done" and is_intact(task.output / task.unit.home)
        if finished or (before.state == "failed" and not task.retry_failed):
            return Outcome(status=before, kept=True)
    state, reason = _watch(task, status, stopped, poll)
    return _noted(task, status.ended(state, reason, time.monotonic() - start))


def _noted(task: Task, status: Status) -> Outcome:
    write_status(task.output, status)
    return Outcome(status=status)


def is_intact(folder: Path) -> bool:
    """Whether a result folder is there and as it was written."""
    try:
        verify_directory(folder)
    except InputError:
        return False
    return True


def _watch(task: Task, status: Status, stopped: Callable[[], bool], poll: float) -> tuple[State, str | None]:
    """Run the process to its end, to its time limit, or until it is to stop: the state and a reason."""
    unit = task.unit
    log = status_folder(task.output, unit.name) / LOG_FILE
    words = {"root": str(unit.root), "subject": unit.subject, "session": unit.session, "output": str(task.output)}
    order = json.dumps({**words, "settings": status.settings}).encode() + b"\n"
    start = time.monotonic()
    with log.open("wb") as said, _started(said.fileno(), task.threads) as process:
        # The process waits for its task, so that whoever looks finds the status of every process that works.
        write_status(task.output, dataclasses.replace(status, pid=process.pid, host=socket.gethostname()))
        _tell(process, order)
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(poll)
                break
            late = task.timeout is not None and time.monotonic() - start > task.timeout
            if late or stopped():
                _stop(process)
                _sweep(task)
                return ("failed", f"took longer than {task.timeout:g} s and was stopped") if late else ("interrupted", None)
    code = process.returncode
    if code == 0:
        return "done", None
    _sweep(task)
    return "failed", _reason(code, log)


@contextlib.contextmanager
def _started(log: int, threads: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a subject, in a group of its own, so that Ctrl-C reaches only us; never left running."""
    environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} | os.environ
    process = subprocess.Popen(
        [sys.executable, "-m", "puq_qmri.studies.worker"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _stop(process)
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


def _tell(process: subprocess.Popen[bytes], order: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # it is dead already, which its exit code will say
        if process.stdin is not None:
            process.stdin.write(order)
            process.stdin.flush()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _sweep(task: Task) -> None:
    """Remove what a process that was killed had begun to write."""
    home = (task.output / task.unit.home).parent
    if home.is_dir():
        sweep(home)
        with contextlib.suppress(OSError):  # a subject with other sessions
            home.rmdir()


def _reason(code: int, log: Path) -> str:
    """Why a process ended with an exit code other than 0."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"killed by {name}" + (", as the system does where memory is short" if name == "SIGKILL" else "")
    lines = log.read_text(errors="replace").splitlines()
    return next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), f"ended with code {code}")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
