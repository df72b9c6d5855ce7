"""What a reward is.

A reward is a callable with trl's signature: it gets the prompts, the completions and every column of the data as lists of equal
length, and returns one number for each completion. Two values must not be confused:

- ``0.0``: the completion was judged and is wrong, or cannot be read;
- ``None``: the sample cannot be judged by this reward, because a column it needs is missing or empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from medcore.plugins import Registry

REGISTRY = Registry(group="vrft_aug.rewards", kind="reward")
"""Installed rewards by name."""

COLUMNS = (
    *("sample_id", "subject", "task", "label", "classes", "grade", "num_grades", "boxes", "image_size", "box_frame", "knowledge"),
    *("image", "completion_ids", "trainer_state", "log_extra", "log_metric"),
)
"""What a reward is given by name beside prompts and completions: the columns of :mod:`vrft_aug.data`, then what trl adds."""

Completions = Sequence[Any]


@runtime_checkable
class Reward(Protocol):
    """Anything callable like this is a reward; nothing has to be inherited.

    It must be picklable, must not depend on the order of the batch, and must take further keywords (trl passes ``completion_ids``,
    ``trainer_state``, ``log_extra`` and ``log_metric`` beside the columns). :func:`vrft_aug.testing.check_reward` checks all of it.
    """

    def __call__(self, prompts: Sequence[Any], completions: Completions, **columns: Any) -> list[float | None]:
        """One number for each completion, None where the sample cannot be judged."""


def samples(completions: Completions, columns: Mapping[str, Any], *names: str) -> Iterator[tuple[Any, ...]]:
    """Go through completions with the columns `names`; a missing column gives None everywhere.

    Yields
    ------
    tuple
        ``(completion, value of the first column, value of the second, ...)``.
    """
    empty = [None] * len(completions)
    return zip(completions, *(columns.get(name) or empty for name in names), strict=True)
