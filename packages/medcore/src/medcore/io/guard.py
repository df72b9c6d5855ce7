"""Turn whatever a third-party parser raises about a damaged file into one kind of error."""

from __future__ import annotations

import contextlib
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from medcore.errors import InputError

# What numpy, h5py, nibabel, pydicom and the pixel decoders were seen to raise about damaged files.
FOREIGN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # also NotImplementedError and RecursionError
    SyntaxError,  # numpy parses the header of .npy as Python
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def foreign_errors(
    path: str | Path,
    problem: str,
    hint: str = "get another copy of the file",
    *,
    quote: bool = True,
    also: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Raise :class:`InputError` "`path`: `problem` (reason); `hint`" for any foreign error in the block, and mute its warnings.

    `also` are the parser's own kinds of error. With ``quote=False`` the reason is the kind of error only: texts about elements of a
    DICOM file may hold what identifies a patient.

    Only calls of third-party parsers belong into such a block, so that no fault of this project is taken for a bad file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (*FOREIGN_ERRORS, *also) as error:
        why = reason(error) if quote else type(error).__name__
        raise InputError(path, f"{problem} ({why})", hint) from error


def reason(error: BaseException) -> str:
    """The first 120 characters of an error's text on one line, or its kind where it has none."""
    return " ".join(str(error).split())[:120] or type(error).__name__
