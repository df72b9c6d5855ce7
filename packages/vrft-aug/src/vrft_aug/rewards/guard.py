"""What stands between a reward and the trainer: nothing but finite numbers gets through, and nothing waits for ever.

trl trains on with a loss of 0 if a reward is NaN, and a single exception ends a run of days. The guard turns both into "not judged" for the
samples concerned, counts them, and stops the run only when they are more than the budget allows. Rewards of strangers run in processes of
their own (:mod:`vrft_aug.rewards.isolation`), where they can sleep, crash, exit, print or fill memory without harm.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from medcore.errors import ConfigError, NumericalError
from vrft_aug.rewards import outcomes
from vrft_aug.rewards.base import Reward
from vrft_aug.rewards.isolation import IsolatedReward

_LOG = logging.getLogger(__name__)
_LEAST = 200  # samples the budget is a share of, at the least: one bad batch at the start is no verdict
_SHOWN = 3  # failures of a kind that are logged
_SAME = 20  # calls in a row with one value for all before it is said


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """How a reward is watched."""

    isolate: Literal["auto", "always", "never"] = "auto"
    """Whether it runs in processes of its own; ``auto``: all but those of this package, which are bounded in time and memory."""
    seconds: float = 60.0
    """Longest time between two answers of such a process, by the clock, before it is killed."""
    workers: int = 4
    """Most such processes; a second one starts where a batch takes longer than a second."""
    memory_gb: float | None = 8.0
    """Most memory of such a process, where the system can limit it; None for no limit."""
    on_failure: Literal["mask", "zero", "stop"] = "mask"
    """What a failed sample gets: no reward (it then moves the policy as if it were average in its group), 0, or the end of the run."""
    budget: float = 0.1
    """Share of samples that may fail before the run ends."""

    def __post_init__(self) -> None:
        if (
            not self.seconds > 0
            or self.workers < 1
            or not 0 <= self.budget <= 1
            or not (self.memory_gb is None or self.memory_gb > 0)
        ):
            raise ConfigError(
                "guard",
                f"has seconds {self.seconds}, workers {self.workers}, memory_gb {self.memory_gb}, budget {self.budget}",
                "give positive numbers, and a budget from 0 to 1",
            )


@dataclass(kw_only=True)
class GuardedReward:
    """A reward that never raises on account of a sample and returns finite numbers or None, one for each completion.

    If a call on a batch raises or returns the wrong number of values, its samples are tried one by one, so that only those at fault
    go unjudged.

    Attributes
    ----------
    reward
        The reward inside.
    name
        What it is called in logs.
    settings
        How it is watched.
    failures
        How many samples failed for which reason: the type of an exception, ``wrong length``, ``not finite``, ``not a number``, and
        in a process of its own ``time-out``, ``died``, ``given up``.
    total
        How many samples it was asked about.
    """

    reward: Reward | IsolatedReward
    name: str
    settings: GuardSettings = field(default_factory=GuardSettings)
    failures: Counter[str] = field(default_factory=Counter)
    total: int = 0
    _same: int = field(default=0, repr=False, compare=False)

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """The reward's values; None, or 0 as the settings say, for samples at fault.

        Raises
        ------
        NumericalError
            If more samples failed than the budget allows.
        """
        if isinstance(self.reward, IsolatedReward):
            found = self.reward.judge(prompts, completions, columns)
        else:
            found = outcomes.judge(self.reward, prompts, completions, columns)
        self.total += len(found)
        names = columns.get("sample_id") or [None] * len(found)
        values = [self._fail(o, name) if isinstance(o, str) else o for o, name in zip(found, names, strict=True)]
        self._check_budget()
        self._check_spread(found)
        return values

    def _fail(self, reason: str, sample: Any) -> float | None:
        """Count a failure and give its sample a value; the first of a kind are logged, by the sample's identifier only."""
        self.failures[reason] += 1
        if self.failures[reason] <= _SHOWN:
            where = "on a sample" if sample is None else f"on sample {sample}"
            _LOG.warning("the reward %s failed %s (%s)", self.name, where, reason)
        return 0.0 if self.settings.on_failure == "zero" else None

    def _check_budget(self) -> None:
        failed = self.failures.total()
        allowed = 0.0 if self.settings.on_failure == "stop" else self.settings.budget * max(self.total, _LEAST)
        if failed > allowed:
            kinds = ", ".join(f"{reason} {count}" for reason, count in self.failures.most_common())
            raise NumericalError(
                f"reward {self.name}",
                f"failed on {failed} of {self.total} completions ({kinds}), more than its budget allows",
                "mend it (vrft-aug rewards score tries it on a file), or raise guard.budget",
            )

    def _check_spread(self, found: Sequence[outcomes.Outcome]) -> None:
        """Say once that a reward gives everything the same value, which teaches nothing."""
        self._same = self._same + 1 if len(found) > 1 and len(set(found)) == 1 else 0
        if self._same == _SAME:
            _LOG.warning("the reward %s gave all completions the same value, %s batches in a row", self.name, _SAME)

    def close(self) -> None:
        """End the reward's processes, if it has any; the next call starts them again."""
        if isinstance(self.reward, IsolatedReward):
            self.reward.close()


def guard(reward: Reward | IsolatedReward, name: str | None = None, settings: GuardSettings | None = None) -> GuardedReward:
    """Wrap `reward`; a guarded one is not wrapped twice. With ``isolate: always`` it is sent to a process of its own.

    Raises
    ------
    ConfigError
        If it is to be sent to another process and cannot be pickled.
    """
    if isinstance(reward, GuardedReward):
        return reward
    settings = settings or GuardSettings()
    name = name or str(getattr(reward, "__name__", type(reward).__name__))
    if settings.isolate == "always" and not isinstance(reward, IsolatedReward):
        reward = IsolatedReward.of(reward, name, settings.seconds, settings.workers, settings.memory_gb)
    return GuardedReward(reward=reward, name=name, settings=settings)
