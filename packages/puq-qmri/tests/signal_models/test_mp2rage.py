"""Blocks after an inversion: the closed form is what the pulses come to, and T1 is found again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medcore.errors import ConfigError, InputError
from puq_qmri.fitting import fit
from puq_qmri.signal_models import get_model

PROTOCOL = {"flip_angles": (math.radians(4), math.radians(5)), "tr": 0.00675, "tr_preparation": 5.0, "n_shots": (60, 100)}
"""That of Marques et al. 2010 at 7 T in kind, with partial Fourier sampling."""
TIMES = (0.8, 2.7)


def cycles(
    bloch: type, t1: float, b1: float, protocol: dict[str, object], times: tuple[float, ...], efficiency: float
) -> np.ndarray:
    """Every pulse of the sequence, cycle after cycle until nothing changes."""
    before, after = protocol["n_shots"]  # type: ignore[misc]
    tr, period = protocol["tr"], protocol["tr_preparation"]
    spins, signals = bloch(t1=t1, t2=0.03), np.zeros(len(times))
    for _ in range(60):
        last, clock = signals, 0.0
        spins.invert(efficiency)
        signals = np.zeros(len(times))
        for block, (time, angle) in enumerate(zip(times, protocol["flip_angles"], strict=True)):  # type: ignore[call-overload]
            spins.wait(time - before * tr - clock)
            for shot in range(before + after):
                longitudinal = spins.m[2, 0]
                spins.pulse(b1 * angle)
                if shot == before:
                    signals[block] = math.sin(b1 * angle) * longitudinal
                spins.spoil()
                spins.wait(tr)
            clock = time + after * tr
        spins.wait(period - clock)
        if np.abs(signals - last).max() < 1e-14:
            break
    return signals


@pytest.mark.parametrize("t1", [0.3, 1.2, 4.0])
@pytest.mark.parametrize(("b1", "efficiency"), [(1.0, 0.96), (0.7, 1.0), (1.2, 0.9)])
def test_the_closed_form_is_what_the_pulses_come_to(bloch: type, t1: float, b1: float, efficiency: float) -> None:
    model = get_model("mp2rage", **PROTOCOL, inversion_efficiency=efficiency)
    found = model.signal(torch.tensor([1.0, t1, b1], dtype=torch.float64), torch.tensor(TIMES, dtype=torch.float64))
    np.testing.assert_allclose(found, cycles(bloch, t1, b1, PROTOCOL, TIMES, efficiency), rtol=0, atol=1e-12)


def test_three_blocks_are_as_good_as_two(bloch: type) -> None:
    protocol = {**PROTOCOL, "flip_angles": (0.06, 0.07, 0.08), "n_shots": (40, 40)}
    times = (0.6, 1.6, 3.0)
    found = get_model("mp2rage", **protocol).signal(
        torch.tensor([1.0, 1.1], dtype=torch.float64), torch.tensor(times, dtype=torch.float64)
    )
    np.testing.assert_allclose(found, cycles(bloch, 1.1, 1.0, protocol, times, 0.96), rtol=0, atol=1e-12)


def test_one_excitation_of_a_small_angle_is_an_inversion_recovery() -> None:
    angle, t1 = 1e-4, 0.9
    protocol = {"flip_angles": (angle, angle), "tr": 0.005, "tr_preparation": 30.0, "n_shots": (0, 1), "inversion_efficiency": 1.0}
    at = torch.tensor([0.5, 2.0], dtype=torch.float64)
    found = get_model("mp2rage", **protocol).signal(torch.tensor([1 / angle, t1], dtype=torch.float64), at)
    torch.testing.assert_close(found, get_model("ir2").signal(torch.tensor([1.0, t1], dtype=torch.float64), at), rtol=0, atol=1e-6)


def test_the_ratio_falls_with_t1_so_that_the_uniform_image_decides_it() -> None:
    t1 = torch.linspace(0.3, 5.0, 400, dtype=torch.float64)
    first, second = get_model("mp2rage", **PROTOCOL).basis(t1, torch.tensor(TIMES, dtype=torch.float64))[..., 0].unbind(-1)
    uniform = first * second / (first**2 + second**2)
    assert bool(((first / second).diff() < 0).all())
    assert -0.5 <= float(uniform.min()) < -0.4
    assert 0.3 < float(uniform.max()) <= 0.5


@pytest.mark.parametrize("kind", ["signed", "complex"])
def test_t1_is_found_again_from_signed_and_complex_images(kind: str) -> None:
    t1 = np.array([0.4, 0.8, 1.2, 1.9, 3.5])
    model = get_model("mp2rage", **PROTOCOL)
    parameters = torch.tensor(np.stack([500 * np.ones(5), t1], -1))
    signal = model.signal(parameters, torch.tensor(TIMES, dtype=torch.float64)).numpy().T.reshape(2, 1, 1, 5)
    images = signal if kind == "signed" else signal * np.exp(1j * np.array([0.3, 2.0, -2.5, 3.0, -0.4]))
    result = fit(images, np.array(TIMES), model, sigma=0.01)
    np.testing.assert_allclose(result.maps["t1"].ravel(), t1, rtol=1e-5)
    np.testing.assert_allclose(result.maps["m0"].ravel(), 500, rtol=1e-4)
    assert np.isfinite(result.std["t1"]).all()


def test_magnitudes_are_refused() -> None:
    images = np.abs(np.random.default_rng(0).standard_normal((2, 1, 1, 3))) + 0.1
    with pytest.raises(InputError, match=r"images: are magnitudes, and model mp2rage needs their sign; give complex or signed"):
        fit(images, np.array(TIMES), get_model("mp2rage", **PROTOCOL))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"flip_angles": (0.07,)}, r"flip_angles of model mp2rage: are \(0.07,\); give one for each inversion time"),
        ({"flip_angles": (4.0, 5.0)}, r"flip_angles of model mp2rage: is 4.0; give a number between 0 and 1.5708 rad"),
        ({"n_shots": (0, 0)}, r"n_shots of model mp2rage: are \(0, 0\)"),
        ({"n_shots": (-1, 100)}, r"n_shots of model mp2rage: are \(-1, 100\)"),
        ({"inversion_efficiency": 1.2}, r"inversion_efficiency of model mp2rage: is 1.2"),
        ({"tr_preparation": 5000.0}, r"tr_preparation of model mp2rage: is 5000.0; give a number between 0 and 60 s"),
    ],
)
def test_impossible_protocols_are_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        get_model("mp2rage", **{**PROTOCOL, **change})


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"needs flip_angles .*, tr .*, tr_preparation .*, n_shots .*RepetitionTimePreparation, Num"
    ):
        get_model("mp2rage")


@pytest.mark.parametrize(
    ("times", "match"),
    [((0.2, 2.7), r"no room for 160 excitations"), ((0.8, 4.9), r"no room"), ((0.8, 1.5, 3.0), r"2 flip angles for 3 inversion")],
)
def test_times_that_the_protocol_has_no_room_for_are_refused(times: tuple[float, ...], match: str) -> None:
    with pytest.raises(InputError, match=match):
        get_model("mp2rage", **PROTOCOL).signal(
            torch.tensor([1.0, 1.0], dtype=torch.float64), torch.tensor(times, dtype=torch.float64)
        )
