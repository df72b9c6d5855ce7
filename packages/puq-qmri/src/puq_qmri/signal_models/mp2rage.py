"""Blocks of gradient echoes after one inversion: MP2RAGE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from medcore.errors import ConfigError, InputError
from puq_qmri.signal_models.base import Parameter, SeparableModel, derivative_along
from puq_qmri.signal_models.quantities import B1, M0
from puq_qmri.signal_models.settings import check_number, described


@dataclass(frozen=True, kw_only=True)
class Mp2rage(SeparableModel):
    r"""Signals of the gradient-echo blocks of an inversion-prepared sequence in its steady state.

    An inversion of the given efficiency is followed by one block of excitations for each inversion time; the inversion time ends at
    the excitation that measures the centre of k-space, before which ``n_shots[0]`` excitations of the block lie. Between blocks
    the magnetisation recovers freely, and the whole repeats with the period `tr_preparation`; its steady state and the signals at
    the centres follow in closed form. For two blocks they are the GRE\ :sub:`TI1` and GRE\ :sub:`TI2` of Marques et al. 2010; their
    uniform image is the product of both over the sum of their squares, and holds no more about T1 than their ratio does.

    The images must have their sign: complex ones, or real ones whose first inversion may be negative. Two blocks decide M0 and T1
    without a residual, so deviations of T1 need known deviations of the images.
    """

    flip_angles: tuple[float, ...] = field(
        metadata=described(
            "flip angle of each block, in the order of the inversion times",
            unit="rad",
            option="--flip-angle in degrees",
            header="FlipAngle",
            several=True,
        )
    )
    tr: float = field(metadata=described("time between excitations", unit="s", option="--tr", header="RepetitionTimeExcitation"))
    tr_preparation: float = field(metadata=described("time between inversions", unit="s", header="RepetitionTimePreparation"))
    n_shots: tuple[int, ...] = field(
        metadata=described(
            "excitations of a block before the centre of k-space, and from it on", header="NumberShots", several=True
        )
    )
    inversion_efficiency: float = field(
        default=0.96, metadata=described("part of the magnetisation that is inverted", header="InversionEfficiency")
    )

    name: ClassVar[str] = "mp2rage"
    summary: ClassVar[str] = "M0 GRE_i(T1) of blocks i after an inversion, steady state"
    source: ClassVar[str] = "Marques et al. 2010, doi 10.1016/j.neuroimage.2009.10.002"
    times_key: ClassVar[str] = "ti"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        M0,
        Parameter(name="t1", map_name="T1map", unit="s", lower=0.05, upper=6.0, typical=(0.2, 5.0)),
    )
    known: ClassVar[tuple[Parameter, ...]] = (B1,)
    changes_sign: ClassVar[bool] = True
    needs_sign: ClassVar[bool] = True
    nonlinear: ClassVar[int] = 1
    n_linear: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for name in ("tr", "tr_preparation"):
            check_number(self.name, name, getattr(self, name), upper=60.0, unit="s")
        check_number(self.name, "inversion_efficiency", self.inversion_efficiency, upper=1.0 + 1e-9)
        if len(self.flip_angles) < 2:
            raise ConfigError(f"flip_angles of model {self.name}", f"are {self.flip_angles}", "give one for each inversion time")
        for angle in self.flip_angles:
            check_number(self.name, "flip_angles", angle, upper=math.pi / 2, unit="rad")
        if len(self.n_shots) != 2 or any(n != int(n) or n < 0 for n in self.n_shots) or not sum(self.n_shots):
            raise ConfigError(
                f"n_shots of model {self.name}",
                f"are {self.n_shots}",
                "give the excitations before the centre of k-space and the others",
            )

    def signal(
        self, parameters: Float[Tensor, "*voxels column"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each block."""
        m0, t1, b1 = self.columns(parameters)
        return m0[..., None] * self._blocks(t1, b1, times)

    def basis(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """Signals of unit M0 with B1 = 1."""
        return self._blocks(constant, torch.ones_like(constant), times)[..., None]

    def basis_slope(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """Their derivative, by automatic differentiation."""
        return derivative_along(lambda t1: self.basis(t1, times), constant, constant)

    def assemble(
        self, constant: Float[Tensor, "*voxels"], coefficients: Float[Tensor, "*voxels linear"]
    ) -> Float[Tensor, "*voxels parameter"]:
        """The coefficient is M0."""
        return torch.stack([coefficients[..., 0], constant], dim=-1)

    def curve_times(self, times: Float[Tensor, " contrast"]) -> Float[Tensor, " point"]:
        """The inversion times: in between there is no signal."""
        return times.sort().values

    def _blocks(
        self, t1: Float[Tensor, "*voxels"], b1: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Transverse magnetisation at the centre of each block, in the order of `times`."""
        order = times.argsort()
        gaps = self._gaps(times[order].tolist())
        before, after = (int(n) for n in self.n_shots)
        rests = [_recovery(gap, t1) for gap in gaps]
        pulses = [self._pulses(b1 * angle, t1) for angle in self.flip_angles]
        whole = rests[0]
        for (keep, gain), rest in zip(pulses, rests[1:], strict=True):
            whole = _then(_then(whole, _repeated(keep, gain, before + after)), rest)
        # Before the inversion m, after it -d m, and after the whole cycle m again.
        state = -self.inversion_efficiency * whole[1] / (1 + self.inversion_efficiency * whole[0])
        signals = []
        for angle, (keep, gain), (rest_keep, rest_gain) in zip(self.flip_angles, pulses, rests, strict=False):
            state = rest_keep * state + rest_gain
            first, second = _repeated(keep, gain, before), _repeated(keep, gain, after)
            centre = first[0] * state + first[1]
            signals.append(torch.sin(b1 * angle) * centre)
            state = second[0] * centre + second[1]
        return torch.stack(signals, -1)[..., order.argsort()]

    def _gaps(self, times: Sequence[float]) -> list[float]:
        """Free recovery before each block and after the last one."""
        if len(times) != len(self.flip_angles):
            raise InputError(
                f"model {self.name}",
                f"has {len(self.flip_angles)} flip angles for {len(times)} inversion times",
                "give one for each",
            )
        before, after = (n * self.tr for n in self.n_shots)
        edges = [0.0, *(edge for time in times for edge in (time - before, time + after)), self.tr_preparation]
        gaps = [b - a for a, b in pairwise(edges)][::2]
        if min(gaps) < -1e-6:
            raise InputError(
                f"model {self.name}",
                f"has no room for {sum(self.n_shots)} excitations every {self.tr:g} s around the inversion times "
                f"{', '.join(f'{t:g}' for t in times)} s within {self.tr_preparation:g} s",
                "correct n_shots, tr or tr_preparation",
            )
        return [max(gap, 0.0) for gap in gaps]

    def _pulses(self, angle: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        """What one excitation and the recovery after it keep and add."""
        keep, gain = _recovery(self.tr, t1)
        return keep * torch.cos(angle), gain


def _recovery(time: float, t1: Tensor) -> tuple[Tensor, Tensor]:
    """What a free recovery keeps of the magnetisation and adds to it."""
    return torch.exp(-time / t1), -torch.expm1(-time / t1)


def _then(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """One change of the magnetisation after another."""
    return first[0] * second[0], first[1] * second[0] + second[1]


def _repeated(keep: Tensor, gain: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """A change made `count` times."""
    power = keep**count
    return power, gain * (1 - power) / (1 - keep)
