"""The public check finds each kind of bad reward, and passes a good one."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import pytest

from vrft_aug.rewards import Accuracy
from vrft_aug.testing import HOSTILE, check_reward


class Good:
    """Length of the answer, capped."""

    __name__ = "good"

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [self.one(text) for text in map(str_of, completions)]

    def one(self, text: str) -> float | None:
        return min(1.0, len(text) / 100)


def str_of(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]


class Nan(Good):
    def one(self, text: str) -> float | None:
        return float("nan") if not text else 1.0


class Text(Good):
    def one(self, text: str) -> Any:
        return "1.0"


class Raises(Good):
    def one(self, text: str) -> float | None:
        return text.encode()[0] / 255


class Short(Good):
    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> Any:
        return super().__call__(prompts, completions)[1:]


class Array(Good):
    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> Any:
        return tuple(super().__call__(prompts, completions))


class Random(Good):
    def one(self, text: str) -> float | None:
        return random.random()  # noqa: S311


class Ranked(Good):
    """Depends on the rest of the batch."""

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        sizes = [len(str_of(c)) for c in completions]
        return [size / (1 + max(sizes)) for size in sizes]


class Position(Good):
    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [i / (1 + len(completions)) for i in range(len(completions))]


class Changes(Good):
    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        columns.get("classes", []).append(None)
        return super().__call__(prompts, completions)


class Needs(Good):
    def __call__(self, prompts: Any, completions: Any, label: Any, **columns: Any) -> list[float | None]:
        return [1.0] * len(label)


class Narrow(Good):
    def __call__(self, prompts: Any, completions: Any) -> list[float | None]:
        return super().__call__(prompts, completions)


class TextOnly(Good):
    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [1.0 if isinstance(c, str) else 0.0 for c in completions]


class Tied(Good):
    def __init__(self) -> None:
        self.function = lambda: None  # cannot be pickled


class Nameless(Good):
    __name__ = ""


class Generous(Good):
    bounds = (0.0, 0.5)


class Upside(Good):
    bounds = (1.0, 0.0)


class Signed(Good):
    bounds = (-1.0, 1.0)


@pytest.mark.parametrize("reward", [Good(), Signed(), Accuracy()])
def test_good_rewards_pass(reward: Any) -> None:
    check_reward(reward)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (Nan, "returns nan for ''"),
        (Text, "returns '1.0'"),
        (Raises, r"raises (IndexError|UnicodeEncodeError) on usual and hostile"),
        (Short, "returns 83 values for 84"),
        (Array, "returns a tuple"),
        (Random, "is not deterministic"),
        (Ranked, "depends on the other samples"),
        (Position, "depends on the order"),
        (Changes, "changes its input"),
        (Needs, "raises TypeError on an empty batch"),
        (Narrow, "raises TypeError on usual and hostile"),
        (TextOnly, "reads messages unlike text"),
        (Nameless, "has no __name__"),
        (lambda: functools.partial(Good()), "has no __name__"),
        (Generous, r"outside of its bounds 0\.0 and 0\.5"),
        (Upside, r"declares the bounds 1\.0 and 0\.0"),
    ],
)
def test_bad_rewards_are_found(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(AssertionError, match=match):
        check_reward(make())


def test_what_cannot_be_pickled_is_found() -> None:
    with pytest.raises(AssertionError, match="cannot be pickled"):
        check_reward(Tied())


def test_own_cases_are_tried_too() -> None:
    class Picky(Good):
        def one(self, text: str) -> float | None:
            return float("inf") if text == "my case" else 1.0

    with pytest.raises(AssertionError, match="returns inf for 'my case'"):
        check_reward(Picky(), completions=["my case"], columns={"label": ["normal"]})


def test_a_slow_reward_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrft_aug.testing.SECONDS", -1.0)
    with pytest.raises(AssertionError, match="takes 0 s on"):
        check_reward(Good())


def test_hostile_completions_hold_the_known_tricks() -> None:
    assert "" in HOSTILE
    assert any("\ud800" in text for text in HOSTILE)
    assert max(map(len, HOSTILE)) >= 100_000
