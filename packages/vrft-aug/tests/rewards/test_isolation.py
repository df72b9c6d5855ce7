"""Rewards in processes of their own: whatever they do, the batch gets its values and the program goes on."""

from __future__ import annotations

import logging
import os
import pickle  # noqa: TID251 - what trainers do with rewards
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from medcore.errors import ConfigError, NumericalError
from vrft_aug.rewards import Accuracy, GuardedReward, RewardSettings, build_reward, guard
from vrft_aug.rewards.guard import GuardSettings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests end processes as POSIX does")
OTHERS = ["1", "bad", "3", "4"]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Builds a reward of the module ``misbehaving``, by name and guarded as a recipe would."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    made: list[GuardedReward] = []

    def make(name: str, **settings: Any) -> GuardedReward:
        watch = GuardSettings(**{"seconds": 30.0, "memory_gb": 4.0, **settings})
        made.append(build_reward(RewardSettings(name=f"misbehaving:{name}", guard=watch, label=name)))
        return made[-1]

    yield make
    for reward in made:
        reward.close()


def call(reward: GuardedReward, completions: list[str], **columns: Any) -> list[float | None]:
    ids = [f"s{i}" for i in range(len(completions))]
    return reward(prompts=[""] * len(completions), completions=completions, sample_id=ids, **columns)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("raises", None, "ValueError"),
        ("wrong_length", None, "wrong length"),
        ("scalar", None, "TypeError"),
        ("nan", None, "not finite"),
        ("infinite", None, "not finite"),
        ("text", None, "not a number"),
        ("exits", None, "SystemExit"),
        ("exits_hard", None, "died"),
        ("sleeps", None, "time-out"),
        ("allocates", None, "MemoryError"),
        ("prints", None, "ValueError"),
        ("forks", 0.25, None),
        ("all_equal", 0.25, None),
    ],
)
def test_a_misbehaving_reward_costs_its_sample_only(
    build: Any, name: str, value: float | None, reason: str | None, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    reward = build(name, seconds=5.0 if name == "sleeps" else 60.0)
    with caplog.at_level(logging.WARNING):
        assert call(reward, OTHERS) == [0.25, value, 0.25, 0.25]
        assert call(reward, ["1", "2"]) == [0.25, 0.25]  # and it goes on
    assert dict(reward.failures) == ({reason: 1} if reason else {})
    assert [r.getMessage() for r in caplog.records] == ([f"the reward {name} failed on sample s1 ({reason})"] if reason else [])
    import misbehaving

    assert misbehaving.PATIENT not in "".join((*capfd.readouterr(), caplog.text))


def test_a_tensor_on_a_device_without_numbers(build: Any) -> None:
    pytest.importorskip("torch")
    reward = build("elsewhere", seconds=60.0)
    assert call(reward, OTHERS) == [0.25, None, 0.25, 0.25]
    assert dict(reward.failures) == {"not a number": 1}


def test_what_cannot_be_a_reward_is_refused_before_anything_runs(build: Any) -> None:
    with pytest.raises(ConfigError, match="is asynchronous; write it as an ordinary function"):
        build("later")
    with pytest.raises(ConfigError, match=r"missing a required argument: 'stage_of_disease'.*of which there are sample_id, "):
        build("needs_a_column")


def test_a_column_that_is_looked_up_and_missing_fails_every_sample(build: Any) -> None:
    reward = build("looks_up_a_column", budget=1.0)
    assert call(reward, ["1", "2"]) == [None, None]
    assert dict(reward.failures) == {"KeyError": 2}
    assert call(reward, ["1", "2"], stage_of_disease=[1, 2]) == [0.25, 0.5]


def test_a_closure_cannot_be_sent_but_may_stay() -> None:
    def closure(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        return [0.5] * len(completions)

    with pytest.raises(ConfigError, match=r"reward closure: cannot be sent to another process \(.*set guard.isolate to never"):
        guard(closure, settings=GuardSettings(isolate="always"))
    assert call(guard(closure), ["1"]) == [0.5]


def test_a_closure_in_a_module_is_made_where_it_runs(build: Any) -> None:
    assert call(build("raises"), ["1"]) == [0.25]


def test_only_rewards_of_strangers_get_processes(build: Any) -> None:
    assert call(build("process"), ["1"]) != [os.getpid()]
    assert call(build("process", isolate="never"), ["1"]) == [os.getpid()]
    assert build_reward(RewardSettings(name="accuracy")).reward == Accuracy()


def test_a_reward_that_always_hangs_is_given_up(build: Any) -> None:
    reward = build("sleeps", seconds=0.5, budget=1.0)
    assert call(reward, ["bad"] * 8) == [None] * 8
    assert reward.failures == {"time-out": 4, "given up": 4}


def test_slow_rewards_run_in_parallel(build: Any) -> None:
    reward = build("slow", workers=3)
    values = [float(i) for i in range(6)]
    texts = [str(i) for i in range(6)]
    assert call(reward, texts) == values  # one process: 1.8 s
    assert call(reward, texts) == values  # starts two more
    started = time.monotonic()
    assert call(reward, texts) == values
    assert time.monotonic() - started < 1.8
    assert call(reward, ["7"]) == [7.0]
    assert call(reward, []) == []


def test_what_a_reward_logs_reaches_the_trainer(build: Any) -> None:
    columns: dict[str, Any] = {}
    logged: dict[str, float] = {}
    state = SimpleNamespace(global_step=3, max_steps=5, secret=lambda: None)
    reward = build("logs")
    found = call(reward, ["a", "bc"], log_extra=columns.__setitem__, log_metric=logged.__setitem__, trainer_state=state)
    assert found == [None, None]
    assert (columns, logged) == ({"length": [1, 2]}, {"step": 3.0})


def test_images_are_sent_to_a_reward_that_names_them_only(build: Any) -> None:
    images = [Image.new("L", (5, 4)), Image.new("L", (7, 4))]
    assert call(build("sees"), ["1", "2"], image=images) == [5.0, 7.0]
    assert call(build("sees_nothing"), ["1", "2"], image=images) == [0.0, 0.0]


def _alive(pid: float) -> bool:
    status = Path(f"/proc/{int(pid)}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_what_a_reward_starts_ends_with_it(build: Any) -> None:
    reward = build("leaves_a_child", seconds=5.0, budget=1.0)
    (child,) = call(reward, ["1"])
    assert child is not None
    assert _alive(child)
    assert call(reward, ["bad"]) == [None]
    deadline = time.monotonic() + 20
    while _alive(child):
        assert time.monotonic() < deadline, "a program that the reward started is still running"
        time.sleep(0.05)


def test_zero_instead_of_nothing(build: Any) -> None:
    assert call(build("raises", on_failure="zero"), OTHERS) == [0.25, 0.0, 0.25, 0.25]


def test_the_run_ends_when_the_budget_is_used_up(build: Any) -> None:
    with pytest.raises(NumericalError, match=r"reward raises: failed on 1 of 4 completions \(ValueError 1\), more than its budget"):
        call(build("raises", on_failure="stop"), OTHERS)
    reward = build("raises", budget=0.02)  # of 200 samples at least
    for _ in range(4):
        call(reward, OTHERS)
    with pytest.raises(NumericalError, match="failed on 5 of 20"):
        call(reward, OTHERS)


def test_a_reward_that_cannot_be_made_there_says_why() -> None:
    class Odd:
        def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
            return [1.0]

        def __reduce__(self) -> Any:
            return int, ("not a number",)

    reward = guard(Odd(), settings=GuardSettings(isolate="always"))
    with pytest.raises(ConfigError, match=r"reward Odd: cannot be made in another process \(ValueError"):
        call(reward, ["1"])


def test_pickled_without_its_processes(build: Any) -> None:
    reward = build("process")
    (first,) = call(reward, ["1"])
    copy = pickle.loads(pickle.dumps(reward))  # noqa: S301
    (second,) = call(copy, ["1"])
    copy.close()
    assert call(reward, ["1"]) == [first]
    assert first != second
    reward.close()
    assert call(reward, ["1"]) != [first]


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0.0}, {"workers": 0}, {"memory_gb": 0.0}, {"budget": 1.5}, {"budget": -0.1}, {"seconds": float("nan")}]
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="guard: has seconds"):
        GuardSettings(**wrong)
