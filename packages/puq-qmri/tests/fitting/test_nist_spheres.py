"""Simulated spheres of the NIST/ISMRM system phantom are found again without bias."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from puq_qmri.fitting import Status, fit
from puq_qmri.signal_models import SignalModel, get_model

T1_PLATE = 1e-3 * np.array(
    [1883.97, 1330.16, 987.27, 690.08, 484.97, 341.58, 240.86, 174.95, 121.08, 85.75, 60.21, 42.89, 30.40, 21.44]
)
"""Seconds at 20 degrees C, spheres 1 to 14 of phantoms from serial number 43 on (analysis of the 2020 T1 challenge)."""
SPIN_ECHO = np.array([0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.4, 0.7])
INVERSIONS = np.geomspace(0.01, 5.0, 14)
ANGLES = np.radians([2.0, 4.0, 8.0, 15.0, 25.0, 40.0])
N, M0 = 3000, 1000.0


def biases(model: SignalModel, constants: np.ndarray, extra: tuple[float, ...], times: np.ndarray, noise: float, rng) -> np.ndarray:
    """Relative difference of the mean estimate from the truth, for each constant."""
    parameters = torch.tensor([[M0, c, *extra] for c in constants], dtype=torch.float64)
    signal = model.signal(parameters, torch.tensor(times)).numpy().T[:, None, :, None]
    images = signal + noise * rng.standard_normal((len(times), 1, len(constants), N))
    result = fit(images, times, model, sigma=noise, signal="signed")
    assert (result.status == Status.OK).mean() > 0.999
    values = result.maps[model.parameters[1].name][0]
    return np.nanmean(values, axis=-1) / constants - 1


@pytest.mark.parametrize(("name", "extra"), [("ir", (1.9,)), ("ir2", ())])
def test_inversion_recovery_finds_the_t1_plate(name: str, extra: tuple[float, ...], rng: np.random.Generator) -> None:
    assert np.abs(biases(get_model(name), T1_PLATE, extra, INVERSIONS, M0 / 100, rng)).max() < 0.01


def test_variable_flip_angles_find_the_t1_plate(rng: np.random.Generator) -> None:
    # Signals are a tenth of M0: this noise is a signal-to-noise ratio of 100 at the brightest angle of the longest T1.
    brightest = math.tan(math.acos(math.exp(-0.015 / T1_PLATE[0])) / 2)
    assert np.abs(biases(get_model("vfa", tr=0.015), T1_PLATE, (), ANGLES, brightest * M0 / 100, rng)).max() < 0.01


def test_spin_echoes_find_t2_from_10_to_500_ms(rng: np.random.Generator) -> None:
    assert np.abs(biases(get_model("t2"), np.geomspace(0.01, 0.5, 12), (), SPIN_ECHO, M0 / 100, rng)).max() < 0.01
