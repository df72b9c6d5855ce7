"""In-vivo series: a published map, known medians, and scipy's solution of the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize

from medcore.io import ImageSeries, read_nifti, read_npy
from puq_qmri.fitting import FitResult, Status, fit

pytestmark = pytest.mark.integration
TE_PROSTATE = 0.0264 + 0.0132 * np.arange(10)
TE_BRAIN = np.array([0.010, 0.025, 0.050, 0.090, 0.150, 0.250])
TI_BRAIN = np.array([0.05, 0.1, 0.2, 0.5, 2.0, 4.0])
N_COMPARED = 2500


def bright(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels whose largest magnitude is above 15 % of the image's."""
    largest = np.abs(images).max(axis=0)
    return largest > 0.15 * largest.max()


@pytest.fixture(scope="module")
def spin_echo(data_root: Path) -> tuple[ImageSeries, FitResult]:
    series = read_npy(data_root / "fsantini-t1t2" / "t2dataset.npy", times={"te": TE_BRAIN})
    return series, fit(series.data, series.times["te"], "t2")


@pytest.fixture(scope="module")
def inversion_recovery(data_root: Path) -> tuple[ImageSeries, FitResult]:
    series = read_npy(data_root / "fsantini-t1t2" / "t1dataset.npy", times={"ti": TI_BRAIN})
    return series, fit(series.data, series.times["ti"], "ir")


def test_the_published_prostate_map_is_reproduced(data_root: Path) -> None:
    series = read_nifti(data_root / "prostate-t2" / "invivo_000198.nii.gz", times={"te": TE_PROSTATE})
    published = 0.1452 * read_nifti(data_root / "prostate-t2" / "preds_000198_nlls.nii.gz").data[1]
    result = fit(series.data, series.times["te"], "t2")
    where = bright(series.data)
    assert where.sum() > 5000
    assert (result.status[where] == Status.OK).all()
    difference = np.abs(result.maps["t2"][where] / published[where] - 1)
    print(f"{where.sum()} pixels, median {np.median(difference):.2e}, 99 % {np.percentile(difference, 99):.2e}")  # noqa: T201
    assert np.median(difference) <= 1e-3
    assert np.percentile(difference, 99) <= 1e-3


def test_brain_t2(spin_echo: tuple[ImageSeries, FitResult]) -> None:
    series, result = spin_echo
    assert result.facts["signal"] == "magnitude"
    t2 = result.maps["t2"][bright(series.data)]
    print(f"median T2 {np.nanmedian(t2):.4f} s, fitted {np.isfinite(t2).mean():.4f}")  # noqa: T201
    assert 0.058 <= np.nanmedian(t2) <= 0.068
    assert np.isfinite(t2).mean() > 0.98


def test_brain_t1(inversion_recovery: tuple[ImageSeries, FitResult]) -> None:
    series, result = inversion_recovery
    assert result.facts["signal"] == "signed"
    where = bright(series.data)
    t1, inversion = result.maps["t1"][where], result.maps["inversion"][where]
    print(f"median T1 {np.nanmedian(t1):.4f} s, f {np.nanmedian(inversion):.3f}, fitted {np.isfinite(t1).mean():.4f}")  # noqa: T201
    assert 1.1 <= np.nanmedian(t1) <= 1.25
    assert 1.8 <= np.nanmedian(inversion) <= 1.95
    assert np.isfinite(t1).mean() > 0.98


def test_restored_polarity_in_the_brain(inversion_recovery: tuple[ImageSeries, FitResult]) -> None:
    series, signed = inversion_recovery
    where = bright(series.data) & (signed.status == Status.OK)
    magnitude = fit(np.abs(series.data), series.times["ti"], "ir")
    assert magnitude.facts["signal"] == "magnitude"
    difference = np.abs(magnitude.maps["t1"][where] / signed.maps["t1"][where] - 1)
    print(f"same T1 within 1 %: {np.nanmean(difference < 0.01):.4f}")  # noqa: T201
    assert np.mean(difference < 0.01) > 0.95


def decay(p: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    return p[0] * np.exp(-t / p[1])


def recovery(p: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    return p[0] * (1 - p[2] * np.exp(-t / p[1]))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("which", "curve", "key", "starts", "limits"),
    [
        ("spin_echo", decay, "t2", [(1.2, 0.02), (1, 0.07), (1, 0.4)], ([0, 1e-3], [np.inf, 5.0])),
        (
            "inversion_recovery",
            recovery,
            "t1",
            [(1, 0.2, 1.9), (1, 0.9, 1.9), (1, 3.0, 1.9)],
            ([0, 1e-2, 0], [np.inf, 10.0, np.inf]),
        ),
    ],
)
def test_scipy_finds_the_same(which, curve, key, starts, limits, request: pytest.FixtureRequest) -> None:
    """Bounded least squares from several starts, on random bright pixels; a pixel at a bound counts only if both say so."""
    series, result = request.getfixturevalue(which)
    t = next(iter(series.times.values()))
    pixels = np.argwhere(bright(series.data))
    chosen = np.random.default_rng(20261124).choice(pixels, N_COMPARED, replace=False)
    agree = 0
    for z, y, x in chosen:
        signal = series.data[:, z, y, x].astype(np.float64)
        size = np.abs(signal).max()
        runs = [
            optimize.least_squares(
                lambda p, s=signal / size: curve(p, t) - s, start, bounds=limits, x_scale=start, xtol=1e-12, ftol=1e-12
            )
            for start in starts
        ]
        best = min(runs, key=lambda r: r.cost)
        at_bound = bool(best.active_mask.any()) or not limits[0][1] * 1.001 < best.x[1] < limits[1][1] * 0.999
        if result.status[z, y, x] == Status.OK:
            agree += abs(result.maps[key][z, y, x] / best.x[1] - 1) <= 1e-3
        else:
            agree += at_bound
    print(f"{which}: {agree} of {N_COMPARED} pixels agree to 1e-3")  # noqa: T201
    assert agree >= 0.99 * N_COMPARED
