"""The recipe: everything that decides a run, read strictly from one YAML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from medcore.config import from_mapping, load_yaml, set_value
from medcore.errors import ConfigError
from vrft_aug import coordinates as units
from vrft_aug.data import DataSettings
from vrft_aug.hooks import HookSettings
from vrft_aug.knowledge import KnowledgeSettings
from vrft_aug.prompts import PromptSettings, Task
from vrft_aug.rewards import RewardSettings

__all__ = [
    "DataSettings",
    "EvaluationSettings",
    "HookSettings",
    "KnowledgeSettings",
    "LoraSettings",
    "ModelSettings",
    "ProbeName",
    "PromptSettings",
    "Recipe",
    "RewardSettings",
    "StageSettings",
    "WarmStartSettings",
    "load_recipe",
]

# Tasks that a kind of data can serve; voc, coco and masks know boxes only.
_TASKS: dict[str, tuple[Task, ...]] = {
    "medmnist": ("classification", "grading"),
    "grades": ("grading", "classification"),
    "voc": ("localisation",),
    "masks": ("localisation",),
    "coco": ("localisation",),
    "folder": ("classification", "grading"),
    "dicom": ("classification", "grading"),
    "vqa": ("classification",),
    "prepared": ("classification", "grading", "localisation"),
    "drawn-scans": ("classification", "localisation"),
    "drawn-grades": ("grading", "classification", "localisation"),
}
# Built-in rewards that judge one kind of answer only.
_REWARD_TASKS: dict[str, tuple[Task, ...]] = {
    "accuracy": ("classification", "grading"),
    "multi_grade_fuzzy": ("grading",),
    "box_iou": ("localisation",),
}
ProbeName = Literal["all", "blank", "shuffled", "no-knowledge", "form-thinking", "form-reasoning", "form-boxed", "form-line"]
_OWN_FIELDS = ("output_dir", "reward_weights", "seed", "resume_from_checkpoint")
_STAGE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters instead of full fine-tuning; the vision tower stays frozen. Defaults follow public scripts of neighbours."""

    rank: int = 64
    """Rank of the update."""
    alpha: int = 128
    """Scale of the update is alpha / rank."""
    dropout: float = 0.05
    """Dropout in front of the adapters."""
    target_modules: str = "all-linear"
    """Layers that get adapters, as peft names them."""

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1 or not 0 <= self.dropout < 1:
            raise ConfigError("model.lora", f"has {self}", "give rank and alpha of at least 1 and a dropout in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The policy at the start of the run."""

    path: str = "tiny"
    """``tiny`` (built on the spot, random weights), a folder, or a hub name."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the weights; ``auto`` keeps the checkpoint's on a GPU and takes float32 on a CPU."""
    lora: LoraSettings | None = None
    """Adapters; none means that all weights are trained."""
    min_pixels: int | None = None
    """Smallest image area of the processor, its own by default."""
    max_pixels: int | None = None
    """Largest image area of the processor, its own by default; the main lever on memory and time."""
    freeze_vision: bool = False
    """Keep the vision tower as it is; the same as ``vision`` in `freeze`."""
    freeze: tuple[str, ...] = ()
    """Further parts that stay as they are: ``vision``, ``projector``, ``language``, or patterns of parameter names with ``*``."""
    quantize: Literal["nf4", "fp4"] | None = None
    """Four-bit weights of the language model under adapters (QLoRA); needs `lora`, bitsandbytes and a GPU."""

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise ConfigError("model.path", "is empty", "give tiny, a folder or a hub name")
        low, high = self.min_pixels or 1, self.max_pixels or 2**31
        if not 0 < low <= high:
            raise ConfigError(
                "model.min_pixels", f"{self.min_pixels} and max_pixels {self.max_pixels} do not fit", "give min <= max"
            )
        if self.quantize is not None and self.lora is None:
            raise ConfigError("model.quantize", f"is {self.quantize}, but four-bit weights cannot be trained", "add model.lora")
        if any(not part.strip() for part in self.freeze):
            raise ConfigError("model.freeze", "has an empty name", "remove it")


@dataclass(frozen=True, kw_only=True)
class WarmStartSettings:
    """Supervised steps before the first stage."""

    steps: int = 150
    """Optimiser steps."""
    batch_size: int = 16
    """Images a step."""
    learning_rate: float = 2e-3
    """Peak rate, linear decay."""
    warmup_steps: int = 20
    """Steps of rising rate."""
    data: DataSettings | None = None
    """Images to learn from; by default those of the stages (see `stages`)."""
    stages: Literal["all", "last"] = "all"
    """Whose questions and answers are learned: those of every stage, or of the last one only."""
    missed_class: str | None = None
    """Weak labels: images of this class are partly labelled as another, like reports that miss a finding."""
    missed_as: str | None = None
    """The class they are labelled as."""
    missed_fraction: float = 0.0
    """Share of them that is labelled so."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.learning_rate <= 0 or self.warmup_steps < 0:
            raise ConfigError("warm_start", f"has {self}", "give positive steps, batch_size and learning_rate")
        weak = (self.missed_class is not None, self.missed_as is not None, self.missed_fraction > 0)
        if any(weak) and not all(weak):
            raise ConfigError("warm_start", "has only some of missed_class, missed_as, missed_fraction", "give all three or none")
        if not 0 <= self.missed_fraction <= 1 or (all(weak) and self.missed_class == self.missed_as):
            raise ConfigError(
                "warm_start", f"labels {self.missed_fraction} of {self.missed_class} as {self.missed_as}", "correct it"
            )


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """One run of group-relative policy optimisation on one task."""

    name: str
    """Name of the stage and of its folder."""
    task: Task
    """What is asked."""
    data: DataSettings
    """Images and truth."""
    rewards: tuple[RewardSettings, ...]
    """Terms of the reward."""
    hooks: tuple[HookSettings, ...] = ()
    """Refinements of the training, in the order in which they are called."""
    knowledge: KnowledgeSettings | None = None
    """Text injected into the prompts."""
    prompts: PromptSettings = field(default_factory=PromptSettings)
    """Wording of the question and units of boxes."""
    kl_reference: Literal["base", "stage_start", "none"] = "none"
    """What the policy is kept near: the model the run began with, the policy at the start of this stage, or nothing."""
    grpo: dict[str, Any] = field(default_factory=dict)
    """Fields of trl's GRPOConfig, handed over as they are."""
    log_completions: bool = True
    """Keep every completion with its rewards in the run's folder, for ``vrft-aug rescore``."""
    log_limit: int = 1_000_000
    """Most completions that are kept."""

    def __post_init__(self) -> None:
        what = f"stage {self.name}"
        if not _STAGE_NAME.fullmatch(self.name):
            raise ConfigError(what, "is no usable name", "use lower-case letters, digits, - and _")
        if self.task not in _TASKS[self.data.kind]:
            raise ConfigError(
                what,
                f"asks for {self.task}, but {self.data.kind} serves {', '.join(_TASKS[self.data.kind])}",
                "change task or kind",
            )
        if self.data.keep_empty and self.task != "localisation":
            raise ConfigError(what, f"keeps images without boxes in a {self.task} task", "remove keep_empty")
        if self.log_limit < 1:
            raise ConfigError(f"{what}: log_limit", f"is {self.log_limit}", "give at least 1, or log_completions: false")
        self._check_rewards(what)
        self._check_grpo(what)

    def _check_rewards(self, what: str) -> None:
        shown = [r.shown for r in self.rewards]
        if not any(r.weight for r in self.rewards):
            raise ConfigError(what, "has no reward with a weight other than 0", "name at least one reward")
        twice = next((n for n in shown if shown.count(n) > 1), None)
        if twice is not None:
            raise ConfigError(what, f"has two rewards called {twice}, which logs would merge", "give one of them a label")
        for reward in self.rewards:
            tasks = _REWARD_TASKS.get(reward.name, (self.task,))
            if self.task not in tasks:
                raise ConfigError(what, f"uses {reward.name}, which judges {' and '.join(tasks)}, for {self.task}", "remove it")
            if reward.name == "recitation" and (self.knowledge is None or not self.knowledge.applies("train")):
                raise ConfigError(what, "uses recitation, but no knowledge is injected in training", "add knowledge or remove it")
            read = reward.options.get("coordinates") if reward.name == "box_iou" else None
            asked = self.prompts.coordinates
            if read is not None and units.check_coordinates(str(read)) != units.check_coordinates(asked):
                raise ConfigError(what, f"asks for boxes in {asked} and reads them as {read}", "set prompts.coordinates only")

    def _check_grpo(self, what: str) -> None:
        own = next((key for key in _OWN_FIELDS if key in self.grpo), None)
        if own is not None:
            raise ConfigError(f"{what}: grpo.{own}", "is set by the run itself", "remove it")
        beta = self.grpo.get("beta", 0.0)
        if self.kl_reference != "none" and not beta:
            raise ConfigError(
                what, f"has kl_reference {self.kl_reference} and beta 0", "set grpo.beta above 0 or kl_reference none"
            )
        if self.kl_reference == "none" and beta:
            raise ConfigError(what, f"has beta {beta} and kl_reference none", "choose kl_reference base or stage_start")
        if not isinstance(beta, (int, float)) or beta < 0:
            raise ConfigError(f"{what}: grpo.beta", f"is {beta!r}", "give a number of at least 0")
        if self.generations < 2:
            raise ConfigError(
                f"{what}: grpo.num_generations", f"is {self.generations}", "give at least 2; advantages compare a group"
            )

    @property
    def generations(self) -> int:
        """Completions of one prompt (trl's default: 8)."""
        return self.whole("num_generations", 8)

    @property
    def batch(self) -> int:
        """Completions that one process makes between two optimiser steps' generations."""
        accumulated = self.whole("gradient_accumulation_steps", 1)
        return self.whole("per_device_train_batch_size", 8) * self.whole("steps_per_generation", accumulated)

    def whole(self, key: str, default: int) -> int:
        """The field `key` of `grpo`, a whole number of at least 1, or trl's `default`."""
        value = self.grpo.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"stage {self.name}: grpo.{key}", f"is {value!r}", "give a whole number of at least 1")
        return value


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How held-out images are judged; the defaults cost one greedy answer an image, before and after reinforcement learning."""

    batch_size: int = 64
    """Images a batch of generation."""
    max_new_tokens: int = 64
    """Longest answer."""
    level: float = 0.95
    """Confidence level of intervals."""
    resamples: int = 2000
    """Bootstrap resamples of subjects."""
    policies: Literal["ends", "all"] = "ends"
    """Which policies a run judges: those before and after reinforcement learning, or those after every stage too."""
    samples: int = 0
    """Sampled answers of each image, the K of Pass@K; 0 for none."""
    temperature: float = 1.0
    """Temperature of the sampled answers."""
    likelihood: bool = False
    """Score every class by the probability of its answer (one forward pass a class and image), for AUROC and calibration."""
    probes: tuple[ProbeName, ...] = ()
    """Questions asked again without the picture, without the knowledge, or for another format; ``all`` for each that applies."""
    right_iou: float = 0.5
    """Boxes are right from this overlap on (F1, Pass@K)."""
    audit_samples: int = 16
    """Training images of each stage with which a run's rewards are attacked for its report; 0 leaves the audit out."""
    seed: int = 0
    """Seed of sampling and of the exchange of images."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.max_new_tokens < 1 or self.resamples < 1 or not 0 < self.level < 1:
            raise ConfigError("evaluation", f"has {self}", "give positive numbers and a level between 0 and 1")
        if self.samples == 1 or min(self.samples, self.audit_samples, self.seed) < 0:
            problem = f"has samples {self.samples}, audit_samples {self.audit_samples} and seed {self.seed}"
            raise ConfigError("evaluation", problem, "give at least 2 samples or 0 for none, and nothing below 0")
        if not self.temperature > 0 or not 0 < self.right_iou <= 1:
            problem = f"has temperature {self.temperature} and right_iou {self.right_iou}"
            raise ConfigError("evaluation", problem, "give a temperature above 0, and right_iou in (0, 1]")
        twice = next((name for name in self.probes if self.probes.count(name) > 1), None)
        if twice is not None:
            raise ConfigError("evaluation.probes", f"names {twice} twice", "name each once")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Model, optional warm start, stages in order, evaluation."""

    stages: tuple[StageSettings, ...]
    """Stages in the order in which they run."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """The policy at the start."""
    warm_start: WarmStartSettings | None = None
    """Supervised steps before the first stage; none for models that can follow instructions."""
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    """Judging on held-out images."""
    seed: int = 0
    """Seed of initial weights, sampling and order."""
    processes: int = 1
    """Training processes the batch sizes are meant for (GPUs, usually)."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("recipe.stages", "is empty", "write at least one stage")
        names = [s.name for s in self.stages]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise ConfigError("recipe.stages", f"has two stages called {twice}", "rename one")
        if self.seed < 0 or self.processes < 1:
            raise ConfigError("recipe", f"has seed {self.seed} and processes {self.processes}", "give seed >= 0 and processes >= 1")
        for stage in self.stages:
            if stage.batch * self.processes % stage.generations:
                raise ConfigError(
                    f"stage {stage.name}: grpo.per_device_train_batch_size",
                    f"gives {stage.batch * self.processes} completions, not a multiple of num_generations {stage.generations}",
                    "change one of them",
                )


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; relative paths in it start at the folder of the file.

    Where boxes are asked for in ``resized`` pixels, the resize is that of the model's processor, as far as it is on this disk.

    Parameters
    ----------
    path
        YAML file.
    overrides
        ``a.b=value`` assignments applied before it is checked, for example ``stages.0.grpo.max_steps=10``.

    Raises
    ------
    ConfigError
        For an unknown key, a wrong type, or settings that contradict each other.
    """
    mapping = load_yaml(path)
    for assignment in overrides:
        set_value(mapping, assignment)
    _resolve_paths(mapping, Path(path).resolve().parent)
    recipe = from_mapping(Recipe, mapping, "recipe")
    return replace(recipe, stages=tuple(_with_resize(stage, recipe.model) for stage in recipe.stages))


def _resolve_paths(mapping: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of a plain recipe absolute, in place; values of other types are left for the strict reader."""

    def resolve(holder: Any, key: str) -> None:
        if isinstance(holder, dict) and isinstance(holder.get(key), str):
            holder[key] = str(folder / Path(holder[key]).expanduser())

    stages = mapping.get("stages")
    for part in [mapping.get("warm_start"), *(stages if isinstance(stages, list) else [])]:
        if isinstance(part, dict):
            resolve(part.get("data"), "path")
            resolve(part.get("knowledge"), "file")
    model = mapping.get("model")
    if isinstance(model, dict) and str(model.get("path")).startswith(("./", "../", "~")):
        resolve(model, "path")


def _with_resize(stage: StageSettings, model: ModelSettings) -> StageSettings:
    """The stage with the processor's resize in its prompts; a frame of another size would make every box wrong."""
    if stage.task != "localisation" or units.check_coordinates(stage.prompts.coordinates) != "resized":
        return stage
    own = {"min_pixels": model.min_pixels, "max_pixels": model.max_pixels}
    known: dict[str, int | None] = {**own, "patch_size": None, "merge_size": None}
    if model.path != "tiny" and Path(model.path).is_dir():
        saved = units.Resize.from_processor(model.path)
        known = {name: own.get(name) or getattr(saved, name) for name in known}
    stated = {name: getattr(stage.prompts, name) for name in known}
    for name, value in known.items():
        if value is not None and stated[name] not in (None, value):
            problem = f"is {stated[name]}, but the model's processor has {value}"
            raise ConfigError(f"stage {stage.name}: prompts.{name}", problem, "remove it from prompts")
    resize: dict[str, Any] = {name: value if stated[name] is None else stated[name] for name, value in known.items()}
    if resize["min_pixels"] is None or resize["max_pixels"] is None:
        raise ConfigError(
            f"stage {stage.name}: prompts.coordinates",
            f"is resized, but how the processor of {model.path} resizes images is not known here",
            "set model.min_pixels and model.max_pixels, give a local folder as model.path, or use norm1000",
        )
    return replace(stage, prompts=replace(stage.prompts, **resize))
