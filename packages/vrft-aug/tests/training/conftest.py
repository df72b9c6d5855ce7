"""A tiny model, a small recipe and one finished run, each made once a session."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medcore.config import from_mapping
from vrft_aug.models import prepare
from vrft_aug.recipe import Recipe

prepare()
GRADES = ["none", "mild", "moderate", "severe"]


def _data(**changes: Any) -> dict[str, Any]:
    options = {"num_grades": 4, "sign": "fluid"}
    return {"kind": "drawn-grades", "train": 48, "held_out": 24, "options": options, **changes}


def _grpo(**changes: Any) -> dict[str, Any]:
    small = {"max_steps": 4, "num_generations": 4, "per_device_train_batch_size": 16, "max_completion_length": 24}
    return {**small, "learning_rate": 5e-4, "entropy_coef": 0.02, "save_steps": 2, **changes}


SMALL: dict[str, Any] = {
    "model": {"path": "tiny"},
    "warm_start": {"steps": 60, "batch_size": 8, "warmup_steps": 5, "learning_rate": 4e-3},
    "stages": [
        {
            "name": "perception",
            "task": "localisation",
            "data": _data(),
            "prompts": {"style": "short", "coordinates": "norm16"},
            "rewards": [{"name": "box_iou"}, {"name": "format"}],
            "grpo": _grpo(max_steps=2),
        },
        {
            "name": "reasoning",
            "task": "grading",
            "data": _data(classes=GRADES),
            "prompts": {"style": "short"},
            "rewards": [{"name": "accuracy"}, {"name": "multi_grade_fuzzy", "weight": 0.5}, {"name": "format"}],
            "grpo": _grpo(),
        },
    ],
    "evaluation": {"max_new_tokens": 24, "resamples": 100},
}


@pytest.fixture
def small() -> dict[str, Any]:
    """A recipe of two stages that runs in seconds, as plain values that a test may change."""
    return copy.deepcopy(SMALL)


@pytest.fixture(scope="session")
def small_values() -> dict[str, Any]:
    """The recipe of `small`, for fixtures of a wider scope."""
    return copy.deepcopy(SMALL)


@pytest.fixture
def one_stage(small: dict[str, Any]) -> dict[str, Any]:
    """The grading stage alone, without a warm start."""
    return {**small, "warm_start": None, "stages": small["stages"][1:]}


@pytest.fixture(scope="session")
def as_recipe() -> Callable[[dict[str, Any]], Recipe]:
    return lambda mapping: from_mapping(Recipe, mapping, "recipe")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small recipe, run once; tests must not change its folder."""
    from vrft_aug.stages import run_recipe

    return run_recipe(from_mapping(Recipe, SMALL, "recipe"), tmp_path_factory.mktemp("run") / "out")


@pytest.fixture(scope="session")
def warm_policy(finished: Any) -> Path:
    """A policy that has learned to answer a little."""
    return Path(finished.folder) / "stages" / "0-warm-start" / "policy"


@pytest.fixture(scope="session")
def vrft() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``vrft-aug`` in a process of its own, as a user would."""

    def run(*arguments: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=timeout, check=False, env=ENVIRONMENT)

    return run


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from vrft_aug.cli import main; main()", *map(str, arguments)]


@pytest.fixture(scope="session")
def start_vrft() -> Callable[..., subprocess.Popen[str]]:
    """Start ``vrft-aug`` and leave it running."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(command(*arguments), stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT)

    return start
