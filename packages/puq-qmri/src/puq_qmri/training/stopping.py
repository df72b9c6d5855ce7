"""Requests to stop, answered between two steps."""

from __future__ import annotations

import signal
import threading
from typing import Any


class StopRequests:
    """Notes the first SIGTERM or SIGINT; a second one acts at once.

    Attributes
    ----------
    number
        Of the signal, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:  # noqa: PYI034 - beartype knows no Self here
        if threading.current_thread() is threading.main_thread():
            self._handlers = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, _: object) -> None:
        self.number = int(number)
        self.__exit__()

    def obey(self, number: int) -> None:
        """Let the request do what it would have done without training."""
        self.__exit__()
        signal.raise_signal(signal.Signals(number))
        raise KeyboardInterrupt  # where the signal is ignored
