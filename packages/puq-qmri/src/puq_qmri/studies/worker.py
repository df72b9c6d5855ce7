"""The process of one subject: ``python -m puq_qmri.studies.worker`` reads a task from standard input and writes the result folder.

It ends itself when standard input is closed, as happens when whoever started it is gone, so that no process is left behind.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from medcore.commandline import as_known_error
from medcore.config import from_mapping
from medcore.errors import MedcoreError
from medcore.io.bids import find_collections
from puq_qmri.studies.plan import StudySettings, Unit


class _Stopped(BaseException):
    """SIGTERM arrived; unwinds so that writers clean up."""


def main() -> int:
    """Work on the task in the first line of standard input; the exit code is that of the error, which the last line of the log tells."""
    signal.signal(signal.SIGTERM, _stop)
    task = json.loads(sys.stdin.readline() or "null")
    if task is None:
        return 143
    try:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        settings = from_mapping(StudySettings, task["settings"])
        root, subject, session = Path(task["root"]), task["subject"], task["session"]
        found = find_collections(root, subjects=[subject], suffixes=settings.suffixes or None)
        collections = tuple(c for c in found if c.session == session)
        from puq_qmri.studies.unit_fit import fit_unit  # loads torch; whoever asks this process to stop must not wait for that

        fit_unit(Unit(root=root, subject=subject, session=session, collections=collections), Path(task["output"]), settings)
    except _Stopped:
        return 143
    except Exception as error:  # noqa: BLE001 - whatever it is, the one line about it is the result of this process
        known = as_known_error(error)
        sys.excepthook(type(error), error, error.__traceback__)
        text = str(known) if isinstance(known, MedcoreError) else f"unexpected {type(error).__name__}: {error}"
        sys.stderr.write(f"error: {' '.join(text.split())}\n")
        return known.exit_code if isinstance(known, MedcoreError) else 1
    return 0


def _stop(*_: Any) -> None:
    raise _Stopped


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
