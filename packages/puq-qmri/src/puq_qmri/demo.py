"""The whole method on simulated measurements: T2 from Cartesian lines, T1 from radial spokes, judged against the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medcore.atomic import atomic_directory
from medcore.io import write_ismrmrd
from medcore.provenance import RunRecord
from medcore.report import Report
from puq_qmri.evaluation import Evaluation, evaluate
from puq_qmri.pipeline import PipelineSettings, reconstruct_and_fit
from puq_qmri.report import agreement_section, coverage_line, evaluation_report, maps_report
from puq_qmri.results import REPORT, read_maps, write_result, write_truth
from puq_qmri.simulation import SimulationSettings, simulate

EVALUATION = "evaluation"
"""Folder with the comparison of maps and truth."""


@dataclass(frozen=True, kw_only=True)
class DemoPart:
    """One simulated measurement of the demonstration and what came of it."""

    name: str
    title: str
    evaluations: list[Evaluation]


def parts(seed: int) -> dict[str, SimulationSettings]:
    """The measurements: default settings but for the sampling and a smaller matrix.

    Lines at twice the speed are what coils alone can separate, so that noise is the main error of ``cg-sense``. Spokes at four times
    the speed leave aliasing as well, which no interval made from noise contains.
    """
    return {
        "t2": SimulationSettings(model="t2", trajectory="cartesian", size=96, acceleration=2.0, seed=seed),
        "t1": SimulationSettings(model="t1", size=96, trajectory="radial", seed=seed),
    }


def run_demo(output: str | Path, *, seed: int = 0, force: bool = False, say: Callable[[str], None]) -> list[DemoPart]:
    """Simulate, reconstruct, fit and evaluate both measurements; write everything and one page that sums it up.

    Parameters
    ----------
    output
        Folder to be written; in it ``t2`` and ``t1``, each with ``scan.h5``, ``scan_truth``, ``maps`` and ``evaluation``.
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
    settings = PipelineSettings(seed=simulation.seed)
    record = RunRecord(command="puq-qmri demo", settings={"simulation": simulation, "pipeline": settings}, seed=simulation.seed)
    write_ismrmrd(folder / "scan.h5", kspace)
    write_truth(folder / "scan_truth", truth, kspace, record)
    say(f"{title}: reconstructing, measuring the noise, fitting")
    images, maps = reconstruct_and_fit(kspace, settings)
    write_result(
        folder / "maps",
        record,
        page=lambda content: maps_report(title, maps, images.series, content, sigma=images.deviation, images=images),
        series=images.series,
        maps=maps,
        images=images,
    )
    say(f"{title}: comparing with the truth")
    estimate, reference = read_maps(folder / "maps"), read_maps(folder / "scan_truth")
    estimate, reference = (dataclasses.replace(m, source=w) for m, w in ((estimate, "maps"), (reference, "simulated truth")))
    found = evaluate(estimate, reference)
    write_result(
        folder / EVALUATION,
        record,
        page=lambda content: evaluation_report(f"{title}: agreement with the truth", estimate, reference, found, content),
    )
    return DemoPart(name=name, title=title, evaluations=found)


def overview(done: list[DemoPart], record: dict[str, object]) -> Report:
    """The page that sums up the demonstration."""
    page = Report("puq-qmri demonstration", "simulated measurements of a digital brain with known T1 and T2")
    for part in done:
        for found in main_results(part):
            page.status(*coverage_line(found))
    for part in done:
        agreement_section(page, part.title, part.evaluations)
        page.text(f"Pages: {part.name}/maps/{REPORT} (the maps) and {part.name}/{EVALUATION}/{REPORT} (errors, calibration).")
    return page.provenance(record)


def main_results(part: DemoPart) -> list[Evaluation]:
    """Of the relaxation time, in all voxels and in those of one tissue."""
    return [found for found in part.evaluations if found.map_name == f"{part.name.upper()}map"]
