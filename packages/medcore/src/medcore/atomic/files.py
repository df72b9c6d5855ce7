"""Write single files, and files that belong together."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medcore.atomic.locks import alone
from medcore.atomic.workspace import exchange_entries, output_errors, sweep, sync, workspace
from medcore.errors import InputError, OutputError, OutputExistsError, output_error


def check_writable(path: str | Path, *, force: bool = False) -> Path:
    """Fail before any computation if `path` cannot become an output; nothing is made.

    Parameters
    ----------
    path
        File or folder to be written later. Missing parent folders are made then.
    force
        Whether an existing output may be replaced.

    Raises
    ------
    OutputExistsError
        If it exists and `force` is false.
    OutputError
        If its folder cannot be created or written.
    """
    path = Path(path)
    if path.name in {"", ".."} or "\0" in str(path):
        raise OutputError(repr(str(path)), "is no name for an output", "name a new file or folder")
    folder = path.parent
    try:
        if os.path.lexists(path) and not force:
            raise OutputExistsError(path)
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise OutputError(path, f"cannot be written ({folder} is a file)", "choose another folder")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise output_error(path, error) from error
    return path


@contextlib.contextmanager
def atomic_file(path: str | Path, *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write; on success it becomes `path`, on any failure it vanishes.

    The temporary file has the name of `path`, in another folder, so that writers which look at suffixes work.

    Raises
    ------
    OutputExistsError, OutputError, DiskFullError
        See :func:`check_writable`; operating-system errors inside the block are translated too, unless they name a file elsewhere.
    """
    with atomic_files([path], force=force) as (temporary,):
        yield temporary


@contextlib.contextmanager
def atomic_files(
    paths: Sequence[str | Path], *, stale: Sequence[str | Path] = (), force: bool = True
) -> Iterator[tuple[Path, ...]]:
    """Yield temporary paths for files of one folder that belong together; on success they become `paths`, on any failure they vanish.

    All of them are complete and on the disk before the first becomes visible. Whoever looks in between, or after the process was
    killed in between, finds the first file with or without the others, never with those of another generation; the next writer in
    the folder puts absent ones in their place.

    Parameters
    ----------
    paths
        The main file, then those that describe it; where the last is there, all are.
    stale
        Files that describe what is replaced and go away with it.
    force
        Whether existing files may be replaced.

    Raises
    ------
    OutputExistsError, OutputError, DiskFullError
        See :func:`atomic_file`.
    """
    targets, old = [Path(p) for p in paths], [Path(p) for p in stale]
    main, *beside = targets
    for path in targets:
        check_writable(path, force=force)
    _check_together([*targets, *old])
    with output_errors(main), workspace(main) as folder:
        sweep(main.parent)
        temporary = tuple(folder / path.name for path in targets)
        yield temporary
        for path in temporary:
            sync(path)
        with alone(main.parent):
            for path in targets:
                if not force and os.path.lexists(path):  # written by somebody else meanwhile
                    raise OutputExistsError(path)
            if beside or old:
                exchange_entries(folder, main, [*old, *beside])
            else:
                os.replace(temporary[0], main)
        sync(main.parent)


def _check_together(paths: list[Path]) -> None:
    if len({p.parent for p in paths}) > 1 or len({p.name for p in paths}) < len(paths):
        raise ValueError(f"{[str(p) for p in paths]} are not different files of one folder")
    for path in paths:
        if path.is_dir():
            raise OutputError(path, "is a folder", "choose another output")


def write_bytes(path: str | Path, data: bytes, *, force: bool = True) -> None:
    """Write `data` to `path` atomically."""
    with atomic_file(path, force=force) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str, *, force: bool = True) -> None:
    """Write `text` to `path` atomically, as UTF-8, line ends as they are."""
    write_bytes(path, text.encode(), force=force)


def write_json(path: str | Path, value: Any, *, force: bool = True) -> None:
    """Write `value` as indented JSON, atomically.

    Raises
    ------
    InputError
        If it holds NaN, infinity or what JSON has no form for; nothing is written then.
    """
    write_bytes(path, json_bytes(path, value), force=force)


def json_bytes(path: str | Path, value: Any) -> bytes:
    """What :func:`write_json` writes to `path`."""
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            path, f"would hold values that are not JSON ({error})", "use finite numbers, text, lists and mappings"
        ) from error
    return f"{text}\n".encode()
