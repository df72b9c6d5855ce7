"""Saturation recovery and diffusion: known values, pulses, and what a fit gives back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from puq_qmri.fitting import Status, fit
from puq_qmri.signal_models import get_model

TIMES = np.array([0.1, 0.2, 0.4, 0.7, 1.1, 1.8, 3.0])
B_VALUES = 1e6 * np.array([0.0, 50.0, 200.0, 500.0, 1000.0])


def saturated(bloch: type, t1: float, degrees: float) -> np.ndarray:
    found = []
    for time in TIMES:
        spins = bloch(t1=t1, t2=0.05)
        spins.pulse(math.radians(degrees))
        spins.spoil()
        spins.wait(float(time))
        found.append(spins.m[2, 0])
    return np.array(found)


@pytest.mark.parametrize("degrees", [90, 80, 95])
def test_three_parameters_allow_for_an_imperfect_saturation(bloch: type, degrees: float) -> None:
    images = 70 * saturated(bloch, 1.1, degrees).reshape(-1, 1, 1, 1)
    result = fit(images, TIMES, "saturation-recovery")
    assert result.status.item() == Status.OK
    assert result.maps["t1"].item() == pytest.approx(1.1, rel=1e-5)
    assert result.maps["m0"].item() == pytest.approx(70, rel=1e-5)
    assert result.maps["saturation"].item() == pytest.approx(1 - math.cos(math.radians(degrees)), rel=1e-5)
    two = fit(images, TIMES, "saturation-recovery2").maps["t1"].item()
    assert (two == pytest.approx(1.1, rel=1e-5)) == (degrees == 90)


def test_two_parameters_are_three_with_a_perfect_saturation() -> None:
    at = torch.tensor(TIMES)
    three = get_model("saturation-recovery").signal(torch.tensor([5.0, 0.8, 1.0], dtype=torch.float64), at)
    two = get_model("saturation-recovery2").signal(torch.tensor([5.0, 0.8], dtype=torch.float64), at)
    torch.testing.assert_close(two, three, rtol=1e-14, atol=0)
    assert get_model("saturation-recovery2").signal(torch.tensor([5.0, 0.8]), torch.zeros(1)).item() == 0


def test_diffusion_in_si_units() -> None:
    water = 2.0e-9  # m^2/s, free water at room temperature: 2.0e-3 mm^2/s
    signal = get_model("adc").signal(torch.tensor([100.0, water], dtype=torch.float64), torch.tensor(B_VALUES))
    assert signal[0].item() == 100
    assert signal[-1].item() == pytest.approx(100 * math.exp(-2.0))


@pytest.mark.parametrize("adc", [1e-10, 7e-10, 3e-9])
def test_diffusion_is_found_again(adc: float) -> None:
    images = (900 * np.exp(-B_VALUES * adc)).reshape(-1, 1, 1, 1)
    result = fit(images, B_VALUES, "adc")
    assert result.status.item() == Status.OK
    assert result.maps["adc"].item() == pytest.approx(adc, rel=1e-5)
    assert result.maps["s0"].item() == pytest.approx(900, rel=1e-5)
