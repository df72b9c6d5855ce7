"""Samples that have nothing to teach make room for others.

The advantages of a group whose completions all earned the same are 0: its completions cost as much as others and move nothing. This hook
counts such groups and, if asked to, gives their place in later rounds to samples from which something was learned.

It remembers for each sample the last group: the mean reward and whether there was any spread. Before a round, every sample that the
sampler drew and whose last group was *idle* (`idle`: no spread at all, or no spread and a mean of at least `easy_from`, or below it) is
exchanged, with probability `share`, for one drawn evenly from the pool (`pool`: samples whose last group had spread, or those among
them, or in all, with a mean below `easy_from`). No exchange happens while the pool is empty. So an idle sample is looked at again in
one of 1 / (1 - share) of its turns on average, and comes back once it has spread. An epoch no longer sees every sample equally often.

Everything happens where trl hands rows to generation; sampler, batch sizes and number of steps stay trl's. The draw depends on `seed`
and the number of the round only, and the memory is saved with every checkpoint, so that a resumed run draws the same.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from medcore.errors import ConfigError, InputError
from vrft_aug.hooks import RefinementHook, RoundFacts, StageFacts

if TYPE_CHECKING:
    import torch

_SAME = 1e-6  # differences of rewards below this are no spread


@dataclass(kw_only=True, eq=False)
class Replay(RefinementHook):
    """Counts groups without spread and replays others in their place."""

    reward: str | None = None
    """The reward that is looked at, by its name in logs; none means the weighted sum of all."""
    idle: Literal["constant", "easy", "hard"] = "constant"
    """Which samples give way: any whose group had no spread, or those with a high, or a low mean among them."""
    pool: Literal["varied", "hard"] = "varied"
    """What takes their place: samples whose last group had spread, or all with a mean below `easy_from`."""
    easy_from: float = 0.5
    """Mean reward from which a group is easy."""
    share: float = 0.0
    """Probability that an idle sample gives way; 0 only counts."""
    seed: int = 0
    """Seed of the draw."""
    _column: int | None = field(default=None, init=False, repr=False)
    _weights: tuple[float, ...] = field(default=(), init=False, repr=False)
    _generations: int = field(default=1, init=False, repr=False)
    _samples: Sequence[str] = field(default=(), init=False, repr=False)
    _last: dict[str, tuple[float, bool]] = field(default_factory=dict, init=False, repr=False)
    _rounds: int = field(default=0, init=False, repr=False)
    _found: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError("hook replay", f"has the share {self.share}", "give at least 0 and less than 1")
        if self.pool == "hard" and self.idle != "easy":
            raise ConfigError("hook replay", f"exchanges {self.idle} samples for hard ones", "set idle: easy, or pool: varied")
        if self.seed < 0:
            raise ConfigError("hook replay", f"has the seed {self.seed}", "give 0 or more")

    def bind(self, stage: StageFacts) -> None:
        """Look the reward up, and check that samples have names."""
        self._column = None if self.reward is None else stage.column(self.reward, "replay")
        self._weights, self._generations = stage.weights, stage.generations
        if self.share and len(set(stage.samples)) < max(1, len(stage.samples)):
            raise ConfigError("hook replay", "finds training rows without a sample_id of their own", "give each row one")

    def select_samples(self, samples: Sequence[str], state: Any) -> Sequence[str]:
        """The samples with idle ones exchanged."""
        del state
        self._rounds += 1
        chosen = list(samples)
        pool = sorted(name for name, last in self._last.items() if self._wanted(*last))
        if pool and self.share:
            draw = random.Random(f"{self.seed}-{self._rounds}")  # noqa: S311 - no secret
            for place, name in enumerate(samples):
                if name in self._last and self._gives_way(*self._last[name]) and draw.random() < self.share:
                    chosen[place] = draw.choice(pool)
        replaced = sum(new != old for new, old in zip(chosen, samples, strict=True))
        self._found["groups/replayed"] = replaced / max(1, len(chosen))
        return chosen

    def on_round(self, facts: RoundFacts) -> None:
        """Keep whose groups they are."""
        self._samples = facts.samples

    def transform_rewards(self, rewards: torch.Tensor, state: Any) -> torch.Tensor:
        """The rewards as they are; means and spreads of the groups are remembered."""
        del state
        values = rewards[:, self._column] if self._column is not None else self._sums(rewards)
        groups = [[v for v in group if v == v] for group in values.reshape(-1, self._generations).tolist()]  # noqa: PLR0124 - NaN
        judged = [(sum(g) / len(g), max(g) - min(g) > _SAME) if g else None for g in groups]
        if self._samples:
            self._last |= {name: last for name, last in zip(self._samples, judged, strict=True) if last is not None}
        known = [last for last in judged if last is not None]
        for kind, members in (("constant", "constant"), ("constant_easy", "easy"), ("constant_hard", "hard")):
            self._found[f"groups/{kind}"] = sum(self._is_idle(members, *last) for last in known) / max(1, len(known))
        return rewards

    def _sums(self, rewards: torch.Tensor) -> torch.Tensor:
        sums = (rewards * rewards.new_tensor(self._weights)).nansum(dim=1)
        sums[rewards.isnan().all(dim=1)] = float("nan")
        return sums

    def _gives_way(self, mean: float, varied: bool) -> bool:
        return self._is_idle(self.idle, mean, varied)

    def _is_idle(self, kind: str, mean: float, varied: bool) -> bool:
        return not varied and (kind == "constant" or (mean >= self.easy_from) == (kind == "easy"))

    def _wanted(self, mean: float, varied: bool) -> bool:
        return varied if self.pool == "varied" else mean < self.easy_from

    def metrics(self) -> Mapping[str, float]:
        """Shares of the round's groups: without spread, of these with a high and a low mean, and replayed ones."""
        return self._found

    def state_dict(self) -> dict[str, Any]:
        """Rounds so far and each sample's last group."""
        return {"rounds": self._rounds, "last": {name: [mean, varied] for name, (mean, varied) in self._last.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state.

        Raises
        ------
        InputError
            If it is none of this hook.
        """
        try:
            rounds = int(state["rounds"])
            last = {str(name): (float(mean), bool(varied)) for name, (mean, varied) in state["last"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError("state of a replay", f"cannot be read ({type(error).__name__})", "start the stage again") from error
        self._rounds, self._last = rounds, last
