"""Rewards that misbehave in every way seen so far, as strangers would write them; for the tests of the guard.

Each is good to every completion but the one that says ``bad``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

PATIENT = "Jane Doe, born 1970-01-01"


class Marked:
    """Hands completions on to a reward, the second one as ``bad``, and takes the time."""

    __name__ = "marked"

    def __init__(self, reward: Any) -> None:
        self.reward, self.seconds = reward, 0.0

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> Any:
        start = time.perf_counter()
        try:
            return self.reward(prompts=prompts, completions=[completions[0], "bad", *completions[2:]], **columns)
        finally:
            self.seconds = time.perf_counter() - start


def _but(bad: Callable[[], Any]) -> Callable[..., list[Any]]:
    """A reward of a quarter for each completion that calls `bad` for one that says so."""

    def reward(prompts: list[Any], completions: list[Any], **columns: Any) -> list[Any]:
        return [bad() if "bad" in str(c) else 0.25 for c in completions]

    return reward


def _raise(error: BaseException) -> Any:
    raise error


def _fork() -> float:
    os.fork()
    return 0.25


def _patient() -> float:
    print(PATIENT)  # noqa: T201 - what must not be seen
    os.write(2, PATIENT.encode())
    raise ValueError(PATIENT)


def _meta() -> Any:
    import torch

    return torch.empty((), device="meta")


raises = _but(lambda: _raise(ValueError(PATIENT)))
nan = _but(lambda: float("nan"))
infinite = _but(lambda: float("inf"))
text = _but(lambda: "1.0")
elsewhere = _but(_meta)
sleeps = _but(lambda: time.sleep(3600))
exits = _but(lambda: sys.exit(3))
exits_hard = _but(lambda: os._exit(3))
forks = _but(_fork)
allocates = _but(lambda: float(len(bytearray(10_000_000_000))))
prints = _but(_patient)


def wrong_length(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    return [0.25 for c in completions for _ in range(2 if "bad" in str(c) else 1)]


def scalar(prompts: list[Any], completions: list[Any], **columns: Any) -> Any:
    return 1.0 if any("bad" in str(c) for c in completions) else [0.25] * len(completions)


async def later(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    return [0.25] * len(completions)


def all_equal(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    return [0.25] * len(completions)


def needs_a_column(prompts: list[Any], completions: list[Any], stage_of_disease: list[int], **columns: Any) -> list[float]:
    return [0.25] * len(completions)


def looks_up_a_column(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    return [0.25 * s for s in columns["stage_of_disease"]]


def slow(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    time.sleep(0.3 * len(completions))
    return [float(str(c)) for c in completions]


def process(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    return [float(os.getpid())] * len(completions)


def logs(
    prompts: list[Any], completions: list[Any], log_extra: Any = None, log_metric: Any = None, **columns: Any
) -> list[float | None]:
    log_extra("length", [len(str(c)) for c in completions])
    log_metric("step", columns["trainer_state"].global_step)
    return [None] * len(completions)


def sees(prompts: list[Any], completions: list[Any], image: list[Any], **columns: Any) -> list[float]:
    return [float(i.size[0]) for i in image]


def sees_nothing(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    return [float("image" in columns)] * len(completions)


def leaves_a_child(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    """Starts a program that outlives the call; its number is the reward."""
    import subprocess

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    if "bad" in str(completions):
        time.sleep(3600)
    return [float(child.pid)] * len(completions)
