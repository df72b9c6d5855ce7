"""Result folders: complete, in SI units, readable by the readers they are meant for, or absent."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcore.atomic import verify_directory
from medcore.errors import InputError, OutputExistsError
from medcore.io import ImageSeries, read_nifti
from medcore.provenance import RunRecord
from medcore.report import Report
from puq_qmri.fitting import FitResult, Status
from puq_qmri.inputs import open_images
from puq_qmri.pipeline import fit_images
from puq_qmri.results import ReconstructedImages, foreground, read_maps, summary, write_images, write_result, write_truth
from puq_qmri.simulation import SimulationSettings, simulate

TE = np.array([0.01, 0.03, 0.06, 0.1])
AFFINE = np.diag([1e-3, 2e-3, 3e-3, 1.0])


@pytest.fixture
def series(rng: np.random.Generator) -> ImageSeries:
    t2 = rng.uniform(0.04, 0.12, (2, 6, 5))
    data = (100 * np.exp(-TE[:, None, None, None] / t2) + rng.normal(0, 0.5, (4, 2, 6, 5))).astype(np.float32)
    data[:, 0, 0, 0] = 0
    data[1, 0, 0, 1] = np.nan
    return ImageSeries(data=np.abs(data), affine=AFFINE, times={"te": TE}, meta={"field_strength": 3.0}, source="memory")


FIT_MAPS = ("desc-chi2_fit", "desc-pvalue_fit", "desc-effectivecontrasts_fit")


def record() -> RunRecord:
    return RunRecord(command="puq-qmri fit", settings={"model": "t2"}, seed=3)


def write(path: Path, series: ImageSeries, **options: Any) -> FitResult:
    result = fit_images(series, "t2", sigma=0.5)
    write_result(path, record(), page=lambda c: Report("page", c["command"]), series=series, maps=result, **options)
    return result


def test_a_folder_holds_every_map_with_its_companions(tmp_path: Path, series: ImageSeries) -> None:
    result = write(tmp_path / "maps", series)
    verify_directory(tmp_path / "maps")
    stems = {
        f"{kind}{name}map" for name in ("T2", "M0") for kind in ("", "desc-std_", "desc-low95_", "desc-high95_", "desc-status_")
    }
    names = {f"{stem}.{suffix}" for stem in [*stems, *FIT_MAPS] for suffix in ("nii.gz", "json")}
    assert {p.name for p in (tmp_path / "maps").iterdir()} == names | {"report.html", "run.json", "manifest.json"}
    for name, expected in (
        ("T2map", result.maps["t2"]),
        ("desc-std_M0map", result.std["m0"]),
        ("desc-chi2_fit", result.chi2),
        ("desc-pvalue_fit", result.p_value),
    ):
        image = read_nifti(tmp_path / "maps" / f"{name}.nii.gz")  # strict: the sidecar lists four echo times for one image
        np.testing.assert_array_equal(image.data[0], expected)
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-9)
    run = json.loads((tmp_path / "maps" / "run.json").read_text())
    assert (run["exit_state"], run["seed"], run["settings"]) == ("complete", 3, {"model": "t2"})


def test_maps_are_nan_exactly_where_the_status_says_so(tmp_path: Path, series: ImageSeries) -> None:
    write(tmp_path / "maps", series)
    status = read_nifti(tmp_path / "maps" / "desc-status_T2map.nii.gz").data[0]
    assert status[0, 0, 0] == Status.NO_SIGNAL
    assert status[0, 0, 1] == Status.NOT_FINITE
    for name in ("T2map", "desc-std_T2map", "desc-low95_M0map", *FIT_MAPS):
        values = read_nifti(tmp_path / "maps" / f"{name}.nii.gz").data[0]
        np.testing.assert_array_equal(np.isnan(values), status != Status.OK)


def test_an_open_limit_is_nan_in_its_file(tmp_path: Path, series: ImageSeries) -> None:
    result = fit_images(series, "t2", sigma=0.5)
    high = result.high95["t2"].copy()
    high[1, 2, 3] = np.inf
    result = dataclasses.replace(result, high95={**result.high95, "t2": high})
    write_result(tmp_path / "maps", record(), page=lambda c: Report("page", c["command"]), series=series, maps=result)
    found = read_maps(tmp_path / "maps")
    assert np.isnan(found.high95["T2map"][1, 2, 3])
    assert np.isfinite(found.low95["T2map"][1, 2, 3])
    sidecar = json.loads((tmp_path / "maps" / "desc-high95_T2map.json").read_text())
    assert "NaN beside a lower limit: the data do not end the interval" in sidecar["Description"]


def test_without_known_deviations_there_is_no_p_value(tmp_path: Path, series: ImageSeries) -> None:
    result = fit_images(series, "t2")
    write_result(tmp_path / "maps", record(), page=lambda c: Report("page", c["command"]), series=series, maps=result)
    assert not (tmp_path / "maps" / "desc-pvalue_fit.nii.gz").exists()
    assert np.nanmax(read_nifti(tmp_path / "maps" / "desc-effectivecontrasts_fit.nii.gz").data) == len(TE)


def test_sidecars_state_unit_model_and_source(tmp_path: Path, series: ImageSeries) -> None:
    write(tmp_path / "maps", series)
    sidecar = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "maps").glob("*map.json")}
    t2 = sidecar["T2map"]
    assert (t2["Units"], t2["SignalModel"], t2["EchoTime"], t2["MagneticFieldStrength"]) == ("s", "t2", TE.tolist(), 3.0)
    assert "Hahn 1950" in t2["EstimationReference"]
    assert sidecar["M0map"]["Units"] == "arbitrary"
    assert sidecar["desc-low95_T2map"]["ConfidenceLevel"] == 0.95
    assert set(sidecar["desc-status_T2map"]["Levels"]) == {str(int(s)) for s in Status}


def test_nothing_stays_when_the_page_fails(tmp_path: Path, series: ImageSeries) -> None:
    result = fit_images(series, "t2")

    def fail(_: dict[str, Any]) -> Report:
        raise InputError("page", "cannot be made", "try again")

    with pytest.raises(InputError, match="cannot be made"):
        write_result(tmp_path / "maps", record(), page=fail, series=series, maps=result)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_result_is_replaced_only_by_force(tmp_path: Path, series: ImageSeries) -> None:
    write(tmp_path / "maps", series)
    before = (tmp_path / "maps" / "manifest.json").read_bytes()
    with pytest.raises(OutputExistsError, match="exists already"):
        write(tmp_path / "maps", series)
    assert (tmp_path / "maps" / "manifest.json").read_bytes() == before
    write(tmp_path / "maps", dataclasses.replace(series, data=series.data[:, :1]), force=True)
    assert read_maps(tmp_path / "maps").maps["T2map"].shape == (1, 6, 5)


def test_maps_read_again_are_the_maps(tmp_path: Path, series: ImageSeries) -> None:
    result = write(tmp_path / "maps", series)
    found = read_maps(tmp_path / "maps")
    assert set(found.maps) == {"T2map", "M0map"}
    assert found.units == {"T2map": "s", "M0map": "arbitrary"}
    np.testing.assert_array_equal(found.low95["T2map"], result.low95["t2"])
    np.testing.assert_array_equal(found.std["M0map"], result.std["m0"])


def test_folders_without_maps_are_refused(tmp_path: Path, series: ImageSeries) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        read_maps(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no maps"):
        read_maps(tmp_path / "empty")
    write(tmp_path / "maps", series)
    twice = tmp_path / "maps" / "sub-01_T2map.nii.gz"
    twice.write_bytes((tmp_path / "maps" / "T2map.nii.gz").read_bytes())
    with pytest.raises(InputError, match="several files of T2map"):
        read_maps(tmp_path / "maps")


def test_images_written_are_read_as_complex_with_their_deviations(tmp_path: Path, rng: np.random.Generator) -> None:
    data = (rng.normal(size=(4, 1, 6, 5)) + 1j * rng.normal(size=(4, 1, 6, 5))).astype(np.complex64)
    deviation = rng.uniform(0.1, 1, data.shape).astype(np.float32)
    deviation[:, 0, 0, 0] = np.inf
    times = {"te": np.array([0.0, 0.02, 0.04, 0.08])}  # a first echo at zero, as in published protocols
    source = ImageSeries(data=data, affine=AFFINE, times=times, source="memory")
    write_images(tmp_path, ReconstructedImages(series=source, deviation=deviation, iterations=[1] * 4, residuals=[0.0] * 4))
    found, known = open_images([tmp_path])
    np.testing.assert_allclose(found.data, data, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(found.times["te"], times["te"])
    assert known is not None
    np.testing.assert_array_equal(known, np.where(np.isfinite(deviation), deviation, np.nan))


def test_the_truth_of_a_simulation_is_a_folder_of_maps(tmp_path: Path) -> None:
    kspace, truth = simulate(SimulationSettings(size=16, n_coils=2, acceleration=1.0))
    write_truth(tmp_path / "truth", truth, kspace, record())
    verify_directory(tmp_path / "truth")
    found = read_maps(tmp_path / "truth")
    np.testing.assert_array_equal(found.maps["T2map"], truth.maps["t2"])
    np.testing.assert_array_equal(found.pure, truth.pure)
    np.testing.assert_allclose(found.affine, kspace.affine, atol=1e-9)
    images = read_nifti(tmp_path / "truth" / "desc-noisefree_images.nii.gz")
    np.testing.assert_array_equal(images.times["te"], kspace.times["te"])


def test_the_summary_is_about_fitted_voxels_of_the_region(series: ImageSeries) -> None:
    result = fit_images(series, "t2", sigma=0.5)
    inside = np.zeros(series.shape, bool)
    inside[1] = True
    facts = summary(result, inside)["t2"]
    fitted = result.maps["t2"][1][result.status[1] == Status.OK]
    assert facts["voxels"] == fitted.size
    assert facts["median"] == pytest.approx(np.median(fitted), rel=1e-6)
    assert summary(result, np.zeros(series.shape, bool))["t2"] == {"voxels": 0, "unit": "s"}


def test_the_foreground_leaves_out_noise_and_survives_nan(rng: np.random.Generator) -> None:
    images = rng.normal(0, 5, (8, 1, 40, 40)).astype(np.float32)
    images[:, 0, 10:30, 10:30] += 30
    images[0, 0, 12, 12] = np.nan
    known = foreground(images, np.full(images.shape, 5.0, np.float32))
    truth = np.zeros((1, 40, 40), bool)
    truth[0, 10:30, 10:30] = True
    assert known[truth].all()
    assert known[~truth].mean() < 0.005
    assert not foreground(np.zeros((2, 1, 3, 3), np.float32)).any()
