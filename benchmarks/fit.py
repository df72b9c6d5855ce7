"""Speed and efficiency of the voxelwise fit beside scipy's, on simulated signals with known deviations."""

from __future__ import annotations

import time

import numpy as np
import torch
from _results import best_time, publish
from scipy.optimize import curve_fit

from puq_qmri.fitting import fit
from puq_qmri.signal_models import get_model

SEED, SNR = 0, 50.0
N_FAST, N_SCIPY = 65_536, 2_000
CASES = {
    "t2": (np.linspace(0.0125, 0.1, 8), lambda r, n: np.stack([np.full(n, 1000.0), r.uniform(0.04, 0.12, n)], -1)),
    "ir": (
        np.array([0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.6, 2.2, 3.2, 5.0]),
        lambda r, n: np.stack([np.full(n, 1000.0), r.uniform(0.5, 2.0, n), np.full(n, 1.9)], -1),
    ),
}


def bound(model: str, times: np.ndarray, truth: np.ndarray, sigma: float) -> np.ndarray:
    """Cramer-Rao bound of the deviation of the second parameter, a value a voxel."""
    jacobian = get_model(model).jacobian(torch.as_tensor(truth), torch.as_tensor(times)).numpy()
    covariance = np.linalg.inv(np.einsum("vcp,vcq->vpq", jacobian, jacobian)) * sigma**2
    return np.sqrt(covariance[:, 1, 1])


def t2_curve(t: np.ndarray, m0: float, t2: float) -> np.ndarray:
    """Signal in plain numpy, as a user of scipy would write it."""
    return m0 * np.exp(-t / t2)


def ir_curve(t: np.ndarray, m0: float, t1: float, f: float) -> np.ndarray:
    """As above, for the inversion recovery."""
    return m0 * (1 - f * np.exp(-t / t1))


def scipy_fit(model: str, times: np.ndarray, signals: np.ndarray) -> tuple[np.ndarray, float]:
    """Second parameter of every voxel by ``curve_fit`` as it comes, and voxels a second."""
    curve, start = (t2_curve, [signals.max(), 0.08]) if model == "t2" else (ir_curve, [signals.max(), 1.0, 2.0])
    begin = time.perf_counter()
    found = np.array([curve_fit(curve, times, y, p0=start)[0][1] for y in signals])
    return found, len(signals) / (time.perf_counter() - begin)


def main() -> None:
    """Measure both models."""
    torch.set_num_threads(1)
    rows = []
    for model, (times, draw) in CASES.items():
        rng = np.random.default_rng(SEED)
        truth = draw(rng, N_FAST)
        clean = get_model(model).signal(torch.as_tensor(truth), torch.as_tensor(times)).numpy()
        sigma = 1000.0 / SNR
        noisy = clean + rng.normal(0, sigma, clean.shape)
        images = noisy.T.reshape(len(times), 1, 1, -1)
        name = "t2" if model == "t2" else "t1"
        result = fit(images, times, model, sigma=sigma)
        limit = bound(model, times, truth, sigma)
        error = result.maps[name].ravel() - truth[:, 1]
        speed = N_FAST / best_time(lambda images=images, times=times, model=model: fit(images, times, model, sigma=20.0), 3)
        theirs, slow = scipy_fit(model, times, noisy[:N_SCIPY])
        other = theirs - truth[:N_SCIPY, 1]
        rows += [
            [model, "puq-qmri", f"{speed:,.0f}", _ratio(limit, error), f"{100 * np.mean(error / truth[:, 1]):+.2f} %"],
            [
                model,
                "scipy curve_fit",
                f"{slow:,.0f}",
                _ratio(limit[:N_SCIPY], other),
                f"{100 * np.mean(other / truth[:N_SCIPY, 1]):+.2f} %",
            ],
        ]
    note = f"{N_FAST:,} voxels (scipy: the first {N_SCIPY:,}), SNR {SNR:g}. Efficiency: Cramer-Rao bound over observed deviation."
    publish(
        "fit", "Voxelwise fit", ["model", "fitter", "voxels/s", "efficiency", "mean relative error"], rows, seed=SEED, note=note
    )


def _ratio(limit: np.ndarray, error: np.ndarray) -> str:
    return f"{float(np.sqrt(np.mean((error / limit) ** 2))) ** -1:.3f}"


if __name__ == "__main__":
    main()
