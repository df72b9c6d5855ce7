"""What a recipe will do, without doing it."""

from __future__ import annotations

import math
from typing import Any

from medcore.config import to_mapping
from medcore.errors import ConfigError
from vrft_aug.costs import memory_facts, model_size, network, token_facts
from vrft_aug.data import Parts, load_stages
from vrft_aug.hooks import build_hook
from vrft_aug.knowledge import load_knowledge
from vrft_aug.recipe import Recipe, StageSettings
from vrft_aug.rewards import build_reward
from vrft_aug.tokens import count_prompt


def plan(recipe: Recipe) -> dict[str, Any]:
    """Read the data, make the rewards, and count what training will cost.

    Returns
    -------
    dict
        JSON-ready: ``model``, ``size``, ``warm_start``, ``stages``, ``network``. Of each stage: images of both parts, the question, steps
        of the optimiser, rounds of generation, prompts and completions of a round, how the batch comes about, completions in all, tokens,
        memory of each GPU, rewards, hooks, knowledge with its origin, and notes. What is not known is None, and it says why.

    Raises
    ------
    InputError
        If the data cannot be read or does not fit.
    ConfigError
        If a reward or a hook does not exist or its options are wrong, or a round needs more images than there are.
    """
    for stage in recipe.stages:
        for reward in stage.rewards:
            build_reward(reward)
        for hook in stage.hooks:
            build_hook(hook)
    loaded = load_stages(recipe.stages)
    size, shown = model_size(recipe.model)
    stages = [_stage(stage, parts, recipe.processes) for stage, parts in zip(recipe.stages, loaded, strict=True)]
    for stage, parts, facts in zip(recipe.stages, loaded, stages, strict=True):
        prompt = count_prompt(parts.train, recipe.model)
        facts["tokens"] = token_facts(stage, prompt, facts["completions"])
        facts["memory"] = memory_facts(stage, recipe, prompt, size, shown)
    warm_start = None if recipe.warm_start is None else to_mapping(recipe.warm_start)
    total = sum(s["completions"] for s in stages)
    return {
        "model": to_mapping(recipe.model),
        "size": shown,
        "seed": recipe.seed,
        "warm_start": warm_start,
        "stages": stages,
        "completions": total,
        "network": network(recipe),
    }


def _stage(stage: StageSettings, parts: Parts, processes: int) -> dict[str, Any]:
    first = parts.train.select_columns("prompt")[0]
    return {
        "name": stage.name,
        "task": stage.task,
        "data": to_mapping(stage.data),
        "train_images": len(parts.train),
        "held_out_images": len(parts.held_out),
        "removed_duplicates": parts.removed,
        "prompt": first["prompt"],
        "question": first["prompt"][-1]["content"],
        "rewards": [{"name": r.shown, "reward": r.name, "weight": r.weight, "options": r.options} for r in stage.rewards],
        "hooks": [to_mapping(hook) for hook in stage.hooks],
        "knowledge": _origin(stage),
        "kl_reference": stage.kl_reference,
        "generations": stage.generations,
        **_budget(stage, len(parts.train), processes),
        "notes": _notes(stage, parts),
    }


def _budget(stage: StageSettings, images: int, processes: int) -> dict[str, Any]:
    """Steps and completions as trl counts them: a round of generation feeds one or more optimiser steps."""
    completions = stage.batch * processes
    prompts = completions // stage.generations
    if prompts > images:
        raise ConfigError(
            f"stage {stage.name}: grpo.per_device_train_batch_size",
            f"asks for {prompts} images a round, but there are {images}",
            "make it smaller, or num_generations larger",
        )
    accumulated = stage.whole("gradient_accumulation_steps", 1)
    micro_steps = stage.whole("steps_per_generation", accumulated) * stage.whole("num_iterations", 1)
    steps = stage.grpo.get("max_steps", -1)
    if isinstance(steps, int) and steps > 0:
        rounds = math.ceil(steps * accumulated / micro_steps)
    else:
        rounds = math.ceil(float(stage.grpo.get("num_train_epochs", 3)) * (images // prompts))
        steps = rounds * micro_steps // accumulated
    return {
        "steps": steps,
        "rounds": rounds,
        "prompts_per_round": prompts,
        "completions_per_round": completions,
        "completions": rounds * completions,
        "batch": {
            "per_device": stage.whole("per_device_train_batch_size", 8),
            "gradient_accumulation": accumulated,
            "steps_per_generation": stage.whole("steps_per_generation", accumulated),
            "iterations": stage.whole("num_iterations", 1),
            "processes": processes,
            "completions_per_step": stage.whole("per_device_train_batch_size", 8) * accumulated * processes,
            "passes": round(rounds * prompts / images, 2),
        },
    }


def _origin(stage: StageSettings) -> dict[str, Any] | None:
    if stage.knowledge is None:
        return None
    return {**to_mapping(stage.knowledge), "provenance": to_mapping(load_knowledge(stage.knowledge.file).provenance)}


def _notes(stage: StageSettings, parts: Parts) -> list[str]:
    """What a reader should know before the run."""
    notes = []
    if parts.removed:
        notes.append(f"{parts.removed} training images are held out as well and were removed")
    notes.extend(parts.card["faults"])
    names = {r.name for r in stage.rewards}
    if "recitation" in names and "format" not in names:
        notes.append("recitation without format: leaving out the thought changes the reward")
    if names == {"format"}:
        notes.append("format alone is earned by any answer")
    return notes
