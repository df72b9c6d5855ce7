"""A threshold that rises with performance.

Small findings are hard to hit: a high fixed threshold pays nobody at the start, a low one pays sloppy boxes for ever. The idea to tighten
the criterion by a window of recent performance and a rule of several conditions is that of arXiv 2603.28120; the rule and the numbers
here are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from medcore.errors import ConfigError, InputError


@dataclass(frozen=True, kw_only=True)
class TightenSettings:
    """When a threshold rises, and how far.

    It rises by `step`, at most to `stop`, when all of these hold, and never falls:

    1. `window` rounds of generation have passed since the last rise (or the start);
    2. at least `min_samples` completions of the last `window` rounds were judged;
    3. the share of these that reached the present threshold is at least `target`.
    """

    start: float = 0.3
    """Threshold at the beginning."""
    stop: float = 0.75
    """Highest threshold."""
    step: float = 0.05
    """How much it rises at a time."""
    target: float = 0.6
    """Share of judged completions that must reach the present threshold."""
    window: int = 10
    """Rounds of generation that are looked at."""
    min_samples: int = 64
    """Fewest judged completions in the window."""

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop <= 1:
            raise ConfigError("tighten", f"goes from {self.start} to {self.stop}", "give 0 <= start <= stop <= 1")
        if not 1e-4 <= self.step <= 1:
            raise ConfigError("tighten.step", f"is {self.step}", "give a number from 0.0001 to 1")
        if not 0 < self.target <= 1:
            raise ConfigError("tighten.target", f"is {self.target}", "give a share above 0 and up to 1")
        if not 1 <= self.window <= 10_000:
            raise ConfigError("tighten.window", f"is {self.window}", "give 1 to 10000 rounds")
        if self.min_samples < 1:
            raise ConfigError("tighten.min_samples", f"is {self.min_samples}", "give at least 1")

    @property
    def last_level(self) -> int:
        """How often the threshold can rise."""
        steps = math.ceil(round((self.stop - self.start) / self.step, 9))  # 0.3 to 0.6 by 0.1 is 3 steps, not 3.0000000000000004
        return max(steps, int(self.stop > self.start))

    def threshold(self, level: int) -> float:
        """The threshold after `level` rises."""
        return self.stop if level >= self.last_level else self.start + level * self.step


@dataclass(kw_only=True)
class Tightening:
    """The state of a rising threshold: whole numbers only, so that it is saved and restored exactly.

    >>> schedule = Tightening(settings=TightenSettings(start=0.5, window=1, min_samples=2, target=0.5))
    >>> schedule.observe([0.4, 0.6]), schedule.observe([0.4, float("nan")]), schedule.threshold
    (True, False, 0.55)

    Attributes
    ----------
    settings
        The rule.
    level
        How often the threshold has risen.
    rounds
        Judged completions and those that reached the threshold, of each round since the last rise, the latest `window` of them.
    """

    settings: TightenSettings
    level: int = 0
    rounds: list[tuple[int, int]] = field(default_factory=list)

    @property
    def threshold(self) -> float:
        """The present threshold."""
        return self.settings.threshold(self.level)

    def observe(self, values: Iterable[float]) -> bool:
        """Take in the scores of one round, NaN where a completion was not judged; True if the threshold rose."""
        judged = [value for value in values if not math.isnan(value)]
        return self.count(len(judged), sum(value >= self.threshold for value in judged))

    def count(self, judged: int, reached: int) -> bool:
        """Take in one round in which `judged` completions were judged and `reached` reached the threshold; True if it rose."""
        rule = self.settings
        if self.level >= rule.last_level:
            return False
        self.rounds = [*self.rounds, (judged, reached)][-rule.window :]
        total, passed = (sum(column) for column in zip(*self.rounds, strict=True))
        if len(self.rounds) < rule.window or total < rule.min_samples or passed < rule.target * total:
            return False
        self.level, self.rounds = self.level + 1, []
        return True

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON-ready values."""
        return {"level": self.level, "rounds": [list(pair) for pair in self.rounds]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that :meth:`state_dict` gave.

        Raises
        ------
        InputError
            If it is none of this rule.
        """
        try:
            level, rounds = int(state["level"]), [(int(judged), int(reached)) for judged, reached in state["rounds"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("state of a threshold", f"cannot be read ({type(error).__name__})", "start the stage again") from error
        fits = 0 <= level <= self.settings.last_level and len(rounds) <= self.settings.window
        if not fits or not all(0 <= reached <= judged for judged, reached in rounds):
            raise InputError(
                "state of a threshold", f"(level {level}, {len(rounds)} rounds) is none of this rule", "start the stage again"
            )
        self.level, self.rounds = level, rounds
