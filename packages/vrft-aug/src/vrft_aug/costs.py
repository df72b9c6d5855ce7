"""What a recipe will cost: tokens, memory of each GPU, and what it asks of the network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from vrft_aug.memory import Workload, estimate, permanent, zero_stage
from vrft_aug.models.sizes import ModelSize, local_config, named_parameters, read_size
from vrft_aug.recipe import ModelSettings, Recipe, StageSettings
from vrft_aug.tokens import PromptTokens

LONGEST = 512
"""trl's default of ``max_completion_length``."""


def model_size(model: ModelSettings) -> tuple[ModelSize | None, dict[str, Any]]:
    """The model's size, if its configuration is on this disk, and what is to be shown about it."""
    config = local_config(model.path)
    if config is not None:
        try:
            size = read_size(config, model)
        except InputError as error:
            return None, {"parameters": None, "trained": None, "source": f"not known: {error}"}
        return size, {"parameters": size.parameters, "trained": size.trained, "source": f"counted from {config}"}
    if model.path == "tiny":
        return None, {"parameters": None, "trained": None, "source": "built on the spot with some 400 thousand weights"}
    named = named_parameters(model.path)
    source = (
        "the name of the model" if named else "not known: the model's config.json is not on this disk, and its name states no size"
    )
    every = model.lora is None and not model.freeze and not model.freeze_vision
    return None, {"parameters": named, "trained": named if every else None, "source": source}


def token_facts(stage: StageSettings, prompt: PromptTokens, completions: int) -> dict[str, Any]:
    """Tokens of a stage, at most."""
    longest = stage.whole("max_completion_length", LONGEST)
    return {
        "prompt": prompt.prompt,
        "image": prompt.image,
        "prompt_source": prompt.source,
        "completion_at_most": longest,
        "prompts_in_all": None if prompt.prompt is None else prompt.prompt * completions,
        "completions_in_all_at_most": longest * completions,
    }


def memory_facts(
    stage: StageSettings, recipe: Recipe, prompt: PromptTokens, size: ModelSize | None, shown: dict[str, Any]
) -> dict[str, Any]:
    """Bytes on each GPU by part, as far as they are known, and from what (see :mod:`vrft_aug.memory`)."""
    zero = zero_stage(stage.grpo.get("deepspeed"))
    if zero is None:
        return {"known": "nothing", "why": "the ZeRO stage in grpo.deepspeed cannot be read"}
    value = 4 if recipe.model.dtype == "float32" else 2
    common: dict[str, Any] = {"bytes_per_value": value, "processes": recipe.processes, "zero": zero}
    reference = stage.kl_reference != "none" and (recipe.model.lora is None or stage.kl_reference == "stage_start")
    facts = {"precision": "float32" if value == 4 else "bfloat16", "zero": zero, "processes": recipe.processes}
    if size is None:
        if shown["parameters"] is None or shown["trained"] is None:
            return {"known": "nothing", "why": f"size of the model and of its trained part: {shown['source']}"}
        parts = permanent(shown["parameters"], shown["trained"], reference=reference, **common)
        why = "activations, logits and cache need the model's config.json"
        return {"known": "permanent part", "why": why, **facts, "bytes": {**parts, "permanent": sum(parts.values())}}
    if prompt.prompt is None or prompt.image is None:
        return {"known": "nothing", "why": "the number of tokens of a prompt is not known"}
    work = Workload(
        batch=stage.whole("per_device_train_batch_size", 8),
        completions=0 if stage.grpo.get("use_vllm") else stage.batch,
        prompt=prompt.prompt,
        image=prompt.image,
        completion=stage.whole("max_completion_length", LONGEST),
        checkpointing=bool(stage.grpo.get("gradient_checkpointing", True)),
        reference=reference,
        gather=bool(stage.grpo.get("ds3_gather_for_generation", True)),
        **common,
    )
    return {"known": "all", "why": None, **facts, "bytes": estimate(size, work)}


def network(recipe: Recipe) -> dict[str, Any]:
    """What leaves the machine, and what is fetched."""
    senders = sorted({name for stage in recipe.stages for name in _reports(stage.grpo.get("report_to"))})
    fetched = recipe.model.path != "tiny" and not Path(recipe.model.path).is_dir()
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    return {
        "sent": f"logs, to {', '.join(senders)}, as grpo.report_to says" if senders else "nothing",
        "telemetry": "off",
        "fetched": f"the model {recipe.model.path} from the Hugging Face hub, unless it is in the cache" if fetched else "nothing",
        "hub_access": fetched and not offline,
    }


def _reports(value: Any) -> Sequence[str]:
    names = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
    return [str(name) for name in names if name not in ("none", "tensorboard")]
