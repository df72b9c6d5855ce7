"""The reward for writing thought and answer in the right tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from vrft_aug.parsing import AnswerForm, check_form, completion_text, has_format


@dataclass(frozen=True, kw_only=True)
class Format:
    """1 for ``<think>...</think><answer>...</answer>`` with each tag once, in order and not empty, else 0.

    It says nothing about the answer: on its own it is earned by any answer.

    >>> Format()(prompts=[""] * 2, completions=["<think>clear lungs</think><answer>normal</answer>", "normal"])
    [1.0, 0.0]
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """Smallest and largest value."""

    think: bool = True
    """Whether a thought is required; if not, it is allowed."""
    strict: bool = True
    """Whether text outside of the tags is forbidden; white space never is."""
    form: AnswerForm = "tags"
    """Which tags, see :mod:`vrft_aug.parsing.tags`."""
    confidence: bool = False
    """Whether one ``<confidence>...</confidence>`` is asked for, for the reward ``calibration``."""

    def __post_init__(self) -> None:
        check_form(self.form)

    @property
    def __name__(self) -> str:
        return "format"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """1.0 or 0.0 for each completion; every sample can be judged."""
        del prompts, columns
        options = {"think": self.think, "strict": self.strict, "confidence": self.confidence}
        return [float(has_format(completion_text(c), form=self.form, **options)) for c in completions]
