"""Checks that a reward and a refinement hook must pass; ours do, and yours should.

::

    from vrft_aug.testing import check_hook, check_reward

    def test_my_reward():
        check_reward(MyReward(threshold=0.5))

    def test_my_hook():
        check_hook(MyHook(strength=2.0))
"""

from __future__ import annotations

import copy
import math
import numbers
import pickle  # noqa: TID251 - only of the object at hand: trainers send rewards to other processes
import time
from collections.abc import Mapping, Sequence
from typing import Any

HOSTILE = (
    "",
    " ",
    "<answer></answer>",
    "<think></think><answer></answer>",
    "<answer>",
    "</answer><answer>",
    "<think><answer>normal</answer></think>",
    "<answer>normal</answer><answer>pneumonia</answer>",
    "<answer><answer>normal</answer></answer>",
    "<think>clear lungs</think><answer>normal or pneumonia</answer>",
    "<answer>[[0, 0, 1e999, nan]]</answer>",
    "<answer>[" + "[0, 0, 1, 1], " * 500 + "]</answer>",
    "<answer>[3, 3, 1, 1]</answer>",
    "<answer>-1</answer>",
    "<answer>" + "9" * 400 + "</answer>",
    "\ud800<answer>\udfff</answer>",
    "<answer>\x00\u202enormal</answer>",
    "<answer>" + "no " * 20_000 + "</answer>",
    "<think>" * 5_000 + "</think>" * 5_000,
    "<answer>" * 5_000,
    "[" * 20_000,
    "a" * 200_000,
)
"""Completions that models and their attackers write; none may raise, hang or give anything but a finite number or None."""

USUAL = (
    "<think>clear lungs</think><answer>normal</answer>",
    "<think>white patches</think><answer>pneumonia</answer>",
    "<think>some patches</think><answer>2</answer>",
    "<think>places: 1</think><answer>[10, 20, 30, 40]</answer>",
    "<think>places: 0</think><answer>[]</answer>",
    "normal",
)
"""Well-behaved completions."""

_ROW: dict[str, Any] = {
    "sample_id": "1",
    "subject": "1",
    "task": "classification",
    "label": "normal",
    "classes": ["normal", "pneumonia"],
    "grade": 1,
    "num_grades": 5,
    "boxes": [[10.0, 20.0, 30.0, 40.0]],
    "image_size": [64, 48],
    "box_frame": [64.0, 48.0],
    "knowledge": "normal: clear lungs. pneumonia: white patches.",
}
_TASKS = ("classification", "grading", "localisation")
SECONDS = 20.0
"""Longest time a reward may take for all of :data:`HOSTILE`."""


def check_reward(reward: Any, *, completions: Sequence[str] = (), columns: Mapping[str, Sequence[Any]] | None = None) -> None:
    """Check what every reward must be, whatever it rewards.

    It has a ``__name__``, under which trl logs it; takes trl's keywords; returns one finite number or None for each completion, within its
    ``bounds`` if it declares a smallest and a largest value; is deterministic; does not depend on the other samples of the batch or on
    their order; does not change its input; survives missing and empty columns and hostile completions in reasonable time; reads text and
    trl's messages alike; and can be pickled.

    Parameters
    ----------
    reward
        The reward, not guarded: a guard would hide what is looked for.
    completions
        Further completions to try it on, in addition to :data:`USUAL` and :data:`HOSTILE`.
    columns
        Columns for those completions; the others get a classification, a grading and a localisation row each.

    Raises
    ------
    AssertionError
        Naming what does not hold.
    """
    name = getattr(reward, "__name__", None)
    assert isinstance(name, str) and name.strip(), "the reward has no __name__, under which trl logs it"  # noqa: PT018, S101
    texts, rows = _cases(completions, columns or {})
    usual = range(len(texts) - len(HOSTILE) * len(_TASKS))
    values = _call(reward, texts, rows, "usual and hostile completions")
    _check_same(values, _call(reward, texts, rows, "the same batch again"), "is not deterministic")
    order = list(range(len(texts)))[::-1]
    turned = _call(reward, [texts[i] for i in order], [rows[i] for i in order], "the batch in reverse order")
    _check_same(values, turned[::-1], "depends on the order of the batch")
    single = [_call(reward, [texts[i]], [rows[i]], "a batch of one")[0] for i in usual]
    _check_same(values[: len(usual)], single, "depends on the other samples of the batch")
    messages = [[{"role": "assistant", "content": text}] for text in texts]
    _check_same(values, _call(reward, messages, rows, "completions as messages"), "reads messages unlike text")
    _call(reward, [], [], "an empty batch")
    _call(reward, texts, [{} for _ in texts], "no columns")
    _call(reward, texts, [dict.fromkeys(row) for row in rows], "columns of None")
    try:
        revived = pickle.loads(pickle.dumps(reward))  # noqa: S301 - made on this line
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise AssertionError(f"the reward cannot be pickled: {error}") from error
    _check_same(values, _call(revived, texts, rows, "a pickled copy"), "changes when pickled")


def check_hook(hook: Any, *, rewards: Sequence[str] = ("accuracy", "format")) -> None:
    """Check what every refinement hook must be, whatever it refines.

    On made rounds of 16 completions with groups that are all right, all wrong, mixed and not judged: results have the shape and type of
    what came in (advantages may gain an axis of tokens), are finite, and leave what was not judged as it is; the input is not changed;
    samples are training samples; metrics are finite; two copies do the same; a copy that takes over the state, through JSON, goes on
    as if nothing had happened; and results do not depend on how completions are spread over two processes.

    Parameters
    ----------
    hook
        The hook, not used before; it is copied.
    rewards
        Names of the stage's rewards, if the hook asks for some by name.

    Raises
    ------
    AssertionError
        Naming what does not hold.
    """
    from vrft_aug.hook_check import check

    check(hook, rewards)


def _cases(completions: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> tuple[list[Any], list[dict[str, Any]]]:
    own = [{name: values[i] for name, values in columns.items()} for i in range(len(completions))]
    pairs = [(text, {**_ROW, "task": task}) for text in (*USUAL, *HOSTILE) for task in _TASKS]
    return [*completions, *(t for t, _ in pairs)], [*own, *(r for _, r in pairs)]


def _call(reward: Any, completions: Sequence[Any], rows: Sequence[Mapping[str, Any]], what: str) -> list[float | None]:
    """Call the reward as trl does, and check what comes back."""
    names = sorted({name for row in rows for name in row})
    given = {
        "prompts": [[{"role": "user", "content": "What does the image show?"}] for _ in completions],
        "completions": list(completions),
        "completion_ids": [[1, 2, 3] for _ in completions],
        **{name: [row.get(name) for row in rows] for name in names},
    }
    before = copy.deepcopy(given)
    started = time.perf_counter()
    try:
        values = reward(**given, trainer_state=None, log_extra=_ignore, log_metric=_ignore)
    except Exception as error:
        raise AssertionError(f"the reward raises {type(error).__name__} on {what}: {error}") from error
    took = time.perf_counter() - started
    assert took < SECONDS, f"the reward takes {took:.0f} s on {what}, more than {SECONDS:.0f} s"  # noqa: S101
    assert given == before, f"the reward changes its input on {what}"  # noqa: S101
    assert isinstance(values, list), f"the reward returns a {type(values).__name__} on {what}, not a list"  # noqa: S101
    assert len(values) == len(completions), f"the reward returns {len(values)} values for {len(completions)} on {what}"  # noqa: S101
    for text, value in zip(completions, values, strict=True):
        fine = value is None or (isinstance(value, numbers.Real) and math.isfinite(value))
        assert fine, f"the reward returns {value!r} for {str(text)[:60]!r} on {what}, not a finite number or None"  # noqa: S101
    _check_bounds(reward, completions, values)
    return values


def _check_bounds(reward: Any, completions: Sequence[Any], values: Sequence[float | None]) -> None:
    """Compare with the declared smallest and largest value."""
    bounds = getattr(reward, "bounds", None)
    if bounds is None:
        return
    low, high = bounds
    assert low < high, f"the reward declares the bounds {low} and {high}"  # noqa: S101
    for text, value in zip(completions, values, strict=True):
        within = value is None or low <= value <= high
        assert within, f"the reward returns {value} for {str(text)[:60]!r}, outside of its bounds {low} and {high}"  # noqa: S101


def _check_same(first: Sequence[float | None], second: Sequence[float | None], problem: str) -> None:
    for a, b in zip(first, second, strict=True):
        same = a is b is None or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12))
        assert same, f"the reward {problem}: {a} and {b}"  # noqa: S101


def _ignore(*_: Any) -> None:
    """Stands for trl's logging functions."""
