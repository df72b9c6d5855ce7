"""The only way this project writes files: a result is complete or absent.

A file is written into a hidden sibling folder, flushed to the disk and renamed over its target. Files that belong together (an image
and its sidecar) change so that they are never seen in a wrong pairing. A result folder is built in the same place, closed by a
manifest (size and SHA-256 of every file, written last) and exchanged with its predecessor in one step. Whatever interrupts the
writer, the previous good result survives. A writer holds a lock on its hidden folder, which vanishes with the process, so that the
next writer can tell leftovers of the dead from work of the living, and sweeps the former.
"""

from medcore.atomic.files import atomic_file, atomic_files, check_writable, json_bytes, write_bytes, write_json, write_text
from medcore.atomic.folders import MANIFEST, atomic_directory, verify_directory, write_manifest
from medcore.atomic.locks import lock
from medcore.atomic.workspace import sha256_file, sweep

__all__ = [
    "MANIFEST",
    "atomic_directory",
    "atomic_file",
    "atomic_files",
    "check_writable",
    "json_bytes",
    "lock",
    "sha256_file",
    "sweep",
    "verify_directory",
    "write_bytes",
    "write_json",
    "write_manifest",
    "write_text",
]
