"""What a signal model is: times and parameters in, one signal for each contrast out, with its Jacobian."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

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
    """

    name: str
    map_name: str
    unit: str
    lower: float
    upper: float


class SignalModel(ABC):
    """A model ``s(times; parameters)`` with an analytic Jacobian.

    Attributes
    ----------
    name
        Name on command lines.
    summary
        One line with the formula.
    source
        Where the formula comes from.
    times_key
        Which times it needs, a key of ``ImageSeries.times``.
    parameters
        What it estimates, in the order of the last axis of every parameter tensor.
    changes_sign
        Whether the signal changes sign over the times, so that magnitude images need their polarity restored.
    phase_evolves
        Whether the phase of complex images changes with the times, as off-resonance does to gradient echoes, so that only their
        magnitudes follow the model.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    times_key: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]]
    changes_sign: ClassVar[bool] = False
    phase_evolves: ClassVar[bool] = False

    @abstractmethod
    def signal(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each contrast; `times` in seconds."""

    @abstractmethod
    def jacobian(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast parameter"]:
        """Derivative of the signal with respect to each parameter."""


class SeparableModel(SignalModel):
    """A model that is linear in all parameters but one positive time constant.

    ``s(t) = sum_k c_k phi_k(t; T)``: variable projection (Golub and Pereyra 2003, doi 10.1088/0266-5611/19/2/201) removes the
    coefficients ``c`` and leaves a search over ``T`` alone. A subclass says what the basis functions are and how the
    coefficients are the physical parameters.
    """

    nonlinear: ClassVar[int]
    """Index of the time constant among the parameters."""
    n_linear: ClassVar[int]
    """Number of basis functions, 1 or 2."""

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


def decay(constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]) -> Float[Tensor, "*voxels contrast"]:
    """``exp(-t / T)``."""
    return torch.exp(-times / constant[..., None])


def decay_slope(constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]) -> Float[Tensor, "*voxels contrast"]:
    """Derivative of ``exp(-t / T)`` with respect to ``log T``: ``(t / T) exp(-t / T)``."""
    ratio = times / constant[..., None]
    return ratio * torch.exp(-ratio)
