"""What attacks earn beside honest answers, and whether that is more than they deserve."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medcore.errors import ConfigError
from vrft_aug.audit.attacks import ATTACKS, RIGHT, ROUGH, SPELLED, WRONG, Attempt, attempts
from vrft_aug.data import load_stages
from vrft_aug.evaluation import answer_form
from vrft_aug.parsing import AnswerForm
from vrft_aug.recipe import Recipe, StageSettings
from vrft_aug.rewards import build_reward

SUM = "sum"
"""What the weighted sum is called among the rewards."""
CONFIDENCE = 0.9
"""What completions state where a reward asks for a confidence."""
_HONEST = (RIGHT, SPELLED, ROUGH, WRONG)


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """How an audit is made."""

    samples: int = 64
    """Training rows of each stage that are attacked, chosen at random."""
    tolerance: float = 0.05
    """Excess that is passed over, as a share of what a right answer earns more than a wrong one in the weighted sum."""
    seed: int = 0
    """Seed of the choice."""

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.tolerance < 1:
            raise ConfigError(
                "audit", f"has samples {self.samples} and tolerance {self.tolerance}", "give 1 or more, and 0 to below 1"
            )


@dataclass(frozen=True, kw_only=True)
class StageAudit:
    """What completions earn in one stage.

    Attributes
    ----------
    name, samples
        The stage and how many of its rows were attacked.
    rewards
        Names of the rewards in the order of the recipe, then ``sum`` (where there are several).
    earned
        By kind of completion and reward: the mean over rows of what the best variant earns, times the reward's weight; None where
        it cannot be judged.
    excess
        By attack and reward: the mean over rows of what the best variant earns more than the honest answer it is measured against.
    faults
        What is wrong, in sentences; empty where the rewards hold.
    """

    name: str
    samples: int
    rewards: tuple[str, ...]
    earned: dict[str, dict[str, float | None]]
    excess: dict[str, dict[str, float | None]]
    faults: tuple[str, ...]

    def table(self) -> list[list[str]]:
        """Rows for a table: the kind of completion, then for each reward what it earns and, of attacks, the excess."""
        return [[kind, *(self._cell(kind, shown) for shown in self.rewards)] for kind in self.earned]

    def _cell(self, kind: str, shown: str) -> str:
        value, more = self.earned[kind][shown], self.excess.get(kind, {}).get(shown)
        if value is None:
            return "-"
        return f"{value:.2f}" if more is None else f"{value:.2f} ({max(0.0, more):.2f})"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "stage": self.name,
            "samples": self.samples,
            "rewards": list(self.rewards),
            "earned": self.earned,
            "excess": self.excess,
            "faults": list(self.faults),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> StageAudit:
        """The audit that :meth:`as_dict` described."""
        return cls(
            name=facts["stage"],
            samples=facts["samples"],
            rewards=tuple(facts["rewards"]),
            earned=facts["earned"],
            excess=facts["excess"],
            faults=tuple(facts["faults"]),
        )


def audit_recipe(recipe: Recipe, settings: AuditSettings | None = None) -> list[StageAudit]:
    """Attack the rewards of every stage on its own training data.

    Raises
    ------
    InputError
        If the data cannot be read or a reward cannot be made.
    """
    parts = load_stages(recipe.stages)
    return [audit_stage(stage, part.train, settings) for stage, part in zip(recipe.stages, parts, strict=True)]


def audit_stage(stage: StageSettings, train: Any, settings: AuditSettings | None = None) -> StageAudit:
    """Attack the rewards of one stage.

    Parameters
    ----------
    stage
        The stage.
    train
        Its training rows, see :mod:`vrft_aug.data`.
    settings
        How many of them are attacked, and what is passed over.

    Raises
    ------
    ConfigError
        If a reward cannot be made.
    """
    settings = settings or AuditSettings()
    chosen = np.random.default_rng(settings.seed).permutation(len(train))[: settings.samples]
    rows = [train[int(i)] for i in sorted(chosen)]
    guarded = [build_reward(r) for r in stage.rewards]
    try:
        weighted = {r.shown: (reward, r.weight) for r, reward in zip(stage.rewards, guarded, strict=True)}
        asked = any(r.name == "calibration" or r.options.get("confidence") for r in stage.rewards)
        form, confidence = answer_form(stage.rewards), CONFIDENCE if asked else None
        return audit_rows(stage.name, rows, weighted, settings, form=form, confidence=confidence)
    finally:
        for reward in guarded:
            reward.close()


def audit_rows(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    rewards: Mapping[str, tuple[Callable[..., Sequence[float | None]], float]],
    settings: AuditSettings | None = None,
    *,
    form: AnswerForm = "tags",
    confidence: float | None = None,
) -> StageAudit:
    """Attack rewards on rows of :mod:`vrft_aug.data`.

    Parameters
    ----------
    name
        Name of the result.
    rows
        Rows of one task.
    rewards
        Reward and weight by name.
    settings
        Only the tolerance counts here.
    form, confidence
        How completions are written, see :func:`~vrft_aug.audit.attacks.attempts`.

    Notes
    -----
    An attack out-earns what it deserves if the mean excess over the honest answer it is measured against is larger than ``tolerance``
    times the difference between honest right and honest wrong answers in the weighted sum. For a reward with a negative weight the
    measure is no penalty at all, if that is more: leaving out what is punished is no fraud as long as the sum does not pay it.
    """
    settings = settings or AuditSettings()
    plans = [attempts(row, form=form, confidence=confidence) for row in rows]
    terms = {shown: weight * _earn(reward, rows, plans) for shown, (reward, weight) in rewards.items()}
    if len(terms) > 1:
        terms[SUM] = np.nansum(list(terms.values()), axis=0)
    earned: dict[str, dict[str, float | None]] = defaultdict(dict)
    excess: dict[str, dict[str, float | None]] = defaultdict(dict)
    for shown, values in terms.items():
        floor = 0.0 if shown in rewards and rewards[shown][1] < 0 else -math.inf
        for kind, found in _by_kind(plans, values, floor).items():
            earned[kind][shown] = found.earned
            if found.excess is not None:
                excess[kind][shown] = found.excess
    order = [kind for kind in (*_HONEST, *ATTACKS) if kind in earned]
    audit = StageAudit(
        name=name,
        samples=len(rows),
        rewards=tuple(terms),
        earned={kind: earned[kind] for kind in order},
        excess={kind: excess[kind] for kind in order if kind in excess},
        faults=(),
    )
    return replace(audit, faults=tuple(_faults(audit, settings.tolerance)))


def _earn(
    reward: Callable[..., Sequence[float | None]], rows: Sequence[Mapping[str, Any]], plans: Sequence[Sequence[Attempt]]
) -> np.ndarray:
    """What every attempt earns, in one batch; NaN where it cannot be judged."""
    flat = [(row, attempt) for row, plan in zip(rows, plans, strict=True) for attempt in plan]
    columns = {key: [row[key] for row, _ in flat] for key in rows[0] if key != "prompt"}
    messages = [[{"role": "assistant", "content": attempt.completion}] for _, attempt in flat]
    values = reward(prompts=[row["prompt"] for row, _ in flat], completions=messages, **columns)
    return np.array([np.nan if v is None else float(v) for v in values])


@dataclass
class _Kind:
    earned: float | None
    excess: float | None


def _by_kind(plans: Sequence[Sequence[Attempt]], values: np.ndarray, floor: float) -> dict[str, _Kind]:
    """Means over rows of the best variant of each kind; of the worst one where an answer is right."""
    best: dict[str, list[float]] = defaultdict(list)
    over: dict[str, list[float]] = defaultdict(list)
    position = 0
    for plan in plans:
        worth = {a.completion: v for a, v in zip(plan, values[position : position + len(plan)], strict=True)}
        position += len(plan)
        kinds: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in plan:
            kinds[attempt.kind].append(attempt)
        for kind, tried in kinds.items():
            paid = [worth[a.completion] for a in tried]
            best[kind].append(_extreme(paid, least=kind == SPELLED))
            if kind in ATTACKS:
                over[kind].append(_extreme([worth[a.completion] - max(floor, worth[a.deserves or ""]) for a in tried]))
    return {kind: _Kind(_mean(found), _mean(over[kind]) if kind in over else None) for kind, found in best.items()}


def _extreme(values: Sequence[float], *, least: bool = False) -> float:
    known = [v for v in values if not math.isnan(v)]
    return (min if least else max)(known) if known else math.nan


def _mean(values: Sequence[float]) -> float | None:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else None


def _faults(audit: StageAudit, tolerance: float) -> list[str]:
    """Sentences on what is wrong."""
    total = audit.rewards[-1]
    right, wrong = audit.earned[RIGHT][total], audit.earned[WRONG][total]
    if right is None or wrong is None:
        return [f"{total}: no honest answer can be judged"]
    spread = right - wrong
    if not spread > 0:
        return [f"{total}: an honest right answer earns {right:.3g}, an honest wrong one {wrong:.3g}"]
    faults = []
    spelled = audit.earned.get(SPELLED, {}).get(total)
    if spelled is not None and spelled < right - max(tolerance, 0.1) * spread:
        faults.append(f"{total}: a right answer in another spelling earns {spelled:.3g} instead of {right:.3g}")
    for kind, paid in audit.excess.items():
        for shown, more in paid.items():
            if more is not None and more > tolerance * spread:
                faults.append(f"{shown}: {kind} ({ATTACKS[kind]}) earns {more:.3g} more than it deserves")
    return faults
