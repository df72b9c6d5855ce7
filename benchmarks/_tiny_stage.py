"""The stage whose steps the benchmarks of training measure: drawn grades, the tiny model, 64 completions a step."""

from __future__ import annotations

from typing import Any

RECIPE: dict[str, Any] = {
    "model": {"path": "tiny"},
    "stages": [
        {
            "name": "reasoning",
            "task": "grading",
            "data": {"kind": "drawn-grades", "train": 48, "held_out": 24, "options": {"num_grades": 4, "sign": "fluid"}},
            "prompts": {"style": "short"},
            "rewards": [{"name": "accuracy"}, {"name": "format"}],
            "grpo": {"max_steps": 4, "num_generations": 8, "per_device_train_batch_size": 64, "max_completion_length": 24},
        }
    ],
}
