"""The built-in signal models: values that are known beforehand, derivatives, and what they say about themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from puq_qmri.signal_models import REGISTRY, SeparableModel, get_model
from puq_qmri.testing import check_signal_model

NAMES = ["ir", "ir2", "t2", "t2-offset", "t2star"]
M0, T1, T2, OFFSET = 137.0, 1.1, 0.08, 9.0
PARAMETERS = {
    "t2": (M0, T2),
    "t2star": (M0, T2),
    "t2-offset": (M0, T2, OFFSET),
    "ir": (M0, T1, 2.0),
    "ir2": (M0, T1),
}


def signal(name: str, *times: float) -> list[float]:
    parameters = torch.tensor(PARAMETERS[name], dtype=torch.float64)
    return get_model(name).signal(parameters, torch.tensor(times, dtype=torch.float64)).tolist()


def test_the_built_in_models_come_through_the_public_door() -> None:
    assert set(NAMES) <= set(REGISTRY.names())
    assert {name: get_model(name).name for name in NAMES} == {name: name for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_model_keeps_the_promises_of_all_models(name: str) -> None:
    check_signal_model(get_model(name))


@pytest.mark.parametrize("name", NAMES)
def test_repeated_unordered_and_zero_times_are_as_good_as_others(name: str) -> None:
    check_signal_model(get_model(name), times=(0.3, 0.0, 0.02, 0.3, 1.0))


@pytest.mark.parametrize(
    ("name", "time", "expected"),
    [
        ("t2", 0.0, M0),
        ("t2", T2, M0 / math.e),
        ("t2", T2 * math.log(2), M0 / 2),
        ("t2", 100.0, 0.0),
        ("t2star", 0.0, M0),
        ("t2star", T2, M0 / math.e),
        ("t2-offset", 0.0, M0 + OFFSET),
        ("t2-offset", 100.0, OFFSET),
        ("ir", 0.0, -M0),
        ("ir", 100.0, M0),
        ("ir", T1 * math.log(2), 0.0),
        ("ir2", 0.0, -M0),
        ("ir2", 100.0, M0),
        ("ir2", T1 * math.log(2), 0.0),
    ],
)
def test_the_signal_at_special_times(name: str, time: float, expected: float) -> None:
    assert signal(name, time)[0] == pytest.approx(expected, abs=1e-12 * M0)


def test_an_imperfect_inversion_starts_above_minus_m0() -> None:
    parameters = torch.tensor([M0, T1, 1.8], dtype=torch.float64)
    at_zero, late = get_model("ir").signal(parameters, torch.tensor([0.0, 100.0], dtype=torch.float64)).tolist()
    assert (at_zero, late) == pytest.approx((-0.8 * M0, M0))


def test_three_parameters_with_a_perfect_inversion_are_the_two_parameter_model() -> None:
    times = np.linspace(0, 5, 17)
    assert signal("ir", *times) == pytest.approx(signal("ir2", *times), rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_derivative_to_m0_is_the_signal_over_m0_but_for_an_offset(name: str) -> None:
    times = torch.linspace(0, 0.5, 9, dtype=torch.float64)
    parameters = torch.tensor(PARAMETERS[name], dtype=torch.float64)
    model = get_model(name)
    expected = (model.signal(parameters, times) - (OFFSET if name == "t2-offset" else 0)) / M0
    torch.testing.assert_close(model.jacobian(parameters, times)[:, 0], expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_bounds_hold_tissue_and_units_are_si(name: str) -> None:
    model = get_model(name)
    assert isinstance(model, SeparableModel)
    constant = model.parameters[model.nonlinear]
    shortest, longest = {"te": (5e-3, 3.0), "ti": (0.1, 5.0)}[model.times_key]  # tendon to fluid; fat to fluid
    assert constant.unit == "s"
    assert constant.lower < shortest
    assert constant.upper > longest
    assert model.parameters[0].name == "m0"
    assert model.parameters[0].unit == "a.u."
    assert "doi 10." in model.source


def test_only_inversion_recovery_changes_sign_and_only_gradient_echoes_turn() -> None:
    assert {name for name in NAMES if get_model(name).changes_sign} == {"ir", "ir2"}
    assert {name for name in NAMES if get_model(name).phase_evolves} == {"t2star"}
