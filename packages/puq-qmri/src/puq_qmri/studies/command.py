"""What ``puq-qmri bids`` does at its two levels."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medcore.atomic import write_text
from medcore.commandline import Invocation
from medcore.config import to_mapping
from medcore.errors import ConfigError, InputError, OutputExistsError, PartialFailureError
from medcore.io.bids import check_derivative, describe_derivative
from medcore.io.sidecar import read_json
from medcore.provenance import RUN_FILE, RunRecord
from puq_qmri.__about__ import __version__
from puq_qmri.studies.engines import load_distributed, run_dask, run_local
from puq_qmri.studies.plan import StudySettings, Unit
from puq_qmri.studies.status import STATUS_FOLDER, Status, read_status
from puq_qmri.studies.supervision import Outcome, Task

Engine = Literal["local", "dask"]
_IGNORED = ["status/", "group.*", "sub-*/**/report*.html", "sub-*/**/run.json", "sub-*/**/manifest.json", "sub-*/**/*_fit.*"]
"""Files of ours that BIDS has no name for."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """How subjects are run.

    Attributes
    ----------
    engine, scheduler
        ``local`` or ``dask``, and the address of an existing cluster.
    jobs
        At a time; by default as many as there are processors.
    timeout
        Seconds for one subject.
    retry_failed
        Whether those run again that failed before with the same files and settings.
    """

    engine: Engine = "local"
    scheduler: str | None = None
    jobs: int | None = None
    timeout: float | None = None
    retry_failed: bool = True


def run_participants(run: Invocation, units: Sequence[Unit], output: Path, settings: StudySettings, how: Running) -> dict[str, Any]:
    """Fit all subjects that are not finished; each has its status file, log and result folder.

    Parameters
    ----------
    run
        Of the command.
    units
        See :func:`puq_qmri.studies.plan.plan_study`; of one data set.
    output
        Data set of derivatives.
    settings, how
        What is fitted, and how the processes are run.

    Raises
    ------
    ConfigError, MissingExtraError
        If the engine cannot be used.
    InputError
        If `output` cannot be the derivatives of this data set.
    OutputExistsError
        If subjects are finished with other settings and ``--force`` was not given.
    PartialFailureError
        If some failed.
    """
    root = units[0].root
    if how.scheduler is not None and how.engine != "dask":
        raise ConfigError("--scheduler", "was given for the engine local", "give --engine dask")
    if how.engine == "dask":
        load_distributed()
    check_derivative(output, root)
    _check_settings(output, units, settings, force=run.force)
    if run.dry_run:
        return _say_plan(run, units, output)
    describe_derivative(
        output, name=f"{root.resolve().name} maps", generated_by={"Name": "puq-qmri", "Version": __version__}, source_dataset=root
    )
    with contextlib.suppress(OutputExistsError):
        write_text(output / ".bidsignore", "".join(f"{line}\n" for line in _IGNORED), force=False)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = min(how.jobs or processors, len(units))
    threads = 1 if how.scheduler else max(1, processors // jobs)
    tasks = [
        Task(
            unit=unit,
            output=output.absolute(),
            settings=settings,
            timeout=how.timeout,
            threads=threads,
            retry_failed=how.retry_failed,
        )
        for unit in units
    ]
    outcomes: list[Outcome] = []

    def ended(outcome: Outcome) -> None:
        outcomes.append(outcome)
        run.say(_in_words(outcome, output))

    if how.engine == "dask":
        run_dask(tasks, jobs=jobs, scheduler=how.scheduler, ended=ended)
    else:
        run_local(tasks, jobs=jobs, ended=ended)
    return _verdict(run, sorted(outcomes, key=lambda o: o.status.name), output)


def run_group(run: Invocation, units: Sequence[Unit], output: Path, *, only: bool = False) -> dict[str, Any]:
    """One page, one table and one JSON file about all subjects, or about those of `units` only.

    Raises
    ------
    InputError
        If nothing was done in `output` yet.
    """
    from puq_qmri.studies.group import collect_rows
    from puq_qmri.studies.group_page import FACTS, PAGE, TABLE, write_group

    if not (output / STATUS_FOLDER).is_dir():
        raise InputError(output, "holds no status files", "run puq-qmri bids ... participant first")
    targets = [output / name for name in (PAGE, TABLE, FACTS)]
    if run.dry_run:
        for path in targets:
            run.say(f"would write: {path}")
        return {"dry_run": True, "writes": [str(path) for path in targets]}
    record = RunRecord(command="puq-qmri bids group", settings={"root": units[0].root, "output": output})
    rows = collect_rows(output, units, only=only)
    facts = write_group(output, rows, record.as_dict())
    for state, count in facts["states"].items():
        run.say(f"{state}: {count}")
    for name, keys in facts["outliers"].items():
        run.say(f"{name} stands out: {', '.join(keys)}")
    run.say(f"page: {targets[0]}")
    return {"output": str(output), "page": str(targets[0]), **facts}


def _check_settings(output: Path, units: Sequence[Unit], settings: StudySettings, *, force: bool) -> None:
    """Refuse to mix maps of different settings in one data set."""
    if force:
        return
    now = to_mapping(settings)
    for unit in units:
        before = read_status(output, unit.name)
        if before is None or before.state != "done" or before.settings == now:
            continue
        changed = sorted(key for key in now if before.settings.get(key) != now[key])
        words = ", ".join(f"{key} {before.settings.get(key)!r}, now {now[key]!r}" for key in changed)
        error = OutputExistsError(output / unit.home)
        error.problem = f"was made with other settings ({words})"
        error.hint = "choose another output, or add --force to make such subjects anew"
        raise error


def _say_plan(run: Invocation, units: Sequence[Unit], output: Path) -> dict[str, Any]:
    facts = {}
    for unit in units:
        before = read_status(output, unit.name)
        names = [collection.name for collection in unit.collections]
        facts[unit.name] = {"collections": names, "problem": unit.problem, "state": before.state if before else None}
        run.say(f"{unit.name}: {unit.problem or ', '.join(names) or 'nothing to fit'} ({before.state if before else 'new'})")
    run.say(f"would write: {output}")
    return {"dry_run": True, "participants": facts, "writes": [str(output)]}


def _in_words(outcome: Outcome, output: Path) -> str:
    """One line about one subject."""
    status = outcome.status
    if status.state == "no-collection":
        return f"{status.name}: nothing to fit"
    if status.state != "done":
        return f"{status.name}: {status.state}{f': {status.reason}' if status.reason else ''}"
    if outcome.kept:
        return f"{status.name}: finished before"
    seconds = 0.0 if status.seconds is None else status.seconds
    return f"{status.name}: done in {seconds:.1f} s{_medians(status, output)}"


def _medians(status: Status, output: Path) -> str:
    home = Unit(root=output, subject=status.subject, session=status.session).home
    found = []
    for facts in read_json(output / home / RUN_FILE)["collections"]:
        values = {name: v for name, v in facts["maps"].items() if v["unit"] == "s" and v["voxels"]}
        found += [f"{facts['label']} {name} median {1e3 * v['median']:.4g} ms" for name, v in values.items()]
    return "".join(f", {text}" for text in found)


def _verdict(run: Invocation, outcomes: Sequence[Outcome], output: Path) -> dict[str, Any]:
    """The facts; an error if somebody failed."""
    failed = {o.status.name: o.status.reason for o in outcomes if o.status.state == "failed"}
    facts = {
        "output": str(output),
        "done": [o.status.name for o in outcomes if o.status.state == "done" and not o.kept],
        "kept": [o.status.name for o in outcomes if o.status.state == "done" and o.kept],
        "failed": failed,
        "no_collection": [o.status.name for o in outcomes if o.status.state == "no-collection"],
    }
    if failed:
        run.emit(facts)
        problem = f"{len(failed)} of {len(outcomes)} subjects failed ({', '.join(failed)})"
        raise PartialFailureError(output, problem, f"see {output / STATUS_FOLDER}/*/log.txt, and run the command again for these")
    run.say(f"maps: {output}")
    return facts
