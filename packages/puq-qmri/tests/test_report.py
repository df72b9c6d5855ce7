"""The pages say what the numbers are, draw the voxels they name, and warn where there is reason to."""

from __future__ import annotations

import re

import numpy as np
import pytest

from medcore.io import ImageSeries
from puq_qmri.evaluation import evaluate
from puq_qmri.fitting import FitResult
from puq_qmri.pipeline import fit_images
from puq_qmri.report import agreement_table, confidence_table, coverage_line, evaluation_report, maps_report
from puq_qmri.results import MapFolder
from puq_qmri.signal_models import get_model
from puq_qmri.voxel_fits import example_voxels

TE = np.array([0.01, 0.02, 0.04, 0.07, 0.1])
RECORD = {"command": "puq-qmri fit", "exit_state": "complete", "versions": {"puq-qmri": "0"}, "settings": {}}


def series(rng: np.random.Generator, noise: float = 1.0) -> ImageSeries:
    t2 = np.linspace(0.04, 0.12, 16 * 16).reshape(1, 16, 16)
    data = 100 * np.exp(-TE[:, None, None, None] / t2) + rng.normal(0, noise, (5, 1, 16, 16))
    return ImageSeries(data=np.abs(data).astype(np.float32), affine=np.eye(4), times={"te": TE}, repairs=("mended it",), source="m")


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<style>.*?</style>", "", page)))


@pytest.fixture
def fitted(rng: np.random.Generator) -> tuple[ImageSeries, FitResult]:
    images = series(rng)
    return images, fit_images(images, sigma=1.0)


def test_the_page_of_a_fit_shows_numbers_in_milliseconds_and_every_repair(fitted: tuple[ImageSeries, FitResult]) -> None:
    images, result = fitted
    page = maps_report("T2 & more", result, images, RECORD, sigma=1.0).html()
    text = words(page)
    median = 1e3 * float(np.median(result.maps["t2"]))
    assert f"T2 ms 256 {median:.4g}" in text
    assert "256 of 256 voxels with signal were fitted (100.0 %)" in text
    assert "Warning input: mended it" in text
    assert "T2 &amp; more" in text
    assert "weights: known deviations of the images" in text
    assert page.count("<img ") == 7  # T2, its two deviations, M0 and its deviation, misfit, voxels


def test_unknown_deviations_and_too_few_contrasts_are_said(rng: np.random.Generator) -> None:
    images = series(rng)
    text = words(maps_report("t", fit_images(images), images, RECORD).html())
    assert "residuals with 3 degrees of freedom give the intervals" in text
    two = images.select([0, 3])
    text = words(maps_report("t", fit_images(two), two, RECORD).html())
    assert "Warning as many contrasts as parameters and no known deviations: there is no confidence" in text


def test_a_wrong_deviation_is_a_warning(rng: np.random.Generator) -> None:
    images = series(rng)
    right = words(maps_report("t", fit_images(images, sigma=1.0), images, RECORD, sigma=1.0).html())
    wrong = words(maps_report("t", fit_images(images, sigma=0.2), images, RECORD, sigma=0.2).html())
    assert re.search(r"Passed median misfit (0\.9|1\.0)\d times that of noise alone", right)
    assert re.search(r"Warning median misfit 2\d\.\d\d times", wrong)


def test_example_voxels_lie_at_the_percentiles_they_name(fitted: tuple[ImageSeries, FitResult]) -> None:
    _, result = fitted
    inside = np.zeros(result.status.shape, bool)
    inside[:, 4:12] = True
    found = example_voxels(result, get_model("t2"), inside)
    values = result.maps["t2"][inside]
    assert [w for w, _ in found] == ["10th percentile", "50th percentile", "90th percentile"]
    for (_, where), percent in zip(found, (10, 50, 90), strict=True):
        assert inside[where]
        assert (values < result.maps["t2"][where]).mean() == pytest.approx(percent / 100, abs=0.01)
    assert example_voxels(result, get_model("t2"), np.zeros_like(inside)) == []


def test_magnitudes_of_inversion_recovery_are_drawn_as_magnitudes(rng: np.random.Generator) -> None:
    ti = np.array([0.05, 0.3, 0.7, 1.5, 3.0, 5.0])
    data = np.abs(100 * (1 - 2 * np.exp(-ti[:, None, None, None] / rng.uniform(0.5, 1.5, (1, 6, 6))))).astype(np.float32)
    images = ImageSeries(data=data, affine=np.eye(4), times={"ti": ti}, source="m")
    text = words(maps_report("t", fit_images(images), images, RECORD).html())
    assert "magnitude images: at low signal their noise floor" in text
    assert re.search(r"inversion (1 )?\d", text)  # the third parameter is in the table though it has no colours


def folders(shift: float) -> tuple[MapFolder, MapFolder]:
    truth = np.full((1, 8, 8), 0.1, np.float32)
    estimate = truth + np.float32(shift)
    std = np.full_like(truth, 0.01)
    maps = MapFolder(
        maps={"T2map": estimate},
        std={"T2map": std},
        low95={"T2map": estimate - 2 * std},
        high95={"T2map": estimate + 2 * std},
        affine=np.eye(4),
        source="maps",
    )
    return maps, MapFolder(maps={"T2map": truth}, affine=np.eye(4), source="truth")


def test_tables_of_agreement_are_in_milliseconds() -> None:
    maps, truth = folders(0.005)
    found = evaluate(maps, truth)
    columns, rows = agreement_table(found)
    row = dict(zip(columns, rows[0], strict=True))
    assert (row["map"], row["bias"], row["median error [%]"]) == ("T2map [ms]", 5.0, 5.0)
    assert confidence_table(found)[1][0] == ["T2map", "all", 100.0, 0.5]


@pytest.mark.parametrize(("coverage", "state"), [(0.95, "passed"), (0.8, "warned"), (0.995, "warned")])
def test_intervals_that_break_their_promise_either_way_are_a_warning(coverage: float, state: str) -> None:
    truth = np.full((1, 20, 20), 0.1, np.float32)
    miss = np.arange(400).reshape(truth.shape) >= round(400 * coverage)
    low = np.where(miss, np.float32(0.11), np.float32(0.09))
    maps = MapFolder(maps={"T2map": truth}, low95={"T2map": low}, high95={"T2map": low + 0.05}, affine=np.eye(4))
    found = evaluate(maps, MapFolder(maps={"T2map": truth}, affine=np.eye(4)))
    assert coverage_line(found[0]) == (
        state,
        f"T2map, all voxels of the reference: {100 * coverage:.1f} % of the 95 % intervals hold the reference",
    )


def test_the_page_of_a_comparison_shows_both_sides_error_and_calibration() -> None:
    maps, truth = folders(0.005)
    page = evaluation_report("Agreement", maps, truth, evaluate(maps, truth), RECORD).html()
    assert page.count("<img ") == 3
    assert "Warning T2map, all voxels of the reference: 100.0 % of the 95 % intervals hold the reference" in words(page)
