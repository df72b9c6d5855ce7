"""Misbehaving rewards in real steps of the trainer: what happens to the advantages, and what it costs, beside trl without the guard."""

from __future__ import annotations

import importlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _results import publish
from _tiny_stage import RECIPE

from medcore.config import from_mapping
from vrft_aug.data import load_rows
from vrft_aug.models import build_tiny_model, known_deprecations, load_policy, prepare
from vrft_aug.recipe import ModelSettings, Recipe
from vrft_aug.rewards import RewardSettings, build_reward
from vrft_aug.rewards.guard import GuardSettings
from vrft_aug.trainer import build_trainer

TESTS = Path(__file__).resolve().parents[1] / "packages" / "vrft-aug" / "tests" / "rewards"
SEED, ROUNDS, SECONDS = 0, 5, 5.0
KINDS = {
    "all_equal": "behaves (0.25 for all)",
    "raises": "raises",
    "wrong_length": "returns a value too many",
    "scalar": "returns a number, no list",
    "nan": "NaN",
    "infinite": "infinite",
    "text": "a string",
    "elsewhere": "a tensor on a device without data",
    "exits": "calls sys.exit",
    "exits_hard": "ends the process",
    "forks": "forks",
    "sleeps": "sleeps for an hour",
    "allocates": "allocates 10 GB",
    "prints": "prints and raises a patient's name",
    "looks_up_a_column": "needs a column that is not there",
}
HARMFUL = ("exits", "exits_hard", "forks", "sleeps", "allocates")
"""Not tried without the guard: they would end, copy or stop this program."""


def by_position(prompts: Any, completions: Any, **columns: Any) -> list[float]:
    """A reward that behaves and tells completions apart."""
    del prompts, columns
    return [float(i % 8) for i in range(len(completions))]


def step(trainer: Any, reward: Any) -> tuple[torch.Tensor, float, float]:
    """Advantages (sorted: trl shuffles them) of a generated and scored batch, seconds of a whole step, and those spent in the reward."""
    trainer.reward_funcs[1] = importlib.import_module("misbehaving").Marked(reward)
    trainer._buffered_inputs, trainer._step = None, 0  # noqa: SLF001
    trainer.model.train()
    with known_deprecations():
        batch = next(iter(trainer.get_train_dataloader()))
        start = time.perf_counter()
        inputs = trainer._prepare_inputs(batch)  # noqa: SLF001
        trainer.compute_loss(trainer.model, inputs).backward()
        took = time.perf_counter() - start
        trainer.model.zero_grad()
    return inputs["advantages"].sort().values, took, trainer.reward_funcs[1].seconds


def tell(found: torch.Tensor, expected: torch.Tensor) -> str:
    """What happened to the advantages, in words."""
    if not torch.isfinite(found).all():
        return f"{int((~torch.isfinite(found)).sum())} of {len(found)} not finite"
    changed = int((~torch.isclose(found, expected, atol=1e-5)).sum())
    largest = f", the largest {found.abs().max():.2g}" if found.abs().max() > 10 else ""
    return f"{changed} of {len(found)} changed{largest}" if changed else "as if it behaved"


def without(trainer: Any, name: str, expected: torch.Tensor) -> str:
    """What trl alone makes of it."""
    from trl import GRPOTrainer

    from vrft_aug.trainer import AugmentedGRPOTrainer

    if name in HARMFUL:
        return "not tried"
    own = AugmentedGRPOTrainer._calculate_rewards  # noqa: SLF001
    AugmentedGRPOTrainer._calculate_rewards = GRPOTrainer._calculate_rewards  # type: ignore[method-assign]  # noqa: SLF001
    try:
        return tell(step(trainer, getattr(importlib.import_module("misbehaving"), name))[0], expected)
    except Exception as error:  # noqa: BLE001 - that is what is asked
        return f"ends the run ({type(error).__name__})"
    finally:
        AugmentedGRPOTrainer._calculate_rewards = own  # type: ignore[method-assign]  # noqa: SLF001


def main() -> None:
    """Try each of them in steps of the tiny model."""
    prepare()
    sys.path.insert(0, str(TESTS))
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        stage = from_mapping(Recipe, RECIPE, "recipe").stages[0]
        data = load_rows(stage, part="train")
        texts = [str(m["content"]) for row in data.remove_columns("image") for m in row["prompt"]]
        build_tiny_model(Path(folder) / "tiny", texts, seed=SEED)
        policy, processor = load_policy(ModelSettings(), Path(folder) / "tiny")
        with known_deprecations():
            places = {"base": Path(folder) / "tiny", "start": Path(folder) / "tiny"}
            rewards = [by_position, importlib.import_module("misbehaving").all_equal]
            trainer = build_trainer(stage, policy, processor, data, rewards, Path(folder), seed=SEED, **places)
        trainer.current_gradient_accumulation_steps = 1  # what its training loop sets
        plain = build_reward(RewardSettings(name="misbehaving:all_equal", guard=GuardSettings(isolate="never")))
        step(trainer, plain)
        base = statistics.median(step(trainer, plain)[1] for _ in range(ROUNDS))
        expected = step(trainer, plain)[0]
        for name, meaning in KINDS.items():
            watch = GuardSettings(seconds=30.0 if name == "elsewhere" else SECONDS, memory_gb=4.0, budget=1.0, workers=1)
            reward = build_reward(RewardSettings(name=f"misbehaving:{name}", guard=watch))
            found, _, first = step(trainer, reward)
            times = [step(trainer, reward)[2] for _ in range(1 if name == "sleeps" else ROUNDS)]
            reward.close()
            failed = ", ".join(f"{k} {v // (len(times) + 1)}" for k, v in reward.failures.items())
            lost = statistics.median(times)
            rows.append(
                [
                    meaning,
                    failed or "-",
                    tell(found, expected),
                    f"{first:.2f}",
                    f"{lost:.3f}",
                    without(trainer, name, expected),
                ]
            )
    note = (
        "64 completions of the tiny model a step, in groups of 8; the reward misbehaves on one of them, beside another one that behaves. "
        f"Failed: completions a step. A step without processes for rewards takes {base:.2f} s (median of {ROUNDS}). Seconds spent in the "
        f"reward: in the first step (which starts the process), and later (median of {ROUNDS}; of one where it sleeps). The limit of time "
        f"is {SECONDS:g} s here (30 s where the reward imports torch), that of memory 4 GB. Asynchronous rewards, rewards with a required "
        "parameter that is no column and, where they have to be sent, closures are refused before training. The last column is trl alone."
    )
    columns = ["the reward ...", "failed", "advantages", "first step [s]", "later steps [s]", "trl alone: advantages"]
    publish("reward_guard", "Misbehaving rewards", columns, rows, seed=SEED, note=note)


if __name__ == "__main__":
    main()
