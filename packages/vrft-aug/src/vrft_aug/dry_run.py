"""Every stage of a recipe for a moment: the code of real training with a tiny model, few images and few tokens, on the CPU."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medcore.errors import MedcoreError
from vrft_aug.data import DataSettings
from vrft_aug.ledger import LEDGER
from vrft_aug.recipe import EvaluationSettings, ModelSettings, Recipe, StageSettings

_LOG = logging.getLogger(__name__)
_PIXELS = 112 * 112
_DROPPED = (
    "num_train_epochs",
    "deepspeed",
    "fsdp",
    "fsdp_config",
    "bf16",
    "fp16",
    "tf32",
    "torch_compile",
    "use_liger_kernel",
    "use_kernels",
    "steps_per_generation",
    "generation_batch_size",
    "save_steps",
    "save_strategy",
    "warmup_ratio",
    "eval_strategy",
    "optim",
    "dataloader_num_workers",
)
"""Fields of trl that have no meaning for a moment on a CPU."""


@dataclass(frozen=True, kw_only=True)
class DryRunSettings:
    """How little is done."""

    steps: int = 2
    """Steps of the optimiser in each stage."""
    images: int = 8
    """Training images of each stage, at most."""
    held_out: int = 4
    """Held-out images of each stage, at most."""
    completions: int = 4
    """Completions of a step, two of each image."""
    tokens: int = 12
    """Longest completion."""


def dry_run(
    recipe: Recipe,
    settings: DryRunSettings | None = None,
    *,
    keep: Path | None = None,
    say: Callable[[str], None] = _LOG.info,
) -> dict[str, Any]:
    """Run a recipe with reduced settings through :func:`vrft_aug.stages.run_recipe`, and tell what happened.

    Parameters
    ----------
    recipe
        The recipe; what is changed of it is in the result.
    settings
        How little is done.
    keep
        Folder for what the run writes; by default a temporary one that is removed.
    say
        Told what happens, a line at a time.

    Returns
    -------
    dict
        JSON-ready: ``model`` (what stood in for the recipe's), ``changed`` (fields of trl that were changed or left out), ``stages``
        (state, steps, completions, seconds, mean of each reward, failures of rewards), ``evaluation`` and ``faults``, which is empty if
        every stage ran, all losses were finite and no reward failed.

    Raises
    ------
    InputError
        If the data cannot be read, or rewards or hooks cannot be made.
    """
    settings = settings or DryRunSettings()
    with tempfile.TemporaryDirectory(prefix="vrft-dry-run-") as temporary, _no_gpu():
        model, about = _stand_in(recipe.model, Path(temporary) / "model", say)
        reduced = reduce(recipe, model, settings)
        folder = Path(temporary) / "run" if keep is None else keep
        faults, evaluations = _run(reduced, folder, say)
        stages = _stages(reduced, folder)
    for stage in stages:
        faults += [f"{stage['name']}: reward {name} failed ({why})" for name, why in stage["failures"].items()]
        if stage["loss"] is not None and not math.isfinite(stage["loss"]):
            faults.append(f"{stage['name']}: the loss is not finite")
            stage["loss"] = None
    changed = {s.name: _changed(s.grpo, r.grpo) for s, r in zip(recipe.stages, reduced.stages, strict=True)}
    return {"model": about, "changed": changed, "stages": stages, "evaluation": evaluations, "faults": faults}


def reduce(recipe: Recipe, model: ModelSettings, settings: DryRunSettings) -> Recipe:
    """The recipe with another model and next to no work; tasks, rewards, hooks, knowledge and loss stay what they are."""
    warm = recipe.warm_start
    if warm is not None:
        data = None if warm.data is None else _few(warm.data, settings)
        warm = replace(warm, steps=min(warm.steps, settings.steps), batch_size=min(warm.batch_size, 2), warmup_steps=0, data=data)
    return Recipe(
        stages=tuple(_stage(stage, model, settings) for stage in recipe.stages),
        model=model,
        warm_start=warm,
        evaluation=EvaluationSettings(batch_size=settings.held_out, max_new_tokens=settings.tokens, resamples=20),
        seed=recipe.seed,
    )


def _stage(stage: StageSettings, model: ModelSettings, settings: DryRunSettings) -> StageSettings:
    few = {
        "max_steps": settings.steps,
        "per_device_train_batch_size": settings.completions,
        "gradient_accumulation_steps": 1,
        "num_generations": 2,
        "num_iterations": min(2, stage.whole("num_iterations", 1)),
        "max_completion_length": settings.tokens,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": "none",
    }
    kept = {key: value for key, value in stage.grpo.items() if key not in _DROPPED and "vllm" not in key}
    if isinstance(kept.get("warmup_steps"), (int, float)):
        kept["warmup_steps"] = min(kept["warmup_steps"], settings.steps - 1)
    prompts = stage.prompts
    if prompts.max_pixels is not None:  # the resize of boxes is that of the stand-in's processor
        prompts = replace(prompts, min_pixels=model.min_pixels, max_pixels=model.max_pixels)
    return replace(stage, data=_few(stage.data, settings), prompts=prompts, grpo={**kept, **few})


def _few(data: DataSettings, settings: DryRunSettings) -> DataSettings:
    return replace(
        data, train=min(data.train or settings.images, settings.images), held_out=min(data.held_out or 4, settings.held_out)
    )


def _changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return sorted(key for key in {*old, *new} if old.get(key) != new.get(key))


def _stand_in(model: ModelSettings, folder: Path, say: Callable[[str], None]) -> tuple[ModelSettings, str]:
    """The tiny model of the same architecture where that is on this disk, else the usual one."""
    from vrft_aug.models import prepare
    from vrft_aug.models.shrink import shrink_model
    from vrft_aug.models.sizes import local_config

    prepare()
    lora = None if model.lora is None else replace(model.lora, rank=min(model.lora.rank, 4))
    high = min(model.max_pixels or _PIXELS, _PIXELS)
    plain = replace(
        model,
        path="tiny",
        quantize=None,
        dtype="float32",
        lora=lora,
        min_pixels=min(model.min_pixels or 28 * 28, high),
        max_pixels=high,
    )
    if model.path == "tiny":
        about = "the tiny model that the recipe names"
    elif (config := local_config(model.path)) is None:
        about = f"the tiny Qwen2.5-VL, as the configuration of {model.path} is not on this disk"
    else:
        try:
            count = shrink_model(config.parent, folder)
        except Exception as error:  # noqa: BLE001 - whatever an architecture raises that cannot be so small
            about = f"the tiny Qwen2.5-VL, as {model.path} could not be made small ({type(error).__name__}: {str(error)[:100]})"
        else:
            about = f"{model.path} with {count:_} random weights".replace("_", " ")
            plain = replace(plain, path=str(folder))
            if not _has_pixels(folder):
                plain = replace(plain, min_pixels=model.min_pixels, max_pixels=model.max_pixels)
    quantised = "" if model.quantize is None else "; not quantised"
    say(f"model: {about}{quantised}")
    return plain, about + quantised


def _has_pixels(folder: Path) -> bool:
    """Whether the image processor takes limits of an image's area."""
    from vrft_aug.models import load_processor

    size = dict(getattr(load_processor(folder, local=True).image_processor, "size", None) or {})
    return size.get("shortest_edge") is not None and size.get("longest_edge") is not None


def _run(recipe: Recipe, folder: Path, say: Callable[[str], None]) -> tuple[list[str], list[dict[str, Any]]]:
    """Run the reduced recipe; an error of training is a fault of the stage that was under way."""
    from vrft_aug.stages import run_recipe

    try:
        result = run_recipe(recipe, folder, say=say)
    except Exception as error:
        ledger = _ledger(folder)
        if ledger is None:  # nothing has begun: data, rewards or settings
            raise
        running = [name for name, record in ledger["stages"].items() if record["state"] != "complete"]
        where = running[0] if running else "evaluation"
        if not isinstance(error, MedcoreError):
            _LOG.debug("dry run", exc_info=error)
        text = " ".join(str(error).split())[:300]
        return [f"{where}: {text if isinstance(error, MedcoreError) else f'{type(error).__name__}: {text}'}"], []
    return [], [{"name": found.name, "images": len(found.predictions)} for found in result.evaluations["final"]]


def _ledger(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _stages(recipe: Recipe, folder: Path) -> list[dict[str, Any]]:
    """What the ledger and the logs say of each stage."""
    ledger = _ledger(folder) or {"stages": {}}
    logs = {path.parent.name.partition("-")[2]: path for path in (folder / "stages").glob("*/log.json")}
    names = [*(["warm-start"] if recipe.warm_start else []), *(s.name for s in recipe.stages)]
    return [_facts(name, ledger["stages"].get(name), logs.get(name)) for name in names]


def _facts(name: str, record: dict[str, Any] | None, log: Path | None) -> dict[str, Any]:
    entries = [] if log is None else json.loads(log.read_text(encoding="utf-8"))
    means: dict[str, list[float | None]] = {}
    for entry in entries:
        for key, value in entry.items():
            if key.startswith("rewards/") and key.endswith("/mean"):
                means.setdefault(key.removeprefix("rewards/").removesuffix("/mean"), []).append(value)
    # What is not finite is left out of the log, or none.
    losses = [math.nan if entry.get("loss") is None else entry["loss"] for entry in entries if "loss" in entry or "reward" in entry]
    record = record or {"state": "not begun"}
    return {
        "name": name,
        "state": record["state"],
        "steps": record.get("steps", 0),
        "completions": record.get("completions", 0),
        "seconds": record.get("wall_time_s", 0.0),
        "loss": losses[-1] if losses else None,
        "rewards": {reward: _mean([v for v in values if v is not None]) for reward, values in means.items()},
        "failures": {
            reward: ", ".join(f"{why} {count} times" for why, count in failed.items())
            for reward, failed in record.get("unjudged", {}).items()
        },
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


@contextlib.contextmanager
def _no_gpu() -> Iterator[None]:
    """Hide GPUs from libraries that have not looked for them yet."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
