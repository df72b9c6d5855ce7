from __future__ import annotations

import logging
import pickle  # noqa: TID251 - what trainers do with rewards
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from vrft_aug.rewards import Accuracy, GuardedReward, guard


@dataclass
class Scripted:
    """Returns, raises or repeats what its script says for each completion."""

    script: dict[str, Any]

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[Any]:
        values = [self.script[c] for c in completions]
        for value in values:
            if isinstance(value, Exception):
                raise value
        return [v for v in values for _ in range(2 if v == "twice" else 1)]


def judge(script: dict[str, Any], **columns: Any) -> tuple[list[float | None], GuardedReward]:
    reward = guard(Scripted(script))
    return reward(prompts=[""] * len(script), completions=list(script), **columns), reward


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (float("-inf"), "not finite"),
        (1e39, "not finite"),
        (np.float32("nan"), "not finite"),
        ("1.0", "not a number"),
        (b"1", "not a number"),
        ([1.0], "not a number"),
        (1j, "not a number"),
        ({}, "not a number"),
        (10**400, "not a number"),
        (ValueError("secret text of a patient"), "ValueError"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (RecursionError(), "RecursionError"),
        ("twice", "wrong length"),
    ],
)
def test_only_the_sample_at_fault_goes_unjudged(value: Any, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        values, reward = judge({"a": 0.25, "bad": value, "c": None, "d": True})
    assert values == [0.25, None, None, 1.0]
    assert dict(reward.failures) == {reason: 1}
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


def test_failures_add_up_and_the_first_of_a_kind_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    reward = guard(Scripted({"bad": float("nan")}))
    for _ in range(3):
        assert reward(prompts=["", ""], completions=["bad", "bad"]) == [None, None]
    assert dict(reward.failures) == {"not finite": 6}
    assert reward.total == 6
    assert len(caplog.records) == 3


def test_a_reward_that_tells_nothing_apart_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    reward = guard(Scripted({"a": 0.5, "b": 1.0}))
    for _ in range(19):
        reward(prompts=["", ""], completions=["a", "a"])
    reward(prompts=["", ""], completions=["a", "b"])
    assert not caplog.records
    for _ in range(45):
        reward(prompts=["", ""], completions=["a", "a"])
    assert [r.getMessage() for r in caplog.records] == [
        "the reward Scripted gave all completions the same value, 20 batches in a row"
    ]


def test_numbers_of_any_library_become_floats() -> None:
    torch = pytest.importorskip("torch")
    values, reward = judge(
        {"a": np.float32(0.5), "b": np.int64(1), "c": torch.tensor(0.25), "d": 1, "e": torch.tensor(float("nan"))}
    )
    assert values == [0.5, 1.0, 0.25, 1.0, None]
    assert all(type(v) is float for v in values[:4])
    assert dict(reward.failures) == {"not finite": 1}


def test_arrays_are_accepted_in_place_of_lists() -> None:
    reward = guard(lambda prompts, completions, **columns: np.array([0.5, np.nan]))
    assert reward(prompts=["", ""], completions=["a", "b"]) == [0.5, None]


def test_single_samples_get_their_own_columns() -> None:
    seen = []

    def touchy(prompts: list[Any], completions: list[Any], label: list[str], trainer_state: Any, **columns: Any) -> list[float]:
        if len(completions) > 1:
            raise ValueError
        seen.append((completions[0], label[0], trainer_state))
        return [1.0]

    reward = guard(touchy)
    assert reward(prompts=["", ""], completions=["a", "b"], label=["x", "y"], trainer_state="s") == [1.0, 1.0]
    assert seen == [("a", "x", "s"), ("b", "y", "s")]
    assert not reward.failures


@pytest.mark.parametrize("returned", [None, 1.0, [], [1.0]])
def test_nonsense_for_a_whole_batch_gives_no_values(returned: Any) -> None:
    reward = guard(lambda prompts, completions, **columns: returned)
    values = reward(prompts=["", ""], completions=["a", "b"])
    assert values == ([1.0, 1.0] if returned == [1.0] else [None, None])
    assert sum(reward.failures.values()) == (0 if returned == [1.0] else 2)


def test_stopping_the_program_is_not_swallowed() -> None:
    def stop(**_: Any) -> list[float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guard(stop)(prompts=[""], completions=[""])


def test_a_good_reward_passes_through() -> None:
    plain, guarded = Accuracy(), guard(Accuracy())
    batch = {"completions": ["<answer>a</answer>", "b"], "label": ["a", "a"], "classes": [["a", "b"]] * 2}
    assert guarded(prompts=["", ""], **batch) == plain(prompts=["", ""], **batch) == [1.0, 0.0]
    assert guarded(prompts=[], completions=[]) == []


def test_names_and_pickling() -> None:
    assert guard(Accuracy()).__name__ == "accuracy"
    assert guard(Accuracy(), "mine").__name__ == "mine"
    assert guard(Scripted({})).__name__ == "Scripted"
    reward = guard(Accuracy(), "mine")
    assert guard(reward) is reward
    reward.failures["ValueError"] = 3
    revived = pickle.loads(pickle.dumps(reward))  # noqa: S301
    assert revived == reward
    assert revived.__name__ == "mine"


def test_trl_sees_the_name() -> None:
    from trl.trainer.utils import get_callable_name, is_async_callable

    reward = guard(Accuracy(), "mine")
    assert get_callable_name(reward) == "mine"
    assert not is_async_callable(reward)
