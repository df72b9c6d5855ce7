"""An independent fit by scipy, voxel by voxel, and measurements to fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize

CURVES: dict[str, Callable[..., NDArray[np.float64]]] = {
    "t2": lambda t, m0, t2: m0 * np.exp(-t / t2),
    "t2-offset": lambda t, m0, t2, c: m0 * np.exp(-t / t2) + c,
    "ir": lambda t, m0, t1, f: m0 * (1 - f * np.exp(-t / t1)),
    "ir2": lambda t, m0, t1: m0 * (1 - 2 * np.exp(-t / t1)),
}
"""The models once more, written by hand."""
TIMES = {
    "t2": np.array([0.010, 0.025, 0.040, 0.055, 0.070, 0.090, 0.115, 0.150]),
    "t2-offset": np.array([0.010, 0.020, 0.040, 0.060, 0.090, 0.130, 0.190, 0.280, 0.400]),
    "ir": np.array([0.05, 0.15, 0.35, 0.70, 1.20, 2.00, 3.00, 5.00]),
    "ir2": np.array([0.05, 0.15, 0.35, 0.70, 1.20, 2.00, 3.00, 5.00]),
}
CONSTANT = {"t2": "t2", "t2-offset": "t2", "ir": "t1", "ir2": "t1"}


@dataclass(frozen=True, kw_only=True)
class Referee:
    """scipy's estimate of one voxel."""

    parameters: NDArray[np.float64]
    std: NDArray[np.float64]
    chi2: float


@pytest.fixture(scope="session")
def curves() -> dict[str, Callable[..., NDArray[np.float64]]]:
    return CURVES


@pytest.fixture(scope="session")
def times() -> dict[str, NDArray[np.float64]]:
    return TIMES


@pytest.fixture(scope="session")
def constant() -> dict[str, str]:
    """Name of the time constant of each model."""
    return CONSTANT


@pytest.fixture(scope="session")
def scipy_fit() -> Callable[..., Referee]:
    """The best of several Levenberg-Marquardt fits, without bounds."""

    def run(name: str, t: NDArray[np.float64], y: NDArray[np.float64], sigma: NDArray[np.float64] | None) -> Referee:
        curve = CURVES[name]
        best: Referee | None = None
        for start in _starts(name, y):
            with warnings.catch_warnings():
                # Some starts, and some polarities, lead where no parameter is determined; they do not win.
                warnings.simplefilter("ignore", optimize.OptimizeWarning)
                warnings.filterwarnings("ignore", "overflow encountered|invalid value encountered", RuntimeWarning)
                try:
                    found, covariance = optimize.curve_fit(
                        curve, t, y, p0=start, sigma=sigma, absolute_sigma=sigma is not None, xtol=1e-12, ftol=1e-12, maxfev=5000
                    )
                except RuntimeError:  # no convergence from this start
                    continue
            chi2 = float((((y - curve(t, *found)) / (1 if sigma is None else sigma)) ** 2).sum())
            if best is None or chi2 < best.chi2:
                best = Referee(parameters=found, std=np.sqrt(np.diag(covariance)), chi2=chi2)
        assert best is not None, f"scipy found nothing for {y.tolist()}"
        return best

    return run


def _starts(name: str, y: NDArray[np.float64]) -> Sequence[tuple[float, ...]]:
    size = float(np.abs(y).max())
    if name == "t2":
        return [(size, 0.05), (size, 0.2)]
    if name == "t2-offset":
        return [(size, 0.03, 0.0), (size, 0.1, 0.1 * size), (size, 0.3, 0.0)]
    starts = [(size, 0.3), (size, 1.0), (size, 3.0)]
    return starts if name == "ir2" else [(*s, 1.9) for s in starts]


@pytest.fixture(scope="session")
def measure() -> Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Random voxels of tissue with noise: parameters (voxel, parameter) and images (contrast, 1, 1, voxel)."""

    def run(
        name: str, rng: np.random.Generator, n: int, sigma: float | NDArray[np.float64], unit: float = 100.0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        m0 = unit * rng.uniform(0.6, 1.4, n)
        spread = rng.uniform(0.04, 0.15, n) if name.startswith("t2") else rng.uniform(0.4, 2.2, n)
        truth = [m0, spread]
        if name == "t2-offset":
            truth.append(0.1 * unit * rng.uniform(0.5, 1.5, n))
        if name == "ir":
            truth.append(rng.uniform(1.7, 2.0, n))
        t = TIMES[name][:, None]
        noise = np.reshape(sigma, (-1, 1)) * rng.standard_normal((len(t), n))
        return np.stack(truth, axis=-1), (CURVES[name](t, *truth) + noise)[:, None, None, :]

    return run
