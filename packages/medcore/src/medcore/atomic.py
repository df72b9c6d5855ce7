"""The only way this project writes files: a result is complete or absent.

A file is written into a hidden sibling folder, flushed to the disk and renamed over its target. A result folder is built in the
same place, closed by a manifest (size and SHA-256 of every file, written last) and exchanged with its predecessor in one step.
Whatever interrupts the writer, the previous good result survives. A writer holds a lock on its hidden folder, which vanishes with
the process, so that the next writer can tell leftovers of the dead from work of the living, and sweeps the former.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medcore.errors import InputError, LockedError, OutputError, OutputExistsError, is_full, output_error

MANIFEST = "manifest.json"
_STALE = re.compile(r"^\..*\.tmp-\d+-[0-9a-f]{8}$")
_TARGET = ".target"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


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
        descriptor = _claim(entry)
        if descriptor is None:
            continue
        _finish_exchange(entry)
        shutil.rmtree(entry, ignore_errors=True)
        os.close(descriptor)
        removed.append(entry)
    return removed


def _claim(folder: Path) -> int | None:
    """Lock a leftover `folder` while the returned descriptor is open; None if its writer lives, it is gone, or locks do not work here."""
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    os.close(descriptor)
    return None


@contextlib.contextmanager
def _workspace(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, locked while in use and removed at the end; parents made for it go too if they stay empty."""
    import fcntl

    made = _make_parents(path.parent)
    descriptor: int | None = None
    try:
        while True:
            # A name of its own for every writer: threads, and containers in which all processes have one number.
            folder = path.with_name(f".{path.name[:40]}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
            folder.mkdir()
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


def _make_parents(folder: Path) -> list[Path]:
    """Make `folder` and those above it; returns the new ones, the deepest first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
    return missing


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(Path(root, name))
        _sync(Path(root))


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    """Translate operating-system errors about `path` and what is beside it; those about other files (input) pass."""
    try:
        yield
    except OSError as error:
        name = error.filename
        elsewhere = isinstance(name, (str, bytes)) and not Path(os.fsdecode(name)).absolute().is_relative_to(path.absolute().parent)
        if elsewhere and not is_full(error):
            raise
        raise output_error(path, error) from error


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
    if path.name in {"", ".."}:
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
    path = check_writable(path, force=force)
    with _output_errors(path), _workspace(path) as workspace:
        sweep(path.parent)
        temporary = workspace / path.name
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)


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
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            path, f"would hold values that are not JSON ({error})", "use finite numbers, text, lists and mappings"
        ) from error
    write_text(path, text + "\n", force=force)


def _exchange(first: Path, second: Path) -> None:
    """Swap two directory entries in one step where the kernel and the file system can, else in two renames."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename and rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return
    # Between the two renames the result is not at its place; the note lets the next writer put it there.
    note = first.parent / _TARGET
    note.write_text(second.name, encoding="utf-8")
    _sync(note)
    os.rename(second, first.with_name(f"{first.name}.old"))
    os.rename(first, second)
    note.unlink()


def _finish_exchange(workspace: Path) -> None:
    """Complete the second rename of :func:`_exchange` for a writer that died before it."""
    try:
        name = (workspace / _TARGET).read_text(encoding="utf-8")
    except OSError:
        return
    target = workspace.parent / Path(name).name
    if not os.path.lexists(target) and (workspace / target.name).exists():
        os.rename(workspace / target.name, target)


@contextlib.contextmanager
def atomic_directory(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a hidden folder to fill; on success it becomes `path` with a manifest, on failure nothing stays.

    Raises
    ------
    OutputExistsError, OutputError, DiskFullError
        See :func:`atomic_file`. A folder that holds anything but an earlier result of this writer is never replaced.
    """
    path = Path(path)
    with _output_errors(path):
        if path.is_dir() and not any(path.iterdir()):
            force = True
        elif force and path.exists() and not (path / MANIFEST).is_file():
            raise OutputError(path, "exists and was not written by this program", "choose another output folder")
    check_writable(path, force=force)
    with _output_errors(path), _workspace(path) as workspace:
        sweep(path.parent)
        temporary = workspace / path.name
        temporary.mkdir()
        yield temporary
        write_manifest(temporary)
        _sync_tree(temporary)
        if os.path.lexists(path):
            _exchange(temporary, path)
        else:
            os.rename(temporary, path)
        _sync(path.parent)


def write_manifest(folder: Path) -> None:
    """Write size and SHA-256 of every file below `folder` to its manifest; nothing may be added afterwards."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)
    table = {p.relative_to(folder).as_posix(): {"size": p.stat().st_size, "sha256": sha256_file(p)} for p in files}
    write_json(folder / MANIFEST, {"files": table})


def verify_directory(folder: str | Path) -> None:
    """Check a folder against its manifest.

    Raises
    ------
    InputError
        If the manifest is missing or a file is absent, changed in size or changed in content.
    """
    folder = Path(folder)
    hint = "use another copy of this folder, or make it anew"
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        entries = [(name, int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(folder, "has no readable manifest.json, so it was never finished", hint) from error
    for name, size, digest in entries:
        file = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(folder, f"has a manifest that names {name!r} outside it", hint)
        if not file.is_file():
            raise InputError(file, "is listed in the manifest and missing", hint)
        if file.stat().st_size != size or sha256_file(file) != digest:
            raise InputError(file, "differs from its manifest", hint)


@contextlib.contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Hold `folder` for this process; the lock vanishes with the process, however it ends.

    Raises
    ------
    LockedError
        If another process holds it; the message names that process.
    """
    import fcntl

    path = Path(folder) / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise LockedError(folder, f"is in use by process {owner}", "wait for it or choose another folder") from error
        except OSError as error:
            raise output_error(folder, error) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
