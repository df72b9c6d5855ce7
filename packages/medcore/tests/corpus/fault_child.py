"""Inject faults into a writer, each in a forked child, and report what was found wrong afterwards.

Run as ``python fault_child.py FAULT WRITER OUT INPUTS``; prints ``{"tried": n, "problems": [...]}``. A process of its own, because
forking one that runs tests is no good idea.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import re
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_writers import WRITERS, Writer, hidden, state

import medcore.atomic
from medcore.commandline import as_known_error
from medcore.errors import MedcoreError

_ATOMIC = str(Path(medcore.atomic.__file__).parent)
_MOST, _END = 200, 60
"""About how many deaths a writer gets, and how many of them at its last steps."""
_LINE = re.compile(r"(error: )?[^\n]+: [^\n]+; [^\n]+\n?")
Arm = Callable[[], None]


class Trial:
    """One writer in one folder."""

    def __init__(self, writer: Writer, out: Path, inputs: Path) -> None:
        self.writer, self.out, self.inputs = writer, out, inputs
        self.tried = 0
        self.problems: list[str] = []

    def write(self, generation: int, *, force: bool = True, out: Path | None = None) -> None:
        """Write in this process; a command line's exit with 0 is a return."""
        try:
            self.writer.write(self.inputs, out or self.out, generation, force)
        except SystemExit as left:
            if left.code:
                raise

    def in_child(self, arm: Arm, generation: int = 2, *, force: bool = True, out: Path | None = None) -> tuple[int, str]:
        """Write in a child after `arm`; its exit code (negative for a signal) and what it said on stderr."""
        pid, pipe = self.start(arm, generation, force=force, out=out)
        return self.wait(pid, pipe)

    def start(self, arm: Arm, generation: int, *, force: bool = True, out: Path | None = None) -> tuple[int, int]:
        self.tried += 1
        reading, writing = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writing)
            return pid, reading
        code = 99
        try:
            os.close(reading)
            os.dup2(writing, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
            sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
            arm()
            code = self._exit_code(generation, force, out)
        finally:
            os._exit(code)

    def _exit_code(self, generation: int, force: bool, out: Path | None) -> int:
        try:
            self.write(generation, force=force, out=out)
        except SystemExit as left:
            return int(left.code or 0)
        except Exception as error:  # noqa: BLE001 - reported
            known = as_known_error(error)
            sys.stderr.write(f"{known if isinstance(known, MedcoreError) else repr(error)}\n")
            return known.exit_code if isinstance(known, MedcoreError) else 1
        return 0

    @staticmethod
    def wait(pid: int, pipe: int) -> tuple[int, str]:
        with os.fdopen(pipe, "rb") as stream:
            said = stream.read().decode(errors="replace")
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said

    def check(self, condition: bool, problem: str) -> None:
        if not condition:
            self.problems.append(problem)

    def check_refusal(self, what: str, done: tuple[int, str], code: int, before: dict[str, str]) -> None:
        """The writer said one line and left the old result as it was, and nothing else."""
        self.check(done[0] == code, f"{what}: exit {done[0]} instead of {code}: {done[1]}")
        self.check(bool(_LINE.fullmatch(done[1])), f"{what}: said {done[1]!r}")
        self.check(state(self.out) == before, f"{what}: the old result changed: {sorted(before)} {sorted(state(self.out))}")
        self.check(not hidden(self.out), f"{what}: left {hidden(self.out)}")

    def check_whole(self, what: str, before: dict[str, str], *, dead: bool = False) -> None:
        """The old result to the byte, or all of a new one; after a death also the main file without those beside it."""
        now = state(self.out)
        if now == before:
            return
        try:
            generation = self.writer.read(self.out)
        except (MedcoreError, AssertionError, OSError) as error:
            self.problems.append(f"{what}: what is there is not whole: {error!r}")
            return
        present = {name.split("/")[0] for name in now}
        may_lack = set(self.writer.beside if dead else ()) | set(self.writer.second_lacks if generation == 2 else ())
        absent = set(self.writer.outputs) - present - may_lack
        self.check(not absent, f"{what}: lacks {sorted(absent)}")

    def restore(self, what: str) -> dict[str, str]:
        """The next write works and sweeps; the state it leaves is generation 1."""
        self.write(1)
        self.check(self.writer.read(self.out) == 1, f"{what}: the next write did not work")
        self.check(not hidden(self.out), f"{what}: the next write left {hidden(self.out)}")
        return state(self.out)


def kill(trial: Trial) -> None:
    """SIGKILL at every step (line, call and return) of the atomic writer; of a long way every so many, and all of its end."""
    trial.restore("at first")
    steps = _count_steps(lambda: trial.write(2))
    trial.check(steps > 100, f"only {steps} steps")
    chosen = {*range(1, steps + 1, 1 + steps // _MOST), *range(max(1, steps - _END), steps + 1)}
    for step in sorted(chosen):
        before = trial.restore(f"before step {step}")
        code, said = trial.in_child(
            lambda step=step: _at_each_step(lambda n, step=step: n == step and os.kill(os.getpid(), signal.SIGKILL))
        )
        trial.check(code == -signal.SIGKILL, f"step {step}: exit {code}: {said}")
        trial.check_whole(f"killed at step {step}", before, dead=True)
    trial.restore("at last")


def _count_steps(work: Callable[[], None]) -> int:
    seen = [0]
    _at_each_step(lambda n: seen.__setitem__(0, n))
    try:
        work()
    finally:
        sys.settrace(None)
    return seen[0]


def _at_each_step(act: Callable[[int], object]) -> None:
    """Call `act` with the number of each step of the atomic writer from now on."""
    count = [0]

    def local(_frame: Any, _event: str, _argument: Any) -> Any:
        count[0] += 1
        act(count[0])
        return local

    def trace(frame: Any, event: str, argument: Any) -> Any:
        return local(frame, event, argument) if frame.f_code.co_filename.startswith(_ATOMIC) else None

    sys.settrace(trace)


def file_size_limit(trial: Trial) -> None:
    """RLIMIT_FSIZE: writing fails at a byte of the largest file."""
    before = trial.restore("at first")
    size = max(p.stat().st_size for p in trial.out.rglob("*") if p.is_file())
    for limit in sorted({1, 4096, size // 3, size // 2, size * 9 // 10}):
        done = trial.in_child(lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        trial.check_refusal(f"limit {limit}", done, 4, before)
    trial.restore("at last")


def full_disk(trial: Trial) -> None:
    """`out` is a small file system, filled up but for some pages."""
    before = trial.restore("at first")
    needed = sum(p.stat().st_size for p in trial.out.rglob("*") if p.is_file())
    ballast = trial.out.parent / "ballast"
    for left in (0, 4096, needed // 2):
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        os.truncate(ballast, max(0, ballast.stat().st_size - left))
        done = trial.in_child(lambda: None)
        trial.check_refusal(f"{left} bytes left", done, 4, before)
        ballast.unlink()
    trial.restore("at last")


def read_only(trial: Trial) -> None:
    """`out` holds generation 1 and cannot be written; a file stands where a folder should be."""
    before = state(trial.out)
    trial.check(bool(before), "nothing was written before")
    trial.check_refusal("read-only", trial.in_child(lambda: None), 3, before)
    done = trial.in_child(lambda: None, out=trial.out / trial.writer.outputs[0] / "deeper")
    trial.check_refusal("below a file", done, 3, before)


def broken_disk(trial: Trial) -> None:
    """Each call of the operating system in turn fails with EIO."""
    for name in ("fsync", "rename", "replace", "mkdir", "write"):
        for call in range(1, 200):
            before = trial.restore(f"before {name} {call}")
            code, said = trial.in_child(lambda name=name, call=call: _break(trial.out, name, call))
            if code == 0:
                trial.check_whole(f"{name} {call}", before)
                break
            trial.check(code == 3 and bool(_LINE.fullmatch(said)), f"{name} {call}: exit {code}: {said!r}")
            trial.check_whole(f"{name} {call}", before)
            trial.check(not hidden(trial.out), f"{name} {call}: left {hidden(trial.out)}")


def _break(out: Path, name: str, call: int) -> None:
    count = [0]

    def fails() -> bool:
        count[0] += 1
        return count[0] == call

    class Broken(io.FileIO):
        def write(self, content: Any) -> int:
            if fails():
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().write(content)

    if name == "write":
        _open_as(Broken, out)
        return
    real = getattr(os, name)

    def broken(*arguments: Any, **options: Any) -> Any:
        if fails():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments, **options)

    setattr(os, name, broken)


def _open_as(kind: type[io.FileIO], out: Path) -> None:
    """Files below `out` that Python opens for writing are of `kind`."""
    real = io.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        inside = isinstance(file, (str, os.PathLike)) and str(file).startswith(str(out))
        if not inside or "opener" in options or not set(mode) & set("wxa"):
            return real(file, mode, *arguments, **options)
        raw = io.BufferedWriter(kind(file, mode.replace("b", "").replace("t", "")))
        return raw if "b" in mode else io.TextIOWrapper(raw, encoding=options.get("encoding") or "utf-8")

    io.open = builtins.open = opened  # type: ignore[assignment]


def short_writes(trial: Trial) -> None:
    """The operating system takes a part of what it is given; a file system elsewhere holds TMPDIR; the clock jumps back."""

    class Short(io.FileIO):
        def write(self, content: Any) -> int:
            return super().write(memoryview(content).cast("B")[: max(1, len(content) // 3)])

    def elsewhere() -> None:
        os.environ["TMPDIR"] = tempfile.tempdir = "/dev/shm"  # noqa: S108 - another device than the output's

    def old_clock() -> None:
        import time

        time.time = lambda: 1.0  # type: ignore[assignment]

    for what, arm in (("short writes", lambda: _open_as(Short, trial.out)), ("TMPDIR", elsewhere), ("clock", old_clock)):
        trial.restore(what)
        code, said = trial.in_child(arm)
        trial.check(code == 0, f"{what}: exit {code}: {said}")
        trial.check(trial.writer.read(trial.out) == 2, f"{what}: not the new result")
        trial.check(not hidden(trial.out), f"{what}: left {hidden(trial.out)}")


def two_writers(trial: Trial) -> None:
    """Several at once: with --force one of the results, whole; without it, one succeeds and the others say so."""
    trial.restore("at first")
    for _ in range(5):
        for code, said in _at_once(trial, force=True):
            trial.check(code == 0, f"with force: exit {code}: {said}")
        trial.check_whole("with force", {})
        trial.check(not hidden(trial.out), f"with force: left {hidden(trial.out)}")
    for attempt in range(5):
        out = trial.out / f"new-{attempt}"
        done = _at_once(trial, force=False, out=out)
        trial.check(sorted(code for code, _ in done) == [0, 3, 3, 3], f"without force: {done}")
        trial.check(all("exists already" in said for code, said in done if code), f"without force: {done}")
        trial.check(trial.writer.read(out) in (1, 2), "without force: not whole")


def _at_once(trial: Trial, *, force: bool, out: Path | None = None) -> list[tuple[int, str]]:
    gate, opener = os.pipe()

    def arm() -> None:
        os.close(opener)
        os.read(gate, 1)  # ends when the parent closes its end

    started = [trial.start(arm, generation, force=force, out=out) for generation in (1, 2, 1, 2)]
    os.close(opener)
    done = [trial.wait(*child) for child in started]
    os.close(gate)
    return done


FAULTS = {f.__name__: f for f in (kill, file_size_limit, full_disk, read_only, broken_disk, short_writes, two_writers)}


def main() -> None:
    fault, name, out, inputs = sys.argv[1:]
    trial = Trial(WRITERS[name], Path(out), Path(inputs))
    FAULTS[fault](trial)
    sys.stdout.write(json.dumps({"tried": trial.tried, "problems": trial.problems}) + "\n")


if __name__ == "__main__":
    main()
