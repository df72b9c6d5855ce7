"""Recoveries under a readout: pulse by pulse, limits, and the T1 that a fit gives back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medcore.errors import ConfigError
from puq_qmri.fitting import Status, fit
from puq_qmri.signal_models import SignalModel, get_model

TR = 0.005
TIMES = np.array([0.1, 0.25, 0.5, 0.8, 1.2, 1.8, 2.5, 3.5, 5.0])


def look_locker_train(bloch: type, t1: float, degrees: float, efficiency: float) -> np.ndarray:
    """Spoiled gradient echoes from an inversion on, sampled at the times."""
    spins, signal = bloch(t1=t1, t2=0.05), {}
    spins.invert(efficiency)
    for index in range(round(TIMES[-1] / TR) + 1):
        longitudinal = spins.m[2, 0]
        spins.pulse(math.radians(degrees))
        spins.spoil()
        signal[index] = math.sin(math.radians(degrees)) * longitudinal
        spins.wait(TR)
    return np.array([signal[round(t / TR)] for t in TIMES])


def fitted(model: SignalModel, signal: np.ndarray, kind: str = "signed") -> dict[str, float]:
    result = fit(signal.reshape(-1, 1, 1, 1), TIMES, model, signal=kind)
    assert result.status.item() == Status.OK
    return {name: values.item() for name, values in result.maps.items()}


@pytest.mark.parametrize("t1", [0.3, 0.9, 1.6])
@pytest.mark.parametrize(("degrees", "efficiency"), [(3, 1.0), (6, 1.0), (5, 0.9)])
def test_t1_of_a_train_of_small_pulses(bloch: type, t1: float, degrees: float, efficiency: float) -> None:
    signal = look_locker_train(bloch, t1, degrees, efficiency)
    found = fitted(get_model("look-locker", inversion_efficiency=efficiency), signal)
    assert found["t1"] == pytest.approx(t1, rel=0.01)
    assert found["m0"] == pytest.approx(math.sin(math.radians(degrees)), rel=0.01)
    apparent = 1 / (1 / t1 - math.log(math.cos(math.radians(degrees))) / TR)
    assert found["t1"] * efficiency / (found["inversion"] - 1) == pytest.approx(apparent, rel=1e-4)


def test_without_the_efficiency_t1_is_too_short(bloch: type) -> None:
    found = fitted(get_model("look-locker"), look_locker_train(bloch, 0.9, 5, 0.9))
    assert found["t1"] == pytest.approx(0.9 * 0.9, rel=0.01)


@pytest.mark.parametrize("name", ["look-locker", "molli"])
def test_without_an_effect_of_the_readout_it_is_a_perfect_inversion_recovery(name: str) -> None:
    t1 = torch.tensor([0.1, 0.7, 3.0], dtype=torch.float64)
    ones = torch.ones_like(t1)
    at = torch.tensor(TIMES)
    found = get_model(name).signal(torch.stack([ones, t1, 2 * ones], -1), at)
    torch.testing.assert_close(found, get_model("ir2").signal(torch.stack([ones, t1], -1), at), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kind", ["signed", "magnitude"])
def test_molli_is_a_three_parameter_recovery_with_a_corrected_t1(kind: str) -> None:
    level, fall, apparent = 80.0, 175.0, 0.85
    signal = level - fall * np.exp(-TIMES / apparent)
    found = fitted(get_model("molli", inversion_efficiency=0.96), np.abs(signal) if kind == "magnitude" else signal, kind)
    assert found["m0"] == pytest.approx(level, rel=1e-5)
    assert found["inversion"] == pytest.approx(fall / level, rel=1e-5)
    assert found["t1"] == pytest.approx(apparent * (fall / level - 1) / 0.96, rel=1e-5)


@pytest.mark.parametrize(("name", "function"), [("look-locker", lambda f: f - 1), ("molli", lambda f: 1.0)])
def test_both_differ_in_m0_alone(name: str, function: object) -> None:
    parameters = torch.tensor([10.0, 1.1, 2.6], dtype=torch.float64)
    late = get_model(name).signal(parameters, torch.tensor([100.0], dtype=torch.float64)).item()
    assert late == pytest.approx(10.0 / function(2.6))  # type: ignore[operator]


def test_the_deviation_of_t1_holds_that_of_its_correction(rng: np.random.Generator) -> None:
    sigma, n = 1.0, 4000
    model = get_model("molli")
    truth = model.signal(torch.tensor([100.0, 1.1, 1.9], dtype=torch.float64), torch.tensor(TIMES)).numpy()
    images = (truth[:, None] + sigma * rng.standard_normal((len(TIMES), n))).reshape(len(TIMES), 1, 1, n)
    result = fit(images, TIMES, model, sigma=sigma, signal="signed")
    assert np.nanmedian(result.std["t1"]) == pytest.approx(result.maps["t1"].std(), rel=0.05)
    inside = (result.low95["t1"] < 1.1) & (result.high95["t1"] > 1.1)
    assert 0.935 < inside.mean() < 0.965


@pytest.mark.parametrize("efficiency", [0.0, 2.0, -1.0, float("nan")])
def test_an_impossible_efficiency_is_refused(efficiency: object) -> None:
    with pytest.raises(ConfigError, match=r"inversion_efficiency of model molli: is .*; give a number between 0 and 1.5"):
        get_model("molli", inversion_efficiency=efficiency)
