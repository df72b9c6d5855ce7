"""Running a recipe: warm start, stages, evaluation, report; killed at any moment, it goes on where it was.

::

    OUT/ledger.json                what was asked for, and which stage is done
    OUT/base/                      the tiny model, where the recipe names it
    OUT/stages/0-warm-start/       policy/ once it is done, checkpoints/ until then, log.json
    OUT/stages/1-NAME/             the same for each stage
    OUT/final/                     the last policy: load it by this path
    OUT/evaluation.json, predictions.jsonl, report.json, report.html, run.json

Every stage starts from the saved policy before it, whether or not the run was interrupted in between; so an interrupted run ends with the
same weights as one that was not.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from medcore.atomic import atomic_directory, check_writable, sweep, write_json
from medcore.errors import ConfigError
from medcore.provenance import RunRecord
from vrft_aug import checkpoints, prompts
from vrft_aug.columns import without_images
from vrft_aug.data import load_rows, load_stages
from vrft_aug.evaluation import EvaluationResult, answer_form, evaluate_policy, write_evaluation
from vrft_aug.hooks import RefinementHook, build_hook
from vrft_aug.ledger import WARM_START, Ledger, StageRecord, fingerprint
from vrft_aug.models import build_tiny_model, known_deprecations, load_policy, prepare, quiet_progress, save_policy
from vrft_aug.recipe import Recipe
from vrft_aug.report import knowledge_origins, read_run, write_audit, write_report
from vrft_aug.rewards import build_reward
from vrft_aug.run_folder import check_output, clear_run, complete, find_policy, held, publish_final
from vrft_aug.trainer import build_trainer, grpo_arguments
from vrft_aug.warmstart import build_warm_start, weaken

_LOG = logging.getLogger(__name__)
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a finished run left.

    Attributes
    ----------
    folder
        The run's folder.
    ledger
        What was done.
    evaluations
        Results on held-out images, for the policy before reinforcement learning (``start``) and after it (``final``); if the recipe says
        so, also after each stage in between (``after NAME``).
    """

    folder: Path
    ledger: Ledger
    evaluations: dict[str, list[EvaluationResult]]


class _Progress(TrainerCallback):
    """Tells the log where training is; standard output belongs to the command's result."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002 - the library's signature
        shown = {k: logs[k] for k in ("loss", "reward") if isinstance((logs or {}).get(k), float)}
        _LOG.info(
            "%s: step %d of %d, %s",
            self.name,
            state.global_step,
            state.max_steps,
            ", ".join(f"{k} {v:.3g}" for k, v in shown.items()),
        )


class Run:
    """One recipe in one folder; :func:`run_recipe` is the usual way in.

    Parameters
    ----------
    recipe
        What to do. Rows are loaded, rewards built and trl's settings checked here, before anything is written.
    folder
        The run's folder.
    hooks
        Refinement hooks, for every stage; they are called after those that the recipe names for it.
    say
        Told what happens, a line at a time.

    Raises
    ------
    InputError
        If data, rewards or settings cannot be used.
    """

    def __init__(self, recipe: Recipe, folder: Path, *, hooks: Sequence[RefinementHook] = (), say: Say = _LOG.info) -> None:
        prepare()
        quiet_progress()
        self.recipe, self.folder, self.say = recipe, folder, say
        self.hooks = {s.name: (*map(build_hook, s.hooks), *hooks) for s in recipe.stages}
        parts = dict(zip((s.name for s in recipe.stages), load_stages(recipe.stages), strict=True))
        held = frozenset[str]().union(*(p.held_out_hashes for p in parts.values()))
        self.train = {name: p.train for name, p in parts.items()}
        self.held_out = {name: p.held_out for name, p in parts.items()}
        for name, p in parts.items():
            if p.removed:
                say(f"{name}: {p.removed} training images left out because they are held out too")
        self.rewards = {s.name: [build_reward(r) for r in s.rewards] for s in recipe.stages}
        with known_deprecations():
            for stage in recipe.stages:
                grpo_arguments(stage, folder, seed=recipe.seed)
        if recipe.warm_start is not None:
            self.warm_rows = self._warm_rows(held)
            weaken(_facts(self.warm_rows), recipe.warm_start, seed=recipe.seed)
        if recipe.model.path != "tiny":
            _check_model(recipe)
        rows = {**self.train, **{f"{name} held out": found for name, found in self.held_out.items()}}
        self.data = {name: fingerprint(found) for name, found in rows.items()}

    def _warm_rows(self, held: frozenset[str]) -> Any:
        from datasets import concatenate_datasets

        settings = self.recipe.warm_start
        assert settings is not None  # noqa: S101 - asked only where there is one
        stages = self.recipe.stages if settings.stages == "all" else self.recipe.stages[-1:]
        if settings.data is None:
            parts = [self.train[s.name] for s in stages]
        else:
            parts = [load_rows(s, part="train", data=settings.data, forbidden=held) for s in stages]
        return concatenate_datasets(parts)

    @property
    def base(self) -> Path | str:
        """The run's first policy."""
        return self.folder / "base" if self.recipe.model.path == "tiny" else self.recipe.model.path

    def stage_folder(self, name: str) -> Path:
        """Where a stage's files go."""
        names = [*([WARM_START] if self.recipe.warm_start else []), *(s.name for s in self.recipe.stages)]
        first = 0 if self.recipe.warm_start else 1
        return self.folder / "stages" / f"{names.index(name) + first}-{name}"

    def build_base(self) -> None:
        """Make the tiny model, if the recipe names it and it is not there."""
        if self.recipe.model.path != "tiny" or complete(self.folder / "base"):
            return
        self.say("building the tiny model")
        with atomic_directory(self.folder / "base", force=True) as temporary:
            build_tiny_model(temporary, self._texts(), seed=self.recipe.seed)

    def _texts(self) -> Iterator[str]:
        parts = [*self.train.values(), *([self.warm_rows] if self.recipe.warm_start else [])]
        for row in (row for rows in parts for row in _facts(rows)):
            yield from (message["content"] for message in row["prompt"])
            yield prompts.target(row)

    def warm_start(self, ledger: Ledger) -> Path | str:
        """Do the supervised warm start, if there is one and it is not done; returns where the policy lies."""
        settings = self.recipe.warm_start
        if settings is None:
            return self.base

        def build(model: Any, processor: Any, folder: Path) -> Any:
            return build_warm_start(
                settings, model, processor, self.warm_rows, folder, seed=self.recipe.seed, callbacks=[_Progress(WARM_START)]
            )

        return self._stage(ledger, WARM_START, self.base, build, len(self.warm_rows))

    def stage(self, ledger: Ledger, number: int, start: Path | str) -> Path | str:
        """Run stage `number` from the policy at `start`, unless it is done; returns where its policy lies."""
        stage = self.recipe.stages[number]

        def build(model: Any, processor: Any, folder: Path) -> Any:
            for hook in self.hooks[stage.name]:
                hook.on_stage_start(stage.name)
            return build_trainer(
                stage,
                model,
                processor,
                self.train[stage.name],
                self.rewards[stage.name],
                folder,
                seed=self.recipe.seed + number,
                base=self.base,
                start=start,
                hooks=self.hooks[stage.name],
                callbacks=[_Progress(stage.name)],
            )

        policy = self._stage(ledger, stage.name, start, build, len(self.train[stage.name]))
        for hook in self.hooks[stage.name]:
            hook.on_stage_end(stage.name)
        return policy

    def _stage(self, ledger: Ledger, name: str, start: Path | str, build: Callable[..., Any], n_rows: int) -> Path:
        folder = self.stage_folder(name)
        policy = folder / "policy"
        record = ledger.stages.get(name)
        if record is not None and record.state == "complete" and complete(policy):
            self.say(f"{name}: done before")
            return policy
        shutil.rmtree(folder / "trainer", ignore_errors=True)
        resume = checkpoints.latest(folder / "checkpoints")
        self.say(f"{name}: {'resuming at ' + resume.name if resume else 'starting'}, {n_rows} images")
        ledger.begin(name)
        began = time.monotonic()
        model, processor = load_policy(self.recipe.model, start)
        try:
            with known_deprecations():
                trainer = build(model, processor, folder)
                trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        except ValueError as error:  # trl, transformers and torch check some settings only when they use them
            said = " ".join(str(error).split())[:300]
            raise ConfigError(f"stages.{name}", f"was refused by the trainer ({said})", "correct its grpo block") from error
        with atomic_directory(policy, force=True) as temporary:
            save_policy(trainer.accelerator.unwrap_model(trainer.model), processor, temporary)
        record = _summary(trainer, n_rows, time.monotonic() - began)
        record.unjudged = {r.name: dict(r.failures) for r in self.rewards.get(name, []) if r.failures}
        write_json(folder / "log.json", _finite(trainer.state.log_history))
        ledger.finish(name, record)
        for leftover in ("trainer", "checkpoints"):
            shutil.rmtree(folder / leftover, ignore_errors=True)
        return policy

    def evaluate(self, policy: Path | str) -> list[EvaluationResult]:
        """Judge the policy at a path on every stage's held-out images."""
        model, processor = load_policy(self.recipe.model, policy)
        return [
            evaluate_policy(
                model, processor, self.held_out[s.name], self.recipe.evaluation, name=s.name, form=answer_form(s.rewards)
            )
            for s in self.recipe.stages
        ]


def run_recipe(
    recipe: Recipe,
    output: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    hooks: Sequence[RefinementHook] = (),
    say: Say = _LOG.info,
) -> RunResult:
    """Run all of a recipe.

    Parameters
    ----------
    recipe
        What to do.
    output
        Folder of the run.
    resume
        Continue the run in `output`; where there is none, start one.
    force
        Replace an earlier run in `output`.
    hooks, say
        See :class:`Run`.

    Raises
    ------
    InputError
        If the recipe or its data cannot be used, or differ from those of the run to be resumed.
    OutputExistsError, LockedError, OutputError
        If `output` holds a run already, is used by another process, or cannot be written.
    """
    output = Path(output)
    check_output(output, resume=resume, force=force)
    run = Run(recipe, output, hooks=hooks, say=say)
    with held(output):
        if force and not resume:
            clear_run(output)
        sweep(output)
        ledger = Ledger.open(output, recipe, run.data)
        origin = {"data": run.data, "knowledge": knowledge_origins(recipe)}
        provenance = RunRecord(command="vrft-aug train", settings=recipe, seed=recipe.seed, device=_device(), extra=origin)
        run.build_base()
        start = policy = run.warm_start(ledger)
        policies: dict[str, Path | str] = {"start": start}
        for number, stage in enumerate(recipe.stages):
            policies[stage.name] = policy = run.stage(ledger, number, policy)
        publish_final(Path(policy), output / "final")
        say("evaluating on held-out images")
        evaluations = {name: run.evaluate(path) for name, path in _judged(policies, recipe, output / "final").items()}
        write_evaluation(output, evaluations, recipe.evaluation)
        if recipe.evaluation.audit_samples:
            write_audit(output, recipe, run.train)
        provenance.write(output)
        write_report(read_run(output), train=run.train, held_out=run.held_out)
        ledger.complete()
    return RunResult(folder=output, ledger=ledger, evaluations=evaluations)


def _judged(policies: dict[str, Path | str], recipe: Recipe, final: Path) -> dict[str, Path | str]:
    """The policies that are judged, in the order in which they came to be; the last stage's is the final one."""
    inner = [s.name for s in recipe.stages[:-1]] if recipe.evaluation.policies == "all" else []
    return {"start": policies["start"], **{f"after {name}": policies[name] for name in inner}, "final": final}


def evaluate_folder(
    folder: str | Path, recipe: Recipe, output: Path | None = None, *, force: bool = False
) -> list[EvaluationResult]:
    """Judge a policy on the held-out images of a recipe's stages.

    Parameters
    ----------
    folder
        A policy's folder, a checkpoint, a folder of checkpoints (the newest), or a run's (its last policy), see
        :func:`vrft_aug.run_folder.find_policy`.
    recipe
        Whose data, prompts and evaluation settings are used.
    output
        Where ``evaluation.json`` and ``predictions.jsonl`` go; None writes nothing.
    force
        Replace an earlier evaluation in `output`.

    Raises
    ------
    InputError
        If there is no policy, or the data cannot be used.
    OutputExistsError, OutputError
        If `output` exists or cannot be written.
    """
    folder = find_policy(Path(folder))
    if output is not None:
        check_writable(output, force=force)
    prepare()
    quiet_progress()
    held_out = {s.name: p.held_out for s, p in zip(recipe.stages, load_stages(recipe.stages), strict=True)}
    record = RunRecord(command="vrft-aug evaluate", settings=recipe, seed=recipe.seed, inputs=[folder], device=_device())
    model, processor = load_policy(recipe.model, folder)
    results = [
        evaluate_policy(model, processor, held_out[s.name], recipe.evaluation, name=s.name, form=answer_form(s.rewards))
        for s in recipe.stages
    ]
    if output is not None:
        with atomic_directory(output, force=force) as temporary:
            write_evaluation(temporary, {"policy": results}, recipe.evaluation)
            record.write(temporary)
    return results


def _check_model(recipe: Recipe) -> None:
    """Fail early where the model's processor cannot be loaded."""
    from vrft_aug.models import load_processor

    path = Path(recipe.model.path)
    load_processor(recipe.model.path, local=path.is_dir())


def _summary(trainer: Any, n_rows: int, wall: float) -> StageRecord:
    """What a stage used up, added up from its log so that an interrupted run tells the same numbers."""
    state, arguments = trainer.state, trainer.args
    logs = [entry for entry in state.log_history if "reward" in entry]
    per_step = getattr(arguments, "generation_batch_size", 0) * arguments.gradient_accumulation_steps
    rounds = getattr(arguments, "steps_per_generation", 1) * getattr(arguments, "num_iterations", 1)
    completions = state.global_step * per_step // rounds if logs else 0
    lengths = [entry["completions/mean_length"] for entry in logs if "completions/mean_length" in entry]
    return StageRecord(
        state="complete",
        steps=state.global_step,
        images=n_rows,
        prompts=completions // getattr(arguments, "num_generations", 1),
        completions=completions,
        completion_tokens=round(completions * sum(lengths) / len(lengths)) if lengths else 0,
        samples=0 if logs else state.global_step * arguments.per_device_train_batch_size,
        # trl logs the time of every step, also of those before an interruption; the warm start's log has no times.
        wall_time_s=round(sum(entry.get("step_time", 0.0) for entry in logs) or wall, 3),
    )


def _finite(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Log entries without numbers that JSON cannot hold."""
    return [{k: v for k, v in entry.items() if not isinstance(v, float) or math.isfinite(v)} for entry in history]


def _facts(rows: Any) -> list[dict[str, Any]]:
    """Rows without their images, which need not be decoded."""
    without = without_images(rows)
    return [without[i] for i in range(len(without))]


def _device() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
