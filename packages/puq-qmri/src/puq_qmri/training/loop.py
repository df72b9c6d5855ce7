"""Training in stages that can be killed at any moment and goes on where it was.

::

    DIR/training.json     what was asked for, and whether it is done
    DIR/checkpoints/      complete ones only, until the training is done
    DIR/log.jsonl         loss, rate, norm of the gradient; validation
    DIR/weights/          for ``puq-qmri run --weights DIR/weights``
    DIR/report.html, run.json

All random numbers of a step follow from the seed, the stage and the number of the step, and so does the learning rate; examples
follow from the seed and their number. An interrupted run therefore ends with the same weights as one that was not, bit for bit, on one
machine with one thread.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medcore.atomic import sweep
from medcore.config import to_mapping
from medcore.errors import ConfigError, NumericalError
from medcore.provenance import RunRecord, versions
from puq_qmri.devices import checked_device
from puq_qmri.networks import UnrolledNetwork
from puq_qmri.networks.variance import VarianceHead
from puq_qmri.networks.weights import save_weights
from puq_qmri.training import checkpoints
from puq_qmri.training.checkpoints import Checkpoint
from puq_qmri.training.data import Example, Examples, Kept, SimulatedExamples, batches
from puq_qmri.training.distributed import Group, group
from puq_qmri.training.measured import measured_examples
from puq_qmri.training.objectives import MeanObjective, Objective, VarianceObjective
from puq_qmri.training.optimisation import (
    RunningMean,
    build_optimiser,
    learning_rate,
    optimiser_tensors,
    restore_optimiser,
    set_rate,
    take_step,
)
from puq_qmri.training.report import model_card, write_report
from puq_qmri.training.run_folder import Curves, Ledger, check_output, clear, held
from puq_qmri.training.settings import TrainingSettings
from puq_qmri.training.sources import list_sources
from puq_qmri.training.stopping import StopRequests

WEIGHTS = "weights"
_LOG = logging.getLogger(__name__)
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a finished training left.

    Attributes
    ----------
    folder
        Of the run.
    weights
        Folder of the weights.
    validation
        Last numbers of each stage.
    """

    folder: Path
    weights: Path
    validation: dict[str, dict[str, float]]


def train(
    settings: TrainingSettings, output: str | Path, *, resume: bool = False, force: bool = False, say: Say = _LOG.info
) -> TrainingResult:
    """Train a network, and then its variance head.

    Parameters
    ----------
    settings
        What, on what, and how.
    output
        Folder of the run.
    resume
        Go on with the run in `output`; where there is none, start one.
    force
        Replace an earlier run in `output`.
    say
        Told what happens, a line at a time.

    Raises
    ------
    InputError
        If settings or data cannot be used, or differ from those of the run to be resumed.
    OutputExistsError, LockedError, OutputError, DiskFullError
        If `output` holds a run already, is used by another process, or cannot be written.
    NumericalError
        If the loss is no longer a finite number; the last checkpoint stays.
    """
    output = Path(output)
    wanted = _device(settings.device)
    with group(wanted, {name: s.batch for name, s in settings.stages.items()}) as (team, device), _state(settings):
        if team.first:
            check_output(output, resume=resume, force=force)
        sets = open_examples(settings, device)
        measured = settings.data.measured
        record = RunRecord(
            command="puq-qmri train",
            settings=settings,
            seed=settings.seed,
            inputs=[] if measured is None else list_sources(measured.folder),
            device=_device_name(device),
        )
        folder = held(output) if team.first else contextlib.nullcontext()
        with folder:
            if team.first:
                if force and not resume:
                    clear(output)
                sweep(output)
                ledger = Ledger.open(output, settings, record.as_dict()["inputs"])
            team.wait()
            if not team.first:
                ledger = Ledger.open(output, settings, record.as_dict()["inputs"])
            if ledger.state == "complete":
                say("done before")
                return TrainingResult(folder=output, weights=output / WEIGHTS, validation=ledger.facts)
            return _Run(settings, output, team, device, sets, record, say).finish(ledger)


def open_examples(settings: TrainingSettings, device: str) -> dict[str, Examples]:
    """The sets of examples by stage, and ``validation``.

    Raises
    ------
    InputError
        If measured data cannot be used.
    """
    data = settings.data
    every = {"mean": data.examples, "variance": data.variance_examples, "validation": data.validation}
    counts = {name: every[name] for name in (*settings.stages, "validation")}
    if settings.simulated is not None:
        parts = {"mean": "train"}
        return {
            name: SimulatedExamples(
                settings.simulated, settings.network, count=count, seed=settings.seed, part=parts.get(name, name), device=device
            )
            for name, count in counts.items()
        }
    assert data.measured is not None  # noqa: S101 - for the type checker
    return measured_examples(data.measured, settings.network, counts=counts, seed=settings.seed, device=device)


class _Run:
    """One training under way."""

    def __init__(
        self,
        settings: TrainingSettings,
        folder: Path,
        team: Group,
        device: str,
        sets: dict[str, Examples],
        record: RunRecord,
        say: Say,
    ) -> None:
        self.settings, self.folder, self.team, self.device, self.sets = settings, folder, team, device, sets
        self.say: Say = say if team.first else _LOG.debug
        self.record = record
        torch.manual_seed(settings.seed)
        self.network = UnrolledNetwork(settings.network).to(device)
        self.head = None if settings.head is None else VarianceHead(settings.head).to(device)
        for module in self.network.bodies:
            if settings.precision == "bf16":
                _in_bf16(module, device)
            if settings.compile:
                module.compile()
        self.curves = Curves(folder)
        self.facts: dict[str, dict[str, float]] = {}

    def finish(self, ledger: Ledger) -> TrainingResult:
        """Do what is left to do."""
        found = checkpoints.latest(self.folder)
        self.team.wait()
        if found is not None:
            self._restore(found)
        with StopRequests() as stop:
            names = list(self.settings.stages)
            for name in names[0 if found is None else names.index(found.stage) :]:
                self._stage(name, found if found is not None and found.stage == name else None, stop)
        if self.team.first:
            self._publish(ledger)
        self.team.wait()
        return TrainingResult(folder=self.folder, weights=self.folder / WEIGHTS, validation=self.facts)

    def _restore(self, found: Checkpoint) -> None:
        if found.stage not in self.settings.stages:
            raise ConfigError(f"checkpoint of {self.folder}", f"is of the stage {found.stage!r}", "start again with --force")
        self.network.load_state_dict(found.part("network"))
        if self.head is not None:
            self.head.load_state_dict(found.part("head"))
        self.facts = found.facts
        self.curves.load(self._number(found.stage, found.step))
        self.say(f"resuming in stage {found.stage} after step {found.step}")

    def _number(self, stage: str, step: int) -> int:
        """Steps of all stages."""
        names = list(self.settings.stages)
        return step + sum(self.settings.stages[n].steps for n in names[: names.index(stage)])

    def _objective(self, name: str) -> Objective:
        if name == "mean":
            return MeanObjective(self.network, self.settings.loss)
        assert self.head is not None  # noqa: S101 - for the type checker: there is no other stage without it
        return VarianceObjective(self.network, self.head, self.settings.beta)

    def _stage(self, name: str, found: Checkpoint | None, stop: StopRequests) -> None:
        stage, objective = self.settings.stages[name], self._objective(name)
        optimiser, mean = build_optimiser(objective.module, stage), RunningMean(objective.module, stage.ema)
        done = 0 if found is None else found.step
        if found is not None and done:
            restore_optimiser(optimiser, found.part("optimiser"))
            mean.tensors = {k: v.to(self.device) for k, v in found.part("mean").items()}
        place = list(self.settings.stages).index(name)
        items = Kept(self.sets[name], self.settings.data.kept, objective.prepare)
        judged = Kept(self.sets["validation"], len(self.sets["validation"]), objective.prepare)
        order = batches(self.sets[name], stage.batch, seed=(self.settings.seed, place), start=done)
        losses: list[float] = []
        for batch in items.ahead((self.team.share(next(order)) for _ in range(done, stage.steps)), self.settings.workers):
            torch.manual_seed(_mixed(self.settings.seed, place, done, self.team.rank))
            rate = learning_rate(stage, done)
            set_rate(optimiser, rate)
            where = f"stage {name}, step {done + 1}"
            loss, norm = take_step(objective.loss(batch), objective.module, optimiser, clip=stage.clip, where=where, team=self.team)
            mean.update(objective.module, done)
            done += 1
            losses.append(loss)
            last = done == stage.steps
            request = self.team.largest(stop.number, self.device)
            saves = last or bool(request) or done % self.settings.checkpoint_every == 0
            if last or saves or done % self.settings.log_every == 0:
                row = {"loss": sum(losses) / len(losses), "rate": rate, "gradient": norm}
                losses.clear()
                if last or done % self.settings.validate_every == 0:
                    row |= self._validate(name, objective, mean, judged)
                self._tell(name, done, row)
            if saves:
                self._save(name, done, optimiser, mean)
            if request:
                break
        # Once more, for a request that came with the last step.
        request = self.team.largest(stop.number, self.device)
        if request:
            self.say(f"stopped after step {done} of stage {name}; train again with --resume")
            stop.obey(request)
        mean.swap(objective.module)

    def _validate(self, name: str, objective: Objective, mean: RunningMean, judged: Kept) -> dict[str, float]:
        if not self.team.first:
            return {}
        mean.swap(objective.module)
        found = objective.validate(judged)
        mean.swap(objective.module)
        if not all(map(math.isfinite, found.values())):
            raise NumericalError(f"validation in stage {name}", f"gives {found}", "lower the learning rate, or look at the data")
        self.facts[name] = found
        return found

    def _tell(self, name: str, done: int, row: dict[str, float]) -> None:
        self.curves.add(name, done, self._number(name, done), row)
        shown = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in row.items() if k not in {"rate", "gradient"})
        line = f"{name} {done}/{self.settings.stages[name].steps}: {shown}"
        (self.say if len(row) > 3 else _LOG.info)(line)

    def _save(self, name: str, done: int, optimiser: Any, mean: RunningMean) -> None:
        if self.team.first:
            parts = {
                "network": self.network.state_dict(),
                "head": {} if self.head is None else self.head.state_dict(),
                "mean": mean.tensors,
                "optimiser": optimiser_tensors(optimiser),
            }
            tensors = {f"{part}.{key}": value for part, found in parts.items() for key, value in found.items()}
            checkpoint = Checkpoint(stage=name, step=done, tensors=tensors, facts=self.facts)
            self.curves.write()
            checkpoints.save(self.folder, checkpoint, self._number(name, done), keep=self.settings.keep)
        self.team.wait()

    def _publish(self, ledger: Ledger) -> None:
        recipe = {"settings": to_mapping(self.settings), "validation": self.facts, "versions": versions()}
        save_weights(
            self.folder / WEIGHTS,
            network=self.network,
            head=self.head,
            recipe=recipe,
            card=model_card(self.settings, self.facts),
            force=True,
        )
        self.record.extra = {"validation": self.facts}
        shown: list[Example] = [self.sets["validation"][i] for i in range(min(2, len(self.sets["validation"])))]
        write_report(self.folder, self.settings, self.curves, self.network, self.head, shown, self.record.as_dict())
        self.record.write(self.folder)
        ledger.complete(self.facts)
        checkpoints.remove(self.folder)


@contextlib.contextmanager
def _state(settings: TrainingSettings) -> Iterator[None]:
    """Random numbers and threads of the process, as before afterwards."""
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            if settings.threads:
                torch.set_num_threads(settings.threads)
            yield
    finally:
        torch.set_num_threads(threads)


def _mixed(*numbers: int) -> int:
    """A seed of all of them."""
    import numpy as np

    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _in_bf16(module: nn.Module, device: str) -> None:
    """Compute a small network in bfloat16, whatever it takes and gives; complex images have no such form."""
    own = module.forward

    def forward(x: Tensor) -> Tensor:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            found: Tensor = own(x)
        return found.float()

    module.forward = forward


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return checked_device(name, "device")


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
