"""Names of signal models, a model from the user's own file, and every way to get this wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcore.errors import ConfigError
from puq_qmri.fitting import Status, fit
from puq_qmri.signal_models import SignalModel, find_model, get_model, settings_of
from puq_qmri.testing import check_signal_model

SATURATION_RECOVERY = '''
from dataclasses import dataclass
import torch
from puq_qmri.signal_models import Parameter, SeparableModel, SignalModel
from puq_qmri.signal_models.base import decay, decay_slope


class SaturationRecovery(SeparableModel):
    """M0 (1 - exp(-t / T1))."""

    name = "my-saturation"
    summary = "M0 (1 - exp(-t/T1))"
    source = "a laboratory's own"
    times_key = "ti"
    parameters = (
        Parameter(name="m0", map_name="M0map", unit="a.u.", lower=0.0, upper=float("inf")),
        Parameter(name="t1", map_name="T1map", unit="s", lower=0.01, upper=10.0),
    )
    nonlinear = 1
    n_linear = 1

    def signal(self, parameters, times):
        m0, t1 = parameters.unbind(-1)
        return m0[..., None] * (1 - decay(t1, times))

    def jacobian(self, parameters, times):
        m0, t1 = parameters.unbind(-1)
        return torch.stack([1 - decay(t1, times), -(m0 / t1)[..., None] * decay_slope(t1, times)], dim=-1)

    def basis(self, constant, times):
        return (1 - decay(constant, times))[..., None]

    def basis_slope(self, constant, times):
        return -decay_slope(constant, times)[..., None]

    def assemble(self, constant, coefficients):
        return torch.stack([coefficients[..., 0], constant], dim=-1)


class WithArgument(SaturationRecovery):
    def __init__(self, factor):
        self.factor = factor


class Unfinished(SaturationRecovery.__mro__[1]):
    name = "unfinished"
    summary = source = "none"
    times_key = "ti"


@dataclass(frozen=True, kw_only=True)
class Plain(SignalModel):
    floor: float = 0.0
    name, summary, source, times_key = "plain", "M0 (exp(-t/T2) + floor)", "a laboratory's own", "te"
    parameters = (
        Parameter(name="m0", map_name="M0map", unit="a.u.", lower=0.0, upper=float("inf")),
        Parameter(name="t2", map_name="T2map", unit="s", lower=0.001, upper=5.0),
    )

    def signal(self, parameters, times):
        m0, t2 = parameters[..., None].unbind(-2)
        return m0 * (torch.exp(-times / t2) + self.floor)


ready = WithArgument(2)
number = 7
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "laboratory_models.py").write_text(SATURATION_RECOVERY)
    (tmp_path / "laboratory_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "laboratory_models"


def test_a_model_from_a_users_file_fits_like_a_built_in_one(module: str) -> None:
    model = get_model(f"{module}:SaturationRecovery")
    check_signal_model(model)
    times = np.array([0.1, 0.4, 0.8, 1.6, 3.0])
    images = 50 * (1 - np.exp(-times / 0.9)).reshape(5, 1, 1, 1)
    result = fit(images, times, f"{module}:SaturationRecovery")
    assert result.status.item() == Status.OK
    assert result.maps["t1"].item() == pytest.approx(0.9, rel=1e-6)
    assert result.maps["m0"].item() == pytest.approx(50, rel=1e-6)


def test_a_class_with_arguments_comes_as_an_instance(module: str) -> None:
    assert isinstance(get_model(f"{module}:ready"), SignalModel)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("epg", r"signal model 'epg': is not one of .*ir, ir2, .*t2, t2-offset, t2star"),
        ("", r"signal model '': is not one of"),
        ("t2_star", r"did you mean 't2star'\?"),
        ("no_such_module:Model", r"cannot be imported"),
        ("laboratory_models:Missing", r"cannot be imported"),
        ("laboratory_broken:Model", r"cannot be imported \(.*division by zero"),
        (":Model", r"cannot be imported"),
        ("laboratory_models:", r"cannot be imported"),
        ("laboratory_models:number", r"is a int; derive it from puq_qmri\.signal_models\.SignalModel"),
        ("collections:OrderedDict", r"is a OrderedDict; derive it"),
        ("laboratory_models:WithArgument", r"needs factor; give --setting factor=VALUE$"),
        ("laboratory_models:Unfinished", r"lacks parameters, assemble, basis, basis_slope, signal; define"),
        ("puq_qmri.signal_models:SeparableModel", r"lacks name, summary, source, times_key, parameters, assemble"),
    ],
)
def test_a_name_that_is_no_model_is_refused_in_one_line(module: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        get_model(name)
    assert "\n" not in str(caught.value)


def test_a_model_with_nothing_but_a_signal_is_fitted(module: str) -> None:
    check_signal_model(get_model(f"{module}:Plain", floor=0.1))
    times = np.array([0.01, 0.03, 0.06, 0.1, 0.15])
    images = 50 * (np.exp(-times / 0.06) + 0.1).reshape(5, 1, 1, 1)
    result = fit(images, times, get_model(f"{module}:Plain", floor=0.1))
    assert result.status.item() == Status.OK
    assert result.maps["t2"].item() == pytest.approx(0.06, rel=1e-5)
    assert np.isfinite(result.std["t2"]).all()
    assert result.signal_model.settings() == {"floor": 0.1}


def test_an_instance_takes_no_settings(module: str) -> None:
    with pytest.raises(ConfigError, match=r"is an instance, whose settings are made; give none"):
        get_model(f"{module}:ready", factor=3)
    model = get_model("t2")
    assert get_model(model) is model


def test_settings_of_a_class_without_fields_are_its_arguments(module: str) -> None:
    assert [s.name for s in settings_of(find_model(f"{module}:WithArgument"))] == ["factor"]  # type: ignore[arg-type]
    assert get_model(f"{module}:WithArgument", factor=3).factor == 3  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"has no setting 'fator'; its settings: factor"):
        get_model(f"{module}:WithArgument", fator=3)
