"""What stands between a reward and the trainer: nothing but finite numbers gets through.

trl trains on with a loss of 0 if a reward is NaN, and a single exception ends a run of days. The guard turns both into "not judged" for the
samples concerned and counts them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vrft_aug.rewards.base import Reward

_LOG = logging.getLogger(__name__)
# The trainer keeps rewards in single precision; larger numbers become infinite there.
_LARGEST = 3.0e38


@dataclass(kw_only=True)
class GuardedReward:
    """A reward that never raises and returns finite numbers or None, one for each completion.

    If a call on a batch raises or returns the wrong number of values, its samples are tried one by one, so that only those at fault
    go unjudged.

    Attributes
    ----------
    reward
        The reward inside.
    name
        What it is called in logs.
    failures
        How many samples went unjudged for which reason: the type of an exception, ``wrong length``, ``not finite``, ``not a number``.
    """

    reward: Reward
    name: str
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """The reward's values, None for samples at fault."""
        values = self._attempt(prompts, completions, columns)
        if values is None:
            values = [self._one(prompts, completions, columns, i) for i in range(len(completions))]
        return [self._number(value) for value in values]

    def _attempt(self, prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Any]) -> list[Any] | None:
        """The values of a whole batch, None if it failed."""
        try:
            values = list(self.reward(prompts=prompts, completions=completions, **columns))
        except Exception:  # noqa: BLE001 - a stranger's code may raise anything
            return None
        return values if len(values) == len(completions) else None

    def _one(self, prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Any], index: int) -> Any:
        """The value of one sample; None, counted, if it fails."""
        total = len(completions)
        part = {k: [v[index]] if isinstance(v, (list, tuple)) and len(v) == total else v for k, v in columns.items()}
        try:
            values = list(self.reward(prompts=[prompts[index]], completions=[completions[index]], **part))
        except Exception as error:  # noqa: BLE001
            return self._fail(type(error).__name__)
        return values[0] if len(values) == 1 else self._fail("wrong length")

    def _number(self, value: Any) -> float | None:
        if value is None:
            return None
        if isinstance(value, (str, bytes)):
            return self._fail("not a number")
        try:
            number = float(value)
        except Exception:  # noqa: BLE001
            return self._fail("not a number")
        return number if abs(number) < _LARGEST else self._fail("not finite")

    def _fail(self, reason: str) -> float | None:
        """Count a failure and give its sample no value; the first of its kind is logged, without texts of the sample."""
        self.failures[reason] += 1
        if self.failures[reason] == 1:
            _LOG.warning("the reward %s failed on a sample (%s); such samples are not judged", self.name, reason)
        return None


def guard(reward: Reward, name: str | None = None) -> GuardedReward:
    """Wrap `reward`; a guarded one is not wrapped twice."""
    if isinstance(reward, GuardedReward):
        return reward
    return GuardedReward(reward=reward, name=name or str(getattr(reward, "__name__", type(reward).__name__)))
