r"""95 % intervals by the profile of the misfit, for estimates whose distribution is skewed.

The profile of a parameter is the least misfit that the others allow where it is held at a value,
:math:`f_j(\theta) = \min_{p: p_j = \theta} f(p)`. The interval is the part around the estimate with

.. math:: f_j(\theta) - f(\hat p) \le q^2 \sigma^2

with the normal quantile ``q`` and known deviations (likelihood ratio, :math:`q^2 = 3.841`; Wilks 1938, doi 10.1214/aoms/1177732360), or
Student's ``q`` and ``sigma^2`` from the residuals, whose square is that of F with 1 and n - p degrees of freedom (Bates and Watts 1988,
doi 10.1002/9780470316757). It is as skewed as the misfit is, and the same in whatever way a parameter is written (T2 or 1 / T2).
Where weights are not the inverse variances, the difference is larger on average, by the ratio of the sandwich to the plain variance
(Kent 1982, doi 10.1093/biomet/69.1.19), and the threshold grows by this ratio.

Both limits of all voxels are searched for at once: outwards from the estimate until the threshold lies between two values, then by
false position (Illinois variant, Dowell and Jarratt 1971, doi 10.1007/BF01934364) in the root of the difference, which is nearly linear.
For the one non-linear parameter of a separable model a value of the profile is one projection, for others a Levenberg-Marquardt fit with
that parameter held, from where the last one ended.

A limit beyond a bound of the model is that bound, infinity where it has none: the interval is open there, which the data do not end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from puq_qmri.choices import Intervals
from puq_qmri.fitting import levenberg_marquardt, variable_projection
from puq_qmri.signal_models.base import Parameter, SeparableModel, SignalModel

SKEWED, UNKNOWN = 0.05, 1.0
"""Standard deviation over the size of an estimate from which ``auto`` profiles it (measured in docs/puq-qmri/confidence.md), and from
which nothing is known of it, so that normal limits, which then reach beyond zero, say the same at no cost."""
_TOLERANCE = 1e-4
"""Of the root of the difference over the threshold, which is about that of the width of the interval."""
_REFIT = 1e-5
"""Tolerance of the fits with a parameter held; the misfit, at its least there, depends on the square of what is left."""
_MOST_STEPS = 25
_LEAST_GROWTH, _MOST_GROWTH = 2.0, 4.0
"""How much farther from the estimate the next value lies, while none beyond the limit is known."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Voxels at their least misfit.

    Attributes
    ----------
    model, times, signal, weights, known, whitening
        As the fitters take them.
    parameters
        (voxel, parameter): the estimates.
    cost
        Their misfit.
    spread
        (voxel, parameter, parameter): their covariance up to a factor, from which refits start.
    projected
        Whether the non-linear parameter of a separable model is profiled by projection.
    """

    model: SignalModel
    times: Float[Tensor, " contrast"]
    signal: Float[Tensor, "voxel contrast"]
    weights: Float[Tensor, "#voxel contrast"]
    known: Float[Tensor, "voxel known"] | None
    whitening: Float[Tensor, "contrast contrast"] | None
    parameters: Float[Tensor, "voxel parameter"]
    cost: Float[Tensor, " voxel"]
    spread: Float[Tensor, "voxel parameter parameter"]
    projected: bool

    @property
    def constant(self) -> int | None:
        """The parameter whose profile is a projection; None if there is none."""
        model = self.model
        if self.projected and isinstance(model, SeparableModel) and model.searched is None:
            return model.nonlinear
        return None

    def skewed(self, std: Float[Tensor, "voxel parameter"], intervals: Intervals) -> Bool[Tensor, "voxel parameter"]:
        """Which estimates get their limits from the profile; with ``auto`` skewed ones whose profile is a projection.

        Profiles of other parameters are fits with that parameter held, many for each limit: a hundred times the cost of the estimate.
        """
        chosen = torch.zeros_like(std, dtype=torch.bool)
        if intervals == "profile":
            return std.isfinite() & (std > 0)
        if intervals == "auto" and (index := self.constant) is not None:
            share = std[:, index] / self.parameters[:, index].abs()
            chosen[:, index] = (share > SKEWED) & (share < UNKNOWN)
        return chosen

    def part(self, rows: Int[Tensor, " chosen"]) -> Fitted:
        """Some of the voxels, any of them more than once."""
        return replace(
            self,
            signal=self.signal[rows],
            weights=self.weights if len(self.weights) == 1 else self.weights[rows],
            known=None if self.known is None else self.known[rows],
            parameters=self.parameters[rows],
            cost=self.cost[rows],
            spread=self.spread[rows],
        )

    def limits(
        self, index: int, width: Float[Tensor, " voxel"], threshold: Float[Tensor, " voxel"]
    ) -> tuple[Float[Tensor, "2 voxel"], Bool[Tensor, "2 voxel"]]:
        """Lower and upper limits of one parameter, and which of them are open.

        Parameters
        ----------
        index
            Of the parameter.
        width
            Half width of the normal interval, where the search starts.
        threshold
            How far the profile may lie above the least misfit. Where it is not positive, the limits are the estimate.

        Returns
        -------
        tuple
            A limit is NaN where the search did not settle.
        """
        n = len(self.cost)
        twice = self.part(torch.arange(n, device=self.cost.device).repeat(2))
        side = torch.cat([-torch.ones_like(width), torch.ones_like(width)])
        limit, is_open = _search(twice, index, side, width.repeat(2), threshold.repeat(2))
        return limit.reshape(2, n), is_open.reshape(2, n)

    def least(
        self, index: int, value: Float[Tensor, " voxel"], start: Float[Tensor, "voxel parameter"]
    ) -> tuple[Float[Tensor, " voxel"], Float[Tensor, "voxel parameter"]]:
        """The profile at values of a parameter, and where the other parameters then are; NaN where no fit settled."""
        start = start.clone()
        start[:, index] = value
        model = self.model
        if index == self.constant and isinstance(model, SeparableModel):
            cost = variable_projection.misfit(model, self.times, self.signal, self.weights, value, whitening=self.whitening)
            return cost, start
        found = levenberg_marquardt.solve(
            model,
            self.times,
            self.signal,
            self.weights,
            start=start,
            known=self.known,
            whitening=self.whitening,
            fixed=index,
            tolerance=_REFIT,
        )
        return torch.where(found.converged, found.cost, torch.nan), found.parameters


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the 95 % intervals, where they come from, and whether the data end them; all (voxel, parameter)."""

    low: Float[Tensor, "voxel parameter"]
    high: Float[Tensor, "voxel parameter"]
    profiled: Bool[Tensor, "voxel parameter"]
    open: Bool[Tensor, "voxel parameter"]

    @classmethod
    def normal(cls, values: Float[Tensor, "voxel parameter"], half_width: Float[Tensor, "voxel parameter"]) -> Limits:
        """As far to both sides."""
        none = torch.zeros_like(values, dtype=torch.bool)
        return cls(low=values - half_width, high=values + half_width, profiled=none, open=none)

    def scaled(self, factor: Float[Tensor, "voxel parameter"]) -> Limits:
        """In other units."""
        return replace(self, low=self.low * factor, high=self.high * factor)


def profiled_limits(
    branches: Sequence[Fitted],
    values: Float[Tensor, "voxel parameter"],
    width: Float[Tensor, "voxel parameter"],
    threshold: Float[Tensor, "voxel parameter"],
    chosen: Bool[Tensor, "voxel parameter"],
) -> Limits:
    """Normal limits, and those of the profile in their place where they are asked for and found.

    Parameters
    ----------
    branches
        One solution of all voxels, or those of every polarity that magnitudes may have had. The likelihood is that of the best one at
        every value, so that the interval reaches over all that come below the threshold.
    values
        The estimates, which belong to the branch of least cost.
    width
        Half widths of the normal intervals.
    threshold
        How far a profile may lie above the least misfit.
    chosen
        Which limits are to come from the profile.
    """
    low, high, is_open = values - width, values + width, torch.zeros_like(chosen)
    profiled, least = torch.zeros_like(chosen), torch.stack([b.cost for b in branches]).amin(0)
    for index in range(values.shape[1]):
        rows = chosen[:, index].nonzero()[:, 0]
        found = torch.stack([torch.full_like(values[rows, index], torch.inf), torch.full_like(values[rows, index], -torch.inf)])
        ends, failed = torch.zeros_like(found, dtype=torch.bool), torch.zeros_like(rows, dtype=torch.bool)
        for branch in branches:
            left = threshold[rows, index] - (branch.cost - least)[rows]
            near = (left > 0).nonzero()[:, 0]
            if not len(near):
                continue
            limit, end = branch.part(rows[near]).limits(index, width[rows[near], index], left[near])
            before = found[:, near]
            farther = torch.stack([limit[0] < before[0], limit[1] > before[1]])
            found[:, near], ends[:, near] = torch.where(farther, limit, before), torch.where(farther, end, ends[:, near])
            failed[near] |= limit.isnan().any(0)
        sound = ~failed & (found[0] <= values[rows, index]) & (found[1] >= values[rows, index])
        at = rows[sound]
        low[at, index], high[at, index] = found[0, sound], found[1, sound]
        profiled[at, index], is_open[at, index] = True, ends[:, sound].any(0)
    return Limits(low=low, high=high, profiled=profiled, open=is_open)


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """The coordinate of the search: the logarithm of a parameter that is positive, or the parameter itself."""

    logarithmic: bool
    lower: float
    upper: float

    @classmethod
    def of(cls, parameter: Parameter) -> _Axis:
        logarithmic = parameter.lower > 0
        low, high = parameter.lower, parameter.upper
        return cls(
            logarithmic=logarithmic, lower=math.log(low) if logarithmic else low, upper=math.log(high) if logarithmic else high
        )

    def at(self, value: Float[Tensor, " voxel"]) -> Float[Tensor, " voxel"]:
        return value.log() if self.logarithmic else value

    def value(self, at: Float[Tensor, " voxel"]) -> Float[Tensor, " voxel"]:
        return at.exp() if self.logarithmic else at

    def moved(self, value: Float[Tensor, " voxel"], by: Float[Tensor, " voxel"]) -> Float[Tensor, " voxel"]:
        """A step by so much of the parameter, made along the coordinate."""
        return value * (by / value).exp() if self.logarithmic else value + by


@dataclass(kw_only=True)
class _Bracket:
    """Points inside and outside of the interval, with the height of the profile there: -1 at the estimate, 0 at the limit."""

    inner: Float[Tensor, " voxel"]
    inner_height: Float[Tensor, " voxel"]
    outer: Float[Tensor, " voxel"]
    outer_height: Float[Tensor, " voxel"]
    last: Float[Tensor, " voxel"]
    """Which end moved last: 1 the outer, -1 the inner one, 0 none."""

    @classmethod
    def around(cls, start: Float[Tensor, " voxel"]) -> _Bracket:
        """All that is known at first: the estimate is inside."""
        one = torch.ones_like(start)
        return cls(
            inner=start, inner_height=-one, outer=torch.full_like(start, torch.inf), outer_height=one, last=torch.zeros_like(start)
        )

    def narrow(self, point: Float[Tensor, " voxel"], height: Float[Tensor, " voxel"]) -> None:
        """Take the point in, unless its height is NaN; an end that stays for the second time halves its height, to draw the next point."""
        outside, inside = height > 0, height <= 0
        kept_inner = torch.where(self.last > 0, self.inner_height / 2, self.inner_height)
        kept_outer = torch.where(self.last < 0, self.outer_height / 2, self.outer_height)
        self.inner_height = torch.where(inside, height, torch.where(outside, kept_inner, self.inner_height))
        self.outer_height = torch.where(outside, height, torch.where(inside, kept_outer, self.outer_height))
        self.inner, self.outer = torch.where(inside, point, self.inner), torch.where(outside, point, self.outer)
        self.last = outside.to(point) - inside.to(point)

    def next(self, start: Float[Tensor, " voxel"]) -> Float[Tensor, " voxel"]:
        """Between the ends, or beyond the inner one where there is no outer one yet."""
        share = -self.inner_height / (self.outer_height - self.inner_height)
        between = self.inner + share * (self.outer - self.inner)
        growth = (_LEAST_GROWTH / (1 + self.inner_height)).clamp(_LEAST_GROWTH, _MOST_GROWTH)
        return torch.where(self.outer.isfinite(), between, start + growth * (self.inner - start))

    def part(self, keep: Bool[Tensor, " voxel"]) -> _Bracket:
        return _Bracket(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})


def _search(
    fitted: Fitted, index: int, side: Float[Tensor, " voxel"], width: Float[Tensor, " voxel"], threshold: Float[Tensor, " voxel"]
) -> tuple[Float[Tensor, " voxel"], Bool[Tensor, " voxel"]]:
    """One limit of each voxel, on the voxels that still move."""
    axis, best = _Axis.of(fitted.model.parameters[index]), fitted.parameters[:, index]
    limit, is_open = torch.where(threshold > 0, torch.nan, best), torch.zeros_like(best, dtype=torch.bool)
    active = (threshold > 0).nonzero()[:, 0]
    fitted, side, width, threshold, best = fitted.part(active), side[active], width[active], threshold[active], best[active]
    start = axis.at(best)
    point = axis.at(axis.moved(best, side * width)).clamp(axis.lower, axis.upper)
    bracket = _Bracket.around(start)
    # The others first move as the covariance says, as far as this parameter does.
    direction = fitted.spread[:, :, index] / fitted.spread[:, index, index, None]
    moves = (direction * (axis.value(point) - best)[:, None]).unbind(-1)
    axes = [_Axis.of(p) for p in fitted.model.parameters]
    others = torch.stack([a.moved(v, m) for a, v, m in zip(axes, fitted.parameters.unbind(-1), moves, strict=True)], -1)
    bound = torch.where(side < 0, torch.full_like(side, axis.lower), axis.upper)
    for _ in range(_MOST_STEPS):
        cost, others = fitted.least(index, axis.value(point), others)
        height = ((cost - fitted.cost).clamp_min(0) / threshold).sqrt() - 1
        reached = height.abs() < _TOLERANCE
        beyond = ~reached & (height < 0) & (point == bound)
        limit[active[reached | beyond]] = axis.value(point[reached | beyond])
        is_open[active[beyond]] = True
        moving = ~(reached | beyond)
        if not moving.any():
            break
        fitted = fitted.part(moving.nonzero()[:, 0])
        active, start, side, bound, threshold = (v[moving] for v in (active, start, side, bound, threshold))
        bracket, others, point, height = bracket.part(moving), others[moving], point[moving], height[moving]
        # Where a refit did not settle, nothing is known: nearer to where one did.
        lost = height.isnan()
        nearer = (bracket.inner + point) / 2
        bracket.narrow(point, height)
        point = torch.where(lost, nearer, bracket.next(start).clamp(axis.lower, axis.upper))
        others = torch.where(lost[:, None], fitted.parameters, others)
    else:
        endless = bracket.outer.isinf()  # millions of times farther than the normal limit, and still no threshold
        limit[active[endless]] = (side * torch.inf)[endless]
        is_open[active[endless]] = True
    return limit, is_open
