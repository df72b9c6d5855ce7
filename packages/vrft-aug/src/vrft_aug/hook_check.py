"""The check that every refinement hook must pass, :func:`vrft_aug.testing.check_hook`."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from vrft_aug.hooks import RefinementHook, RoundFacts, StageFacts

_GENERATIONS, _GROUPS, _ROUNDS = 4, 4, 6
_PIECES = ("<", "think", ">", "white", " patches", "</", "think>", "<answer>", "normal", "</answer>", "<|im_end|>", " ")
_COMPLETIONS = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),  # thought and answer
    (7, 8, 9, 10),  # no thought
    (0, 1, 2, 3, 4),  # cut within the thought
    (0, 1, 2, 5, 6, 11),  # an empty thought
)


def check(hook: Any, rewards: Sequence[str]) -> None:
    """See :func:`vrft_aug.testing.check_hook`."""
    assert isinstance(hook, RefinementHook), f"the hook is a {type(hook).__name__}, no RefinementHook"  # noqa: S101
    stage = StageFacts(
        rewards=tuple(rewards),
        weights=tuple(1.0 + i / 2 for i in range(len(rewards))),
        generations=_GENERATIONS,
        samples=tuple(f"sample {i}" for i in range(3 * _GROUPS)),
        token_text=_PIECES.__getitem__,
    )
    whole, again, broken = (_Run(copy.deepcopy(hook), stage) for _ in range(3))
    seen = [whole.round(i) for i in range(_ROUNDS)]
    _same(seen, [again.round(i) for i in range(_ROUNDS)], "is not deterministic")
    half = _ROUNDS // 2
    for i in range(half):
        broken.round(i)
    state = broken.hook.state_dict()
    assert isinstance(state, dict), "state_dict returns no dict"  # noqa: S101
    try:
        saved = json.loads(json.dumps(state, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"state_dict is not ready for JSON: {error}") from error
    assert saved == state or json.dumps(saved) == json.dumps(state), "state_dict changes when it goes through JSON"  # noqa: S101
    resumed = _Run(copy.deepcopy(hook), stage)
    if state:
        resumed.hook.load_state_dict(saved)
    _same(seen[half:], [resumed.round(i) for i in range(half, _ROUNDS)], "does not go on as before when its state is restored")
    parts = [_Run(copy.deepcopy(hook), stage, process=p, processes=2) for p in range(2)]
    for i in range(_ROUNDS):
        first, second = (part.round(i) for part in parts)
        _same([first.rewards, first.samples], [second.rewards, second.samples], "differs between processes")
        together = _padded(first.advantages) + _padded(second.advantages)
        _same(together, _padded(seen[i].advantages), "depends on how completions are spread over processes")


@dataclass
class _Seen:
    """What one round gave."""

    samples: list[str]
    weights: list[float]
    rewards: list[list[float]]
    advantages: list[Any]


class _Run:
    """A hook in a stage of made rounds."""

    def __init__(self, hook: RefinementHook, stage: StageFacts, process: int = 0, processes: int = 1) -> None:
        self.hook, self.stage, self.process, self.processes = hook, stage, process, processes
        hook.on_stage_start("stage")
        hook.bind(stage)

    def round(self, number: int) -> _Seen:
        """Call the methods as the trainer does."""
        import torch

        state = SimpleNamespace(global_step=number, max_steps=_ROUNDS)
        drawn = tuple(self.stage.samples[(number * _GROUPS + i) % len(self.stage.samples)] for i in range(_GROUPS))
        samples = list(self.hook.select_samples(drawn, state))
        assert len(samples) == _GROUPS, f"select_samples returns {len(samples)} samples for {_GROUPS}"  # noqa: S101
        assert set(samples) <= set(self.stage.samples), "select_samples returns what is no training sample"  # noqa: S101
        weights = self._call("schedule_weights", torch.tensor(self.stage.weights), state)
        count = _GROUPS * _GENERATIONS
        own = count // self.processes
        first = own * self.process
        ids = [_COMPLETIONS[(number + i) % len(_COMPLETIONS)] for i in range(count)]
        facts = RoundFacts(first=first, token_ids=ids[first : first + own], samples=tuple(samples))
        self.hook.on_round(facts)
        rewards = self._call("transform_rewards", _matrix(number, len(self.stage.rewards)), state)
        self._metrics()
        generator = torch.Generator().manual_seed(number)
        advantages = torch.randn(count, generator=generator)
        advantages[:_GENERATIONS] = 0
        longest = max(map(len, facts.token_ids))
        changed = self._call("transform_advantages", advantages[first : first + own], state, tokens=longest)
        by_token = self._call("transform_advantages", advantages[first : first + own, None].repeat(1, longest), state)
        assert by_token.shape == (own, longest), "transform_advantages does not keep (completion, token)"  # noqa: S101
        return _Seen(samples, weights.tolist(), rewards.nan_to_num(nan=-1e9).tolist(), changed.tolist())

    def _call(self, method: str, values: Any, state: Any, tokens: int | None = None) -> Any:
        """Call a method on a copy, and check that shape, type and sense of the values are kept."""
        import torch

        given = values.clone()
        changed = getattr(self.hook, method)(given, state)
        shapes = [values.shape, *([] if tokens is None else [(len(values), tokens)])]
        assert isinstance(changed, torch.Tensor), f"{method} returns a {type(changed).__name__}"  # noqa: S101
        assert changed.shape in shapes, f"{method} returns shape {tuple(changed.shape)} for {tuple(values.shape)}"  # noqa: S101
        assert changed.dtype == values.dtype, f"{method} returns {changed.dtype} for {values.dtype}"  # noqa: S101
        assert torch.equal(given.nan_to_num(), values.nan_to_num()), f"{method} changes its input"  # noqa: S101
        if method == "transform_rewards":
            assert torch.equal(changed.isnan(), values.isnan()), f"{method} changes what was not judged"  # noqa: S101
        assert changed.nan_to_num().isfinite().all(), f"{method} returns an infinite value"  # noqa: S101
        if method != "transform_rewards":
            assert not changed.isnan().any(), f"{method} returns NaN"  # noqa: S101
        return changed

    def _metrics(self) -> None:
        for name, value in self.hook.metrics().items():
            assert isinstance(name, str), f"the metric {name!r} has no text as its name"  # noqa: S101
            assert math.isfinite(float(value)), f"the metric {name} is {value}"  # noqa: S101


def _matrix(number: int, rewards: int) -> Any:
    """Rewards with groups that are all right, all wrong, mixed and partly not judged."""
    import torch

    generator = torch.Generator().manual_seed(100 + number)
    values = torch.rand(_GROUPS * _GENERATIONS, rewards, generator=generator)
    values[:_GENERATIONS] = 1.0
    values[_GENERATIONS : 2 * _GENERATIONS] = 0.0
    values[-2] = torch.nan
    values[-_GENERATIONS:, 0] = torch.nan
    return values


def _padded(advantages: list[Any]) -> list[list[float]]:
    """Advantages by token, padded to the longest completion there is."""
    longest = max(map(len, _COMPLETIONS))
    rows = [row if isinstance(row, list) else [row] * longest for row in advantages]
    return [[*row, *[0.0] * (longest - len(row))] for row in rows]


def _same(first: Any, second: Any, problem: str) -> None:
    assert first == second, f"the hook {problem}"  # noqa: S101
