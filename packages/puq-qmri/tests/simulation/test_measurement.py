from __future__ import annotations

import numpy as np
import pytest
import torch

from medcore.datasets.phantoms import ANATOMIES, relaxation_phantom
from medcore.errors import ConfigError, InputError
from puq_qmri.csm import espirit
from puq_qmri.operators import acquisition
from puq_qmri.simulation import (
    COILS,
    DEFAULT_TE,
    DEFAULT_TI,
    SimulationSettings,
    birdcage,
    coil_maps,
    contrast_images,
    draw_object,
    measure,
    simulate,
)
from puq_qmri.uncertainty import noise_level

SIZE = 48


def simulated(**changes):
    settings = SimulationSettings(**{"size": SIZE, **changes})
    return settings, *simulate(settings)


@pytest.mark.parametrize("trajectory", ["cartesian", "jittered", "radial", "spiral"])
@pytest.mark.parametrize("model", ["t2", "t1"])
def test_samples_are_the_truth_seen_by_the_coils_plus_noise_of_the_stated_level(trajectory, model):
    settings, kspace, truth = simulated(trajectory=trajectory, model=model, acceleration=2.0, snr=40.0)
    clean = acquisition(kspace, birdcage(settings.n_coils, SIZE))(torch.from_numpy(truth.images)).numpy()
    measured = np.ones(kspace.data.shape, bool) if kspace.mask is None else np.broadcast_to(kspace.mask[:, None], kspace.data.shape)
    deviation = (kspace.data - clean)[measured]
    inside = np.isfinite(truth.maps["m0"])
    level = np.abs(truth.images[:, inside]).mean(axis=1).max() / settings.snr
    for component in (deviation.real, deviation.imag):
        assert component.std() == pytest.approx(level, rel=0.02)
        assert abs(component.mean()) < 5 * level / np.sqrt(component.size)
    assert noise_level(kspace) == pytest.approx(level, rel=0.02)
    if kspace.mask is not None:
        assert not kspace.data[~measured].any()


def test_the_ratio_of_signal_to_noise_is_that_of_the_combined_image():
    """As the definition says, measured in images: fully sampled, combined with the true maps."""
    settings, kspace, truth = simulated(acceleration=1.0, snr=25.0)
    image = acquisition(kspace, birdcage(8, SIZE)).adjoint(torch.from_numpy(kspace.data)).numpy()
    inside = np.isfinite(truth.maps["m0"])
    signal = np.abs(truth.images[0, inside]).mean()
    noise = (image - truth.images)[:, inside]
    assert signal / noise.real.std() == pytest.approx(settings.snr, rel=0.03)
    assert signal / noise.imag.std() == pytest.approx(settings.snr, rel=0.03)


@pytest.mark.parametrize("anatomy", sorted([*ANATOMIES, "shapes"]))
@pytest.mark.parametrize("model", ["t2", "t1"])
def test_in_pure_voxels_images_follow_the_truth_maps(anatomy, model):
    _, kspace, truth = simulated(anatomy=anatomy, model=model)
    times, m0 = kspace.times["te" if model == "t2" else "ti"], truth.maps["m0"][truth.pure]
    constant = truth.maps[model][truth.pure]
    assert truth.pure.sum() > 100
    decay = np.exp(-times[:, None] / constant)
    expected = m0 * (decay if model == "t2" else 1 - 2 * decay)
    images = truth.images[:, truth.pure]
    phase = images[-1 if model == "t1" else 0] / np.abs(images[-1 if model == "t1" else 0])
    np.testing.assert_allclose((images / phase).real, expected, atol=2e-3 * m0.max())
    np.testing.assert_allclose((images / phase).imag, 0, atol=2e-3 * m0.max())


def test_default_times_and_own_times():
    assert simulated()[1].times["te"].tolist() == list(DEFAULT_TE)
    assert simulated(model="t1")[1].times["ti"].tolist() == list(DEFAULT_TI)
    _, kspace, truth = simulated(times=(0.02, 0.2))
    assert kspace.times["te"].tolist() == [0.02, 0.2]
    assert truth.images.shape == (2, 1, SIZE, SIZE)


def test_mixed_voxels_hold_the_sum_of_their_tissues():
    phantom = relaxation_phantom("brain", shape=(1, SIZE, SIZE))
    images = contrast_images(phantom, "t2", np.array([0.0, 0.05]))
    density = np.tensordot(phantom.m0, phantom.fractions, axes=1)
    np.testing.assert_allclose(np.abs(images[0]), density, atol=1e-5)
    late = np.tensordot(phantom.m0 * np.exp(-0.05 / phantom.t2), phantom.fractions, axes=1)
    np.testing.assert_allclose(images[1], late * np.exp(1j * phantom.phase), atol=1e-5)


def test_the_seed_decides_everything():
    first, same, other = (simulated(seed=s, trajectory="cartesian")[1:] for s in (3, 3, 4))
    assert np.array_equal(first[0].data, same[0].data)
    assert np.array_equal(first[0].noise, same[0].noise)
    assert np.array_equal(first[1].maps["t2"], same[1].maps["t2"], equal_nan=True)
    assert not np.array_equal(first[1].images, other[1].images)
    assert not np.array_equal(first[0].mask, other[0].mask)


def test_noise_scan_and_samples_hold_different_noise():
    _, kspace, _ = simulated(snr=1e-3, acceleration=1.0)  # nothing but noise
    samples, noise = kspace.data.ravel(), kspace.noise.ravel()
    n = min(len(samples), len(noise))
    assert abs(np.corrcoef(samples[:n], noise[:n])[0, 1]) < 0.03


def test_anatomies_and_field_strengths_differ():
    images = [simulated(anatomy=a)[2].images for a in sorted(ANATOMIES)]
    assert all(not np.allclose(a, b) for i, a in enumerate(images) for b in images[:i])
    low, high = (np.nanmedian(simulated(model="t1", field_strength=b)[2].maps["t1"]) for b in (1.5, 3.0))
    assert low < 0.95 * high  # T1 grows with the field


@pytest.mark.parametrize(
    ("trajectory", "acceleration", "fraction"),
    [("cartesian", 1.0, 1.0), ("cartesian", 4.0, 0.25), ("jittered", 4.0, 0.25), ("radial", 4.0, np.pi / 4)],
)
def test_acceleration_is_that_of_lines_and_spokes(trajectory, acceleration, fraction):
    _, kspace, _ = simulated(trajectory=trajectory, acceleration=acceleration)
    assert kspace.sampled_fraction == pytest.approx(fraction, rel=0.05)


@pytest.mark.parametrize(("size", "acceleration"), [(32, 4.0), (48, 4.0), (64, 6.0), (128, 8.0)])
def test_small_matrices_keep_enough_central_lines_for_coil_maps(size, acceleration):
    _, kspace, truth = simulated(size=size, acceleration=acceleration)
    correlation = np.abs((espirit(kspace).conj() * birdcage(8, size)).sum(axis=0))[np.isfinite(truth.maps["m0"])]
    assert np.median(correlation) > 0.99


def test_without_noise_samples_are_the_truth_seen_by_the_coils():
    _, kspace, truth = simulated(snr=float("inf"))
    clean = acquisition(kspace, birdcage(8, SIZE))(torch.from_numpy(truth.images)).numpy()
    assert kspace.noise is None
    np.testing.assert_array_equal(kspace.data, clean)


@pytest.mark.parametrize("trajectory", ["cartesian", "jittered"])
def test_each_contrast_may_have_its_own_acceleration(trajectory):
    wanted = (2.0, 6.0, 2.0, 4.0)
    _, kspace, _ = simulated(trajectory=trajectory, times=(0.01, 0.05, 0.1, 0.15), accelerations=wanted)
    assert [1 / m.mean() for m in kspace.mask] == pytest.approx(wanted, rel=0.02)
    assert not np.array_equal(kspace.mask[0], kspace.mask[2])
    assert kspace.meta["acceleration"] == list(wanted)


@pytest.mark.parametrize("coils", sorted(COILS))
def test_the_coils_asked_for_measure(coils):
    _, kspace, truth = simulated(coils=coils, acceleration=1.0, snr=float("inf"), seed=5)
    maps = coil_maps(coils, 8, SIZE, seed=5)
    clean = acquisition(kspace, maps)(torch.from_numpy(truth.images)).numpy()
    np.testing.assert_array_equal(kspace.data, clean)


def test_one_object_is_measured_again_with_other_noise_and_lines():
    settings = SimulationSettings(size=SIZE, anatomy="shapes", seed=2)
    phantom, maps = draw_object(settings), birdcage(8, SIZE)
    (first, truth), (second, same) = (measure(phantom, maps, settings, seed=s) for s in (7, 8))
    assert np.array_equal(truth.images, same.images)
    assert not np.array_equal(first.mask, second.mask)
    assert not np.array_equal(first.noise, second.noise)
    again, _ = measure(phantom, maps, settings, seed=7)
    assert np.array_equal(first.data, again.data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 15}, "has size 15"),
        ({"n_coils": 0}, "0 coils"),
        ({"snr": 0.0}, "snr 0"),
        ({"snr": float("nan")}, "snr nan"),
        (
            {"trajectory": "radial", "accelerations": (2.0,) * 8},
            r"accelerations of the contrasts: are \[2.0, .* for radial sampling",
        ),
        ({"accelerations": (2.0, 4.0)}, r"are \[2.0, 4.0\] for 8 contrasts; give one of at least 1"),
        ({"accelerations": (0.5,) * 8}, "for 8 contrasts; give one of at least 1"),
        ({"acceleration": 0.9}, "acceleration 0.9"),
        ({"acceleration": float("nan")}, "acceleration nan"),
        ({"times": (0.1, -0.1)}, r"times of the simulation: are \[0.1, -0.1\]"),
        ({"times": (float("nan"),)}, "times of the simulation: are"),
        ({"anatomy": "brian"}, "anatomy 'brian': is not one of .*did you mean 'brain'"),
        ({"field_strength": 7.0}, "7"),
        ({"acceleration": 40.0}, "acceleration: is 40"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(InputError, match=message):
        simulated(**changes)


@pytest.mark.parametrize(("name", "value"), [("model", "t3"), ("trajectory", "cartesien"), ("coils", "bird")])
def test_unknown_names(name, value):
    settings = SimulationSettings()
    object.__setattr__(settings, name, value)
    with pytest.raises(ConfigError, match=f"'{value}': is not one of"):
        settings.__post_init__()
