"""Every reconstruction on simulated scans that nothing was trained or chosen on: errors of images and maps, and how far to trust them."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from _results import publish

from medcore.io.images import ImageSeries
from medcore.io.kspace import KSpace
from medcore.metrics import ause, gaussian_nll
from puq_qmri.calibration import Calibration
from puq_qmri.fitting import FitResult
from puq_qmri.held_out.scans import aligned
from puq_qmri.imaging import Estimate, PipelineSettings, estimate
from puq_qmri.networks.weights import load_weights
from puq_qmri.pipeline import fit_images, resolve_model
from puq_qmri.preparation import prepare
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.simulation import SimulationSettings, Truth, simulate
from puq_qmri.uncertainty import component_errors

SEED = 1_000_041
MODELS, TRAJECTORIES, ACCELERATIONS = ("t2", "t1"), ("cartesian", "radial"), (4.0, 6.0, 8.0)
ANATOMIES = (("knee", 40.0), ("tubes", 25.0))
"""Objects and their signal-to-noise ratios."""
KINDS = (
    ("adjoint", "none"),
    ("cg-sense", "pseudo-replica"),
    ("cg-sense", "learned"),
    ("subspace", "pseudo-replica"),
    ("subspace", "learned"),
    ("unrolled", "learned"),
)
REPLICAS, LEVEL, NORMAL = 16, 0.95, 1.959964
FIGURES = ("hold", "nll", "ause")


@dataclass
class Cell:
    """What the scans of one case and method gave, one list entry for each object."""

    nrmse: list[np.ndarray] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    map_error: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    trust: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in FIGURES})


def scans(model: str, trajectory: str, acceleration: float) -> Iterator[tuple[KSpace, Truth]]:
    """One scan of each object; its coil maps are not handed on."""
    for place, (anatomy, snr) in enumerate(ANATOMIES):
        yield simulate(
            SimulationSettings(
                model=model,
                trajectory=trajectory,
                acceleration=acceleration,
                anatomy=anatomy,
                size=96,
                field_strength=1.5,
                coils="loops",
                snr=snr,
                seed=SEED + place,
            )
        )


def measure(cell: Cell, kspace: KSpace, truth: Truth, method: str, uncertainty: str) -> None:
    """One reconstruction, its uncertainty and the fit of its maps."""
    name = resolve_model(None, kspace)
    settings = PipelineSettings(
        reconstruction=ReconstructionSettings(method=method),
        uncertainty=uncertainty,
        n_replicas=REPLICAS,
        calibration="none",
    )
    start = time.perf_counter()
    found = estimate(prepare(kspace), settings, model=name)
    cell.seconds.append(time.perf_counter() - start)
    known = torch.as_tensor(truth.images)
    true = aligned(known, found.images)
    inside = torch.as_tensor(np.isfinite(truth.maps["m0"]))
    error, size = ((x.abs().double() ** 2)[:, inside].sum(dim=1) for x in (found.images - true, true))
    cell.nrmse.append((error / size).sqrt().numpy())
    cell.whole.append(float((error.sum() / size.sum()).sqrt()))
    calibration = load_weights(method).calibration if uncertainty == "learned" else None
    series = ImageSeries(data=found.images.numpy(), affine=kspace.affine, times=kspace.times)
    prediction = found.prediction if calibration is None or found.prediction is None else calibration.apply(found.prediction)
    fitted = fit_images(series, name, sigma=None if prediction is None else prediction.std.numpy())
    cell.map_error.append(_map_error(fitted, truth, "t2" if "te" in kspace.times else "t1"))
    if found.prediction is not None:
        _trust(cell, found, true, inside, calibration)


def _map_error(fitted: FitResult, truth: Truth, key: str) -> float:
    """Median relative error over the voxels of one tissue; a voxel without a fit counts as wholly wrong."""
    wanted = truth.maps[key][truth.pure]
    error = np.abs(fitted.maps[key][truth.pure] - wanted) / wanted
    return float(np.median(np.where(np.isfinite(error), error, 1.0)))


def _trust(cell: Cell, found: Estimate, true: torch.Tensor, inside: torch.Tensor, calibration: Calibration | None) -> None:
    """For each contrast: how often intervals hold, likelihood of the errors in units of its signal, and how well they are ranked."""
    prediction = found.prediction
    assert prediction is not None  # noqa: S101 - for the type checker
    errors = component_errors(prediction.mean, true, real_images=found.real_images)
    deviation = (prediction if calibration is None else calibration.apply(prediction)).std
    half = NORMAL * deviation if calibration is None else calibration.interval(prediction, LEVEL)
    figures: dict[str, list[float]] = {key: [] for key in FIGURES}
    for contrast in range(len(true)):
        usable = inside & (deviation[contrast] > 0) & deviation[contrast].isfinite()
        wrong = errors[contrast][:, usable].double().numpy()
        std, width = (np.broadcast_to(x[contrast][usable].double().numpy(), wrong.shape) for x in (deviation, half))
        signal = float(true[contrast][usable].abs().double().square().mean().sqrt())
        figures["hold"].append(float((np.abs(wrong) <= width).mean()))
        for key, metric in (("nll", gaussian_nll), ("ause", ause)):
            value = metric(wrong.ravel() / signal, np.zeros(wrong.size), std.ravel() / signal).value
            figures[key].append(float("nan") if value is None else float(value))
    for key, values in figures.items():
        cell.trust[key].append(np.array(values))


def _numbers(values: list[np.ndarray], form: str) -> str:
    """Mean over the objects, contrast by contrast."""
    return " ".join(format(v, form) for v in np.mean(values, axis=0))


def main() -> None:
    """Measure every method on every case."""
    torch.set_num_threads(1)
    images, trust = [], []
    for model, trajectory, acceleration in itertools.product(MODELS, TRAJECTORIES, ACCELERATIONS):
        case = [model, f"{'lines' if trajectory == 'cartesian' else 'spokes'}, {acceleration:g}"]
        cells = {kind: Cell() for kind in KINDS}
        for kspace, truth in scans(model, trajectory, acceleration):
            for kind, cell in cells.items():
                measure(cell, kspace, truth, *kind)
        for (method, uncertainty), cell in cells.items():
            print(*case, method, uncertainty, cell.whole, cell.map_error, file=sys.stderr, flush=True)
            if uncertainty in {"none", "learned"}:
                maps = f"{100 * np.mean(cell.map_error):.1f} %"
                images.append([*case, method, f"{np.mean(cell.whole):.3f}", _numbers(cell.nrmse, ".2f"), maps])
            if uncertainty != "none":
                hold = 100 * np.array(cell.trust["hold"])
                trust.append(
                    [
                        *case,
                        f"{method}, {uncertainty}",
                        f"{hold.mean():.0f} %",
                        _numbers(list(hold), ".0f"),
                        f"{np.mean(cell.trust['nll']):.2f}",
                        _numbers(cell.trust["nll"], ".1f"),
                        f"{np.mean(cell.trust['ause']):.2f}",
                        _numbers(cell.trust["ause"], ".2f"),
                        f"{100 * np.mean(cell.map_error):.1f} %",
                        f"{np.mean(cell.seconds):.0f}",
                    ]
                )
    objects = " and ".join(f"{a} (signal-to-noise ratio {s:g})" for a, s in ANATOMIES)
    scans_note = (
        f"Means over {objects}, tissue values of 1.5 tesla, 96 x 96, eight coils of the geometry `loops`, eight contrasts; none of these "
        "objects, coils, field strengths and seeds was trained on or chosen settings with. Coil maps are estimated from the scan. "
    )
    publish(
        "reconstruction",
        "Reconstructions on simulated scans of another kind",
        ["", "sampling, acceleration", "method", "image error", "of each contrast", "median map error"],
        images,
        seed=SEED,
        note=scans_note
        + "Image error: root mean square of the complex difference over that of the truth, voxels with signal; the phase "
        "that coil maps leave open is taken out. Map error: median over voxels of one tissue of |difference| / truth of T2 or T1 "
        "(three-parameter inversion recovery), images weighted by `learned` deviations (adjoint: not weighted).",
    )
    publish(
        "uncertainty",
        "How far predicted deviations are to be trusted",
        [
            "",
            "sampling, acceleration",
            "method, uncertainty",
            "95 % intervals hold",
            "of each contrast",
            "NLL",
            "of each contrast",
            "AUSE",
            "of each contrast",
            "median map error",
            "seconds",
        ],
        trust,
        seed=SEED,
        note=scans_note
        + "Held: errors of one component of the images inside the interval of 95 %. NLL: Gaussian negative log-likelihood of "
        "these errors in units of the contrast's root mean square signal, in nat (smaller is better). AUSE: area under the sparsification "
        f"error (0: deviations rank the errors perfectly). `pseudo-replica` ({REPLICAS} repetitions) knows the noise alone; `learned` is "
        "calibrated on simulated brains, abdomens and shapes.",
    )


if __name__ == "__main__":
    main()
