"""The rule for the weights: deviations help where they are right, and do no harm where they are not."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from medcore.errors import ConfigError, InputError
from puq_qmri.fitting import FitResult, Guidance, Status, fit, guided_fit
from puq_qmri.fitting.weighting import MAX_RATIO, TRUSTED, weigh
from puq_qmri.pipeline import PipelineSettings, reconstruct_images
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.signal_models import get_model
from puq_qmri.simulation import SimulationSettings, simulate

TE = np.array([0.010, 0.025, 0.040, 0.055, 0.070, 0.090, 0.115, 0.150])
LEVELS = 0.02 * np.array([1.0, 4.0, 1.0, 0.5, 4.0, 1.0, 0.5, 2.0])
N = 1500
Maker = Callable[..., tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]]


def scene(
    seed: int = 41, *, misfit: float = 0.0, noise: float = 1.0, scatter: float = 0.2
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
    """Images, their true deviations, and the T2 that a fit without noise and weights gives."""
    rng = np.random.default_rng(seed)
    t2, m0 = rng.uniform(0.04, 0.15, N), rng.uniform(0.6, 1.4, N)
    sigma = noise * LEVELS[:, None] * np.exp(scatter * rng.standard_normal((8, N)))
    signal = m0 * ((1 - misfit) * np.exp(-TE[:, None] / t2) + misfit * np.exp(-TE[:, None] / (3 * t2)))
    truth = fit(signal[:, None, None], TE, "t2", signal="signed").maps["t2"]
    images = signal + sigma * rng.standard_normal((8, N))
    return images[:, None, None], sigma[:, None, None].astype(np.float32), truth


def error(result: FitResult, truth: NDArray[np.float32]) -> float:
    """Median relative error of T2."""
    ok = (result.status == Status.OK) & np.isfinite(truth)
    return float(np.median(np.abs(result.maps["t2"] - truth)[ok] / truth[ok]))


def guided(images: NDArray[np.float64], sigma: NDArray[np.float32], rule: str = "auto", **options: object) -> FitResult:
    return guided_fit(images, TE, get_model("t2"), sigma=sigma, guidance=Guidance(weighting=rule, **options), signal="signed")


def test_right_deviations_help_as_much_as_inverse_variances_do() -> None:
    images, sigma, truth = scene()
    plain, given, auto = (error(guided(images, sigma, rule), truth) for rule in ("none", "given", "auto"))
    assert auto < 0.55 * plain
    assert auto < 1.1 * given


@pytest.mark.parametrize("factor", [0.02, 0.9, 4.0])
def test_deviations_wrong_by_a_factor_never_harm(factor: float) -> None:
    images, sigma, truth = scene()
    plain, found = error(guided(images, sigma, "none"), truth), guided(images, sigma * np.float32(factor))
    assert error(found, truth) <= plain * 1.001
    region = found.facts["weighting"]["regions"][0]
    # Too small by more than the rule allows: it cannot know that the ranking is right all the same.
    assert (region["taken"] == "none") == (factor**-2 > TRUSTED)
    if factor < 1:
        assert region["c"] * factor**2 == pytest.approx(1, rel=0.2)


def test_shuffled_deviations_do_no_harm_where_inverse_variances_do() -> None:
    images, sigma, truth = scene()
    shuffled = np.random.default_rng(1).permuted(sigma, axis=0)
    plain, given, auto, aware = (error(guided(images, shuffled, r), truth) for r in ("none", "given", "auto", "misfit-aware"))
    assert given > 1.1 * plain
    assert auto <= plain * 1.001
    assert aware < 1.03 * plain


def test_a_wrong_model_does_not_make_weights_harmful() -> None:
    """Two components in a voxel and little noise: inverse variances move the effective T2."""
    images, sigma, truth = scene(misfit=0.2, noise=0.01)
    plain, given, auto, aware = (guided(images, sigma, r) for r in ("none", "given", "auto", "misfit-aware"))
    assert error(given, truth) > error(plain, truth)
    assert error(auto, truth) <= error(plain, truth) * 1.001
    assert error(aware, truth) < error(given, truth)
    region = aware.facts["weighting"]["regions"][0]
    assert region["reduced_chi2"] > 5
    assert region["tau"] > 0.5


@pytest.mark.parametrize("rule", ["none", "auto", "misfit-aware"])
def test_intervals_hold_the_truth_whatever_weighs(rule: str) -> None:
    images, sigma, truth = scene(seed=42)
    found = guided(images, sigma, rule)
    ok = found.status == Status.OK
    held = (found.low95["t2"] <= truth) & (truth <= found.high95["t2"])
    assert held[ok].mean() == pytest.approx(0.95, abs=0.02)


def test_deviations_that_are_too_small_do_not_make_intervals_too_narrow_but_too_large_ones_stay_wide() -> None:
    images, sigma, truth = scene(seed=43)
    small, right, large = (guided(images, sigma * np.float32(f)) for f in (0.25, 1.0, 4.0))
    held = (small.low95["t2"] <= truth) & (truth <= small.high95["t2"])
    assert held[small.status == Status.OK].mean() > 0.92
    ratio = large.std["t2"] / right.std["t2"]
    assert float(np.nanmedian(ratio)) == pytest.approx(4, rel=0.1)


def test_variances_that_differ_from_voxel_to_voxel_rank_only_if_residuals_confirm_it() -> None:
    images, sigma, truth = scene(scatter=0.8)
    flat = np.exp(np.log(sigma).mean(axis=-1, keepdims=True) + 0 * sigma)
    local, averaged = guided(images, sigma), guided(images, flat.astype(np.float32))
    assert local.facts["weighting"]["regions"][0]["voxelwise"]
    assert not averaged.facts["weighting"]["regions"][0]["voxelwise"]
    assert error(local, truth) < error(guided(images, sigma, "none"), truth)
    shuffled = np.random.default_rng(2).permuted(sigma, axis=-1)
    assert not guided(images, shuffled).facts["weighting"]["regions"][0]["voxelwise"]


def test_regions_are_judged_apart_and_small_ones_with_all() -> None:
    first, second = scene(seed=44), scene(seed=45)
    images = np.concatenate([first[0], second[0]], axis=1)
    sigma = np.concatenate([first[1], second[1] / 6], axis=1)
    model = get_model("t2")
    by_slice = weigh(images, TE, model, sigma, signal="signed")
    assert [r["region"] for r in by_slice.facts["regions"]] == ["slice 0", "slice 1"]
    assert [r["taken"] for r in by_slice.facts["regions"]] == ["misfit-aware", "none"]
    assert by_slice.facts["taken"] == "by region"
    assert by_slice.weights is not None
    assert np.ptp(by_slice.weights[:, 1]) == 0
    labels = np.zeros(images.shape[1:], np.int64)
    labels[1, 0, :20] = 7
    labels[:, 0, 700:] = 3
    found = weigh(images, TE, model, sigma, labels=labels, signal="signed").facts["regions"]
    assert [r["region"] for r in found] == ["label 0", "label 3", "rest"]


def test_weights_are_bounded_and_contrasts_without_deviation_are_left_out() -> None:
    images, sigma, _ = scene()
    sigma[0] *= 1e-4
    sigma[5, ..., ::2] = np.inf
    images[5, ..., ::2] = np.nan
    found = weigh(images, TE, get_model("t2"), sigma, rule="misfit-aware", signal="signed")
    assert found.weights is not None
    assert (found.weights[5, ..., ::2] == 0).all()
    assert found.weights.max() <= MAX_RATIO
    used = np.where(found.weights > 0, found.weights, np.nan)
    assert np.nanmin(used) >= np.float32(1 / MAX_RATIO)
    assert np.isinf(found.deviation[5, ..., ::2]).all()
    result = guided(images, sigma)
    assert (result.status == Status.OK).mean() > 0.95


def test_images_of_noise_get_no_weights_and_no_error() -> None:
    rng = np.random.default_rng(3)
    images, sigma = 0.02 * rng.standard_normal((8, 1, 1, N)), np.full((8, 1, 1, N), 0.02, np.float32)
    found = weigh(images, TE, get_model("t2"), sigma, signal="signed")
    assert found.facts["regions"][0]["voxels"] == 0
    assert found.facts["taken"] == "none"


def test_weights_in_fit_are_inverse_variances_or_propagate_given_ones(times, curves) -> None:
    images, sigma, _ = scene()
    weights = 1 / sigma.astype(np.float64) ** 2
    plain = fit(images, TE, "t2", sigma=sigma, signal="signed")
    same = fit(images, TE, "t2", sigma=sigma, weights=7 * weights, signal="signed")
    for field in ("maps", "std"):
        np.testing.assert_allclose(getattr(same, field)["t2"], getattr(plain, field)["t2"], rtol=2e-4)
    np.testing.assert_allclose(same.chi2, plain.chi2, rtol=1e-3)
    unscaled = fit(images, TE, "t2", weights=weights, signal="signed")
    np.testing.assert_allclose(unscaled.maps["t2"], plain.maps["t2"], rtol=2e-4)
    assert not unscaled.sigma_known


def test_the_deviations_of_an_unweighted_fit_are_those_of_the_sandwich() -> None:
    rng = np.random.default_rng(46)
    signal = np.exp(-TE / 0.07)
    images = (signal[:, None] + LEVELS[:, None] * rng.standard_normal((8, 6000)))[:, None, None]
    sigma = np.broadcast_to(LEVELS[:, None, None, None], images.shape)
    found = fit(images, TE, "t2", sigma=sigma, weights=np.ones(images.shape), signal="signed")
    ok = found.status == Status.OK
    centre, spread = np.percentile(found.maps["t2"][ok], 50), np.subtract(*np.percentile(found.maps["t2"][ok], (84.13, 15.87))) / 2
    assert float(np.median(found.std["t2"][ok])) == pytest.approx(float(spread), rel=0.06)
    assert float(centre) == pytest.approx(0.07, rel=0.02)
    assert float(found.chi2[ok].mean()) > 6.5, "chi-square is that of the deviations, not of the weights"


def test_what_cannot_be_is_refused() -> None:
    images, sigma, _ = scene()
    model = get_model("t2")
    with pytest.raises(ConfigError, match=r"--weighting 'misfit': .*did you mean 'misfit-aware'"):
        Guidance(weighting="misfit")
    with pytest.raises(ConfigError, match=r"--weighting misfit-aware: needs deviations of the images"):
        guided_fit(images, TE, model, guidance=Guidance(weighting="misfit-aware"))
    with pytest.raises(ConfigError, match=r"--weighting correlated: needs the correlation between contrasts"):
        guided_fit(images, TE, model, sigma=sigma, guidance=Guidance(weighting="correlated"))
    with pytest.raises(InputError, match=r"labels: have shape \(2, 2, 2\)"):
        weigh(images, TE, model, sigma, labels=np.zeros((2, 2, 2), int))
    with pytest.raises(InputError, match=r"weights: are negative or not finite"):
        fit(images, TE, "t2", weights=-np.ones(images.shape))
    with pytest.raises(InputError, match=r"weights: have shape \(8,\)"):
        fit(images, TE, "t2", weights=np.ones(8))
    with pytest.raises(ConfigError, match=r"--robust huber: does not go with weights other than inverse variances"):
        fit(images, TE, "t2", weights=np.ones(images.shape), robust="huber")


def test_the_facts_of_the_choice_travel_with_the_result() -> None:
    images, sigma, _ = scene()
    facts = guided(images, sigma).facts["weighting"]
    assert facts["rule"] == "auto"
    assert facts["regions"][0].keys() >= {"taken", "reduced_chi2", "c", "tau", "spread", "voxels", "outliers"}
    assert guided_fit(images, TE, get_model("t2"), signal="signed").facts["weighting"] == {"rule": "auto", "taken": "none"}
    assert guided_fit(images, TE, get_model("t2"), sigma=0.02, signal="signed").facts["weighting"]["taken"] == "given"


@pytest.mark.integration
@pytest.mark.parametrize("accelerations", [(), (2.0, 8.0) * 4], ids=["equal", "mixed"])
def test_guided_maps_of_simulated_scans_are_not_worse_than_unguided_ones(accelerations: tuple[float, ...]) -> None:
    """CG-SENSE at acceleration 5 or 2 and 8 mixed; seeds other than those the rule was found on."""
    gains: dict[str, list[float]] = {"pseudo-replica": [], "learned": []}
    naive: list[float] = []
    for seed, uncertainty in itertools.product((11, 12, 13), ("pseudo-replica", "learned")):
        kspace, truth = simulate(
            SimulationSettings(size=64, n_coils=6, acceleration=5.0, accelerations=accelerations, snr=40.0, seed=seed)
        )
        settings = PipelineSettings(
            reconstruction=ReconstructionSettings(method="cg-sense"), uncertainty=uncertainty, n_replicas=16
        )
        images = reconstruct_images(kspace, settings)
        true = np.where(truth.pure, truth.maps["t2"], np.nan)
        results = {
            rule: guided_fit(
                images.series.data,
                images.series.times["te"],
                get_model("t2"),
                sigma=_known(images.deviation),
                guidance=Guidance(weighting=rule),
            )
            for rule in ("none", "given", "auto")
        }
        plain = error(results["none"], true)
        gains[uncertainty].append(error(results["auto"], true) / plain - 1)
        naive.append(error(results["given"], true) / plain - 1)
        print(accelerations, seed, uncertainty, f"{plain:.4f} auto {gains[uncertainty][-1]:+.3f} given {naive[-1]:+.3f}")  # noqa: T201
    assert max(gains["pseudo-replica"]) < 0.005
    assert max(gains["learned"]) < 0.02
    if accelerations:
        assert np.mean(gains["learned"]) < -0.1
        assert max(naive) > 0.1, "inverse variances of the noise alone make these maps worse"


def _known(deviation: NDArray[np.float32] | None) -> NDArray[np.float32]:
    values = np.asarray(deviation)
    return np.where(values > 0, values, np.inf)
