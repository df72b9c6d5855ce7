"""Guard for calls of pydicom: one kind of error, no warnings, nothing on the screen."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from medcore.io.guard import foreign_errors


@contextlib.contextmanager
def pydicom_errors(
    path: str | Path,
    problem: str = "has an element that cannot be read",
    hint: str = "get another copy of the file",
    *,
    quote: bool = False,
) -> Iterator[None]:
    """Raise :class:`medcore.errors.InputError` for what pydicom raises in the block, see :func:`medcore.io.guard.foreign_errors`.

    Element values are converted when they are first asked for, so even a plain look-up may fail. What pydicom would log is muted: its texts
    may hold values of elements, and what matters in them is refused or named by the checks of this package.
    """
    from pydicom.errors import BytesLengthException, InvalidDicomError

    logger = logging.getLogger("pydicom")
    mute = logging.Filter("nothing")  # passes only what a logger of that name logs
    logger.addFilter(mute)
    try:
        with foreign_errors(path, problem, hint, quote=quote, also=(BytesLengthException, InvalidDicomError)):
            yield
    finally:
        logger.removeFilter(mute)
