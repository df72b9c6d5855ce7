"""Status files: how each subject of a study stands, written whole after every change.

``OUT/status/sub-01_ses-1/status.json`` says it, ``log.txt`` beside it holds what the subject's process said. The folder is locked while
a process works on the subject.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medcore.atomic import write_json
from medcore.config import from_mapping, to_mapping
from medcore.errors import InputError
from medcore.io.sidecar import read_json

STATUS_FOLDER, STATUS_FILE, LOG_FILE = "status", "status.json", "log.txt"
State = Literal["running", "done", "failed", "interrupted", "no-collection"]


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a subject, or one session of it, stands.

    Attributes
    ----------
    subject, session
        Labels.
    state
        ``no-collection``: there is nothing to fit.
    reason
        One line, of failures.
    pid, host
        The process that works on it, while it is running.
    started
        Time in UTC.
    seconds
        Wall time, once it has ended.
    inputs
        SHA-256 by path in the data set.
    settings
        Those of the fit.
    """

    subject: str
    session: str | None = None
    state: State = "running"
    reason: str | None = None
    pid: int | None = None
    host: str | None = None
    started: str | None = None
    seconds: float | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``sub-01`` or ``sub-01_ses-1``."""
        return unit_name(self.subject, self.session)

    def ended(self, state: State, reason: str | None, seconds: float) -> Status:
        """The same with an end."""
        return dataclasses.replace(self, state=state, reason=reason, pid=None, host=None, seconds=round(seconds, 3))


def unit_name(subject: str, session: str | None) -> str:
    """``sub-01`` or ``sub-01_ses-1``."""
    return f"sub-{subject}" if session is None else f"sub-{subject}_ses-{session}"


def status_folder(output: Path, name: str) -> Path:
    """Where a subject's status and log are."""
    return output / STATUS_FOLDER / name


def write_status(output: Path, status: Status) -> None:
    """Write a status file.

    Raises
    ------
    OutputError, DiskFullError
        See :func:`medcore.atomic.write_json`.
    """
    write_json(status_folder(output, status.name) / STATUS_FILE, to_mapping(status))


def read_status(output: Path, name: str) -> Status | None:
    """The status of a subject; None where there is none, or the file is damaged, so that the subject runs again."""
    path = status_folder(output, name) / STATUS_FILE
    if not path.is_file():
        return None
    try:
        return from_mapping(Status, read_json(path), str(path))
    except InputError:
        return None


def read_all(output: Path) -> dict[str, Status]:
    """All status files by subject, sorted."""
    folder = output / STATUS_FOLDER
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    found = {name: read_status(output, name) for name in names}
    return {name: status for name, status in found.items() if status is not None and status.name == name}
