"""Rewards as strangers write them, for the tests of building."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def constant(prompts: list[Any], completions: list[Any], value: float = 0.5, **columns: Any) -> list[float]:
    """A plain function with an option."""
    return [value] * len(completions)


class Plain:
    """A class that is no dataclass."""

    def __init__(self, value: float = 0.25) -> None:
        self.value = value

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        return [self.value] * len(completions)


@dataclass(frozen=True, kw_only=True)
class Strict:
    """A dataclass with a required option.

    More text.
    """

    value: float

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        return [self.value] * len(completions)


async def later(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    return [1.0] * len(completions)


def narrow(completions: list[Any]) -> list[float]:
    return [1.0] * len(completions)


ready = Plain(0.75)
number = 3
