from __future__ import annotations

import numpy as np
import pytest
import torch

from medcore.errors import ConfigError, InputError
from puq_qmri.reconstruction.basis import BASES, temporal_basis
from puq_qmri.signal_models import get_model
from puq_qmri.signal_models.base import SignalModel
from puq_qmri.simulation import DEFAULT_TE, DEFAULT_TI

CASES = [
    ("t2", DEFAULT_TE, (0.03, 0.08, 0.3, 1.0)),
    ("ir2", DEFAULT_TI, (0.3, 0.8, 1.5, 4.0)),
    ("ir", DEFAULT_TI, (0.3, 0.8, 1.5, 4.0)),
]


def parameters(model, constants):
    rows = [[1.0, c] + [1.9] * (len(model.parameters) - 2) for c in constants]
    return torch.tensor(rows, dtype=torch.float64)


def bound(model, times, point, basis=None):
    """Smallest relative deviation of the time constant that unit noise allows, after projection on a basis."""
    jacobian = model.jacobian(point, torch.as_tensor(times, dtype=torch.float64))
    if basis is not None:
        jacobian = basis.double().T @ jacobian
    return float(torch.linalg.inv(jacobian.T @ jacobian)[1, 1].sqrt() / point[1])


@pytest.mark.parametrize(("name", "times", "constants"), CASES, ids=[c[0] for c in CASES])
@pytest.mark.parametrize("kind", BASES)
def test_is_orthonormal_and_holds_the_signals(name, times, constants, kind):
    model = get_model(name)
    basis = temporal_basis(model, np.array(times), kind=kind).double()
    torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1], dtype=torch.float64), atol=1e-6, rtol=0)
    signals = model.signal(parameters(model, constants), torch.as_tensor(times, dtype=torch.float64))
    lost = (signals - signals @ basis @ basis.T).norm(dim=1) / signals.norm(dim=1)
    assert basis.shape[1] < len(times) / 1.5
    assert lost.max() < (0.1 if kind == "svd" else 0.045)


@pytest.mark.parametrize(("name", "times", "constants"), CASES, ids=[c[0] for c in CASES])
def test_the_fit_keeps_its_precision_in_the_components_chosen_for_it(name, times, constants):
    model = get_model(name)
    worst = {}
    for kind in BASES:
        basis = temporal_basis(model, np.array(times), kind=kind)
        points = parameters(model, constants)
        worst[kind] = max(bound(model, times, p, basis) / bound(model, times, p) for p in points)
    assert worst["cramer-rao"] < 1.01
    assert worst["cramer-rao"] <= worst["svd"] + 1e-3


def test_the_number_of_components_can_be_given():
    model = get_model("t2")
    basis = temporal_basis(model, np.array(DEFAULT_TE), n_components=2)
    assert basis.shape == (8, 2)
    # Nested: more components go on from fewer.
    torch.testing.assert_close(basis.abs(), temporal_basis(model, np.array(DEFAULT_TE), n_components=4)[:, :2].abs())
    with pytest.raises(ConfigError, match="components: are 9 for 8 contrasts"):
        temporal_basis(model, np.array(DEFAULT_TE), n_components=9)


@pytest.mark.parametrize(("name", "least"), [("t2", 3), ("ir2", 3), ("ir", 4)])
def test_there_is_a_component_more_than_parameters_as_far_as_contrasts_go(name, least):
    # The constant of `ir` holds so much energy that three components seem enough, and leave errors of several percent.
    model = get_model(name)
    for n_contrasts in (2, 3, 4, 8):
        times = np.geomspace(0.02, 0.2, n_contrasts)
        assert temporal_basis(model, times).shape[1] >= min(least, n_contrasts)


def test_a_model_without_a_single_time_constant_is_refused():
    class Odd(SignalModel):
        name, summary, source, times_key, parameters = "odd", "", "", "te", ()

        def signal(self, parameters, times):
            return parameters

        def jacobian(self, parameters, times):
            return parameters

    with pytest.raises(InputError, match="model odd: has no dictionary of one time constant; choose --method cg-sense"):
        temporal_basis(Odd(), np.array(DEFAULT_TE))


@pytest.mark.parametrize(
    ("model", "times", "constants"),
    [
        (get_model("vfa", tr=0.015), np.deg2rad([2.0, 5.0, 10.0, 15.0, 20.0, 30.0]), (0.3, 1.0, 3.0)),
        (get_model("adc"), np.array([0.0, 2e8, 5e8, 8e8, 1e9]), (0.5e-9, 1e-9, 3e-9)),
    ],
    ids=["vfa", "adc"],
)
def test_what_differs_between_contrasts_need_not_be_a_time(model, times, constants):
    basis = temporal_basis(model, times).double()
    signals = model.basis(torch.tensor(constants, dtype=torch.float64), torch.as_tensor(times))[..., 0]
    assert basis.shape[1] < len(times)
    assert float(((signals - signals @ basis @ basis.T).norm(dim=1) / signals.norm(dim=1)).max()) < 0.1
