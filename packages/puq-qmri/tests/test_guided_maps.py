"""Weights, noise and outliers from the command line to the files, and through the pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medcore.io import ImageSeries, read_nifti, write_nifti
from puq_qmri.calibration import Calibration, Provenance, mixed_correlation
from puq_qmri.fitting import Guidance
from puq_qmri.pipeline import fit_images

Call = Callable[..., SimpleNamespace]
TE = (0.01, 0.025, 0.04, 0.055, 0.07, 0.09, 0.115, 0.15)
SIGMA = 0.1


@pytest.fixture
def magnitudes(tmp_path: Path) -> Path:
    """Spin echoes of T2 70 ms at an SNR of 10 with Rician noise, and background around them."""
    rng = np.random.default_rng(51)
    signal = np.zeros((8, 1, 40, 40))
    signal[:, :, 8:32, 8:32] = np.exp(-np.array(TE) / 0.07)[:, None, None, None]
    data = np.hypot(signal + SIGMA * rng.standard_normal(signal.shape), SIGMA * rng.standard_normal(signal.shape))
    place = np.diag([1e-3, 1e-3, 5e-3, 1])
    write_nifti(tmp_path / "echoes.nii.gz", data.astype(np.float32), place, sidecar={"EchoTime": list(TE)})
    mask = (signal[0] > 0).astype(np.float32)
    write_nifti(tmp_path / "mask.nii.gz", mask, place, sidecar={})
    write_nifti(tmp_path / "sigma.nii.gz", np.full(data.shape, SIGMA, np.float32), place, sidecar={})
    return tmp_path / "echoes.nii.gz"


def median(folder: Path) -> float:
    return float(np.nanmedian(read_nifti(folder / "T2map.nii.gz").data))


def test_rician_noise_with_the_deviation_of_the_background(puq: Call, magnitudes: Path) -> None:
    folder = magnitudes.parent
    given = ("--sigma", "background", "--mask", folder / "mask.nii.gz")
    plain = puq("fit", magnitudes, "-o", folder / "plain", *given, "-q")
    done = puq("fit", magnitudes, "-o", folder / "rician", *given, "--noise", "rician", "--json")
    assert (plain.code, done.code) == (0, 0), done.err
    assert json.loads(done.out)["noise"] == "rician"
    assert median(folder / "plain") > 0.073
    assert median(folder / "rician") == pytest.approx(0.07, rel=0.02)
    sidecar = json.loads((folder / "rician" / "T2map.json").read_text())
    assert sidecar["EstimationAlgorithm"].startswith("maximum likelihood for rician noise")
    assert "maximum likelihood for rician noise" in (folder / "rician" / "report.html").read_text()


def test_the_choice_of_weights_is_in_run_json_the_sidecar_and_on_the_page(puq: Call, magnitudes: Path) -> None:
    folder = magnitudes.parent
    write_nifti(
        folder / "labels.nii.gz",
        np.arange(1600, dtype=np.float32).reshape(1, 40, 40) // 800,
        np.diag([1e-3, 1e-3, 5e-3, 1]),
        sidecar={},
    )
    options = ("--sigma", folder / "sigma.nii.gz", "--labels", folder / "labels.nii.gz", "--mask", folder / "mask.nii.gz")
    done = puq("fit", magnitudes, "-o", folder / "maps", *options)
    assert done.code == 0, done.err
    assert "weights: misfit-aware (residuals over deviations, squared: " in done.out
    found = json.loads((folder / "maps" / "run.json").read_text())["weighting"]
    assert (found["rule"], found["taken"]) == ("auto", "misfit-aware")
    assert [r["region"] for r in found["regions"]] == ["label 0", "label 1"]
    assert 0.7 < found["regions"][0]["reduced_chi2"] < 1.4
    assert "averaged over regions" in json.loads((folder / "maps" / "T2map.json").read_text())["Weights"]
    assert "so that these weigh the contrasts" in (folder / "maps" / "report.html").read_text()


def test_options_that_need_what_is_not_there_are_refused(puq: Call, magnitudes: Path) -> None:
    folder = magnitudes.parent
    for option, message in (
        (("--noise", "rician"), "needs the deviation of the noise; give --sigma"),
        (("--weighting", "misfit-aware"), "needs deviations of the images"),
        (("--sigma", "0.08", "--weighting", "correlated"), "needs the correlation between contrasts"),
        (("--labels", folder / "sigma.nii.gz"), "holds 8 images"),
    ):
        done = puq("fit", magnitudes, "-o", folder / "x", *option)
        assert done.code == 2, option
        assert message in done.err


def test_a_calibrated_correlation_reaches_the_fit_without_the_contrast_that_is_missing(puq: Call, tmp_path: Path) -> None:
    rng = np.random.default_rng(52)
    correlation = 0.8 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    noise = np.linalg.cholesky(correlation) @ rng.standard_normal((8, 900))
    data = (np.exp(-np.array(TE) / 0.07)[:, None] + 0.03 * noise).reshape(8, 1, 30, 30).astype(np.float32)
    data[3] = 0
    series = ImageSeries(data=data, affine=np.eye(4), times={"te": np.array(TE)}, source="memory")
    guidance = Guidance(weighting="correlated", correlation=mixed_correlation(correlation))
    found = fit_images(series, "t2", sigma=0.03, guidance=guidance, signal="signed")
    assert found.facts["left_out"] == [3]
    assert np.shape(found.facts["correlation"]) == (7, 7)
    assert found.facts["weighting"]["taken"] == "correlated"
    plain = fit_images(series, "t2", sigma=0.03, signal="signed")
    assert np.nanstd(found.maps["t2"]) < 0.95 * np.nanstd(plain.maps["t2"])
    scale = (1.0,) * 8
    learned = tuple(tuple(float(v) for v in row) for row in correlation)
    Calibration(scale=scale, quantiles={0.95: 2.0}, correlation=learned, provenance=Provenance(n_scans=1, n_values=1)).write(
        tmp_path / "calibration.json"
    )
    np.save(tmp_path / "images.npy", data[[0, 1, 2, 4, 5, 6, 7, 7]])
    done = puq(
        "fit", tmp_path / "images.npy", "-o", tmp_path / "maps", "--te", ",".join(map(str, TE)), "--sigma", "0.03",
        "--signal", "signed", "--weighting", "correlated", "--correlation", tmp_path / "calibration.json", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["weighting"]["taken"] == "correlated"


def test_a_singular_correlation_is_made_invertible_by_mixing() -> None:
    mixed = mixed_correlation(np.ones((4, 4)).tolist())
    assert np.linalg.eigvalsh(mixed).min() == pytest.approx(0.05)
    np.testing.assert_allclose(np.diag(mixed), 1)
