"""What is wrong in a data set, collected so that a hundred thousand faults of one kind do not fill a card."""

from __future__ import annotations

MAX_SHOWN = 50
"""Faults of one kind that are told one by one."""


class Findings:
    """Sentences by kind, in the order in which kinds and sentences came."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._left: dict[str, int] = {}

    def add(self, kind: str, sentence: str) -> None:
        """Note a fault; `kind` completes "and 3 more ..."."""
        own = self._found.setdefault(kind, [])
        if len(own) < MAX_SHOWN:
            own.append(sentence)
        else:
            self._left[kind] = self._left.get(kind, 0) + 1

    def sentences(self) -> tuple[str, ...]:
        """All that were kept, and how many were not."""
        told: list[str] = []
        for kind, own in self._found.items():
            told += own
            if left := self._left.get(kind):
                told.append(f"and {left} more {kind}")
        return tuple(told)
