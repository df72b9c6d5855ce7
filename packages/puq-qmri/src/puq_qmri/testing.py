"""Checks that an operator or a signal model must pass, for ours as for those of plug-in authors.

Call them in a test; they raise :class:`AssertionError` with what was expected and what came.

>>> from puq_qmri.signal_models import get_model
>>> check_signal_model(get_model("t2"))
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.operators import LinearOperator
from puq_qmri.signal_models import Parameter, SeparableModel, SignalModel

DEFAULT_TIMES = {
    "te": (0.01, 0.03, 0.06, 0.1, 0.2),
    "flip_angle": (0.05, 0.1, 0.2, 0.35, 0.6),
    "b_value": (0.0, 1e8, 3e8, 6e8, 1e9),
}
"""Seconds, radians and s/m^2 used where none are given; other times take those of an inversion recovery."""
_RECOVERY = (0.05, 0.2, 0.6, 1.5, 4.0)


def check_linear_operator(
    operator: LinearOperator,
    *,
    tolerance: float = 1e-6,
    gram_tolerance: float | None = None,
    dtype: torch.dtype = torch.complex128,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> None:
    """Check what every :class:`~puq_qmri.operators.LinearOperator` promises.

    Linear over the complex numbers; ``<A x, y> = <x, A^H y>`` with the shapes of both sides compared first; ``A.H.H = A``;
    ``A.gram x = A^H A x``; the gradient of ``Re <A x, y>`` with respect to x is ``A^H y`` and that of the adjoint is ``A x``;
    inputs are left alone; tensors of another shape or without an imaginary part are refused with a sentence that names the
    operator.

    Parameters
    ----------
    operator
        The operator.
    tolerance
        Largest error relative to the norms of what is compared.
    gram_tolerance
        The same for ``A.gram`` and ``A^H A``, where a form of its own makes the former more accurate than the latter.
    dtype
        Of the random tensors: ``torch.complex128`` or, for operators in single precision, ``torch.complex64``.
    device
        Where the random tensors lie.
    seed
        Of the random tensors.

    Raises
    ------
    AssertionError
        If a promise is broken.
    """
    generator = torch.Generator().manual_seed(seed)
    x, u, y, v = (
        torch.randn(shape, generator=generator, dtype=dtype).to(device)
        for shape in (operator.domain,) * 2 + (operator.codomain,) * 2
    )
    before_x, before_y = x.clone(), y.clone()
    there, back = operator(x), operator.adjoint(y)
    _same_shape(there, operator.codomain, f"{operator} gives")
    _same_shape(back, operator.domain, f"the adjoint of {operator} gives")
    _require(torch.equal(x, before_x) and torch.equal(y, before_y), f"{operator} changes its input")
    _close(
        torch.vdot(y.ravel(), there.ravel()),
        torch.vdot(back.ravel(), x.ravel()),
        tolerance,
        f"<A x, y> and <x, A^H y> of {operator}",
        there.norm() * y.norm(),
    )
    factor = 0.3 - 1.7j
    _close(operator(factor * x + u), factor * there + operator(u), tolerance, f"A(c x + u) and c A x + A u of {operator}")
    combined = factor * back + operator.adjoint(v)
    _close(operator.adjoint(factor * y + v), combined, tolerance, f"A^H(c y + v) and c A^H y + A^H v of {operator}")
    _require((operator.H.domain, operator.H.codomain) == (operator.codomain, operator.domain), f"{operator}.H has wrong shapes")
    _close(operator.H(y), back, tolerance, f"{operator}.H and its adjoint")
    _close(operator.H.H(x), there, tolerance, f"{operator}.H.H and itself")
    _close(operator.gram(x), operator.adjoint(there), gram_tolerance or tolerance, f"gram and A^H A of {operator}")
    _check_gradients(operator, x, y, tolerance)
    _check_refusals(operator, x)


def _check_gradients(operator: LinearOperator, x: Tensor, y: Tensor, tolerance: float) -> None:
    for name, function, at, other, expected in (
        ("A", operator, x, y, operator.adjoint(y)),
        ("A^H", operator.adjoint, y, x, operator(x)),
    ):
        leaf = at.clone().requires_grad_()
        torch.vdot(function(leaf).ravel(), other.ravel()).real.backward()  # type: ignore[no-untyped-call]
        gradient = leaf.grad
        assert gradient is not None, f"{name} of {operator} gives no gradient"  # noqa: S101 - this is what the function is for
        _close(gradient, expected, tolerance, f"gradient of {name} and its adjoint, {operator}")


def _check_refusals(operator: LinearOperator, x: Tensor) -> None:
    wrong = torch.zeros((*operator.domain, 2), dtype=x.dtype, device=x.device)
    for value, what in ((wrong, "a tensor of another shape"), (x.real.clone(), "a real tensor")):
        try:
            operator(value)
        except InputError as error:
            _require(str(operator) in str(error), f"the refusal of {what} does not name {operator}: {error}")
        else:
            raise AssertionError(f"{operator} accepts {what}")


def check_signal_model(
    model: SignalModel, *, times: Sequence[float] | None = None, n_voxels: int = 16, tolerance: float = 1e-6, seed: int = 0
) -> None:
    """Check what every :class:`~puq_qmri.signal_models.SignalModel` promises.

    Names, units and bounds are complete; signal and Jacobian have the shapes and the precision of the parameters, for any
    number of voxel axes; the Jacobian equals automatic differentiation; the signal is proportional to the amplitude, if the model
    has one; known quantities that are left out are 1; signal and Jacobian are finite within and at every
    finite bound, at time zero and long after; voxels do not influence each other; parameters are left alone. Of a
    :class:`~puq_qmri.signal_models.SeparableModel` also: basis times coefficients is the signal of the assembled parameters, and
    the slope is the derivative with respect to the logarithm of the time constant.

    Parameters
    ----------
    model
        The model.
    times
        Times in seconds (radians for flip angles, s/m^2 for b-values) at which it is meant to be used; by default typical ones
        for its ``times_key``.
    n_voxels
        Number of random parameter sets, drawn within the bounds.
    tolerance
        Largest error relative to the largest value of what is compared.
    seed
        Of the parameters.

    Raises
    ------
    AssertionError
        If a promise is broken.
    """
    _check_description(model)
    at = torch.tensor(times or DEFAULT_TIMES.get(model.times_key, _RECOVERY), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    parameters = torch.stack([_draw(p, n_voxels, generator) for p in (*model.parameters, *model.known)], dim=-1)
    before = parameters.clone()
    signal, jacobian = model.signal(parameters, at), model.jacobian(parameters, at)
    _require(torch.equal(parameters, before), f"model {model.name} changes its parameters")
    _check_shapes(model, parameters, at, signal, jacobian)
    _check_amplitude(model, parameters, at, signal, tolerance)
    _check_known(model, parameters, at)
    for voxel in range(n_voxels):
        expected = torch.func.jacrev(lambda p: model.signal(p, at))(parameters[voxel])
        for index, parameter in enumerate(model.parameters):
            what = f"derivative of model {model.name} with respect to {parameter.name} and automatic differentiation"
            _close(jacobian[voxel, :, index], expected[:, index], tolerance, what)
    _check_finite(model, parameters, at)
    if isinstance(model, SeparableModel):
        _check_separable(model, parameters, at, generator, tolerance)


def _check_description(model: SignalModel) -> None:
    for attribute in ("name", "summary", "source", "times_key"):
        value = getattr(model, attribute, "")
        _require(isinstance(value, str) and bool(value), f"{type(model).__name__}.{attribute} is {value!r}, not a text")
    names = [p.name for p in (*model.parameters, *model.known)]
    _require(bool(names) and len(set(names)) == len(names), f"model {model.name} has the parameters {names}")
    _require(
        len({p.map_name for p in (*model.parameters, *model.known)}) == len(names),
        f"two maps of model {model.name} have one file name",
    )
    for p in (*model.parameters, *model.known):
        _require(p.lower < p.upper, f"{p.name} of model {model.name} has the bounds {p.lower} and {p.upper}")
        _require(p.unit in {"s", "1", "a.u."} or bool(p.unit), f"{p.name} of model {model.name} has no unit")
        low, high = p.typical or (p.lower, p.upper)
        _require(
            p.lower <= low < high <= p.upper, f"{p.name} of model {model.name} is typically {low} to {high}, beyond its bounds"
        )
    index = model.amplitude
    _require(index is None or 0 <= index < len(model.parameters), f"model {model.name} has no parameter {index}, its amplitude")


def _draw(parameter: Parameter, count: int, generator: torch.Generator) -> Tensor:
    """Values strictly within the bounds, spread evenly over the orders of magnitude of a positive range."""
    part = 0.02 + 0.96 * torch.rand(count, generator=generator, dtype=torch.float64)
    lower, upper = parameter.lower, parameter.upper
    if lower >= 0:
        low = lower if lower > 0 else min(0.1, 0.01 * upper)
        high = upper if math.isfinite(upper) else 100 * max(low, 0.1)
        return low * (high / low) ** part
    low, high = (lower if math.isfinite(lower) else -1.0), (upper if math.isfinite(upper) else 1.0)
    return low + (high - low) * part


def _check_shapes(model: SignalModel, parameters: Tensor, times: Tensor, signal: Tensor, jacobian: Tensor) -> None:
    """Shapes and precision for none, one and two voxel axes; a voxel alone equals the voxel among others."""
    n_columns, n_parameters, n_times = parameters.shape[-1], len(model.parameters), len(times)
    for axes in ((), (3,), (2, 3)):
        chosen = parameters[: math.prod(axes)].reshape(*axes, n_columns)
        alone, derivative = model.signal(chosen, times), model.jacobian(chosen, times)
        _same_shape(alone, (*axes, n_times), f"signal of model {model.name} for voxels {axes}")
        _same_shape(derivative, (*axes, n_times, n_parameters), f"Jacobian of model {model.name} for voxels {axes}")
        count = math.prod(axes)
        _close(alone.reshape(count, -1), signal[:count], 1e-12, f"signals of model {model.name} alone and among others")
        what = f"Jacobians of model {model.name} alone and among others"
        _close(derivative.reshape(count, -1), jacobian[:count].reshape(count, -1), 1e-12, what)
    for dtype in (torch.float32, torch.float64):
        got = (
            model.signal(parameters.to(dtype), times.to(dtype)).dtype,
            model.jacobian(parameters.to(dtype), times.to(dtype)).dtype,
        )
        _require(got == (dtype, dtype), f"model {model.name} turns {dtype} into {got}")


def _check_amplitude(model: SignalModel, parameters: Tensor, times: Tensor, signal: Tensor, tolerance: float) -> None:
    if model.amplitude is None:
        return
    doubled = parameters.clone()
    doubled[:, model.amplitude] *= 2
    what = f"signal of model {model.name} for twice the {model.parameters[model.amplitude].name} and twice the signal"
    _close(model.signal(doubled, times), 2 * signal, tolerance, what)


def _check_known(model: SignalModel, parameters: Tensor, times: Tensor) -> None:
    if not model.known:
        return
    estimated = parameters[:, : len(model.parameters)]
    ones = torch.cat([estimated, torch.ones(len(estimated), len(model.known), dtype=estimated.dtype)], dim=1)
    what = f"of model {model.name} without its known quantities and with 1 for them"
    _close(model.signal(estimated, times), model.signal(ones, times), 1e-12, f"signal {what}")
    _close(model.jacobian(estimated, times), model.jacobian(ones, times), 1e-12, f"Jacobian {what}")


def _check_finite(model: SignalModel, parameters: Tensor, times: Tensor) -> None:
    """At every finite bound, and for times scaled to zero and to a thousandfold unless the model refuses such times."""
    cases = [("within the bounds", parameters)]
    for index, p in enumerate((*model.parameters, *model.known)):
        for bound in (p.lower, p.upper):
            if math.isfinite(bound):
                moved = parameters.clone()
                moved[:, index] = bound
                cases.append((f"at {p.name} = {bound}", moved))
    stretches = (1.0,) if model.times_key == "flip_angle" else (0.0, 1.0, 1e3)
    for where, values in cases:
        for stretch in stretches:
            for what, function in (("signal", model.signal), ("Jacobian", model.jacobian)):
                try:
                    result = function(values, times * stretch)
                except InputError:
                    _require(stretch != 1, f"model {model.name} refuses the times {times.tolist()}")
                    continue
                _require(bool(result.isfinite().all()), f"{what} of model {model.name} {where}, times x {stretch:g}, is not finite")


def _check_separable(
    model: SeparableModel, parameters: Tensor, times: Tensor, generator: torch.Generator, tolerance: float
) -> None:
    name = f"model {model.name}"
    _require(0 <= model.nonlinear < len(model.parameters), f"{name} has no parameter {model.nonlinear}")
    limits = model.constant
    _require(limits.lower > 0 and math.isfinite(limits.upper), f"the constant of {name} may be negative or infinite")
    low, high = model.plausible(times)
    _require(limits.lower <= low < high <= limits.upper, f"plausible constants of {name} are {low} to {high}")
    constant = _draw(limits, len(parameters), generator)
    basis = model.basis(constant, times)
    _same_shape(basis, (len(constant), len(times), model.n_linear), f"basis of {name}")
    coefficients = 0.5 + torch.rand(len(constant), model.n_linear, generator=generator, dtype=torch.float64)
    assembled = model.assemble(constant, coefficients)
    _same_shape(assembled, (len(constant), len(model.parameters)), f"assembled parameters of {name}")
    if model.searched is None:
        _close(assembled[:, model.nonlinear], constant, 1e-12, f"time constant of {name} before and after assembling")
    product = torch.einsum("vcl,vl->vc", basis, coefficients)
    _close(model.signal(assembled, times), product, tolerance, f"signal of {name} and basis times coefficients")
    slope = model.basis_slope(constant, times)
    for voxel, value in enumerate(constant.log()):
        expected: Float[Tensor, "contrast linear"] = torch.func.jacrev(lambda t: model.basis(t.exp(), times))(value)
        _close(slope[voxel], expected, tolerance, f"slope of the basis of {name} and automatic differentiation")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _same_shape(value: Tensor, expected: tuple[int, ...], what: str) -> None:
    _require(tuple(value.shape) == tuple(expected), f"{what} a tensor of shape {tuple(value.shape)}, not {tuple(expected)}")


def _close(value: Tensor, expected: Tensor, tolerance: float, what: str, size: Tensor | None = None) -> None:
    _same_shape(value, tuple(expected.shape), f"{what}:")
    _require(bool(value.isfinite().all()), f"{what}: not finite")
    error = float((value - expected).norm())
    allowed = tolerance * float(expected.norm() if size is None else size)
    _require(error <= allowed, f"{what} differ by {error:.3g}, allowed {allowed:.3g}")
