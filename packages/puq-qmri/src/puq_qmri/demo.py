"""The whole method on simulated measurements: T2 from Cartesian lines, T1 from radial spokes, judged against the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medcore.atomic import atomic_directory
from medcore.io import KSpace, write_ismrmrd
from medcore.provenance import RunRecord
from medcore.report import Report
from puq_qmri.evaluation import Evaluation, evaluate
from puq_qmri.pipeline import PipelineSettings, reconstruct_and_fit
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.report import agreement_section, coverage_line, evaluation_report, maps_report
from puq_qmri.results import REPORT, read_maps, write_result, write_truth
from puq_qmri.simulation import SimulationSettings, simulate
from puq_qmri.training.ranges import HELD_OUT_SEED

MAPS, EVALUATION = "maps", "evaluation"
"""Folders with the maps and with their comparison with the truth; those of other ways have their name behind."""
BESIDE: Literal["cg-sense"] = "cg-sense"
"""The way that assumes nothing about contrasts, for comparison."""


@dataclass(frozen=True, kw_only=True)
class DemoPart:
    """One simulated measurement of the demonstration and what came of it."""

    name: str
    title: str
    evaluations: list[Evaluation]
    beside: list[Evaluation]


def parts(seed: int) -> dict[str, SimulationSettings]:
    """The measurements: default settings but for the sampling and a smaller matrix, objects and coils that nothing was trained on.

    At four times the speed coils alone leave aliasing, which no interval made from noise contains.
    """
    held_out = HELD_OUT_SEED + seed
    return {
        "t2": SimulationSettings(model="t2", trajectory="cartesian", size=96, seed=held_out),
        "t1": SimulationSettings(model="t1", trajectory="radial", size=96, seed=held_out),
    }


def ways(seed: int) -> dict[str, PipelineSettings]:
    """By the end of the folders' names: what a scan gets by itself, and :data:`BESIDE` with propagated noise."""
    coils = ReconstructionSettings(method=BESIDE)
    return {
        "": PipelineSettings(seed=seed),
        f"-{BESIDE}": PipelineSettings(reconstruction=coils, uncertainty="pseudo-replica", seed=seed),
    }


def run_demo(output: str | Path, *, seed: int = 0, force: bool = False, say: Callable[[str], None]) -> list[DemoPart]:
    """Simulate, reconstruct, fit and evaluate both measurements; write everything and one page that sums it up.

    Parameters
    ----------
    output
        Folder to be written; in it ``t2`` and ``t1``, each with ``scan.h5``, ``scan_truth``, ``maps`` and ``evaluation``, and the last
        two once more for the way they are compared with.
    seed
        Of subjects, sampling, noise and replicas.
    force
        Whether an earlier demonstration may be replaced.
    say
        Gets a line for every step.

    Raises
    ------
    OutputError
        See :func:`medcore.atomic.atomic_directory`.
    """
    record = RunRecord(
        command="puq-qmri demo", settings={name: dataclasses.asdict(s) for name, s in parts(seed).items()}, seed=seed
    )
    with atomic_directory(output, force=force) as folder:
        done = [_part(folder / name, name, settings, say) for name, settings in parts(seed).items()]
        content = record.write(folder)
        overview(done, content).write(folder / REPORT)
    return done


def _part(folder: Path, name: str, simulation: SimulationSettings, say: Callable[[str], None]) -> DemoPart:
    title = f"{name.upper()} from {simulation.trajectory} samples, acceleration {simulation.acceleration:g}"
    folder.mkdir()
    say(f"{title}: simulating")
    kspace, truth = simulate(simulation)
    record = RunRecord(command="puq-qmri demo", settings={"simulation": simulation}, seed=simulation.seed)
    write_ismrmrd(folder / "scan.h5", kspace)
    write_truth(folder / "scan_truth", truth, kspace, record)
    found = {end: _maps(folder, end, title, kspace, simulation, settings, say) for end, settings in ways(simulation.seed).items()}
    return DemoPart(name=name, title=title, evaluations=found[""], beside=found[f"-{BESIDE}"])


def _maps(
    folder: Path,
    end: str,
    title: str,
    kspace: KSpace,
    simulation: SimulationSettings,
    settings: PipelineSettings,
    say: Callable[[str], None],
) -> list[Evaluation]:
    """Maps of one way, and how they agree with the truth."""
    record = RunRecord(command="puq-qmri demo", settings={"simulation": simulation, "pipeline": settings}, seed=simulation.seed)
    images, maps = reconstruct_and_fit(kspace, settings)
    record.extra = images.summary()
    way = f"{images.facts['method']}, {images.facts['uncertainty']}"
    write_result(
        folder / f"{MAPS}{end}",
        record,
        page=lambda content: maps_report(f"{title}: {way}", maps, images.series, content, sigma=images.deviation, images=images),
        series=images.series,
        maps=maps,
        images=images,
    )
    say(f"{title}: reconstructed and fitted ({way}), comparing with the truth")
    estimate, reference = read_maps(folder / f"{MAPS}{end}"), read_maps(folder / "scan_truth")
    estimate, reference = (dataclasses.replace(m, source=w) for m, w in ((estimate, way), (reference, "simulated truth")))
    found = evaluate(estimate, reference)
    write_result(
        folder / f"{EVALUATION}{end}",
        record,
        page=lambda content: evaluation_report(f"{title}: agreement with the truth", estimate, reference, found, content),
    )
    return found


def overview(done: list[DemoPart], record: dict[str, object]) -> Report:
    """The page that sums up the demonstration."""
    page = Report("puq-qmri demonstration", "simulated measurements of a digital brain with known T1 and T2")
    for part in done:
        for found in main_results(part):
            page.status(*coverage_line(found))
    for part in done:
        agreement_section(page, part.title, part.evaluations)
        agreement_section(page, f"{part.title}: {BESIDE} with propagated noise, for comparison", part.beside)
        for end in ("", f"-{BESIDE}"):
            maps, errors = (f"{part.name}/{folder}{end}/{REPORT}" for folder in (MAPS, EVALUATION))
            page.text(f"Pages: {maps} (the maps) and {errors} (errors, calibration).")
    return page.provenance(record)


def main_results(part: DemoPart, *, beside: bool = False) -> list[Evaluation]:
    """Of the relaxation time, in all voxels and in those of one tissue; `beside`: those of the way for comparison."""
    evaluations = part.beside if beside else part.evaluations
    return [found for found in evaluations if found.map_name == f"{part.name.upper()}map"]
