"""Speed and efficiency of the voxelwise fit beside scipy's, on simulated signals with weights and deviations, one thread.

Every voxel and contrast has a deviation of its own, as a reconstruction gives it, and every fitter uses it as its weight and returns
deviations of its estimates, with the normal intervals that follow from them. ``--voxels`` shrinks the cases for a quick look, whose
table is not written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from _results import publish
from scipy.optimize import curve_fit

from puq_qmri.choices import Fitter
from puq_qmri.fitting import fit
from puq_qmri.signal_models import get_model

SEED, SIZE, N_SCIPY, ROUNDS = 0, 256, 2_000, 3
FITTERS: tuple[Fitter, ...] = ("variable-projection", "levenberg-marquardt")


def t2_curve(t: np.ndarray, m0: float, t2: float) -> np.ndarray:
    """Signal in plain numpy, as a user of scipy would write it."""
    return m0 * np.exp(-t / t2)


def ir_curve(t: np.ndarray, m0: float, t1: float, f: float) -> np.ndarray:
    """As above, for the inversion recovery."""
    return m0 * (1 - f * np.exp(-t / t1))


@dataclass(frozen=True)
class Case:
    """One table row's measurement: model, times, and ranges of the parameters after M0."""

    model: str
    label: str
    times: np.ndarray
    ranges: tuple[tuple[float, float], ...]
    curve: Callable[..., np.ndarray]
    start: tuple[float, ...]


CASES = (
    *(Case("t2", f"t2, {n} echoes", np.linspace(0.1 / n, 0.1, n), ((0.03, 0.15),), t2_curve, (1000.0, 0.08)) for n in (8, 16, 32)),
    Case(
        "ir",
        "ir, 10 times",
        np.array([0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.6, 2.2, 3.2, 5.0]),
        ((0.4, 2.2), (1.9, 1.9)),
        ir_curve,
        (1000.0, 1.0, 2.0),
    ),
)


def measured(case: Case, snr: float, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (voxel, parameter), signals and their deviations (voxel, contrast); deviations vary by a factor of two."""
    rng = np.random.default_rng(SEED)
    truth = np.stack([np.full(n, 1000.0), *(rng.uniform(*r, n) for r in case.ranges)], -1)
    clean = get_model(case.model).signal(torch.as_tensor(truth), torch.as_tensor(case.times)).numpy()
    sigma = 1000.0 / snr * np.exp(rng.uniform(-np.log(2) / 2, np.log(2) / 2, clean.shape))
    return truth, clean + sigma * rng.standard_normal(clean.shape), sigma


def bound(case: Case, truth: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Cramer-Rao bound of the deviation of the time constant, a value a voxel."""
    jacobian = get_model(case.model).jacobian(torch.as_tensor(truth), torch.as_tensor(case.times)).numpy() / sigma[:, :, None]
    return np.sqrt(np.linalg.inv(np.einsum("vcp,vcq->vpq", jacobian, jacobian))[:, 1, 1])


def best_cpu_time(function: Callable[[], object]) -> float:
    """Least CPU time of several runs in seconds: with one thread it is that of one core, however busy the machine."""
    times = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def scipy_fit(case: Case, signals: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, float]:
    """Time constant of every voxel by ``curve_fit`` with deviations, and voxels a second of one core."""
    begin, found = time.process_time(), []
    for y, s in zip(signals, sigma, strict=True):
        try:
            found.append(curve_fit(case.curve, case.times, y, p0=case.start, sigma=s, absolute_sigma=True)[0][1])
        except RuntimeError:  # no convergence
            found.append(np.nan)
    return np.array(found), len(signals) / (time.process_time() - begin)


def row(label: str, snr: float, fitter: str, speed: float, found: np.ndarray, truth: np.ndarray, limit: np.ndarray) -> list[str]:
    """Cells of the table."""
    ok = np.isfinite(found)
    error = (found - truth)[ok]
    efficiency = float(np.sqrt(np.mean((error / limit[ok]) ** 2))) ** -1
    bias = f"{100 * np.mean(error / truth[ok]):+.2f} %"
    return [label, f"{snr:g}", fitter, f"{speed:,.0f}", f"{efficiency:.3f}", bias, f"{100 * ok.mean():.2f} %"]


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, default=SIZE**2)
    n = parser.parse_args().voxels
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        for snr in (20.0, 50.0):
            truth, signals, sigma = measured(case, snr, n)
            limit, constant = bound(case, truth, sigma), truth[:, 1]
            images, deviation = (v.T.reshape(len(case.times), 1, 1, n).astype(np.float32) for v in (signals, sigma))
            model = get_model(case.model)
            for fitter in FITTERS:
                run = partial(fit, images, case.times, model, sigma=deviation, signal="signed", fitter=fitter, intervals="normal")
                found = run().maps["t2" if case.model == "t2" else "t1"].ravel().astype(np.float64)
                rows.append(row(case.label, snr, fitter, n / best_cpu_time(run), found, constant, limit))
            part = slice(0, min(N_SCIPY, n))
            theirs, slow = scipy_fit(case, signals[part], sigma[part])
            rows.append(row(case.label, snr, "scipy curve_fit", slow, theirs, constant[part], limit[part]))
    header = ["measurement", "SNR", "fitter", "voxels/s of a core", "efficiency", "mean relative error", "fitted"]
    if n != SIZE**2:
        for cells in (header, *rows):
            print(" | ".join(cells))
        return
    note = (
        f"{n:,} voxels (scipy: the first {N_SCIPY:,}), a deviation of its own for every value; speed by CPU time. Efficiency: "
        "Cramer-Rao bound over the root mean square error of all fitted voxels."
    )
    publish("fit", "Voxelwise fit", header, rows, seed=SEED, note=note)


if __name__ == "__main__":
    main()
