"""A reward in processes of its own, which may sleep, crash, exit, print or fill memory without harm to the training.

Each process is a fresh interpreter (no fork: the trainer holds threads and perhaps a GPU) that makes the reward and then answers one batch
after another. Requests are pickled, answers are JSON. A process that does not answer in time is killed with everything it started;
the samples are then judged one by one, so that only the one at fault goes unjudged.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle  # noqa: TID251 - of the reward at hand, to a process of our own; what comes back is JSON
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import IO, Any

from medcore.errors import ConfigError
from vrft_aug.columns import IMAGES
from vrft_aug.rewards import frames
from vrft_aug.rewards.base import Reward
from vrft_aug.rewards.outcomes import Columns, Outcome

START_SECONDS = 300.0
"""Longest time until a process has imported and made its reward."""
SLOW_SECONDS = 1.0
"""A batch that takes longer than this is shared among several processes."""
_MAX_KILLS = 4  # of one batch; then the rest of it is given up
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from vrft_aug.rewards.worker import main; main()"
_STATE = ("global_step", "max_steps", "epoch", "num_train_epochs")


class _Lost(Exception):
    """A process is gone or does not answer."""


class _Worker:
    """One process and the line to it."""

    def __init__(self, setup: bytes) -> None:
        program = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        # A session of its own: what the reward starts is killed with it, and Ctrl-C is ours to handle.
        self.process = subprocess.Popen(  # noqa: S603 - ourselves
            program, stdin=pipe, stdout=pipe, stderr=nowhere, start_new_session=True
        )
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=[self.process.stdout], daemon=True).start()
        try:
            self.send(setup)
            self.ready = self.receive(START_SECONDS)
        except _Lost:
            self.kill()
            raise

    def _listen(self, stream: IO[bytes]) -> None:
        with stream, contextlib.suppress(OSError):
            while (frame := frames.read(stream)) is not None:
                self._answers.put(frame)
        self._answers.put(None)

    def send(self, request: bytes) -> None:
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            frames.write(self.process.stdin, request)
        except OSError as error:
            raise _Lost("died") from error

    def receive(self, seconds: float) -> dict[str, Any]:
        try:
            frame = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise _Lost("time-out") from None
        if frame is None:
            raise _Lost("died")
        return dict(json.loads(frame))

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):  # what was not sent yet; the listening thread closes the other pipe
            self.process.stdin.close()  # type: ignore[union-attr]


@dataclass(kw_only=True)
class IsolatedReward:
    """A reward that is called in other processes.

    Parameters
    ----------
    setup
        Pickled maker of the reward, a callable without arguments.
    name
        What the reward is called in messages.
    seconds, workers, memory_gb
        See :class:`vrft_aug.rewards.guard.GuardSettings`.
    """

    setup: bytes = field(repr=False)
    name: str
    seconds: float
    workers: int
    memory_gb: float | None
    _pool: list[_Worker | None] = field(default_factory=list, init=False, repr=False, compare=False)
    _seconds_each: float = field(default=0.0, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, reward: Reward, name: str, seconds: float, workers: int, memory_gb: float | None) -> IsolatedReward:
        """Isolate a ready reward.

        Raises
        ------
        ConfigError
            If it cannot be pickled.
        """
        return cls.made_by(_Ready(reward), name, seconds, workers, memory_gb)

    @classmethod
    def made_by(
        cls, maker: Callable[[], Reward], name: str, seconds: float, workers: int, memory_gb: float | None
    ) -> IsolatedReward:
        """Isolate what `maker` makes; it is called in the other processes."""
        try:
            setup = pickle.dumps(maker)
        except Exception as error:
            raise ConfigError(
                f"reward {name}",
                f"cannot be sent to another process ({type(error).__name__})",
                "define it at the top of a module, or set guard.isolate to never",
            ) from error
        return cls(setup=setup, name=name, seconds=seconds, workers=workers, memory_gb=memory_gb)

    def __post_init__(self) -> None:
        # Not later than this object, or the program, ends.
        weakref.finalize(self, _kill_all, self._pool)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.setup, self.name, self.seconds, self.workers, self.memory_gb)

    def close(self) -> None:
        """Kill the processes; the next call starts new ones."""
        _kill_all(self._pool)

    def judge(self, prompts: Sequence[Any], completions: Sequence[Any], columns: Columns) -> list[Outcome]:
        """One outcome for each completion; what the reward logs reaches trl's loggers."""
        count = len(completions)
        shares = max(1, min(self.workers, count)) if self._seconds_each * count > SLOW_SECONDS else 1
        self._pool.extend([None] * (shares - len(self._pool)))
        bounds = [count * i // shares for i in range(shares + 1)]
        started = time.perf_counter()
        parts = [_Batch(prompts, completions, columns, a, b) for a, b in pairwise(bounds)]
        if len(parts) == 1:
            found = [self._part(0, parts[0])]
        else:
            with ThreadPoolExecutor(len(parts)) as threads:
                found = list(threads.map(self._part, range(len(parts)), parts))
        # Seconds of one process for one completion.
        self._seconds_each = (time.perf_counter() - started) * len(parts) / max(1, count)
        _forward([said for part in found for said in part.said], columns, count)
        return [outcome for part in found for outcome in part.outcomes]

    def _part(self, slot: int, batch: _Batch) -> _Found:
        """Judge one share of a batch in process number `slot`, which is replaced as often as it is lost."""
        found, singly, kills = _Found(), False, 0
        while len(found.outcomes) < batch.count:
            if kills > _MAX_KILLS:
                found.outcomes += ["given up"] * (batch.count - len(found.outcomes))
                break
            try:
                worker = self._pool[slot] or self._start(slot)
                worker.send(batch.request(len(found.outcomes), singly=singly, images=worker.ready["images"]))
                while len(found.outcomes) < batch.count:
                    answer = worker.receive(self.seconds)
                    singly = singly or not answer["outcomes"]
                    found.outcomes += answer["outcomes"]
                    found.said.append(answer["said"])
            except _Lost as lost:
                self._drop(slot)
                kills += 1
                if singly or batch.count == 1:
                    found.outcomes.append(str(lost))
                singly = True
        return found

    def _start(self, slot: int) -> _Worker:
        """Start a process that knows the reward.

        Raises
        ------
        ConfigError
            If the reward cannot be made there.
        """
        limit = None if self.memory_gb is None else int(self.memory_gb * 1e9)
        try:
            worker = _Worker(pickle.dumps({"maker": self.setup, "memory": limit}))
        except _Lost as lost:
            raise ConfigError(f"reward {self.name}", f"cannot be started in another process ({lost})", "see its module") from lost
        self._pool[slot] = worker
        if "error" in worker.ready:
            self._drop(slot)
            raise ConfigError(
                f"reward {self.name}", f"cannot be made in another process ({worker.ready['error']})", "see its module"
            )
        return worker

    def _drop(self, slot: int) -> None:
        worker, self._pool[slot] = self._pool[slot], None
        if worker is not None:
            worker.kill()


def _kill_all(pool: list[_Worker | None]) -> None:
    while pool:
        worker = pool.pop()
        if worker is not None:
            worker.kill()


def _again(setup: bytes, name: str, seconds: float, workers: int, memory_gb: float | None) -> IsolatedReward:
    """An unpickled one has no processes yet."""
    return IsolatedReward(setup=setup, name=name, seconds=seconds, workers=workers, memory_gb=memory_gb)


@dataclass(frozen=True)
class _Ready:
    """The maker of a reward that is made already."""

    reward: Any

    def __call__(self) -> Reward:
        return self.reward  # type: ignore[no-any-return]


@dataclass
class _Found:
    outcomes: list[Outcome] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Batch:
    """Completions number `start` to `stop` of a batch."""

    prompts: Sequence[Any]
    completions: Sequence[Any]
    columns: Columns
    start: int
    stop: int

    @property
    def count(self) -> int:
        return self.stop - self.start

    def request(self, done: int, *, singly: bool, images: bool) -> bytes:
        """What is sent, without the first `done` completions."""
        part = slice(self.start + done, self.stop)
        total = len(self.completions)
        columns: Columns = {}
        for name, value in self.columns.items():
            if name == "trainer_state":
                columns[name] = SimpleNamespace(**{k: getattr(value, k, None) for k in _STATE})
            elif callable(value) or (name in IMAGES and not images):
                continue  # pickling pixels takes longer than most rewards: only a reward that names them gets them
            else:
                columns[name] = value[part] if isinstance(value, (list, tuple)) and len(value) == total else value
        logs = [name for name in ("log_extra", "log_metric") if name in self.columns]
        return pickle.dumps((list(self.prompts[part]), list(self.completions[part]), columns, logs, singly))


def _forward(said: Sequence[dict[str, Any]], columns: Columns, count: int) -> None:
    """Hand on what the reward logged: columns if they are complete, the mean of numbers."""
    extra: dict[str, list[Any]] = {}
    metrics: dict[str, list[float]] = {}
    for part in said:
        for name, values in part.get("extra", {}).items():
            extra.setdefault(name, []).extend(values)
        for name, value in part.get("metrics", {}).items():
            metrics.setdefault(name, []).append(value)
    if "log_extra" in columns:
        for name, values in extra.items():
            if len(values) == count:
                columns["log_extra"](name, values)
    if "log_metric" in columns:
        for name, numbers in metrics.items():
            columns["log_metric"](name, sum(numbers) / len(numbers))
