"""Which kind of signal images hold, the phase of complex voxels, the polarity of magnitudes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError
from puq_qmri.fitting import Status, fit
from puq_qmri.fitting.signals import signal_type, to_real
from puq_qmri.signal_models import get_model

REAL, NEGATIVE = np.array([0.0, 2.0, np.nan], np.float32), np.array([0.0, -2.0, np.nan], np.float32)
COMPLEX, COUNTS = REAL.astype(np.complex64), np.array([3, 0], np.uint16)


@pytest.mark.parametrize(
    ("images", "requested", "expected"),
    [
        (REAL, "auto", "magnitude"),
        (NEGATIVE, "auto", "signed"),
        (COMPLEX, "auto", "complex"),
        (COUNTS, "auto", "magnitude"),
        (np.full(3, np.nan), "auto", "magnitude"),
        (REAL, "signed", "signed"),
        (REAL, "magnitude", "magnitude"),
        (COMPLEX, "magnitude", "magnitude"),
        (NEGATIVE, "signed", "signed"),
    ],
)
def test_the_kind_of_signal(images, requested, expected) -> None:
    assert signal_type(images, requested) == expected


@pytest.mark.parametrize(
    ("images", "requested", "message"),
    [
        (REAL, "phase", r"--signal: is 'phase'; choose one of auto, signed, magnitude, complex"),
        (REAL, "complex", r"--signal complex: was asked of float32 images; give complex images"),
        (NEGATIVE, "magnitude", r"--signal magnitude: was asked of images down to -2; use --signal signed"),
        (COMPLEX, "signed", r"--signal signed: was asked of complex64 images; use --signal complex"),
    ],
)
def test_a_request_that_contradicts_the_data_is_refused(images, requested, message) -> None:
    with pytest.raises(InputError, match=message):
        signal_type(images, requested)


def test_negative_values_outside_the_mask_do_not_make_magnitudes_signed(times, curves) -> None:
    t = times["ir"]
    images = np.abs(curves["ir"](t, 100.0, 1.2, 1.9))[:, None, None, None] * np.ones((1, 1, 1, 2))
    images[:, 0, 0, 1] = -1.0
    result = fit(images, t, "ir", mask=np.array([[[True, False]]]))
    assert result.facts["signal"] == "magnitude"
    assert result.maps["t1"][0, 0, 0] == pytest.approx(1.2, rel=1e-5)


@pytest.mark.parametrize("name", ["t2", "t2-offset", "ir", "ir2"])
@given(angle=st.floats(-7, 7), size=st.floats(-6, 6))
def test_any_common_phase_is_removed(name, angle, size, times, curves) -> None:
    parameters = {"t2": (1.0, 0.08), "t2-offset": (1.0, 0.08, 0.1), "ir": (1.0, 1.2, 1.9), "ir2": (1.0, 1.2)}[name]
    signal = 10**size * curves[name](times[name], *parameters)
    found = to_real(signal * np.exp(1j * angle), "complex", get_model(name), times[name])
    np.testing.assert_allclose(found, signal, rtol=1e-9, atol=1e-9 * np.abs(signal).max())


@pytest.mark.parametrize("name", ["t2", "ir"])
def test_a_smooth_phase_and_one_at_random_are_the_same_to_the_fit(name, rng, times, measure) -> None:
    _, images = measure(name, rng, 300, 0.0)
    noise = rng.standard_normal((2, *images.shape)) * 3
    smooth = np.exp(1j * np.linspace(-3, 9, 300))
    wild = np.exp(1j * rng.uniform(-np.pi, np.pi, 300))
    # Noise that turns with the signal, so that both measurements are equal but for the phase.
    one, other = (fit((images + noise[0] + 1j * noise[1]) * phase, times[name], name, sigma=3.0) for phase in (smooth, wild))
    np.testing.assert_array_equal(one.status, other.status)
    for parameter in one.maps:
        np.testing.assert_allclose(one.maps[parameter], other.maps[parameter], rtol=1e-5)


def test_noise_in_the_phase_scales_m0_and_leaves_t1_alone(rng, times, curves) -> None:
    """Theory: all contrasts of a voxel grow by 1 + sigma^2 / (2 sum s^2) on average."""
    t, n, sigma = times["ir2"], 200_000, 0.08
    signal = curves["ir2"](t, 1.0, 1.2)
    noise = sigma * (rng.standard_normal((len(t), n)) + 1j * rng.standard_normal((len(t), n)))
    found = to_real((signal[:, None] + noise) * np.exp(2.0j), "complex", get_model("ir2"), t).mean(axis=1)
    growth = 1 + sigma**2 / (2 * (signal**2).sum())
    np.testing.assert_allclose(found, growth * signal, atol=4 * sigma / np.sqrt(n))


@pytest.mark.parametrize("name", ["t2", "ir"])
def test_complex_fits_are_unbiased_and_their_intervals_right_at_low_snr(name, rng, times, curves, constant) -> None:
    t, n, sigma = times[name], 20_000, 1 / 20
    truth = {"t2": (1.0, 0.08), "ir": (1.0, 1.0, 1.9)}[name]
    signal = curves[name](t, *truth)[:, None]
    phase = np.exp(1j * rng.uniform(-np.pi, np.pi, n))
    noise = sigma * (rng.standard_normal((len(t), n)) + 1j * rng.standard_normal((len(t), n)))
    result = fit((signal * phase + noise)[:, None, None, :], t, name, sigma=sigma)
    ok = result.status == Status.OK
    assert ok.mean() > 0.999
    key = constant[name]
    real = fit((signal + noise.real)[:, None, None, :], t, name, sigma=sigma, signal="signed")
    # Not more bias or spread than with the true phase.
    mean, mean_real = (np.median(r.maps[key][ok]) for r in (result, real))
    assert mean == pytest.approx(mean_real, rel=5e-3)
    covered = ((result.low95[key] <= truth[1]) & (result.high95[key] >= truth[1]))[ok].mean()
    assert covered == pytest.approx(0.95, abs=0.01)


def test_the_noise_of_a_bad_contrast_does_not_turn_the_phase(rng, times, curves) -> None:
    t, n = times["t2"], 500
    sigma = np.full(len(t), 0.5)
    sigma[2] = 500.0
    signal = curves["t2"](t, 100.0, 0.08)[:, None]
    noise = sigma[:, None] * (rng.standard_normal((len(t), n)) + 1j * rng.standard_normal((len(t), n)))
    result = fit(((signal + noise) * np.exp(0.7j))[:, None, None, :], t, "t2", sigma=sigma)
    assert (result.status == Status.OK).all()
    assert np.abs(result.maps["m0"] - 100).max() < 6


def test_a_last_inversion_time_that_is_still_negative_does_not_turn_the_sign(curves) -> None:
    t = np.array([0.02, 0.1, 0.3, 0.6, 1.0])
    images = (curves["ir2"](t, 50.0, 2.5) * np.exp(0.4j))[:, None, None, None]
    result = fit(images, t, "ir2")
    assert result.status.item() == Status.OK
    assert result.maps["m0"].item() == pytest.approx(50, rel=1e-5)
    assert result.maps["t1"].item() == pytest.approx(2.5, rel=1e-5)


def test_off_resonance_does_not_shorten_t2star() -> None:
    t = np.arange(1, 9) * 4e-3
    images = (80 * np.exp(-t / 0.03 + 2j * np.pi * 70 * t))[:, None, None, None]
    result = fit(images, t, "t2star")
    assert result.facts["signal"] == "magnitude"
    assert result.maps["t2star"].item() == pytest.approx(0.03, rel=1e-5)


@pytest.mark.parametrize("name", ["ir", "ir2"])
def test_polarity_is_restored(name, rng, times, measure) -> None:
    _, images = measure(name, rng, 2000, 1.0)
    t = times[name]
    signed, magnitude = fit(images, t, name), fit(np.abs(images), t, name)
    assert (signed.facts["signal"], magnitude.facts["signal"]) == ("signed", "magnitude")
    assert (magnitude.status == Status.OK).all()
    # The sign of a value within the noise of zero is not to be known, and a wrong one moves T1 by less than its deviation.
    clear = (np.abs(images) > 4).all(axis=0)
    assert clear.mean() > 0.5
    np.testing.assert_allclose(magnitude.maps["t1"][clear], signed.maps["t1"][clear], rtol=1e-5)
    away = np.abs(magnitude.maps["t1"] - signed.maps["t1"]) / signed.std["t1"]
    assert np.percentile(away, 99) < 1


def test_doubt_about_the_polarity_widens_the_intervals(rng, times, curves) -> None:
    """T1 whose zero crossing meets an inversion time, and one whose zero crossing is far from all of them."""
    t, n = times["ir"], 8192
    noise = rng.standard_normal((2, len(t), n)) / 50
    coverage, widening = [], []
    for t1 in (0.7 / np.log(1.9), 0.8):
        signal = curves["ir"](t, 1.0, t1, 1.9)[:, None]
        magnitude = np.hypot(signal + noise[0], noise[1])[:, None, None, :]
        result = fit(magnitude, t, "ir", sigma=0.02)
        signed = fit((signal + noise[0])[:, None, None, :], t, "ir", sigma=0.02, signal="signed")
        coverage.append(((result.low95["t1"] <= t1) & (result.high95["t1"] >= t1)).mean())
        widening.append(np.median(result.std["t1"]) / np.median(signed.std["t1"]))
    print("coverage at the zero crossing and away from it", coverage, "std over that of the signed fit", widening)  # noqa: T201
    assert coverage[0] > 0.9
    assert widening[0] > 1.05
    assert coverage[1] == pytest.approx(0.95, abs=0.01)
    assert widening[1] == pytest.approx(1, abs=0.01)


def test_polarity_does_not_depend_on_the_order_of_equal_times(rng, curves) -> None:
    t = np.array([0.1, 0.4, 0.8, 0.8, 1.5, 1.5, 3.0])
    images = np.abs(curves["ir2"](t[:, None], 100.0, np.linspace(0.5, 2, 200)) + 8 * rng.standard_normal((7, 200)))[
        :, None, None, :
    ]
    swapped = images[[0, 1, 3, 2, 5, 4, 6]]
    one, other = (fit(x, t, "ir2") for x in (images, swapped))
    np.testing.assert_array_equal(one.status, other.status)
    np.testing.assert_allclose(one.maps["t1"], other.maps["t1"], rtol=1e-6)


def test_magnitudes_near_the_noise_floor_are_counted(rng, times, curves) -> None:
    t, n = times["t2"], 4000
    m0 = np.where(np.arange(n) < n // 4, 8.0, 200.0)  # a quarter of the voxels ends at 0.6 deviations
    noise = rng.standard_normal((2, len(t), n))
    images = np.hypot(curves["t2"](t[:, None], m0, 0.06) + noise[0], noise[1])[:, None, None, :]
    result = fit(images, t, "t2", sigma=1.0)
    assert result.facts["near_noise_floor"] == pytest.approx(0.25, abs=0.02)
    # And the warning is due: the estimate of these voxels is too long.
    low = np.arange(n) < n // 4
    assert np.nanmedian(result.maps["t2"][0, 0, low]) > 1.1 * 0.06
    assert np.nanmedian(result.maps["t2"][0, 0, ~low]) == pytest.approx(0.06, rel=0.01)
    assert "near_noise_floor" not in fit(images, t, "t2").facts
