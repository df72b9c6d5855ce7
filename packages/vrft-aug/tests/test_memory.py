"""Memory estimates against sums done by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vrft_aug.memory import Workload, estimate, permanent, zero_stage
from vrft_aug.models.sizes import ModelSize, named_parameters

BILLION = 10**9


@pytest.mark.parametrize(
    ("settings", "weights", "gradients", "optimizer"),
    [
        ({}, 2, 2, 4),
        ({"bytes_per_value": 4}, 4, 4, 8),
        ({"zero": 1, "processes": 4}, 2, 2, 3),
        ({"zero": 2, "processes": 4}, 2, 0.5, 3),
        ({"zero": 3, "processes": 4}, 0.5, 0.5, 3),
        ({"zero": 3, "processes": 1}, 2, 2, 12),
        ({"processes": 4}, 2, 2, 4),
    ],
    ids=str,
)
def test_all_weights_trained(settings: dict[str, Any], weights: float, gradients: float, optimizer: float) -> None:
    found = permanent(BILLION, BILLION, **settings)
    assert found == {"weights": weights * 1e9, "gradients": gradients * 1e9, "optimizer": optimizer * 1e9, "reference": 0}


def test_sixteen_bytes_a_weight_with_deepspeed_on_one_process() -> None:
    assert sum(permanent(BILLION, BILLION, zero=1).values()) == 16e9  # arXiv 1910.02054, section 3.1


def test_adapters_and_four_bits() -> None:
    lora = permanent(BILLION, 10**7, adapters=10**7)
    assert lora == {"weights": 2e9 + 4e7, "gradients": 4e7, "optimizer": 8e7, "reference": 0}
    four = permanent(BILLION, 10**7, adapters=10**7, quantised=8 * 10**8)
    assert four["weights"] == pytest.approx(2 * 2e8 + 8e8 * 4.127 / 8 + 4e7)
    assert four["optimizer"] == lora["optimizer"]
    shared = permanent(BILLION, 10**7, adapters=10**7, zero=3, processes=2)
    assert shared == {"weights": (2e9 + 2e7) / 2, "gradients": 1e7, "optimizer": 6e7, "reference": 0}


def test_a_reference_is_a_second_model_or_a_second_adapter() -> None:
    assert permanent(BILLION, BILLION, reference=True)["reference"] == 2e9
    assert permanent(BILLION, BILLION, reference=True, zero=3, processes=4)["reference"] == 0.5e9
    assert permanent(BILLION, 10**7, adapters=10**7, reference=True)["reference"] == 4e7


def size(**changes: Any) -> ModelSize:
    shape = {"layers": 10, "hidden": 100, "kv_width": 20, "vocabulary": 1000, "vision_layers": 4, "vision_hidden": 50, "merge": 2}
    counts = {"parameters": 10**6, "trained": 10**6, "adapters": 0, "quantised": 0, "vision_trained": False}
    return ModelSize(**{**shape, **counts, **changes})


WORK = {"batch": 2, "completions": 16, "prompt": 30, "image": 16, "completion": 20}


def test_activations_logits_and_cache_by_hand() -> None:
    found = estimate(size(), Workload(**WORK))
    assert found["activations"] == 2 * 2 * 50 * 100 * (10 + 17) + 2 * 2 * 64 * 50 * 17
    assert found["logits"] == 2 * 20 * 1000 * 8
    assert found["cache"] == 2 * 2 * 10 * 20 * 16 * 50
    assert found["gathered"] == 0
    assert found["permanent"] == 8e6
    assert found["training"] == found["activations"] + found["logits"]
    assert found["generation"] == found["cache"]
    assert found["peak"] == found["permanent"] + max(found["training"], found["generation"])


@pytest.mark.parametrize(
    ("changes", "work", "expected"),
    [
        ({}, {"checkpointing": False}, 2 * 2 * 50 * 100 * 170 + 2 * 2 * 64 * 50 * 17),
        ({"vision_trained": True}, {}, 2 * 2 * 50 * 100 * 27 + 2 * 2 * 64 * 50 * 21),
        ({"vision_trained": True}, {"checkpointing": False}, 2 * 2 * 50 * 100 * 170 + 2 * 2 * 64 * 50 * 68),
        ({}, {"bytes_per_value": 4}, 2 * (2 * 2 * 50 * 100 * 27 + 2 * 2 * 64 * 50 * 17)),
    ],
    ids=str,
)
def test_activations_depend_on_what_is_kept(changes: dict[str, Any], work: dict[str, Any], expected: int) -> None:
    assert estimate(size(**changes), Workload(**{**WORK, **work}))["activations"] == expected


def test_zero_3_gathers_the_weights_for_generation() -> None:
    work = {**WORK, "zero": 3, "processes": 8}
    assert estimate(size(), Workload(**work))["gathered"] == 2e6
    assert estimate(size(), Workload(**work, gather=False))["gathered"] == 0
    assert estimate(size(), Workload(**{**work, "zero": 2}))["gathered"] == 0


def test_more_processes_never_need_more_memory_each() -> None:
    peaks = [[estimate(size(), Workload(**WORK, zero=z, processes=n, gather=False))["peak"] for n in (1, 2, 8)] for z in (1, 2, 3)]
    assert all(row == sorted(row, reverse=True) for row in peaks)
    assert [row[-1] for row in peaks] == sorted((row[-1] for row in peaks), reverse=True)


@pytest.mark.parametrize(
    ("settings", "stage"),
    [
        (None, 0),
        ({"zero_optimization": {"stage": 3}}, 3),
        ({"zero_optimization": {"stage": 7}}, None),
        ({"zero_optimization": {}}, None),
        ({}, None),
        ("nowhere.json", None),
        (3, None),
    ],
)
def test_the_zero_stage_of_deepspeed_settings(settings: Any, stage: int | None) -> None:
    assert zero_stage(settings) == stage


def test_the_zero_stage_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": {"stage": 2}}')
    assert zero_stage(str(path)) == 2
    path.write_text("{")
    assert zero_stage(str(path)) is None


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("Qwen/Qwen2.5-VL-3B-Instruct", 3_000_000_000),
        ("Qwen/Qwen2.5-VL-72B", 72_000_000_000),
        ("HuggingFaceTB/SmolVLM2-2.2B-Instruct", 2_200_000_000),
        ("HuggingFaceTB/SmolVLM-256M", 256_000_000),
        ("google/gemma-3-4b-it", 4_000_000_000),
        ("org/Qwen3-VL-30B-A3B", 30_000_000_000),
        ("org/model-v2", None),
        ("llava-hf/llava-1.5-hf", None),
        ("org/big5Bird", None),
    ],
)
def test_what_a_name_says_of_the_size(name: str, count: int | None) -> None:
    assert named_parameters(name) == count
