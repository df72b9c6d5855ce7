"""Locks that vanish with their process, however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from medcore.errors import LockedError, output_error


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


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other writer of this module changes the entries of `folder`; leaves no file, unlike :func:`lock`."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def claim(folder: Path) -> int | None:
    """Lock `folder` while the returned descriptor is open; None if somebody else holds it, it is gone, or locks do not work here."""
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
