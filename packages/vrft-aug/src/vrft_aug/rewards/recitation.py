"""How much of the injected knowledge the reasoning repeats.

In arXiv 2602.10619 this similarity is rewarded or punished: rewarding it reached a plateau, punishing it generalised better. The sign
is the reward's weight in the recipe; the value here is a similarity in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from medcore.errors import ConfigError
from vrft_aug.parsing import completion_text, think_text
from vrft_aug.rewards.base import samples

MAX_CHARACTERS = 20_000


@dataclass(frozen=True, kw_only=True)
class Recitation:
    """Similarity of the thought to the column ``knowledge``, in [0, 1].

    Only the text between ``<think>`` and ``</think>`` counts. A completion without it recites nothing and gets 0; with a negative
    weight, use the reward ``format`` beside it, or leaving out the thought pays. Samples without knowledge cannot be judged.

    Equal pairs of thought and knowledge are computed once a batch.

    >>> reward = Recitation(similarity="token_f1")
    >>> texts = ["<think>white patches</think><answer>pneumonia</answer>", "<think>I am sure</think><answer>normal</answer>"]
    >>> reward(prompts=[""] * 2, completions=texts, knowledge=["white patches"] * 2)
    [1.0, 0.0]
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """Smallest and largest value."""

    similarity: Literal["bleu", "rouge_l", "chrf", "token_f1"] = "bleu"
    """``bleu``: n-gram precision of the thought (the paper's); the others are those of :mod:`medcore.metrics.text`."""
    order: int = 4
    """Longest n-gram of ``bleu``; shorter texts use what they have (effective order). Ours: the paper's is not public."""
    smoothing: Literal["exp", "floor", "add-k", "none"] = "exp"
    """Smoothing of ``bleu``, as sacrebleu names it. Ours."""
    brevity_penalty: bool = True
    """Part of ``bleu``: a thought shorter than the knowledge is marked down. Without it, copying one sentence counts fully."""

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 8:
            raise ConfigError("recitation.order", f"is {self.order}", "give 1 to 8")
        if self.similarity != "bleu" and (self.order, self.smoothing, self.brevity_penalty) != (4, "exp", True):
            raise ConfigError(
                "recitation", f"has options of bleu with {self.similarity}", "remove order, smoothing, brevity_penalty"
            )

    @property
    def __name__(self) -> str:
        return "recitation"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Similarity of each completion's thought, None where there is no knowledge."""
        del prompts
        known: dict[tuple[str, str], float] = {}
        scores: list[float | None] = []
        for completion, knowledge in samples(completions, columns, "knowledge"):
            if not isinstance(knowledge, str) or not any(map(str.isalnum, knowledge)):
                scores.append(None)
                continue
            pair = knowledge, (think_text(completion_text(completion)) or "")[:MAX_CHARACTERS]
            if pair not in known:
                known[pair] = self._compare(*pair)
            scores.append(known[pair])
        return scores

    def _compare(self, knowledge: str, thought: str) -> float:
        if not any(map(str.isalnum, thought)):
            return 0.0
        if self.similarity == "bleu":
            value = self._bleu(knowledge, thought)
        else:
            from medcore.metrics import get_metric

            value = get_metric(self.similarity).function(knowledge, thought).value or 0.0
        return min(1.0, max(0.0, float(value)))

    def _bleu(self, knowledge: str, thought: str) -> float:
        from sacrebleu.metrics import BLEU

        metric = BLEU(max_ngram_order=self.order, smooth_method=self.smoothing, effective_order=True, lowercase=True)
        result = metric.sentence_score(thought, [knowledge])
        value = float(result.score) / 100
        return value if self.brevity_penalty or not result.bp else value / float(result.bp)
