"""One case of the corpus of bad input, and what the command line must do with it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CPU_SECONDS, OVER_HELP, RSS_BYTES = 2.0, 10.0, 1 << 30
"""What one command may take: processor time (on a machine so slow that this is more, in multiples of ``--help``) and memory."""
# A child's ru_maxrss is at least what its parent held when it forked; /proc begins anew with the program.
_PROGRAM = """
import atexit, pathlib, re, sys
target = pathlib.Path(sys.argv.pop(1))
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: target.write_text(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]))
from medcore.cli import main
main()
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A damaged, hostile or odd input, built by code.

    Attributes
    ----------
    name
        Number in the catalogue and what is wrong, for example ``"D6 cut in the pixels"``.
    make
        Builds it in an empty folder; returns the file or folder to give to the command.
    words
        Regular expression that the one line of the error (refused), or standard output (reported), must match.
    expect
        ``refused``: exit code 2 and one line; ``reported``: exit code 8 and the fault named on standard output; ``read``: exit code
        0 because the input is odd, not wrong.
    command
        Arguments of ``medcore``; ``{path}`` is the input, ``{out}`` an output that must not exist after a refusal.
    out
        Name of the output.
    """

    name: str
    make: Callable[[Path], Path]
    words: str
    expect: Literal["refused", "reported", "read"] = "refused"
    command: tuple[str, ...] = ("validate", "{path}")
    out: str = "out.nii.gz"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run did."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak_bytes: int


def run(arguments: list[str], folder: Path) -> Outcome:
    """Run ``medcore`` in a process of its own and measure it."""
    program = [sys.executable, "-c", _PROGRAM, str(folder / "peak"), *arguments]
    with (folder / "stdout").open("w+") as out, (folder / "stderr").open("w+") as err:
        process = subprocess.Popen(program, stdout=out, stderr=err, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Outcome(
            code=process.returncode,
            stdout=out.read(),
            stderr=err.read(),
            seconds=usage.ru_utime + usage.ru_stime,
            peak_bytes=int((folder / "peak").read_text() or 0) * 1024,
        )


def fingerprint(path: Path) -> dict[str, tuple[int, str]]:
    """Modification time and hash of a file, or of every file below a folder."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
    return {str(p): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files}


def check(case: Case, folder: Path) -> str:
    """Build `case`, run its command and assert everything promised of it; returns what happened in one word."""
    given = folder / "given"
    given.mkdir()
    path = case.make(given)
    out = folder / "result" / case.out
    before = fingerprint(given)
    work = folder / "work"
    work.mkdir()
    done = run([a.format(path=path, out=out) for a in case.command], work)
    shown = f"{case.name}: exit {done.code}\n{done.stdout}\n{done.stderr}"
    assert done.code == {"refused": 2, "reported": 8, "read": 0}[case.expect], shown
    assert "Traceback" not in done.stderr, shown
    text = done.stderr if case.expect == "refused" else done.stdout
    assert re.search(case.words, text), shown
    if case.expect == "refused":
        assert re.fullmatch(r"error: [^\n]+: [^\n]+; [^\n]+\n", done.stderr), shown
        assert not done.stdout, shown
        assert not out.parent.exists(), f"{case.name}: left {list(out.parent.rglob('*'))}"
    assert fingerprint(given) == before, f"{case.name}: the input was changed"
    assert not list(work.glob(".*")), f"{case.name}: left {list(work.glob('.*'))}"
    seconds, limit = done.seconds, CPU_SECONDS
    for again in range(2):  # a processor that others use at the same time is slow for a while, a command that is slow always
        if seconds >= limit:
            limit = max(limit, OVER_HELP * run(["--help"], work).seconds)
            other = folder / f"again-{again}" / case.out
            seconds = min(seconds, run([a.format(path=path, out=other) for a in case.command], work).seconds)
    assert seconds < limit, f"{case.name}: took {seconds:.1f} s of processor time, more than {limit:.1f} s"
    assert done.peak_bytes < RSS_BYTES, f"{case.name}: took {done.peak_bytes >> 20} MB"
    return case.expect
