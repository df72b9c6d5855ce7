"""The hidden folder beside a target in which a writer works, and what becomes of it when the writer dies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from medcore.atomic.locks import claim
from medcore.errors import is_full, output_error

_STALE = re.compile(r"^\..*\.tmp-\d+-[0-9a-f]{8}$")
_ATTEMPTS = 100
_NOTE, _REPLACED = ".note", ".replaced"


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's content as 64 hexadecimal digits, read in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(folder: str | Path) -> list[Path]:
    """Remove temporary leftovers of writers that no longer run; returns what was removed."""
    removed = []
    for entry in Path(folder).iterdir():
        if not _STALE.match(entry.name) or entry.is_symlink() or not entry.is_dir():
            continue
        descriptor = claim(entry)
        if descriptor is None:
            continue
        try:
            settle(entry)
            shutil.rmtree(entry, ignore_errors=True)
        finally:
            os.close(descriptor)
        removed.append(entry)
    return removed


@contextlib.contextmanager
def workspace(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, locked while in use and removed at the end; parents made for it go too if they stay empty."""
    import fcntl

    made: list[Path] = []
    descriptor: int | None = None
    try:
        while True:
            # A name of its own for every writer: threads, and containers in which all processes have one number.
            folder = path.with_name(f".{path.name[:40]}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
            _make_in_new_parents(folder, made)
            try:
                descriptor = os.open(folder, os.O_RDONLY)
            except FileNotFoundError:  # swept before it was locked
                continue
            with contextlib.suppress(OSError):  # a file system without locks: leftovers then stay until removed by hand
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.exists():
                break
            os.close(descriptor)
            descriptor = None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        if descriptor is not None:
            os.close(descriptor)
        for parent in made:
            with contextlib.suppress(OSError):  # not empty: something was written
                parent.rmdir()


def _make_in_new_parents(folder: Path, made: list[Path]) -> None:
    """Make `folder` and what is missing above it, which is noted in `made`, the deepest first."""
    for attempt in range(_ATTEMPTS):
        missing = []
        parent = folder.parent
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        made[:0] = [p for p in missing if p not in made]
        try:
            for parent in reversed(missing):
                parent.mkdir(exist_ok=True)
            folder.mkdir()
        except FileNotFoundError:  # another writer took away what it had made for nothing
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Translate operating-system errors about `path` and what is beside it; those about other files (input) pass."""
    try:
        yield
    except OSError as error:
        name = error.filename
        elsewhere = isinstance(name, (str, bytes)) and not Path(os.fsdecode(name)).absolute().is_relative_to(path.absolute().parent)
        if elsewhere and not is_full(error):
            raise
        raise output_error(path, error) from error


# Several directory entries cannot change in one step. Before the first of them does, a note in the workspace says what is under way;
# what is replaced is kept beside it. If the writer dies, the next one settles the matter: back to the old entries while the first is
# the old one, on to the new ones afterwards. It only ever fills gaps, so that nothing written in between is lost.


def exchange_entries(folder: Path, target: Path, beside: Sequence[Path] = ()) -> None:
    """Move ``folder / target.name`` to `target`, and the same with the names `beside`; those that the workspace lacks are removed.

    Between the steps entries are absent, never of two generations; the last of `beside` goes first and comes last.

    Raises
    ------
    OSError
        If a step fails; the old entries are in place again then, or all the new ones.
    """
    kept = folder / _REPLACED
    kept.mkdir()
    note = folder / _NOTE
    note.write_text(json.dumps([target.name, *(p.name for p in beside)]), encoding="utf-8")
    sync(note)
    sync(folder)
    try:
        for path in reversed(beside):
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, kept / path.name)
        if target.is_dir():  # no folder can be renamed over another
            os.rename(target, kept / target.name)
            os.rename(folder / target.name, target)
        else:
            os.replace(folder / target.name, target)
        for path in beside:
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder / path.name, path)
    except BaseException:
        settle(folder)
        raise
    note.unlink()


def settle(folder: Path) -> None:
    """Finish :func:`exchange_entries` for a writer that did not, or undo it; without effect where none was under way."""
    try:
        names = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        target, *beside = (Path(name).name for name in names)
    except (OSError, ValueError, TypeError):
        return
    undo = os.path.lexists(folder / target)
    source = folder / _REPLACED if undo else folder
    for name in [target, *beside] if undo else beside:
        place = folder.parent / name
        if os.path.lexists(source / name) and not os.path.lexists(place):
            os.rename(source / name, place)
