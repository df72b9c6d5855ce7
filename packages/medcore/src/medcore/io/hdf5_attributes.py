"""Read texts that are stored as attributes of HDF5 files in a process of their own.

The library trusts the lengths of such texts: a wrong one makes it write outside its memory, which may crash the process that reads.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SECONDS = 20.0
_SCRIPT = """
import json, sys, h5py
with h5py.File(sys.argv[1], "r", locking="best-effort") as file:
    value = file.attrs.get(sys.argv[2])
print(json.dumps(value.decode() if isinstance(value, bytes) else str(value)) if value is not None else "null")
"""


def text_attribute(path: Path, name: str) -> str | None:
    """Attribute `name` of the root of a file as text; None where there is none, or where it cannot be read.

    Parameters
    ----------
    path
        A file whose doors to other files have been looked for, see :func:`medcore.io.hdf5.open_hdf5`.
    name
        Of the attribute.
    """
    if not sys.executable:
        return None
    program = [sys.executable, "-P", "-c", _SCRIPT, str(path.absolute()), name]
    try:
        done = subprocess.run(program, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603 - our own script
        value = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return value if isinstance(value, str) else None
