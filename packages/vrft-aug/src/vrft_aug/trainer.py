"""The trl GRPO trainer with hooks, rewards that cannot poison the policy, KL references that are what they say, and exact resume.

Only ``_calculate_rewards`` and ``_generate_and_score_completions`` of ``trl.GRPOTrainer`` are overridden; both kept their signatures
from trl 1.0 to 1.16, and a test pins them. Everything else is trl's: loss, sampling, logging, distribution.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from medcore.config import unknown_key
from medcore.errors import ConfigError, NumericalError
from vrft_aug.advantages import without_favour
from vrft_aug.checkpoints import ExactResume, HookStates, PublishCheckpoints, ResumeOrder
from vrft_aug.columns import IMAGES
from vrft_aug.completions import FOLDER, CompletionLog, Round, TableFacts
from vrft_aug.hook_calls import HookCalls
from vrft_aug.hooks import RefinementHook
from vrft_aug.recipe import StageSettings
from vrft_aug.sharing import SharedRows, share_preprocessing
from vrft_aug.tighten import tightening_hooks

_LOG = logging.getLogger(__name__)
_OURS = ("push_to_hub", "trust_remote_code")  # beside those that the recipe refuses


class AugmentedGRPOTrainer(ExactResume, GRPOTrainer):
    """``trl.GRPOTrainer`` plus refinement hooks and checks of the rewards.

    Parameters
    ----------
    hooks
        Called in order after the rewards and after the advantages are known. All other parameters are those of trl's trainer.
    """

    def __init__(self, *args: Any, hooks: Sequence[RefinementHook] = (), **kwargs: Any) -> None:
        self.hooks = tuple(hooks)
        self.completion_log: CompletionLog | None = None
        self.judged: Any = None  # completions, their tokens and raw rewards of the round that is under way
        super().__init__(*args, **kwargs)
        self.calls = HookCalls(self)
        twice = {name for name in self.reward_func_names if self.reward_func_names.count(name) > 1}
        if twice:
            raise ConfigError(
                "rewards", f"{min(twice)!r} occurs twice, so its curves would be mixed", "use each reward once a stage"
            )
        self.calls.bind()

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        """Rewards of all processes, (completions, rewards); NaN where a reward does not apply to a whole group.

        Raises
        ------
        NumericalError
            If no completion of the batch got a finite reward: training would go on with a loss of 0 and learn nothing.
        """
        with _without_texts():
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        # An infinite reward turns its whole group's advantages into NaN; it counts as "no reward".
        rewards = torch.where(torch.isfinite(rewards), rewards, torch.full_like(rewards, torch.nan))
        self.judged = completions, completion_ids_list, rewards
        if torch.isnan(rewards).all():
            step = self.state.global_step
            problem = f"none of the {len(rewards)} completions of step {step} got a finite reward from {', '.join(self.reward_func_names)}"
            raise NumericalError("rewards", problem, "try them with vrft-aug rewards score")
        rewards = self.calls.rewards(rewards, completion_ids_list)
        group = self.num_generations if self.model.training else self.num_generations_eval
        return torch.from_numpy(without_favour(rewards.cpu().numpy(), group)).to(rewards)

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        """The trl batch of completions with the hooks' advantages."""
        keep = self.completion_log is not None and self.model.training
        inputs = self.calls.inputs(inputs)
        self.calls.schedule()
        output = super()._generate_and_score_completions(inputs)
        if keep:
            _keep_round(self, inputs, output["advantages"])
        output["advantages"] = self.calls.advantages(output["advantages"], output["completion_ids"].shape[1])
        return output


def _keep_round(trainer: AugmentedGRPOTrainer, inputs: Any, advantages: torch.Tensor) -> None:
    """Put the round's completions of all processes into the stage's table."""
    completions, ids, rewards = trainer.judged
    plain = [{k: v for k, v in row.items() if k not in IMAGES} for row in inputs]
    gathered = gather_object(list(zip(plain, completions, ids, strict=True)))
    advantages = trainer.accelerator.gather(advantages)
    if trainer.accelerator.is_main_process and trainer.completion_log is not None:
        rows, completions, ids = zip(*gathered, strict=True)
        trainer.completion_log.add(
            Round(
                step=trainer.state.global_step,
                max_steps=trainer.state.max_steps,
                rows=rows,
                completions=completions,
                completion_ids=ids,
                rewards=rewards.tolist(),
                advantages=advantages.tolist(),
            )
        )


class _without_texts:  # noqa: N801 - used like a function
    """Keeps prompts and completions, which may come from patients' records, out of trl's warning about unscored rows."""

    def __enter__(self) -> None:
        logging.getLogger("trl.trainer.grpo_trainer").addFilter(self._shorten)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("trl.trainer.grpo_trainer").removeFilter(self._shorten)

    @staticmethod
    def _shorten(record: logging.LogRecord) -> bool:
        if "All reward functions returned None" in str(record.msg):
            record.msg, record.args = "at least one completion got no reward from any function; it does not move the policy", ()
        return True


def grpo_arguments(stage: StageSettings, folder: Path, *, seed: int) -> GRPOConfig:
    """The stage's ``grpo`` block as trl's configuration, with defaults for this machine.

    Parameters
    ----------
    stage
        Stage settings.
    folder
        Where the trainer may write.
    seed
        Seed of sampling and order.

    Raises
    ------
    ConfigError
        If a field is unknown to trl, is set by vrft-aug, or does not fit the others.
    """
    valid = sorted(f.name for f in dataclasses.fields(GRPOConfig) if f.init)
    what = f"stages.{stage.name}.grpo"
    for key in stage.grpo:
        if key in _OURS:
            raise ConfigError(f"{what}.{key}", "is set by vrft-aug itself", "remove it")
        if key not in valid:
            raise unknown_key(what, key, valid)
    gpu = torch.cuda.is_available()
    defaults = {
        "use_cpu": not gpu,
        "bf16": gpu and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": gpu,
        "dataloader_pin_memory": gpu,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
        "save_strategy": "steps",
    }
    given = {**defaults, **stage.grpo, "output_dir": str(folder), "reward_weights": [r.weight for r in stage.rewards]}
    given.pop("save_total_limit", None)
    try:
        arguments = GRPOConfig(**{**given, "save_steps": 500})
    except (ValueError, TypeError) as error:
        raise ConfigError(what, " ".join(str(error).split())[:300], "correct the grpo block") from error
    arguments.save_steps = _save_steps(what, stage.grpo.get("save_steps"), arguments)
    return arguments


def _save_steps(what: str, wanted: Any, arguments: GRPOConfig) -> int:
    """Steps between checkpoints: a whole number of generation rounds, since a resumed run begins with a new round."""
    rounds = int(arguments.steps_per_generation * arguments.num_iterations)  # micro-steps that share one generation
    boundary = rounds // math.gcd(rounds, int(arguments.gradient_accumulation_steps))
    if wanted is None:
        return boundary * max(1, round(10 / boundary))
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1 or wanted % boundary:
        raise ConfigError(
            f"{what}.save_steps", f"is {wanted!r}, not a multiple of {boundary} steps that share one generation", "change it"
        )
    return wanted


def build_trainer(
    stage: StageSettings,
    model: Any,
    processor: Any,
    rows: Any,
    rewards: Sequence[Callable[..., Any]],
    folder: Path,
    *,
    seed: int,
    base: str | Path,
    start: str | Path,
    hooks: Sequence[RefinementHook] = (),
    callbacks: Iterable[TrainerCallback] = (),
    share: bool = True,
) -> AugmentedGRPOTrainer:
    """A trainer for one stage whose KL reference is the one the recipe names.

    Parameters
    ----------
    stage, rows, rewards, hooks, callbacks
        What to train on and with. Rewards with a rising threshold bring a hook of their own, which is called before `hooks`.
    model, processor
        The policy, with the weights of the stage's start.
    folder
        The stage's folder; checkpoints go to its ``checkpoints``.
    seed
        Random seed.
    base, start
        Where the run's first policy and this stage's first policy lie: the possible KL references.
    share
        Decode and preprocess each image once (:mod:`vrft_aug.sharing`); without it, as often as trl does.

    Raises
    ------
    ConfigError
        See :func:`grpo_arguments`.
    """
    from peft import PeftModel

    arguments = grpo_arguments(stage, folder / "trainer", seed=seed)
    if stage.kl_reference != "none" and not isinstance(model, PeftModel):
        # trl loads the reference from the path in the config, whatever weights the model has in memory.
        model.config._name_or_path = str(base if stage.kl_reference == "base" else start)  # noqa: SLF001
    keep = stage.grpo.get("save_total_limit") or 2
    # A reward in a process of its own does not show its settings; the recipe does.
    rising = [r.options.get("tighten") if r.name == "box_iou" else None for r in stage.rewards]
    hooks = [*tightening_hooks(rewards, rising), *hooks]
    trainer = AugmentedGRPOTrainer(
        model=model,
        reward_funcs=list(rewards),
        args=arguments,
        train_dataset=rows,
        processing_class=processor,
        callbacks=[HookStates(hooks), ResumeOrder(), PublishCheckpoints(folder / "checkpoints", keep=max(2, keep)), *callbacks],
        hooks=hooks,
    )
    if share:
        trainer.train_dataset = SharedRows(rows)  # trl's constructor takes only what is a datasets.Dataset
        share_preprocessing(processor)
    if stage.log_completions:
        trainer.completion_log = CompletionLog(folder / FOLDER, _facts(trainer), limit=stage.log_limit)
    for printer in (PrinterCallback, ProgressCallback):  # both write to standard output
        trainer.remove_callback(printer)
    if stage.kl_reference == "base" and isinstance(model, PeftModel) and "ref" in model.peft_config:
        model.delete_adapter("ref")  # a copy of the adapter as it is now; without it trl's reference is the base model
    return trainer


def _facts(trainer: AugmentedGRPOTrainer) -> TableFacts:
    """How the trainer judges completions, as trl resolved the settings."""
    return TableFacts(
        rewards=tuple(trainer.reward_func_names),
        weights=tuple(trainer.args.reward_weights),
        generations=trainer.num_generations,
        scale_rewards=str(trainer.scale_rewards),
        aggregation=str(trainer.multi_objective_aggregation),
        hooks=tuple(type(hook).__name__ for hook in trainer.hooks),
    )
