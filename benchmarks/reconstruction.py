"""Errors of images and maps, and what their intervals hold, for each reconstruction on simulated scans that no setting was chosen on."""

from __future__ import annotations

import time

import numpy as np
import torch
from _results import publish

from puq_qmri.pipeline import PipelineSettings, reconstruct_and_fit
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.simulation import SimulationSettings, simulate

SEED = 41
CASES = [
    (model, trajectory, acceleration, anatomy)
    for model, trajectory, acceleration in (
        ("t2", "cartesian", 4.0),
        ("t2", "cartesian", 6.0),
        ("t2", "radial", 6.0),
        ("t1", "cartesian", 4.0),
        ("t1", "radial", 4.0),
    )
    for anatomy in ("brain", "knee")
]
REPLICAS = 16


def measure(settings: SimulationSettings, method: str) -> list[str]:
    """One reconstruction and fit: image error, map error, coverage, seconds."""
    kspace, truth = simulate(settings)
    start = time.perf_counter()
    pipeline = PipelineSettings(reconstruction=ReconstructionSettings(method=method), n_replicas=REPLICAS)
    images, maps = reconstruct_and_fit(kspace, pipeline)
    seconds = time.perf_counter() - start
    wanted, inside = truth.maps[settings.model], truth.pure
    found = np.isfinite(maps.maps[settings.model]) & inside
    error = np.abs(maps.maps[settings.model] - wanted)[found] / wanted[found]
    held = ((maps.low95[settings.model] <= wanted) & (wanted <= maps.high95[settings.model]))[found]
    magnitudes = np.abs(truth.images)[:, inside]
    distance = np.linalg.norm(np.abs(images.series.data)[:, inside] - magnitudes) / np.linalg.norm(magnitudes)
    return [f"{distance:.3f}", f"{100 * np.median(error):.1f} %", f"{100 * held.mean():.0f} %", f"{seconds:.0f}"]


def main() -> None:
    """Measure every method on every case."""
    torch.set_num_threads(1)
    rows = []
    for model, trajectory, acceleration, anatomy in CASES:
        settings = SimulationSettings(
            model=model, trajectory=trajectory, acceleration=acceleration, anatomy=anatomy, field_strength=1.5, snr=40, seed=SEED
        )
        case = [model, f"{trajectory}, {acceleration:g}", anatomy]
        rows += [[*case, method, *measure(settings, method)] for method in ("cg-sense", "subspace")]
    note = (
        "128 x 128, 8 coils, 8 contrasts, signal-to-noise ratio 40, tissue values of 1.5 T; voxels of one tissue. Image error: root mean "
        f"square of the difference of magnitudes over that of the truth. Intervals from noise alone ({REPLICAS} pseudo-replicas) do not "
        "hold what undersampling and regularisation leave."
    )
    columns = [
        "",
        "sampling, acceleration",
        "anatomy",
        "method",
        "image error",
        "median map error",
        "95 % intervals hold",
        "seconds",
    ]
    publish("reconstruction", "Reconstructions on simulated scans", columns, rows, seed=SEED, note=note)


if __name__ == "__main__":
    main()
