"""Measuring for a preflight: a policy answers training images, greedily and sampled as in training, and every reward is paid."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medcore.errors import ConfigError
from vrft_aug.columns import IMAGES, without_images
from vrft_aug.evaluation import Prediction, generate, judge, sample
from vrft_aug.models import known_deprecations, load_policy
from vrft_aug.preflight.statistics import Figures, figures
from vrft_aug.recipe import EvaluationSettings, Recipe, StageSettings
from vrft_aug.rewards import GuardedReward
from vrft_aug.stages import Run
from vrft_aug.trainer import grpo_arguments

_OTHERS = 8  # images to which each answer is held beside its own


@dataclass(frozen=True, kw_only=True)
class PreflightSettings:
    """How much is measured."""

    images: int = 64
    """At most so many training images of each stage."""
    samples: int = 8
    """Sampled completions of each image, the K of Pass@K."""
    right_iou: float = 0.5
    """Boxes are right from this overlap on."""
    batch_size: int = 64
    """Completions made at a time."""

    def __post_init__(self) -> None:
        if self.images < 2 or self.samples < 2 or self.batch_size < 1 or not 0 < self.right_iou <= 1:
            raise ConfigError("preflight", f"has {self}", "give at least 2 images and 2 samples, and right_iou in (0, 1]")


def preflight(
    recipe: Recipe,
    settings: PreflightSettings | None = None,
    *,
    policy: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Figures]:
    """Measure a policy on every stage of a recipe.

    Parameters
    ----------
    recipe
        Data, prompts, rewards and sampling of its stages.
    settings
        How much is measured.
    policy
        Folder of the policy; by default the model the recipe begins with, before its warm start.
    say
        Told what happens, a line at a time.

    Raises
    ------
    InputError
        If data, rewards, settings or the policy cannot be used.
    """
    settings = settings or PreflightSettings()
    with tempfile.TemporaryDirectory() as temporary:
        run = Run(recipe, Path(temporary, "run"), say=say)
        if policy is None:
            run.build_base()
        model, processor = load_policy(recipe.model, run.base if policy is None else Path(policy))
        found = []
        for number, stage in enumerate(recipe.stages):
            say(f"{stage.name}: {settings.samples} completions of {min(settings.images, len(run.train[stage.name]))} images")
            rows = _some(run.train[stage.name], settings.images, recipe.seed)
            seed = recipe.seed + number
            try:
                with known_deprecations():
                    found.append(_measure(stage, model, processor, rows, run.rewards[stage.name], settings, seed))
            except ValueError as error:  # transformers checks settings of sampling only when it uses them
                said = " ".join(str(error).split())[:300]
                raise ConfigError(f"stages.{stage.name}.grpo", f"was refused in sampling ({said})", "correct it") from error
    return found


def _some(rows: Any, images: int, seed: int) -> Any:
    """At most `images` rows in random order; answers are compared with neighbours, which must not be alike."""
    return rows.select(np.random.default_rng(seed).permutation(len(rows))[:images].tolist())


def _measure(
    stage: StageSettings,
    model: Any,
    processor: Any,
    rows: Any,
    rewards: Sequence[GuardedReward],
    settings: PreflightSettings,
    seed: int,
) -> Figures:
    arguments = grpo_arguments(stage, Path("unused"), seed=seed)
    longest = arguments.max_completion_length or 512
    own = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    options = {key: value for key in own if (value := getattr(arguments, key)) is not None} | dict(
        arguments.generation_kwargs or {}
    )
    greedy = generate(model, processor, rows, EvaluationSettings(batch_size=settings.batch_size, max_new_tokens=longest))
    drawn = sample(
        model,
        processor,
        rows,
        n=settings.samples,
        max_new_tokens=longest,
        batch_size=settings.batch_size,
        seed=seed,
        options=options,
    )
    facts = without_images(rows)
    known = [facts[i] for i in range(len(facts))]
    texts = [[made.text for made in group] for group in drawn]
    judged = [[judge(row, text) for text in group] for row, group in zip(known, texts, strict=True)]
    iou = settings.right_iou
    return figures(
        greedy=np.array([_right(judge(row, text), iou) for row, text in zip(known, greedy, strict=True)]),
        right=np.array([[_right(p, iou) for p in group] for group in judged]),
        readable=np.array([[p["answer"] is not None for p in group] for group in judged]),
        elsewhere=_elsewhere(known, texts, iou),
        formatted=np.array([[bool(p["format"]) for p in group] for group in judged]),
        truncated=np.array([[made.truncated for made in group] for group in drawn]),
        paid=_paid(rewards, rows, known, drawn),
        names=tuple((r.shown, r.name) for r in stage.rewards),
        weights=np.array([r.weight for r in stage.rewards], dtype=np.float64),
        stage=stage.name,
        task=stage.task,
        temperature=float(arguments.temperature),
    )


def _right(prediction: Prediction, right_iou: float) -> bool:
    if prediction["task"] == "localisation":
        return prediction["iou"] is None or prediction["iou"] >= right_iou
    return bool(prediction["correct"])


def _elsewhere(rows: Sequence[dict[str, Any]], texts: Sequence[Sequence[str]], right_iou: float) -> np.ndarray:
    """For each row, the share of answers to some other rows that would be right for it."""
    n = len(rows)
    others = range(1, min(_OTHERS, n - 1) + 1)
    return np.array(
        [
            np.mean([_right(judge(row, text), right_iou) for s in others for text in texts[(i + s) % n]])
            for i, row in enumerate(rows)
        ]
    )


def _paid(
    rewards: Sequence[GuardedReward], rows: Any, known: Sequence[dict[str, Any]], drawn: Sequence[Sequence[Any]]
) -> np.ndarray:
    """(image, completion, reward) raw values, NaN where not judged; rewards get what trl gives them, one group at a time."""
    paid = np.full((len(known), len(drawn[0]), len(rewards)), np.nan)
    for i, (row, group) in enumerate(zip(known, drawn, strict=True)):
        images = {c: rows[i][c] for c in IMAGES if c in rows.column_names}
        columns: dict[str, Any] = {key: [value] * len(group) for key, value in {**row, **images}.items() if key != "prompt"}
        columns["completion_ids"] = [list(made.tokens) for made in group]
        completions = [[{"role": "assistant", "content": made.text}] for made in group]
        for k, reward in enumerate(rewards):
            found = reward(prompts=[row["prompt"]] * len(group), completions=completions, **columns)
            paid[i, :, k] = [np.nan if value is None else value for value in found]
    return paid
