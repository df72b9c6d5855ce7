"""GDCM in a process of its own.

GDCM alone among the permissively licensed decoders reads JPEG of more than 8 bits and lossless JPEG. Damaged pictures can make it end
the whole process, and its JPEG library hands out grey for what is missing and says so on the error stream only. Here both become an
ordinary error.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

_PROGRAM = Path(__file__).with_name("gdcm_child.py")
_SECONDS = 60.0
"""One picture may take so long."""


class DecoderError(Exception):
    """A picture cannot be decoded."""


class GdcmProcess:
    """Context of decoding; the process starts with the first picture and ends with the context."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._running: tuple[IO[bytes], IO[bytes], IO[bytes], Callable[[], None]] | None = None

    def __enter__(self) -> GdcmProcess:  # noqa: PYI034 - the run-time check of types knows no Self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._running = None
        self._stack.close()

    def decode(self, stream: bytes, **facts: Any) -> bytes:
        """Pixels of one picture.

        Parameters
        ----------
        stream
            The compressed picture.
        facts
            ``syntax``, ``rows``, ``columns``, ``allocated``, ``stored``, ``sign``.

        Raises
        ------
        DecoderError
            If the picture is damaged.
        """
        if self._running is None:
            self._running = self._start()
        requests, answers, remarks, kill = self._running
        timer = threading.Timer(_SECONDS, kill)
        timer.start()
        try:
            requests.write(json.dumps({**facts, "length": len(stream)}).encode() + b"\n" + stream)
            requests.flush()
            line = answers.readline()
            pixels = answers.read(json.loads(line)["length"]) if line else None
        except OSError:  # it ended before it had read everything
            pixels = None
        finally:
            timer.cancel()
        said = remarks.read().decode(errors="replace").strip().splitlines()
        if pixels is None:
            self.__exit__(None, None, None)
            raise DecoderError(f"the decoder ended: {said[-1][:100]}" if said else "the decoder ended without an answer")
        if said:
            raise DecoderError(said[0][:120])
        return pixels

    def _start(self) -> tuple[IO[bytes], IO[bytes], IO[bytes], Callable[[], None]]:
        remarks = Path(self._stack.enter_context(tempfile.TemporaryDirectory()), "remarks")
        sink = self._stack.enter_context(remarks.open("wb"))
        source = self._stack.enter_context(remarks.open("rb"))
        process = subprocess.Popen(  # noqa: S603 - our own program; what strangers wrote comes through the pipe
            [sys.executable, "-P", str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        if process.stdin is None or process.stdout is None:
            raise DecoderError("the decoder cannot be talked to")
        self._stack.callback(process.stdout.close)
        self._stack.callback(self._close, process.stdin)
        return process.stdin, process.stdout, source, process.kill

    @staticmethod
    def _close(pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError):  # unsent requests of a process that has ended
            pipe.close()
