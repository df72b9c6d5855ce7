"""Bias, spread and coverage of the estimates over many noise samples, against the Cramer-Rao bound.

Tissue at 3 T (Stanisz et al. 2005, doi 10.1002/mrm.20605; fat: de Bazelaire et al. 2004, doi 10.1148/radiol.2303021331) and
SNR 50, that is M0 over the deviation of the noise. The figures are printed: run with ``-rP`` to read them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from puq_qmri.fitting import Status, fit

N = 16_384
SIGMA = 1 / 50
T2 = {"muscle": 0.050, "white matter": 0.069, "grey matter": 0.099}
T1 = {"fat": 0.382, "white matter": 1.084, "muscle": 1.412, "grey matter": 1.820, "blood": 1.932}
CASES = [("t2", t, (1.0, v)) for t, v in T2.items()]
CASES += [("ir2", t, (1.0, v)) for t, v in T1.items()] + [("ir", t, (1.0, v, 1.9)) for t, v in T1.items()]


def bound(curve: Any, t: NDArray[np.float64], truth: tuple[float, ...], sigma: NDArray[np.float64] | float) -> float:
    """Least deviation of the second parameter that an unbiased estimate can have; derivatives by central differences."""
    point = np.array(truth)
    columns = []
    for i, value in enumerate(point):
        step = np.zeros_like(point)
        step[i] = 1e-6 * value
        columns.append((curve(t, *(point + step)) - curve(t, *(point - step))) / (2e-6 * value))
    jacobian = np.stack(columns, axis=1) / np.broadcast_to(sigma, t.shape)[:, None]
    return float(np.sqrt(np.linalg.inv(jacobian.T @ jacobian)[1, 1]))


def summary(result: Any, key: str, truth: float, limit: float) -> dict[str, float]:
    ok = result.status == Status.OK
    values, std = (m[key][ok].astype(np.float64) for m in (result.maps, result.std))
    inside = (result.low95[key][ok] <= truth) & (result.high95[key][ok] >= truth)
    return {
        "fitted": float(ok.mean()),
        "bias": float(values.mean() / truth - 1),
        "efficiency": limit / float(values.std()),
        "coverage": float(inside.mean()),
        "calibration": float(np.sqrt((std**2).mean()) / values.std()),
    }


@pytest.mark.parametrize(("name", "tissue", "truth"), CASES, ids=[f"{n}-{t}" for n, t, _ in CASES])
def test_estimates_reach_the_cramer_rao_bound_and_their_intervals_are_right(name, tissue, truth, times, curves, constant) -> None:
    rng = np.random.default_rng(20261124)
    t, key = times[name], constant[name]
    images = curves[name](t, *truth)[:, None, None, None] + SIGMA * rng.standard_normal((len(t), 1, 1, N))
    limit = bound(curves[name], t, truth, SIGMA)
    for sigma in (SIGMA, None):
        result = fit(images, t, name, sigma=sigma, signal="signed")
        found = summary(result, key, truth[1], limit)
        print(name, tissue, "known" if sigma else "unknown", {k: round(v, 4) for k, v in found.items()})  # noqa: T201 - see above
        assert found["fitted"] == 1
        assert abs(found["bias"]) < 0.01
        assert found["efficiency"] >= 0.95
        assert found["coverage"] == pytest.approx(0.95, abs=0.01)
        assert found["calibration"] == pytest.approx(1, abs=0.02)
        mean_square = result.chi2.mean(dtype=np.float64) / result.degrees_of_freedom
        assert mean_square / (1 if sigma else SIGMA**2) == pytest.approx(1, abs=0.02)


def test_weights_are_worth_what_the_bound_says(times, curves) -> None:
    """Contrasts of unequal noise: the weighted fit reaches the bound, the unweighted one does not."""
    rng = np.random.default_rng(20261125)
    t, truth = times["t2"], (1.0, 0.08)
    sigma = SIGMA * np.array([1.0, 4.0, 1.0, 0.5, 4.0, 1.0, 0.5, 6.0])
    images = curves["t2"](t, *truth)[:, None, None, None] + sigma[:, None, None, None] * rng.standard_normal((len(t), 1, 1, N))
    limit = bound(curves["t2"], t, truth, sigma)
    weighted, plain = (summary(fit(images, t, "t2", sigma=s, signal="signed"), "t2", truth[1], limit) for s in (sigma, None))
    print("weighted", weighted, "unweighted", plain)  # noqa: T201 - see above
    assert weighted["efficiency"] >= 0.97
    assert weighted["coverage"] == pytest.approx(0.95, abs=0.01)
    assert plain["efficiency"] < 0.8


def test_restored_polarity_costs_little_at_snr_50(times, curves) -> None:
    """Rician magnitudes of an inversion recovery against the signed fit of the same tissue."""
    rng = np.random.default_rng(20261126)
    t, truth, n = times["ir"], (1.0, 0.9, 1.9), 8192
    noise = SIGMA * rng.standard_normal((2, len(t), 1, 1, n))
    images = np.hypot(curves["ir"](t, *truth)[:, None, None, None] + noise[0], noise[1])
    found = summary(fit(images, t, "ir", sigma=SIGMA), "t1", truth[1], bound(curves["ir"], t, truth, SIGMA))
    print("magnitude ir", found)  # noqa: T201 - see above
    assert found["fitted"] > 0.999
    assert abs(found["bias"]) < 0.01
    assert found["efficiency"] >= 0.9
    assert found["coverage"] == pytest.approx(0.95, abs=0.02)
