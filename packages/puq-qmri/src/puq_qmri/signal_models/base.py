"""What a signal model is: times and parameters in, one signal for each contrast out, with its Jacobian."""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One quantity that a model estimates.

    Attributes
    ----------
    name
        Lower-case name, for example ``"t2"``.
    map_name
        Stem of the file its map is written to, for example ``"T2map"``.
    unit
        ``"s"``, ``"1"`` or ``"a.u."`` (the unit of the images).
    lower, upper
        Bounds; an estimate at a bound is no estimate, the voxel gets the status ``AT_BOUND``.
    typical
        Range in which start values lie; None: the bounds.
    """

    name: str
    map_name: str
    unit: str
    lower: float
    upper: float
    typical: tuple[float, float] | None = None


class SignalModel(ABC):
    """A model ``s(times; parameters)``; a subclass needs no more than its description and :meth:`signal`.

    Numbers of the sequence that all contrasts share, such as a repetition time, are fields of the instance: write the subclass as
    a frozen dataclass, or give it an ``__init__`` with keywords, and :func:`puq_qmri.signal_models.get_model` passes them on.

    Attributes
    ----------
    name
        Name on command lines.
    summary
        One line with the formula.
    source
        Where the formula comes from.
    times_key
        What differs between the contrasts, a key of ``ImageSeries.times``: ``te`` or ``ti`` in seconds, ``flip_angle`` in radians,
        ``b_value`` in s/m^2. The methods call the values `times`, whatever they are.
    parameters
        What it estimates, in the order of the last axis of every parameter tensor.
    known
        What it takes from maps that are given, such as B1. Their values are the last columns of a parameter tensor, after the
        estimated ones; columns that are left out are 1, see :meth:`columns`.
    amplitude
        Index of the parameter that the signal is proportional to, None if there is none.
    changes_sign
        Whether the signal changes sign over the times, so that magnitude images need their polarity restored.
    phase_evolves
        Whether the phase of complex images changes with the times, as off-resonance does to gradient echoes, so that only their
        magnitudes follow the model.
    needs_sign
        Whether the sign of the signal cannot be found again from magnitudes, so that signed or complex images are needed.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    times_key: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]]
    known: ClassVar[tuple[Parameter, ...]] = ()
    amplitude: ClassVar[int | None] = 0
    changes_sign: ClassVar[bool] = False
    phase_evolves: ClassVar[bool] = False
    needs_sign: ClassVar[bool] = False

    @abstractmethod
    def signal(
        self, parameters: Float[Tensor, "*voxels column"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each contrast; voxels are independent of each other."""

    def jacobian(
        self, parameters: Float[Tensor, "*voxels column"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast parameter"]:
        """Derivative of the signal with respect to each estimated parameter, by default by automatic differentiation.

        Voxels are independent, so one forward-mode pass for each parameter gives that column of all voxels.
        """

        def column(index: int) -> Tensor:
            direction = torch.zeros_like(parameters)
            direction[..., index] = 1
            return derivative_along(lambda p: self.signal(p, times), parameters, direction)

        return torch.stack([column(index) for index in range(len(self.parameters))], dim=-1)

    def columns(self, parameters: Float[Tensor, "*voxels column"]) -> tuple[Float[Tensor, "*voxels"], ...]:
        """The estimated parameters and then the known quantities, those that are left out as 1."""
        given = parameters.unbind(-1)
        missing = len(self.parameters) + len(self.known) - len(given)
        return (*given, *(torch.ones_like(given[0]) for _ in range(missing)))

    def curve_times(self, times: Float[Tensor, " contrast"]) -> Float[Tensor, " point"]:
        """Times at which the curve of a fit is drawn, by default 200 from zero to a little beyond the last one."""
        return torch.linspace(0.0, 1.05 * float(times.max()), 200, dtype=times.dtype)

    def settings(self) -> dict[str, Any]:
        """Numbers of the sequence of this instance, by name; those of a dataclass."""
        made: Any = self
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(made) if f.init} if dataclasses.is_dataclass(made) else {}

    def __str__(self) -> str:
        return self.name


class SeparableModel(SignalModel):
    """A model that is linear in all parameters but one positive constant, most often a relaxation time.

    ``s(t) = sum_k c_k phi_k(t; T)``: variable projection (Golub and Pereyra 2003, doi 10.1088/0266-5611/19/2/201) removes the
    coefficients ``c`` and leaves a search over ``T`` alone. A subclass says what the basis functions are and how the
    coefficients are the physical parameters. Known maps enter :meth:`signal` alone: the basis is that of voxels where they are 1.
    """

    nonlinear: ClassVar[int]
    """Index of the parameter that the constant is, or mostly decides, among the parameters."""
    n_linear: ClassVar[int]
    """Number of basis functions, 1 or 2."""
    searched: ClassVar[Parameter | None] = None
    """Name and bounds of the constant, where it is none of the parameters (an apparent T1 beside the T1 it is corrected to)."""

    @property
    def constant(self) -> Parameter:
        """Name and bounds of the constant that is searched for."""
        return self.searched or self.parameters[self.nonlinear]

    def plausible(self, times: Float[Tensor, " contrast"]) -> tuple[float, float]:
        """Constants that a measurement at these times can tell apart, within the bounds.

        For relaxation times a fiftieth to twenty times the longest time; for other coordinates than times the typical range.
        """
        low, high = self.constant.lower, self.constant.upper
        if self.times_key in {"te", "ti"} and self.constant.unit == "s":
            longest = float(times.max())
            return max(low, longest / 50), min(high, longest * 20)
        return self.constant.typical or (low, high)

    @abstractmethod
    def basis(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """The basis functions ``phi_k(t; T)``."""

    @abstractmethod
    def basis_slope(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """Their derivatives with respect to ``log T``."""

    @abstractmethod
    def assemble(
        self, constant: Float[Tensor, "*voxels"], coefficients: Float[Tensor, "*voxels linear"]
    ) -> Float[Tensor, "*voxels parameter"]:
        """Physical parameters from the time constant and the coefficients."""


def derivative_along(function: Callable[[Tensor], Tensor], at: Tensor, direction: Tensor) -> Tensor:
    """Derivative of a function of a tensor in one direction, by forward-mode automatic differentiation."""
    _prepare_forward_mode()
    derivative: Tensor = torch.func.jvp(function, (at,), (direction,))[1]
    return derivative


@cache
def _prepare_forward_mode() -> None:
    """The first forward derivative of a process compiles torch's own scripts, and torch warns about that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


def decay(constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]) -> Float[Tensor, "*voxels contrast"]:
    """``exp(-t / T)``."""
    return torch.exp(-times / constant[..., None])


def decay_slope(constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]) -> Float[Tensor, "*voxels contrast"]:
    """Derivative of ``exp(-t / T)`` with respect to ``log T``: ``(t / T) exp(-t / T)``."""
    ratio = times / constant[..., None]
    return ratio * torch.exp(-ratio)
