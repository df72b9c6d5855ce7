"""How much of the injected knowledge a completion repeats.

In arXiv 2602.10619 this similarity is rewarded or punished: rewarding it reached a plateau, punishing it generalised better. The sign
is the reward's weight in the recipe; the value here is a similarity in [0, 1].
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from medcore.errors import ConfigError
from vrft_aug.parsing import answer_text, completion_text, think_text
from vrft_aug.rewards.base import samples
from vrft_aug.rewards.diversity import copy_rate, distinct_n

MAX_CHARACTERS = 20_000
_TAGS = re.compile(r"</?(?:think|answer)>")


@dataclass(frozen=True, kw_only=True)
class Recitation:
    """Similarity of a part of the completion, by default the thought, to the column ``knowledge``, in [0, 1].

    A completion without that part recites nothing and gets 0; with a negative weight, use the reward ``format`` beside it, or leaving
    out the thought pays. Samples without knowledge cannot be judged.

    Words that any honest text on the subject shares with the knowledge make some similarity; `soft_threshold` says how much of it is
    free. Where trl offers ``log_metric``, two diagnostics of the batch are logged: ``recitation/copy_rate``, the mean share of runs of
    four words that are copied from the knowledge, and ``recitation/distinct_2``, the share of different pairs of words (see
    :mod:`vrft_aug.rewards.diversity`).

    Equal pairs of text and knowledge are computed once a batch.

    >>> reward = Recitation(similarity="token_f1")
    >>> texts = ["<think>white patches</think><answer>pneumonia</answer>", "<think>I am sure</think><answer>normal</answer>"]
    >>> reward(prompts=[""] * 2, completions=texts, knowledge=["white patches"] * 2)
    [1.0, 0.0]
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """Smallest and largest value."""

    similarity: Literal["bleu", "rouge_l", "chrf", "token_f1"] = "bleu"
    """``bleu``: n-gram precision of the text (the paper's); the others are those of :mod:`medcore.metrics.text`."""
    span: Literal["think", "answer", "all"] = "think"
    """What is compared: the text between ``<think>`` and ``</think>``, the answer, or the whole completion without tags. Ours: the
    paper speaks of the reasoning text."""
    soft_threshold: float = 0.0
    """Similarity t that counts as 0; a larger similarity s counts as (s - t) / (1 - t). Ours."""
    order: int = 4
    """Longest n-gram of ``bleu``; shorter texts use what they have (effective order). Ours: the paper's is not public."""
    smoothing: Literal["exp", "floor", "add-k", "none"] = "exp"
    """Smoothing of ``bleu``, as sacrebleu names it. Ours."""
    brevity_penalty: bool = True
    """Part of ``bleu``: a text shorter than the knowledge is marked down. Without it, copying one sentence counts fully."""

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 8:
            raise ConfigError("recitation.order", f"is {self.order}", "give 1 to 8")
        if not 0 <= self.soft_threshold < 1:
            raise ConfigError("recitation.soft_threshold", f"is {self.soft_threshold}", "give a number of at least 0 and below 1")
        if self.similarity != "bleu" and (self.order, self.smoothing, self.brevity_penalty) != (4, "exp", True):
            raise ConfigError(
                "recitation", f"has options of bleu with {self.similarity}", "remove order, smoothing, brevity_penalty"
            )

    @property
    def __name__(self) -> str:
        return "recitation"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Similarity of each completion, None where there is no knowledge."""
        del prompts
        known: dict[tuple[str, str], float] = {}
        pairs: list[tuple[str, str]] = []
        scores: list[float | None] = []
        for completion, knowledge in samples(completions, columns, "knowledge"):
            if not isinstance(knowledge, str) or not any(map(str.isalnum, knowledge)):
                scores.append(None)
                continue
            pair = knowledge, self._part(completion_text(completion))[:MAX_CHARACTERS]
            if pair not in known:
                known[pair] = self._compare(*pair)
            pairs.append(pair)
            scores.append(known[pair])
        if callable(columns.get("log_metric")):
            _log(pairs, columns["log_metric"])
        return scores

    def _part(self, text: str) -> str:
        """The part of a completion that is compared."""
        if self.span == "all":
            return _TAGS.sub(" ", text)
        return (think_text(text) if self.span == "think" else answer_text(text)) or ""

    def _compare(self, knowledge: str, text: str) -> float:
        value = min(1.0, max(0.0, self._similarity(knowledge, text)))
        return max(0.0, value - self.soft_threshold) / (1 - self.soft_threshold)

    def _similarity(self, knowledge: str, text: str) -> float:
        if not any(map(str.isalnum, text)):
            return 0.0
        if self.similarity == "bleu":
            return self._bleu(knowledge, text)
        from medcore.metrics import get_metric

        return float(get_metric(self.similarity).function(knowledge, text).value or 0.0)

    def _bleu(self, knowledge: str, text: str) -> float:
        from sacrebleu.metrics import BLEU

        metric = BLEU(max_ngram_order=self.order, smooth_method=self.smoothing, effective_order=True, lowercase=True)
        result = metric.sentence_score(text, [knowledge])
        value = float(result.score) / 100
        return value if self.brevity_penalty or not result.bp else value / float(result.bp)


def _log(pairs: Sequence[tuple[str, str]], log_metric: Callable[[str, float], object]) -> None:
    """Log the copy rate and the diversity of texts beside their knowledge; nothing where they are too short to tell."""
    rates = {pair: copy_rate(pair[1], pair[0]) for pair in dict.fromkeys(pairs)}
    copied = [rate for pair in pairs if (rate := rates[pair]) is not None]
    if copied:
        log_metric("recitation/copy_rate", sum(copied) / len(copied))
    different = distinct_n((text for _, text in pairs), 2)
    if different is not None:
        log_metric("recitation/distinct_2", different)
