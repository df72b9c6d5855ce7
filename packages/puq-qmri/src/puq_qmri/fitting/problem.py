r"""The fit of a signal model to images whose contrasts have unequal, known or unknown deviations.

Heteroscedastic means here: contrast ``i`` of voxel ``v`` has standard deviation ``sigma_iv``, and the estimate minimises
``sum_i (y_iv - s(t_i; p_v))^2 / sigma_iv^2``. The covariance of the estimate is ``(J^T W J)^-1`` with the analytic Jacobian and
``W = diag(1 / sigma^2)``. Without deviations all contrasts weigh the same, and the residuals of the voxel estimate one variance
with ``n_contrasts - n_parameters`` degrees of freedom; the intervals are then Student's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import InputError
from puq_qmri.choices import Fitter, Intervals
from puq_qmri.fitting import levenberg_marquardt, variable_projection
from puq_qmri.fitting.checks import (
    check_positive,
    checked_intervals,
    checked_known,
    checked_mask,
    checked_sigma,
    checked_times,
    checked_weights,
    chosen_fitter,
    usable,
)
from puq_qmri.fitting.covariance import covariance, observed_jacobian
from puq_qmri.fitting.error_model import ErrorModel, Refined, checked_error_model
from puq_qmri.fitting.estimates import Estimate, Maps, quantile
from puq_qmri.fitting.profile import Fitted, Limits, profiled_limits
from puq_qmri.fitting.result import FitResult, Status
from puq_qmri.fitting.signals import (
    Polarities,
    SignalType,
    Solver,
    inside_bounds,
    signal_type,
    solve_with_polarity,
    to_real,
    with_physical_sign,
)
from puq_qmri.fitting.solution import Solution
from puq_qmri.signal_models import SeparableModel, SignalModel, get_model

CHUNK = 4096
"""Voxels worked on at once: few enough that the start grid's products stay in the cache."""
NOISE_FLOOR = 3.0
"""Magnitudes below this many deviations are too large by more than 5 % on average (Gudbjartsson and Patz 1995)."""
GPU_CHUNK = 2**18
"""On a GPU the start of a kernel costs as much as thousands of voxels."""


def fit(
    images: NDArray[Any],
    times: NDArray[np.floating[Any]],
    model: str | SignalModel,
    *,
    sigma: float | NDArray[Any] | None = None,
    weights: NDArray[Any] | None = None,
    correlation: NDArray[Any] | None = None,
    robust: str = "none",
    noise: str = "gaussian",
    noise_coils: int = 1,
    mask: NDArray[Any] | None = None,
    known: Mapping[str, float | NDArray[Any]] | None = None,
    signal: str = "auto",
    fitter: Fitter = "auto",
    intervals: Intervals = "auto",
    full_covariance: bool = False,
    residuals: bool = False,
    device: str | torch.device = "cpu",
) -> FitResult:
    """Estimate the parameters of a signal model in every voxel.

    The estimate is that of normal noise. Magnitudes have Rician noise: where they come near the noise floor (below about three
    deviations) they are too large, late echoes most, so T2 comes out too long. ``facts["near_noise_floor"]`` of the result is the
    share of fitted voxels with such a magnitude, where deviations are known. An offset is no cure; complex images have no such bias.

    Parameters
    ----------
    images
        (contrast, z, y, x), real or complex.
    times
        (contrast,) in seconds; order and repetition do not matter.
    model
        A signal model or its name.
    sigma
        Standard deviation of the images (of the real part, if complex): one number, (contrast,), or the shape of the images. An
        infinite or NaN deviation leaves that contrast of that voxel out, whatever its value. None: unknown and equal.
    weights
        Relative weights of the contrasts instead of inverse variances, shaped like the images; zero leaves a contrast out. The
        deviations of the estimates are then those that `sigma` leads to through these weights; without `sigma` the weights count as
        inverse variances up to a factor. :func:`puq_qmri.fitting.weighting.weigh` makes them.
    correlation
        (contrast, contrast): of the errors, the same in all voxels. The estimate is that of generalised least squares with the
        covariance ``sigma_i sigma_j correlation_ij`` in each voxel.
    robust
        ``huber`` or ``tukey``: contrasts far from what the others say count less, see :mod:`puq_qmri.fitting.robust`.
    noise, noise_coils
        ``rician`` for magnitudes of one coil, ``non-central-chi`` for the root sum of squares of `noise_coils` coils; the estimate is
        then that of maximum likelihood, see :mod:`puq_qmri.fitting.likelihood`. Both need `sigma`.
    mask
        (z, y, x), bool or zero outside; voxels outside are not fitted.
    known
        Maps that the model takes, by name: (z, y, x) or one number, for example ``{"b1": b1_map}``. A voxel with a value that is
        not finite or beyond its bounds gets the status ``NOT_FINITE``. By default 1 everywhere.
    signal
        ``auto``, ``signed``, ``magnitude`` or ``complex``, see :func:`puq_qmri.fitting.signals.signal_type`. Complex images are
        taken as magnitudes where the phase changes with the times of the model.
    fitter
        ``variable-projection`` for separable models without known maps, ``levenberg-marquardt`` for every model, or ``auto``: the
        first where it is possible. Both find the same minimum.
    intervals
        Limits of the 95 % intervals: ``normal``, the estimate and so many deviations to both sides; ``profile``, by the profile of
        the misfit (:mod:`puq_qmri.fitting.profile`), which is right where the estimate is skewed, and several times slower; ``auto``:
        the profile for the constant of separable models, such as T2, where its deviation is a twentieth to the whole of it.
        Robust estimates, other noise than Gaussian, and in ``auto`` magnitudes that change sign, have normal ones.
        ``facts["intervals"]`` counts voxels by parameter: ``profiled``, and ``open``, whose interval ends at a bound (or never).
    full_covariance, residuals
        Whether the result is to hold the covariance of the parameters and the residuals.
    device
        Where to compute.

    Raises
    ------
    InputError
        If shapes contradict each other, times are not finite, there are fewer contrasts than parameters, or a deviation of a
        voxel to be fitted is not positive.
    ConfigError
        If there is no such model, known map, fitter or kind of intervals, the fitter cannot fit the model, or a profile is asked of
        robust estimates or of other noise than Gaussian.
    """
    chosen = get_model(model) if isinstance(model, str) else model
    times = checked_times(images, times, chosen)
    inside = checked_mask(mask, images.shape[1:])
    flat = images.reshape(len(images), -1)
    kind = signal_type(flat if inside.all() else flat[:, inside], signal)
    if kind == "complex" and chosen.phase_evolves:
        kind = "magnitude"
    if kind == "magnitude" and chosen.needs_sign:
        raise InputError("images", f"are magnitudes, and model {chosen.name} needs their sign", "give complex or signed images")
    deviation = checked_sigma(sigma, images.shape)
    relative = checked_weights(weights, images.shape)
    errors = checked_error_model(
        noise=noise,
        noise_coils=noise_coils,
        robust=robust,
        correlation=correlation,
        kind=kind,
        n_contrasts=len(images),
        sigma_known=sigma is not None,
        weights_given=weights is not None,
    )
    counted = deviation if relative is None else np.where(relative > 0, 1.0 if deviation is None else deviation, np.inf)
    values, within = checked_known(known, chosen, images.shape[1:])
    status = usable(flat, counted, inside, times, len(chosen.parameters), within)
    check_positive(deviation, status == Status.OK)
    problem = _Problem(
        model=chosen,
        times=times,
        images=flat,
        deviation=None if deviation is None else counted,
        weights=relative,
        errors=errors,
        known=values,
        kind=kind,
        fitter=chosen_fitter(chosen, fitter, known=values is not None),
        device=torch.device(device),
        intervals=checked_intervals(intervals, robust=robust, noise=noise),
        full_covariance=full_covariance,
        residuals=residuals,
    )
    maps = Maps(status, parameters=len(chosen.parameters))
    for index in problem.chunks(np.flatnonzero(status == Status.OK)):
        maps.put(index, problem.estimate(index))
    facts: dict[str, Any] = {"signal": kind, "fitter": problem.fitter, "noise": noise, "robust": robust}
    facts["intervals"] = {"kind": problem.intervals, **maps.interval_counts(chosen)}
    if errors.correlation is not None:
        facts["correlation"] = [[float(f"{v:.4g}") for v in row] for row in errors.correlation]
    if chosen.known:
        facts["known"] = {p.name: "given" if p.name in (known or {}) else 1.0 for p in chosen.known}
    if problem.floor_matters:
        facts["near_noise_floor"] = maps.near_floor_share()
    return maps.result(images.shape[1:], model=chosen, times=times, sigma_known=deviation is not None, known=values, facts=facts)


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """Flattened images of one kind and what is to be fitted to them."""

    model: SignalModel
    times: Float[np.ndarray, " contrast"]
    images: Num[np.ndarray, "contrast voxel"]
    deviation: Float[np.ndarray, "contrast #voxel"] | None
    weights: Float[np.ndarray, "contrast voxel"] | None
    errors: ErrorModel
    known: Float[np.ndarray, "voxel known"] | None
    kind: SignalType
    fitter: Fitter
    device: torch.device
    intervals: Intervals
    full_covariance: bool
    residuals: bool

    @property
    def floor_matters(self) -> bool:
        return self.kind == "magnitude" and self.deviation is not None

    @property
    def freedom(self) -> int:
        return len(self.times) - len(self.model.parameters)

    @property
    def half_width(self) -> float:
        """Of a normal interval, in deviations."""
        return quantile(self.freedom, known=self.deviation is not None)

    def estimate(self, index: Int[np.ndarray, " chosen"]) -> Estimate:
        """Fit the voxels at `index`, which must be usable."""
        weights, least, excess = self._weights(index)
        y = to_real(self.images[:, index], self.kind, self.model, self.times, weights)
        y = np.where(weights > 0, y, 0.0)
        signal, weight = (torch.as_tensor(v.T, device=self.device).contiguous() for v in (y, weights))
        # In units of the largest signal and the least deviation all squares stay within range, whatever the images' unit.
        scale = signal.abs().amax(-1, keepdim=True)
        noise = torch.as_tensor(least, device=self.device)[:, None] / scale
        known = None if self.known is None else torch.as_tensor(self.known[index], device=self.device)
        whitening = self.errors.whitening(weights[:, 0] > 0, self.device)
        fitter = partial(self._fitter, whitening)
        solution, polarities = self._solve(fitter(known), signal / scale, weight)
        signed = signal / scale if polarities is None else polarities.signal
        at = torch.as_tensor(self.times, device=self.device)
        first = Refined(
            solution=solution,
            weights=weight,
            noise=None if self.deviation is None else noise.expand(len(signal), 1),
            excess=None if excess is None else torch.as_tensor(excess.T, device=self.device),
        )
        found = self.errors.refine(fitter, self.model, at, signed, first, known)
        solution = with_physical_sign(self.model, found.solution) if self.kind == "complex" else found.solution
        # Where the parameters took the other sign, so did the signals.
        signed = torch.where((solution.parameters != found.solution.parameters).any(-1, keepdim=True), -signed, signed)
        given = solution.parameters if known is None else torch.cat([solution.parameters, known], -1)
        misfit = self._misfit(found, first, signed, given, at)
        if found.noise is None:
            noise = (misfit / self.freedom if self.freedom else torch.full_like(misfit, torch.nan)).sqrt()[:, None]
        elif self.deviation is None:
            noise = found.noise
        chi2 = misfit * scale[:, 0] ** 2 if self.deviation is None else misfit / noise[:, 0] ** 2
        columns = observed_jacobian(self.model, at, given, found.weights, whitening)
        unit = covariance(columns, found.excess)
        spread = unit * noise[..., None] ** 2
        if polarities is not None:
            spread = spread + polarities.doubt(noise[:, 0] ** 2)
        in_image_unit = torch.tensor([p.unit == "a.u." for p in self.model.parameters], device=self.device)
        factor = torch.where(in_image_unit, scale, 1.0)
        deviation = spread.diagonal(dim1=-2, dim2=-1).sqrt()
        std = (deviation * factor).float()
        values = (solution.parameters * factor).float()
        determined = values.isfinite().all(-1) & unit[:, 0, 0].isfinite() & ~std.isinf().any(-1)
        status = _outcome(self.model, solution, determined)
        fitted = Fitted(
            model=self.model,
            times=at,
            signal=signed,
            weights=weight,
            known=known,
            whitening=whitening,
            parameters=solution.parameters,
            cost=found.solution.cost,
            spread=unit,
            projected=self.fitter == "variable-projection",
        )
        plain = unit if found.excess is None or self.intervals == "normal" else covariance(columns)
        threshold = (unit / plain).diagonal(dim1=-2, dim2=-1) * (noise * self.half_width) ** 2
        limits = self._limits(fitted, polarities, deviation, threshold, status == Status.OK)
        return Estimate(
            values=values,
            std=std,
            limits=limits.scaled(factor),
            covariance=(spread * factor[:, :, None] * factor[:, None, :]).float() if self.full_covariance else None,
            chi2=chi2.float(),
            used=(weight > 0).sum(-1),
            effective=found.weights.sum(-1) ** 2 / (found.weights**2).sum(-1),
            residuals=torch.where(weight > 0, (signed - self.model.signal(given, at)) * scale, torch.nan).float()
            if self.residuals
            else None,
            n_iter=solution.iterations,
            status=status,
            near_floor=((signal / scale < NOISE_FLOOR * noise / _precision(first).sqrt()) & (weight > 0)).any(-1)
            if self.floor_matters
            else None,
        )

    def _limits(
        self,
        fitted: Fitted,
        polarities: Polarities | None,
        deviation: Float[Tensor, "voxel parameter"],
        threshold: Float[Tensor, "voxel parameter"],
        ok: Bool[Tensor, " voxel"],
    ) -> Limits:
        """Limits of the 95 % intervals in units of the signals as they were fitted."""
        branches, kind = [fitted], self.intervals
        if polarities is not None:
            kind = "normal" if kind == "auto" else kind  # a profile of every polarity takes a hundred times as long as the estimate
            parts = zip(polarities.signals, polarities.parameters, polarities.costs, strict=True)
            branches = [replace(fitted, signal=s, parameters=p, cost=c) for s, p, c in parts]
        chosen = fitted.skewed(deviation, kind) & ok[:, None]
        return profiled_limits(branches, fitted.parameters, self.half_width * deviation, threshold, chosen)

    def _misfit(
        self,
        found: Refined,
        first: Refined,
        signed: Float[Tensor, "voxel contrast"],
        given: Float[Tensor, "voxel column"],
        times: Float[Tensor, " contrast"],
    ) -> Float[Tensor, " voxel"]:
        """Squared residuals over variances, in units of the one that a weight of 1 stands for."""
        if self.errors.robust == "none" and first.excess is None:
            return found.solution.cost
        return (_precision(first) * (signed - self.model.signal(given, times)) ** 2).sum(-1)

    def chunks(self, index: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Voxels to be fitted at once; those of a chunk use the same contrasts where contrasts are correlated."""
        groups = [index]
        if self.errors.correlation is not None and self.deviation is not None and self.deviation.shape[1] > 1:
            used = np.isfinite(self.deviation[:, index])
            _, pattern = np.unique(used, axis=1, return_inverse=True)
            groups = [index[pattern == number] for number in range(pattern.max(initial=-1) + 1)]
        for group in groups:
            yield from _chunks(group, self.device)

    def _fitter(self, whitening: Float[Tensor, "contrast contrast"] | None, known: Float[Tensor, "voxel known"] | None) -> Solver:
        """What turns signals and weights into estimates: the one place where the fitter is chosen."""
        at = torch.as_tensor(self.times, device=self.device)
        if self.fitter == "variable-projection" and isinstance(self.model, SeparableModel):
            return partial(variable_projection.solve, self.model, at, whitening=whitening)
        return partial(levenberg_marquardt.solve, self.model, at, known=known, whitening=whitening)

    def _weights(
        self, index: Int[np.ndarray, " chosen"]
    ) -> tuple[Float[np.ndarray, "contrast #chosen"], Float[np.ndarray, " #chosen"], Float[np.ndarray, "contrast chosen"] | None]:
        """Weights in units of the largest one of each voxel, the least deviation, and the excess of the deviations over the weights.

        The excess is None where the weights are inverse variances.
        """
        if self.deviation is None:
            deviation = np.ones((len(self.times), 1))
        else:
            deviation = self.deviation if self.deviation.shape[1] == 1 else self.deviation[:, index]
            deviation = np.where(np.isfinite(deviation), deviation, np.inf)
        least = deviation.min(axis=0)
        if self.weights is None:
            return (least / deviation) ** 2, least, None
        weights = self.weights[:, index] * np.isfinite(deviation)
        weights = weights / weights.max(axis=0)
        if self.deviation is None:
            return weights, least, None
        return weights, least, np.sqrt(weights) * np.where(weights > 0, deviation / least, 1.0)

    def _solve(
        self, solve: Solver, signal: Float[Tensor, "voxel contrast"], weight: Float[Tensor, "#voxel contrast"]
    ) -> tuple[Solution, Polarities | None]:
        """The solution, and those of other polarities where the signal has lost its sign."""
        if self.kind == "magnitude" and self.model.changes_sign:
            times = torch.as_tensor(self.times, device=self.device)
            polarities = solve_with_polarity(solve, self.model, times, signal, weight)
            return polarities.best, polarities
        return solve(signal, weight), None


def _precision(first: Refined) -> Float[Tensor, "#voxel contrast"]:
    """Inverse variances in units of the largest one of each voxel."""
    if first.excess is None:
        return first.weights
    return torch.where(first.weights > 0, first.weights / first.excess**2, 0.0)


def _outcome(model: SignalModel, solution: Solution, determined: Bool[Tensor, " voxel"]) -> Int[Tensor, " voxel"]:
    """Status code of each voxel after its fit."""
    code = torch.full_like(solution.iterations, Status.OK, dtype=torch.int8)
    code[~solution.converged] = Status.NOT_CONVERGED
    code[~(inside_bounds(model, solution.parameters) & ~solution.at_bound & determined)] = Status.AT_BOUND
    return code


def _chunks(index: NDArray[np.int64], device: torch.device) -> Iterator[NDArray[np.int64]]:
    size = CHUNK if device.type == "cpu" else GPU_CHUNK
    for start in range(0, len(index), size):
        yield index[start : start + size]
