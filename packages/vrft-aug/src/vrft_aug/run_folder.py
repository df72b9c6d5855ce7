"""The folder of a run: who may write it, what is finished in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from medcore.atomic import atomic_directory, check_writable, lock, verify_directory
from medcore.errors import ConfigError, InputError, MedcoreError, OutputError, OutputExistsError
from vrft_aug.ledger import LEDGER


def check_output(output: Path, *, resume: bool, force: bool) -> None:
    """Refuse an output folder that would mix or destroy something.

    Raises
    ------
    OutputExistsError, OutputError
        If it holds a run and neither `resume` nor `force` is given, holds anything else, or cannot be written.
    """
    if (output / LEDGER).is_file():
        if not (resume or force):
            raise OutputExistsError(output)
        check_writable(output / LEDGER, force=True)
        return
    if output.exists() and (not output.is_dir() or any(p.name != ".lock" for p in output.iterdir())):
        raise OutputError(output, "exists and is not a run of this program", "choose another output folder")
    check_writable(output, force=True)


@contextlib.contextmanager
def held(output: Path) -> Iterator[None]:
    """Hold the run's folder; a folder in which nothing was begun vanishes again."""
    made = not output.exists()
    try:
        with lock(output):
            yield
    except MedcoreError:
        if made and not (output / LEDGER).exists():
            shutil.rmtree(output, ignore_errors=True)
        raise


def clear_run(output: Path) -> None:
    """Remove everything from a run's folder but the lock that the caller holds."""
    for entry in output.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in {".lock", LEDGER}:
            entry.unlink()
    # Last, so that the folder is known as a run's until nothing is left of it.
    (output / LEDGER).unlink(missing_ok=True)


def publish_final(policy: Path, final: Path) -> None:
    """Copy the last stage's policy to `final`, unless it is there."""
    if complete(final):
        return
    with atomic_directory(final, force=True) as temporary:
        for file in policy.iterdir():
            if file.name != "manifest.json":
                shutil.copy2(file, temporary / file.name)


def find_policy(folder: Path) -> Path:
    """The policy that a folder stands for.

    Parameters
    ----------
    folder
        A policy or a checkpoint; a folder of checkpoints, whose newest complete one is taken; a run, finished (``final``) or not (the
        policy of the last stage that is done).

    Raises
    ------
    ConfigError
        If there is none.
    """
    from vrft_aug import checkpoints

    if not folder.is_dir():
        raise ConfigError(folder, "is not a folder", "give the folder of a policy, a checkpoint or a run")
    if any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        return folder
    if (folder / "final").is_dir():
        return folder / "final"
    stages = sorted((folder / "stages").glob("*-*/policy"), key=lambda p: int(p.parent.name.split("-", 1)[0]))
    found = next((p for p in reversed(stages) if complete(p)), None) or checkpoints.latest(folder)
    if found is None:
        raise ConfigError(folder, "holds no policy", "give the folder of a policy, a checkpoint or a run")
    return found


def complete(folder: Path) -> bool:
    """Whether a folder has a manifest and every file agrees with it."""
    try:
        verify_directory(folder)
    except InputError:
        return False
    return True
