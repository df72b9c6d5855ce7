r"""Advantages of tokens: the thought and the rest of a completion weigh differently.

trl gives every token of a completion the same advantage :math:`A`. Here tokens from ``<think>`` to ``</think>``, tags included, get
:math:`A\,w_\text{thought}` and all others :math:`A\,w_\text{rest}`. With `keep_sum` the weights of a completion are divided by their mean,
so that it pushes the policy as hard in total as before. A completion without a complete thought keeps :math:`A` on all tokens, or it
could never learn to write one.

A token belongs to the thought if any character of it does. Sequence-level importance ratios (trl's ``importance_sampling_level``) are
one number a completion and remain so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medcore.errors import ConfigError
from vrft_aug.hooks import RefinementHook, RoundFacts, StageFacts

if TYPE_CHECKING:
    import torch

_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(kw_only=True, eq=False)
class Reasoning(RefinementHook):
    """Spreads the advantage of a completion over its tokens."""

    thought: float = 1.0
    """Weight of the thought's tokens."""
    rest: float = 0.25
    """Weight of the other tokens, the answer among them; 0 learns from thoughts only."""
    keep_sum: bool = True
    """Whether the weights of a completion have the mean 1."""
    _stage: StageFacts | None = field(default=None, init=False, repr=False)
    _tokens: Sequence[Sequence[int]] = field(default=(), init=False, repr=False)
    _texts: dict[int, str] = field(default_factory=dict, init=False, repr=False)
    _share: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        weights = self.thought, self.rest
        if not all(map(math.isfinite, weights)) or min(weights) < 0 or not any(weights):
            raise ConfigError("hook reasoning", f"has the weights {weights}", "give at least 0, and not both 0")

    def bind(self, stage: StageFacts) -> None:
        """Keep what turns tokens into text."""
        self._stage = stage

    def on_round(self, facts: RoundFacts) -> None:
        """Keep the tokens of the round."""
        self._tokens = facts.token_ids
        spans = [self.span(ids) for ids in facts.token_ids]
        inside = sum(stop - start for start, stop in filter(None, spans))
        self._share = inside / max(1, sum(map(len, facts.token_ids)))

    def span(self, ids: Sequence[int]) -> tuple[int, int] | None:
        """First token of the thought and the one after its last; None without a complete thought."""
        assert self._stage is not None  # noqa: S101 - bound before any round
        for token in set(ids) - self._texts.keys():
            self._texts[token] = self._stage.token_text(token)
        # Tags are plain letters: they are found although a token alone may be a part of a character.
        pieces = [self._texts[token] for token in ids]
        text = "".join(pieces)
        start = text.find(_OPEN)
        stop = text.find(_CLOSE, start + len(_OPEN)) + len(_CLOSE)
        if start < 0 or stop < len(_CLOSE):
            return None
        ends, position = [], 0
        for piece in pieces:
            position += len(piece)
            ends.append(position)
        first = next(i for i, end in enumerate(ends) if end > start)
        last = next(i for i, end in enumerate(ends) if end >= stop)
        return first, last + 1

    def weights(self, ids: Sequence[int]) -> list[float]:
        """Weight of each token of one completion."""
        span = self.span(ids)
        if span is None:
            return [1.0] * len(ids)
        found = [self.thought if span[0] <= i < span[1] else self.rest for i in range(len(ids))]
        mean = sum(found) / len(found)
        return [w / mean for w in found] if self.keep_sum and mean else found

    def transform_advantages(self, advantages: torch.Tensor, state: Any) -> torch.Tensor:
        """Advantages by token, 0 behind the end of a completion."""
        import torch

        del state
        longest = max(map(len, self._tokens), default=0)
        spread = advantages.new_zeros(len(self._tokens), longest)
        for row, ids in zip(spread, self._tokens, strict=True):
            row[: len(ids)] = torch.tensor(self.weights(ids), dtype=spread.dtype, device=spread.device)
        return (advantages[:, None] if advantages.dim() == 1 else advantages) * spread

    def metrics(self) -> Mapping[str, float]:
        """Share of the tokens of this process that belong to a thought."""
        return {"tokens/thought": self._share}
