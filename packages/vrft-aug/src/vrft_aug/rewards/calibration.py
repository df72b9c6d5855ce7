"""The reward for knowing how sure to be.

A proper score makes it best to state the confidence one has. Alone, it would also pay for a wrong answer given on purpose with confidence
0; so it is averaged with being right, as in arXiv 2507.16806 (accuracy plus Brier score), and right answers always earn at least as much
as wrong ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from medcore.errors import ConfigError
from vrft_aug.parsing import AnswerForm, Reason, completion_text, explain_confidence, without_confidence, without_thoughts
from vrft_aug.rewards.accuracy import Accuracy, Verdict


@dataclass(frozen=True, kw_only=True)
class Calibration:
    r"""Being right, and the proper score of the stated confidence, averaged: in [0, 1].

    With confidence c, right answers y = 1 and wrong ones y = 0, and the weight a of `right`:

    .. math:: r = a\,y + (1 - a)\,s(c, y)

    ========== ======================================================================================
    ``brier``  :math:`s = 1 - (c - y)^2`
    ``log``    :math:`s = 1 - \ln p / \ln \varepsilon`, p = c or 1 - c, c clipped to ε ... 1 - ε, ε = `floor`
    ========== ======================================================================================

    The expected value is largest at the honest confidence, and grows with it from one half upwards for a = 1/2. The confidence stands
    outside of the thought: ``<confidence>0.8</confidence>``, or "confidence: 80 %".

    ================================ ==================================================================================
    answer                           earns
    ================================ ==================================================================================
    no confidence, or not readable   0, like a wrong answer that is certain
    no readable answer               0
    "unsure", "cannot tell", ...     :attr:`abstention`: what an honest answer with the confidence `abstain_below` expects
    ================================ ==================================================================================

    Uses the columns of :class:`~vrft_aug.rewards.accuracy.Accuracy`; an answer is right if that reward gives 1.

    >>> answers = [f"<answer>{a}</answer><confidence>0.8</confidence>" for a in ("pneumonia", "normal")] + ["<answer>unsure</answer>"]
    >>> known = {"label": ["pneumonia"] * 3, "classes": [["normal", "pneumonia"]] * 3}
    >>> [round(value, 2) for value in Calibration()(prompts=[""] * 3, completions=answers, **known)]
    [0.98, 0.18, 0.5]
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """Smallest and largest value."""

    score: Literal["brier", "log"] = "brier"
    """The proper score."""
    right: float = 0.5
    """Weight of being right; at least one half, or wrong answers given on purpose could earn more than right ones."""
    abstain_below: float = 0.0
    """Confidence below which abstaining pays more than an honest answer."""
    floor: float = 0.01
    """Smallest confidence of ``log``, and distance of the largest one from 1; what is beyond counts as this."""
    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """As for ``accuracy``."""
    negative: str | None = None
    """As for ``accuracy``."""
    letters: bool = True
    """As for ``accuracy``."""
    tolerance: float = 0.0
    """As for ``accuracy``."""
    relative: bool = False
    """As for ``accuracy``."""
    form: AnswerForm = "tags"
    """Where the answer stands, see :mod:`vrft_aug.parsing.tags`."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.right < 1:
            raise ConfigError("calibration.right", f"is {self.right}", "give at least 0.5 and less than 1")
        if not 0 <= self.abstain_below <= 1:
            raise ConfigError("calibration.abstain_below", f"is {self.abstain_below}", "give a probability")
        if not 0 < self.floor < 0.5:
            raise ConfigError("calibration.floor", f"is {self.floor}", "give a probability above 0 and below 0.5")
        self._judge()

    @property
    def __name__(self) -> str:
        return "calibration"

    @property
    def abstention(self) -> float:
        """What an abstention earns."""
        return self.expected(self.abstain_below, self.abstain_below)

    def value(self, confidence: float, *, right: bool) -> float:
        """What an answer with `confidence` earns, in [0, 1]."""
        if self.score == "brier":
            proper = 1 - (confidence - right) ** 2
        else:
            clipped = min(max(confidence, self.floor), 1 - self.floor)
            proper = 1 - math.log(clipped if right else 1 - clipped) / math.log(self.floor)
        return self.right * right + (1 - self.right) * proper

    def expected(self, confidence: float, chance: float) -> float:
        """What an answer with `confidence` earns on average if it is right with probability `chance`."""
        return chance * self.value(confidence, right=True) + (1 - chance) * self.value(confidence, right=False)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Value of each completion, None where the truth is not known."""
        del prompts
        texts = [completion_text(completion) for completion in completions]
        judged = self._judge().verdicts(list(map(self._answer_alone, texts)), **columns)
        return [None if verdict is None else self._one(text, verdict) for text, verdict in zip(texts, judged, strict=True)]

    def _judge(self) -> Accuracy:
        return Accuracy(
            synonyms=self.synonyms,
            negative=self.negative,
            letters=self.letters,
            tolerance=self.tolerance,
            relative=self.relative,
            form=self.form,
        )

    def _answer_alone(self, text: str) -> str:
        """The answer without the confidence that may stand in it, in the same form as before."""
        return without_confidence(without_thoughts(text, self.form))

    def _one(self, text: str, verdict: Verdict) -> float:
        if verdict.reason == Reason.ABSTAINED:
            return self.abstention
        confidence = explain_confidence(text, form=self.form).value
        if confidence is None or verdict.reason is not None:
            return 0.0
        return self.value(confidence, right=verdict.credit == 1)
