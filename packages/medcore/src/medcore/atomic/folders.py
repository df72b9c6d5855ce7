"""Write result folders: built in hiding, closed by a manifest, put in place in one step."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
from collections.abc import Iterator
from pathlib import Path

from medcore.atomic.files import check_writable, write_json
from medcore.atomic.locks import alone
from medcore.atomic.workspace import exchange_entries, output_errors, sha256_file, sweep, sync, workspace
from medcore.errors import InputError, OutputError, OutputExistsError

MANIFEST = "manifest.json"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def atomic_directory(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a hidden folder to fill; on success it becomes `path` with a manifest, on failure nothing stays.

    Raises
    ------
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_file`. A folder that holds anything but an earlier result of this writer is never replaced.
    """
    path = Path(path)
    replaceable = force or _is_empty(path)
    if force:
        _check_ours(path)
    check_writable(path, force=replaceable)
    with output_errors(path), workspace(path) as folder:
        sweep(path.parent)
        temporary = folder / path.name
        temporary.mkdir()
        yield temporary
        write_manifest(temporary)
        _sync_tree(temporary)
        with alone(path.parent):
            if force:
                _check_ours(path)
            elif os.path.lexists(path) and not _is_empty(path):  # made by somebody else meanwhile
                raise OutputExistsError(path)
            _put(temporary, path)
        sync(path.parent)


def _is_empty(path: Path) -> bool:
    with output_errors(path):
        return path.is_dir() and not any(path.iterdir())


def _check_ours(path: Path) -> None:
    """Refuse to replace what this module did not write."""
    with output_errors(path):
        if path.exists() and not _is_empty(path) and not (path / MANIFEST).is_file():
            raise OutputError(path, "exists and was not written by this program", "choose another output folder")


def _put(temporary: Path, path: Path) -> None:
    """Give `temporary` the name `path`; what was there is in its place then."""
    if not os.path.lexists(path):
        os.rename(temporary, path)
        return
    # One step where the kernel and the file system can.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename and rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(path), _RENAME_EXCHANGE) == 0:
        return
    exchange_entries(temporary.parent, path)


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(folder, "has no readable manifest.json, so it was never finished", hint) from error
    for name, size, digest in entries:
        file = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(folder, f"has a manifest that names {name!r} outside it", hint)
        if not file.is_file():
            raise InputError(file, "is listed in the manifest and missing", hint)
        if file.stat().st_size != size or sha256_file(file) != digest:
            raise InputError(file, "differs from its manifest", hint)
