"""A contrast that cannot be reconstructed is data: an empty image of infinite variance that no fit uses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medcore.errors import InputError, NumericalError
from medcore.io import ImageSeries, KSpace, read_nifti, write_ismrmrd
from puq_qmri.csm import espirit
from puq_qmri.fitting import Status
from puq_qmri.networks.problem import build_problem
from puq_qmri.networks.settings import NetworkSettings
from puq_qmri.pipeline import PipelineSettings, fit_images, reconstruct_and_fit, reconstruct_images
from puq_qmri.reconstruction import ReconstructionSettings, reconstruct
from puq_qmri.simulation import SimulationSettings, Truth, simulate

SIZE, LOST = 32, 2


@pytest.fixture(scope="module", params=["cartesian", "radial"])
def measured(request: pytest.FixtureRequest) -> tuple[KSpace, Truth]:
    return simulate(SimulationSettings(size=SIZE, n_coils=6, acceleration=2.0, snr=80.0, trajectory=request.param))


def silent(kspace: KSpace, contrast: int = LOST) -> KSpace:
    """All samples of a contrast zero, as if they had been measured."""
    data = kspace.data.copy()
    data[contrast] = 0
    return dataclasses.replace(kspace, data=data)


def unsampled(kspace: KSpace, contrast: int = LOST) -> KSpace:
    """No sample of a contrast, which only a mask can say."""
    if kspace.mask is None:
        pytest.skip("a trajectory has as many samples in each contrast")
    mask = kspace.mask.copy()
    mask[contrast] = False
    return dataclasses.replace(silent(kspace, contrast), mask=mask)


def without(kspace: KSpace, contrast: int = LOST) -> KSpace:
    return kspace.select([i for i in range(kspace.n_contrasts) if i != contrast])


def settings(method: str, **changes: object) -> PipelineSettings:
    chosen = {"reconstruction": ReconstructionSettings(method=method), "uncertainty": "pseudo-replica", "n_replicas": 4}
    return PipelineSettings(**{**chosen, **changes})


@pytest.mark.parametrize("method", ["adjoint", "cg-sense", "subspace"])
@pytest.mark.parametrize("lose", [silent, unsampled])
def test_the_others_are_reconstructed_as_if_it_were_not_there(
    measured: tuple[KSpace, Truth], method: str, lose: Callable[[KSpace], KSpace]
) -> None:
    chosen = ReconstructionSettings(method=method)
    found = reconstruct(lose(measured[0]), chosen, model="t2").images.numpy()
    expected = reconstruct(without(measured[0]), chosen, model="t2").images.numpy()
    assert not found[LOST].any(), "an image was made up"
    # The strength of the subspace's wavelets is found with random noise, of another shape here.
    tolerance = 1e-2 if method == "subspace" else 1e-5
    np.testing.assert_allclose(np.delete(found, LOST, axis=0), expected, atol=tolerance * np.abs(expected).max())


def test_a_network_meets_the_problem_of_the_others(measured: tuple[KSpace, Truth]) -> None:
    csm, network = espirit(measured[0]), NetworkSettings()
    found, expected = (
        build_problem(k, csm, network, model="t2", level=0.1) for k in (silent(measured[0], 0), without(measured[0], 0))
    )
    # Sampling exactly; the scale of the noise is that of the start images, whose wavelets are found with random noise.
    np.testing.assert_allclose(found.conditions[:, 1:], expected.conditions[:, 1:], rtol=1e-5)
    np.testing.assert_allclose(found.conditions[:, 0], expected.conditions[:, 0], atol=1e-2)
    images = found.images(expected.start).numpy()
    assert not images[0].any()
    np.testing.assert_allclose(images[1:], expected.images(expected.start).numpy(), atol=1e-2 * np.abs(images).max())


@pytest.mark.parametrize("method", ["cg-sense", "subspace"])
@pytest.mark.parametrize("uncertainty", ["pseudo-replica", "none"])
def test_the_fit_leaves_it_out_and_says_so(measured: tuple[KSpace, Truth], method: str, uncertainty: str) -> None:
    kspace = silent(measured[0])
    images, maps = reconstruct_and_fit(kspace, settings(method, uncertainty=uncertainty))
    _, expected = reconstruct_and_fit(without(measured[0]), settings(method, uncertainty=uncertainty))
    if uncertainty == "none":
        assert images.deviation is None
    else:
        assert np.isinf(images.deviation[LOST]).all()
        covered = np.any(images.series.data, axis=0)
        assert np.isfinite(np.delete(images.deviation, LOST, axis=0)[:, covered]).all()
    assert maps.facts["left_out"] == [LOST]
    np.testing.assert_array_equal(maps.times, np.delete(kspace.times["te"], LOST))
    assert maps.degrees_of_freedom == kspace.n_contrasts - 3
    assert images.series.repairs == (f"no sample of contrast {LOST} of 8: image empty, variance infinite, not fitted",)
    both = (maps.status == Status.OK) & (expected.status == Status.OK) & (measured[1].maps["t2"] > 0)
    assert both.sum() > 0.9 * (expected.status == Status.OK)[measured[1].maps["t2"] > 0].sum()
    # Four replicas know a deviation to a third, and those of both runs differ; a zero taken for a signal changes T2 by a half.
    tolerance = 0.06 if uncertainty == "pseudo-replica" else 0.02
    assert np.median(np.abs(maps.maps["t2"][both] / expected.maps["t2"][both] - 1)) < tolerance


def test_a_contrast_without_a_centre_is_reconstructed_with_the_maps_of_the_others(measured: tuple[KSpace, Truth]) -> None:
    kspace, truth = measured
    if kspace.mask is None:
        pytest.skip("spokes go through the centre")
    mask = kspace.mask.copy()
    mask[LOST, :, SIZE // 2 - 2 : SIZE // 2 + 2] = False
    images = reconstruct_images(dataclasses.replace(kspace, data=kspace.data * mask[:, None], mask=mask), settings("subspace"))
    inside = np.isfinite(truth.maps["m0"])
    error = np.linalg.norm(np.abs(images.series.data) - np.abs(truth.images), axis=0)[inside]
    assert np.linalg.norm(error) < 0.15 * np.linalg.norm(truth.images[:, inside])
    assert np.isfinite(images.deviation[LOST][inside]).all()


def test_an_empty_image_in_a_file_is_left_out_too() -> None:
    te = np.linspace(0.01, 0.1, 5)
    data = np.repeat(np.exp(-te / 0.05)[:, None, None, None], 3, axis=-1).astype(np.float32)
    data[3] = 0
    series = ImageSeries(data=data, affine=np.eye(4), times={"te": te})
    for sigma in (None, 0.01, np.full(data.shape, 0.01, np.float32)):
        result = fit_images(series, sigma=sigma)
        np.testing.assert_allclose(result.maps["t2"], 0.05, rtol=1e-4)
        assert result.facts["left_out"] == [3]


def test_too_few_contrasts_with_signal_are_refused_with_both_numbers(measured: tuple[KSpace, Truth]) -> None:
    kspace = measured[0]
    for contrast in range(1, 8):
        kspace = silent(kspace, contrast)
    with pytest.raises(
        InputError, match=r"has 1 different te in its 1 contrasts with signal of 8, and model t2 estimates 2 parameters"
    ):
        reconstruct_and_fit(kspace, settings("cg-sense"))


def test_nothing_but_zeros_is_a_numerical_error(measured: tuple[KSpace, Truth]) -> None:
    kspace = dataclasses.replace(measured[0], data=np.zeros_like(measured[0].data))
    with pytest.raises(NumericalError, match=r"has no signal in the centre of k-space"):
        reconstruct_and_fit(kspace, settings("cg-sense"))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"times": {"te": [0.01, 0.02]}}, r"has 2 echo times for 8 contrasts"),
        ({"times": {"te": [0.01] * 9}}, r"has 9 echo times for 8 contrasts"),
        ({"mask": np.zeros((8, 1, SIZE, SIZE), bool)}, r"a mask that keeps no sample of any contrast"),
        ({"mask": np.ones((7, 1, SIZE, SIZE), bool)}, r"shape \(7, 1, 32, 32\); give booleans of shape \(8, 1, 32, 32\)"),
        ({"csm": np.ones((5, 1, SIZE, SIZE), np.complex64)}, r"shape \(5, 1, 32, 32\); give complex64 \(6, 1, 32, 32\)"),
        ({"csm": np.ones((6, 1, SIZE, 24), np.complex64)}, r"coil maps .* shape \(6, 1, 32, 24\); give complex64 \(6, 1, 32, 32\)"),
        ({"noise": np.ones((5, 100), np.complex64)}, r"noise of type complex64 and shape \(5, 100\); give complex64 \(6, samples\)"),
        ({"matrix": (1, SIZE, 24)}, r"grid \(1, 32, 32\) and matrix \(1, 32, 24\)"),
        ({"data": np.full((8, 6, 1, SIZE, SIZE), np.nan, np.complex64)}, r"a NaN or infinite sample at \(0, 0, 0, 0, 0\)"),
    ],
    ids=str,
)  # fmt: skip
def test_contradictions_are_one_error_that_names_both_values(changes: dict[str, object], match: str) -> None:
    kspace, _ = simulate(SimulationSettings(size=SIZE, n_coils=6, acceleration=1.0))
    with pytest.raises(InputError, match=match):
        dataclasses.replace(kspace, **changes)


@pytest.mark.parametrize(
    ("points", "match"),
    [
        (np.full((8, 5, 7, 2), 3.3, np.float32), r"trajectory points up to 3.3; give radians per sample within \[-pi, pi\]"),
        (np.full((8, 5, 7, 2), np.nan, np.float32), r"trajectory points up to nan"),
        (np.zeros((8, 4, 7, 2), np.float32), r"shape \(8, 4, 7, 2\); give float32 of shape \(8, 5, 7, 2 or 3\)"),
        (np.zeros((8, 5, 7, 4), np.float32), r"shape \(8, 5, 7, 4\)"),
        (np.zeros((8, 5, 7, 2), np.float64), r"trajectory of type float64"),
    ],
    ids=["outside", "nan", "length", "axes", "type"],
)
def test_trajectories_that_cannot_be_are_refused(points: np.ndarray, match: str) -> None:
    with pytest.raises(InputError, match=match):
        KSpace(data=np.ones((8, 2, 5, 7), np.complex64), matrix=(1, 8, 8), fov=(0.01, 0.2, 0.2), traj=points)


def test_the_command_line_tells_of_it(measured: tuple[KSpace, Truth], puq: Callable[..., object], tmp_path: Path) -> None:
    kspace = silent(measured[0])
    write_ismrmrd(tmp_path / "scan.h5", kspace)
    done = puq("run", tmp_path / "scan.h5", "-o", tmp_path / "out", "--replicas", 4)
    assert done.code == 0, done.err
    assert f"left out of the fit, without signal: contrast {LOST}" in done.out
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["left_out"] == [LOST]
    assert "has no signal anywhere and was left out" in (tmp_path / "out" / "report.html").read_text()
    deviation = read_nifti(tmp_path / "out" / "images" / "desc-std_images.nii.gz", times={}).data
    assert np.isnan(deviation[LOST]).all()
    again = puq("fit", tmp_path / "out" / "images", "-o", tmp_path / "again", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["left_out"] == [LOST]
    first, second = (read_nifti(tmp_path / n / "T2map.nii.gz", times={}).data for n in ("out", "again"))
    np.testing.assert_allclose(second, first, rtol=1e-3)
