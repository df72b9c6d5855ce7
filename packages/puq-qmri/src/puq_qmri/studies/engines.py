"""Where the processes of the subjects run: on this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from medcore.errors import ConfigError, MissingExtraError
from puq_qmri.studies.status import Status, write_status
from puq_qmri.studies.supervision import Outcome, Task, run_task

_POLL = 1.0
"""Seconds between the questions of a Dask worker whether to stop; each goes to the scheduler."""
_CONNECT = 30.0
_STOP = 20.0
"""Seconds that workers get to stop their processes."""


def run_local(tasks: Sequence[Task], *, jobs: int, ended: Callable[[Outcome], None]) -> None:
    """Up to `jobs` processes at a time; `ended` hears of each. An interruption stops all of them first."""
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for future in as_completed([pool.submit(run_task, task, stop.is_set) for task in tasks]):
                ended(future.result())
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def run_dask(tasks: Sequence[Task], *, jobs: int, scheduler: str | None, ended: Callable[[Outcome], None]) -> None:
    """One Dask task a subject, each of which starts the same process; on the cluster at `scheduler`, else on one of `jobs` workers here.

    Data set and output must have the same paths on all machines.

    Raises
    ------
    MissingExtraError
        If Dask is not installed.
    ConfigError
        If there is no scheduler at that address.
    """
    distributed = load_distributed()
    name = f"puq-qmri-{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        address: Any = scheduler
        if scheduler is None:
            options = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.ERROR}
            address = stack.enter_context(distributed.LocalCluster(**options))
        try:
            client = stack.enter_context(distributed.Client(address, timeout=_CONNECT))
        except (OSError, ValueError) as error:
            raise ConfigError(
                "--scheduler", f"{scheduler!r} does not answer ({error})", "give one such as tcp://host:8786"
            ) from error
        stop = distributed.Event(name, client=client)
        futures = {client.submit(_on_worker, task, name, pure=False): task for task in tasks}
        try:
            for future in distributed.as_completed(futures):
                ended(_outcome(future, futures[future]))
        except BaseException:
            stop.set()
            with contextlib.suppress(Exception):  # the cluster may be gone
                distributed.wait(list(futures), timeout=_STOP)
            raise


def load_distributed() -> Any:
    """The module ``distributed``.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise MissingExtraError("distributed", "puq-qmri[dask]", "the engine dask") from error
    return distributed


def _on_worker(task: Task, name: str) -> Outcome:
    stop = load_distributed().Event(name)
    return run_task(task, stop.is_set, poll=_POLL)


def _outcome(future: Any, task: Task) -> Outcome:
    """That of a task; of one whose worker died too often, a failure."""
    error = future.exception()
    if error is None:
        found = future.result()
        if isinstance(found, Outcome):
            return found
    status = Status(subject=task.unit.subject, session=task.unit.session)
    status = status.ended("failed", f"its Dask worker failed ({type(error).__name__})", 0.0)
    write_status(task.output, status)
    return Outcome(status=status)
