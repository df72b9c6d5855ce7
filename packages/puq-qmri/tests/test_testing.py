"""The public checks must find each fault they promise to find."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from puq_qmri.operators import LinearOperator
from puq_qmri.signal_models import REGISTRY, Parameter, SignalModel, get_model
from puq_qmri.signal_models.mono_exponential import MonoExponentialT2
from puq_qmri.testing import check_linear_operator, check_signal_model


class Scaled(LinearOperator):
    """Multiplication with 2j, and ways to get it wrong."""

    def __init__(self, fault=""):
        super().__init__((3,), (3,))
        self.fault = fault

    def _forward(self, x):
        match self.fault:
            case "not linear":
                return 2j * x + 1
            case "shape":
                return (2j * x)[None]
            case "conjugates":
                return 2j * x.conj()
            case "no gradient":
                return 2j * x.detach()
            case "in place":
                return x.mul_(2j)
            case _:
                return 2j * x

    def _adjoint(self, y):
        return (2j if self.fault == "not adjoint" else -2j) * y

    @property
    def gram(self):
        return super().gram if self.fault != "gram" else 3 * super().gram

    def _check(self, x, shape, side):
        if self.fault != "accepts anything":
            super()._check(x, shape, side)


def test_a_right_operator_passes():
    check_linear_operator(Scaled(), tolerance=1e-14)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("not linear", "differ"),
        ("shape", "shape"),
        ("conjugates", "differ"),
        ("no gradient", "gradient|grad"),
        ("in place", "changes its input"),
        ("not adjoint", "<A x, y> and <x, A\\^H y>"),
        ("gram", "gram"),
        ("accepts anything", "accepts"),
    ],
)
def test_each_fault_of_an_operator_is_found(fault, message):
    with pytest.raises((AssertionError, RuntimeError), match=message):
        check_linear_operator(Scaled(fault))


SETTINGS = {
    "vfa": {"tr": 0.015},
    "mp2rage": {"flip_angles": (0.07, 0.09), "tr": 0.007, "tr_preparation": 5.0, "n_shots": (60, 80)},
}
TIMES = {"mp2rage": (0.8, 2.7)}


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_installed_model_passes(name):
    check_signal_model(get_model(name, **SETTINGS.get(name, {})), times=TIMES.get(name), tolerance=1e-8)


def test_a_jacobian_that_is_not_given_is_that_of_automatic_differentiation():
    class Short(MonoExponentialT2):
        jacobian = SignalModel.jacobian

    check_signal_model(Short(), tolerance=1e-12)


class WrongJacobian(MonoExponentialT2):
    def jacobian(self, parameters, times):
        return 1.01 * super().jacobian(parameters, times)


class SinglePrecision(MonoExponentialT2):
    def signal(self, parameters, times):
        return super().signal(parameters, times).float()


class LosesAxes(MonoExponentialT2):
    def signal(self, parameters, times):
        return super().signal(parameters, times).reshape(-1, len(times))


class Mixes(MonoExponentialT2):
    def signal(self, parameters, times):
        signal = super().signal(parameters, times)
        return signal + 0 * signal if signal.ndim < 2 else signal * (1 + 1e-3 * (len(signal) > 5))


class DividesByTime(MonoExponentialT2):
    def signal(self, parameters, times):
        return super().signal(parameters, times) * (times / times)


class WrongSlope(MonoExponentialT2):
    def basis_slope(self, constant, times):
        return super().basis_slope(constant, times) / constant[..., None, None]


class WrongBasis(MonoExponentialT2):
    def basis(self, constant, times):
        return 2 * super().basis(constant, times)


class NoSource(MonoExponentialT2):
    source: ClassVar[str] = ""


class SwappedBounds(MonoExponentialT2):
    parameters: ClassVar[tuple[Parameter, ...]] = (
        MonoExponentialT2.parameters[0],
        Parameter(name="t2", map_name="T2map", unit="s", lower=5.0, upper=1e-3),
    )


class Quadratic(MonoExponentialT2):
    """Signal and Jacobian agree, but the signal is not proportional to M0."""

    def signal(self, parameters, times):
        return super().signal(parameters, times) * parameters[..., :1]

    jacobian = SignalModel.jacobian


class ForgetsKnown(MonoExponentialT2):
    known: ClassVar[tuple[Parameter, ...]] = (Parameter(name="b1", map_name="TB1map", unit="1", lower=0.1, upper=3.0),)

    def signal(self, parameters, times):
        m0, t2 = parameters[..., 0], parameters[..., 1]
        scale = parameters[..., 2] if parameters.shape[-1] == 3 else 0.9 + 0 * m0
        return (scale * m0)[..., None] * (-times / t2[..., None]).exp()

    jacobian = SignalModel.jacobian


class Unlikely(MonoExponentialT2):
    parameters: ClassVar[tuple[Parameter, ...]] = (
        MonoExponentialT2.parameters[0],
        Parameter(name="t2", map_name="T2map", unit="s", lower=1e-3, upper=5.0, typical=(1e-4, 1.0)),
    )


class ChangesParameters(MonoExponentialT2):
    def signal(self, parameters, times):
        if not torch.is_grad_enabled() or parameters.ndim > 1:
            parameters += 0.1
        return super().signal(parameters, times)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (WrongJacobian, "automatic differentiation"),
        (SinglePrecision, "automatic differentiation|turns"),
        (LosesAxes, "shape"),
        (Mixes, "alone and among others|automatic"),
        (DividesByTime, "times x 0, is not finite"),
        (WrongSlope, "slope of the basis"),
        (WrongBasis, "basis times coefficients"),
        (NoSource, "source is ''"),
        (SwappedBounds, "bounds"),
        (ChangesParameters, "changes its parameters"),
        (Quadratic, "twice the m0 and twice the signal"),
        (ForgetsKnown, "without its known quantities and with 1 for them"),
        (Unlikely, "is typically 0.0001 to 1.0, beyond its bounds"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_fault_of_a_model_is_found(model, message):
    with pytest.raises(AssertionError, match=message):
        check_signal_model(model())
