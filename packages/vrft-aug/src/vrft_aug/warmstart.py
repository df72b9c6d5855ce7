"""Supervised warm start: a few steps on written answers, so that reinforcement learning begins with a policy that answers at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from medcore.errors import ConfigError
from vrft_aug import prompts
from vrft_aug.checkpoints import ExactResume, PublishCheckpoints
from vrft_aug.recipe import WarmStartSettings


class WarmStartTrainer(ExactResume, SFTTrainer):
    """``trl.SFTTrainer`` with exact resume."""


def weaken(rows: list[dict[str, Any]], settings: WarmStartSettings, *, seed: int) -> list[dict[str, Any]]:
    """Relabel a fraction of one class, as reports do that miss a finding; everything else stays.

    Parameters
    ----------
    rows
        Rows with ``label``, ``classes`` and perhaps ``grade``.
    settings
        ``missed_class``, ``missed_as`` and ``missed_fraction``; without a missed class the rows come back as they are.
    seed
        Decides which rows.

    Raises
    ------
    ConfigError
        If a class does not occur.
    """
    if settings.missed_class is None:
        return rows
    names = {name for row in rows for name in row.get("classes") or ()}
    for key in ("missed_class", "missed_as"):
        if getattr(settings, key) not in names:
            raise ConfigError(
                f"warm_start.{key}", f"is {getattr(settings, key)!r}, not one of {', '.join(sorted(names))}", "name a class"
            )
    chosen = np.array([row.get("label") == settings.missed_class for row in rows])
    chosen &= np.random.default_rng(seed).random(len(rows)) < settings.missed_fraction
    return [_relabel(row, settings.missed_as) if flag else row for row, flag in zip(rows, chosen, strict=True)]


def _relabel(row: dict[str, Any], label: Any) -> dict[str, Any]:
    changed = {**row, "label": label}
    if row.get("grade") is not None:
        changed["grade"] = list(row["classes"]).index(label)
    return changed


def answered(rows: Any, settings: WarmStartSettings, *, seed: int) -> Any:
    """The rows as trl's prompt-completion data with images, answers written from (weak) labels.

    Raises
    ------
    ConfigError
        See :func:`weaken`.
    """
    without = rows.remove_columns("image")
    known = weaken([without[i] for i in range(len(without))], settings, seed=seed)
    completions = [[{"role": "assistant", "content": prompts.target(row)}] for row in known]
    return rows.select_columns(["prompt", "image"]).add_column("completion", completions)


def arguments(settings: WarmStartSettings, folder: Path, *, seed: int) -> SFTConfig:
    """The trl configuration for the warm start: AdamW, linear warm-up and decay, no truncation."""
    gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(folder),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        lr_scheduler_type="linear",
        max_length=None,
        use_cpu=not gpu,
        bf16=gpu and torch.cuda.is_bf16_supported(),
        gradient_checkpointing=gpu,
        dataloader_pin_memory=gpu,
        logging_steps=1,
        save_steps=50,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )


def build_warm_start(
    settings: WarmStartSettings,
    model: Any,
    processor: Any,
    rows: Any,
    folder: Path,
    *,
    seed: int,
    callbacks: Iterable[TrainerCallback] = (),
) -> WarmStartTrainer:
    """A trainer for the warm start; checkpoints go to `folder`'s ``checkpoints``.

    Parameters
    ----------
    settings, rows
        What to train on; the rows' images and prompts, answers from their labels.
    model, processor
        The policy.
    folder
        The stage's folder.
    seed
        Random seed.
    callbacks
        Further trainer callbacks.
    """
    trainer = WarmStartTrainer(
        model=model,
        args=arguments(settings, folder / "trainer", seed=seed),
        train_dataset=answered(rows, settings, seed=seed),
        processing_class=processor,
        callbacks=[PublishCheckpoints(folder / "checkpoints"), *callbacks],
    )
    for printer in (PrinterCallback, ProgressCallback):  # both write to standard output
        trainer.remove_callback(printer)
    return trainer
