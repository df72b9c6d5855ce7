"""The exceptions of this project and the exit code each one means on a command line.

::

    MedcoreError                2  bad input or usage
     +- InputError              2  a file or value cannot be what it should be
     |   +- SeveralSlicesError  2  one of several slices has to be chosen
     |   +- ConfigError         2  a settings file or option is wrong
     |   +- MissingExtraError   2  an optional dependency is not installed
     +- OutputError             3  output cannot be written
     |   +- OutputExistsError   3  it exists and overwriting was not asked for
     |   +- LockedError         3  another process is using the folder
     |   +- DiskFullError       4  no space left
     +- NumericalError          5  a computation has no usable result
     +- OutOfMemoryError        6  a computation does not fit
     +- PartialFailureError     7  some of many subjects failed
     +- CheckFailedError        8  a check found faults

Every message is one sentence, ``<what>: <problem>; <what to do>``: it names the value that came and how to mend it. It never
holds patient identifiers.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from pathlib import Path


class MedcoreError(Exception):
    """Root of all errors raised on purpose.

    Parameters
    ----------
    what
        The file, option or quantity concerned.
    problem
        What was expected and what came, with the value.
    hint
        What the user can do about it.
    """

    exit_code = 2

    def __init__(self, what: str | Path, problem: str, hint: str) -> None:
        self.what, self.problem, self.hint = str(what), problem, hint
        super().__init__(what, problem, hint)

    def __str__(self) -> str:
        return " ".join(f"{self.what}: {self.problem}; {self.hint}".split())


class InputError(MedcoreError):
    """A file or value given by the user cannot be used."""


class SeveralSlicesError(InputError):
    """A file holds several slices, and which one to read was not said or is not there.

    Parameters
    ----------
    what, problem, hint
        As in :class:`MedcoreError`.
    slices
        Numbers of the slices that the file holds.
    """

    def __init__(self, what: str | Path, problem: str, hint: str, slices: Iterable[int]) -> None:
        super().__init__(what, problem, hint)
        self.slices = tuple(slices)

    @classmethod
    def choosing(cls, path: str | Path, slices: Iterable[int], chosen: int | None) -> SeveralSlicesError:
        """The error of readers, whose argument is called ``slice_index``."""
        numbers = tuple(slices)
        problem = f"holds {len(numbers)} slices ({numbers[0]} to {numbers[-1]}), slice_index is {chosen}"
        return cls(path, problem, "choose one with slice_index", numbers)


class ConfigError(InputError):
    """A settings file, recipe key or option is wrong."""


class MissingExtraError(InputError):
    """An optional dependency is needed and not installed."""

    def __init__(self, module: str, requirement: str, purpose: str) -> None:
        super().__init__(purpose, f"the Python module {module!r} is not installed", f"run: pip install '{requirement}'")


class OutputError(MedcoreError):
    """Output cannot be written."""

    exit_code = 3


class OutputExistsError(OutputError):
    """The output exists and overwriting was not asked for."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, "exists already", "choose another output or add --force to replace it")


class LockedError(OutputError):
    """Another process works in the same folder."""


class DiskFullError(OutputError):
    """No space is left where the output should go."""

    exit_code = 4


class NumericalError(MedcoreError):
    """A computation has no usable result."""

    exit_code = 5


class OutOfMemoryError(MedcoreError):
    """A computation does not fit into memory."""

    exit_code = 6


class PartialFailureError(MedcoreError):
    """Some of many subjects failed; the results of the others are complete."""

    exit_code = 7


class CheckFailedError(MedcoreError):
    """A check ran and found faults."""

    exit_code = 8


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
"""What numpy says of a write that came short; it does not say why, and a full disk is the usual reason."""


def is_full(error: OSError) -> bool:
    """Whether an operating-system error says that no space is left (disk, quota or file-size limit)."""
    cause = _as_the_system_said(error)
    return cause.errno in _FULL or (cause.errno is None and _SHORT_WRITE.fullmatch(str(cause)) is not None)


def _as_the_system_said(error: OSError) -> OSError:
    """The error below one that a library made of it, with a text of its own and no number; pydicom adds a whole traceback."""
    while error.errno is None and isinstance(below := error.__cause__ or error.__context__, OSError):
        error = below
    return error


def output_error(path: str | Path, error: OSError) -> OutputError:
    """Turn an operating-system error met while writing `path` into the error a user should see."""
    cause = _as_the_system_said(error)
    reason = cause.strerror or str(cause)
    if is_full(cause):
        return DiskFullError(path, f"the disk is full ({reason})", "free some space or write elsewhere")
    return OutputError(path, f"cannot be written ({reason})", "choose a folder you may write to")
