"""What was read from an answer, or why nothing was."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")
MAX_ANSWER = 4000
"""Longest answer that is looked at, in characters; a name, a grade or a few dozen boxes are far shorter."""
REMEMBERED = 200
"""Longest answer whose reading is remembered, in characters: the completions of a group often give the same short answers."""


class Reason(StrEnum):
    """Why no single answer could be read."""

    NO_ANSWER = "no answer in the expected form"
    EMPTY = "empty answer"
    TOO_LONG = "too long"
    ABSTAINED = "abstained"
    NOT_NAMED = "no class named"
    SEVERAL = "several classes"
    DENIED = "denied"
    HEDGED = "left open"
    CONFLICT = "contradicts itself"
    NO_NUMBER = "no number"
    BAD_NUMBER = "not a number of this kind"
    SEVERAL_NUMBERS = "several numbers"
    OUT_OF_RANGE = "outside of the range"
    OTHER_UNIT = "another unit"
    NO_BOX = "no box"
    BAD_BOX = "not a box"
    MANY_BOXES = "too many boxes"


@dataclass(frozen=True)
class Reading(Generic[T]):
    """A value, or the reason why there is none; never both, never neither."""

    value: T | None = None
    """What the answer states."""
    reason: Reason | None = None
    """Why nothing could be read, None where something was."""


def unusable(text: str | None) -> Reason | None:
    """Why `text` need not be looked at: it is missing, empty or too long."""
    if text is None:
        return Reason.NO_ANSWER
    if len(text) > MAX_ANSWER:
        return Reason.TOO_LONG
    return None if text and not text.isspace() else Reason.EMPTY
