"""Steady states of spoiled gradient echoes: special angles, pulse by pulse, and published values."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from medcore.errors import ConfigError
from puq_qmri.fitting import Status, fit
from puq_qmri.signal_models import get_model

TR = 0.015


def shape(t1: float, *degrees: float, b1: float = 1.0) -> np.ndarray:
    parameters = torch.tensor([1.0, t1, b1], dtype=torch.float64)
    return get_model("vfa", tr=TR).signal(parameters, torch.tensor(np.radians(degrees))).numpy()


@pytest.mark.parametrize("t1", [0.02, 0.3, 1.2, 4.0])
@pytest.mark.parametrize("b1", [0.7, 1.0, 1.3])
def test_it_is_what_pulse_after_pulse_comes_to(bloch: type, t1: float, b1: float) -> None:
    degrees = (2, 5, 12, 30, 80)
    found = []
    for angle in np.radians(degrees):
        spins = bloch(t1=t1, t2=0.05)
        for _ in range(math.ceil(12 * t1 / TR)):
            spins.pulse(b1 * angle)
            last = abs(spins.transverse)
            spins.spoil()
            spins.wait(TR)
        found.append(last)
    np.testing.assert_allclose(shape(t1, *degrees, b1=b1), found, rtol=1e-4)


@pytest.mark.parametrize("t1", [0.1, 0.8, 3.0])
def test_the_signal_is_largest_at_the_ernst_angle(t1: float) -> None:
    ernst = math.degrees(math.acos(math.exp(-TR / t1)))
    below, at, above = shape(t1, ernst - 0.5, ernst, ernst + 0.5)
    assert at > max(below, above)
    # Ernst and Anderson 1966: the largest signal is tan(a/2).
    assert at == pytest.approx(math.tan(math.radians(ernst) / 2), rel=1e-12)


def test_special_values() -> None:
    assert shape(1.0, 0.0)[0] == 0
    assert shape(1.0, 90.0)[0] == pytest.approx(1 - math.exp(-TR))
    assert shape(1.0, 5.0, b1=2.0)[0] == pytest.approx(shape(1.0, 10.0)[0], rel=1e-14)


def test_single_precision_keeps_small_angles() -> None:
    model, angles = get_model("vfa", tr=0.005), torch.tensor(np.radians([0.5, 2.0, 5.0]))
    parameters = torch.tensor([1.0, 4.0], dtype=torch.float64)
    single = model.signal(parameters.float(), angles.float())
    torch.testing.assert_close(single.double(), model.signal(parameters, angles), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, r"signal model 'vfa': needs tr \(repetition time in s\); give --tr, or RepetitionTimeExcitation in the sidecar"),
        ({"tr": None}, r"needs tr \(repetition time in s\)"),
        ({"tr": -1.0}, r"tr of model vfa: is -1.0; give a number between 0 and 60 s"),
        ({"tr": float("nan")}, r"tr of model vfa: is nan"),
        ({"tr": 0.01, "te": 0.01}, r"has no setting 'te'; its settings: tr"),
    ],
)
def test_a_repetition_time_that_is_missing_or_impossible_is_refused(settings: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        get_model("vfa", **settings)


def rows(path: Path) -> list[dict[str, list[float]]]:
    with path.open(newline="") as file:
        return [{k: [float(v) for v in row[k].split()] for k in ("FA", "TR", "s", "R1", "s0")} for row in csv.DictReader(file)]


@pytest.mark.integration
@pytest.mark.parametrize(("name", "unit", "relative"), [("brain", 1.0, 1e-4), ("quiba", 1e3, None)])
def test_published_rates_are_found_again(data_root: Path, name: str, unit: float, relative: float | None) -> None:
    """Brain: a non-linear fit of another group. QIBA: digital reference object with noise, tolerance of OSIPI."""
    for row in rows(data_root / "osipi-t1-vfa" / f"t1_{name}_data.csv"):
        model = get_model("vfa", tr=row["TR"][0])
        result = fit(np.array(row["s"]).reshape(-1, 1, 1, 1), np.radians(row["FA"]), model)
        assert result.status.item() == Status.OK
        rate, expected = 1 / result.maps["t1"].item(), unit * row["R1"][0]
        if relative is None:
            assert rate == pytest.approx(expected, abs=0.05 + 0.05 * expected)
        else:
            assert rate == pytest.approx(expected, rel=relative)
            assert result.maps["m0"].item() == pytest.approx(row["s0"][0], rel=relative)
