"""The common command line, in real processes: exit codes, one-line errors, what goes to which stream, who wins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medcore.commandline import as_known_error
from medcore.errors import DiskFullError, MedcoreError, OutOfMemoryError

pytestmark = pytest.mark.integration

PROGRAM = '''
from __future__ import annotations

import errno
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated

import typer

from medcore import commandline, errors
from medcore.atomic import atomic_directory
from medcore.commandline import Invocation

app = commandline.application("toy", "medcore", "A toy.")


@commandline.command(app, seeded=True, writes=True)
def show(
    run: Invocation,
    size: Annotated[int, typer.Argument(help="A size.")],
    model_name: Annotated[str, typer.Option(help="A name.")] = "t2",
    fast: Annotated[bool, typer.Option(help="Fast or not.")] = True,
    levels: Annotated[list[float] | None, typer.Option(help="Levels.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where.")] = None,
):
    """Show what came in."""
    print("printed by a library")
    warnings.warn("a warning", stacklevel=1)
    logging.getLogger("toy").warning("a log line")
    logging.getLogger("toy").info("a quiet log line")
    run.say("for people")
    run.table(["name", "value"], [["size", size], ["levels", levels]])
    list(run.progress(range(3), "counting"))
    return {
        "size": size, "model_name": model_name, "fast": fast, "levels": levels, "out": str(out), "seed": run.seed,
        "dry_run": run.dry_run, "force": run.force,
    }


@commandline.command(app, recipe=True)
def train(run: Invocation):
    """Hand --set to the command."""
    return {"overrides": run.overrides}


@commandline.command(app)
def fail(run: Invocation, how: str):
    """Fail in one way."""
    kinds = {
        "input": errors.InputError("scan.h5", "is cut", "get another copy"),
        "output": errors.OutputError("out", "cannot be written", "choose another"),
        "locked": errors.LockedError("out", "is in use", "wait"),
        "full": errors.DiskFullError("out", "the disk is full", "free some space"),
        "enospc": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        "numerical": errors.NumericalError("fit", "diverged", "try again"),
        "memory": MemoryError("Unable to allocate 3 TiB"),
        "partial": errors.PartialFailureError("12 subjects", "3 failed", "see the log"),
        "check": errors.CheckFailedError("reward", "has a hole", "see the list"),
        "absent": FileNotFoundError(errno.ENOENT, "No such file or directory", "absent.nii"),
        "denied": PermissionError(errno.EACCES, "Permission denied", "out.nii"),
        "bug": ZeroDivisionError("one\\nline only"),
        "exit": typer.Exit(5),
        "usage": typer.BadParameter("not like this"),
        "abort": typer.Abort(),
    }
    raise kinds[how]


@commandline.command(app)
def nan(run: Invocation):
    """Return what JSON cannot hold."""
    return {"value": float("nan")}


@commandline.command(app)
def wait(run: Invocation, out: Path):
    """Write, slowly."""
    with atomic_directory(out) as folder:
        (folder / "half").write_text("x")
        print("ready", file=sys.stderr, flush=True)
        time.sleep(60)


@commandline.command(app)
def chatter(run: Invocation):
    """Say a lot."""
    for i in range(200_000):
        run.say(f"line {i}")


commandline.main(app)
'''

FACTS = {
    "size": 4,
    "model_name": "t2",
    "fast": True,
    "levels": None,
    "out": "None",
    "seed": 0,
    "dry_run": False,
    "force": False,
}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("toy") / "toy.py"
    path.write_text(PROGRAM)
    return [sys.executable, str(path)]


@pytest.fixture(scope="module")
def toy(program: list[str]) -> Run:
    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [*program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)

    return run


def facts(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on standard error."""
    line, end, rest = done.stderr.partition("\n")
    assert (line[:7], end, rest) == ("error: ", "\n", ""), done.stderr
    return line.removeprefix("error: ")


def test_json_is_one_object_on_stdout_and_all_else_goes_to_stderr(toy):
    done = toy("show", 4, "--json")
    assert facts(done) == FACTS
    assert "printed by a library" in done.stderr
    assert "WARNING toy: a log line" in done.stderr


def test_people_read_lines_without_noise(toy):
    done = toy("show", 4)
    assert done.stdout.splitlines() == ["printed by a library", "for people", "name    value", "size        4", "levels   None"]
    assert done.stderr == "WARNING toy: a log line\n"  # no progress bar, no Python warning


def test_quiet_and_verbose(toy):
    assert toy("show", 4, "-q").stdout == "printed by a library\n"
    assert toy("show", 4, "-q").stderr == ""
    verbose = toy("show", 4, "-v").stderr
    assert "INFO toy: a quiet log line" in verbose
    assert "UserWarning: a warning" in verbose


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("input", 2, "scan.h5: is cut; get another copy"),
        ("output", 3, "out: cannot be written; choose another"),
        ("locked", 3, "out: is in use; wait"),
        ("denied", 3, "out.nii: cannot be written (Permission denied)"),
        ("full", 4, "the disk is full"),
        ("enospc", 4, "the disk is full (No space left on device)"),
        ("numerical", 5, "diverged"),
        ("memory", 6, "memory: is not enough (Unable to allocate 3 TiB)"),
        ("partial", 7, "3 failed"),
        ("check", 8, "has a hole"),
        ("absent", 2, "absent.nii: does not exist"),
        ("usage", 2, "not like this"),
        ("bug", 1, "unexpected ZeroDivisionError: one line only"),
        ("abort", 130, "interrupted"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_every_failure_is_one_line_with_its_exit_code(toy, how, code, words, flags):
    done = toy("fail", how, *flags)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in complaint(done)


def test_a_command_may_choose_its_exit_code(toy):
    done = toy("fail", "exit")
    assert (done.returncode, done.stdout, done.stderr) == (5, "", "")


def test_a_result_that_is_no_json_is_a_reported_bug(toy):
    assert "unexpected ValueError" in complaint(toy("nan", "--json"))
    assert toy("nan").returncode == 0


@pytest.mark.parametrize(("how", "code", "kind"), [("input", 2, "InputError"), ("bug", 1, "ZeroDivisionError")])
def test_debug_adds_the_traceback_and_keeps_the_code(toy, how, code, kind):
    done = toy("fail", how, "--debug")
    assert done.returncode == code
    assert "Traceback (most recent call last)" in done.stderr
    assert kind in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show"], "size"),
        (["show", "four"], "got 'four'"),
        (["show", "4", "--modle-name", "x"], "--model-name"),
        (["shwo", "4"], "show"),
        (["show", "4", "--seed", "-1"], "got '-1'"),
        (["show", "4", "5"], "5"),
        (["show", "4", "--set", "modelname=x"], "did you mean 'model_name'?"),
        (["show", "4", "--set", "nonsense"], "not of the form"),
        (["show", "4", "--config", "absent.yaml"], "absent.yaml: cannot be read"),
        (["train", "--seed", "1"], "--seed"),
    ],
)
def test_wrong_usage_is_one_line_that_points_the_way(toy, arguments, words):
    done = toy(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in complaint(done)


def test_without_a_command_help_is_shown(toy):
    done = toy()
    assert done.returncode == 2
    assert "show" in done.stdout + done.stderr


def test_the_version_is_that_of_the_distribution(toy):
    from importlib.metadata import version

    assert toy("--version").stdout == f"toy {version('medcore')}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "options.yaml"
    path.write_text("size: 7\nmodel-name: from-file\nlevels: [0.5, 1e-3]\nseed: 3\nfast: false\nforce: true\n")
    return path


def test_a_settings_file_gives_values_for_options_and_arguments(toy, config):
    found = facts(toy("show", "--config", config, "--json"))
    expected = {"size": 7, "model_name": "from-file", "levels": [0.5, 1e-3], "seed": 3, "fast": False, "force": True}
    assert found == FACTS | expected


def test_the_command_line_wins_over_set_and_set_over_the_file(toy, config):
    for order in (
        ["--set", "model_name=set", "--set", "seed=5", "--config", config],
        ["--config", config, "--set", "model-name=set", "--set=seed=5"],
    ):
        found = facts(toy("show", "9", *order, "--seed", "8", "--fast", "--json"))
        assert (found["size"], found["model_name"], found["seed"], found["fast"]) == (9, "set", 8, True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("modle_name: x\n", "did you mean 'model_name'?"),
        ("7: x\n", "the key 7, which is not text"),
        ("no_fast: true\n", "is unknown"),  # would otherwise switch fast on
        ("seed: many\n", "got 'many'"),
        ("- x\n", "holds a list"),
        ("size: [1\n", "not valid YAML"),
    ],
)
def test_a_wrong_settings_file_is_one_line(toy, tmp_path, content, words):
    (tmp_path / "options.yaml").write_text(content)
    done = toy("show", "4", "--config", tmp_path / "options.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert words in complaint(done)


def test_a_recipe_command_gets_the_assignments_itself(toy):
    found = facts(toy("train", "--set", "stages.0.lr=1e-4", "--set", "a.b=c", "--json"))
    assert found == {"overrides": ["stages.0.lr=1e-4", "a.b=c"]}


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_writer_cleans_up_and_says_so(program, tmp_path, sent, code):
    child = subprocess.Popen(
        [*program, "wait", tmp_path / "new" / "out"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stderr.readline() == "ready\n"
    child.send_signal(sent)
    said, complained = child.communicate(timeout=30)
    assert (child.returncode, said) == (code, "")
    assert [line for line in complained.splitlines() if line] == [line for line in complained.splitlines() if "interrupted" in line]
    assert complained.strip().startswith("error: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_is_no_error(program):
    child = subprocess.Popen([*program, "chatter"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "line 0\n"
    child.stdout.close()
    assert child.wait(30) == 0
    assert child.stderr.read() == ""
    child.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_has_its_exit_code(program):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*program, "show", "4", "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert "the disk is full" in done.stderr


def test_no_colour_codes_where_there_is_no_terminal(toy):
    for arguments in (["--help"], ["show", "--help"], ["show"]):
        done = toy(*arguments, env=os.environ | {"NO_COLOR": "1"})
        assert "\x1b" not in done.stdout + done.stderr


def test_help_is_quick_and_loads_nothing_heavy(program):
    command = (
        "import sys; sys.argv = ['medcore', '--help']\ntry:\n    from medcore.cli import main; main()\nexcept SystemExit: pass\n"
    )
    command += "print([m for m in ('numpy', 'torch', 'h5py', 'pydicom', 'nibabel', 'scipy', 'matplotlib') if m in sys.modules])"
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - begin)
        assert done.stdout.endswith("\n[]\n")
    assert min(times) < 0.6


# --- in this process


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), OutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), OutOfMemoryError),
        (OSError(28, "No space left on device"), DiskFullError),
        (OSError(28, "No space left on device", "x"), DiskFullError),
    ],
)
def test_foreign_errors_are_translated(error, kind):
    assert type(as_known_error(error)) is kind


@pytest.mark.parametrize("error", [ValueError("x"), ConnectionResetError(104, "reset", "x"), OSError("no number")])
def test_other_errors_come_back_as_they_are(error):
    assert as_known_error(error) is error
    assert not isinstance(as_known_error(error), MedcoreError)
