"""The other side of :mod:`vrft_aug.rewards.isolation`: a process that makes a reward and judges batches until its line is cut."""

from __future__ import annotations

import inspect
import json
import os
import pickle  # noqa: TID251 - from our own parent process
import queue
import sys
import threading
from typing import IO, Any

from vrft_aug.columns import IMAGES
from vrft_aug.rewards import frames, outcomes


def main() -> None:
    """Answer requests on standard input until it ends; whatever the reward prints goes nowhere."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    line: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=[requests, line], daemon=True).start()
    worker = _Worker(answers)
    worker.make(line.get())
    while True:
        worker.judge(line.get())


def _listen(requests: IO[bytes], line: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on; when the parent is gone, end at once, whatever the reward is doing."""
    while (request := frames.read(requests)) is not None:
        line.put(request)
    os._exit(0)


class _Worker:
    """Holds the reward and the line back."""

    def __init__(self, answers: IO[bytes]) -> None:
        self._answers, self._process = answers, os.getpid()
        self._reward: Any = None

    def _answer(self, content: dict[str, Any]) -> None:
        if os.getpid() != self._process:
            os._exit(0)  # a copy that the reward made of us by fork
        frames.write(self._answers, json.dumps(content, default=str).encode())

    def make(self, setup: bytes) -> None:
        """Make the reward, and say whether it wants images."""
        given = pickle.loads(setup)  # noqa: S301 - see above
        try:
            self._reward = pickle.loads(given["maker"])()  # noqa: S301
            images = not set(IMAGES).isdisjoint(inspect.signature(self._reward).parameters)
        except BaseException as error:  # noqa: BLE001 - a stranger's module may raise anything
            self._answer({"error": f"{type(error).__name__}: {error}"[:300]})
            return
        _limit_memory(given["memory"])
        self._answer({"images": images})

    def judge(self, request: bytes) -> None:
        """Judge one batch."""
        prompts, completions, columns, logs, singly = pickle.loads(request)  # noqa: S301 - see above
        said: dict[str, dict[str, Any]] = {"extra": {}, "metrics": {}}
        if "log_extra" in logs:
            columns["log_extra"] = lambda name, values: said["extra"].__setitem__(str(name), list(values))
        if "log_metric" in logs:
            columns["log_metric"] = lambda name, value: said["metrics"].__setitem__(str(name), float(value))

        def say(found: list[outcomes.Outcome]) -> None:
            self._answer({"outcomes": found, "said": said})
            for part in said.values():
                part.clear()

        outcomes.judge(self._reward, prompts, completions, columns, caught=BaseException, singly=singly, say=say)


def _limit_memory(most: int | None) -> None:
    """Let allocations fail beyond `most` bytes, where the system can do so."""
    if most is None or sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
