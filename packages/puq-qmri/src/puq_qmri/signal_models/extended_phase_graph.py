"""Trains of spin echoes whose refocusing is imperfect, by extended phase graphs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.signal_models.base import Parameter, SeparableModel, SignalModel
from puq_qmri.signal_models.quantities import B1, M0, T2
from puq_qmri.signal_models.settings import check_number, described

_SPACING = described("time between echoes; by default from the echo times", unit="s")
_T1 = described("T1 that all voxels are taken to have; T2 hardly depends on it", unit="s")
_MOST_ECHOES = 512
_OFF_GRID = 0.1
"""Largest distance of an echo time from a multiple of the spacing, in spacings."""


def echo_train(
    t1: float, t2: Float[Tensor, "*voxels"], refocusing: Float[Tensor, "*voxels"], *, spacing: float, count: int
) -> Float[Tensor, "3 *voxels echo"]:
    """Amplitudes at the times 0, 1, ... `count` spacings after an excitation of unit amplitude, and their derivatives.

    Before each pulse of a train under CPMG conditions the magnetisation has the orders 1, 3, 5, ... half spacings of dephasing
    (Weigel 2015). With the longitudinal states in units of the sine of the refocusing angle ``a``, a pulse is a matrix of polynomials in
    ``u = sin(a/2)^2``: the train is a smooth function of `refocusing` = ``u`` on both sides of 1, where that of the angle is flat.
    What recovers with T1 has even orders and never meets an echo.

    Parameters
    ----------
    t1
        Seconds.
    t2
        Seconds, of every voxel.
    refocusing
        ``sin(a/2)^2``, 1 for 180 degrees.
    spacing
        Seconds between echoes.
    count
        Number of echoes.

    Returns
    -------
    Tensor
        The amplitudes, their derivatives with respect to T2, and those with respect to `refocusing`.
    """
    # The first axis of every state holds the state and its two derivatives.
    u = refocusing[..., None]
    half, whole, upright = _decay(spacing / 2, t2), _decay(spacing, t2), math.exp(-spacing / t1)
    out = torch.stack([*half, torch.zeros_like(half[0])])
    back, along = torch.zeros_like(out), torch.zeros_like(out)
    nothing = torch.zeros_like(out)
    start = torch.ones_like(t2)
    echoes = [torch.stack([start, torch.zeros_like(start), torch.zeros_like(start)])]
    for echo in range(1, count + 1):
        difference = out - back
        turned = u * difference - 4 * u * (1 - u) * along
        turned_by_u = difference[0] - (4 - 8 * u) * along[0]
        upper = (1 - 2 * u) * along - difference / 2
        out, back = _plus(out - turned, -turned_by_u), _plus(back + turned, turned_by_u)
        along = _plus(upper, -2 * along[0])
        echoes.append(_decayed(back[..., :1], half)[..., 0])
        # The order j before the next pulse comes back j pulses later; higher ones come too late.
        last = count - echo
        out, back, along = (
            _decayed(torch.cat([back[..., :1], out], -1)[..., :last], whole),
            _decayed(torch.cat([back[..., 1:], nothing, nothing], -1)[..., :last], whole),
            upright * torch.cat([along, nothing], -1)[..., :last],
        )
    return torch.stack(echoes, -1)


def _decay(time: float, t2: Tensor) -> tuple[Tensor, Tensor]:
    """Factor of a decay and its derivative with respect to T2, with an axis for the orders."""
    factor = torch.exp(-time / t2)[..., None]
    return factor, factor * (time / t2**2)[..., None]


def _decayed(state: Tensor, decay: tuple[Tensor, Tensor]) -> Tensor:
    """A state and its derivatives after a decay."""
    factor, slope = decay
    value, by_t2, by_u = state.unbind(0)
    return torch.stack([factor * value, factor * by_t2 + slope * value, factor * by_u])


def _plus(state: Tensor, by_u: Tensor) -> Tensor:
    """A state whose derivative with respect to the refocusing has one more term."""
    value, by_t2, rest = state.unbind(0)
    return torch.stack([value, by_t2, rest + by_u])


def echo_numbers(times: Float[Tensor, " contrast"], spacing: float | None, what: str) -> tuple[Int[Tensor, " contrast"], float]:
    """Which echo each time is, counted from 1, and the spacing; time zero is the excitation.

    Raises
    ------
    InputError
        If the times are not multiples of one spacing.
    """
    values = sorted(set(times.tolist()) | {0.0})
    if len(values) == 1:
        return torch.zeros_like(times, dtype=torch.int64), spacing or 1.0
    step = spacing
    if step is None:
        step = min(b - a for a, b in pairwise(values) if b - a > 1e-4 * values[-1])
        # Times in headers are rounded: the spacing that suits all of them best.
        numbers = [round(v / step) for v in values]
        step = sum(v * n for v, n in zip(values, numbers, strict=True)) / sum(n * n for n in numbers)
    off = max(abs(v / step - round(v / step)) for v in values)
    if off > _OFF_GRID or values[-1] / step > _MOST_ECHOES:
        raise InputError(
            f"echo times of model {what}",
            f"are not multiples of one spacing of {1e3 * step:.4g} ms ({', '.join(f'{1e3 * v:.4g}' for v in values[1:9])} ms)",
            "give --setting echo_spacing in seconds, or choose model t2",
        )
    return (times / step).round().to(torch.int64), step


@dataclass(frozen=True, kw_only=True)
class _MultiEcho(SignalModel):
    """What both models of a train share: its spacing and T1."""

    echo_spacing: float | None = field(default=None, metadata=_SPACING)
    t1: float = field(default=1.0, metadata=_T1)

    times_key: ClassVar[str] = "te"

    def __post_init__(self) -> None:
        check_number(self.name, "t1", self.t1, unit="s")
        if self.echo_spacing is not None:
            check_number(self.name, "echo_spacing", self.echo_spacing, upper=1.0, unit="s")

    def curve_times(self, times: Float[Tensor, " contrast"]) -> Float[Tensor, " point"]:
        """The excitation and all echoes up to the last."""
        numbers, spacing = echo_numbers(times, self.echo_spacing, self.name)
        return spacing * torch.arange(int(numbers.max()) + 1, dtype=times.dtype)

    def _train(
        self, t2: Float[Tensor, "*voxels"], refocusing: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "3 *voxels contrast"]:
        """Amplitudes at the times, their derivatives with respect to T2, and those with respect to the refocused part."""
        numbers, spacing = echo_numbers(times, self.echo_spacing, self.name)
        return echo_train(self.t1, t2, refocusing, spacing=spacing, count=int(numbers.max()))[..., numbers]


@dataclass(frozen=True, kw_only=True)
class MultiEchoT2(_MultiEcho):
    """Multi-echo train with the refocusing estimated ``s = M0 EPG(T2, sin(a/2)^2)``, refocusing angle ``a``.

    Estimated is the refocused part ``sin(a/2)^2``, 1 for 180 degrees, rather than ``a`` or B1: the train does not tell angles
    above 180 degrees from those below, and an estimate near 180 degrees would have no derivative. Noise may carry it above 1. Where
    the nominal angle is 180 degrees, B1 is ``2/pi`` times the arcsine of its root. The sine of the excitation stays in M0. Slice
    profiles are taken as rectangular: where they are not, the estimate is an average over the slice.
    """

    name: ClassVar[str] = "epg-t2"
    summary: ClassVar[str] = "M0 EPG(TE; T2, sin(a/2)^2), refocusing angle a estimated"
    source: ClassVar[str] = "Lebel and Wilman 2010, doi 10.1002/mrm.22487; Weigel 2015, doi 10.1002/jmri.24619"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        M0,
        T2,
        Parameter(name="refocusing", map_name="refocusingmap", unit="1", lower=0.1, upper=1.5, typical=(0.5, 1.0)),
    )

    def signal(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each echo."""
        m0, t2, refocusing = parameters.unbind(-1)
        return m0[..., None] * self._train(t2, refocusing, times)[0]

    def jacobian(
        self, parameters: Float[Tensor, "*voxels parameter"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast parameter"]:
        """The train, and M0 times its derivatives."""
        m0, t2, refocusing = parameters.unbind(-1)
        train, by_t2, by_refocusing = self._train(t2, refocusing, times)
        return torch.stack([train, m0[..., None] * by_t2, m0[..., None] * by_refocusing], dim=-1)


@dataclass(frozen=True, kw_only=True)
class MultiEchoT2KnownB1(_MultiEcho, SeparableModel):
    """Multi-echo train with a known B1 ``s = M0 sin(B1 90 deg) EPG(T2, B1 refocusing angle)``.

    With B1 = 1 and a refocusing angle of 180 degrees this is the mono-exponential decay.
    """

    refocusing_angle: float = field(default=math.pi, metadata=described("nominal refocusing angle", unit="rad"))

    name: ClassVar[str] = "epg-t2-b1"
    summary: ClassVar[str] = "M0 sin(B1 90 deg) EPG(TE; T2, B1 a), refocusing angle a"
    source: ClassVar[str] = "Hennig 1988, doi 10.1016/0022-2364(88)90128-X; Weigel 2015, doi 10.1002/jmri.24619"
    parameters: ClassVar[tuple[Parameter, ...]] = (M0, T2)
    known: ClassVar[tuple[Parameter, ...]] = (B1,)
    nonlinear: ClassVar[int] = 1
    n_linear: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "refocusing_angle", self.refocusing_angle, upper=math.pi + 1e-9, unit="rad")

    def signal(
        self, parameters: Float[Tensor, "*voxels column"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast"]:
        """Signal of each echo."""
        m0, t2, b1 = self.columns(parameters)
        excited = m0 * torch.sin(b1 * math.pi / 2)
        return excited[..., None] * self._train(t2, torch.sin(b1 * self.refocusing_angle / 2) ** 2, times)[0]

    def jacobian(
        self, parameters: Float[Tensor, "*voxels column"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast parameter"]:
        """The train, and M0 times its derivative with respect to T2."""
        m0, t2, b1 = self.columns(parameters)
        excited = torch.sin(b1 * math.pi / 2)[..., None]
        train, by_t2, _ = self._train(t2, torch.sin(b1 * self.refocusing_angle / 2) ** 2, times)
        return torch.stack([excited * train, m0[..., None] * excited * by_t2], dim=-1)

    def basis(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """The train with B1 = 1."""
        refocusing = torch.full_like(constant, math.sin(self.refocusing_angle / 2) ** 2)
        return self._train(constant, refocusing, times)[0][..., None]

    def basis_slope(
        self, constant: Float[Tensor, "*voxels"], times: Float[Tensor, " contrast"]
    ) -> Float[Tensor, "*voxels contrast linear"]:
        """Its derivative."""
        refocusing = torch.full_like(constant, math.sin(self.refocusing_angle / 2) ** 2)
        return (constant[..., None] * self._train(constant, refocusing, times)[1])[..., None]

    def assemble(
        self, constant: Float[Tensor, "*voxels"], coefficients: Float[Tensor, "*voxels linear"]
    ) -> Float[Tensor, "*voxels parameter"]:
        """The coefficient is M0."""
        return torch.stack([coefficients[..., 0], constant], dim=-1)
