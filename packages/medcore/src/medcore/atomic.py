"""The only way this project writes files: a result is complete or absent.

A file is written to a temporary sibling, flushed to the disk and renamed over its target. A folder is built as a hidden
sibling, closed by a manifest (size and SHA-256 of every file, written last) and renamed. Whatever interrupts the writer, the
previous good result survives; leftovers of dead writers are swept by the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medcore.errors import InputError, LockedError, OutputError, OutputExistsError, output_error

MANIFEST = "manifest.json"
_STALE = re.compile(r"^\.(?P<name>.+)\.tmp-(?P<pid>\d+)$")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's content as 64 hexadecimal digits, read in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp-{os.getpid()}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: str | Path) -> list[Path]:
    """Remove temporary leftovers of writers that no longer run; returns what was removed."""
    removed = []
    for entry in Path(folder).iterdir():
        match = _STALE.match(entry.name)
        if match and not _alive(int(match["pid"])):
            _remove(entry)
            removed.append(entry)
    return removed


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


def check_writable(path: str | Path, *, force: bool = False) -> Path:
    """Fail before any computation if `path` cannot become an output.

    Parameters
    ----------
    path
        File or folder to be written later. Missing parent folders are created.
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
    if path.exists() and not force:
        raise OutputExistsError(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        probe = _temporary(path)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise output_error(path, error) from error
    return path


@contextlib.contextmanager
def atomic_file(path: str | Path, *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write; on success it becomes `path`, on any failure it vanishes.

    The temporary name keeps the suffixes of `path` so that writers which look at them work.

    Raises
    ------
    OutputExistsError, OutputError, DiskFullError
        See :func:`check_writable`; operating-system errors inside the block are translated too.
    """
    path = check_writable(path, force=force)
    holder = _temporary(path)
    try:
        holder.mkdir()
        temporary = holder / path.name
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def write_bytes(path: str | Path, data: bytes, *, force: bool = True) -> None:
    """Write `data` to `path` atomically."""
    with atomic_file(path, force=force) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str, *, force: bool = True) -> None:
    """Write `text` to `path` atomically, UTF-8 with ``\\n`` line ends."""
    write_bytes(path, text.encode(), force=force)


def write_json(path: str | Path, value: Any, *, force: bool = True) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", force=force)


def _exchange(first: Path, second: Path) -> None:
    """Swap two directory entries in one step where the kernel can, else in two renames."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename and rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return
    aside = first.with_name(f".{second.name}.old.tmp-{os.getpid()}")
    os.rename(second, aside)
    os.rename(first, second)
    os.rename(aside, first)


@contextlib.contextmanager
def atomic_directory(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a hidden folder to fill; on success it becomes `path` with a manifest, on failure nothing stays.

    Raises
    ------
    OutputExistsError, OutputError, DiskFullError
        See :func:`check_writable`. A folder that holds anything but an earlier result of this writer is never replaced.
    """
    path = Path(path)
    if path.is_dir() and not any(path.iterdir()):
        force = True
    elif force and path.exists() and not (path / MANIFEST).is_file():
        raise OutputError(path, "exists and was not written by this program", "choose another output folder")
    check_writable(path, force=force)
    temporary = _temporary(path)
    try:
        temporary.mkdir()
        yield temporary
        write_manifest(temporary)
        _sync_tree(temporary)
        if path.exists():
            _exchange(temporary, path)
        else:
            os.rename(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
