"""A run's completions judged again: the same rewards, others, or other weights; no model is loaded.

What a reward gets is what it got in training, but for the image: the columns of the row, the prompt without its image, the messages and
tokens of the completion, and the step. A reward that looks at pixels, or whose value hangs on anything else, cannot be reproduced, and this
says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medcore.config import from_mapping
from medcore.errors import ConfigError, InputError
from medcore.plugins import unknown_name
from vrft_aug.advantages import advantages
from vrft_aug.completions import FOLDER, LoggedStage, read_table
from vrft_aug.ledger import LEDGER
from vrft_aug.recipe import Recipe
from vrft_aug.rewards import GuardedReward, RewardSettings, build_reward
from vrft_aug.sensitivity import sensitivity, signs

TOLERANCE = 1e-3
"""Largest difference of an advantage from trl's; trl computes in single precision and divides by as little as 1e-4."""


@dataclass(frozen=True, kw_only=True)
class LoggedState:
    """What of the trainer's state a reward finds again: ``global_step`` and ``max_steps``."""

    global_step: int
    max_steps: int


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """One stage judged again.

    Attributes
    ----------
    stage
        What was logged.
    names, weights
        Rewards and the weights they are given now.
    logged_weights
        The run's weights of the run's rewards.
    values
        (completion, reward) in double precision, NaN where not judged.
    differences
        By reward of the run, ``same`` and ``different`` values; None where other rewards were asked for.
    advantages
        (completion,) from `values` and `weights`, as trl would have made them.
    advantage_error
        Largest difference between trl's logged advantages and those recomputed from the logged rewards; None if hooks may have changed
        them.
    """

    stage: LoggedStage
    names: tuple[str, ...]
    weights: np.ndarray
    logged_weights: dict[str, float]
    values: np.ndarray
    differences: dict[str, dict[str, int]] | None
    advantages: np.ndarray
    advantage_error: float | None

    @property
    def reproduced(self) -> bool | None:
        """Whether all logged rewards and advantages came out again; None where other rewards were asked for."""
        if self.differences is None:
            return None
        exact = all(not counts["different"] for counts in self.differences.values())
        return exact and (self.advantage_error is None or self.advantage_error <= TOLERANCE)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts, with the sensitivity to each weight."""
        known = ~np.isnan(self.values)
        before = advantages_of(self.stage, logged_rewards(self.stage), np.array(self.stage.facts.weights))
        flips = signs(self.advantages) != signs(before)
        return {
            "name": self.stage.name,
            "completions": len(self.stage.entries),
            "rounds": len(self.stage.rounds()),
            "generations": self.stage.facts.generations,
            "scale_rewards": self.stage.facts.scale_rewards,
            "aggregation": self.stage.facts.aggregation,
            "hooks": list(self.stage.facts.hooks),
            "rewards": {
                name: {
                    "weight": float(self.weights[k]),
                    "logged_weight": self.logged_weights.get(name),
                    "mean": float(self.values[known[:, k], k].mean()) if known[:, k].any() else None,
                    "judged": int(known[:, k].sum()),
                    "not_judged": int((~known[:, k]).sum()),
                    **({} if self.differences is None else self.differences[name]),
                }
                for k, name in enumerate(self.names)
            },
            "reproduced": self.reproduced,
            "advantage_error": self.advantage_error,
            "advantages_with_another_sign": float(flips.mean()) if len(flips) else 0.0,
            "sensitivity": self.sensitivity(),
        }

    def sensitivity(self) -> dict[str, Any]:
        """See :func:`vrft_aug.sensitivity.sensitivity`."""
        rounds = [self.values[list(part)] for part in self.stage.rounds()]
        return sensitivity(rounds, self.names, self.weights, self.stage.facts)


def rescore(
    run: str | Path,
    *,
    weights: Mapping[str, float] | None = None,
    rewards: Sequence[RewardSettings] = (),
    stages: Sequence[str] = (),
) -> list[Rescored]:
    """Judge the logged completions of a run again.

    Parameters
    ----------
    run
        A run's folder.
    weights
        Other weights, by the rewards' names in logs.
    rewards
        Other rewards, for all stages; by default each stage's own.
    stages
        Names of the stages, by default all that have a table.

    Raises
    ------
    InputError
        If there is no run, no table, or a table is damaged.
    ConfigError
        If a stage or the reward of a weight does not exist.
    """
    run = Path(run)
    recipe = read_recipe(run)
    known = [s.name for s in recipe.stages]
    for name in stages:
        if name not in known:
            raise unknown_name("stage", name, known)
    chosen = [(i, s) for i, s in enumerate(recipe.stages, start=1) if not stages or s.name in stages]
    tables = {s.name: run / "stages" / f"{i}-{s.name}" / FOLDER for i, s in chosen}
    found = [
        (read_table(tables[s.name], s.name), tuple(rewards) or s.rewards)
        for _, s in chosen
        if tables[s.name].is_dir() or s.name in stages
    ]
    if not found:
        raise InputError(run, "has no completions", "train with log_completions to keep them")
    names = sorted({r.shown for _, used in found for r in used})
    for name in weights or {}:
        if name not in names:
            raise unknown_name("reward", name, names)
    return [_rescore(stage, used, weights or {}, own=not rewards) for stage, used in found]


def parse_weights(text: str | None) -> dict[str, float]:
    """Read ``name=number,...``.

    >>> parse_weights("accuracy=1, format=0.5")
    {'accuracy': 1.0, 'format': 0.5}

    Raises
    ------
    ConfigError
        If it is not of this form or a number is not finite.
    """
    found: dict[str, float] = {}
    for part in (text or "").split(",") if text else []:
        name, _, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name.strip() or "=" in name or not math.isfinite(value):
            raise ConfigError("--weights", f"has {part.strip()!r}", "write name=number,...")
        found[name.strip()] = value
    return found


def read_recipe(run: Path) -> Recipe:
    """The recipe of a run, from its ledger.

    Raises
    ------
    InputError
        If the folder holds no run.
    """
    try:
        mapping = json.loads((run / LEDGER).read_text(encoding="utf-8"))["recipe"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(run, "is not the folder of a run", "give the folder that vrft-aug train wrote") from error
    return from_mapping(Recipe, mapping, "recipe")


def _rescore(stage: LoggedStage, used: Sequence[RewardSettings], weights: Mapping[str, float], *, own: bool) -> Rescored:
    names = tuple(r.shown for r in used)
    if len(set(names)) < len(names):
        raise ConfigError("--reward", "names a reward twice", "give each reward once")
    if own and names != stage.facts.rewards:
        raise InputError(stage.name, f"was logged with {', '.join(stage.facts.rewards)}", "give back the run's own ledger.json")
    values = judge_again(stage, [build_reward(r) for r in used])
    now = np.array([weights.get(r.shown, r.weight) for r in used], dtype=np.float64)
    logged = logged_rewards(stage)
    error = None
    if not stage.facts.hooks:
        again = _zero(advantages_of(stage, logged, np.array(stage.facts.weights)))
        error = float(np.max(np.abs(again - logged_advantages(stage)), initial=0.0))
    return Rescored(
        stage=stage,
        names=names,
        weights=now,
        logged_weights=dict(zip(stage.facts.rewards, stage.facts.weights, strict=True)),
        values=values,
        differences={name: _compare(values[:, k], logged[:, k]) for k, name in enumerate(names)} if own else None,
        advantages=advantages_of(stage, values, now),
        advantage_error=error,
    )


def verdict(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Whether what was logged came out again: a state of :class:`medcore.report.Report` and a sentence.

    Parameters
    ----------
    facts
        See :meth:`Rescored.as_dict`.
    """
    if facts["reproduced"] is None:
        return "info", "other rewards than the run's, so there is nothing to compare with."
    wrong = {name: r["different"] for name, r in facts["rewards"].items() if r["different"]}
    if wrong:
        shown = ", ".join(f"{name} on {count}" for name, count in wrong.items())
        return "failed", f"{shown} of {facts['completions']} completions is not what was logged."
    if not facts["reproduced"]:
        return "failed", f"the rewards are what was logged, the advantages are not (off by up to {facts['advantage_error']:.2g})."
    if facts["advantage_error"] is None:
        return "passed", "all rewards are exactly what was logged; hooks changed the advantages, which were not compared."
    return "passed", f"all rewards are exactly what was logged, the advantages within {facts['advantage_error']:.1g}."


def judge_again(stage: LoggedStage, rewards: Sequence[GuardedReward]) -> np.ndarray:
    """Values of `rewards` for the completions of a stage, (completion, reward), round by round; NaN where not judged."""
    values = np.full((len(stage.entries), len(rewards)), np.nan)
    for part in stage.rounds():
        entries = stage.entries[part.start : part.stop]
        rows = [stage.rows[e["row"]] for e in entries]
        columns: dict[str, Any] = {key: [row.get(key) for row in rows] for row in rows[:1] for key in row if key != "prompt"}
        columns["completion_ids"] = [e["completion_ids"] for e in entries]
        columns["trainer_state"] = LoggedState(global_step=entries[0]["step"], max_steps=stage.facts.max_steps)
        prompts, completions = [row.get("prompt") for row in rows], [e["completion"] for e in entries]
        for k, reward in enumerate(rewards):
            found = reward(prompts=prompts, completions=completions, log_extra=_ignore, log_metric=_ignore, **columns)
            values[part.start : part.stop, k] = [np.nan if v is None else v for v in found]
    return values


def _ignore(*_: Any) -> None:
    """In place of trl's functions for extra columns and metrics."""


def logged_rewards(stage: LoggedStage) -> np.ndarray:
    """(completion, reward) as logged, NaN where not judged."""
    values = [[np.nan if v is None else v for v in e["rewards"].values()] for e in stage.entries]
    return np.array(values, dtype=np.float64).reshape(len(values), len(stage.facts.rewards))


def logged_advantages(stage: LoggedStage) -> np.ndarray:
    """(completion,) as logged, 0 where there is none."""
    return np.array([e["advantage"] or 0.0 for e in stage.entries], dtype=np.float64)


def _compare(now: np.ndarray, logged: np.ndarray) -> dict[str, int]:
    """How many values are the same number in single precision, in which the trainer keeps them, or both not judged."""
    single = now.astype(np.float32).astype(np.float64)
    same = int(np.sum((single == logged) | (np.isnan(single) & np.isnan(logged))))
    return {"same": same, "different": len(now) - same}


def advantages_of(stage: LoggedStage, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(completion,) advantages of (completion, reward) values, round by round, as the stage's settings make them."""
    facts = stage.facts
    how: dict[str, Any] = {"generations": facts.generations, "scale": facts.scale_rewards, "aggregation": facts.aggregation}
    parts = [advantages(values[list(part)], weights, **how) for part in stage.rounds()]
    return np.concatenate(parts) if parts else np.zeros(0)


def _zero(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.nan_to_num(values, nan=0.0))
