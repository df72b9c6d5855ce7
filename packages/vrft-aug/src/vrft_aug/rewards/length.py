"""The reward for a thought of the wanted length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from medcore.errors import ConfigError
from vrft_aug.parsing import AnswerForm, check_form, completion_text, think_text
from vrft_aug.rewards.base import samples

MAX_CHARACTERS = 200_000


@dataclass(frozen=True, kw_only=True)
class Length:
    """1 for a thought of `low` to `high` words, less outside of this band, 0 without a thought: in [0, 1].

    Below the band only what is new counts: a word that ends a run of three words that has occurred before adds nothing, so repeating a
    sentence does not reach the band. Above it everything counts. Over the soft edges the credit falls in straight lines, from 1 at `low`
    to 0 at ``low * (1 - edge)`` and from 1 at `high` to 0 at ``high * (1 + edge)``.

    It says nothing about what is written; give it a small weight beside ``accuracy``.

    >>> thoughts = ["white patch in the left lower lung", "white patch " * 4, "patch"]
    >>> texts = [f"<think>{thought}</think><answer>pneumonia</answer>" for thought in thoughts]
    >>> [round(value, 2) for value in Length(low=6, high=40)(prompts=[""] * 3, completions=texts)]
    [1.0, 0.33, 0.0]
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """Smallest and largest value."""

    unit: Literal["words", "characters", "tokens"] = "words"
    """What is counted. ``tokens`` are those of the whole completion, from trl's ``completion_ids``; without them nothing is judged."""
    low: int = 20
    """Shortest length that earns 1."""
    high: int = 200
    """Longest length that earns 1."""
    edge: float = 0.5
    """Width of the soft edges as a share of `low` and `high`; 0 for hard edges."""
    form: AnswerForm = "tags"
    """Where the thought stands, see :mod:`vrft_aug.parsing.tags`."""

    def __post_init__(self) -> None:
        check_form(self.form)
        if not 1 <= self.low <= self.high:
            raise ConfigError("length.low and high", f"are {self.low} and {self.high}", "give at least 1 and rising numbers")
        if not 0 <= self.edge <= 1:
            raise ConfigError("length.edge", f"is {self.edge}", "give a number from 0 to 1")

    @property
    def __name__(self) -> str:
        return "length"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Credit of each completion; None in ``tokens`` where the tokens are not known."""
        del prompts
        return [self._one(*row) for row in samples(completions, columns, "completion_ids")]

    def _one(self, completion: Any, ids: Any) -> float | None:
        if self.unit == "tokens" and ids is None:
            return None
        thought = (think_text(completion_text(completion), self.form) or "")[:MAX_CHARACTERS]
        words = thought.casefold().split()
        if not words:
            return 0.0
        total = len(ids) if self.unit == "tokens" else len(words)
        if self.unit == "characters":
            total = len(" ".join(words))
        return self.credit(float(total), new=total * new_words(words) / len(words))

    def credit(self, total: float, *, new: float) -> float:
        """Credit of a length `total` of which `new` is not repeated."""
        short = _fall(self.low - new, self.low * self.edge)
        return min(short, _fall(total - self.high, self.high * self.edge))


def _fall(beyond: float, width: float) -> float:
    """1 up to 0, then falling to 0 over `width`."""
    if beyond <= 0:
        return 1.0
    return max(0.0, 1 - beyond / width) if width > 0 and math.isfinite(beyond) else 0.0


def new_words(words: Sequence[str]) -> int:
    """Number of words that do not end a run of three words that has occurred before."""
    return min(2, len(words)) + len(set(zip(words, words[1:], words[2:], strict=False)))
