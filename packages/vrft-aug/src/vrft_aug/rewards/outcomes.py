"""What one call of a reward comes to: a number, "cannot be judged", or the reason why it failed, for each completion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Outcome = float | None | str
"""A finite number; None where the reward does not apply; a text: the reason of a failure, without anything of the sample."""
Columns = dict[str, Any]
# The trainer keeps rewards in single precision; larger numbers become infinite there.
_LARGEST = 3.0e38


def judge(
    reward: Callable[..., Any],
    prompts: Sequence[Any],
    completions: Sequence[Any],
    columns: Columns,
    *,
    caught: type[BaseException] = Exception,
    singly: bool = False,
    say: Callable[[list[Outcome]], None] = lambda _: None,
) -> list[Outcome]:
    """Call `reward` on a batch; if that fails, on each sample alone, so that only those at fault go unjudged.

    Parameters
    ----------
    reward
        Any callable with trl's signature.
    prompts, completions, columns
        One batch.
    caught
        What counts as a failure when the reward raises it.
    singly
        Whether the samples are judged one by one from the start.
    say
        Told every outcome as soon as it is known: once for the whole batch, or an empty list and then one at a time.

    Returns
    -------
    list
        One outcome for each completion.
    """
    found = None if singly else _whole(reward, prompts, completions, columns, caught)
    if found is not None:
        say(found)
        return found
    say([])
    outcomes: list[Outcome] = []
    for index in range(len(completions)):
        outcomes.append(_single(reward, prompts, completions, columns, index, caught))
        say(outcomes[-1:])
    return outcomes


def _whole(
    reward: Callable[..., Any], prompts: Sequence[Any], completions: Sequence[Any], columns: Columns, caught: type[BaseException]
) -> list[Outcome] | None:
    """The outcomes of a whole batch, None if the call failed or returned the wrong number of values."""
    try:
        values = list(reward(prompts=prompts, completions=completions, **columns))
    except caught:
        return None
    return [number(value) for value in values] if len(values) == len(completions) else None


def _single(
    reward: Callable[..., Any],
    prompts: Sequence[Any],
    completions: Sequence[Any],
    columns: Columns,
    index: int,
    caught: type[BaseException],
) -> Outcome:
    """The outcome of one sample, called on its own."""
    total = len(completions)
    part = {k: [v[index]] if isinstance(v, (list, tuple)) and len(v) == total else v for k, v in columns.items()}
    try:
        values = list(reward(prompts=[prompts[index]], completions=[completions[index]], **part))
    except caught as error:
        return type(error).__name__
    return number(values[0]) if len(values) == 1 else "wrong length"


def number(value: Any) -> Outcome:
    """One returned value as a float, None, or why it is no usable number."""
    if value is None:
        return None
    if isinstance(value, (str, bytes)):
        return "not a number"
    try:
        found = float(value)
    except Exception:  # noqa: BLE001 - a stranger's object may raise anything
        return "not a number"
    return found if abs(found) < _LARGEST else "not finite"
