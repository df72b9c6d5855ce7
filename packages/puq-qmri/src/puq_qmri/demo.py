"""The whole method on simulated measurements: T2 from Cartesian lines, T1 from radial spokes, judged against the truth.

And what weights by predicted deviations are worth: :mod:`puq_qmri.demo_weights`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from medcore.atomic import atomic_directory
from medcore.io import KSpace, write_ismrmrd
from medcore.provenance import RunRecord
from medcore.report import Report
from medcore.report.figures import calibration_figure
from puq_qmri.demo_weights import ACCELERATIONS, WEIGHTS, Model, WeightsRow, compare_weights
from puq_qmri.evaluation import Evaluation, evaluate
from puq_qmri.pipeline import PipelineSettings, reconstruct_and_fit
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.report import agreement_section, calibration_points, coverage_line, evaluation_report, maps_report
from puq_qmri.results import REPORT, read_maps, write_result, write_truth
from puq_qmri.simulation import SimulationSettings, simulate
from puq_qmri.training.ranges import HELD_OUT_SEED

MAPS, EVALUATION = "maps", "evaluation"
"""Folders with the maps and with their comparison with the truth; those of other ways have their name behind."""
BESIDE: Literal["cg-sense"] = "cg-sense"
"""The way that assumes nothing about contrasts, for comparison."""
LEVELS = (0.5, 0.68, 0.9, 0.95)
"""Levels of intervals that are judged in words."""


@dataclass(frozen=True, kw_only=True)
class DemoPart:
    """One simulated measurement of the demonstration and what came of it.

    Attributes
    ----------
    name, title
        ``t2`` or ``t1``, and what was measured.
    evaluations, beside
        Of the maps of the way that the scan gets by itself, and of :data:`BESIDE`.
    curve
        Nominal levels of intervals of the relaxation time, and the part of the voxels of one tissue that they hold.
    """

    name: str
    title: str
    evaluations: list[Evaluation]
    beside: list[Evaluation]
    curve: tuple[Float[np.ndarray, " level"], Float[np.ndarray, " level"]]

    def held(self) -> dict[float, float]:
        """The curve at :data:`LEVELS`."""
        return {level: float(np.interp(level, *self.curve)) for level in LEVELS}


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Everything that the demonstration shows."""

    parts: list[DemoPart]
    weights: list[WeightsRow]


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


def run_demo(output: str | Path, *, seed: int = 0, force: bool = False, say: Callable[[str], None]) -> Demo:
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
        say("T2 and T1 again, contrasts of unequal quality: equal, predicted, true and shuffled deviations as weights")
        found = Demo(parts=done, weights=[row for model in get_args(Model) for row in compare_weights(model, HELD_OUT_SEED + seed)])
        record.extra = {"weights": [dataclasses.asdict(row) for row in found.weights]}
        overview(found, record.write(folder)).write(folder / REPORT)
    return found


def _part(folder: Path, name: str, simulation: SimulationSettings, say: Callable[[str], None]) -> DemoPart:
    title = f"{name.upper()} from {simulation.trajectory} samples, acceleration {simulation.acceleration:g}"
    folder.mkdir()
    say(f"{title}: simulating")
    kspace, truth = simulate(simulation)
    record = RunRecord(command="puq-qmri demo", settings={"simulation": simulation}, seed=simulation.seed)
    write_ismrmrd(folder / "scan.h5", kspace)
    write_truth(folder / "scan_truth", truth, kspace, record)
    found = {end: _maps(folder, end, title, kspace, simulation, settings, say) for end, settings in ways(simulation.seed).items()}
    maps, reference = read_maps(folder / MAPS), read_maps(folder / "scan_truth")
    judged = f"{name.upper()}map"
    inside = np.isfinite(reference.maps[judged]) if reference.pure is None else reference.pure
    curve = calibration_points(maps, reference, judged, inside)
    return DemoPart(name=name, title=title, evaluations=found[""], beside=found[f"-{BESIDE}"], curve=curve)


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


def overview(demo: Demo, record: dict[str, object]) -> Report:
    """The page that sums up the demonstration."""
    page = Report("puq-qmri demonstration", "simulated measurements of a digital brain with known T1 and T2")
    for part in demo.parts:
        for found in main_results(part):
            page.status(*coverage_line(found))
    _weights_section(page, demo.weights)
    page.section("Intervals").figure(
        calibration_figure({f"{part.name.upper()}, voxels of one tissue": part.curve for part in demo.parts}),
        "How often intervals hold the truth, by the level they promise, for the way that a scan gets by itself.",
    )
    for part in demo.parts:
        agreement_section(page, part.title, part.evaluations)
        agreement_section(page, f"{part.title}: {BESIDE} with propagated noise, for comparison", part.beside)
        for end in ("", f"-{BESIDE}"):
            maps, errors = (f"{part.name}/{folder}{end}/{REPORT}" for folder in (MAPS, EVALUATION))
            page.text(f"Pages: {maps} (the maps) and {errors} (errors, calibration).")
    return page.provenance(record)


def _weights_section(page: Report, rows: list[WeightsRow]) -> None:
    fast = " and ".join(f"{a:g}" for a in ACCELERATIONS)
    page.section("What weights are worth").text(
        f"Contrasts undersampled by {fast} in turn are of unequal quality. Deviations that a variance head predicts for each contrast and "
        "voxel weigh them in the fit; beside that all contrasts weigh the same, or have their true errors as deviations, or those that "
        "were predicted for other contrasts. Where a reconstruction joins all contrasts its errors are alike in all of them, and there is "
        "little for weights to do."
    )
    columns = ["map", "reconstruction", *(f"{name} [%]" for name in WEIGHTS)]
    cells = [[row.model.upper(), row.method, *(round(100 * row.errors[name], 2) for name in WEIGHTS)] for row in rows]
    words = "; ".join(f"{name}: {text}" for name, text in WEIGHTS.items())
    page.table(columns, cells, caption=f"Median relative error over voxels of one tissue. Weights: {words}")


def main_results(part: DemoPart, *, beside: bool = False) -> list[Evaluation]:
    """Of the relaxation time, in all voxels and in those of one tissue; `beside`: those of the way for comparison."""
    evaluations = part.beside if beside else part.evaluations
    return [found for found in evaluations if found.map_name == f"{part.name.upper()}map"]
